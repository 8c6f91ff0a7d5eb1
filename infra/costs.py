#!/usr/bin/env python3
"""What Tieline costs on AWS: a table per million messages, and one per thousand bots on long connections.

List prices of us-east-1 in USD, without free tiers. What a message asks of tables and queues is measured (`measured.json`, written
by the test `message_cost`); what else is assumed stands in `ASSUMED`, each with its reason. Run it: `python3 infra/costs.py`.
"""

import json
import re
from pathlib import Path

MONTH_H = 730

# Price, unit, source.
PRICES = {
    "http_api": (1.00e-6, "request", "https://aws.amazon.com/api-gateway/pricing/ (HTTP APIs, first 300 million)"),
    "lambda_request": (0.20e-6, "request", "https://aws.amazon.com/lambda/pricing/"),
    "lambda_gb_s": (0.0000133334, "GB-second, arm64", "https://aws.amazon.com/lambda/pricing/"),
    "sqs_fifo": (0.50e-6, "request of up to 64 KB", "https://aws.amazon.com/sqs/pricing/ (FIFO)"),
    "sqs_fair": (0.50e-6, "request of up to 64 KB", "https://aws.amazon.com/sqs/pricing/ (standard 0.40, fair queue +0.10)"),
    "write_unit": (0.625e-6, "write unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/ (standard table class)"),
    "read_unit": (0.125e-6, "read unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/ (standard table class)"),
    "stored_gb": (0.25, "GB and month", "https://aws.amazon.com/dynamodb/pricing/on-demand/ (standard table class)"),
    "log_gb": (0.50, "GB taken in", "https://aws.amazon.com/cloudwatch/pricing/ (standard class)"),
    "metric": (0.30, "metric and month", "https://aws.amazon.com/cloudwatch/pricing/ (first 10 000)"),
    "alarm": (0.10, "metric of an alarm and month", "https://aws.amazon.com/cloudwatch/pricing/ (standard resolution)"),
    "egress_gb": (0.09, "GB to the internet", "https://aws.amazon.com/ec2/pricing/on-demand/ (first 10 TB)"),
    "kms_key": (1.00, "key and month", "https://aws.amazon.com/kms/pricing/"),
    "secret": (0.40, "secret and month", "https://aws.amazon.com/secrets-manager/pricing/"),
    "vcpu_h": (0.03238, "vCPU-hour, arm64", "https://aws.amazon.com/fargate/pricing/ (Linux/ARM)"),
    "gb_h": (0.00356, "GB-hour, arm64", "https://aws.amazon.com/fargate/pricing/ (Linux/ARM)"),
    "spot": (0.3, "share of the price, on Spot", "https://aws.amazon.com/fargate/pricing/ (Fargate Spot, up to 70 % less)"),
    "ipv4_h": (0.005, "public IPv4 address-hour", "https://aws.amazon.com/vpc/pricing/"),
}

# Value, reason.
ASSUMED = {
    "receive_batch": (2, "events or wake-ups that one receive brings, in a bridge with some hundred thousand messages a day; up to 10"),
    "webhook_ms": (12, "billed time of webhook for a callback: verified and sealed in under 0.1 ms, one read, one send to SQS"),
    "dispatcher_ms": (30, "time of dispatcher for an event: some reads and three writes, one after the other"),
    "runner_ms": (60, "time of runner for a run without the agent's: reads, writes, two calls to the platform"),
    "watch_ms": (6, "time of runner for a wake-up that finds nothing to do: one read"),
    "notify_look_ms": (30, "billed time of admin for its pass a minute, where no organization wants notifications: a read for them, and one of the change counters of lists"),
    "metrics": (27, "metrics of a deployment with one platform: 21 of the programs, six of the callbacks' route"),
    "route_metrics": (6, "metrics of the callbacks' route, included in the above: Lambda's own metrics of a function URL cost nothing"),
    "idle_metrics_of_relay": (1, "its heartbeat: all others are written only while something happens, and a metric is paid for by the hours in which values come"),
    "memory_gb": (0.25, "memory of a function, as in template.yaml"),
    "log_bytes": (800, "what the functions log for a message at LogLevel=info: two lines"),
    "metric_bytes": (350, "lines of metrics for a message: two, shared by the messages of an invocation"),
    "egress_bytes": (2000, "calls to the platform and the agent; those to AWS stay inside"),
    "stored_bytes": (1200, "what is kept of a message for a month, with its index and a quarter of its reply, which is kept for a week"),
    "poll_read_units": (2, "what webhook reads for a poll: the integration with its trigger, the reply"),
    "check_min": (3, "minutes between two synthetic checks, as in template.yaml"),
    "check_ms": (900, "time of admin for a check: two calls of the public address, of which the second waits for the answer"),
    "metrics_of_check": (12, "its own, six of the callbacks' route, five of a message on one platform"),
    "agent_s": (20, "how long an agent takes, where its time is counted"),
    "call_bytes": (500, "headers of a call of the platform, besides its body"),
    "runs_per_invocation": (1.5, "runs that wait in one invocation of runner at the same time; up to 10"),
    "runs_per_container": (200, "runs that wait in a container of 0.25 vCPU and 0.5 GB at the same time, on average"),
    "sockets_per_relay": (2000, "connections of a relay task, as RelayConnectionsPerTask"),
    "messages_per_bot": (1000, "messages of a bot in a month"),
    "heartbeat_s": (3, "time between two heartbeats of a relay, as in crates/bridge/src/connections"),
    "look_s": (1, "time between two polls of the tables by a relay, as there: who holds which shard, and which lists of bots have changed"),
    "look_read_units": (2, "strong reads of such a poll: about 20 small items in one query, and one item below 4 KB with all change counters of lists; each a unit"),
    "lists": (256, "lists of bots, one for each virtual shard, as in crates/core/src/virtual_shard.rs; each is read by one relay, and costs a unit even if it is empty"),
    "list_s": (300, "time between two reads of a list without changes, as in crates/bridge/src/connections"),
    "listed_bytes": (250, "entry of a bot in a list: its key, its id and its organization's, a version, a digest"),
}

# The minimum without which a guarantee of this path would break, to judge the distance to the goal.
LEAST = {
    "write_units": (5, "the claim of a message, its place in the mailbox, the lease with the run, the answer, the end: each is durable before what follows"),
    "read_units": (1.5, "the conversation for who writes and for who works, the message: each may be read as it was a moment ago, for a write on its version follows"),
}

# Goals for a million messages, and the limits until they are reached: lower is better, higher fails a test.
AIM = 6.00
LIMIT = 10.10

# Why a bare message costs more than its goals.
BARE = "two writes: the index by which an integration's messages are listed by time, and the message's own end; the read of a watchdog and three of configuration"

# Goals for a million: figure, goal at a million a month, goal at a hundred million; and the reason if it is missed.
GOALS = (
    ("bare message", 8, 6, BARE),
    ("streamed on lark", 20, 20, "the bare message; calls of the platform with all of the text so far"),
    ("streamed on dingtalk", 20, 20, "the bare message; a heartbeat of the lease; records of what can't be repeated"),
    ("streamed on wecom_socket", 20, 20, "the bare message; records of what can't be repeated"),
    ("streamed on wecom_callback", 45, 45, "a poll a second is a request of the HTTP API, 1.24 each with its function, which a function URL serves for 0.24; a record of a growing answer writes all of it"),
    ("streamed on telegram", 20, 20, "the bare message; a call for each step of the text"),
    ("streamed on discord", 20, 20, "the bare message; a call for each step of the text"),
    ("streamed on custom", 20, 20, "its calls, each with the whole text"),
    ("streamed on weibo", 20, 20, "a record of each piece, for none may be sent again: fewer and longer pieces"),
    ("watch over a callback after 10 min", 5, 5, ""),
    ("watch over a callback after 1 h", 5, 5, "four looks, each a message of a queue, 1.00, and a read"),
)

# Goals for one message by webhook, in units of tables.
UNIT_GOALS = (("write_units", 5), ("read_units", 4))

# Messages per receive at a million and at a hundred million a month.
VOLUMES = (2, 10)

# The number of messages per receive determines the cost of queues and functions, and isn't known before there is load. The table and queue
# requests of a message are measured for each of these numbers, with as many bots.
BATCHES = (1, 2, 5, 10)

WATCH = Path(__file__).with_name("watch.yaml").read_text()
MEASURED = json.loads(Path(__file__).with_name("measured.json").read_text())


def price(name: str) -> float:
    return PRICES[name][0]


def assumed(name: str) -> float:
    return ASSUMED[name][0]


def alarms(conditions: set[str]) -> int:
    """What alarms look at where these conditions of watch.yaml hold: an alarm is paid for by the metrics."""
    blocks = re.split(r"^  (?=\w+:$)", WATCH, flags=re.M)
    needed = {block: set(re.findall(r"^    Condition: (\w+)", block, flags=re.M)) for block in blocks}
    return sum(block.count("MetricName:") for block, needs in needed.items() if needs <= conditions)


def duration(ms: float) -> float:
    """A function's time."""
    return ms / 1000 * assumed("memory_gb") * price("lambda_gb_s")


def request(by_url: bool) -> float:
    """Cost of a platform's request before it reaches the function: via the HTTP API, or via a function URL."""
    return 0 if by_url else price("http_api")


def message(by_webhook: bool = True, batch: int = assumed("receive_batch"), least: bool = False, by_url: bool = False) -> dict[str, float]:
    """What one message costs, by what is paid for, if so many share a receive; or the least that it could."""
    measured = dict(MEASURED["push"][str(batch)])
    if least:
        measured.update({name: value for name, (value, _) in LEAST.items()})
    lines = message_of(measured, by_webhook, batch, by_url=by_url)
    if least:
        for name in ("DynamoDB storage", "CloudWatch logs"):
            del lines[name]
    return lines


def message_of(measured: dict, by_webhook: bool, batch: int, at_relay: bool = False, by_url: bool = False) -> dict[str, float]:
    """What a message costs that asks for what was measured.

    Events and wake-ups that come together are worked on at the same time, and Lambda bills the invocation: its time is shared by them.
    A relay that runs what is for its bots takes them off the queue of a shard, and its own time is not paid for by the message.
    """
    wakes = measured["wake_ups"]
    sends = measured["calls"].get("SendMessageBatch", 0)
    logged = (assumed("log_bytes") + assumed("metric_bytes")) / 1e9
    return {
        "HTTP API": request(by_url) if by_webhook else 0,
        "Lambda requests": ((1 if by_webhook else 0) + (measured["events"] + wakes) / batch) * price("lambda_request"),
        "Lambda time": (duration(assumed("webhook_ms")) if by_webhook else 0)
        + duration(assumed("dispatcher_ms")) * measured["events"] / batch
        + (0 if at_relay else duration(assumed("runner_ms"))) / batch
        + duration(assumed("watch_ms")) * (wakes - (0 if at_relay else 1)) / batch,
        "SQS inbound (FIFO)": measured["events"] * (1 + 2 / batch) * price("sqs_fifo"),
        "SQS work (fair)": (sends + wakes * 2 / batch) * price("sqs_fair"),
        "SQS to relays (FIFO)": measured.get("for_relays", 0) * (1 + 2 / batch) * price("sqs_fifo"),
        "DynamoDB writes": measured["write_units"] * price("write_unit"),
        "DynamoDB reads": measured["read_units"] * price("read_unit"),
        "DynamoDB storage": assumed("stored_bytes") / 1e9 * price("stored_gb"),
        "CloudWatch logs": logged * price("log_gb"),
        "Data to the internet": assumed("egress_bytes") / 1e9 * price("egress_gb"),
    }


def million_at(batch: int, least: bool = False, by_url: bool = False) -> float:
    """What a million messages by webhook cost if so many share a receive."""
    return 1e6 * sum(message(batch=batch, least=least, by_url=by_url).values())


def poll(by_url: bool = False) -> dict[str, float]:
    """What it costs to answer a platform that fetches the growing answer, as WeCom's callbacks do about once a second."""
    return {
        "HTTP API": request(by_url),
        "Lambda": price("lambda_request") + duration(assumed("webhook_ms")),
        "DynamoDB reads": assumed("poll_read_units") * price("read_unit"),
        "Data to the internet": assumed("egress_bytes") / 1e9 * price("egress_gb"),
    }


def waiting_on_lambda() -> float:
    """What it costs to wait for one agent in a function."""
    return duration(assumed("agent_s") * 1000) / assumed("runs_per_invocation")


def container_month(on_spot: bool = False) -> float:
    share = price("spot") if on_spot else 1
    return MONTH_H * (share * (0.25 * price("vcpu_h") + 0.5 * price("gb_h")) + price("ipv4_h"))


def waiting_on_ecs() -> float:
    """What it costs to wait for one agent in a container that is as busy as assumed."""
    runs_a_month = MONTH_H * 3600 / assumed("agent_s") * assumed("runs_per_container")
    return container_month() / runs_a_month


def streamed(platform: str, batch: int, by_url: bool = False) -> dict[str, float] | None:
    """What an answer costs that grows for 20 s, waited for in containers. `None` if it is not measured."""
    measured = MEASURED["stream"].get(platform)
    if measured is None:
        return None
    polls = measured["polls"]
    sent = measured["platform_bytes"] + measured["platform_calls"] * assumed("call_bytes") + measured["poll_bytes"]
    # The reads of polls are included in those of the message.
    relayed = measured.get("relayed", False)
    return message_of(measured, not relayed, batch, at_relay=relayed, by_url=by_url) | {
        "Polls": polls * (request(by_url) + price("lambda_request") + duration(assumed("webhook_ms"))),
        "Waiting for the agent": waiting_on_ecs(),
        "Growing text to the internet": sent / 1e9 * price("egress_gb"),
    }


def watch_over(callback: str, batch: int) -> float:
    """What it costs to watch over a run whose agent calls back so much later, besides what it costs at once."""
    at_once, later = (sum(message_of(MEASURED["callback"][name], True, batch).values()) for name in ("at_once", callback))
    # These checks are no runs: each takes as long as a wake-up that finds nothing to do, as measured.
    return later - at_once


def goal_figures(batch: int, by_url: bool = False) -> dict[str, float | None]:
    """A million of each of GOALS."""
    figures: dict[str, float | None] = {"bare message": sum(message(batch=batch, by_url=by_url).values())}
    for platform in MEASURED["stream"]:
        lines = streamed(platform, batch, by_url)
        figures[f"streamed on {platform}"] = lines and sum(lines.values())
    figures["watch over a callback after 10 min"] = watch_over("10_min", batch)
    figures["watch over a callback after 1 h"] = watch_over("1_h", batch)
    return {name: amount and amount * 1e6 for name, amount in figures.items()}


def print_goals() -> None:
    """Prints the cost of a million beside its goal, for both volumes and both entries of callbacks, and the reason for each missed goal."""
    for by_url in (False, True):
        entry = "a function URL (CallbackEntry=FUNCTION_URL)" if by_url else "the HTTP API (CallbackEntry=HTTP_API)"
        print(f"\nGoals, USD a million, at a million and at a hundred million a month; callbacks via {entry}, runs wait in containers")
        figures = [goal_figures(batch, by_url) for batch in VOLUMES]
        for name, *goals, reason in GOALS:
            met, shown = True, ""
            for goal, found in zip(goals, figures):
                amount = found[name]
                met &= amount is not None and amount <= goal
                shown += f"{'-' if amount is None else f'{amount:.2f}':>10} of {goal:<4}"
            print(f"  {name:<36}{shown}  {'at its goal' if met else reason}")
    units = MEASURED["push"]["1"]
    for name, goal in UNIT_GOALS:
        met = "at its goal" if units[name] <= goal else GOALS[0][-1]
        print(f"  {name.replace('_', ' ') + ' of a bare message':<36}{units[name]:>10.2f} of {goal:<4}{'':17}  {met}")


def synthetic_check() -> dict[str, float]:
    """What the synthetic check costs by the month where nothing else is going on."""
    checks = 60 * MONTH_H / assumed("check_min")
    return {
        "Messages": checks * sum(message(batch=1).values()),
        "Checks": checks * (price("lambda_request") + duration(assumed("check_ms"))),
        "Metrics that are else not written": assumed("metrics_of_check") * price("metric"),
        "Alarm": price("alarm"),
    }


def fixed_month(n_relays: int, is_used: bool, on_spot: bool = False, by_url: bool = False, n_bots: int = 0) -> dict[str, float]:
    """What a deployment costs by the month, besides its messages."""
    used = assumed("metrics") - (assumed("route_metrics") if by_url else 0)
    metrics = used if is_used else assumed("idle_metrics_of_relay") * bool(n_relays)
    polls_of_a_mapping = 5 * 3 * 60 * MONTH_H
    polls_of_a_shard = 3 * 60 * MONTH_H
    month_s = 3600 * MONTH_H
    reads_of_a_relay = month_s / assumed("look_s") * assumed("look_read_units")
    readings_of_lists = month_s / assumed("list_s") * assumed("lists") * bool(n_relays)
    units_of_a_list = max(1, -(-n_bots * assumed("listed_bytes") // int(assumed("lists") * 4096)))
    holds = {"RunsInLambda"} | ({"HasRelay"} if n_relays else set()) | ({"HasCallbackUrl"} if by_url else set())
    return {
        "KMS key, secret": price("kms_key") + price("secret"),
        "Polling of two idle mappings": polls_of_a_mapping * (price("sqs_fifo") + price("sqs_fair")),
        "Polling of 16 idle shards": (16 * polls_of_a_shard * price("sqs_fifo")) if n_relays else 0,
        "Looks for notifications": 60 * MONTH_H * (price("lambda_request") + duration(assumed("notify_look_ms")) + 2 * price("read_unit")),
        "Alarms": alarms(holds) * price("alarm"),
        "Metrics (one platform)": metrics * price("metric"),
        "Relay tasks with addresses": n_relays * container_month(on_spot),
        "Heartbeats of relays": n_relays * month_s / assumed("heartbeat_s") * price("write_unit"),
        "Looks of relays": n_relays * reads_of_a_relay * price("read_unit"),
        "Lists of bots": readings_of_lists * units_of_a_list * price("read_unit"),
    }


def long_connections(n_bots: int) -> dict[str, float]:
    """What `n_bots` on long connections cost by the month, their messages included."""
    n_relays = max(2, -(-n_bots // int(assumed("sockets_per_relay"))))
    lines = fixed_month(n_relays, is_used=True, n_bots=n_bots)
    # An answer is sent through the relay's queue, several parts of it together.
    pieces = 4 * (1 + 2 / assumed("receive_batch")) * price("sqs_fifo")
    each = sum(message(by_webhook=False).values()) + pieces
    lines[f"Messages ({assumed('messages_per_bot'):,.0f} a bot)"] = each * assumed("messages_per_bot") * n_bots
    return lines


def table(title: str, lines: dict[str, float], times: float = 1) -> float:
    print(f"\n{title}")
    for name, amount in lines.items():
        print(f"  {name:<36}{amount * times:10.2f}")
    total = sum(lines.values()) * times
    print(f"  {'total':<36}{total:10.2f}")
    return total


def main() -> None:
    print("Prices (us-east-1, USD, before free tiers)")
    for name, (amount, unit, source) in PRICES.items():
        shown = f"{amount * 1e6:.4f} a million" if amount < 0.00001 else f"{amount}"
        print(f"  {name:<16}{shown:>20}  {unit:<30}{source}")
    print("\nAssumed")
    for name, (value, reason) in ASSUMED.items():
        print(f"  {name:<20}{value:>8}  {reason}")
    print("\nMeasured for a message, by how many share a receive")
    for batch in BATCHES:
        print(f"  {batch:>2}  " + json.dumps(MEASURED["push"][str(batch)]))
    million = table("A million messages by webhook, agents' time not counted", message(), 1e6)
    table("The same, with callbacks via a function URL", message(by_url=True), 1e6)
    print("\nA million messages via the HTTP API, by how many share a receive, and the least that this path could cost, without logs and storage")
    for batch in BATCHES:
        print(f"  {f'{batch} on average':<36}{million_at(batch):10.2f}{million_at(batch, least=True):10.2f}")
    for name, (value, reason) in LEAST.items():
        print(f"  at least {value} {name.replace('_', ' ')}: {reason}")
    table("A million polls, where a platform fetches answers, on top", poll(), 1e6)
    table("The same, with callbacks via a function URL", poll(by_url=True), 1e6)
    print(f"\nAgents that take {assumed('agent_s')} s, a million runs, on top")
    print(f"  {'waited for in Lambda':<36}{waiting_on_lambda() * 1e6:10.2f}")
    print(f"  {'waited for in containers':<36}{waiting_on_ecs() * 1e6:10.2f}  (a container: {container_month():.2f} a month)")
    print(f"  {'agents that call back':<36}{0:10.2f}  (besides their calls: about {(price('http_api') + price('lambda_request')) * 1e6:.2f})")
    for platform in MEASURED["stream"]:
        table(f"A million answers on {platform} that grow for 20 s", streamed(platform, VOLUMES[0]) or {}, 1e6)
        if MEASURED["stream"][platform]["polls"]:
            table("The same, with callbacks via a function URL", streamed(platform, VOLUMES[0], by_url=True) or {}, 1e6)
    print_goals()
    table("A month, webhooks only, unused", fixed_month(0, is_used=False))
    table("A month with one relay, unused", fixed_month(1, is_used=False))
    table("A month with one relay on Spot (RelaySpot=ALL), unused", fixed_month(1, is_used=False, on_spot=True))
    table("A month of the synthetic check (SyntheticCheck=ENABLED), on top of an unused deployment", synthetic_check())
    table("A month, webhooks only, besides its messages", fixed_month(0, is_used=True))
    table("The same, with callbacks via a function URL", fixed_month(0, is_used=True, by_url=True))
    table("A month of 1 000 bots on long connections", long_connections(1000))
    if million > AIM:
        print(f"\nThe aim of {AIM:.2f} for a million messages by webhook is missed by {million - AIM:.2f}.")


if __name__ == "__main__":
    main()
