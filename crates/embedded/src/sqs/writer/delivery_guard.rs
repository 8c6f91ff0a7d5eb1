//! Messages on the way from the writer to a receiver that may be gone before they arrive.

use std::sync::mpsc::Sender;

use super::Job;
use crate::sqs::receiving::Delivery;

/// Deliveries that return to their queue unless a receiver takes them.
///
/// A receiver in this process is often dropped while it waits: by a `select!`, by a shutdown. Without this its messages, and on a FIFO
/// queue their groups, would be locked until the visibility timeout.
#[derive(Debug)]
pub(in crate::sqs) struct DeliveryGuard {
    deliveries: Vec<Delivery>,
    back: Sender<Job>,
}

impl DeliveryGuard {
    pub(super) fn new(deliveries: Vec<Delivery>, back: Sender<Job>) -> Self {
        Self { deliveries, back }
    }

    pub(in crate::sqs) fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for DeliveryGuard {
    fn drop(&mut self) {
        if !self.deliveries.is_empty() {
            let receipts = self.deliveries.iter().map(|d| d.receipt).collect();
            // A writer that is gone has no more receivers to serve.
            let _ = self.back.send(Job::TakeBack(receipts));
        }
    }
}
