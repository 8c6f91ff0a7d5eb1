//! The connector contract: what one chat platform must teach the bridge.

mod manifest;

use std::time::Duration;

use serde::Deserialize;

use crate::account::{Account, ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use crate::event::{Event, Part, Quoted};
use crate::http_types::{AccessToken, ApiAnswer, ApiCall, HttpCall, WebhookAnswer, WebhookRequest};
use crate::ids::{PlatformMessageId, ReplyId, SenderId};
use crate::login::ScanLogin;
use crate::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step, UnreadableProgress};
use crate::stream::StreamProtocol;
use crate::timestamp::Timestamp;

pub use manifest::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};

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

    /// The credential that most likely differs from the platform's when a request is rejected like this. `None`: no certain one.
    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        let _ = rejection;
        None
    }

    /// The next call on the way from `progress` to `desired`, with the progress once the platform has accepted it; or [`Step::Done`].
    ///
    /// # Errors
    /// [`ComposeError`] if no call can get there.
    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError>;

    /// Classifies the platform's answer to a call that [`Connector::deliver`] made.
    ///
    /// Success goes on from [`SentCall::on_success`], filled in with the ids that the answer brings; failure from
    /// [`SentCall::progress`].
    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict;

    /// Progress of a reply that is to be shown a second time, after a first attempt that got as far as `before`. Idempotency keys
    /// that the platform accepts only once must differ from those of the first attempt.
    ///
    /// # Errors
    /// [`UnreadableProgress`] if `before` is not what this connector writes.
    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let _ = before;
        Ok(Progress::default())
    }

    /// The progress of a reply in a bot whose `way` rests until then, because of an earlier [`Verdict::Resting`].
    fn with_resting_way(&self, progress: &Progress, way: &str, until: Timestamp) -> Progress {
        let _ = (way, until);
        progress.clone()
    }

    /// Exchange of the credentials for short-lived access tokens, for a platform that has them.
    fn tokens(&self) -> Option<&dyn TokenExchange> {
        None
    }

    /// A call that changes nothing and shows whether the credentials work. `None` where the platform has none.
    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        let _ = cx;
        None
    }

    /// Calls that register our callback address, commands or menus with the platform, where the operator doesn't do it by hand.
    ///
    /// Made in order whenever the integration starts; idempotent. An answer of 2xx is success.
    fn registration(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        let _ = (callback_url, cx);
        Vec::new()
    }

    /// Answers to polls, for a platform that asks for the newest state of a reply ([`Delivery::Pull`]).
    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        None
    }

    /// Download of attachments and quoted messages, for a platform that has them.
    fn media(&self) -> Option<&dyn MediaSource> {
        None
    }

    /// Scan-code login, for a platform whose credentials are obtained by it ([`ModeManifest::login`]).
    fn login(&self) -> Option<&dyn ScanLogin> {
        None
    }

    /// The long-connection protocol, for a platform that has one.
    fn stream(&self) -> Option<&dyn StreamProtocol> {
        None
    }
}

/// Replies that the platform fetches by asking for their newest state.
pub trait PolledReplies: Sync {
    /// Writes the answer to a poll. `reply` is `None` while there is no record of it.
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer;

    /// Writes the answer to a poll of a reply of which there is no record yet. `link` leads to its text once there is one.
    fn answer_unrecorded(&self, asked: &PollRequest, link: &str, cx: &Context<'_>) -> WebhookAnswer {
        let _ = link;
        self.answer_poll(asked, None, cx)
    }

    /// What polling ends with, if the answer to this poll is the last one that shows anything.
    ///
    /// Asked before [`PolledReplies::answer_poll`] while `reply.closed` is empty. The bridge first stores it in the reply's record,
    /// on condition that none is there; then it sets `reply.closed` to what the record holds. From then on every poll gets the
    /// same last answer, and `deliver` gets it as [`crate::reply::Pulled::closed`], to push what it doesn't show.
    fn final_poll_state(&self, asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
        let _ = (asked, reply, cx);
        None
    }

    /// Whether a reply whose polling ended with `closed` goes on beyond what was polled, so that the rest must be pushed soon.
    fn leaves_rest(&self, closed: &Progress) -> bool {
        let _ = closed;
        false
    }

    /// Whether the rest of a polled reply can be pushed to `to`. Asked before polling ends and leaves one.
    fn can_push(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        let _ = (to, cx);
        true
    }
}

/// Download of attachments and of quoted messages.
pub trait MediaSource: Sync {
    /// For a platform that gives a part's address only on request: the question, answered with the part and a locator that
    /// [`MediaSource::download`] accepts. `None`: the locator is complete.
    fn locate<'a>(&self, part: &'a Part, cx: &Context<'a>) -> Option<Lookup<'a, Part>> {
        let _ = (part, cx);
        None
    }

    /// The call that downloads a part. `None` if the locator is not one of this platform.
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall>;

    /// Reads why a download wasn't answered with the bytes, from the answer's status and the beginning of its body.
    fn refused(&self, status: u16, body: &[u8]) -> MediaError {
        let _ = (status, body);
        MediaError::Gone
    }

    /// Turns the downloaded body (and its `Content-Disposition`) of a part into its plain bytes and name.
    ///
    /// # Errors
    /// [`MediaError`] if the bytes are not what the locator promises.
    fn open(
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

    /// For a platform that gives only the id of a quoted or forwarded message: the question for its content.
    fn quote<'a>(&self, id: &'a PlatformMessageId, cx: &Context<'a>) -> Option<Lookup<'a, Quoted>> {
        let _ = (id, cx);
        None
    }
}

/// A call that was made, with the progress before it and the progress that its success leads to.
#[derive(Debug, Clone, Copy)]
pub struct SentCall<'a> {
    /// The call.
    pub call: &'a ApiCall,
    /// Progress before the call.
    pub progress: &'a Progress,
    /// Progress that [`Connector::deliver`] planned for the case of success.
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

/// A question to the platform about a part or a message, and how its answer is read.
pub struct Lookup<'a, T> {
    /// The question.
    pub call: HttpCall,
    /// Reads the answer. [`MediaError`] if it doesn't hold what was asked for.
    pub read: LookupReader<'a, T>,
}

/// Reads the answer to a [`Lookup`].
pub type LookupReader<'a, T> = Box<dyn Fn(&ApiAnswer) -> Result<T, MediaError> + Send + Sync + 'a>;

impl<T> std::fmt::Debug for Lookup<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("call", &self.call.name)
            .finish_non_exhaustive()
    }
}

/// A call that shows whether the credentials work, and how its answer is read.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: facts about the bot (its own id, by which mentions of it are recognized, say). They are kept beside the
    /// credentials and passed to [`Connector::prepare`] from then on; connectors must work, if less well, without them.
    pub read: fn(&ApiAnswer) -> Result<Credentials, TokenError>,
    /// Whether such a fact is still unknown, so that messages are read less well than they could be.
    pub is_needed: bool,
}

/// Reads the answer of a probe by its HTTP status alone.
///
/// # Errors
/// [`TokenError::Refused`] for 401 and 403, [`TokenError::Unavailable`] for everything else but success.
pub fn probe_by_status(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
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

/// What a connector is told besides its input. Time and chance are in here, so every behaviour fits in a vector.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The bot account.
    pub account: &'a Account,
    /// Now.
    pub now: Timestamp,
    /// Fresh random bytes.
    pub random: [u8; 32],
    /// The trigger's welcome text for a person who opens the chat, if any.
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

/// The answer to a webhook request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Known at once.
    Fixed(WebhookAnswer),
    /// The newest state of a reply: the bridge looks it up, [`PolledReplies::answer_poll`] writes it.
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
    /// What it waits for before it is answered.
    pub wait: PollWait,
}

/// What a poll waits for before it is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PollWait {
    /// Nothing.
    #[default]
    No,
    /// A state newer than this version.
    Newer(u64),
    /// The final text, for at most this long.
    Final(Duration),
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
    /// One way is closed for the bot's other replies too, for a while; the progress says so for this one.
    /// See [`Connector::with_resting_way`].
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

/// Exchange of credentials for short-lived access tokens.
pub trait TokenExchange: Sync {
    /// The call that gets one.
    fn request(&self, cx: &Context<'_>) -> HttpCall;

    /// Reads the answer.
    ///
    /// # Errors
    /// [`TokenError`] if there is no token in it.
    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError>;
}

/// Why there is no access token.
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

/// Why a part's bytes can't be fetched.
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
