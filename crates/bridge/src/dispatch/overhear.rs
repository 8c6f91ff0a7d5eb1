//! Keeps what is said in a group and not to the bot, as context for later questions.

use std::time::Duration;

use tieline_core::event::{Message, Part};
use tieline_core::mailbox;
use tieline_core::redaction::{Detector, Incoming};
use tieline_store::config::user;
use tieline_store::overheard::{self, Overheard, Place};
use tieline_store::{conversation, message};
use tracing::info;

use super::{Arrival, DispatchError};
use crate::long_text::{self, MAX_ON_RUNTIME};

/// How long it is kept: older messages are no useful context.
const LIFETIME: Duration = Duration::from_hours(24);
/// Most characters kept of one message.
const MAX_CHARS: usize = 2000;

impl Arrival<'_> {
    /// Whether the message is a part of an album that waits for its other parts, one of which was addressed to the bot. Once dispatched,
    /// it is in the ledger.
    pub(super) async fn joins_album(&self, message: &Message) -> Result<bool, DispatchError> {
        if message.album.is_none() {
            return Ok(false);
        }
        let (store, now) = (&self.world.store, self.world.clock.now());
        let found = conversation::load(store, &self.key(message).id(), now).await?;
        let pending = found.map(|conversation| conversation.pending).unwrap_or_default();
        Ok(mailbox::album_session(&pending, message.album.as_deref()).is_some()
            || message::get(store, &self.envelope.message, now).await?.is_some())
    }

    /// Keeps a message as context for later questions, if its trigger wants that and its sender may use the bot. It gets no notice
    /// and no entry in the ledger.
    pub(super) async fn overhear(&self, message: Message) -> Result<(), DispatchError> {
        let Some(trigger) = &self.bound.trigger else {
            return Ok(());
        };
        let settings = &trigger.settings;
        if settings.group_context == 0 || self.denial(&message).await?.is_some() {
            return Ok(());
        }
        let text = words(&message);
        if text.is_empty() {
            return Ok(());
        }
        // There is no answer that could carry the warning, so `warn` masks credentials here, too.
        let masked = match settings.redaction.incoming {
            Incoming::Off => None,
            Incoming::Warn | Incoming::Mask => {
                let organization = &self.envelope.organization;
                if text.len() > MAX_ON_RUNTIME && long_text::is_matching(organization) {
                    return Err(DispatchError::Busy);
                }
                let detector = Detector::new(&settings.redaction.patterns);
                long_text::mask(organization, &detector, &text).await
            }
        };
        let envelope = self.envelope;
        let place = Place {
            integration: &envelope.integration,
            chat: &message.target.chat,
            received_at: envelope.received_at,
            message: &envelope.message,
            user: &user::id_of(&envelope.integration, &message.sender.id),
        };
        let said = Overheard {
            sender: message.sender,
            text: cut(masked.unwrap_or(text)),
        };
        let life = settings.session_timeout().min(LIFETIME);
        overheard::put(&self.world.store, place, &said, envelope.received_at.after(life)).await?;
        info!(account.id = %envelope.integration, event.key = %envelope.message, "kept a group message as context for later questions");
        Ok(())
    }
}

/// The text of a message, with a mark for each attachment.
fn words(message: &Message) -> String {
    let text = Some(message.text.clone()).filter(|text| !text.is_empty());
    let lines: Vec<String> = text.into_iter().chain(message.parts.iter().map(Part::mark)).collect();
    lines.join("\n")
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(cut("好".repeat(MAX_CHARS)).chars().count(), MAX_CHARS);
        let long = cut("好".repeat(MAX_CHARS + 1));
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
        assert!(long.ends_with("好…"));
    }
}
