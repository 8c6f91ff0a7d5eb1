"""The templates and the programs agree. Each test reads both sides."""

import fnmatch
import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import calls
import pytest
from template import PSEUDO, Stack, nested

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TIELINE_DEBUG_DIR", ROOT / "target/debug"))
IMAGE = "example/tieline@sha256:" + "0" * 64
FUNCTIONS = ("webhook", "dispatcher", "runner", "admin")

ON_LAMBDA = Stack("template.yaml", RelayImage=IMAGE)
IN_RELAYS = Stack("template.yaml", RelayImage=IMAGE, Runs="container")
BY_URL = Stack("template.yaml", RelayImage=IMAGE, CallbackEntry="FUNCTION_URL")
PREFIX = PSEUDO["AWS::StackName"] + "-"


@cache
def definitions() -> dict:
    """The tables and queues that the programs create themselves where there is no template."""
    return json.loads(subprocess.check_output([BINARIES / "print_definitions"]))


def containers(stack: Stack, name: str) -> dict:
    task = nested(stack, "Containers").resources[name]["Properties"]
    (container,) = task["ContainerDefinitions"]
    return container


def container_environment(stack: Stack, name: str) -> dict[str, str]:
    return {it["Name"]: it["Value"] for it in containers(stack, name)["Environment"]}


def function_environment(name: str, stack: Stack = ON_LAMBDA) -> dict[str, str]:
    common = stack.resolve(stack.source["Globals"])["Function"]["Environment"]["Variables"]
    own = stack.resources[f"{name.capitalize()}Function"]["Properties"]
    return common | own.get("Environment", {}).get("Variables", {})


# ---- Tables and queues


def test_tables_are_those_of_the_program():
    made = {name: it for name, it in definitions()["tables"].items()}
    declared = {}
    for it in ON_LAMBDA.of_type("AWS::DynamoDB::Table").values():
        assert it["BillingMode"] == "PAY_PER_REQUEST"
        ttl = it.get("TimeToLiveSpecification")
        declared[it["TableName"].removeprefix(PREFIX)] = {
            "keys": [[key["AttributeName"], key["KeyType"]] for key in it["KeySchema"]],
            "attributes": {key["AttributeName"]: key["AttributeType"] for key in it["AttributeDefinitions"]},
            "indexes": {
                index["IndexName"]: {
                    "keys": [[key["AttributeName"], key["KeyType"]] for key in index["KeySchema"]],
                    "projection": index["Projection"]["ProjectionType"],
                }
                for index in it.get("GlobalSecondaryIndexes", [])
            },
            "ttl": ttl["AttributeName"] if ttl and ttl["Enabled"] else None,
            "pointInTimeRecovery": it["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"],
        }
    assert declared == made


def test_queues_are_those_of_the_program():
    made = definitions()["queues"]
    declared = {it["QueueName"].removeprefix(PREFIX): it for it in ON_LAMBDA.of_type("AWS::SQS::Queue").values()}
    shards = sorted(name for name in declared if name.startswith("relay-"))
    assert set(made) == set(declared) - set(shards) | {"relay-0.fifo"}
    for name, queue in declared.items():
        program = made["relay-0.fifo" if name in shards else name]
        assert queue["VisibilityTimeout"] == int(program["VisibilityTimeout"]), name
        assert queue["MessageRetentionPeriod"] == int(program["MessageRetentionPeriod"]), name
        for attribute in ("DeduplicationScope", "FifoThroughputLimit"):
            assert queue.get(attribute) == program.get(attribute), name
        assert queue.get("FifoQueue", False) == (program.get("FifoQueue") == "true") == name.endswith(".fifo")
        theirs = json.loads(program.get("RedrivePolicy", "null"))
        ours = queue.get("RedrivePolicy")
        assert bool(ours) == bool(theirs), name
        if ours:
            assert ours["maxReceiveCount"] == int(theirs["maxReceiveCount"]), name
            target = theirs["deadLetterTargetArn"].rpartition(":")[2].removeprefix("x-")
            assert ours["deadLetterTargetArn"].endswith(f":{PREFIX}{target}"), name
            allowed = declared[target]["RedriveAllowPolicy"]["sourceQueueArns"]
            assert allowed == [f"arn:aws:sqs:us-east-1:123456789012:{queue['QueueName']}"]


def test_relay_queues_are_listed_in_the_order_of_their_shards():
    urls = function_environment("runner")["TIELINE_RELAY_QUEUE_URLS"].split(",")
    names = [url.rpartition("/")[2] for url in urls]
    assert names == [f"{PREFIX}relay-{shard}.fifo" for shard in range(len(names))]
    declared = [name for name in ON_LAMBDA.of_type("AWS::SQS::Queue") if name.startswith("RelayQueue")]
    assert len(declared) == len(names)


def test_mappings_report_single_failures_and_fit_the_queues():
    for name in ("Dispatcher", "Runner"):
        function = ON_LAMBDA.resources[f"{name}Function"]["Properties"]
        (event,) = function["Events"].values()
        mapping = event["Properties"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert 1 <= mapping["BatchSize"] <= 10
        assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 1000
        (queue,) = (it for key, it in ON_LAMBDA.of_type("AWS::SQS::Queue").items() if ON_LAMBDA.attribute(key, "Arn") == mapping["Queue"])
        # Lambda rejects a mapping whose messages would become visible again while they are processed.
        assert queue["VisibilityTimeout"] >= function["Timeout"]


def loops(stack: Stack) -> tuple[set[str], set[str]]:
    """Functions that queues invoke, and those of them that can cause their own next invocation."""
    calls_of, sends_of = {}, {}
    for name, it in stack.of_type("AWS::Serverless::Function").items():
        mapped = [event["Properties"]["Queue"] for event in it.get("Events", {}).values()]
        if mapped:
            (calls_of[name],) = mapped
        role = stack.resources[it["Role"].removeprefix("arn:")]["Properties"]
        statements = [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]
        sending = [each["Resource"] for each in statements if "sqs:SendMessage" in each["Action"]]
        sends_of[name] = {queue for it in sending for queue in (it if isinstance(it, list) else [it])}
    reached = {name: {other for other, queue in calls_of.items() if queue in sends_of[name]} for name in calls_of}
    for _ in calls_of:
        reached = {name: others.union(*(reached[it] for it in others)) for name, others in reached.items()}
    return set(calls_of), {name for name, others in reached.items() if name in others}


def test_only_the_runner_may_invoke_itself_through_its_queue():
    """By default Lambda drops what a function sends to its own queue after some sixteen rounds: the watchdog of a long run would be lost."""
    called, looping = loops(ON_LAMBDA)
    assert called == {"DispatcherFunction", "RunnerFunction"} and looping == {"RunnerFunction"}
    for name, it in ON_LAMBDA.of_type("AWS::Serverless::Function").items():
        assert it.get("RecursiveLoop") == ("Allow" if name in looping else None), name
    assert "RecursiveLoop" not in ON_LAMBDA.source["Globals"]["Function"], "recursion must stay forbidden for the other functions"
    # An alarm watches the loops that Lambda drops.
    alarms = nested(ON_LAMBDA, "Watch").of_type("AWS::CloudWatch::Alarm").values()
    watched = {it["Dimensions"][0]["Value"] for it in alarms if it.get("MetricName") == "RecursiveInvocationsDropped"}
    assert watched == {ON_LAMBDA.resources[name]["Properties"]["FunctionName"] for name in called}


# ---- Environment


def start(binary: str, environment: dict[str, str]) -> str:
    """Output of a program that starts with this environment and no network."""
    end = subprocess.run([BINARIES / binary], env=environment, capture_output=True, text=True, timeout=60)
    assert end.returncode != 0
    return end.stderr + end.stdout


def required(binary: str) -> set[str]:
    complaint = start(binary, {})
    return set(re.findall(r"(TIELINE_\w+) is not set", complaint))


NEVER_ON_AWS = {
    "TIELINE_MASTER_KEY": "the data key lies wrapped in the table and KMS unwraps it",
    "TIELINE_ALLOW_PRIVATE_ENDPOINTS": "would let tenants reach addresses inside",
    "TIELINE_RELAY_LISTEN": "only the program itself asks for its health, at the address that it takes by default",
}
# Programs that serve operators, and so know the root token.
WITH_TOKEN = {"webhook", "admin"}
# Only for the function that hands out callback URLs, and only if these have another base than the public URL.
CALLBACK_URL = "TIELINE_CALLBACK_URL"


def known_variables(deployable: str) -> set[str]:
    folder = ROOT / (deployable if deployable == "relay" else f"functions/{deployable}")
    sources = [*(ROOT / "crates/aws/src").glob("*.rs"), *folder.rglob("src/*.rs")]
    return {name for file in sources for name in re.findall(r'"(TIELINE_[A-Z_]+)"', file.read_text())}


ENVIRONMENTS = [
    *(pytest.param(name, function_environment(name), id=name) for name in FUNCTIONS),
    *(pytest.param(name, function_environment(name, BY_URL), id=f"{name}, callbacks via URL") for name in FUNCTIONS),
    pytest.param("relay", container_environment(ON_LAMBDA, "RelayTask"), id="relay"),
    pytest.param("relay", container_environment(IN_RELAYS, "RelayTask"), id="relay that runs"),
]


@pytest.mark.parametrize("deployable, environment", ENVIRONMENTS)
def test_environment_is_what_the_program_reads(deployable, environment):
    needed = required(deployable)
    assert len(needed) >= 6, "the program should name every missing variable"
    known = known_variables(deployable)
    assert needed <= set(environment), "the template doesn't set all variables that the program needs"
    assert set(environment) <= known, "the template sets variables that the program doesn't know"
    without = set(NEVER_ON_AWS) | (set() if deployable in WITH_TOKEN else {"TIELINE_ADMIN_TOKEN"})
    assert known - set(environment) - {CALLBACK_URL} == without & known
    assert CALLBACK_URL in known


@pytest.mark.parametrize("deployable, environment", ENVIRONMENTS)
def test_program_accepts_the_environment(deployable, environment):
    """With the whole environment the program gets past reading it, and fails only where it needs AWS."""
    nowhere = {
        **{f"AWS_ENDPOINT_URL_{service}": "http://127.0.0.1:1" for service in ("DYNAMODB", "SQS", "KMS")},
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    complaint = start(deployable, {key: str(value) for key, value in environment.items()} | nowhere)
    assert "environment:" not in complaint
    assert "unavailable" in complaint, complaint


def test_environment_of_functions_fits_into_what_lambda_allows():
    # With the longest possible names; Lambda allows 4 KB in all. The function `admin` has every variable of the other functions.
    longest = Stack("template.yaml", RelayImage=IMAGE, DomainName="d" * 60 + ".example.com", CallbackEntry="FUNCTION_URL")
    environment = function_environment("admin", longest)
    assert all(set(function_environment(name, longest)) <= set(environment) for name in FUNCTIONS)
    del environment["TIELINE_ADMIN_TOKEN"]
    size = sum(len(key) + len(str(value)) for key, value in environment.items())
    n_names = str(environment).count(PSEUDO["AWS::StackName"])
    # Stack names of 40 characters in ap-southeast-1, and the token.
    size += n_names * (40 - len(PSEUDO["AWS::StackName"])) + 20 * 5 + 70
    assert size <= 4096, size


# ---- Routes


def test_routes_lead_to_the_function_that_answers_them():
    routes = {it["RouteKey"]: it["Target"] for it in ON_LAMBDA.of_type("AWS::ApiGatewayV2::Route").values()}
    to_webhook = {key for key, target in routes.items() if target == "integrations/WebhookIntegration"}
    assert set(routes) - to_webhook == {"$default"} and routes["$default"] == "integrations/AdminIntegration"
    # The webhook function's own table: lists of path segments, in which an identifier matches any segment.
    source = (ROOT / "functions/webhook/src/handler.rs").read_text()
    patterns = re.findall(r"^\s+\[((?:\"?\w+\"?(?:, )?)+)\]( if platform == registry::own_channel\(\)\.platform)? => Route::", source, flags=re.M)
    served = set()
    for pattern, is_own_channel in patterns:
        if is_own_channel:
            pattern = pattern.replace("platform", '"web"')
        segments = [part if part.startswith('"') else "{}" for part in pattern.split(", ")]
        served.add("/" + "/".join(segment.strip('"') for segment in segments))
    declared = {re.sub(r"\{\w+\}", "{}", key.split(" ")[1]) for key in to_webhook}
    assert declared == served
    assert {key.split(" ")[0] for key in to_webhook if "webhook" in key} == {"GET", "POST"}


# ---- Callbacks via a function URL


def test_function_url_is_optional_and_the_api_keeps_the_routes_of_callbacks():
    """Bots whose platforms were given a callback URL of the API keep working after the switch."""
    url = ("AWS::Lambda::Url", "AWS::Lambda::Permission")
    of_url = {name for name, it in BY_URL.resources.items() if it["Type"] in url} - set(ON_LAMBDA.resources)
    assert set(BY_URL.resources) - set(ON_LAMBDA.resources) == of_url == {"CallbackUrl", "CallbackUrlPermission", "CallbackInvokePermission"}
    assert set(ON_LAMBDA.resources) <= set(BY_URL.resources)
    assert BY_URL.of_type("AWS::ApiGatewayV2::Route") == ON_LAMBDA.of_type("AWS::ApiGatewayV2::Route")
    properties = BY_URL.resources["CallbackUrl"]["Properties"]
    assert properties == {"TargetFunctionArn": "arn:WebhookFunction", "AuthType": "NONE", "InvokeMode": "BUFFERED"}


def test_function_is_public_via_its_url_only():
    """Since October 2025 function URLs return 403 unless both permissions are granted. Without its condition the second one would grant all accounts `Invoke` of Lambda's API."""
    webhook = BY_URL.resources["WebhookFunction"]["Properties"]["FunctionName"]
    public = [it for it in BY_URL.of_type("AWS::Lambda::Permission").values() if it["Principal"] == "*"]
    assert public == [
        {"FunctionName": webhook, "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"},
        {"FunctionName": webhook, "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": True},
    ]
    assert not [it for it in ON_LAMBDA.of_type("AWS::Lambda::Permission").values() if it["Principal"] == "*"]


def test_only_the_function_that_hands_out_callback_urls_knows_their_base():
    """The function behind the URL can't: it would depend on its own URL."""
    function_url = BY_URL.attribute("CallbackUrl", "FunctionUrl")
    assert function_environment("admin", BY_URL)[CALLBACK_URL] == function_url
    assert CALLBACK_URL not in function_environment("admin")
    for name in ("webhook", "dispatcher", "runner"):
        assert function_environment(name, BY_URL) == function_environment(name), name
    assert container_environment(BY_URL, "RelayTask") == container_environment(ON_LAMBDA, "RelayTask")
    # Only the crate of the function `admin` reads it.
    readers = {file.parts[len(ROOT.parts) + 1] for file in (ROOT / "crates").glob("*/src/**/*.rs") if ".callback_base()" in file.read_text()}
    assert readers == {"admin"}
    outputs = {name: {stack.resolve(stack.source["Outputs"][name]["Value"]) for stack in (ON_LAMBDA, BY_URL)} for name in ("ApiAddress", "CallbackAddress")}
    api = ON_LAMBDA.attribute("Api", "ApiEndpoint")
    assert outputs == {"ApiAddress": {api}, "CallbackAddress": {api, function_url}}


def test_template_has_no_circular_dependency():
    """CloudFormation refuses such a template, and the linter checks one mode only."""
    named = {
        name: {reference for reference in re.findall(r"'(?:Ref|Fn::GetAtt)': (?:\['|')(\w+)", str(it)) + re.findall(r"\$\{(\w+)[.}]", str(it))}
        for name, it in BY_URL.source["Resources"].items()
    }
    common = re.findall(r"'(?:Ref|Fn::GetAtt)': (?:\['|')(\w+)", str(BY_URL.source["Globals"]))
    for name, it in BY_URL.source["Resources"].items():
        if it["Type"] == "AWS::Serverless::Function":
            named[name] |= {*common, it["Properties"]["Role"]["Fn::GetAtt"][0]}
        named[name] &= set(named)
    assert "WebhookFunction" in named["CallbackUrl"] and "CallbackUrl" in named["AdminFunction"]
    done = set()
    while ready := {name for name, others in named.items() if others <= done} - done:
        done |= ready
    assert set(named) == done, f"circular dependency: {set(named) - done}"


def test_rate_limit_of_the_function_url_is_similar_to_that_of_the_api():
    """Lambda accepts ten times the reserved concurrency in requests a second. A function URL has no other limit."""
    webhook = BY_URL.resources["WebhookFunction"]["Properties"]
    stage = ON_LAMBDA.resources["Stage"]["Properties"]["DefaultRouteSettings"]
    reserved = int(webhook["ReservedConcurrentExecutions"])
    assert int(stage["ThrottlingRateLimit"]) <= 10 * reserved <= int(stage["ThrottlingBurstLimit"])
    # An account has a thousand concurrent executions. A hundred must remain unreserved, and as many as the event source mappings may use.
    mapped = sum(int(ON_LAMBDA.source["Parameters"][name]["Default"]) for name in ("DispatcherConcurrency", "RunnerConcurrency"))
    assert 1000 - reserved >= max(100, mapped)
    for name in FUNCTIONS:
        assert "ReservedConcurrentExecutions" not in ON_LAMBDA.resources[f"{name.capitalize()}Function"]["Properties"], name
        if name != "webhook":
            assert "ReservedConcurrentExecutions" not in BY_URL.resources[f"{name.capitalize()}Function"]["Properties"], name


def test_callbacks_via_the_function_url_have_the_alarms_of_the_api():
    """The API's routes still serve callbacks, so they keep their alarms."""
    by_api, by_url = (nested(it, "Watch").of_type("AWS::CloudWatch::Alarm") for it in (ON_LAMBDA, BY_URL))
    equivalents = {"ApiErrors": "UrlErrors", "CallbacksRefused": "UrlCallbacksRefused", "CallbacksSlow": "UrlCallbacksSlow"}
    assert set(by_api) <= set(by_url) and set(by_url) - set(by_api) == set(equivalents.values())
    webhook = [{"Name": "FunctionName", "Value": BY_URL.resources["WebhookFunction"]["Properties"]["FunctionName"]}]
    metrics = {"ApiErrors": "Url5xxCount", "CallbacksRefused": "Url4xxCount", "CallbacksSlow": "UrlRequestLatency"}
    for name, other in equivalents.items():
        alarm = by_url[other]
        assert (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"]) == ("AWS/Lambda", metrics[name], webhook), other
        assert alarm["TreatMissingData"] == "notBreaching" and alarm["AlarmActions"] == alarm["OKActions"] == ["Alarms"], other
        if name != "CallbacksSlow":
            same = ("Statistic", "Period", "EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "Threshold")
            assert [alarm[key] for key in same] == [by_api[name][key] for key in same], other
    assert by_url["UrlCallbacksSlow"]["Threshold"] < by_api["CallbacksSlow"]["Threshold"], "an average hides single slow callbacks"


# ---- Permissions


# What the Lambda service itself does with a function's role; the program doesn't call it.
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents"}
BY_MAPPING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
RESOURCES = {
    "arn:aws:dynamodb:us-east-1:123456789012:table/tieline-test-config": "config",
    "arn:aws:dynamodb:us-east-1:123456789012:table/tieline-test-state": "state",
    "arn:aws:dynamodb:us-east-1:123456789012:table/tieline-test-state/index/byIntegration": "state/index",
    "arn:aws:dynamodb:us-east-1:123456789012:table/tieline-test-leases": "leases",
    "arn:aws:sqs:us-east-1:123456789012:tieline-test-inbound.fifo": "inbound",
    "arn:aws:sqs:us-east-1:123456789012:tieline-test-inbound-dead.fifo": "inbound-dead",
    "arn:aws:sqs:us-east-1:123456789012:tieline-test-work": "work",
    "arn:aws:sqs:us-east-1:123456789012:tieline-test-relay-*.fifo": "relay",
    "arn:Key": "key",
}
MAPPED = {"dispatcher": "inbound", "runner": "work"}
# By deployable: calls that only the previous version makes, as ("state", "dynamodb:Query"). Roles are changed before programs, so a permission
# is removed one version after the call that needed it. Entries here when a version is made are removed, with the permission, in the next one.
LEAVING: dict[str, set[tuple[str, str]]] = {"admin": {("leases", "dynamodb:GetItem")}}


def granted(stack: Stack, deployable: str) -> set[tuple[str, str]]:
    role = stack.resources[f"{deployable.capitalize()}Role"]["Properties"]
    assert "ManagedPolicyArns" not in role
    pairs = set()
    for policy in [*role["Policies"], *added_policies(stack, deployable)]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            resources = statement["Resource"]
            for resource in resources if isinstance(resources, list) else [resources]:
                for action in statement["Action"]:
                    assert "*" not in action, action
                    if action in BY_LAMBDA:
                        assert resource == f"arn:aws:logs:us-east-1:123456789012:log-group:/tieline/tieline-test/{deployable}:*"
                        continue
                    pairs.add((RESOURCES[resource], action))
    return pairs


def added_policies(stack: Stack, deployable: str) -> list[dict]:
    """The policies of a role that are resources of their own."""
    role = stack.ref(f"{deployable.capitalize()}Role")
    return [it for it in stack.of_type("AWS::IAM::Policy").values() if role in it["Roles"]]


def needed(binary: str) -> set[tuple[str, str]]:
    path = BINARIES / binary
    pairs = calls.dynamodb_needs(path) | calls.sqs_needs(path)
    return pairs | {("key", action) for action in calls.kms_needs(path)}


@pytest.mark.parametrize("deployable", [*FUNCTIONS, "relay"])
def test_role_allows_what_the_program_calls_and_nothing_else(deployable):
    needs = needed(deployable)
    if deployable in MAPPED:
        needs |= {(MAPPED[deployable], action) for action in BY_MAPPING}
    # A relay makes all of these calls only in deployments where it runs agents.
    allowed, leaving = granted(IN_RELAYS, deployable), LEAVING.get(deployable, set())
    assert needs - allowed == set(), "the role denies calls of the program"
    assert allowed - needs == leaving, "the role allows calls that neither this nor the previous version makes"


@pytest.mark.parametrize("deployable", [*FUNCTIONS, "relay"])
def test_put_item_is_allowed_only_where_a_program_writes_whole_items(deployable):
    """A program that creates users may write only users' items. A program that writes no whole item may write none."""
    reached = calls.functions_of(BINARIES / deployable, "tieline_store")
    putting = {name for name, pairs in calls.store_needs().items() if name in reached and ("config", "PutItem") in pairs}
    transacting = {name for name in calls.functions_with_transactions() if name in reached}
    assert ("config::transaction::Transaction" in reached) == bool(transacting)
    conditions = [it.get("Condition") for it in on_config(deployable) if "dynamodb:PutItem" in it["Action"]]
    writing = {name.rpartition("::")[0] for name in putting | transacting}
    if not writing:
        assert conditions == []
    # Admits and links people, in transactions on their items and on no others.
    elif writing == {"config::user"}:
        of_people = re.search(r'fn pk\(.+?format!\("(\w+#)\{', (ROOT / "crates/store/src/config/user.rs").read_text(), re.S)[1]
        assert conditions == [{"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{of_people}*"]}}]
    else:
        assert {"config::agent", "config::integration", "data_keys"} <= writing, "only a program that changes configuration may write all of it"
        assert conditions == [None]


def test_relay_without_runs_lacks_the_permissions_of_runs():
    without, with_runs = granted(ON_LAMBDA, "relay"), granted(IN_RELAYS, "relay")
    assert without < with_runs
    assert with_runs - without <= granted(ON_LAMBDA, "runner"), "a relay may do for runs only what the runner may"
    taking = {("work", f"sqs:{action}") for action in ("ReceiveMessage", "DeleteMessage", "SendMessage", "ChangeMessageVisibility")}
    assert taking <= with_runs - without


def test_relay_keeps_the_permissions_of_runs_until_it_has_finished_them():
    """What a changed parameter removes as a whole is deleted after all updates; what it removes from a role is denied before them."""
    on_lambda, in_relays = (it.resources["RelayRole"]["Properties"]["Policies"] for it in (ON_LAMBDA, IN_RELAYS))
    assert on_lambda == in_relays, "a part of the role depends on where runs are"
    assert [list(it.of_type("AWS::IAM::Policy")) for it in (ON_LAMBDA, IN_RELAYS)] == [[], ["RelayRunsPolicy"]]
    runs = IN_RELAYS.source["Resources"]["Containers"]["Properties"]["Parameters"]["Runs"]
    assert {"Ref": "RelayRunsPolicy"} in runs["Fn::If"][1]["Fn::Select"][1], "a relay that runs agents may start without it"


def on_config(deployable: str) -> list[dict]:
    """The statements of a role on the table `config`."""
    statements = ON_LAMBDA.resources[f"{deployable.capitalize()}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return [it for it in statements if ON_LAMBDA.attribute("ConfigTable", "Arn") in it["Resource"]]


@pytest.mark.parametrize("deployable", ["webhook", "dispatcher", "runner", "relay"])
def test_data_keys_are_written_by_admin_alone(deployable):
    """By role and by program: other writers of the table may only write to other partitions, and no other program creates a data key."""
    partition = re.search(r'PARTITION: &str = "(\w+)"', (ROOT / "crates/store/src/data_keys.rs").read_text())[1]
    reading = {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem"}
    for statement in on_config(deployable):
        if set(statement["Action"]) <= reading:
            continue
        (condition,) = statement["Condition"].items()
        assert condition[0] in ("ForAllValues:StringEquals", "ForAllValues:StringLike")
        assert not [key for key in condition[1]["dynamodb:LeadingKeys"] if fnmatch.fnmatch(partition, key)], statement
    assert "kms:GenerateDataKeyWithoutPlaintext" not in {action for _, action in granted(ON_LAMBDA, deployable)}
    assert "GenerateDataKeyWithoutPlaintext" not in calls.sdk_operations(BINARIES / deployable, "kms")
    assert not [name for name in calls.functions_of(BINARIES / deployable, "tieline_store") if name.startswith(("rotation::", "reseal::"))]


@pytest.mark.parametrize("deployable", [*FUNCTIONS, "relay"])
def test_roles_allow_both_tables_during_a_restore(deployable):
    """Roles are changed first: programs that are not replaced yet read the stack's own table."""
    own, restored = ON_LAMBDA.attribute("ConfigTable", "Arn"), "arn:aws:dynamodb:us-east-1:123456789012:table/config-of-yesterday"
    stack = Stack("template.yaml", RelayImage=IMAGE, RestoredConfigTable="config-of-yesterday")
    before, after = (
        it.resources[f"{deployable.capitalize()}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] for it in (ON_LAMBDA, stack)
    )
    widened = [it | {"Resource": [own, restored]} if it["Resource"] == [own] else it for it in before]
    assert after == widened != before


def test_roles_are_one_for_each_deployable():
    roles = set(ON_LAMBDA.of_type("AWS::IAM::Role"))
    assert roles == {f"{name.capitalize()}Role" for name in (*FUNCTIONS, "relay")}
    for name in FUNCTIONS:
        assert ON_LAMBDA.resources[f"{name.capitalize()}Function"]["Properties"]["Role"] == f"arn:{name.capitalize()}Role"
    for stack in (ON_LAMBDA, IN_RELAYS):
        assert nested(stack, "Containers").resources["RelayTask"]["Properties"]["TaskRoleArn"] == "arn:RelayRole"


def test_runs_are_either_in_functions_or_in_containers():
    assert "RunnerFunction" in ON_LAMBDA.resources and "RunnerFunction" not in IN_RELAYS.resources
    for stack, runs in ((ON_LAMBDA, "lambda"), (IN_RELAYS, "container")):
        assert container_environment(stack, "RelayTask")["TIELINE_RUNS"] == runs
        assert stack.resolve(stack.source["Globals"])["Function"]["Environment"]["Variables"]["TIELINE_RUNS"] == runs
        assert list(nested(stack, "Containers").of_type("AWS::ECS::Service")) == ["RelayService"]
    assert "Containers" not in Stack("template.yaml").resources
    assert not ON_LAMBDA.refused() and not IN_RELAYS.refused()
    assert Stack("template.yaml", Runs="container").refused() == ["Runs=container needs RelayImage"]


# ---- Metrics


def stats(alarm: dict) -> list[dict]:
    """The metrics that an alarm evaluates."""
    return [it["MetricStat"]["Metric"] for it in alarm.get("Metrics", [alarm]) if "MetricStat" in it] or [alarm]


def watch_metrics() -> set[tuple[str, frozenset]]:
    """Our own metrics that alarms, dashboard and scaling use: name, and names of dimensions."""
    watch = nested(ON_LAMBDA, "Watch")
    namespace = f"Tieline/{PSEUDO['AWS::StackName']}"
    used = set()
    checked = nested(Stack("template.yaml", RelayImage=IMAGE, SyntheticCheck="ENABLED"), "Watch")
    alarms = checked.of_type("AWS::CloudWatch::Alarm") | nested(IN_RELAYS, "Watch").of_type("AWS::CloudWatch::Alarm")
    for it in alarms.values():
        for metric in stats(it):
            if metric["Namespace"] == namespace:
                used.add((metric["MetricName"], frozenset(dimension["Name"] for dimension in metric.get("Dimensions", []))))
    dashboard = json.loads(watch.resources["Dashboard"]["Properties"]["DashboardBody"])
    for widget in dashboard["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if isinstance(metric[0], dict):
                found = re.fullmatch(r"""SEARCH\('\{"([^"]+)",([\w,]+)\} MetricName="(\w+)"', '\w+', \d+\)""", metric[0]["expression"])
                assert found and found[1] == namespace, metric
                used.add((found[3], frozenset(found[2].split(","))))
            elif metric[0] == namespace:
                names = [part for part in metric[2:] if isinstance(part, str)]
                used.add((metric[1], frozenset(names[::2])))
    for it in nested(IN_RELAYS, "Containers").of_type("AWS::ApplicationAutoScaling::ScalingPolicy").values():
        specification = it["TargetTrackingScalingPolicyConfiguration"].get("CustomizedMetricSpecification")
        for metric in stats(specification) if specification else []:
            assert metric["Namespace"] == namespace
            used.add((metric["MetricName"], frozenset(dimension["Name"] for dimension in metric.get("Dimensions", []))))
    return used


def test_alarms_and_dashboard_use_the_metrics_that_programs_write():
    written = {(name, frozenset(labels)) for name, it in definitions()["metrics"].items() for labels in it["dimensions"]}
    used = watch_metrics()
    assert used <= written, "an alarm or dashboard uses a metric that no code writes"
    names = {name for name, _ in used}
    assert names == set(definitions()["metrics"]), "a metric is written that no alarm or dashboard shows"


def test_metrics_namespace_is_that_of_the_environment():
    for it in ENVIRONMENTS:
        assert it.values[1]["TIELINE_METRICS_NAMESPACE"] == f"Tieline/{PSEUDO['AWS::StackName']}"


def test_alarms_name_existing_queues_tables_and_functions():
    watch = nested(ON_LAMBDA, "Watch")
    there = {it["QueueName"] for it in ON_LAMBDA.of_type("AWS::SQS::Queue").values()}
    there |= {it["TableName"] for it in ON_LAMBDA.of_type("AWS::DynamoDB::Table").values()}
    there |= {it["FunctionName"] for it in ON_LAMBDA.of_type("AWS::Serverless::Function").values()}
    there |= {"Api"}
    alarms = watch.of_type("AWS::CloudWatch::Alarm")
    for name, it in alarms.items():
        assert it["AlarmActions"] == ["Alarms"], name
        if "Metrics" not in it and it["Namespace"].startswith("AWS/"):
            assert it["Dimensions"][0]["Value"] in there, name
    body = watch.resources["Dashboard"]["Properties"]["DashboardBody"]
    assert f'["AWS/Lambda", "UrlRequestCount", "FunctionName", "{PREFIX}webhook"]' in body, "the dashboard lacks the requests of the function URL"
    for name in re.findall(r'"(?:QueueName|TableName|FunctionName)", "([^"]+)"', body):
        assert name in there, name
    dead = {it["QueueName"] for key, it in ON_LAMBDA.of_type("AWS::SQS::Queue").items() if "Dead" in key}
    assert dead <= {it["Dimensions"][0]["Value"] for it in alarms.values() if it.get("Namespace") == "AWS/SQS"}


def test_latency_alarm_covers_callbacks_only():
    """Other requests wait for an answer on purpose (long polls), or carry files."""
    alarms = nested(ON_LAMBDA, "Watch").of_type("AWS::CloudWatch::Alarm").values()
    (slow,) = (it for it in alarms if it.get("MetricName") == "Latency")
    dimensions = {it["Name"]: it["Value"] for it in slow["Dimensions"]}
    route = f"{dimensions['Method']} {dimensions['Resource']}"
    stage = ON_LAMBDA.resources["Stage"]["Properties"]
    settings = dict(stage["RouteSettings"][route])
    assert settings.pop("DetailedMetricsEnabled") is True
    assert settings == {key: it for key, it in stage["DefaultRouteSettings"].items() if key.startswith("Throttling")}
    assert dimensions["Stage"] == stage["StageName"] and dimensions["ApiId"] == "Api"
    # API Gateway rejects settings of a route that doesn't exist yet.
    first = ON_LAMBDA.source["Resources"]["Stage"]["DependsOn"]
    assert ON_LAMBDA.resources[first]["Properties"]["RouteKey"] == route


def test_missing_runner_raises_an_alarm():
    """On Lambda AWS's own metrics show it; containers report their own liveness, and missing data raises the alarm."""
    on_lambda, in_relays = (set(nested(it, "Watch").of_type("AWS::CloudWatch::Alarm")) for it in (ON_LAMBDA, IN_RELAYS))
    assert in_relays - on_lambda == {"RunnerSilent"}
    assert on_lambda - in_relays == {"RunnerErrors", "RunnerThrottles", "RunnerLoopsStopped", "RunnersBusy"}
    alarm = nested(IN_RELAYS, "Watch").resources["RunnerSilent"]["Properties"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["TreatMissingData"]) == ("RunsInHand", "SampleCount", "breaching")
    # One value is written in each period: a single period may pass without one by chance, but not three.
    period = int(re.search(r"PERIOD: Duration = Duration::from_secs\((\d+)\)", (ROOT / "crates/bridge/src/metrics.rs").read_text())[1])
    assert alarm["Period"] == period and alarm["EvaluationPeriods"] == 3


def test_one_bad_bot_does_not_page():
    watch = nested(ON_LAMBDA, "Watch")
    for name in ("BotsDisconnected", "BotsRefused"):
        alarm = watch.resources[name]["Properties"]
        (share,) = (it for it in alarm["Metrics"] if it["ReturnData"])
        assert share["Expression"] == "100 * without / bots" and alarm["Threshold"] == 10
        states = {it["Id"]: it["MetricStat"]["Metric"].get("Dimensions") for it in alarm["Metrics"] if "MetricStat" in it}
        assert states["bots"] is None and states["without"][0]["Name"] == "State"


def goes_off(alarm: dict, failing: set[int], minutes: int, answered: int = 0) -> bool:
    """Whether an alarm fires within `minutes` if a call fails in each minute of `failing` and `answered` calls succeed every minute."""
    metric = next((it["MetricStat"] for it in alarm.get("Metrics", []) if "MetricStat" in it), alarm)
    period = metric["Period"] // 60
    beyond = []
    for start in range(0, minutes, period):
        failed = len(failing & set(range(start, start + period)))
        # The share is of all calls.
        value = failed if "Metrics" not in alarm else 100 * failed / (failed + answered * period or 1)
        beyond.append(value > alarm["Threshold"])
    n_periods = alarm["EvaluationPeriods"]
    windows = [beyond[max(0, end - n_periods) : end] for end in range(1, len(beyond) + 1)]
    return any(sum(window) >= alarm.get("DatapointsToAlarm", n_periods) for window in windows)


@pytest.mark.parametrize("name", ["WebhookErrors", "AdminErrors", "ApiErrors", "UrlErrors", "MessagesFail"])
def test_persistent_errors_page_and_transient_errors_do_not(name):
    alarm = nested(BY_URL, "Watch").resources[name]["Properties"]
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold" and alarm["TreatMissingData"] == "notBreaching"
    for every in (1, 3, 5, 7):
        assert goes_off(alarm, set(range(0, 60, every)), 60), f"no alarm for a failing bot that is called every {every} minutes"
    for start in range(60):
        assert not goes_off(alarm, set(range(start, start + 2)), 120), "an alarm for two minutes of transient errors"
        assert not goes_off(alarm, {start}, 120, answered=1000)


def minutes_until(alarm: dict, per_minute: int, minutes: int) -> int | None:
    """Minutes until an alarm on a sum fires, if `per_minute` are counted in each of the first `minutes` and none after them."""
    assert alarm["Statistic"] == "Sum" and alarm["ComparisonOperator"] == "GreaterThanThreshold"
    period, n_periods = alarm["Period"] // 60, alarm["EvaluationPeriods"]
    beyond = []
    for end in range(period, 120, period):
        counted = sum(per_minute for minute in range(end - period, end) if minute < minutes)
        beyond.append(counted > alarm["Threshold"])
        if sum(beyond[-n_periods:]) >= alarm.get("DatapointsToAlarm", n_periods):
            return end
    return None


def test_a_flood_of_callbacks_pages_within_five_minutes():
    """Throttled requests have no metric but the route's 4xx, which also counts single forged requests."""
    alarm = nested(ON_LAMBDA, "Watch").resources["CallbacksRefused"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/ApiGateway", "4xx")
    dimensions = {it["Name"]: it["Value"] for it in alarm["Dimensions"]}
    stage = ON_LAMBDA.resources["Stage"]["Properties"]
    route = stage["RouteSettings"][f"{dimensions['Method']} {dimensions['Resource']}"]
    assert route["DetailedMetricsEnabled"] is True, "else there is no metric of the route"
    flood = 60 * int(stage["DefaultRouteSettings"]["ThrottlingRateLimit"])
    assert minutes_until(alarm, flood, 120) <= 5
    assert minutes_until(alarm, 60 * 6, 120) <= 5
    assert minutes_until(alarm, 60, 120) is None, "an alarm for a platform that tests its signatures"
    assert minutes_until(alarm, flood, 2) is None, "an alarm for a flood that ends by itself"


def test_messages_without_an_answer_are_a_share_of_what_comes_in():
    alarm = nested(ON_LAMBDA, "Watch").resources["MessagesFail"]["Properties"]
    (share,) = (it for it in alarm["Metrics"] if it["ReturnData"])
    assert share["Expression"] == "100 * failed / events"
    metrics = {it["Id"]: it["MetricStat"]["Metric"] for it in alarm["Metrics"] if "MetricStat" in it}
    assert metrics["failed"]["Dimensions"] == [{"Name": "Fate", "Value": "failed"}]
    queue = ON_LAMBDA.resources["InboundQueue"]["Properties"]["QueueName"]
    assert metrics["events"]["Dimensions"] == [{"Name": "QueueName", "Value": queue}]
    assert not goes_off(alarm, set(range(240)), 240, answered=20), "an alarm though only a small share fails"


# ---- What a deployment must be like


def test_containers_are_hardened_and_drain():
    for stack in (ON_LAMBDA, IN_RELAYS):
        container = containers(stack, "RelayTask")
        assert container["User"].split(":")[0] not in ("", "0", "root")
        assert container["ReadonlyRootFilesystem"] is True
        assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
        assert container["StopTimeout"] == 120, "120 s is Fargate's maximum; the relay needs up to 110 s"
    services = nested(IN_RELAYS, "Containers").of_type("AWS::ECS::Service")
    for it in services.values():
        rolling = it["DeploymentConfiguration"]
        assert (rolling["MinimumHealthyPercent"], rolling["MaximumPercent"]) == (100, 200)
    for it in nested(ON_LAMBDA, "Containers").of_type("AWS::EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in it


def test_roles_trust_services_for_this_account_only():
    trusted = 0
    for stack in (ON_LAMBDA, nested(ON_LAMBDA, "Containers")):
        for name, role in stack.of_type("AWS::IAM::Role").items():
            for statement in role["AssumeRolePolicyDocument"]["Statement"]:
                if "ecs-tasks.amazonaws.com" in str(statement["Principal"]):
                    trusted += 1
                    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}, name
                    assert list(statement["Condition"]["StringEquals"]) == ["aws:SourceAccount"], name
    assert trusted == 2, "the relay, and what starts it"


def test_deployments_keep_the_scaled_task_count():
    network = nested(IN_RELAYS, "Containers")
    targets = [it["ResourceId"] for it in network.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()]
    services = network.of_type("AWS::ECS::Service")
    assert len(services) == 1
    for name, it in services.items():
        assert "DesiredCount" not in it, "every deployment would set it"
        assert any(f"/{name}." in target for target in targets), name


def test_relays_that_run_agents_scale_by_runs_and_cpu_too():
    policies = {key: nested(stack, "Containers").of_type("AWS::ApplicationAutoScaling::ScalingPolicy") for key, stack in (("lambda", ON_LAMBDA), ("container", IN_RELAYS))}
    assert set(policies["lambda"]) == {"RelayByConnections"}
    assert set(policies["container"]) == {"RelayByConnections", "RelayByRuns", "RelayByCpu"}


def test_relays_scale_out_before_one_is_full():
    limit = ON_LAMBDA.source["Parameters"]["MaxRuns"]
    places = limit["Default"]
    program = (ROOT / "crates/aws/src/environment.rs").read_text()
    assert int(re.search(r"DEFAULT_SLOTS: SlotLimits = SlotLimits \{\s+runs: (\d+),", program)[1]) == places
    policy = nested(IN_RELAYS, "Containers").resources["RelayByRuns"]["Properties"]
    target = policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
    assert places / 2 <= target <= limit["MinValue"] * 3 / 4


def test_runner_memory_matches_its_memory_budget():
    told = re.search(r"a runner on AWS may have (\d+) MB", (ROOT / "crates/bridge/src/world.rs").read_text())[1]
    memory = ON_LAMBDA.source["Parameters"]["RunnerMemory"]
    assert memory["MinValue"] == int(told) <= memory["Default"]


def test_old_images_expire():
    policy = json.loads(ON_LAMBDA.resources["Images"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"])
    prefixes = [prefix for rule in policy["rules"] for prefix in rule["selection"]["tagPrefixList"]]
    assert prefixes == ["relay-"]
    assert "tag=relay-" in (ROOT / "infra/relay-image.sh").read_text()


def test_own_vpc_is_made_only_where_none_is_given():
    given = Stack("template.yaml", RelayImage=IMAGE, VpcId="vpc-1", SubnetIds="subnet-1,subnet-2")
    network = nested(given, "Containers")
    assert not any(fnmatch.fnmatch(it["Type"], "AWS::EC2::*") and key != "OnlyOutward" for key, it in network.resources.items())
    (service,) = network.of_type("AWS::ECS::Service").values()
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"] == ["subnet-1", "subnet-2"]
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    public = Stack("template.yaml", RelayImage=IMAGE, VpcId="vpc-1", SubnetIds="subnet-1", PublicAddresses="ENABLED")
    (service,) = nested(public, "Containers").of_type("AWS::ECS::Service").values()
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "ENABLED"
    assert Stack("template.yaml", RelayImage=IMAGE, VpcId="vpc-1").refused() == ["VpcId needs SubnetIds"]
    assert given.refused() == public.refused() == ON_LAMBDA.refused() == []
    made = nested(ON_LAMBDA, "Containers")
    assert not made.of_type("AWS::EC2::NatGateway") and len(made.of_type("AWS::EC2::Subnet")) == 2


def test_firewall_caches_no_response():
    """Not even errors, which CloudFront caches for ten seconds by default, whatever the request."""
    stack = Stack("template.yaml", WebAclArn="arn:aws:wafv2:us-east-1:123456789012:global/webacl/w/1")
    distribution = stack.resources["Distribution"]["Properties"]["DistributionConfig"]
    assert distribution["DefaultCacheBehavior"]["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "CachingDisabled"
    kept = {it["ErrorCode"]: it["ErrorCachingMinTTL"] for it in distribution["CustomErrorResponses"]}
    assert kept == dict.fromkeys([400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504], 0)


def test_rate_limit_of_an_address_is_below_the_shared_throttle():
    """The limit leaves room for a platform, which calls all its bots from few addresses."""
    stack = Stack("waf.yaml")
    rules = {it["Name"]: it for it in stack.resources["Firewall"]["Properties"]["Rules"]}
    limit = rules["callbacks"]["Statement"]["RateBasedStatement"]
    assert limit["AggregateKeyType"] == "IP" and rules["callbacks"]["Action"] == {"Block": {}}
    covered = limit["ScopeDownStatement"]["RegexPatternSetReferenceStatement"]
    assert covered["Arn"] == "arn:Callbacks" and covered["FieldToMatch"] == {"UriPath": {}}
    per_second = int(limit["Limit"]) / 300
    stage = ON_LAMBDA.resources["Stage"]["Properties"]["DefaultRouteSettings"]
    assert per_second < int(stage["ThrottlingRateLimit"])
    assert int(limit["Limit"]) > int(rules["rate"]["Statement"]["RateBasedStatement"]["Limit"])
    assert len({it["Priority"] for it in rules.values()}) == len(rules)


def test_rate_limit_of_a_bot_is_below_the_shared_throttle():
    """The limit is by the URL path, whoever the sender is. Refused requests get 429, after which platforms deliver again."""
    rule = next(it for it in Stack("waf.yaml").resources["Firewall"]["Properties"]["Rules"] if it["Name"] == "callbacks-of-a-bot")
    limit = rule["Statement"]["RateBasedStatement"]
    assert limit["AggregateKeyType"] == "CUSTOM_KEYS" and [list(it) for it in limit["CustomKeys"]] == [["UriPath"]]
    assert limit["ScopeDownStatement"]["RegexPatternSetReferenceStatement"]["Arn"] == "arn:Callbacks"
    assert rule["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429
    per_second = int(limit["Limit"]) / int(limit["EvaluationWindowSec"])
    stage = ON_LAMBDA.resources["Stage"]["Properties"]["DefaultRouteSettings"]
    assert per_second <= int(stage["ThrottlingRateLimit"]) / 4
    # The function limits each bot to the same rate, for requests that don't pass the firewall.
    source = (ROOT / "functions/webhook/src/callback_limiter.rs").read_text()
    assert 1000 / int(re.search(r"INTERVAL: Duration = Duration::from_millis\((\d+)\)", source)[1]) == per_second


def test_firewall_rules_exempt_callbacks_only():
    """A platform calls all its bots from few addresses, and people's messages may look like attacks."""
    stack = Stack("waf.yaml")
    patterns = stack.resources["Callbacks"]["Properties"]["RegularExpressionList"]
    rules = {it["Name"]: it["Statement"] for it in stack.resources["Firewall"]["Properties"]["Rules"]}
    for statement in (rules["rate"]["RateBasedStatement"], rules["known-bad"]["ManagedRuleGroupStatement"]):
        left_alone = statement["ScopeDownStatement"]["NotStatement"]["Statement"]["RegexPatternSetReferenceStatement"]
        assert left_alone["Arn"] == "arn:Callbacks" and left_alone["FieldToMatch"] == {"UriPath": {}}
    routes = {it["RouteKey"].split(" ")[-1] for it in ON_LAMBDA.of_type("AWS::ApiGatewayV2::Route").values()}
    callback = next(it for it in routes if "/webhook/" in it)
    described = re.search(r'post, path = "(/api/runs/[^"]+)"', (ROOT / "crates/admin/src/runs.rs").read_text())[1]
    platforms = re.findall(r"&crate::(\w+)::", (ROOT / "crates/connectors/src/registry.rs").read_text())
    assert "wecom" in platforms
    ours = [callback.replace("{platform}", it).replace("{integrationId}", "int_0198c2f1") for it in [*platforms, "wechat_mp"]]
    ours.append(described.replace("{runId}", "run_0198c2f1"))
    others = [
        "/",
        "/api/v1/orgs",
        "/api/web/replies/rep_1",
        "/api/media/med_1",
        "/api/wecom/webhook/",
        "/api/wecom/webhook/..",
        "/api/wecom/webhook/int_1/../../v1/orgs",
        "/api/wecom/webhook/..%2f..%2fv1",
        "/x/api/wecom/webhook/int_1",
    ]
    assert [path for path in ours + others if any(re.search(it, path) for it in patterns)] == ours


def test_durable_resources_are_retained():
    for name in ("ConfigTable", "StateTable", "Key", "AdminToken", "Images"):
        resource = ON_LAMBDA.source["Resources"][name]
        assert resource["DeletionPolicy"].startswith("Retain") and resource["UpdateReplacePolicy"] == "Retain", name
    config = ON_LAMBDA.resources["ConfigTable"]["Properties"]
    assert config["DeletionProtectionEnabled"] is True
    restored = Stack("template.yaml", RestoredConfigTable="config-of-yesterday")
    variables = restored.resolve(restored.source["Globals"])["Function"]["Environment"]["Variables"]
    assert variables["TIELINE_CONFIG_TABLE"] == "config-of-yesterday"
    # The alarms watch the table in use.
    watch = nested(restored, "Watch")
    assert watch.resources["ConfigThrottles"]["Properties"]["Dimensions"] == [{"Name": "TableName", "Value": "config-of-yesterday"}]
    body = watch.resources["Dashboard"]["Properties"]["DashboardBody"]
    assert set(re.findall(r'"TableName", "([^"]+)"', body)) == {"config-of-yesterday", f"{PREFIX}state", f"{PREFIX}leases"}


def test_data_is_encrypted_and_logs_expire():
    for it in ON_LAMBDA.of_type("AWS::DynamoDB::Table").values():
        assert it["SSESpecification"]["KMSMasterKeyId"] == "arn:Key"
    for it in ON_LAMBDA.of_type("AWS::SQS::Queue").values():
        assert it["SqsManagedSseEnabled"] is True
    for it in ON_LAMBDA.of_type("AWS::Logs::LogGroup").values():
        assert it["RetentionInDays"] == 30
    assert "Resource: \"*\"" not in (ROOT / "infra/template.yaml").read_text().split("# ---- Roles")[1].split("# ---- HTTP API")[0]


def test_functions_in_given_subnets_have_the_policies_they_need():
    with_vpc = Stack("template.yaml", RelayImage=IMAGE, FunctionSubnetIds="subnet-1,subnet-2", FunctionSecurityGroupIds="sg-1", Tracing="Active")
    settings = with_vpc.resolve(with_vpc.source["Globals"])["Function"]
    assert settings["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert settings["Tracing"] == "Active"
    for name in FUNCTIONS:
        role = with_vpc.resources[f"{name.capitalize()}Role"]["Properties"]
        assert [it.rpartition("/")[2] for it in role["ManagedPolicyArns"]] == ["AWSLambdaVPCAccessExecutionRole", "AWSXRayDaemonWriteAccess"]
    assert Stack("template.yaml", FunctionSubnetIds="subnet-1").refused() == ["FunctionSubnetIds needs FunctionSecurityGroupIds"]
    assert with_vpc.refused() == []
    plain = ON_LAMBDA.resolve(ON_LAMBDA.source["Globals"])["Function"]
    assert "VpcConfig" not in plain and plain["Tracing"] == "PassThrough"


def test_every_role_has_the_boundary_that_the_account_demands():
    bound = Stack("template.yaml", RelayImage=IMAGE, PermissionsBoundary="arn:aws:iam::123456789012:policy/bound")
    roles = bound.of_type("AWS::IAM::Role") | nested(bound, "Containers").of_type("AWS::IAM::Role")
    assert len(roles) == 6
    for name, it in roles.items():
        assert it["PermissionsBoundary"] == "arn:aws:iam::123456789012:policy/bound", name
    assert not any("PermissionsBoundary" in it for it in ON_LAMBDA.of_type("AWS::IAM::Role").values())


def test_relay_keeps_its_minimum_off_spot_unless_spot_is_all():
    def service(spot: str) -> dict:
        network = nested(Stack("template.yaml", RelayImage=IMAGE, RelaySpot=spot), "Containers")
        assert ("CapacityProviders" in network.resources["Cluster"]["Properties"]) == (spot != "NONE")
        return network.resources["RelayService"]["Properties"]

    assert service("NONE")["LaunchType"] == "FARGATE" and "CapacityProviderStrategy" not in service("NONE")
    least = ON_LAMBDA.source["Parameters"]["RelayMinTasks"]["Default"]
    assert service("EXTRA")["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Base": least, "Weight": 0},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 1},
    ]
    assert service("ALL")["CapacityProviderStrategy"] == [{"CapacityProvider": "FARGATE_SPOT", "Weight": 1}]
    assert "LaunchType" not in service("ALL")


def test_table_and_index_are_warmed_up_together():
    state = Stack("template.yaml", WarmWriteUnits="12000").resources["StateTable"]["Properties"]
    warm = {"WriteUnitsPerSecond": "12000", "ReadUnitsPerSecond": 12000}
    assert state["WarmThroughput"] == state["GlobalSecondaryIndexes"][0]["WarmThroughput"] == warm
    assert "WarmThroughput" not in ON_LAMBDA.resources["StateTable"]["Properties"]
