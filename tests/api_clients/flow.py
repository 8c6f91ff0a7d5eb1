"""Runs the whole flow with a client generated from the API description: agent, bot, trigger, the bot's status, clean-up."""

import os

from tieline_management_api_client import AuthenticatedClient
from tieline_management_api_client.api.agents import agents_create, agents_delete
from tieline_management_api_client.api.integrations import integrations_create, integrations_delete, integrations_doctor_examine, integrations_status_get
from tieline_management_api_client.api.platforms import platforms_list
from tieline_management_api_client.api.triggers import triggers_create, triggers_get, triggers_list
from tieline_management_api_client.models import NewAgent, NewIntegration, NewTrigger, Problem

client = AuthenticatedClient(base_url=os.environ["TIELINE_URL"], token=os.environ["TIELINE_TOKEN"], raise_on_unexpected_status=True)
org = {"org": "default", "client": client}


def given(answer):
    """Returns the parsed answer; an API problem fails the test."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


assert any(it.platform == "telegram" for it in given(platforms_list.sync(client=client)).items)
agent = given(agents_create.sync(**org, body=NewAgent(name="Generated Python", protocol="echo")))
bot = given(integrations_create.sync(**org, body=NewIntegration(name="Generated Python", platform="web")))
trigger = given(triggers_create.sync(**org, body=NewTrigger(integration_id=bot.id, agent_id=agent.id)))
assert given(integrations_status_get.sync(id=bot.id, **org)).state == "connected"
assert given(integrations_doctor_examine.sync(id=bot.id, **org)).checks
assert any(it.id == trigger.id for it in given(triggers_list.sync(**org)).items)
refused = agents_delete.sync_detailed(id=agent.id, **org)
assert refused.status_code == 409 and isinstance(refused.parsed, Problem), refused
assert integrations_delete.sync_detailed(id=bot.id, **org, force=True).status_code == 204
gone = triggers_get.sync_detailed(id=trigger.id, **org)
assert gone.status_code == 404 and gone.parsed.code == "trigger_not_found", gone
assert agents_delete.sync_detailed(id=agent.id, **org).status_code == 204
print("Python client: ok")
