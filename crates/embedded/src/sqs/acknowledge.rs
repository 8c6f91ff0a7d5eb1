//! End of a delivery: the message is deleted, or its visibility timeout is changed.

use super::engine_state::{EngineState, Failure, Outcome};
use super::error::{Code, FailedEntry, Refusal};
use super::ready_queue::Visibility;
use super::receipt::Receipt;
use super::wire::EntryId;

/// See [SQS API/ChangeMessageVisibility](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html).
pub(super) const MAX_VISIBILITY_S: i64 = 43_200;

/// One operation on one delivery.
#[derive(Debug)]
pub(super) enum Settlement {
    Delete,
    Extend { visibility_s: i64 },
}

/// The entries of a batch. An entry that was refused while the request was parsed has its refusal.
pub(super) type Settlements = Vec<(String, Result<(String, Settlement), Refusal>)>;

impl EngineState {
    pub(super) fn settle(&mut self, name: &str, handle: &str, what: &Settlement, now_ms: i64) -> Outcome<()> {
        let queue = self.queue(name)?;
        queue.ready_queue.settle(now_ms);
        let id = queue.id;
        let receipt = Receipt::parse(handle)?;
        if receipt.queue != id {
            let message = "The input receipt handle was not given out by this queue.";
            return Err(Refusal::new(Code::ReceiptHandleIsInvalid, message).into());
        }
        match what {
            Settlement::Delete => self.delete(receipt, handle),
            Settlement::Extend { visibility_s } => self.extend(receipt, handle, *visibility_s, now_ms),
        }
    }

    pub(super) fn settle_batch(
        &mut self,
        name: &str,
        settlements: Settlements,
        now_ms: i64,
    ) -> Outcome<(Vec<EntryId>, Vec<FailedEntry>)> {
        self.id(name)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, settlement) in settlements {
            let settled = settlement
                .map_err(Failure::from)
                .and_then(|(handle, what)| self.settle(name, &handle, &what, now_ms));
            match settled {
                Ok(()) => successful.push(EntryId { id }),
                Err(Failure::Refused(refusal)) => failed.push(refusal.entry(id)),
                Err(disk) => return Err(disk),
            }
        }
        Ok((successful, failed))
    }

    fn delete(&mut self, receipt: Receipt, handle: &str) -> Outcome<()> {
        let Some(queue) = self.queues.get_mut(&receipt.queue) else {
            return Ok(());
        };
        let Some(entry) = queue.ready_queue.get(receipt.seq) else {
            return Ok(()); // Deleted before: deleting again is no error.
        };
        let is_current = entry.nonce == receipt.nonce;
        let is_lent = matches!(entry.visibility, Visibility::InFlight { .. });
        if queue.settings.is_fifo() && !(is_current && is_lent) {
            let reason = "The receipt handle has expired.";
            return Err(Refusal::invalid("ReceiptHandle", handle, reason).into());
        }
        // A standard queue accepts an old handle silently, and the newer delivery stays.
        if is_current {
            queue.ready_queue.remove(receipt.seq);
            self.disk.remove_message(receipt.seq)?;
        }
        Ok(())
    }

    fn extend(&mut self, receipt: Receipt, handle: &str, visibility_s: i64, now_ms: i64) -> Outcome<()> {
        let Some(queue) = self.queues.get_mut(&receipt.queue) else {
            return Err(Refusal::no_queue().into());
        };
        let current = queue.ready_queue.get(receipt.seq).filter(|e| e.nonce == receipt.nonce);
        let Some(entry) = current else {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            return Err(Refusal::invalid("ReceiptHandle", handle, reason).into());
        };
        let Visibility::InFlight { since_ms, .. } = entry.visibility else {
            let message = "The message referred to isn't in flight.";
            return Err(Refusal::new(Code::MessageNotInflight, message).into());
        };
        let until_ms = now_ms + visibility_s * 1_000;
        if until_ms > since_ms + MAX_VISIBILITY_S * 1_000 {
            let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(Refusal::invalid("VisibilityTimeout", visibility_s, reason).into());
        }
        queue.ready_queue.extend(receipt.seq, until_ms, now_ms);
        if let Some(entry) = queue.ready_queue.get(receipt.seq) {
            self.disk.set_delivery(receipt.seq, entry)?;
        }
        Ok(())
    }
}
