//! Redaction of what people ask, before any of it is stored: see [`tieline_core::redaction`].

use tieline_core::event::Message;
use tieline_core::redaction::{Detector, Incoming};

use super::{Arrival, DispatchError};
use crate::integration_log;
use crate::long_text::{self, MAX_ON_RUNTIME};

impl Arrival<'_> {
    /// Masks credentials in a question, if the trigger wants that, and logs to the integration that there were some.
    ///
    /// # Errors
    /// [`DispatchError::Busy`] if that would wait for other texts of the organization: this dispatcher has other tenants' events too.
    pub(super) async fn guard(&self, message: &mut Message) -> Result<(), DispatchError> {
        let Some(trigger) = &self.bound.trigger else {
            return Ok(());
        };
        let redaction = &trigger.settings.redaction;
        if redaction.incoming == Incoming::Off {
            return Ok(());
        }
        let organization = &self.envelope.organization;
        let quoted = message.quoted.as_ref().map_or("", |quoted| quoted.text.as_str());
        if message.text.len().max(quoted.len()) > MAX_ON_RUNTIME && long_text::is_matching(organization) {
            return Err(DispatchError::Busy);
        }
        let detector = Detector::new(&redaction.patterns);
        let text = long_text::mask(organization, &detector, &message.text).await;
        let quoted = long_text::mask(organization, &detector, quoted).await;
        if text.is_none() && quoted.is_none() {
            return Ok(());
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
        Ok(())
    }
}
