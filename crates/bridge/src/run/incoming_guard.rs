//! Credentials in a run's questions: the notice below the answer to a message that had one, and quotes, which only the platform knows
//! and which are fetched for the run.

use tieline_core::agent::AgentMessage;
use tieline_core::notice::Notice;
use tieline_core::redaction::{Detector, Incoming, MARK};
use tieline_store::reply::Outcome;

use super::LeasedConversation;
use super::request::Asked;
use crate::long_text;

/// The notice of a run: the warning about a credential, if the answer has no other.
pub(super) async fn notice(
    held: &LeasedConversation,
    asked: &[Asked],
    outcome: &Outcome,
    notice: Option<Notice>,
) -> Option<Notice> {
    if notice.is_some() || *outcome != Outcome::Completed {
        return notice;
    }
    let trigger = held.bound.as_ref().and_then(|bound| bound.trigger.as_ref())?;
    let redaction = &trigger.settings.redaction;
    let mut texts = asked.iter().map(|it| it.message.text.as_str());
    match redaction.incoming {
        Incoming::Off => None,
        Incoming::Mask => texts
            .any(|text| text.contains(MARK))
            .then_some(Notice::CredentialHidden),
        Incoming::Warn => {
            let detector = Detector::new(&redaction.patterns);
            for text in texts {
                if long_text::mask(&held.conversation.key.organization, &detector, text)
                    .await
                    .is_some()
                {
                    return Some(Notice::CredentialSeen);
                }
            }
            None
        }
    }
}

/// Masks credentials in the quote of a question, if the trigger wants that.
pub(super) async fn mask_quote(held: &LeasedConversation, message: &mut AgentMessage) {
    let trigger = held.bound.as_ref().and_then(|bound| bound.trigger.as_ref());
    let redaction = trigger.map(|trigger| &trigger.settings.redaction);
    let redaction = redaction.filter(|redaction| redaction.incoming == Incoming::Mask);
    let (Some(redaction), Some((quote, _))) = (redaction, &mut message.quoted) else {
        return;
    };
    let (organization, detector) = (&held.conversation.key.organization, Detector::new(&redaction.patterns));
    if let Some(masked) = long_text::mask(organization, &detector, quote).await {
        *quote = masked;
    }
}
