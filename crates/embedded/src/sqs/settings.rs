//! Queue attributes: which may be set, and what they mean.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::{Code, Refusal};
use super::new_message::MAX_MESSAGE_BYTES;
use super::ready_queue::Order;

/// The account that every queue of this engine belongs to.
pub(super) const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// The ARN of the queue called `name`.
pub(super) fn arn(name: &str) -> String {
    format!("{ARN_PREFIX}{name}")
}

/// The name of the queue with this ARN. Its region and account are ignored.
pub(super) fn name_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:aws:sqs:")?.splitn(3, ':');
    parts.nth(2).filter(|name| !name.is_empty())
}

/// Settings of a queue. Parsed from its attributes, which are stored as they were set.
///
/// See [SQS API/SetQueueAttributes](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html).
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) order: Order,
    pub(super) content_dedup: bool,
    pub(super) dedup_per_group: bool,
    pub(super) delay_s: i64,
    pub(super) max_bytes: usize,
    pub(super) retention_s: i64,
    pub(super) wait_s: i64,
    pub(super) visibility_s: i64,
    pub(super) redrive: Option<Redrive>,
    pub(super) set: BTreeMap<String, String>,
}

/// Redrive policy: where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redrive {
    pub(super) target: String,
    pub(super) max_receives: i64,
}

impl Settings {
    /// Parses the attributes `set` on the queue `name`.
    pub(super) fn read(name: &str, set: BTreeMap<String, String>) -> Result<Self, Refusal> {
        let fifo = name.ends_with(".fifo");
        check_names(&set, fifo)?;
        check_fifo(&set, fifo)?;
        let number = |key, range, default| number(&set, key, range, default);
        let settings = Self {
            order: if fifo { Order::Fifo } else { Order::Fair },
            content_dedup: flag(&set, "ContentBasedDeduplication")?,
            dedup_per_group: set.get("DeduplicationScope").is_some_and(|s| s == "messageGroup"),
            delay_s: number("DelaySeconds", (0, 900), 0)?,
            max_bytes: number("MaximumMessageSize", (1_024, 1_048_576), 1_048_576)?
                .try_into()
                .unwrap_or(MAX_MESSAGE_BYTES),
            retention_s: number("MessageRetentionPeriod", (60, 1_209_600), 345_600)?,
            wait_s: number("ReceiveMessageWaitTimeSeconds", (0, 20), 0)?,
            visibility_s: number("VisibilityTimeout", (0, 43_200), 30)?,
            redrive: redrive(&set)?,
            set,
        };
        Ok(settings)
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.order == Order::Fifo
    }

    /// Every attribute with its effective value, for `GetQueueAttributes`.
    pub(super) fn in_force(&self) -> BTreeMap<&'static str, String> {
        let mut all = BTreeMap::from([
            ("DelaySeconds", self.delay_s.to_string()),
            ("MaximumMessageSize", self.max_bytes.to_string()),
            ("MessageRetentionPeriod", self.retention_s.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.wait_s.to_string()),
            ("VisibilityTimeout", self.visibility_s.to_string()),
            ("SqsManagedSseEnabled", "false".into()),
        ]);
        if self.is_fifo() {
            let scope = if self.dedup_per_group { "messageGroup" } else { "queue" };
            all.extend([
                ("FifoQueue", "true".into()),
                ("ContentBasedDeduplication", self.content_dedup.to_string()),
                ("DeduplicationScope", scope.into()),
                ("FifoThroughputLimit", "perQueue".into()),
            ]);
        }
        let kept = SETTABLE
            .iter()
            .filter_map(|key| Some((*key, self.set.get(*key)?.clone())));
        all.extend(kept);
        all
    }
}

const SETTABLE: [&str; 15] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

const FIFO_ONLY: [&str; 4] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
];

fn check_names(set: &BTreeMap<String, String>, fifo: bool) -> Result<(), Refusal> {
    for name in set.keys().map(String::as_str) {
        if !SETTABLE.contains(&name) || (!fifo && FIFO_ONLY.contains(&name)) {
            let message = format!("Unknown Attribute {name}.");
            return Err(Refusal::new(Code::InvalidAttributeName, message));
        }
    }
    Ok(())
}

fn check_fifo(set: &BTreeMap<String, String>, fifo: bool) -> Result<(), Refusal> {
    let is = |key, value| set.get(key).is_some_and(|v| v == value);
    let one_of = |key, values: [&str; 2]| set.get(key).is_none_or(|v| values.contains(&v.as_str()));
    if fifo && set.contains_key("FifoQueue") && !is("FifoQueue", "true") {
        return Err(bad_value("FifoQueue", "true is the only value there is"));
    }
    if !one_of("DeduplicationScope", ["queue", "messageGroup"]) {
        return Err(bad_value("DeduplicationScope", "queue or messageGroup is expected"));
    }
    if !one_of("FifoThroughputLimit", ["perQueue", "perMessageGroupId"]) {
        return Err(bad_value(
            "FifoThroughputLimit",
            "perQueue or perMessageGroupId is expected",
        ));
    }
    if is("FifoThroughputLimit", "perMessageGroupId") && !is("DeduplicationScope", "messageGroup") {
        let why = "perMessageGroupId needs the DeduplicationScope messageGroup";
        return Err(bad_value("FifoThroughputLimit", why));
    }
    Ok(())
}

fn bad_value(attribute: &str, why: &str) -> Refusal {
    let message = format!("Invalid value for the parameter {attribute}. Reason: {why}.");
    Refusal::new(Code::InvalidAttributeValue, message)
}

fn number(set: &BTreeMap<String, String>, key: &str, (min, max): (i64, i64), default: i64) -> Result<i64, Refusal> {
    let Some(text) = set.get(key) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|n| (min..=max).contains(n));
    number.ok_or_else(|| bad_value(key, &format!("an integer from {min} to {max} is expected")))
}

fn flag(set: &BTreeMap<String, String>, key: &str) -> Result<bool, Refusal> {
    match set.get(key).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad_value(key, "true or false is expected")),
    }
}

fn redrive(set: &BTreeMap<String, String>) -> Result<Option<Redrive>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Policy {
        dead_letter_target_arn: String,
        max_receive_count: Count,
    }
    // Infrastructure templates write the number as text.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(i64),
        Text(String),
    }
    let Some(text) = set.get("RedrivePolicy").filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let refused = |why: &str| Refusal::invalid("RedrivePolicy", text, why);
    let policy: Policy = serde_json::from_str(text).map_err(|_| refused("Redrive policy is not a valid JSON map."))?;
    let max_receives = match policy.max_receive_count {
        Count::Number(n) => Some(n),
        Count::Text(t) => t.parse().ok(),
    };
    let max_receives = max_receives
        .filter(|n| (1..=1_000).contains(n))
        .ok_or_else(|| refused("Invalid value for maxReceiveCount: an integer from 1 to 1000 is expected."))?;
    let target =
        name_of_arn(&policy.dead_letter_target_arn).ok_or_else(|| refused("Invalid value for deadLetterTargetArn."))?;
    Ok(Some(Redrive {
        target: target.into(),
        max_receives,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, set: &[(&str, &str)]) -> Result<Settings, Code> {
        let set = set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Settings::read(name, set).map_err(|refusal| refusal.code)
    }

    #[test]
    fn defaults_are_those_of_aws() {
        let settings = read("q", &[]).unwrap();
        assert_eq!(settings.visibility_s, 30);
        assert_eq!(settings.retention_s, 4 * 24 * 3600);
        assert_eq!(settings.max_bytes, 1_048_576);
        assert_eq!(settings.redrive, None);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for set in [
            [("DelaySeconds", "901")],
            [("VisibilityTimeout", "43201")],
            [("MaximumMessageSize", "1023")],
            [("ReceiveMessageWaitTimeSeconds", "twenty")],
        ] {
            assert_eq!(read("q", &set).unwrap_err(), Code::InvalidAttributeValue, "{set:?}");
        }
        assert_eq!(read("q", &[("Color", "red")]).unwrap_err(), Code::InvalidAttributeName);
        assert_eq!(
            read("q", &[("FifoQueue", "true")]).unwrap_err(),
            Code::InvalidAttributeName
        );
    }

    #[test]
    fn high_throughput_needs_the_group_scope() {
        let alone = [("FifoThroughputLimit", "perMessageGroupId")];
        assert_eq!(read("q.fifo", &alone).unwrap_err(), Code::InvalidAttributeValue);
        let both = [alone[0], ("DeduplicationScope", "messageGroup")];
        assert!(read("q.fifo", &both).unwrap().dedup_per_group);
    }

    #[test]
    fn redrive_policy_accepts_the_count_as_number_or_text() {
        for count in ["3", "\"3\""] {
            let policy = format!(
                r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{count}}}"#,
                arn("dead")
            );
            let redrive = read("q", &[("RedrivePolicy", &policy)]).unwrap().redrive.unwrap();
            assert_eq!((redrive.target.as_str(), redrive.max_receives), ("dead", 3));
        }
    }
}
