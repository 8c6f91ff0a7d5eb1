//! Returns messages to their queue if their receiver is dropped before they arrive.

use std::sync::mpsc::Sender;

use super::Job;
use crate::sqs::receiving::Delivery;

/// Deliveries that are undone unless a receiver accepts them.
///
/// A receiver in this process is often dropped while it waits: by a `select!`, by a shutdown. Without this guard its messages, and on a
/// FIFO queue their groups, would be locked until the visibility timeout.
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
            // If the writer has ended, there are no receivers to serve.
            let _ = self.back.send(Job::TakeBack(receipts));
        }
    }
}
