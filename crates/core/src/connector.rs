//! The connector contract: what one chat platform must teach the bridge.

mod manifest;

use std::time::Duration;

use crate::account::{Account, ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use crate::event::{Event, Part, Quoted};
use crate::http_types::{AccessToken, ApiAnswer, ApiCall, HttpCall, WebhookAnswer, WebhookRequest};
use crate::ids::{PlatformMessageId, ReplyId, SenderId};
use crate::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step};
use crate::stream::StreamProtocol;
use crate::timestamp::Timestamp;

pub use manifest::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof};

/// What one chat platform must teach the bridge. Pure: the same input gives the same output.
pub trait Connector: Sync {
    /// Names, documentation, credential fields, limits and abilities. Constant.
    fn manifest(&self) -> &'static Manifest;

    /// Reads the credentials once: keys are decoded, ciphers are keyed.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a field is missing or can't be what it claims.
    fn prepare(
        &self,
        mode: ConnectionMode,
        credentials: &Credentials,
        endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting>;

    /// What identifies the bot on the platform, so that one bot isn't connected twice. `None` where nothing does.
    fn account_key(&self, mode: ConnectionMode, credentials: &Credentials) -> Option<String>;

    /// Proves that the platform sent `request`, then reads it.
    ///
    /// # Errors
    /// [`Rejection`] if that can't be proved. Proved but unreadable is not an error: see [`Received::remark`].
    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection>;

    /// Writes the answer to a request that asked for the newest state of a reply.
    ///
    /// `reply` is `None` while there is no record of it.
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
        let _ = (asked, reply, cx);
        WebhookAnswer::empty(200)
    }

    /// What the fetching ends with, if the answer to this poll is the last one that shows anything.
    ///
    /// Asked before [`Connector::answer_poll`] while `reply.closed` is empty. The bridge first stores it in the reply's record,
    /// on condition that none is there; then it sets `reply.closed` to what the record holds. From then on every poll gets the
    /// same last answer, and `deliver` gets it as [`crate::reply::Pulled::closed`], to push what it doesn't show.
    fn final_poll_state(&self, asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
        let _ = (asked, reply, cx);
        None
    }

    /// Whether the reply that a fetching ended with `closed` goes on beyond what was fetched, so that the rest must be pushed soon.
    fn leaves_rest(&self, closed: &Progress) -> bool {
        let _ = closed;
        false
    }

    /// Whether the rest of a fetched reply can be pushed to `to`. Asked before a fetching ends that leaves one.
    fn can_push(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        let _ = (to, cx);
        true
    }

    /// The next call on the way from `done` to `wanted`, or [`Step::Done`].
    ///
    /// # Errors
    /// [`ComposeError`] if no call can get there.
    fn deliver(
        &self,
        wanted: &DesiredReply<'_>,
        to: &ReplyTarget,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError>;

    /// Reads what came of a call that [`Connector::deliver`] made.
    fn judge(
        &self,
        call: &ApiCall,
        answer: &ApiAnswer,
        wanted: &DesiredReply<'_>,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Verdict;

    /// Where a reply begins that is shown anew, after it had come as far as `before`: whatever the platform takes only once needs
    /// another name this time.
    fn restart(&self, before: &Progress) -> Progress {
        let _ = before;
        Progress::default()
    }

    /// For a platform that tells a part's address only when asked: the call that asks. Comes before [`Connector::media`].
    fn locate(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let _ = (part, cx);
        None
    }

    /// Reads the answer to that call: the part with a locator that [`Connector::media`] can use.
    ///
    /// # Errors
    /// [`MediaError`] if there is no address in it.
    fn located(&self, part: &Part, answer: &ApiAnswer, cx: &Context<'_>) -> Result<Part, MediaError> {
        let _ = (answer, cx);
        Ok(part.clone())
    }

    /// How a part's bytes are had. `None` if the locator is not one of ours.
    fn media(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let _ = (part, cx);
        None
    }

    /// Whether what [`Connector::media`] fetches can soon not be had any more: minutes, or nobody says how long.
    fn media_is_short_lived(&self) -> bool {
        false
    }

    /// Reads why [`Connector::media`]'s call wasn't answered with the bytes, from the answer's status and the beginning of its body.
    fn media_refused(&self, status: u16, body: &[u8]) -> MediaError {
        let _ = (status, body);
        MediaError::Gone
    }

    /// Turns the downloaded body (and its `Content-Disposition`) of a part into its plain bytes and name.
    ///
    /// # Errors
    /// [`MediaError`] if the bytes are not what the locator promises.
    fn open_media(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        let _ = (disposition, cx);
        Ok(Media {
            bytes: body,
            name: part.name.clone(),
        })
    }

    /// For a platform that tells only the id of what a message quotes or forwards: the call that asks what it says.
    fn quote(&self, id: &PlatformMessageId, cx: &Context<'_>) -> Option<HttpCall> {
        let _ = (id, cx);
        None
    }

    /// Reads the answer to that call.
    ///
    /// # Errors
    /// [`MediaError`] if it doesn't say.
    fn quoted(&self, id: &PlatformMessageId, answer: &ApiAnswer, cx: &Context<'_>) -> Result<Quoted, MediaError> {
        let _ = (id, answer, cx);
        Err(MediaError::Gone)
    }

    /// How short-lived access tokens are had, for a platform that has them.
    fn tokens(&self) -> Option<&dyn TokenExchange> {
        None
    }

    /// What the platform must be told before it calls us at `callback_url`, for a platform that isn't told by its operator.
    ///
    /// Made in order whenever the integration starts; making them again changes nothing. An answer of 2xx is success.
    fn register(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        let _ = (callback_url, cx);
        Vec::new()
    }

    /// Asks the platform whether the credentials work, with a call that changes nothing. `None` where there is none.
    fn probe(&self, cx: &Context<'_>) -> Option<HttpCall> {
        let _ = cx;
        None
    }

    /// Reads the answer to [`Connector::probe`]: whether the credentials work, and what it tells about the bot.
    ///
    /// The fields (the bot's own id, which mentions name, say) are kept beside the credentials and are part of what
    /// [`Connector::prepare`] is given from then on. Connectors must work, if less well, while they aren't known yet.
    ///
    /// # Errors
    /// [`TokenError`] if the credentials don't work.
    fn read_probe(&self, answer: &ApiAnswer) -> Result<Credentials, TokenError> {
        match answer {
            ApiAnswer::Answered { status: 200..=299, .. } => Ok(Credentials::default()),
            ApiAnswer::Answered { status: 401 | 403, .. } => Err(TokenError::Refused {
                code: "unauthorized".to_owned(),
            }),
            ApiAnswer::Answered { status, .. } => Err(TokenError::Unavailable {
                code: status.to_string(),
            }),
            ApiAnswer::NotSent | ApiAnswer::Unknown => Err(TokenError::Unavailable {
                code: "unreachable".to_owned(),
            }),
        }
    }

    /// Whether something that [`Connector::read_probe`] tells isn't known yet, so that messages are read less well than they could be.
    fn needs_probe(&self, cx: &Context<'_>) -> bool {
        let _ = cx;
        false
    }

    /// The long-connection protocol, for a platform that has one.
    fn stream(&self) -> Option<&dyn StreamProtocol> {
        None
    }
}

/// What a connector is told besides its input. Time and chance are in here, so every behaviour fits in a vector.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The bot account.
    pub account: &'a Account,
    /// Now.
    pub now: Timestamp,
    /// Fresh random bytes.
    pub random: [u8; 32],
    /// What the trigger says to somebody who opens the chat, if anything.
    pub welcome: Option<&'a str>,
}

/// Both halves of a webhook request: what happened, and what the platform waits to hear.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// What goes the road, in order.
    pub events: Vec<Event>,
    /// What the platform is answered, after the events are in the queue.
    pub answer: Answer,
    /// Why there is no event, for the integration's log.
    pub remark: Option<Remark>,
}

impl Received {
    /// Nothing happened; the platform gets `answer`.
    #[must_use]
    pub fn only(answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: None,
        }
    }

    /// Nothing that we use; the platform gets `answer`.
    #[must_use]
    pub fn ignored(reason: &'static str, answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: Some(Remark::Ignored(reason)),
        }
    }

    /// Proved but unreadable; the platform gets its success answer.
    #[must_use]
    pub fn unreadable(reason: &'static str, answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: Some(Remark::Unreadable(reason)),
        }
    }
}

/// What the platform is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// This.
    Fixed(WebhookAnswer),
    /// The newest state of a reply: the bridge looks it up, [`Connector::answer_poll`] writes it.
    Polled(PollRequest),
}

/// A request for the newest state of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct PollRequest {
    /// Which reply.
    pub reply: ReplyId,
    /// Who asks.
    pub asker: SenderId,
    /// Whether this request brought the message itself, so that a missing record only means "not yet".
    pub first: bool,
    /// What the connector needs to write the answer (a nonce, say).
    pub note: String,
    /// A caller that waits for something newer than this version.
    pub after: Option<u64>,
}

/// Why a proved request gave no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Of no use to us. Not worth a warning.
    Ignored(&'static str),
    /// Not understood: a warning in the integration's log.
    Unreadable(&'static str),
}

impl Remark {
    /// The reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Ignored(reason) | Self::Unreadable(reason) => reason,
        }
    }
}

/// Why a request is not proved to come from the platform. To the caller all look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Something that proves it is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The signature is another one.
    #[error("signature does not match")]
    BadSignature,
    /// Too old or too far ahead.
    #[error("request is {age_s} s old, limit {limit_s} s")]
    Stale {
        /// Age in seconds; negative if it is ahead.
        age_s: i64,
        /// The limit in seconds.
        limit_s: i64,
    },
    /// It can't be decrypted.
    #[error("payload can't be decrypted: {0}")]
    BadCipher(&'static str),
    /// Signed for another receiver.
    #[error("payload is for another receiver")]
    WrongReceiver,
    /// What must be read before the proof can't be read.
    #[error("request does not have the documented shape: {0}")]
    Malformed(&'static str),
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
    /// This way is closed for the bot, not for this reply alone: it isn't tried again before it has rested. See [`DesiredReply::plain`].
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
    /// Too fast. Nothing is lost: wait and ask again.
    SlowDown {
        /// How long the platform asks us to wait.
        retry_after: Option<Duration>,
        /// The platform's code.
        code: String,
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
}

/// How short-lived access tokens are had.
pub trait TokenExchange: Sync {
    /// The call that gets one.
    fn request(&self, cx: &Context<'_>) -> HttpCall;

    /// Reads the answer.
    ///
    /// # Errors
    /// [`TokenError`] if there is no token in it.
    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError>;
}

/// Why no access token was had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The credentials are wrong: asking again changes nothing.
    #[error("the platform refuses the credentials: code {code}")]
    Refused {
        /// The platform's code.
        code: String,
    },
    /// A passing fault.
    #[error("no access token: {code}")]
    Unavailable {
        /// The platform's code, or what happened.
        code: String,
    },
}

/// A part's plain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file name, if it is known now.
    pub name: Option<String>,
}

/// Why a part's bytes can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// They don't decrypt.
    #[error("media can't be decrypted: {0}")]
    BadCipher(&'static str),
    /// The locator lacks something.
    #[error("media locator lacks {0}")]
    Incomplete(&'static str),
    /// The platform doesn't give it: expired, deleted, not ours.
    #[error("the platform does not give the media")]
    Gone,
    /// The access token has run out: get another and repeat.
    #[error("the access token has run out")]
    TokenExpired,
    /// A passing fault: repeat, backing off.
    #[error("the media can't be had at the moment")]
    Passing,
}
