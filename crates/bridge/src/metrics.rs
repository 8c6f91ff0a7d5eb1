//! Metrics for operators: few, gathered in memory and written as log lines that CloudWatch turns into metrics.
//!
//! Dimensions are few on purpose, since every combination of them is paid for: never an integration, a chat or a person.
//! Off where they aren't read.
//!
//! See [CloudWatch Docs/Embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).

pub(crate) mod totals;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tieline_core::message_state::MessageState;
use tieline_core::timestamp::Timestamp;
use tracing::warn;

use self::totals::Totals;
use crate::clock::Clock;

/// Most values of one metric in one line, a limit of the format.
const MAX_VALUES: usize = 100;
/// Most values kept of one metric between two writes: more means that the writer is blocked.
const MAX_KEPT: usize = 10_000;
/// Time between two writes of a long-lived process.
pub const PERIOD: Duration = Duration::from_secs(60);

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Messages that reached their end.
    Messages,
    /// From the receipt of a message to the first text of its answer in the chat.
    TimeToFirstText,
    /// From the receipt of a message to the whole answer in the chat.
    TimeToFinal,
    /// How long agents worked on a run, in all processes together.
    RunTime,
    /// Retries, by source.
    Retries,
    /// How long texts waited because of a platform's pace or rate limit.
    BudgetWait,
    /// Long connections of this process, by state.
    Connections,
    /// How long a bot was disconnected during a hand-over from one relay to another.
    HandOverGap,
    /// A relay process that is alive and holds its leases.
    Heartbeats,
    /// Wake-ups being processed by a runner that receives them itself: most wait for an agent.
    RunsInHand,
    /// Synthetic checks, as 1 for each that failed and 0 for each that passed.
    FailedChecks,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 11] = [
        Self::Messages,
        Self::TimeToFirstText,
        Self::TimeToFinal,
        Self::RunTime,
        Self::Retries,
        Self::BudgetWait,
        Self::Connections,
        Self::HandOverGap,
        Self::Heartbeats,
        Self::RunsInHand,
        Self::FailedChecks,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "Messages",
            Self::TimeToFirstText => "TimeToFirstText",
            Self::TimeToFinal => "TimeToFinal",
            Self::RunTime => "RunTime",
            Self::Retries => "Retries",
            Self::BudgetWait => "BudgetWait",
            Self::Connections => "Connections",
            Self::HandOverGap => "HandOverGap",
            Self::Heartbeats => "Heartbeats",
            Self::RunsInHand => "RunsInHand",
            Self::FailedChecks => "FailedChecks",
        }
    }

    /// Its unit, as CloudWatch names it.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Messages
            | Self::Retries
            | Self::Connections
            | Self::Heartbeats
            | Self::RunsInHand
            | Self::FailedChecks => "Count",
            Self::TimeToFirstText | Self::TimeToFinal | Self::RunTime | Self::BudgetWait | Self::HandOverGap => {
                "Milliseconds"
            }
        }
    }

    /// Its sets of dimensions: each set is a metric of its own.
    #[must_use]
    pub const fn dimensions(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Messages => &[&["Fate"], &["Platform", "Fate"]],
            Self::TimeToFirstText | Self::TimeToFinal | Self::RunTime | Self::BudgetWait => &[&["Platform"]],
            Self::Retries => &[&["Source"]],
            // Also without dimensions: alarms are about shares of the total.
            Self::Connections => &[&[], &["State"], &["Platform", "State"]],
            Self::HandOverGap | Self::Heartbeats | Self::RunsInHand | Self::FailedChecks => &[&[]],
        }
    }
}

/// What was retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrySource {
    /// A call to a platform failed in passing.
    Platform,
    /// A record was returned to its queue.
    Queue,
    /// A run was restarted because its process ended.
    Run,
}

impl RetrySource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Queue => "queue",
            Self::Run => "run",
        }
    }
}

/// Counts a run while it lasts.
#[derive(Debug)]
pub struct RunGuard(Option<Arc<Totals>>);

impl Drop for RunGuard {
    fn drop(&mut self) {
        if let Some(totals) = &self.0 {
            totals.runs.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Values of dimensions, by name.
type Labels = Vec<(&'static str, String)>;
/// The values of the metrics that share their labels.
type Values = BTreeMap<Metric, Vec<f64>>;

/// Gathered metrics of this process that are not written yet.
#[derive(Debug, Default)]
pub struct Metrics {
    namespace: Option<String>,
    kept: Mutex<BTreeMap<Labels, Values>>,
    /// Totals for Prometheus. `None` where no address serves them.
    totals: Option<Arc<Totals>>,
    n_asked: AtomicU64,
}

impl Metrics {
    /// Gathers for a namespace, which identifies the deployment.
    #[must_use]
    pub fn gathering(namespace: String) -> Self {
        Self {
            namespace: Some(namespace),
            ..Self::default()
        }
    }

    /// Also keeps totals for [`crate::exposition::render`].
    #[must_use]
    pub fn exposed(self) -> Self {
        Self {
            totals: Some(Arc::default()),
            ..self
        }
    }

    /// Totals for Prometheus, if an address serves them.
    pub(crate) fn totals(&self) -> Option<&Totals> {
        self.totals.as_deref()
    }

    /// How often agents were called since the start.
    #[must_use]
    pub fn n_asked(&self) -> u64 {
        self.n_asked.load(Ordering::Relaxed)
    }

    /// Counts a call of an agent, and the run for as long as the guard lives.
    #[must_use]
    pub fn run(&self) -> RunGuard {
        self.n_asked.fetch_add(1, Ordering::Relaxed);
        if let Some(totals) = &self.totals {
            totals.runs.fetch_add(1, Ordering::Relaxed);
        }
        RunGuard(self.totals.clone())
    }

    /// Sets how many long connections of this process are in which state, by platform. Called once a [`PERIOD`], with all of them.
    pub fn connection_states<'a>(&self, counts: impl IntoIterator<Item = ((&'a str, &'a str), usize)>) {
        if let Some(totals) = &self.totals {
            totals.forget(Metric::Connections);
        }
        for ((platform, state), n) in counts {
            self.connections(platform, state, n);
        }
    }

    /// Counts a message that reached its end.
    pub fn message(&self, platform: &str, fate: MessageState) {
        self.add(
            Metric::Messages,
            vec![("Platform", platform.into()), ("Fate", fate.as_str().into())],
            1.0,
        );
    }

    /// Records a duration of a platform.
    pub fn time(&self, metric: Metric, platform: &str, took: Duration) {
        self.add(metric, vec![("Platform", platform.into())], millis(took));
    }

    /// Counts a retry.
    pub fn retry(&self, source: RetrySource) {
        self.add(Metric::Retries, vec![("Source", source.as_str().into())], 1.0);
    }

    /// Records how many long connections of a platform are in this state in this process.
    fn connections(&self, platform: &str, state: &str, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let labels = vec![("Platform", platform.into()), ("State", state.into())];
        self.add(Metric::Connections, labels, f64::from(n));
    }

    /// Records how long a bot was disconnected while it was handed over to another process: zero if its two connections overlapped.
    pub fn hand_over_gap(&self, gap: Duration) {
        self.add(Metric::HandOverGap, Vec::new(), millis(gap));
    }

    /// Counts that this process holds its leases. Once a [`PERIOD`].
    pub fn heartbeat(&self) {
        self.add(Metric::Heartbeats, Vec::new(), 1.0);
    }

    /// Records how many wake-ups this process works on. Twice a [`PERIOD`], so that no period is without a value.
    pub fn runs_in_hand(&self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.add(Metric::RunsInHand, Vec::new(), f64::from(n));
    }

    /// Records the result of a synthetic check.
    pub fn check(&self, is_failed: bool) {
        self.add(Metric::FailedChecks, Vec::new(), f64::from(u8::from(is_failed)));
    }

    fn add(&self, metric: Metric, labels: Labels, value: f64) {
        if let Some(totals) = &self.totals {
            totals.add(metric, &labels, value);
        }
        if self.namespace.is_none() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let values = kept.entry(labels).or_default().entry(metric).or_default();
        if values.len() < MAX_KEPT {
            values.push(value);
        }
    }

    /// Writes the gathered metrics to standard output, which CloudWatch reads: at the end of every invocation, or every [`PERIOD`].
    pub fn write(&self, now: Timestamp) {
        let lines = self.take_lines(now);
        if lines.is_empty() {
            return;
        }
        if let Err(error) = std::io::stdout().lock().write_all(lines.as_bytes()) {
            warn!(error = %error, "metrics can't be written");
        }
    }

    /// The metrics gathered since the last call, as lines.
    #[must_use]
    pub fn take_lines(&self, now: Timestamp) -> String {
        let Some(namespace) = &self.namespace else {
            return String::new();
        };
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lines = String::new();
        for (labels, mut values) in kept {
            while !values.is_empty() {
                let line = line(namespace, &labels, next_part(&mut values), now);
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
        }
        lines
    }
}

/// Writes `metrics` every [`PERIOD`], for a long-lived process. Ends when dropped.
pub async fn keep_writing(metrics: Arc<Metrics>, clock: Clock) {
    loop {
        tokio::time::sleep(PERIOD).await;
        metrics.write(clock.now());
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round()
}

/// Takes as many values as one line may hold; the rest stays.
fn next_part(values: &mut Values) -> Values {
    let part = values
        .iter_mut()
        .map(|(metric, values)| {
            let rest = values.split_off(values.len().min(MAX_VALUES));
            (*metric, std::mem::replace(values, rest))
        })
        .collect();
    values.retain(|_, values| !values.is_empty());
    part
}

fn line(namespace: &str, labels: &Labels, values: Values, now: Timestamp) -> Value {
    let mut directives = Vec::new();
    let mut fields = Map::new();
    for (metric, values) in values {
        directives.push(json!({
            "Namespace": namespace,
            "Dimensions": metric.dimensions(),
            "Metrics": [{ "Name": metric.name(), "Unit": metric.unit() }],
        }));
        let value = match values[..] {
            [value] => json!(value),
            _ => json!(values),
        };
        fields.insert(metric.name().to_owned(), value);
    }
    for (name, value) in labels {
        fields.insert((*name).to_owned(), json!(value));
    }
    fields.insert(
        "_aws".to_owned(),
        json!({ "Timestamp": now.as_millis(), "CloudWatchMetrics": directives }),
    );
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<Value> {
        let text = metrics.take_lines(Timestamp::from_secs(1_700_000_000));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_all_fields_that_cloudwatch_requires() {
        let metrics = Metrics::gathering("Tieline/test".into());
        metrics.message("wecom", MessageState::Answered);
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_000_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "Tieline/test",
                    "Dimensions": [["Fate"], ["Platform", "Fate"]],
                    "Metrics": [{ "Name": "Messages", "Unit": "Count" }],
                }],
            },
            "Platform": "wecom",
            "Fate": "answered",
            "Messages": 1.0,
        });
        assert_eq!(lines(&metrics), [expected]);
        assert!(lines(&metrics).is_empty(), "what is written is forgotten");
    }

    #[test]
    fn metrics_of_the_same_dimensions_share_a_line() {
        let metrics = Metrics::gathering("n".into());
        metrics.time(Metric::RunTime, "lark", Duration::from_millis(1500));
        metrics.time(Metric::TimeToFinal, "lark", Duration::from_millis(2000));
        metrics.time(Metric::TimeToFinal, "lark", Duration::from_millis(2500));
        let lines = lines(&metrics);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["RunTime"], json!(1500.0));
        assert_eq!(lines[0]["TimeToFinal"], json!([2000.0, 2500.0]));
    }

    #[test]
    fn values_beyond_the_limit_go_into_the_next_line() {
        let metrics = Metrics::gathering("n".into());
        for _ in 0..250 {
            metrics.retry(RetrySource::Queue);
        }
        let sizes: Vec<usize> = lines(&metrics)
            .iter()
            .map(|line| line["Retries"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn every_dimension_of_a_line_has_its_value() {
        let metrics = Metrics::gathering("n".into());
        metrics.message("web", MessageState::Failed);
        metrics.time(Metric::TimeToFirstText, "web", Duration::ZERO);
        metrics.time(Metric::TimeToFinal, "web", Duration::ZERO);
        metrics.time(Metric::RunTime, "web", Duration::ZERO);
        metrics.time(Metric::BudgetWait, "web", Duration::ZERO);
        metrics.retry(RetrySource::Run);
        metrics.connections("wecom", "connected", 3);
        metrics.hand_over_gap(Duration::from_secs(1));
        metrics.heartbeat();
        metrics.runs_in_hand(3);
        metrics.check(true);
        let mut seen = Vec::new();
        for line in lines(&metrics) {
            for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
                for name in directive["Dimensions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|set| set.as_array().unwrap())
                {
                    assert!(line[name.as_str().unwrap()].is_string(), "{name} of {line}");
                }
                let name = directive["Metrics"][0]["Name"].as_str().unwrap().to_owned();
                assert!(!line[&name].is_null(), "{name} of {line}");
                seen.push(name);
            }
        }
        seen.sort_unstable();
        let mut all: Vec<_> = Metric::ALL.map(Metric::name).to_vec();
        all.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn nothing_is_gathered_where_metrics_are_off() {
        let metrics = Metrics::default();
        metrics.heartbeat();
        assert!(metrics.kept.lock().unwrap().is_empty());
        assert_eq!(metrics.take_lines(Timestamp::from_secs(0)), "");
    }
}
