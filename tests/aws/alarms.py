"""Evaluates alarms as CloudWatch does, as far as our alarms need it: when an alarm fires for values that come in minute by minute.

See https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

import re
from collections.abc import Callable

# Values of a metric in each minute; an empty list if no value came in.
Series = Callable[[int], list[float]]

# A value arrives about a minute after the event that it counts.
DELAY = 1
SILENCE: Series = lambda minute: []  # noqa: E731
STATISTICS = {"Sum": sum, "Maximum": max, "SampleCount": len}
COMPARISONS = {"GreaterThanThreshold": lambda value, threshold: value > threshold, "LessThanThreshold": lambda value, threshold: value < threshold}


def name_of(metric: dict) -> str:
    """A metric as `Namespace MetricName Value`, with the values of its dimensions."""
    return " ".join([metric["Namespace"], metric["MetricName"], *(it["Value"] for it in metric.get("Dimensions", []))])


def datapoint(values: list[float], statistic: str) -> float | None:
    """Value of a period. A period without values has none, for SampleCount as for other statistics."""
    return STATISTICS[statistic](values) if values else None


def period_value(alarm: dict, series: dict[str, Series], start: int, period: int) -> float | None:
    def of(metric: dict, statistic: str) -> float | None:
        values = series.get(name_of(metric), SILENCE)
        return datapoint([value for minute in range(start, start + period) for value in values(minute)], statistic)

    if "Metrics" not in alarm:
        return of(alarm, alarm["Statistic"])
    parts = {it["Id"]: of(it["MetricStat"]["Metric"], it["MetricStat"]["Stat"]) for it in alarm["Metrics"] if "MetricStat" in it}
    (told,) = (it for it in alarm["Metrics"] if it["ReturnData"])
    expression = told["Expression"]
    # A missing input leaves the expression without a value, unless FILL gives it one.
    filled = set(re.findall(r"FILL\((\w+),", expression))
    if any(value is None for name, value in parts.items() if name not in filled):
        return None
    # Safe: the expression is from our own template.
    return eval(expression, {"__builtins__": {}, "FILL": lambda value, other: other if value is None else value}, parts)


def minutes_until(alarm: dict, series: dict[str, Series], begins: int, horizon: int = 180) -> int | None:
    """Minutes from `begins`, when the failure starts, until the alarm fires. None if it doesn't within `horizon`.

    Before `begins` the series say what was counted while all was well.
    """
    stats = [it["MetricStat"] for it in alarm.get("Metrics", []) if "MetricStat" in it] or [alarm]
    (period,) = {int(it["Period"]) // 60 for it in stats}
    n_periods = alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm", n_periods)
    is_beyond = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = []
    for start in range(0, begins + horizon, period):
        value = period_value(alarm, series, start, period)
        missing = alarm["TreatMissingData"] == "breaching"
        breaching.append(missing if value is None else is_beyond(value, float(alarm["Threshold"])))
        if len(breaching) >= n_periods and sum(breaching[-n_periods:]) >= needed:
            assert start + period > begins, "it was off before anything failed"
            return start + period - begins + DELAY
    return None
