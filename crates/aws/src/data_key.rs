//! Data keys, which encrypt what is stored: wrapped by a KMS key, or given in the environment.

use std::time::Duration;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tieline_bridge::clock::Clock;
use tieline_bridge::error_chain::chain;
use tieline_bridge::world::chance;
use tieline_core::backoff::Backoff;
use tieline_core::secret::Secret;
use tieline_store::Store;
use tieline_store::data_keys::{DataKeyError, KeyMaker, KeyOpener, MAX_AGE, REFRESH};
use tokio::time::{Instant, sleep};
use tracing::warn;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};
/// Delay between a key's creation and its first use for encryption: twice as long as a process works with the keys that it has read.
const DELAY: Duration = MAX_AGE.saturating_mul(2);
/// KMS error codes after which the same call may succeed a moment later. `unreachable` is our own code.
const PASSING: [&str; 4] = [
    "unreachable",
    "ThrottlingException",
    "KMSInternalException",
    "DependencyTimeoutException",
];

/// Time limits for retrying a start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Limit for transient failures.
    pub(crate) failures: Duration,
    /// Limit while there is no data key: in a new deployment, until the admin function has created the first one.
    pub(crate) first_key: Duration,
}

/// Data keys that a KMS key wraps.
#[derive(Debug)]
pub(crate) struct KmsKeys {
    pub(crate) client: aws_sdk_kms::Client,
    /// Id of the KMS key.
    pub(crate) key: String,
}

/// [`KmsKeys`] of the program that rotates them.
#[derive(Debug)]
pub(crate) struct KmsKeyMaker(pub(crate) KmsKeys);

impl KmsKeys {
    async fn decrypt(&self, wrapped: &[u8]) -> Result<[u8; 32], DataKeyError> {
        let call = self.client.decrypt().key_id(&self.key);
        let answer = call.ciphertext_blob(Blob::new(wrapped)).send().await;
        let plain = answer.map_err(|error| failure(&error))?.plaintext;
        plain
            .and_then(|plain| plain.into_inner().try_into().ok())
            .ok_or(DataKeyError::BadKey)
    }
}

impl KeyOpener for KmsKeys {
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<[u8; 32], DataKeyError>> {
        self.decrypt(wrapped).boxed()
    }
}

impl KeyOpener for KmsKeyMaker {
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<[u8; 32], DataKeyError>> {
        self.0.decrypt(wrapped).boxed()
    }
}

impl KeyMaker for KmsKeyMaker {
    fn make(&self, _is_first: bool) -> BoxFuture<'_, Result<Vec<u8>, DataKeyError>> {
        async {
            let call = self.0.client.generate_data_key_without_plaintext();
            let made = call.key_id(&self.0.key).number_of_bytes(32).send().await;
            let blob = made.map_err(|error| failure(&error))?.ciphertext_blob;
            Ok(blob.ok_or(DataKeyError::BadKey)?.into_inner())
        }
        .boxed()
    }

    /// Nothing to destroy: wrapped keys are stored in the table only.
    fn destroy<'a>(&'a self, _wrapped: &'a [u8]) -> BoxFuture<'a, Result<(), DataKeyError>> {
        async { Ok(()) }.boxed()
    }

    fn delay(&self) -> Duration {
        DELAY
    }
}

/// Decodes a key of 64 hex digits.
pub(crate) fn read(text: &Secret) -> Result<[u8; 32], DataKeyError> {
    let digits = text.expose().trim().as_bytes();
    let pair = |at: usize| u8::from_str_radix(std::str::from_utf8(digits.get(at..at + 2)?).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DataKeyError::BadKey)
}

/// Retries a start that fails transiently (throttled tables, for example) within the limits of `patience`. A process that ended instead
/// would delay its events by the queue's visibility timeout.
pub(crate) async fn patiently<T>(
    patience: Patience,
    mut start: impl AsyncFnMut() -> Result<T, DataKeyError>,
) -> Result<T, DataKeyError> {
    let begun = Instant::now();
    let mut failures = 0;
    loop {
        let error = match start().await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        failures += 1;
        let wait = BACKOFF.wait(failures, chance());
        let limit = match error {
            DataKeyError::Missing => patience.first_key,
            _ => patience.failures,
        };
        if !error.may_pass() || begun.elapsed() + wait >= limit {
            return Err(error);
        }
        warn!(error = chain(&error), "start failed temporarily, retrying");
        sleep(wait).await;
    }
}

/// Reads the data keys again periodically, for work that takes longer than keys may be cached.
pub(crate) async fn keep_fresh(store: Store, clock: Clock) {
    loop {
        sleep(REFRESH).await;
        if let Err(error) = store.refresh_keys(clock.now()).await {
            warn!(error = chain(&error), "data keys can't be read again");
        }
    }
}

fn failure<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> DataKeyError {
    let service = error.as_service_error().and_then(ProvideErrorMetadata::code);
    wrapper_error(service.unwrap_or("unreachable"))
}

fn wrapper_error(code: &str) -> DataKeyError {
    DataKeyError::Wrapper {
        code: code.to_owned(),
        may_pass: PASSING.contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = of(Duration::from_secs(8));

    const fn of(patience: Duration) -> Patience {
        Patience {
            failures: patience,
            first_key: Duration::ZERO,
        }
    }

    #[test]
    fn a_key_is_64_digits() {
        assert!(read(&Secret::new("ab".repeat(32))).is_ok());
        for wrong in ["", "ab", "zz", &"ab".repeat(33), "äää"] {
            assert!(read(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn start_retries_transient_failures_only() {
        let started = async |patience: Patience, n_failures: u32, code: &str| {
            let mut n_tries = 0;
            let start = async || {
                n_tries += 1;
                match n_tries > n_failures {
                    true => Ok(()),
                    false => Err(wrapper_error(code)),
                }
            };
            let is_started = patiently(patience, start).await.is_ok();
            (is_started, n_tries)
        };
        assert_eq!(started(PATIENCE, 3, "ThrottlingException").await, (true, 4));
        assert_eq!(started(PATIENCE, 3, "AccessDeniedException").await, (false, 1));
        let short = Duration::from_millis(300);
        let begun = Instant::now();
        let (is_started, n_tries) = started(of(short), u32::MAX, "unreachable").await;
        assert!(!is_started && n_tries > 1 && begun.elapsed() <= short, "{n_tries}");
        let waiting = Patience {
            failures: Duration::ZERO,
            first_key: Duration::from_secs(8),
        };
        let mut n_tries = 0;
        let made_meanwhile = async || {
            n_tries += 1;
            if n_tries > 2 {
                Ok(())
            } else {
                Err(DataKeyError::Missing)
            }
        };
        assert!(patiently(waiting, made_meanwhile).await.is_ok(), "the first key comes");
    }
}
