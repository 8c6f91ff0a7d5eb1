//! One call to an agent, with retries where they are safe.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use tieline_core::agent::AgentFailure;
use tieline_core::ids::{RunId, digest};
use tieline_core::timestamp::Timestamp;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::answer;
use crate::env::Env;
use crate::error_body::ErrorBody;
use crate::failure;

/// Attempts of a call: the first and two retries.
pub(crate) const TRIES: u32 = 3;

/// Attempts of a call about a run that is in progress at the agent: with the production backoff, some 20 to 45 s, in which a server restarts.
pub(crate) const REJOIN_TRIES: u32 = 9;

/// Longest `Retry-After` that is honoured while a person waits for the answer. The run's own time limit may end it earlier.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Largest part of an error's body that is read. `REFUSAL_PATIENCE` bounds the time.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// Time limit of a probe.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(20);
/// Time limit for the agent to confirm that a run is cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// Timeout and retry policy of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Timeout for the head of the response.
    pub(crate) patience: Duration,
    /// Largest number of attempts.
    pub(crate) tries: u32,
    /// Longest `Retry-After` that is honoured. If the agent asks for more, there is no further attempt.
    pub(crate) max_retry_after: Duration,
    /// Whether it may be retried although the agent may be working on it: the protocol guarantees that a repetition is recognized.
    pub(crate) idempotent: bool,
    /// Whether it is about a run that is in progress at the agent: if it fails for good, the run is lost.
    pub(crate) is_rejoin: bool,
}

impl Manner {
    /// Policy of a call that asks a question: a person waits for the answer.
    pub(crate) const fn asking(idle: Duration) -> Self {
        Self {
            patience: idle,
            tries: TRIES,
            max_retry_after: MAX_RETRY_AFTER,
            idempotent: false,
            is_rejoin: false,
        }
    }

    /// Policy of a call that joins a run again or reads its state.
    pub(crate) const fn rejoining(idle: Duration) -> Self {
        Self {
            tries: REJOIN_TRIES,
            idempotent: true,
            is_rejoin: true,
            ..Self::asking(idle)
        }
    }

    /// Policy of a probe: one attempt within [`PROBE_PATIENCE`].
    pub(crate) const fn probing() -> Self {
        Self {
            patience: PROBE_PATIENCE,
            tries: 1,
            max_retry_after: Duration::ZERO,
            idempotent: false,
            is_rejoin: false,
        }
    }

    /// Policy of a call that cancels a run, which is idempotent.
    pub(crate) const fn cancelling() -> Self {
        Self {
            patience: CANCEL_PATIENCE,
            tries: TRIES,
            max_retry_after: CANCEL_PATIENCE,
            idempotent: true,
            is_rejoin: false,
        }
    }

    /// Allows retries although the agent may be working on the call.
    pub(crate) const fn idempotent(self) -> Self {
        Self {
            idempotent: true,
            ..self
        }
    }
}

/// Header by which an agent recognizes a repeated question.
///
/// See [IETF draft/The Idempotency-Key HTTP Header Field](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Value of [`IDEMPOTENCY_KEY`] for a question: the same on every attempt of a run, in every process.
///
/// `question` numbers the different bodies that a run may send: an agent may refuse a key that it saw with another body.
pub(crate) fn idempotency_key(run: &RunId, question: u32) -> HeaderValue {
    let key = digest(&["idempotency key", run.as_str(), &question.to_string()]);
    HeaderValue::try_from(key).expect("a digest has header characters only")
}

/// Sends the requests built by `make` until a response is a success, at most [`Manner::tries`] times.
///
/// Retried are: failed connections; connections that broke before the response began; 429, 500, 502, 503, 504, and every 5xx if the call is
/// idempotent. The wait backs off with jitter and is never shorter than the agent's `Retry-After`. If that exceeds
/// [`Manner::max_retry_after`], there is no further attempt, because calling earlier is what the agent asked us not to do.
pub(crate) async fn send(
    make: impl Fn() -> RequestBuilder,
    manner: Manner,
    env: &Env,
) -> Result<Response, AgentFailure> {
    try_send(make, manner, env).await.map_err(|fault| fault.failure)
}

/// Like [`send`], but the error contains what the agent answered, for a caller that can act on it.
pub(crate) async fn try_send(make: impl Fn() -> RequestBuilder, manner: Manner, env: &Env) -> Result<Response, Fault> {
    let mut attempt = 1;
    let mut may_be_repeated = false;
    loop {
        let fault = match send_once(make(), manner, env).await {
            Ok(response) => return Ok(response),
            Err(fault) => Fault {
                may_be_repeated,
                ..fault
            },
        };
        if !fault.repeat {
            return Err(fault);
        }
        // Silence lasts for as long as the patience each time.
        let tries = match fault.failure.code == failure::IDLE_TIMEOUT {
            true => manner.tries.min(TRIES),
            false => manner.tries,
        };
        if attempt >= tries {
            return Err(fault.final_for(manner));
        }
        may_be_repeated |= fault.may_be_processed();
        let ours = env.backoff.wait(attempt, (env.random)());
        let Some(wait) = wait(ours, fault.retry_after, manner.max_retry_after) else {
            return Err(fault.final_for(manner));
        };
        let code = &fault.failure.code;
        warn!(attempt, wait_ms = wait.as_millis(), error = %code, "agent call failed with {code}, retrying");
        sleep(wait).await;
        attempt += 1;
    }
}

/// Sends a call and reads its response. If the response of a call about a run in progress breaks off, which says nothing of the run, the call is
/// repeated. `send` has its own retries.
pub(crate) async fn send_and_read<T, E: Into<AgentFailure>, S, R>(
    manner: Manner,
    env: &Env,
    send: impl Fn() -> S,
    read: impl Fn(Response) -> R,
) -> Result<T, AgentFailure>
where
    S: Future<Output = Result<Response, E>>,
    R: Future<Output = Result<T, AgentFailure>>,
{
    let tries = if manner.is_rejoin { manner.tries } else { 1 };
    let mut attempt = 1;
    loop {
        let response = send().await.map_err(Into::into)?;
        match read(response).await {
            Err(cut) if cut.code == failure::BROKEN && attempt < tries => {
                warn!(attempt, "response about a run in progress broke off, retrying");
                sleep(env.backoff.wait(attempt, (env.random)())).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// The wait before the next attempt. `None` if it would be longer than `max`.
fn wait(ours: Duration, asked: Option<Duration>, max: Duration) -> Option<Duration> {
    let asked = asked.unwrap_or_default();
    (asked <= max).then(|| ours.max(asked))
}

/// A call that failed, after all its attempts.
pub(crate) struct Fault {
    /// The run's failure, if the caller tries nothing else.
    pub(crate) failure: AgentFailure,
    /// Status of the response; 0 if there was none.
    pub(crate) status: u16,
    /// The error described in the response.
    pub(crate) error: ErrorBody,
    /// Whether an earlier attempt may have been processed, so that this one may have been refused as its repetition.
    pub(crate) may_be_repeated: bool,
    repeat: bool,
    retry_after: Option<Duration>,
}

impl From<AgentFailure> for Fault {
    fn from(failure: AgentFailure) -> Self {
        Self::unanswered(failure, false)
    }
}

impl From<Fault> for AgentFailure {
    fn from(fault: Fault) -> Self {
        fault.failure
    }
}

impl Fault {
    fn unanswered(failure: AgentFailure, repeat: bool) -> Self {
        Self {
            failure,
            status: 0,
            error: ErrorBody::default(),
            may_be_repeated: false,
            repeat,
            retry_after: None,
        }
    }

    /// The fault after the last attempt.
    fn final_for(self, manner: Manner) -> Self {
        let failure = match manner.is_rejoin {
            true => failure::lost(self.failure),
            false => self.failure,
        };
        Self { failure, ..self }
    }

    /// Whether the agent may have processed the call: its answer was lost, or a gateway gave up waiting for it.
    fn may_be_processed(&self) -> bool {
        match self.status {
            0 => self.failure.code != failure::CONNECT,
            status => status >= 500,
        }
    }
}

async fn send_once(request: RequestBuilder, manner: Manner, env: &Env) -> Result<Response, Fault> {
    match timeout(manner.patience, request.send()).await {
        Ok(Ok(mut response)) if response.status().is_success() => {
            // The body is counted where it is read.
            response.extensions_mut().insert(env.memory.clone());
            Ok(response)
        }
        Ok(Ok(response)) => Err(refused(response, manner, env).await),
        Ok(Err(error)) => Err(unanswered(&error, manner)),
        Err(_) => Err(silent(manner)),
    }
}

async fn refused(response: Response, manner: Manner, env: &Env) -> Fault {
    let status = response.status();
    let retry_after = retry_after(response.headers(), (env.now)());
    let body = answer::beginning(response, MAX_REFUSAL_BYTES, REFUSAL_PATIENCE).await;
    let error = ErrorBody::read(&body);
    let status_code = status.as_u16();
    let message = format!("HTTP {status_code}{}", error.describe());
    let repeat = is_passing(status, manner);
    Fault {
        failure: failure::new(format!("http_{status_code}"), message, repeat),
        status: status_code,
        error,
        may_be_repeated: false,
        repeat,
        retry_after,
    }
}

/// Whether the call may be retried after this status. The other 5xx need not be transient: they are retried only where that is harmless.
fn is_passing(status: StatusCode, manner: Manner) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504) || manner.idempotent && status.is_server_error()
}

fn unanswered(error: &reqwest::Error, manner: Manner) -> Fault {
    let cause = root_cause(error);
    if error.is_connect() {
        let message = format!("no connection to the agent: {cause}");
        Fault::unanswered(failure::new(failure::CONNECT, message, true), true)
    } else if error.is_timeout() {
        silent(manner)
    } else if error.is_builder() || is_garbage(error) {
        let failure = failure::bad_answer("expected an HTTP answer, got something else");
        Fault::unanswered(failure, false)
    } else {
        let message = format!("the connection broke before the answer: {cause}");
        Fault::unanswered(failure::new(failure::RESET, message, true), true)
    }
}

fn silent(manner: Manner) -> Fault {
    Fault::unanswered(failure::idle_timeout(manner.patience), manner.idempotent)
}

/// The innermost cause. The outer ones quote the URL, which may contain a key.
fn root_cause(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

fn is_garbage(error: &reqwest::Error) -> bool {
    let mut http = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    http.any(|error| error.is_parse() || error.is_parse_too_large())
}

/// `Retry-After`, in seconds or as a date.
///
/// See [RFC 9110/Retry-After](https://www.rfc-editor.org/rfc/rfc9110#name-retry-after).
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = Timestamp::from_secs(i64::try_from(date.as_secs()).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<u64>) {
        let now = Timestamp::parse("1994-11-06T08:49:30Z").unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check("120", Some(120));
        check("0", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }

    #[test]
    fn retry_after_extends_the_wait_up_to_a_limit() {
        let seconds = Duration::from_secs;
        let wait = |asked: Option<u64>| wait(seconds(2), asked.map(seconds), MAX_RETRY_AFTER);
        assert_eq!(wait(None), Some(seconds(2)));
        assert_eq!(wait(Some(1)), Some(seconds(2)));
        assert_eq!(wait(Some(9)), Some(seconds(9)));
        assert_eq!(wait(Some(120)), Some(seconds(120)));
        assert_eq!(wait(Some(3600)), None);
    }

    #[test]
    fn only_transient_faults_are_retried() {
        let asking = Manner::asking(Duration::ZERO);
        let repeated = |manner: Manner| -> Vec<u16> {
            let statuses = 400..600;
            statuses
                .filter(|code| is_passing(StatusCode::from_u16(*code).unwrap(), manner))
                .collect()
        };
        assert_eq!(repeated(asking), [429, 500, 502, 503, 504]);
        let every_5xx: Vec<u16> = [429].into_iter().chain(500..600).collect();
        assert_eq!(repeated(asking.idempotent()), every_5xx);
    }
}
