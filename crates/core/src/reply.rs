//! What a run shows in the chat.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::card::Button;
use crate::chat::Chat;
use crate::ids::{IntegrationId, PlatformMessageId, ReplyId, SenderId};
use crate::notice::Notice;
use crate::reference::Reference;
use crate::timestamp::Timestamp;

/// Where an answer goes. Made once, by the connector that read the message, and never changed or looked up again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyTarget {
    /// The bot that was spoken to, and so the only one that may answer.
    pub integration: IntegrationId,
    /// The chat, and the thread in it.
    pub chat: Chat,
    /// Who asked.
    pub asker: SenderId,
    /// The message that is answered.
    pub message: PlatformMessageId,
    /// The platform's own handle for the answer.
    pub handle: ReplyHandle,
    /// Until when the handle works, where it ends.
    pub expires_at: Option<Timestamp>,
}

/// The platform's own handle for an answer (`response_url`, `sessionWebhook`, `req_id`, ...), in its connector's words.
///
/// A secret: its holder can send messages to the chat. It has no `Display` and prints as `ReplyHandle(..)`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyHandle(serde_json::Value);

impl ReplyHandle {
    /// Wraps the connector's words.
    pub fn new(value: serde_json::Value) -> Self {
        Self(value)
    }

    /// A text field of the handle.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// The connector's words.
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

/// How far a reply has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing to show yet but that we are at it.
    Thinking,
    /// Text that still grows.
    Growing,
    /// The last word.
    Final,
}

/// What the chat should show, now. The connector brings the chat there, call by call.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredReply<'a> {
    /// The reply. Stable across retries and processes: derive idempotency keys from it.
    pub reply: &'a ReplyId,
    /// How far it has come.
    pub stage: Stage,
    /// The whole text so far, in common Markdown, as the agent wrote it. Empty while thinking.
    pub text: &'a str,
    /// The agent's reasoning so far, as much as is to be shown while there is no text. Never part of it.
    pub reasoning: &'a str,
    /// A sentence of ours that stands in place of the text (it is empty then) or after it.
    pub notice: Option<Notice>,
    /// Shown with the notice: operators find the message by it. Only with a notice of a failure.
    pub reference: Option<Reference>,
    /// Files that go with the final text, as links. What is sent as the platform's own is not among them: see
    /// [`crate::connector::FileSender`].
    pub files: &'a [ReplyFile],
    /// Buttons below the final text. None in a mode without [`crate::connector::ModeManifest::buttons`].
    pub buttons: &'a [Button],
    /// A signed link to the whole text, for what a platform has no room for.
    pub link: Option<&'a str>,
    /// Whether this is a message of its own, not an answer: push only, nothing to stream.
    pub proactive: bool,
    /// Whether the richer way is closed for the bot just now: a reply that hasn't begun takes the plain one.
    pub plain: bool,
    /// What the platform has fetched, where it fetches. `None` where we push.
    pub pulled: Option<Pulled<'a>>,
}

/// How the fetching of a reply stands, on a platform that asks for the newest state ([`crate::connector::Delivery::Pull`]).
///
/// The bridge keeps it in the reply's record, so that what the polls show and what the runner pushes add up to the whole text, once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulled<'a> {
    /// When the message was received. The platform asks from then on, for the manifest's lifetime.
    pub received_at: Timestamp,
    /// What the fetching ended with. `None` while the platform may still ask.
    ///
    /// Written once, by a write on condition that it isn't there yet, either with what [`crate::connector::PolledReplies::final_poll_state`]
    /// gives at a poll, **before** that poll is answered; or, when the lifetime is over and no poll closed it, with
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

/// How far a chat is with the files of a final text that are sent as the platform's own: see [`crate::connector::FileSender`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesProgress {
    /// How many of the reply's files are settled: sent, shown as links, or given up.
    #[serde(rename = "n")]
    pub settled: usize,
    /// How many forms of the next one were refused.
    #[serde(rename = "r", skip_serializing_if = "is_zero")]
    pub refused: usize,
    /// How often in a row a call of the next one failed in passing.
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    pub failures: usize,
    /// How far the next one is, in its connector's words.
    #[serde(rename = "p", skip_serializing_if = "Progress::is_beginning")]
    pub current: Progress,
    /// Those that were given up and are shown as links.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty")]
    pub as_links: Vec<usize>,
    /// How far the message with these links is, in its connector's words.
    #[serde(rename = "lp", skip_serializing_if = "Progress::is_beginning")]
    pub links: Progress,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// How far the chat already is: its connector's own words (message ids, card ids, sequence numbers, parts sent).
///
/// `Progress::default()` is the beginning. It is stored after every call, so another process can go on from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Progress(serde_json::Value);

impl Progress {
    /// Writes the connector's own type.
    ///
    /// # Panics
    /// If the type doesn't serialize as JSON, which is a mistake in the connector.
    pub fn write<T: Serialize>(value: &T) -> Self {
        Self(serde_json::to_value(value).expect("progress types serialize as JSON"))
    }

    /// Reads the connector's own type; its default at the beginning.
    ///
    /// # Errors
    /// [`UnreadableProgress`] if something else is stored. It never counts as the beginning: what is shown would be shown again.
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

/// Stored progress is not what its connector writes: another connector's, or that of a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored progress of the reply can't be read")]
pub struct UnreadableProgress;

/// The next step towards what is wanted.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and most are calls")]
pub enum Step {
    /// Make this call, have its answer classified, then ask again with the progress that this gives.
    Call {
        /// The call.
        call: crate::http_types::ApiCall,
        /// The progress once the platform has accepted it, but for the ids that its answer brings.
        on_success: Progress,
    },
    /// Nothing before this time. Where the platform polls: it may still fetch it; ask again then, or when polling has ended. Where we
    /// push: what is shown fades then (a typing sign, a draft), or the next update is due; ask again then, or when the text changes.
    Wait {
        /// When to ask again.
        until: Timestamp,
    },
    /// The chat shows what is wanted, or will show it when the platform asks (pull).
    Done,
}

/// A reply as a poll sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyView {
    /// How far it has come.
    pub stage: Stage,
    /// The text so far.
    pub text: String,
    /// The agent's reasoning so far, as much as is to be shown while there is no text. Never part of it.
    pub reasoning: String,
    /// A sentence of ours in place of or after the text.
    pub notice: Option<Notice>,
    /// As in [`DesiredReply::reference`].
    pub reference: Option<Reference>,
    /// Files that go with the final text.
    pub files: Vec<ReplyFile>,
    /// Grows with every change.
    pub version: u64,
    /// The asker: polls of other people are not answered.
    pub asker: SenderId,
    /// When the message was received.
    pub received_at: Timestamp,
    /// A signed link to the whole text, if it is longer than the platform has room for.
    pub link: Option<String>,
    /// Whether what the fetching doesn't show can be pushed. Else its last answer has to say where it is.
    pub rest_follows: bool,
    /// What the fetching ended with: see [`Pulled::closed`].
    pub closed: Option<Progress>,
}

/// Why a reply could not be written for the platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The platform's handle has run out and there is no other way to this chat.
    #[error("the reply target has expired")]
    Expired,
    /// The handle names an address that may not be called.
    #[error("the reply target names an address that is not the platform's")]
    ForeignAddress,
    /// The handle lacks something, so it isn't one of ours.
    #[error("the reply target lacks {field}")]
    Incomplete {
        /// What it lacks.
        field: &'static str,
    },
    /// How far the chat already is can't be read, so that any call might repeat or contradict what it shows.
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
