//! The data key, which seals what is stored: unwrapped by KMS, or given.

use std::time::Duration;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use tieline_bridge::error_chain::chain;
use tieline_bridge::world::chance;
use tieline_core::backoff::Backoff;
use tieline_core::secret::Secret;
use tieline_store::{StoreError, Tables, wrapped_key};
use tokio::time::{Instant, sleep};
use tracing::warn;

/// How long unwrapping may take: Lambda gives a start ten seconds, of which the program needs some for itself.
const PATIENCE: Duration = Duration::from_secs(8);
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};

/// Why there is no data key.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// The table that holds the wrapped key.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// KMS, with its error code.
    #[error("data key can't be unwrapped: {0}")]
    Kms(String),
    /// The data key is not 32 bytes.
    #[error("data key is not 32 bytes long")]
    BadKey,
}

impl DataKeyError {
    /// Whether the same may work a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Store(StoreError::Unavailable { .. } | StoreError::Conflict) => true,
            Self::Kms(code) => [
                "unreachable",
                "ThrottlingException",
                "KMSInternalException",
                "DependencyTimeoutException",
            ]
            .contains(&code.as_str()),
            Self::Store(_) | Self::BadKey => false,
        }
    }
}

/// Reads a key of 64 hex digits.
pub(crate) fn read(text: &Secret) -> Result<[u8; 32], DataKeyError> {
    let digits = text.expose().trim().as_bytes();
    let pair = |at: usize| u8::from_str_radix(std::str::from_utf8(digits.get(at..at + 2)?).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DataKeyError::BadKey)
}

/// The data key, unwrapped by the KMS key `id`. What fails for the moment is tried again.
pub(crate) async fn unwrap(
    kms: &aws_sdk_kms::Client,
    dynamo: &aws_sdk_dynamodb::Client,
    tables: &Tables,
    id: &str,
) -> Result<[u8; 32], DataKeyError> {
    patiently(PATIENCE, || unwrap_once(kms, dynamo, tables, id)).await
}

/// Tries again what fails for the moment, as throttled tables do, for as long as a start may take: a process that ends instead costs its
/// events the time that the queue hides them.
async fn patiently<T>(
    patience: Duration,
    mut start: impl AsyncFnMut() -> Result<T, DataKeyError>,
) -> Result<T, DataKeyError> {
    let until = Instant::now() + patience;
    let mut failures = 0;
    loop {
        let error = match start().await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        failures += 1;
        let wait = BACKOFF.wait(failures, chance());
        if !error.may_pass() || Instant::now() + wait >= until {
            return Err(error);
        }
        warn!(error = chain(&error), "start fails for the moment; trying again");
        sleep(wait).await;
    }
}

/// The first process creates the key; a conditional write lets only one be first.
async fn unwrap_once(
    kms: &aws_sdk_kms::Client,
    dynamo: &aws_sdk_dynamodb::Client,
    tables: &Tables,
    id: &str,
) -> Result<[u8; 32], DataKeyError> {
    let wrapped = match wrapped_key::get(dynamo, tables).await? {
        Some(wrapped) => wrapped,
        None => {
            let made = kms
                .generate_data_key_without_plaintext()
                .key_id(id)
                .number_of_bytes(32)
                .send()
                .await;
            let blob = made.map_err(|error| DataKeyError::Kms(code(&error)))?.ciphertext_blob;
            let fresh = blob.ok_or_else(|| DataKeyError::Kms("no key".into()))?.into_inner();
            wrapped_key::put_first(dynamo, tables, fresh).await?
        }
    };
    let answer = kms.decrypt().key_id(id).ciphertext_blob(wrapped.into()).send().await;
    let plain = answer.map_err(|error| DataKeyError::Kms(code(&error)))?.plaintext;
    plain
        .and_then(|plain| plain.into_inner().try_into().ok())
        .ok_or(DataKeyError::BadKey)
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let service = error.as_service_error().and_then(ProvideErrorMetadata::code);
    service.unwrap_or("unreachable").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_digits() {
        assert!(read(&Secret::new("ab".repeat(32))).is_ok());
        for wrong in ["", "ab", "zz", &"ab".repeat(33), "äää"] {
            assert!(read(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_start_tries_again_what_passes_and_nothing_else() {
        let started = async |patience: Duration, n_failures: u32, code: &str| {
            let mut n_tries = 0;
            let start = async || {
                n_tries += 1;
                match n_tries > n_failures {
                    true => Ok(()),
                    false => Err(DataKeyError::Kms(code.to_owned())),
                }
            };
            let is_started = patiently(patience, start).await.is_ok();
            (is_started, n_tries)
        };
        assert_eq!(started(PATIENCE, 3, "ThrottlingException").await, (true, 4));
        assert_eq!(started(PATIENCE, 3, "AccessDeniedException").await, (false, 1));
        let short = Duration::from_millis(300);
        let begun = Instant::now();
        let (is_started, n_tries) = started(short, u32::MAX, "unreachable").await;
        assert!(!is_started && n_tries > 1 && begun.elapsed() <= short, "{n_tries}");
    }
}
