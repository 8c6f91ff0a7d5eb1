"""The costs in the guide are those computed from the measured figures."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra"))

import costs  # noqa: E402


def test_script_prints_every_price_with_its_source():
    done = subprocess.run([sys.executable, ROOT / "infra/costs.py"], check=True, capture_output=True, text=True)
    print(done.stdout)
    for name, (_, _, source) in costs.PRICES.items():
        assert source.startswith("https://aws.amazon.com/"), name
        assert source in done.stdout
    for name, (_, reason) in costs.ASSUMED.items():
        assert len(reason) > 10 and reason in done.stdout, name


def test_a_million_messages_stay_within_the_cost_limit():
    million = 1e6 * sum(costs.message().values())
    assert million <= costs.LIMIT, f"a million messages cost {million:.2f} USD"


def test_relay_intervals_match_the_cost_model():
    source = ROOT / "crates/bridge/src/connections"
    options = (source / "mod.rs").read_text()
    for name, option in (("heartbeat_s", "heartbeat"), ("look_s", "tick")):
        assert f"{option}: Duration::from_secs({costs.assumed(name)})," in options, name
    desired = (source / "desired_bots.rs").read_text()
    assert f"BACKSTOP: Duration = Duration::from_secs({costs.assumed('list_s')});" in desired
    shards = (ROOT / "crates/core/src/virtual_shard.rs").read_text()
    assert "N_VIRTUAL_SHARDS: usize = 1 << u8::BITS;" in shards and costs.assumed("lists") == 2**8
    lines = costs.fixed_month(1, is_used=False)
    assert lines["Heartbeats of relays"] > 0.5 and lines["Looks of relays"] > 0.6


def test_cost_model_counts_the_deployed_alarms():
    of_relay = costs.alarms({"RunsInLambda", "HasRelay"}) - costs.alarms({"RunsInLambda"})
    assert of_relay == 6, "one of heartbeats, two of shares of two each, one of throttles"
    assert costs.alarms(set()) < costs.alarms({"RunsInContainers"}) < costs.alarms({"RunsInLambda"})
    asked_for = {"IsChecked", "HasSpendingLimit", "HasCallbackUrl"}
    assert costs.alarms({"RunsInLambda", "RunsInContainers", "HasRelay"} | asked_for) == costs.WATCH.count("MetricName:")
    assert costs.alarms({"RunsInLambda", "IsChecked"}) == costs.alarms({"RunsInLambda"}) + 1
    assert costs.alarms({"RunsInLambda", "HasCallbackUrl"}) == costs.alarms({"RunsInLambda"}) + 3


def test_an_idle_deployment_costs_little():
    """An idle deployment writes only the heartbeats of a relay: all other metrics come with messages, bots or runs."""
    assert sum(costs.fixed_month(0, is_used=False).values()) <= 5
    assert sum(costs.fixed_month(1, is_used=False, on_spot=True).values()) <= 16
    source = (ROOT / "crates/bridge/src/metrics.rs").read_text()
    assert "if lines.is_empty() {" in source, "metrics must not be written where none were recorded"


def test_runs_in_containers_cost_less_than_in_functions():
    assert costs.waiting_on_ecs() < costs.waiting_on_lambda() / 10


def test_a_function_url_saves_exactly_the_price_of_the_api():
    saved = costs.price("http_api")
    for by_api, by_url, requests in (
        (costs.message(), costs.message(by_url=True), 1),
        (costs.poll(), costs.poll(by_url=True), 1),
        *(
            (costs.streamed(name, 2), costs.streamed(name, 2, by_url=True), it["polls"] + (not it.get("relayed", False)))
            for name, it in costs.MEASURED["stream"].items()
        ),
    ):
        assert round(1e12 * (sum(by_api.values()) - sum(by_url.values()))) == round(1e12 * requests * saved)
    # The alarms of the URL cost less than the metrics of the route, which is no longer called.
    month, by_url = (sum(costs.fixed_month(0, is_used=True, by_url=it).values()) for it in (False, True))
    assert by_url < month


def test_polled_answers_meet_their_goal_only_with_a_function_url():
    goals = {name: goals for name, *goals, _ in costs.GOALS}
    for goal, batch in zip(goals["streamed on wecom_callback"], costs.VOLUMES):
        assert costs.goal_figures(batch)["streamed on wecom_callback"] > goal
        assert costs.goal_figures(batch, by_url=True)["streamed on wecom_callback"] <= goal


def test_guide_has_the_figures():
    text = (ROOT / "infra/README.md").read_text()
    million = 1e6 * sum(costs.message().values())
    bots = sum(costs.long_connections(1000).values())
    polls = 1e6 * sum(costs.poll().values())
    assert costs.million_at(costs.assumed("receive_batch")) == million
    least = [costs.million_at(batch, least=True) for batch in (costs.assumed("receive_batch"), costs.BATCHES[-1])]
    by_url = [1e6 * sum(it.values()) for it in (costs.message(by_url=True), costs.poll(by_url=True), costs.streamed("wecom_callback", costs.VOLUMES[0], by_url=True))]
    by_url += [costs.million_at(batch, by_url=True) for batch in costs.BATCHES]
    by_url.append(sum(costs.fixed_month(0, is_used=True, by_url=True).values()))
    for amount in (*least, *by_url, *map(costs.million_at, costs.BATCHES), million, polls, bots, *(sum(costs.fixed_month(*how).values()) for how in ((0, False), (1, False), (1, False, True), (0, True))), sum(costs.synthetic_check().values()), 1e6 * costs.waiting_on_lambda(), 1e6 * costs.waiting_on_ecs()):
        assert re.search(rf"\b{amount:.2f}\b", text), f"{amount:.2f} is not in the guide"
