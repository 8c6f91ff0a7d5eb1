//! Replies: the target, the desired state, and the progress of showing it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::card::Button;
use crate::chat::Chat;
use crate::ids::{IntegrationId, PlatformMessageId, ReplyId, SenderId};
use crate::notice::Notice;
use crate::reference::Reference;
use crate::timestamp::Timestamp;

/// Where an answer is shown. Created once, by the connector that read the message, and never changed or looked up again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyTarget {
    /// The bot that was addressed, and so the only one that may answer.
    pub integration: IntegrationId,
    /// The chat, and the thread in it.
    pub chat: Chat,
    /// The person who asked.
    pub asker: SenderId,
    /// The message that is answered.
    pub message: PlatformMessageId,
    /// The platform's own handle for the answer.
    pub handle: ReplyHandle,
    /// When the handle expires, if it does.
    pub expires_at: Option<Timestamp>,
}

/// The platform's own handle for an answer (`response_url`, `sessionWebhook`, `req_id`, ...), in its connector's format.
///
/// A secret: its holder can send messages to the chat. It has no `Display` and prints as `ReplyHandle(..)`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyHandle(serde_json::Value);

impl ReplyHandle {
    /// Wraps the connector's value.
    pub fn new(value: serde_json::Value) -> Self {
        Self(value)
    }

    /// A text field of the handle.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// The connector's value.
    #[must_use]
    pub fn value(&self) -> &serde_json::Value {
        &self.0
    }
}

impl fmt::Debug for ReplyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyHandle(..)")
    }
}

/// Stage of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No text yet: only a thinking sign may be shown.
    Thinking,
    /// Text that still grows.
    Growing,
    /// The final text.
    Final,
}

/// What the chat should show now. The connector brings the chat there, call by call.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredReply<'a> {
    /// The reply. Stable across retries and processes: derive idempotency keys from it.
    pub reply: &'a ReplyId,
    /// Its stage.
    pub stage: Stage,
    /// The whole text so far, in common Markdown, as the agent wrote it. Empty while thinking.
    pub text: &'a str,
    /// The part of the agent's reasoning so far that is shown while there is no text. Never part of the text.
    pub reasoning: &'a str,
    /// A notice of the bridge, in place of the text (which is empty then) or after it.
    pub notice: Option<Notice>,
    /// Shown with the notice: operators find the message by it. Only with a notice of a failure.
    pub reference: Option<Reference>,
    /// Files of the final text that are shown as links. Those sent as native files are not among them: see
    /// [`crate::connector::FileSender`].
    pub files: &'a [ReplyFile],
    /// Number of files that are sent as native files after the final text.
    pub n_native_files: usize,
    /// Buttons below the final text. None in a mode without [`crate::connector::ModeManifest::buttons`].
    pub buttons: &'a [Button],
    /// A signed link to the whole text, for platforms whose messages are too short for it.
    pub link: Option<&'a str>,
    /// Whether this is a message of its own, not an answer: push only, without streaming.
    pub proactive: bool,
    /// Whether the richer way is closed for the bot at the moment: a reply that hasn't been started takes the plain one.
    pub plain: bool,
    /// The state of polling, where the platform polls. `None` where we push.
    pub pulled: Option<Pulled<'a>>,
}

impl<'a> DesiredReply<'a> {
    /// A text and nothing else.
    #[must_use]
    pub const fn new(reply: &'a ReplyId, stage: Stage, text: &'a str) -> Self {
        Self {
            reply,
            stage,
            text,
            reasoning: "",
            notice: None,
            reference: None,
            files: &[],
            n_native_files: 0,
            buttons: &[],
            link: None,
            proactive: false,
            plain: false,
            pulled: None,
        }
    }
}

/// State of polling for a reply, on a platform that polls for the newest state ([`crate::connector::Delivery::Pull`]).
///
/// The bridge keeps it in the reply's record, so that polled and pushed parts add up to the whole text, exactly once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulled<'a> {
    /// When the message was received. The platform polls from then on, for the manifest's lifetime.
    pub received_at: Timestamp,
    /// The progress with which polling ended. `None` while the platform may still poll.
    ///
    /// Written once, on condition that it isn't there yet: either the result of [`crate::connector::PolledReplies::final_poll_state`]
    /// at a poll, **before** that poll is answered; or, when the lifetime is over and no poll closed it,
    /// `Progress::default()` (nothing was shown), **before** `deliver` is called.
    pub closed: Option<&'a Progress>,
}

/// A file of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyFile {
    /// Its address, as the agent gave it or as we serve it.
    pub url: String,
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
}

/// Progress of the files of a final text that are sent as native files: see [`crate::connector::FileSender`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesProgress {
    /// How many of the reply's files are settled: sent, shown as links, or given up.
    #[serde(rename = "n")]
    pub settled: usize,
    /// How many forms of the next one were refused.
    #[serde(rename = "r", skip_serializing_if = "is_zero")]
    pub refused: usize,
    /// Transient failures in a row of a call for the next one.
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    pub failures: usize,
    /// Progress of the next one, in its connector's format.
    #[serde(rename = "p", skip_serializing_if = "Progress::is_beginning")]
    pub current: Progress,
    /// Those that were given up and are shown as links.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty")]
    pub as_links: Vec<usize>,
    /// Progress of the message with these links, in its connector's format.
    #[serde(rename = "lp", skip_serializing_if = "Progress::is_beginning")]
    pub links: Progress,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Progress: what the chat shows already, in the connector's own format (message ids, card ids, sequence numbers, parts sent).
///
/// `Progress::default()` is the beginning. It is stored after every call, so another process can continue from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Progress(serde_json::Value);

impl Progress {
    /// Writes the connector's own type.
    ///
    /// # Panics
    /// If the type doesn't serialize as JSON, which is a bug of the connector.
    pub fn write<T: Serialize>(value: &T) -> Self {
        Self(serde_json::to_value(value).expect("progress types serialize as JSON"))
    }

    /// Reads the connector's own type; its default at the beginning.
    ///
    /// # Errors
    /// [`UnreadableProgress`] if something else is stored. It never counts as the beginning: else everything would be shown again.
    pub fn read<T: Default + for<'de> Deserialize<'de>>(&self) -> Result<T, UnreadableProgress> {
        if self.is_beginning() {
            return Ok(T::default());
        }
        T::deserialize(&self.0).map_err(|_| UnreadableProgress)
    }

    /// Whether nothing has been shown yet.
    #[must_use]
    pub fn is_beginning(&self) -> bool {
        self.0.is_null()
    }
}

/// Stored progress that its connector can't read: written by another connector, or by a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored progress of the reply can't be read")]
pub struct UnreadableProgress;

/// The next step towards the desired state.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and most are calls")]
pub enum Step {
    /// Make this call, have its answer classified, then plan again with the resulting progress.
    Call {
        /// The call.
        call: crate::http_types::ApiCall,
        /// The progress once the platform has accepted it, without the ids from its answer.
        on_success: Progress,
    },
    /// Nothing before this time. Where the platform polls: it may still poll; plan again then, or when polling has ended. Where we
    /// push: what is shown expires then (a typing sign, a draft), or the next update is due; plan again then, or when the text changes.
    Wait {
        /// When to plan again.
        until: Timestamp,
    },
    /// The chat shows the desired state, or will when the platform polls (pull).
    Done,
}

/// A reply as a poll sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyView {
    /// Its stage.
    pub stage: Stage,
    /// The text so far.
    pub text: String,
    /// The part of the agent's reasoning so far that is shown while there is no text. Never part of the text.
    pub reasoning: String,
    /// A notice of the bridge, in place of the text or after it.
    pub notice: Option<Notice>,
    /// As in [`DesiredReply::reference`].
    pub reference: Option<Reference>,
    /// Files that go with the final text.
    pub files: Vec<ReplyFile>,
    /// Incremented with every change.
    pub version: u64,
    /// The asker: polls of other people are not answered.
    pub asker: SenderId,
    /// When the message was received.
    pub received_at: Timestamp,
    /// A signed link to the whole text, if it is too long for the platform.
    pub link: Option<String>,
    /// Whether what polls don't show can be pushed. Otherwise the last poll's answer has to link to it.
    pub rest_follows: bool,
    /// The progress with which polling ended: see [`Pulled::closed`].
    pub closed: Option<Progress>,
}

/// Why a reply could not be written for the platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The platform's handle has expired and there is no other way to this chat.
    #[error("the reply target has expired")]
    Expired,
    /// The handle names an address that may not be called.
    #[error("the reply target names an address that is not the platform's")]
    ForeignAddress,
    /// The handle lacks a field, so it isn't one of ours.
    #[error("the reply target lacks {field}")]
    Incomplete {
        /// The missing field.
        field: &'static str,
    },
    /// The progress can't be read, so that any call might repeat or contradict what the chat shows.
    #[error(transparent)]
    UnreadableProgress(#[from] UnreadableProgress),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Stored {
        messages: u32,
    }

    #[test]
    fn only_the_beginning_reads_as_nothing_shown() {
        assert_eq!(Progress::default().read(), Ok(Stored::default()));
        let stored = Stored { messages: 2 };
        assert_eq!(Progress::write(&stored).read(), Ok(stored));
        for foreign in [
            json!({ "messages": "two" }),
            json!("shown"),
            json!(7),
            json!({ "messages": -1 }),
        ] {
            assert_eq!(
                Progress::write(&foreign).read::<Stored>(),
                Err(UnreadableProgress),
                "{foreign}"
            );
        }
    }
}
