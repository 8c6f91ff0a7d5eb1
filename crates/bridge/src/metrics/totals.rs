//! Totals of this process since its start, in Prometheus text format.
//!
//! Labels are few on purpose: never an integration, a chat or a person.
//!
//! See [Prometheus Docs/Text-based format](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, PoisonError};

use super::{Labels, Metric};

/// Upper bounds of the histogram buckets, in seconds.
const BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1800.0];

/// Totals of this process.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    series: Mutex<BTreeMap<(Metric, Labels), Series>>,
    /// Runs that are calling an agent now.
    pub(crate) runs: AtomicI64,
}

#[derive(Debug)]
enum Series {
    Counter(f64),
    Gauge(f64),
    Times {
        buckets: [u64; BUCKETS.len()],
        sum: f64,
        n: u64,
    },
}

impl Series {
    fn new(metric: Metric) -> Self {
        match metric {
            Metric::Messages | Metric::Retries | Metric::Heartbeats | Metric::FailedChecks => Self::Counter(0.0),
            Metric::Connections | Metric::RunsInHand => Self::Gauge(0.0),
            Metric::TimeToFirstText
            | Metric::TimeToFinal
            | Metric::RunTime
            | Metric::BudgetWait
            | Metric::HandOverGap => Self::Times {
                buckets: [0; BUCKETS.len()],
                sum: 0.0,
                n: 0,
            },
        }
    }

    fn add(&mut self, value: f64) {
        match self {
            Self::Counter(total) => *total += value,
            Self::Gauge(newest) => *newest = value,
            Self::Times { buckets, sum, n } => {
                let seconds = value / 1000.0;
                *sum += seconds;
                *n += 1;
                for (count, _) in buckets.iter_mut().zip(BUCKETS).filter(|(_, bound)| seconds <= *bound) {
                    *count += 1;
                }
            }
        }
    }
}

impl Totals {
    pub(super) fn add(&self, metric: Metric, labels: &Labels, value: f64) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = series.entry((metric, labels.clone()));
        entry.or_insert_with(|| Series::new(metric)).add(value);
    }

    /// Removes the values of a gauge before all of them are set again.
    pub(super) fn forget(&self, metric: Metric) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|(known, _), _| *known != metric);
    }

    /// Writes all totals, each metric with its description.
    pub(crate) fn write(&self, text: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        for ((metric, labels), values) in series.iter() {
            let (name, kind, help) = described(*metric);
            if last != Some(*metric) {
                head(text, name, kind, help);
                last = Some(*metric);
            }
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(label, value)| (label_name(label), value.as_str()))
                .collect();
            values.write(text, name, &labels);
        }
    }
}

impl Series {
    fn write(&self, text: &mut String, name: &str, labels: &[(&str, &str)]) {
        match self {
            Self::Counter(value) | Self::Gauge(value) => sample(text, name, labels, *value),
            Self::Times { buckets, sum, n } => {
                let bucket = format!("{name}_bucket");
                for (count, bound) in buckets.iter().zip(BUCKETS) {
                    let bound = bound.to_string();
                    let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                    sample(text, &bucket, &with_bound, as_float(*count));
                }
                let with_bound: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
                sample(text, &bucket, &with_bound, as_float(*n));
                sample(text, &format!("{name}_sum"), labels, *sum);
                sample(text, &format!("{name}_count"), labels, as_float(*n));
            }
        }
    }
}

const fn described(metric: Metric) -> (&'static str, &'static str, &'static str) {
    match metric {
        Metric::Messages => ("tieline_messages_total", "counter", "Messages by their terminal state."),
        Metric::TimeToFirstText => (
            "tieline_time_to_first_text_seconds",
            "histogram",
            "From receipt of a message to the first text of its answer in the chat.",
        ),
        Metric::TimeToFinal => (
            "tieline_time_to_final_seconds",
            "histogram",
            "From receipt of a message to the whole answer in the chat.",
        ),
        Metric::RunTime => ("tieline_run_seconds", "histogram", "How long agents worked on a run."),
        Metric::Retries => ("tieline_retries_total", "counter", "Retries by their source."),
        Metric::BudgetWait => (
            "tieline_budget_wait_seconds",
            "histogram",
            "How long texts waited for a platform's pace or rate limit.",
        ),
        Metric::Connections => (
            "tieline_connections",
            "gauge",
            "Long connections of this process by state.",
        ),
        Metric::HandOverGap => (
            "tieline_hand_over_gap_seconds",
            "histogram",
            "How long a bot was without a connection while it changed its relay.",
        ),
        Metric::Heartbeats => (
            "tieline_heartbeats_total",
            "counter",
            "Minutes in which this process held its leases.",
        ),
        Metric::RunsInHand => (
            "tieline_wakeups_in_hand",
            "gauge",
            "Wake-ups that this process works on.",
        ),
        Metric::FailedChecks => (
            "tieline_failed_checks_total",
            "counter",
            "Synthetic checks that failed.",
        ),
    }
}

fn label_name(label: &str) -> &str {
    match label {
        "Platform" => "platform",
        "Fate" | "State" => "state",
        "Source" => "source",
        other => other,
    }
}

/// Writes the description of a metric.
pub(crate) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// Writes one value.
pub(crate) fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
    }
    let end = if labels.is_empty() { "" } else { "}" };
    let _ = writeln!(text, "{end} {value}");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count that doesn't fit into 52 bits is never reached"
)]
/// A count as the format has it.
pub(crate) const fn as_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use tieline_core::message_state::MessageState;

    use super::super::Metrics;
    use super::*;

    #[test]
    fn counters_gauges_and_times_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default().exposed();
        metrics.message("wecom", MessageState::Answered);
        metrics.message("wecom", MessageState::Answered);
        metrics.message("lark", MessageState::Failed);
        metrics.time(Metric::TimeToFirstText, "wecom", Duration::from_millis(700));
        metrics.connection_states([(("wecom", "connected"), 2), (("wecom", "retrying"), 1)]);
        metrics.connection_states([(("wecom", "connected"), 3)]);
        let mut text = String::new();
        metrics.totals.as_ref().unwrap().write(&mut text);
        let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        has("# TYPE tieline_messages_total counter");
        has("tieline_messages_total{platform=\"wecom\",state=\"answered\"} 2");
        has("tieline_messages_total{platform=\"lark\",state=\"failed\"} 1");
        has("# TYPE tieline_time_to_first_text_seconds histogram");
        has("tieline_time_to_first_text_seconds_bucket{platform=\"wecom\",le=\"0.5\"} 0");
        has("tieline_time_to_first_text_seconds_bucket{platform=\"wecom\",le=\"1\"} 1");
        has("tieline_time_to_first_text_seconds_bucket{platform=\"wecom\",le=\"+Inf\"} 1");
        has("tieline_time_to_first_text_seconds_sum{platform=\"wecom\"} 0.7");
        has("tieline_connections{platform=\"wecom\",state=\"connected\"} 3");
        assert!(
            !text.contains("retrying"),
            "a state that no connection is in any more is forgotten: {text}"
        );
        assert_eq!(text.matches("# TYPE tieline_messages_total").count(), 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = String::new();
        sample(&mut text, "n", &[("a", "x\"\\\n")], 1.5);
        assert_eq!(text, "n{a=\"x\\\"\\\\\\n\"} 1.5\n");
        assert!(described(Metric::Messages).2.ends_with('.'));
    }

    #[test]
    fn runs_are_counted_while_they_last() {
        let metrics = Metrics::default().exposed();
        let running = || metrics.totals.as_ref().unwrap().runs.load(Ordering::Relaxed);
        let (one, two) = (metrics.run(), metrics.run());
        assert_eq!(running(), 2);
        drop(one);
        assert_eq!(running(), 1);
        drop(two);
        assert_eq!(running(), 0);
    }
}
