//! Receives: messages are put in flight, or dead-lettered if they were received too often.

use super::disk::MessageRow;
use super::engine_state::{EngineState, Outcome, random_bytes};
use super::error::{Code, Refusal};
use super::ready_queue::{Entry, Picked, Seq, Terms, Visibility};
use super::receipt::Receipt;
use super::settings::arn;

/// See [SQS Developer Guide/Queue quotas](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html), messages in flight.
const MAX_IN_FLIGHT: usize = 120_000;

/// One message that is about to be delivered to a receiver.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) receipt: Receipt,
    pub(super) entry: Entry,
    pub(super) message: MessageRow,
    pub(super) is_fifo: bool,
    pub(super) source_arn: Option<String>,
}

impl EngineState {
    /// Puts up to `most` messages of the queue with the id `queue` in flight, hidden from other receivers for `visibility_s`.
    pub(super) fn receive(
        &mut self,
        queue: i64,
        most: usize,
        visibility_s: Option<i64>,
        now_ms: i64,
    ) -> Outcome<Vec<Delivery>> {
        let Some(found) = self.queues.get_mut(&queue) else {
            return Err(Refusal::no_queue().into());
        };
        found.ready_queue.settle(now_ms);
        let n_free = MAX_IN_FLIGHT.saturating_sub(found.ready_queue.n_lent());
        if n_free == 0 && !found.settings.is_fifo() {
            let message = "Too many messages in flight.";
            return Err(Refusal::new(Code::OverLimit, message).into());
        }
        let visibility_s = visibility_s.unwrap_or(found.settings.visibility_s);
        let target = self.dead_letter_queue(queue);
        let Some(found) = self.queues.get_mut(&queue) else {
            return Ok(Vec::new());
        };
        let terms = Terms {
            now_ms,
            until_ms: now_ms + visibility_s * 1_000,
            max_receives: target.map(|(_, max)| max),
            most: most.min(n_free),
        };
        let Picked { lent, dead } = found.ready_queue.pick(terms, new_nonce);
        for (seq, entry) in dead {
            self.dead_letter(seq, entry, queue, target.map_or(queue, |(id, _)| id))?;
        }
        lent.into_iter().map(|seq| self.deliver(queue, seq)).collect()
    }

    /// The queue's dead-letter queue and `maxReceiveCount`, if both exist.
    fn dead_letter_queue(&self, queue: i64) -> Option<(i64, i64)> {
        let redrive = self.queues.get(&queue)?.settings.redrive.as_ref()?;
        let target = *self.names.get(&redrive.target)?;
        (target != queue).then_some((target, redrive.max_receives))
    }

    fn dead_letter(&mut self, seq: Seq, mut entry: Entry, from: i64, to: i64) -> Outcome<()> {
        entry.visibility = Visibility::Ready;
        self.disk.put_slot(seq, to, Some(from), &entry)?;
        if let Some(target) = self.queues.get_mut(&to) {
            target.ready_queue.add(seq, entry);
        }
        Ok(())
    }

    fn deliver(&mut self, queue: i64, seq: Seq) -> Outcome<Delivery> {
        let found = self.queues.get(&queue).ok_or_else(Refusal::no_queue)?;
        let entry = found.ready_queue.get(seq).ok_or_else(Refusal::internal)?.clone();
        let is_fifo = found.settings.is_fifo();
        self.disk.set_delivery(seq, &entry)?;
        let message = self.disk.message(seq)?;
        let source = message.source.and_then(|id| self.queues.get(&id));
        Ok(Delivery {
            receipt: Receipt {
                queue,
                seq,
                nonce: entry.nonce,
            },
            source_arn: source.map(|s| arn(&s.name)),
            entry,
            message,
            is_fifo,
        })
    }

    /// Undoes deliveries whose receivers were dropped before they got them.
    pub(super) fn take_back(&mut self, receipts: &[Receipt]) -> rusqlite::Result<()> {
        for receipt in receipts {
            let Some(queue) = self.queues.get_mut(&receipt.queue) else {
                continue;
            };
            if queue.ready_queue.take_back(receipt.seq, receipt.nonce)
                && let Some(entry) = queue.ready_queue.get(receipt.seq)
            {
                self.disk.set_delivery(receipt.seq, entry)?;
            }
        }
        Ok(())
    }
}

fn new_nonce() -> i64 {
    let bytes = random_bytes();
    let mut nonce = [0; 8];
    nonce.copy_from_slice(&bytes[..8]);
    // Without the sign bit, since `max` would turn every negative value into 1. 0 means no delivery.
    (i64::from_ne_bytes(nonce) & i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::new_nonce;

    #[test]
    fn nonces_are_unique_and_positive() {
        let nonces: HashSet<_> = (0..1_000).map(|_| new_nonce()).collect();
        assert_eq!(nonces.len(), 1_000);
        assert!(nonces.iter().all(|nonce| *nonce > 0));
    }
}
