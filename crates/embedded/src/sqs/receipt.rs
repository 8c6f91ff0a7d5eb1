//! Receipt handle: names one delivery of one message.

use std::fmt;

use super::error::{Code, Refusal};

/// One delivery of one message. A later delivery of the same message has another nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) queue: i64,
    pub(super) seq: i64,
    pub(super) nonce: i64,
}

impl Receipt {
    pub(super) fn parse(handle: &str) -> Result<Self, Refusal> {
        Self::read(handle).ok_or_else(|| {
            let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
            Refusal::new(Code::ReceiptHandleIsInvalid, message)
        })
    }

    fn read(handle: &str) -> Option<Self> {
        let mut parts = handle.split('-').map(|p| u64::from_str_radix(p, 16).ok());
        let mut next = || parts.next().flatten().map(u64::cast_signed);
        let receipt = Self {
            queue: next()?,
            seq: next()?,
            nonce: next()?,
        };
        parts.next().is_none().then_some(receipt)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.queue, self.seq, self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::Receipt;

    #[test]
    fn handle_survives_the_round_trip() {
        let receipt = Receipt {
            queue: 3,
            seq: i64::MAX,
            nonce: -7,
        };
        assert_eq!(Receipt::parse(&receipt.to_string()), Ok(receipt));
    }

    #[test]
    fn malformed_handles_are_refused() {
        for text in ["", "1-2", "1-2-3-4", "1-2-g", "not a handle"] {
            assert!(Receipt::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
