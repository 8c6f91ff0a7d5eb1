//! Classification of a platform's answer to a call.

use std::time::Duration;

use serde::Deserialize;

use crate::http_types::ApiCall;
use crate::reply::{Progress, UnreadableProgress};

/// A call that was made, with the progress before it and on success.
#[derive(Debug, Clone, Copy)]
pub struct SentCall<'a> {
    /// The call.
    pub call: &'a ApiCall,
    /// Progress before the call.
    pub progress: &'a Progress,
    /// Progress that [`super::Connector::deliver`] planned for the case of success.
    pub on_success: &'a Progress,
}

impl SentCall<'_> {
    /// Progress before the call and progress on success, as the connector's own type.
    ///
    /// # Errors
    /// The verdict on the call if either can't be read: a refusal for good, which never counts as "nothing shown".
    pub fn read<T: Default + for<'de> Deserialize<'de>>(&self) -> Result<Planned<T>, Verdict> {
        let read = |progress: &Progress| {
            progress
                .read()
                .map_err(|UnreadableProgress| Verdict::unreadable_progress())
        };
        Ok(Planned {
            before: read(self.progress)?,
            on_success: read(self.on_success)?,
        })
    }
}

/// What a call changes about the progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned<T> {
    /// Progress before the call.
    pub before: T,
    /// Progress once the platform has accepted it, without the ids from its answer.
    pub on_success: T,
}

/// Outcome of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It succeeded (or had succeeded before): continue from here.
    Accepted(Progress),
    /// This way of showing the reply is closed; the progress says so, and the next step takes another.
    FallBack {
        /// The progress to continue from.
        progress: Progress,
        /// The platform's code, for the log.
        code: String,
    },
    /// This way is closed for the bot's other replies too: it isn't tried again before a cooldown is over. See [`crate::reply::DesiredReply::plain`].
    Closed {
        /// The progress to continue from.
        progress: Progress,
        /// The platform's code, for the log.
        code: String,
        /// The cooldown.
        rest: Duration,
        /// Permissions that the bot lacks, if that is the cause, as the platform names them.
        missing: Vec<String>,
    },
    /// One way is closed for the bot's other replies too, during a cooldown; the progress says so for this one.
    /// See [`super::Connector::with_resting_way`].
    Resting {
        /// The progress to continue from.
        progress: Progress,
        /// The platform's code, for the log.
        code: String,
        /// The way, as the connector names it.
        way: &'static str,
        /// The cooldown.
        rest: Duration,
    },
    /// Rate limited. Nothing is lost: wait and retry.
    SlowDown {
        /// How long the platform asks us to wait.
        retry_after: Option<Duration>,
        /// The platform's code.
        code: String,
        /// To what the limit applies.
        scope: LimitScope,
    },
    /// The access token has expired: get a new one and retry.
    TokenExpired,
    /// A transient failure: retry with backoff.
    Retry {
        /// The platform's code, or what happened.
        code: String,
    },
    /// Refused for good.
    Refused {
        /// The platform's code.
        code: String,
    },
    /// Refused for good, like every other call: the credentials themselves are refused, not an expired access token.
    CredentialsRefused {
        /// The platform's code.
        code: String,
    },
}

/// To what a platform's rate limit applies, as far as its answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// All calls of the bot, or the answer doesn't say.
    Bot,
    /// One chat, person, message or card: other chats of the bot are not limited.
    Chat,
}

impl LimitScope {
    /// The name used in test vectors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Chat => "chat",
        }
    }
}

impl Verdict {
    /// The stored progress can't be read.
    #[must_use]
    pub fn unreadable_progress() -> Self {
        Self::Refused {
            code: "unreadable_progress".to_owned(),
        }
    }
}
