"""Which alarm fires when something breaks, and how soon: each failure as its metrics, evaluated as CloudWatch does.

The figures are the worst over all minutes in which a failure can begin, as periods begin on the clock.
"""

import json
import re
import sys
from pathlib import Path

import pytest
from alarms import Series, minutes_until, period_value
from template import PSEUDO, Stack, nested

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "example/tieline@sha256:" + "0" * 64
STACK = PSEUDO["AWS::StackName"]
OURS = f"Tieline/{STACK}"
ON_LAMBDA = nested(Stack("template.yaml", RelayImage=IMAGE), "Watch")
# With the optional alarms switched on.
WATCHED = nested(Stack("template.yaml", RelayImage=IMAGE, SyntheticCheck="ENABLED", MaxUsdPerHour="2"), "Watch")
IN_RELAYS = nested(Stack("template.yaml", RelayImage=IMAGE, Runs="container"), "Watch")

# An hour without failures comes first, then the failure in any minute of half an hour, since the longest period may begin in any of them.
WELL = 60
LONGEST_PERIOD = 30


def since(begins: int, values: Series, before: Series = lambda minute: []) -> Series:
    """`values` from minute `begins` on, counted from it, and `before` until then."""
    return lambda minute: values(minute - begins) if minute >= begins else before(minute)


def each(every: int, value: float = 1) -> Series:
    return lambda minute: [value] if minute % every == 0 else []


def at(*minutes: int) -> Series:
    return lambda minute: [1.0] if minute in minutes else []


def lambda_errors(function: str) -> str:
    return f"AWS/Lambda Errors {STACK}-{function}"


def age(queue: str) -> str:
    return f"AWS/SQS ApproximateAgeOfOldestMessage {STACK}-{queue}"


def failing_checks(first: int) -> Series:
    """A check every three minutes; `first` is the first one that fails."""
    return lambda minute: [1.0] if minute >= first and (minute - first) % 3 == 0 else []


PASSING_CHECKS = {f"{OURS} FailedChecks": each(3, 0)}

# What each failure looks like: the stack, the alarm, the metrics from the minute in which it begins, those before, and the maximum minutes.
WALK = {
    # A failed message is received again after the visibility timeout of 30 s, so one chat's message fails in every minute.
    "dispatcher can't start, one chat": (ON_LAMBDA, "DispatcherErrors", {lambda_errors("dispatcher"): each(1)}, {}, 4),
    # The function doesn't fail: it reports single records as failed, which are hidden and delivered again.
    "dispatcher's records fail, as the table is unreachable": (ON_LAMBDA, "EventsWait", {age("inbound.fifo"): lambda n: [60.0 * n + 59]}, {}, 5),
    # A wake-up and its watchdog 31 s later; both are received again only after a quarter of an hour.
    "runner can't start, one chat": (ON_LAMBDA, "RunnerErrors", {lambda_errors("runner"): at(0, 1, 15, 16)}, {}, 2),
    "runner loses memory and dies in every run, one chat": (ON_LAMBDA, "RunnerErrors", {lambda_errors("runner"): at(0, 1, 2)}, {}, 2),
    # No error is counted until Lambda ends the invocation after a quarter of an hour.
    "runner hangs": (ON_LAMBDA, "RunnerErrors", {lambda_errors("runner"): at(15, 16)}, {}, 17),
    # A check has passed just before; the next one reports its failure within its own 24 s.
    "runner hangs, with the synthetic check": (WATCHED, "ChecksFail", {f"{OURS} FailedChecks": failing_checks(3)}, PASSING_CHECKS, 5),
    "all slots of runners are taken by agents that don't answer": (
        ON_LAMBDA,
        "RunnersBusy",
        {f"AWS/Lambda ConcurrentExecutions {STACK}-runner": each(1, 50)},
        {f"AWS/Lambda ConcurrentExecutions {STACK}-runner": each(1, 20)},
        4,
    ),
    "all dispatchers are busy": (
        ON_LAMBDA,
        "DispatchersBusy",
        {f"AWS/Lambda ConcurrentExecutions {STACK}-dispatcher": each(1, 20)},
        {f"AWS/Lambda ConcurrentExecutions {STACK}-dispatcher": each(1, 3)},
        4,
    ),
    # A loop that writes 1,500 units a second: 3.4 USD an hour.
    "cost runs away in writes": (WATCHED, "SpendingFast", {f"AWS/DynamoDB ConsumedWriteCapacityUnits {STACK}-state": each(1, 90000)}, {}, 4),
    # Fifty runners that wait all the time: 0.6 USD an hour, and 500 requests a second: 2.2.
    "cost runs away in requests": (
        WATCHED,
        "SpendingFast",
        {"AWS/ApiGateway Count Api": each(1, 30000), f"AWS/Lambda Duration {STACK}-runner": each(1, 3e6)},
        {},
        4,
    ),
    "relays that run are gone": (IN_RELAYS, "RunnerSilent", {}, {f"{OURS} RunsInHand": each(1, 3)}, 5),
    "relay is gone": (ON_LAMBDA, "RelayWithoutHeartbeat", {}, {f"{OURS} Heartbeats": lambda minute: [1.0, 1.0]}, 5),
    "account has no concurrency left": (ON_LAMBDA, "RunnerThrottles", {f"AWS/Lambda Throttles {STACK}-runner": each(1)}, {}, 4),
    "callbacks are throttled": (
        ON_LAMBDA,
        "CallbacksRefused",
        {"AWS/ApiGateway 4xx Api $default POST /api/{platform}/webhook/{integrationId}": each(1, 3000)},
        {},
        4,
    ),
    "table is throttled": (ON_LAMBDA, "StateThrottles", {f"AWS/DynamoDB WriteThrottleEvents {STACK}-state": each(1)}, {}, 4),
    "index is throttled": (ON_LAMBDA, "IndexThrottles", {f"AWS/DynamoDB WriteThrottleEvents {STACK}-state byIntegration": each(1)}, {}, 4),
    "webhook can't start": (ON_LAMBDA, "WebhookErrors", {lambda_errors("webhook"): each(1, 50)}, {}, 4),
    # Its third call: a single failed call doesn't page.
    "webhook can't start, one bot that is called every seven minutes": (ON_LAMBDA, "WebhookErrors", {lambda_errors("webhook"): each(7)}, {}, 16),
    "webhook can't start and no bot is called, with the synthetic check": (
        WATCHED,
        "ChecksFail",
        {f"{OURS} FailedChecks": failing_checks(3)},
        PASSING_CHECKS,
        5,
    ),
    # The schedule invokes it once a minute, in addition to all other calls.
    "admin can't start": (ON_LAMBDA, "AdminErrors", {lambda_errors("admin"): each(1)}, {}, 4),
    "tables are unreachable for the API": (ON_LAMBDA, "ApiErrors", {"AWS/ApiGateway 5xx Api": each(1, 5)}, {}, 4),
    # An agent that refuses connections is given up after three tries, within half a minute.
    "every agent is down": (
        ON_LAMBDA,
        "MessagesFail",
        {f"{OURS} Messages failed": since(1, each(1, 10)), f"AWS/SQS NumberOfMessagesSent {STACK}-inbound.fifo": each(1, 10)},
        {f"AWS/SQS NumberOfMessagesSent {STACK}-inbound.fifo": each(1, 10)},
        5,
    ),
    "the only agent is down, which is asked every five minutes": (
        ON_LAMBDA,
        "MessagesFail",
        {f"{OURS} Messages failed": each(5), f"AWS/SQS NumberOfMessagesSent {STACK}-inbound.fifo": each(5)},
        {},
        12,
    ),
    "every bot is refused": (
        ON_LAMBDA,
        "BotsRefused",
        {f"{OURS} Connections disconnected": each(1, 9), f"{OURS} Connections": each(1, 9)},
        {f"{OURS} Connections": each(1, 9)},
        5,
    ),
    "event that no program can read": (
        ON_LAMBDA,
        "EventsInDeadLetters",
        {f"AWS/SQS ApproximateNumberOfMessagesVisible {STACK}-inbound-dead.fifo": each(1)},
        {},
        2,
    ),
}


SOON = 5
# Failures that no alarm can show sooner.
LATER = {
    "runner hangs": "Lambda counts an error when it ends a function, and a run may take a quarter of an hour; SyntheticCheck finds it in five minutes",
    "webhook can't start, one bot that is called every seven minutes": "a single failed call doesn't page; SyntheticCheck finds it in five minutes",
    "the only agent is down, which is asked every five minutes": "a single message without an answer doesn't page: the agent is not part of the bridge",
}


@pytest.mark.parametrize("failure", WALK)
def test_failure_raises_its_alarm_within_the_limit(failure):
    stack, name, failing, well, most = WALK[failure]
    alarm = stack.resources[name]["Properties"]
    assert alarm["AlarmActions"] == ["Alarms"]
    minutes = []
    for begins in range(WELL, WELL + LONGEST_PERIOD):
        series = {
            metric: since(begins, failing.get(metric, lambda minute: []), well.get(metric, lambda minute: [])) for metric in {*failing, *well}
        }
        minutes.append(minutes_until(alarm, series, begins))
    assert None not in minutes, "no alarm fires"
    print(f"{failure}: {alarm['AlarmName'].removeprefix(STACK + '-')} after {min(minutes)} to {max(minutes)} minutes")
    assert max(minutes) <= most
    assert most <= SOON or failure in LATER, "the alarm fires too late; list the failure in LATER with the reason"


@pytest.mark.parametrize("stack", [ON_LAMBDA, IN_RELAYS, WATCHED])
def test_no_alarm_fires_without_a_failure(stack):
    well = PASSING_CHECKS | {f"{OURS} Heartbeats": lambda minute: [1.0, 1.0], f"{OURS} RunsInHand": each(1, 3), age("inbound.fifo"): each(1, 2), age("work"): each(1, 900)}
    well |= {f"AWS/Lambda ConcurrentExecutions {STACK}-runner": each(1, 44), "AWS/ApiGateway Count Api": each(1, 6000)}
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        if "Statistic" in alarm or "Metrics" in alarm:
            assert minutes_until(alarm, well, 0) is None, name


def test_synthetic_check_is_scheduled_where_it_has_an_alarm():
    """Every three minutes, by the event that the function knows; neither alarm nor schedule exists where it isn't enabled."""
    outer = Stack("template.yaml", RelayImage=IMAGE, SyntheticCheck="ENABLED")
    rule = outer.resources["CheckSchedule"]["Properties"]
    assert rule["ScheduleExpression"] == "rate(3 minutes)", "failing_checks assumes three minutes"
    (target,) = rule["Targets"]
    event = json.loads(target["Input"])
    handler = (ROOT / "functions/admin/src/handler.rs").read_text()
    assert f'("{event["source"]}", "{event["detail-type"]}") => Some(Work::Check)' in handler
    assert outer.resources["CheckPermission"]["Properties"]["SourceArn"] == "arn:CheckSchedule"
    # Both tries fit into the function's timeout.
    source = (ROOT / "crates/admin/src/synthetic_check.rs").read_text()
    patience = int(re.search(r"PATIENCE: Duration = Duration::from_secs\((\d+)\)", source)[1])
    tries = int(re.search(r"TRIES: u32 = (\d+)", source)[1])
    assert patience * tries + 4 <= outer.resources["AdminFunction"]["Properties"]["Timeout"]
    without = Stack("template.yaml", RelayImage=IMAGE)
    assert "CheckSchedule" not in without.resources and "ChecksFail" not in ON_LAMBDA.resources


def test_budget_notifies_the_address():
    watch = nested(Stack("template.yaml", AlarmEmail="ops@example.com", BudgetUsd="100"), "Watch")
    budget = watch.resources["Budget"]["Properties"]
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "100", "Unit": "USD"}
    for it in budget["NotificationsWithSubscribers"]:
        assert it["Subscribers"] == [{"SubscriptionType": "EMAIL", "Address": "ops@example.com"}]
    assert "Budget" not in ON_LAMBDA.resources
    assert Stack("template.yaml", BudgetUsd="100").refused() == ["BudgetUsd needs AlarmEmail"]


def test_spending_is_computed_with_the_prices_of_the_cost_script():
    sys.path.insert(0, str(ROOT / "infra"))
    import costs

    alarm = WATCHED.resources["SpendingFast"]["Properties"]
    for metric, price in {
        "AWS/ApiGateway Count Api": costs.price("http_api") + costs.price("lambda_request"),
        f"AWS/DynamoDB ConsumedWriteCapacityUnits {STACK}-state": costs.price("write_unit"),
        f"AWS/DynamoDB ConsumedReadCapacityUnits {STACK}-state": costs.price("read_unit"),
        f"AWS/DynamoDB ConsumedReadCapacityUnits {STACK}-config": costs.price("read_unit"),
        # Each message is sent, received and deleted.
        f"AWS/SQS NumberOfMessagesSent {STACK}-inbound.fifo": 3 * costs.price("sqs_fifo"),
        f"AWS/SQS NumberOfMessagesSent {STACK}-work": 3 * costs.price("sqs_fair"),
        f"AWS/Lambda Duration {STACK}-runner": 0.25 / 1000 * costs.price("lambda_gb_s"),
    }.items():
        assert period_value(alarm, {metric: each(1, 1e6)}, 0, 1) == pytest.approx(60 * 1e6 * price, rel=0.001), metric
