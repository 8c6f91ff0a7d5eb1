//! Notification settings in the form of a file, where a chat names its bot.

use serde::{Deserialize, Serialize};
use tieline_core::account::{ConnectionMode, Endpoints};
use tieline_core::ids::IntegrationId;
use tieline_core::notice::Language;
use tieline_store::config::notify::{NotifyChannel, NotifyRecipient, NotifySettings};

use super::{WebhookPatch, chat_channel, read_webhook};
use crate::mask::MASK;
use crate::problem::Problem;
use crate::state::AdminState;

/// The destination of notifications. Absent fields keep their values.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WantedNotify {
    webhook: Option<WebhookPatch>,
    chat: Option<WantedChat>,
    language: Option<Language>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedChat {
    integration: String,
    chat_id: Option<String>,
    user_id: Option<String>,
}

/// A bot that a file can name.
pub(crate) type NamedBot<'a> = (&'a IntegrationId, (&'a str, ConnectionMode, &'a Endpoints));

/// Validates the settings of a file. `bot` finds an integration by its name.
pub(crate) fn read<'a>(
    state: &AdminState,
    before: Option<&NotifySettings>,
    wanted: &WantedNotify,
    bot: impl Fn(&str) -> Option<NamedBot<'a>>,
) -> Result<(NotifyChannel, Language), Problem> {
    let channel = match (&wanted.webhook, &wanted.chat, before) {
        (Some(_), Some(_), _) => return Err(Problem::invalid("chat", "can't be combined with webhook")),
        (Some(webhook), None, _) => read_webhook(state, before, webhook)?,
        (None, Some(chat), _) => {
            let missing = || Problem::invalid("chat.integration", "must be the name of an integration");
            let bot = bot(chat.integration.trim()).ok_or_else(missing)?;
            let to = (chat.chat_id.clone(), chat.user_id.clone());
            chat_channel(state, bot, to, "chat.integration")?
        }
        (None, None, Some(before)) => before.channel.clone(),
        (None, None, None) => return Err(Problem::invalid("webhook", "or chat is required")),
    };
    let language = wanted.language.or(before.map(|before| before.language));
    Ok((channel, language.unwrap_or_default()))
}

/// Notification settings in a file, with its fields in reading order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotifyForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<ChatForm>,
    language: Language,
}

#[derive(Serialize)]
struct WebhookForm {
    url: String,
    secret: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatForm {
    integration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

impl NotifyForm {
    /// Includes the secret. `None`: the bot of the chat is deleted and can't be named.
    pub(crate) fn of(
        channel: &NotifyChannel,
        language: Language,
        name: impl Fn(&IntegrationId) -> Option<String>,
    ) -> Option<Self> {
        let (webhook, chat) = match channel {
            NotifyChannel::Webhook { url, secret } => {
                let (url, secret) = (url.clone(), secret.expose().to_owned());
                (Some(WebhookForm { url, secret }), None)
            }
            NotifyChannel::Chat { integration, to } => {
                let integration = name(integration)?;
                let (chat_id, user_id) = match to {
                    NotifyRecipient::Chat(chat) => (Some(chat.to_string()), None),
                    NotifyRecipient::Person(person) => (None, Some(person.to_string())),
                };
                let chat = ChatForm {
                    integration,
                    chat_id,
                    user_id,
                };
                (None, Some(chat))
            }
        };
        Some(Self {
            webhook,
            chat,
            language,
        })
    }

    /// Masks the secret.
    pub(crate) fn masked(mut self) -> Self {
        if let Some(webhook) = &mut self.webhook {
            MASK.clone_into(&mut webhook.secret);
        }
        self
    }
}
