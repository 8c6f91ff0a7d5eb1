//! How a platform's answer to a call is classified.

use std::time::Duration;

use serde::Deserialize;

use crate::http_types::ApiCall;
use crate::reply::{Progress, UnreadableProgress};

/// A call that was made, with the progress before it and the progress that its success leads to.
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
    /// Progress once the platform has accepted it, but for the ids that its answer brings.
    pub on_success: T,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It worked (or had worked before): go on from here.
    Accepted(Progress),
    /// This way is closed; the progress says so, and the next step takes another.
    FallBack {
        /// From where to go on.
        progress: Progress,
        /// Why, for the log: the platform's code.
        code: String,
    },
    /// This way is closed for the bot, not for this reply alone: it isn't tried again before it has rested. See [`crate::reply::DesiredReply::plain`].
    Closed {
        /// From where to go on.
        progress: Progress,
        /// Why, for the log: the platform's code.
        code: String,
        /// For how long.
        rest: Duration,
        /// Permissions that the bot lacks, if that is why, in the platform's words.
        missing: Vec<String>,
    },
    /// One way is closed for the bot's other replies too, for a while; the progress says so for this one.
    /// See [`super::Connector::with_resting_way`].
    Resting {
        /// From where to go on.
        progress: Progress,
        /// Why, for the log: the platform's code.
        code: String,
        /// The way, in the connector's own word.
        way: &'static str,
        /// For how long.
        rest: Duration,
    },
    /// Too fast. Nothing is lost: wait and ask again.
    SlowDown {
        /// How long the platform asks us to wait.
        retry_after: Option<Duration>,
        /// The platform's code.
        code: String,
        /// What the limit is counted for.
        scope: LimitScope,
    },
    /// The access token has run out: get another and repeat.
    TokenExpired,
    /// A passing fault: repeat, backing off.
    Retry {
        /// The platform's code, or what happened.
        code: String,
    },
    /// For good.
    Refused {
        /// The platform's code.
        code: String,
    },
    /// For good, and so will every other call be: the credentials themselves are refused, not an access token that has run out.
    CredentialsRefused {
        /// The platform's code.
        code: String,
    },
}

/// What a platform counts a rate limit for, as far as its answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// All calls of the bot, or the answer doesn't say.
    Bot,
    /// One chat, person, message or card: other chats of the bot are not limited.
    Chat,
}

impl LimitScope {
    /// The word used in test vectors.
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
