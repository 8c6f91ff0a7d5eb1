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
    asked_for = {"IsChecked", "HasSpendingLimit"}
    assert costs.alarms({"RunsInLambda", "RunsInContainers", "HasRelay"} | asked_for) == costs.WATCH.count("MetricName:")
    assert costs.alarms({"RunsInLambda", "IsChecked"}) == costs.alarms({"RunsInLambda"}) + 1


def test_an_idle_deployment_costs_little():
    """An idle deployment writes only the heartbeats of a relay: all other metrics come with messages, bots or runs."""
    assert sum(costs.fixed_month(0, is_used=False).values()) <= 5
    assert sum(costs.fixed_month(1, is_used=False, on_spot=True).values()) <= 16
    source = (ROOT / "crates/bridge/src/metrics.rs").read_text()
    assert "if lines.is_empty() {" in source, "metrics must not be written where none were recorded"


def test_runs_in_containers_cost_less_than_in_functions():
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
