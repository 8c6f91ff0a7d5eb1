//! One call to an agent, with the retries that are safe.

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

/// How often a call is sent: once, and twice more.
pub(crate) const TRIES: u32 = 3;

/// The longest wait that an agent's `Retry-After` gets while a person waits for an answer. The run's own limit ends it earlier.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Of the body of an error we read this much, and wait this long for it.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// How long a probe may take.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(20);
/// How long the agent may take to note that a run is cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// How a call is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How long to wait for the head of the answer.
    pub(crate) patience: Duration,
    /// How often it is sent, at most.
    pub(crate) tries: u32,
    /// The longest that the agent may ask us to wait before the next try. If it asks for more there is none.
    pub(crate) max_retry_after: Duration,
    /// Whether it may be repeated though the agent may be at work on it: the protocol promises to recognize the repetition.
    pub(crate) idempotent: bool,
}

impl Manner {
    /// A call that asks for an answer: a person waits for it.
    pub(crate) const fn asking(idle: Duration) -> Self {
        Self {
            patience: idle,
            tries: TRIES,
            max_retry_after: MAX_RETRY_AFTER,
            idempotent: false,
        }
    }

    /// A probe: one try within [`PROBE_PATIENCE`].
    pub(crate) const fn probing() -> Self {
        Self {
            patience: PROBE_PATIENCE,
            tries: 1,
            max_retry_after: Duration::ZERO,
            idempotent: false,
        }
    }

    /// A call that cancels a run; repeating it changes nothing.
    pub(crate) const fn cancelling() -> Self {
        Self {
            patience: CANCEL_PATIENCE,
            tries: TRIES,
            max_retry_after: CANCEL_PATIENCE,
            idempotent: true,
        }
    }

    /// The same, and may be repeated though the agent may be at work on it.
    pub(crate) const fn idempotent(self) -> Self {
        Self {
            idempotent: true,
            ..self
        }
    }
}

/// The header by which an agent recognizes a repeated question.
///
/// See [IETF draft/The Idempotency-Key HTTP Header Field](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The value of [`IDEMPOTENCY_KEY`] for the call that asks: the same on every try of a run, in whatever process.
///
/// `question` counts the different bodies that a run may send: an agent may refuse a key that comes with another body.
pub(crate) fn idempotency_key(run: &RunId, question: u32) -> HeaderValue {
    let key = digest(&["idempotency key", run.as_str(), &question.to_string()]);
    HeaderValue::try_from(key).expect("a digest has header characters only")
}

/// Sends what `make` makes until an answer is a success, at most [`Manner::tries`] times.
///
/// Repeated are: no connection; a connection that broke before the answer began; 429, 500, 502, 503, 504. The wait backs off
/// with jitter and is never shorter than the agent's `Retry-After`; an agent that asks for more than
/// [`Manner::max_retry_after`] is not called again at all: calling early is what it asked us not to do.
pub(crate) async fn send(
    make: impl Fn() -> RequestBuilder,
    manner: Manner,
    env: &Env,
) -> Result<Response, AgentFailure> {
    try_send(make, manner, env).await.map_err(|fault| fault.failure)
}

/// The same; the error says what the agent answered, for a caller that can act on it.
pub(crate) async fn try_send(make: impl Fn() -> RequestBuilder, manner: Manner, env: &Env) -> Result<Response, Fault> {
    let mut attempt = 1;
    loop {
        let fault = match send_once(make(), manner, env).await {
            Ok(response) => return Ok(response),
            Err(fault) if !fault.repeat || attempt >= manner.tries => return Err(fault),
            Err(fault) => fault,
        };
        let ours = env.backoff.wait(attempt, (env.random)());
        let Some(wait) = wait(ours, fault.retry_after, manner.max_retry_after) else {
            return Err(fault);
        };
        let code = &fault.failure.code;
        warn!(attempt, wait_ms = wait.as_millis(), error = %code, "agent call failed with {code}, trying again");
        sleep(wait).await;
        attempt += 1;
    }
}

/// How long to wait. `None` if that would be longer than `max`.
fn wait(ours: Duration, asked: Option<Duration>, max: Duration) -> Option<Duration> {
    let asked = asked.unwrap_or_default();
    (asked <= max).then(|| ours.max(asked))
}

/// A call that failed, after all its tries.
pub(crate) struct Fault {
    /// The failure of the run, if nothing else is tried.
    pub(crate) failure: AgentFailure,
    /// The status of the answer; 0 if there was none.
    pub(crate) status: u16,
    /// The answer's description of the error.
    pub(crate) error: ErrorBody,
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
            repeat,
            retry_after: None,
        }
    }
}

async fn send_once(request: RequestBuilder, manner: Manner, env: &Env) -> Result<Response, Fault> {
    match timeout(manner.patience, request.send()).await {
        Ok(Ok(response)) if response.status().is_success() => Ok(response),
        Ok(Ok(response)) => Err(refused(response, env).await),
        Ok(Err(error)) => Err(unanswered(&error, manner)),
        Err(_) => Err(silent(manner)),
    }
}

async fn refused(response: Response, env: &Env) -> Fault {
    let status = response.status();
    let retry_after = retry_after(response.headers(), (env.now)());
    let body = answer::beginning(response, MAX_REFUSAL_BYTES, REFUSAL_PATIENCE).await;
    let error = ErrorBody::read(&body);
    let status_code = status.as_u16();
    let message = format!("HTTP {status_code}{}", error.describe());
    let repeat = is_passing(status);
    Fault {
        failure: failure::new(format!("http_{status_code}"), message, repeat),
        status: status_code,
        error,
        repeat,
        retry_after,
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn unanswered(error: &reqwest::Error, manner: Manner) -> Fault {
    let cause = root_cause(error);
    if error.is_connect() {
        let message = format!("no connection to the agent: {cause}");
        Fault::unanswered(failure::new(failure::CONNECT, message, true), true)
    } else if error.is_timeout() {
        silent(manner)
    } else if error.is_builder() || is_garbage(error) {
        let failure = failure::bad_answer("expected an HTTP answer, met something else");
        Fault::unanswered(failure, false)
    } else {
        let message = format!("the connection broke before the answer: {cause}");
        Fault::unanswered(failure::new(failure::RESET, message, true), true)
    }
}

fn silent(manner: Manner) -> Fault {
    Fault::unanswered(failure::idle_timeout(manner.patience), manner.idempotent)
}

/// The innermost cause. The outer ones tell the address, which may hold a key.
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
    fn agent_may_ask_for_a_longer_wait_but_not_for_any() {
        let seconds = Duration::from_secs;
        let wait = |asked: Option<u64>| wait(seconds(2), asked.map(seconds), MAX_RETRY_AFTER);
        assert_eq!(wait(None), Some(seconds(2)));
        assert_eq!(wait(Some(1)), Some(seconds(2)));
        assert_eq!(wait(Some(9)), Some(seconds(9)));
        assert_eq!(wait(Some(120)), Some(seconds(120)));
        assert_eq!(wait(Some(3600)), None);
    }

    #[test]
    fn only_passing_faults_are_repeated() {
        let repeated: Vec<u16> = (400..600)
            .filter(|code| is_passing(StatusCode::from_u16(*code).unwrap()))
            .collect();
        assert_eq!(repeated, [429, 500, 502, 503, 504]);
    }
}
