//! The connector contract: what one chat platform must teach the bridge.

pub(crate) mod context;
mod credentials;
mod files;
mod inquiry;
mod manifest;
mod media;
mod names;
mod polled_replies;
mod received;
mod verdict;

use crate::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use crate::http_types::{ApiAnswer, HttpCall, WebhookRequest};
use crate::login::ScanLogin;
use crate::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};
use crate::stream::StreamProtocol;
use crate::timestamp::Timestamp;

pub use context::{Context, Remark, Unaddressed};
pub use credentials::{Probe, TokenError, TokenExchange, probe_by_status};
pub use files::{FileCall, FileForm, FileLimit, FileSender, OutgoingFile, SentFiles};
pub use inquiry::{AddressQuestion, PermissionQuestion, Withheld};
pub use manifest::{CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};
pub use media::{Lookup, LookupReader, Media, MediaError, MediaSource};
pub use names::{NameQuestion, NameSource};
pub use polled_replies::{PollRequest, PollWait, PolledReplies};
pub use received::{Answer, Received, Rejection};
pub use verdict::{LimitScope, Planned, SentCall, Verdict};

/// What one chat platform must teach the bridge. Pure: the same input gives the same output.
pub trait Connector: Sync {
    /// Names, documentation, credential fields, limits and abilities. Constant.
    fn manifest(&self) -> &'static Manifest;

    /// Reads the credentials once: keys are decoded, ciphers are keyed.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a field is missing or invalid.
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
    /// [`Rejection`] if that can't be proved. A proved but unreadable request is not an error: see [`Received::remark`].
    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection>;

    /// The credential that most likely differs from the platform's when a request is rejected like this. `None` if there is no clear one.
    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        let _ = rejection;
        None
    }

    /// The next call from `progress` towards `desired`, with the progress after the platform has accepted it; or [`Step::Done`].
    ///
    /// # Errors
    /// [`ComposeError`] if no call can show it.
    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError>;

    /// Classifies the platform's answer to a call that [`Connector::deliver`] made.
    ///
    /// Success continues from [`SentCall::on_success`], filled in with the ids in the answer; failure from
    /// [`SentCall::progress`].
    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict;

    /// Progress of a reply that is shown again from the start, after a first attempt that got as far as `before`. Idempotency keys
    /// that the platform accepts only once must differ from those of the first attempt.
    ///
    /// # Errors
    /// [`UnreadableProgress`] if `before` was not written by this connector.
    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let _ = before;
        Ok(Progress::default())
    }

    /// Whether a holder that has only `recorded` may repeat the calls from there to `reached` without changing what the chat shows in the
    /// end. True for a text that replaces a shorter one, never for calls that create a message. Such progress needn't be recorded.
    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let _ = (recorded, reached);
        false
    }

    /// The progress of a reply while `way` cools down in its bot, because of an earlier [`Verdict::Resting`].
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

    /// Calls that register our callback address, commands or menus at the platform, where the operator doesn't do it by hand.
    ///
    /// Made in order whenever the integration starts; idempotent. A status of 2xx is success.
    fn registration(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        let _ = (callback_url, cx);
        Vec::new()
    }

    /// Whether [`Connector::registration`] registers our callback address for all events of a webhook, so that no operator enters it by hand.
    fn registers_callback_url(&self) -> bool {
        false
    }

    /// The call that asks for the platform's delivery address, where that is possible and there is only one such address.
    fn delivery_address(&self, cx: &Context<'_>) -> Option<AddressQuestion> {
        let _ = cx;
        None
    }

    /// The call that asks which permissions the bot lacks, where that is possible.
    fn missing_permissions(&self, cx: &Context<'_>) -> Option<PermissionQuestion> {
        let _ = cx;
        None
    }

    /// What the platform withholds from the bot, as far as a probe has found out.
    fn withheld(&self, cx: &Context<'_>) -> Option<Withheld> {
        let _ = cx;
        None
    }

    /// Answers to polls, for a platform that polls for the newest state of a reply ([`Delivery::Pull`]).
    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        None
    }

    /// Download of attachments and quoted messages, for a platform that has them.
    fn media(&self) -> Option<&dyn MediaSource> {
        None
    }

    /// Sends files of answers as native files, for a platform that accepts them. Without it they are links.
    fn files(&self) -> Option<&dyn FileSender> {
        None
    }

    /// Names of people and groups, for a platform that reveals them only on request.
    fn names(&self) -> Option<&dyn NameSource> {
        None
    }

    /// QR code login, for a platform whose credentials are obtained by it ([`ModeManifest::login`]).
    fn login(&self) -> Option<&dyn ScanLogin> {
        None
    }

    /// The long-connection protocol, for a platform that has one.
    fn stream(&self) -> Option<&dyn StreamProtocol> {
        None
    }
}
