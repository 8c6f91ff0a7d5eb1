//! Operations on whole queues: create, describe, change, purge, delete.

use std::collections::BTreeMap;

use super::engine_state::{EngineState, Outcome, Queue};
use super::error::{Code, Refusal};
use super::ready_queue::ReadyQueue;
use super::settings::{Settings, arn};
use super::wire;

const MAX_NAME_CHARS: usize = 80;
/// See [SQS API/PurgeQueue](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html).
const PURGE_PAUSE_MS: i64 = 60_000;
const MAX_LISTED: usize = 1_000;

/// Names from a sorted list, and where the next page starts.
pub(super) type Page = (Vec<String>, Option<String>);

impl EngineState {
    /// Returns the new queue's name, or an existing queue's if no requested attribute differs.
    pub(super) fn create_queue(&mut self, request: wire::CreateQueue, now_ms: i64) -> Outcome<String> {
        let name = request.queue_name;
        check_name(&name, &request.attributes)?;
        if let Ok(queue) = self.queue(&name) {
            let differs = |(key, value): (&String, &String)| queue.settings.in_force().get(key.as_str()) != Some(value);
            if request.attributes.iter().any(differs) {
                let message = "A queue already exists with the same name and a different value for an attribute.";
                return Err(Refusal::new(Code::QueueNameExists, message).into());
            }
            return Ok(name);
        }
        let settings = Settings::read(&name, request.attributes)?;
        self.check_redrive(&name, &settings)?;
        let kept = serde_json::to_string(&settings.set).expect("strings always become JSON");
        let id = self.disk.add_queue(&name, &kept, now_ms)?;
        self.put_queue(Queue {
            id,
            name: name.clone(),
            ready_queue: ReadyQueue::new(settings.order),
            settings,
            created_ms: now_ms,
            modified_ms: now_ms,
            purged_ms: None,
        });
        Ok(name)
    }

    fn check_redrive(&self, name: &str, settings: &Settings) -> Result<(), Refusal> {
        let Some(redrive) = &settings.redrive else {
            return Ok(());
        };
        let refused = |why| Refusal::invalid("RedrivePolicy", &settings.set["RedrivePolicy"], why);
        if redrive.target.ends_with(".fifo") != name.ends_with(".fifo") {
            return Err(refused("Dead letter target must be of the same type as the source."));
        }
        if redrive.target != name && !self.names.contains_key(&redrive.target) {
            return Err(refused("Dead letter target does not exist."));
        }
        Ok(())
    }

    pub(super) fn get_attributes(
        &mut self,
        name: &str,
        wanted: &[String],
        now_ms: i64,
    ) -> Outcome<BTreeMap<&'static str, String>> {
        let queue = self.queue(name)?;
        queue.ready_queue.settle(now_ms);
        let mut all = queue.settings.in_force();
        all.extend([
            ("QueueArn", arn(&queue.name)),
            ("CreatedTimestamp", (queue.created_ms / 1_000).to_string()),
            ("LastModifiedTimestamp", (queue.modified_ms / 1_000).to_string()),
            ("ApproximateNumberOfMessages", queue.ready_queue.n_ready().to_string()),
            (
                "ApproximateNumberOfMessagesDelayed",
                queue.ready_queue.n_delayed().to_string(),
            ),
            (
                "ApproximateNumberOfMessagesNotVisible",
                queue.ready_queue.n_lent().to_string(),
            ),
        ]);
        if wanted.iter().any(|w| w == "All") {
            return Ok(all);
        }
        if let Some(unknown) = wanted.iter().find(|w| !is_attribute(w, &all)) {
            let message = format!("Unknown Attribute {unknown}.");
            return Err(Refusal::new(Code::InvalidAttributeName, message).into());
        }
        all.retain(|key, _| wanted.iter().any(|w| w == key));
        Ok(all)
    }

    pub(super) fn set_attributes(&mut self, request: wire::SetQueueAttributes, now_ms: i64) -> Outcome<()> {
        let name = queue_name(&request.queue_url).to_owned();
        let mut set = self.queue(&name)?.settings.set.clone();
        for (key, value) in request.attributes {
            // An empty policy removes the old one.
            if value.is_empty() {
                set.remove(&key);
            } else {
                set.insert(key, value);
            }
        }
        let settings = Settings::read(&name, set)?;
        self.check_redrive(&name, &settings)?;
        let kept = serde_json::to_string(&settings.set).expect("strings always become JSON");
        self.disk.set_queue(self.id(&name)?, &kept, now_ms)?;
        let queue = self.queue(&name)?;
        queue.settings = settings;
        queue.modified_ms = now_ms;
        Ok(())
    }

    pub(super) fn list_queues(&self, request: &wire::ListQueues) -> Outcome<Page> {
        let most = match request.max_results {
            None => MAX_LISTED,
            Some(n) => usize::try_from(n)
                .ok()
                .filter(|n| (1..=MAX_LISTED).contains(n))
                .ok_or_else(|| Refusal::invalid("MaxResults", n, "Must be between 1 and 1000."))?,
        };
        let after = request.next_token.as_deref().unwrap_or_default();
        let mut names: Vec<&String> = self
            .names
            .keys()
            .filter(|name| name.starts_with(&request.queue_name_prefix) && name.as_str() > after)
            .collect();
        names.sort_unstable();
        let has_more = names.len() > most;
        names.truncate(most);
        let next = names.last().filter(|_| has_more && request.max_results.is_some());
        let next = next.map(|name| (*name).clone());
        Ok((names.into_iter().cloned().collect(), next))
    }

    /// The queues whose dead letters go to the queue called `name`.
    pub(super) fn source_queues(&self, name: &str) -> Outcome<Vec<String>> {
        self.id(name)?;
        let sends_here = |queue: &&Queue| {
            let redrive = queue.settings.redrive.as_ref();
            redrive.is_some_and(|r| r.target == name)
        };
        let sources = self.queues.values().filter(sends_here);
        Ok(sources.map(|queue| queue.name.clone()).collect())
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> Outcome<()> {
        let id = self.id(name)?;
        self.disk.remove_queue(id)?;
        self.queues.remove(&id);
        self.names.remove(name);
        Ok(())
    }

    pub(super) fn purge_queue(&mut self, name: &str, now_ms: i64) -> Outcome<()> {
        let queue = self.queue(name)?;
        if queue.purged_ms.is_some_and(|at| now_ms < at + PURGE_PAUSE_MS) {
            let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(Refusal::new(Code::PurgeQueueInProgress, message).into());
        }
        let id = queue.id;
        self.disk.clear_queue(id)?;
        let queue = self.queue(name)?;
        queue.ready_queue = ReadyQueue::new(queue.settings.order);
        queue.purged_ms = Some(now_ms);
        Ok(())
    }
}

/// The queue's name within its URL: the last part. A bare name is accepted too.
pub(super) fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn check_name(name: &str, attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let asks_fifo = attributes.get("FifoQueue").is_some_and(|v| v == "true");
    let stem = name.strip_suffix(".fifo");
    let base = stem.unwrap_or(name);
    let good = !base.is_empty()
        && name.len() <= MAX_NAME_CHARS
        && base.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if good && stem.is_some() == asks_fifo {
        return Ok(());
    }
    let message = "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, \
                   must end with .fifo suffix and be 1 to 80 in length; other queues do not have the suffix.";
    Err(Refusal::new(Code::InvalidParameterValue, message))
}

/// Whether SQS has an attribute of this name. One that isn't set is left out of the response.
fn is_attribute(name: &str, present: &BTreeMap<&'static str, String>) -> bool {
    const ABSENT: [&str; 10] = [
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "FifoQueue",
        "FifoThroughputLimit",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "Policy",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
    ];
    present.contains_key(name) || ABSENT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::queue_name;

    #[test]
    fn the_last_part_of_a_url_is_the_name() {
        assert_eq!(queue_name("http://localhost:1/000000000000/a.fifo"), "a.fifo");
        assert_eq!(queue_name("a"), "a");
        assert_eq!(queue_name(""), "");
    }
}
