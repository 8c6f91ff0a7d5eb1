//! Codes of failures: every code that an adapter returns, and its meaning.
//!
//! A failure after text was shown leaves the text in the chat, with an "incomplete answer" note that the caller writes. Such a failure is
//! never `retryable`. In addition an agent's own codes are passed on: at most 64 characters of `[A-Za-z0-9_.-]`.

use std::time::Duration;

use tieline_core::agent::AgentFailure;

/// Connection failed: refused, unreachable, name not resolved, no TLS, or the address is not allowed.
pub const CONNECT: &str = "connect";
/// The connection broke before an answer began.
pub const RESET: &str = "reset";
/// The connection broke in the middle of the answer.
pub const BROKEN: &str = "broken";
/// The agent was silent for longer than `idleTimeoutSeconds`.
pub const IDLE_TIMEOUT: &str = "idle_timeout";
/// The run took longer than `maxRunSeconds`.
pub const MAX_RUN: &str = "max_run";
/// An event or the whole answer exceeds our limits.
pub const TOO_LONG: &str = "too_long";
/// The organization's answers take all the memory that they may take of this process.
pub const NO_MEMORY: &str = "no_memory";
/// The request, with its template filled in, exceeds our limits. It was not sent.
pub const TOO_LARGE: &str = "too_large";
/// The answer violates the protocol.
pub const BAD_ANSWER: &str = "bad_answer";
/// The answer ended without a sign that it is complete.
pub const INCOMPLETE: &str = "incomplete";
/// The model stopped at its own length limit: the text so far is kept.
pub const LENGTH: &str = "length";
/// The agent's content filter stopped the answer.
pub const CONTENT_FILTER: &str = "content_filter";
/// The agent failed without a code that can be passed on.
pub const AGENT_ERROR: &str = "agent_error";

/// Longest `message` of a failure, in characters.
pub const MAX_MESSAGE_CHARS: usize = 500;

/// Whether the agent took too long, so that the notice to the person can say so.
#[must_use]
pub fn is_timeout(failure: &AgentFailure) -> bool {
    matches!(failure.code.as_str(), IDLE_TIMEOUT | MAX_RUN)
}

/// Whether the answer was given up while the agent may still be working on it.
#[must_use]
pub fn may_still_work(failure: &AgentFailure) -> bool {
    let code = failure.code.as_str();
    matches!(
        code,
        IDLE_TIMEOUT | MAX_RUN | TOO_LONG | NO_MEMORY | BROKEN | INCOMPLETE
    )
}

pub(crate) fn new(code: impl Into<String>, message: impl Into<String>, retryable: bool) -> AgentFailure {
    AgentFailure {
        code: code.into(),
        message: message.into(),
        retryable,
    }
}

pub(crate) fn idle_timeout(limit: Duration) -> AgentFailure {
    // Not retryable: it is unknown whether the agent is still working.
    new(
        IDLE_TIMEOUT,
        format!("the agent was silent for {} s", limit.as_secs()),
        false,
    )
}

pub(crate) fn max_run(limit: Duration) -> AgentFailure {
    new(
        MAX_RUN,
        format!("the run took longer than {} s", limit.as_secs()),
        false,
    )
}

pub(crate) fn too_long(what: &str, max_bytes: usize) -> AgentFailure {
    new(TOO_LONG, format!("{what} is longer than {max_bytes} bytes"), false)
}

pub(crate) fn no_memory() -> AgentFailure {
    // Not retryable: the agent has answered, and would be asked twice.
    new(
        NO_MEMORY,
        "the organization's long answers take all the memory that they may take of this process",
        false,
    )
}

/// `what` is the part of the request, which must not be sent.
pub(crate) fn too_large(what: &str, max_bytes: usize) -> AgentFailure {
    new(TOO_LARGE, format!("{what} is larger than {max_bytes} bytes"), false)
}

/// `what` must not quote the answer, which may contain the person's text.
pub(crate) fn bad_answer(what: impl Into<String>) -> AgentFailure {
    new(BAD_ANSWER, what, false)
}

/// A run that is in progress at the agent, but can't be reached any more because of `cause`: it is cancelled.
pub(crate) fn lost(cause: AgentFailure) -> AgentFailure {
    match may_still_work(&cause) {
        true => cause,
        false => new(
            BROKEN,
            format!("the run can't be joined again: {}", cause.message),
            false,
        ),
    }
}

/// The request contains something that can't be represented in JSON.
pub(crate) fn bad_request() -> AgentFailure {
    new(AGENT_ERROR, "the request can't be written as JSON", false)
}

pub(crate) fn incomplete() -> AgentFailure {
    new(INCOMPLETE, "the answer ended without a sign that it is complete", true)
}

/// An agent's own code if it is a plain word, else [`AGENT_ERROR`].
pub(crate) fn agents_code(code: Option<&str>) -> String {
    code.filter(|code| is_word(code)).unwrap_or(AGENT_ERROR).to_owned()
}

/// Whether a text is a code and can't be a person's text.
pub(crate) fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_passed_on_as_codes() {
        assert_eq!(agents_code(Some("rate_limit.v2")), "rate_limit.v2");
        assert_eq!(agents_code(Some("my password is")), AGENT_ERROR);
        assert_eq!(agents_code(Some("")), AGENT_ERROR);
        assert_eq!(agents_code(Some(&"x".repeat(65))), AGENT_ERROR);
        assert_eq!(agents_code(None), AGENT_ERROR);
    }
}
