//! Arguments of the commands about notifications.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Bridge, Consent, Recipient};

/// Notifications of an organization.
#[derive(Debug, Clone, Subcommand)]
pub enum Notify {
    /// Show where notifications go, and the result of the newest attempt.
    Show(NotifyOf),
    /// Send them to a webhook.
    Webhook(NotifyWebhook),
    /// Send them to a chat, or to a person, through one of the organization's bots.
    Chat(NotifyChat),
    /// Send a test notification. Fails if it can't be sent.
    Test(NotifyOf),
    /// Turn notifications off.
    End(NotifyEnd),
}

/// The organization.
#[derive(Debug, Clone, ClapArgs)]
pub struct NotifyOf {
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Options of turning notifications off.
#[derive(Debug, Clone, ClapArgs)]
pub struct NotifyEnd {
    #[command(flatten)]
    /// Confirmation.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// The language of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NotifyLanguage {
    /// English.
    En,
    /// Simplified Chinese.
    #[value(name = "zh-CN")]
    ZhCn,
}

impl NotifyLanguage {
    /// The tag in the API.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }
}

/// A webhook for notifications.
#[derive(Debug, Clone, ClapArgs)]
pub struct NotifyWebhook {
    /// Its address.
    #[arg(value_name = "URL")]
    pub address: String,
    /// The secret of its signature, at least 16 characters. Default: the current one.
    #[arg(long, env = "TIELINE_NOTIFY_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub secret: Option<String>,
    /// The language of the sentences.
    #[arg(long, env = "TIELINE_LANGUAGE", value_name = "LANGUAGE")]
    pub language: Option<NotifyLanguage>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A chat for notifications.
#[derive(Debug, Clone, ClapArgs)]
pub struct NotifyChat {
    /// The integration that sends: its id or its name.
    pub integration: String,
    #[command(flatten)]
    /// The recipient.
    pub recipient: Recipient,
    /// The language of the sentences.
    #[arg(long, env = "TIELINE_LANGUAGE", value_name = "LANGUAGE")]
    pub language: Option<NotifyLanguage>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}
