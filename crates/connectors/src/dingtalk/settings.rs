//! Settings of an integration, parsed from its credentials.

use tieline_core::account::{Credentials, InvalidSetting};
use tieline_core::connector::Context;
use tieline_core::secret::Secret;

use super::event_cipher::EventCipher;

/// The vendor staff's public AI card, used without a custom template. See protocol notes on AI card templates.
const PUBLIC_TEMPLATE: &str = "02fcf2f4-5e02-4a85-b672-46d1f715543e.schema";
/// Public templates whose text is in `msgContent` and whose state is a variable.
const PUBLIC_TEMPLATES: [&str; 2] = [PUBLIC_TEMPLATE, "382e4302-551d-4880-bf29-a30acfab2e71.schema"];

/// Parsed credentials of an integration.
pub(super) struct Settings {
    /// AppKey.
    pub(super) client_id: String,
    /// AppSecret.
    pub(super) client_secret: Secret,
    /// The robot, if a message doesn't name it.
    pub(super) robot_code: String,
    /// Card template in which answers are streamed.
    pub(super) template: Template,
    /// `None` unless events are pushed over HTTP.
    pub(super) events: Option<EventCipher>,
}

/// An AI card template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) id: String,
    pub(super) kind: TemplateKind,
}

/// How a template takes its text and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateKind {
    /// Created in the card console: the streaming call sets the state.
    Own,
    /// One of the vendor's public templates: the state is a variable, `flowStatus`.
    Public,
}

impl Template {
    /// Name of the variable that the text streams into.
    pub(super) const fn key(&self) -> &'static str {
        match self.kind {
            TemplateKind::Own => "content",
            TemplateKind::Public => "msgContent",
        }
    }
}

/// Reads the credentials.
pub(super) fn read(credentials: &Credentials) -> Result<Settings, InvalidSetting> {
    let client_id = bare(credentials.require("clientId")?).to_owned();
    let client_secret = bare(credentials.require("clientSecret")?);
    if client_id.is_empty() || client_secret.is_empty() {
        let field = if client_id.is_empty() {
            "clientId"
        } else {
            "clientSecret"
        };
        return Err(InvalidSetting {
            field,
            reason: "is required",
        });
    }
    let robot_code = optional(credentials, "robotCode").unwrap_or(&client_id).to_owned();
    Ok(Settings {
        events: events(credentials, &client_id)?,
        client_secret: Secret::new(client_secret),
        template: template(optional(credentials, "cardTemplateId")),
        robot_code,
        client_id,
    })
}

/// The settings of a context's account.
pub(super) fn of<'a>(cx: &Context<'a>) -> &'a Settings {
    cx.account
        .prepared
        .get()
        .expect("accounts of this platform are prepared by this connector")
}

/// Identifies the bot: its application.
pub(super) fn account_key(credentials: &Credentials) -> Option<String> {
    optional(credentials, "clientId").map(str::to_owned)
}

/// Trims the blanks and quotes that get copied with a key: the usual cause of a refused login.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
}

fn optional<'a>(credentials: &'a Credentials, field: &str) -> Option<&'a str> {
    credentials.get(field).map(bare).filter(|value| !value.is_empty())
}

fn template(own: Option<&str>) -> Template {
    let id = own.unwrap_or(PUBLIC_TEMPLATE).to_owned();
    let kind = if PUBLIC_TEMPLATES.contains(&id.as_str()) {
        TemplateKind::Public
    } else {
        TemplateKind::Own
    };
    Template { id, kind }
}

fn events(credentials: &Credentials, client_id: &str) -> Result<Option<EventCipher>, InvalidSetting> {
    let needs = |field| InvalidSetting {
        field,
        reason: "is required together with the other setting of event callbacks",
    };
    let (token, aes_key) = match (optional(credentials, "token"), optional(credentials, "aesKey")) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(needs("aesKey")),
        (None, Some(_)) => return Err(needs("token")),
        (Some(token), Some(aes_key)) => (token, aes_key),
    };
    let receivers = [Some(client_id), optional(credentials, "corpId")];
    let receivers = receivers.into_iter().flatten().map(str::to_owned).collect();
    EventCipher::new(token, aes_key, receivers)
        .map(Some)
        .ok_or(InvalidSetting {
            field: "aesKey",
            reason: "must be 43 letters and digits",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(fields: &[(&str, &str)]) -> Result<Settings, InvalidSetting> {
        read(&fields.iter().copied().collect())
    }

    #[track_caller]
    fn refused(fields: &[(&str, &str)], field: &str) {
        assert_eq!(read_from(fields).err().map(|error| error.field), Some(field));
    }

    const AES_KEY: &str = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp";

    #[test]
    fn blanks_and_quotes_around_keys_are_dropped() {
        let settings = read_from(&[("clientId", " ding1\n"), ("clientSecret", "\"s3\"")]).unwrap();
        assert_eq!(settings.client_id, "ding1");
        assert_eq!(settings.robot_code, "ding1");
        assert!(settings.client_secret.matches("s3"));
        assert!(settings.events.is_none());
    }

    #[test]
    fn missing_and_incomplete_settings_are_named() {
        refused(&[("clientSecret", "s3")], "clientId");
        refused(&[("clientId", "ding1")], "clientSecret");
        refused(&[("clientId", "' '"), ("clientSecret", "s3")], "clientId");
        let both = [("clientId", "ding1"), ("clientSecret", "s3")];
        refused(&[both[0], both[1], ("token", "t")], "aesKey");
        refused(&[both[0], both[1], ("aesKey", AES_KEY)], "token");
        refused(&[both[0], both[1], ("token", "t"), ("aesKey", "short")], "aesKey");
    }

    #[test]
    fn own_template_takes_content_and_public_ones_msg_content() {
        assert_eq!(template(None).key(), "msgContent");
        assert_eq!(template(Some(PUBLIC_TEMPLATES[1])).key(), "msgContent");
        assert_eq!(template(Some("mine.schema")).key(), "content");
    }
}
