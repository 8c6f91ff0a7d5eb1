//! The numbers of this process as Prometheus reads them: totals since its start, and what is so at the moment.
//!
//! Labels are few on purpose: never an integration, a chat or a person.
//!
//! See [Prometheus Docs/Text-based format](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::{Labels, Metric};
use crate::connections::Health;
use crate::world::World;

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of times, in seconds.
const BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1800.0];
/// How long asking the queues may take.
const QUEUES_WITHIN: Duration = Duration::from_secs(3);

/// Totals of this process.
#[derive(Debug, Default)]
pub(super) struct Totals {
    series: Mutex<BTreeMap<(Metric, Labels), Series>>,
    /// Runs that ask an agent at the moment.
    pub(super) runs: AtomicI64,
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
            Metric::Messages | Metric::Retries | Metric::Heartbeats => Self::Counter(0.0),
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

    /// Forgets what a gauge was, before all of it is told again.
    pub(super) fn forget(&self, metric: Metric) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|(known, _), _| *known != metric);
    }

    fn write(&self, text: &mut String) {
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
    }
}

fn label_name(label: &str) -> &str {
    match label {
        "Platform" => "platform",
        "Fate" | "State" => "state",
        "Place" => "source",
        other => other,
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
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
const fn as_float(n: u64) -> f64 {
    n as f64
}

/// All numbers of this process. `connections`: of the long connections that it holds, if it holds any.
pub async fn render(world: &World, connections: Option<&Health>) -> String {
    let mut text = String::new();
    if let Some(totals) = &world.metrics.totals {
        totals.write(&mut text);
        let name = "tieline_runs_in_flight";
        head(&mut text, name, "gauge", "Runs of this process that ask an agent.");
        let _ = writeln!(text, "{name} {}", totals.runs.load(Ordering::Relaxed));
    }
    write_connections(&mut text, connections);
    for (name, help, n) in [
        (
            "tieline_table_errors_total",
            "Calls of this process to the tables that failed after all retries.",
            tieline_store::unavailable_count(),
        ),
        (
            "tieline_queue_errors_total",
            "Calls of this process to the queues that failed after all retries.",
            tieline_queue::unavailable_count(),
        ),
    ] {
        head(&mut text, name, "counter", help);
        sample(&mut text, name, &[], as_float(n));
    }
    write_queues(&mut text, world).await;
    text
}

fn write_connections(text: &mut String, connections: Option<&Health>) {
    let Some(health) = connections else { return };
    for (name, help, n) in [
        (
            "tieline_bots",
            "Bots whose connections this process has to hold.",
            health.bots,
        ),
        (
            "tieline_bots_connected",
            "Bots of those that are connected.",
            health.connected,
        ),
        (
            "tieline_shards",
            "Shards of connections that this process holds.",
            health.shards,
        ),
        (
            "tieline_events_waiting",
            "Events of connections that wait for the queue.",
            health.events_waiting,
        ),
        (
            "tieline_lease_valid",
            "1 if this process holds its leases.",
            usize::from(health.alive),
        ),
    ] {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {n}");
    }
}

/// How many messages the queues hold. Left out where they don't say in time: the error is counted.
async fn write_queues(text: &mut String, world: &World) {
    let depths = match timeout(QUEUES_WITHIN, tieline_queue::depths(&world.queues)).await {
        Ok(Ok(depths)) => depths,
        Ok(Err(error)) => return warn!(error = %error, "depth of the queues can't be read"),
        Err(_) => return warn!("depth of the queues can't be read in time"),
    };
    let name = "tieline_queue_messages";
    head(
        text,
        name,
        "gauge",
        "Messages of a queue: ready, delayed, or in flight.",
    );
    for depth in depths {
        for (state, n) in [
            ("ready", depth.ready),
            ("delayed", depth.delayed),
            ("in_flight", depth.in_flight),
        ] {
            sample(text, name, &[("queue", &depth.queue), ("state", state)], as_float(n));
        }
    }
}

#[cfg(test)]
mod tests {
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
