"""What it costs is what the guide says, computed from what is measured."""

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


def test_a_million_messages_cost_what_was_decided():
    million = 1e6 * sum(costs.message().values())
    assert million <= costs.LIMIT, f"a million messages cost {million:.2f} USD"


def test_relays_beat_and_look_as_often_as_is_counted():
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


def test_alarms_are_counted_where_there_are_any():
    of_relay = costs.alarms({"RunsInLambda", "HasRelay"}) - costs.alarms({"RunsInLambda"})
    assert of_relay == 6, "one of heartbeats, two of shares of two each, one of throttles"
    assert costs.alarms(set()) < costs.alarms({"RunsInContainers"}) < costs.alarms({"RunsInLambda"})
    asked_for = {"IsChecked", "HasSpendingLimit"}
    assert costs.alarms({"RunsInLambda", "RunsInContainers", "HasRelay"} | asked_for) == costs.WATCH.count("MetricName:")
    assert costs.alarms({"RunsInLambda", "IsChecked"}) == costs.alarms({"RunsInLambda"}) + 1


def test_an_idle_deployment_costs_little():
    """What the programs write without being asked is the heartbeat of a relay: all other metrics come with messages, bots or runs."""
    assert sum(costs.fixed_month(0, is_used=False).values()) <= 5
    assert sum(costs.fixed_month(1, is_used=False, on_spot=True).values()) <= 16
    source = (ROOT / "crates/bridge/src/metrics.rs").read_text()
    assert "if lines.is_empty() {" in source, "nothing is written where nothing was gathered"


def test_waiting_in_containers_is_the_cheaper_way():
    assert costs.waiting_on_ecs() < costs.waiting_on_lambda() / 10


def test_guide_has_the_figures():
    text = (ROOT / "infra/README.md").read_text()
    million = 1e6 * sum(costs.message().values())
    bots = sum(costs.long_connections(1000).values())
    polls = 1e6 * sum(costs.poll().values())
    assert costs.million_at(costs.assumed("receive_batch")) == million
    least = [costs.million_at(batch, least=True) for batch in (costs.assumed("receive_batch"), costs.BATCHES[-1])]
    for amount in (*least, *map(costs.million_at, costs.BATCHES), million, polls, bots, *(sum(costs.fixed_month(*how).values()) for how in ((0, False), (1, False), (1, False, True), (0, True))), sum(costs.synthetic_check().values()), 1e6 * costs.waiting_on_lambda(), 1e6 * costs.waiting_on_ecs()):
        assert re.search(rf"\b{amount:.2f}\b", text), f"{amount:.2f} is not in the guide"
