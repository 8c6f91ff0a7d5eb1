//! Sends: new messages are added to a queue.

use super::dedup::{self, Key, Original, WINDOW_MS};
use super::digest;
use super::engine_state::{EngineState, Failure, Outcome, Queue, new_message_id, spell_message_id, spell_seq};
use super::error::{Code, FailedEntry, Refusal};
use super::new_message::Draft;
use super::ready_queue::{Entry, Visibility};
use super::wire::Sent;

/// The entries of a batch. An entry that was refused while the request was parsed has its refusal.
pub(super) type Drafts = Vec<(String, Result<Draft, Refusal>)>;

impl EngineState {
    pub(super) fn send(&mut self, name: &str, draft: Draft, now_ms: i64) -> Outcome<Sent> {
        let queue = self.queue(name)?;
        check_for(queue, &draft)?;
        let id = queue.id;
        let key = dedup_key(queue, &draft)?;
        let is_fifo = queue.settings.is_fifo();
        if let Some(original) = key.and_then(|key| self.memory.find(key, now_ms)) {
            return Ok(sent(draft, original.message, Some(original.seq)));
        }
        let (seq, message) = (self.next_seq()?, new_message_id());
        if let Some(key) = key {
            let original = Original {
                message,
                seq,
                expires_ms: now_ms + WINDOW_MS,
            };
            self.disk.remember(key, original)?;
            self.memory.remember(key, original);
        }
        self.disk.add_message(seq, message, &draft)?;
        let queue = self.queue(name)?;
        let entry = fresh_entry(queue, &draft, now_ms);
        queue.ready_queue.add(seq, entry.clone());
        self.disk.put_slot(seq, id, None, &entry)?;
        Ok(sent(draft, message, is_fifo.then_some(seq)))
    }

    pub(super) fn send_batch(
        &mut self,
        name: &str,
        drafts: Drafts,
        now_ms: i64,
    ) -> Outcome<(Vec<Sent>, Vec<FailedEntry>)> {
        self.id(name)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, draft) in drafts {
            match draft
                .map_err(Failure::from)
                .and_then(|draft| self.send(name, draft, now_ms))
            {
                Ok(sent) => successful.push(Sent { id: Some(id), ..sent }),
                Err(Failure::Refused(refusal)) => failed.push(refusal.entry(id)),
                Err(disk) => return Err(disk),
            }
        }
        Ok((successful, failed))
    }
}

fn check_for(queue: &Queue, draft: &Draft) -> Result<(), Refusal> {
    let settings = &queue.settings;
    if draft.bytes > settings.max_bytes {
        let message = format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            settings.max_bytes
        );
        return Err(Refusal::new(Code::InvalidParameterValue, message));
    }
    let not_here = "The request include parameter that is not valid for this queue type.";
    if !settings.is_fifo() {
        return match &draft.dedup_id {
            Some(id) => Err(Refusal::invalid("MessageDeduplicationId", id, not_here)),
            None => Ok(()),
        };
    }
    if let Some(delay_s) = draft.delay_s.filter(|s| *s != 0) {
        return Err(Refusal::invalid("DelaySeconds", delay_s, not_here));
    }
    if draft.group.is_none() {
        return Err(Refusal::missing("MessageGroupId"));
    }
    Ok(())
}

fn dedup_key(queue: &Queue, draft: &Draft) -> Result<Option<dedup::Key>, Refusal> {
    let settings = &queue.settings;
    if !settings.is_fifo() {
        return Ok(None);
    }
    let scope = draft.group.as_deref().filter(|_| settings.dedup_per_group);
    match &draft.dedup_id {
        Some(id) => Ok(Some(Key::new(queue.id, scope, id))),
        None if settings.content_dedup => {
            let id = digest::content_id(&draft.body);
            Ok(Some(Key::new(queue.id, scope, &id)))
        }
        None => {
            let message = "The queue should either have ContentBasedDeduplication enabled or \
                           MessageDeduplicationId provided explicitly";
            Err(Refusal::new(Code::InvalidParameterValue, message))
        }
    }
}

fn fresh_entry(queue: &Queue, draft: &Draft, now_ms: i64) -> Entry {
    let visibility = match draft.delay_s.unwrap_or(queue.settings.delay_s) {
        // On a FIFO queue a message's own delay can only be zero, which means the queue's delay.
        0 if !queue.settings.is_fifo() || queue.settings.delay_s == 0 => Visibility::Ready,
        0 => Visibility::Delayed {
            until_ms: now_ms + queue.settings.delay_s * 1_000,
        },
        delay_s => Visibility::Delayed {
            until_ms: now_ms + delay_s * 1_000,
        },
    };
    Entry {
        group: draft.group.as_deref().map(Into::into),
        sent_ms: now_ms,
        first_ms: 0,
        count: 0,
        nonce: 0,
        visibility,
    }
}

fn sent(draft: Draft, message: [u8; 16], seq: Option<i64>) -> Sent {
    Sent {
        id: None,
        message_id: spell_message_id(message),
        md5_of_body: draft.body_md5,
        md5_of_attributes: draft.attributes_md5,
        md5_of_system_attributes: draft.system_md5,
        sequence_number: seq.map(spell_seq),
    }
}
