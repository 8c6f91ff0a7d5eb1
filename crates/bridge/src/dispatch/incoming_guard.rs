//! Redaction of what people ask, before any of it is stored: see [`tieline_core::redaction`].

use tieline_core::event::Message;
use tieline_core::redaction::{Detector, Incoming};

use super::Arrival;
use crate::{integration_log, long_text};

impl Arrival<'_> {
    /// Masks credentials in a question, if the trigger wants that, and logs to the integration that there were some.
    pub(super) async fn guard(&self, message: &mut Message) {
        let Some(trigger) = &self.bound.trigger else {
            return;
        };
        let redaction = &trigger.settings.redaction;
        if redaction.incoming == Incoming::Off {
            return;
        }
        let detector = Detector::new(&redaction.patterns);
        let text = long_text::mask(&detector, &message.text).await;
        let quoted = match &message.quoted {
            Some(quoted) => long_text::mask(&detector, &quoted.text).await,
            None => None,
        };
        if text.is_none() && quoted.is_none() {
            return;
        }
        let (code, line) = match redaction.incoming {
            Incoming::Mask => ("message_redacted", "credentials in a message were masked"),
            Incoming::Warn | Incoming::Off => ("credential_in_message", "a message with credentials went to the agent"),
        };
        if redaction.incoming == Incoming::Mask {
            message.text = text.unwrap_or_else(|| std::mem::take(&mut message.text));
            if let (Some(quoted), Some(text)) = (&mut message.quoted, quoted) {
                quoted.text = text;
            }
        }
        integration_log::warn(self.world, &self.envelope.integration, code, line).await;
    }
}
