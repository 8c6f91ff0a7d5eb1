//! Discord's JSON: the fields that we use.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An id. Must be a JSON string: a number would already have lost digits.
pub(super) type Snowflake = String;

/// A gateway frame. The payload is parsed once its type is known: most payloads are unused, and some are large.
///
/// See [Discord Docs/Gateway Event Payload Structure](https://discord.com/developers/docs/events/gateway-events#payload-structure).
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    pub op: u8,
    #[serde(default, borrow)]
    pub d: Option<&'a RawValue>,
    #[serde(default)]
    pub s: Option<u64>,
    #[serde(default)]
    pub t: Option<String>,
}

/// Opcode 10.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub heartbeat_interval: u64,
}

/// See [Discord Docs/Ready](https://discord.com/developers/docs/events/gateway-events#ready).
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    pub session_id: String,
    #[serde(default)]
    pub resume_gateway_url: String,
    pub user: User,
}

/// A server in `GUILD_CREATE`.
#[derive(Debug, Deserialize)]
pub(super) struct Guild {
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// `GUILD_ROLE_CREATE`, `GUILD_ROLE_UPDATE`.
#[derive(Debug, Deserialize)]
pub(super) struct RoleEvent {
    pub role: Role,
}

/// See [Discord Docs/Role Object](https://discord.com/developers/docs/topics/permissions#role-object).
#[derive(Debug, Deserialize)]
pub(super) struct Role {
    pub id: Snowflake,
    #[serde(default)]
    pub tags: RoleTags,
}

/// The bot that a managed role belongs to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RoleTags {
    #[serde(default)]
    pub bot_id: Option<Snowflake>,
}

/// See [Discord Docs/User Object](https://discord.com/developers/docs/resources/user#user-object).
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub id: Snowflake,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub global_name: Option<String>,
    #[serde(default)]
    pub bot: bool,
    #[serde(default)]
    pub system: bool,
}

/// See [Discord Docs/Guild Member Object](https://discord.com/developers/docs/resources/guild#guild-member-object).
#[derive(Debug, Deserialize)]
pub(super) struct Member {
    #[serde(default)]
    pub nick: Option<String>,
    /// Absent in messages, which have the author in a field of their own.
    #[serde(default)]
    pub user: Option<User>,
}

/// See [Discord Docs/Message Object](https://discord.com/developers/docs/resources/message#message-object).
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub id: Snowflake,
    pub channel_id: Snowflake,
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
    #[serde(default)]
    pub channel_type: Option<u8>,
    #[serde(rename = "type", default)]
    pub kind: u8,
    pub author: User,
    #[serde(default)]
    pub member: Option<Member>,
    #[serde(default)]
    pub webhook_id: Option<Snowflake>,
    #[serde(flatten)]
    pub body: MessageBody,
    #[serde(default)]
    pub mention_roles: Vec<Snowflake>,
    #[serde(default)]
    pub referenced_message: Option<Box<Referenced>>,
    #[serde(default)]
    pub message_snapshots: Vec<Snapshot>,
}

/// Content of a message: the fields that the Message Content Intent covers, and those needed to read them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MessageBody {
    #[serde(default, deserialize_with = "or_default")]
    pub content: String,
    #[serde(default)]
    pub mentions: Vec<User>,
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "lenient")]
    pub embeds: Vec<Embed>,
    #[serde(default, deserialize_with = "lenient")]
    pub sticker_items: Vec<Sticker>,
    #[serde(default, deserialize_with = "lenient")]
    pub poll: Option<Poll>,
}

/// A block that an app wrote, or the preview of a link.
///
/// See [Discord Docs/Embed Object](https://discord.com/developers/docs/resources/message#embed-object).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Embed {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub title: String,
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    pub fields: Vec<EmbedField>,
}

/// A named value in an embed.
#[derive(Debug, Deserialize)]
pub(super) struct EmbedField {
    pub name: String,
    pub value: String,
}

/// See [Discord Docs/Sticker Item Object](https://discord.com/developers/docs/resources/sticker#sticker-item-object).
#[derive(Debug, Deserialize)]
pub(super) struct Sticker {
    pub name: String,
}

/// See [Discord Docs/Poll Object](https://discord.com/developers/docs/resources/poll#poll-object).
#[derive(Debug, Deserialize)]
pub(super) struct Poll {
    pub question: PollMedia,
    #[serde(default)]
    pub answers: Vec<PollAnswer>,
}

/// An answer that a poll offers.
#[derive(Debug, Deserialize)]
pub(super) struct PollAnswer {
    pub poll_media: PollMedia,
}

/// The text of a poll's question or answer.
#[derive(Debug, Deserialize)]
pub(super) struct PollMedia {
    #[serde(default)]
    pub text: String,
}

/// The message that another one replies to.
#[derive(Debug, Deserialize)]
pub(super) struct Referenced {
    pub author: User,
    #[serde(flatten)]
    pub body: MessageBody,
}

/// A forwarded message.
#[derive(Debug, Deserialize)]
pub(super) struct Snapshot {
    pub message: MessageBody,
}

/// See [Discord Docs/Attachment Object](https://discord.com/developers/docs/resources/message#attachment-object).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Attachment {
    pub filename: String,
    #[serde(default)]
    pub content_type: Option<String>,
    #[serde(default)]
    pub size: Option<u64>,
    pub url: String,
}

/// See [Discord Docs/Interaction Object](https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-object).
#[derive(Debug, Deserialize)]
pub(super) struct Interaction {
    pub id: Snowflake,
    pub application_id: Snowflake,
    #[serde(rename = "type")]
    pub kind: u8,
    #[serde(default)]
    pub token: String,
    #[serde(default)]
    pub data: InteractionData,
    #[serde(default)]
    pub guild_id: Option<Snowflake>,
    #[serde(default)]
    pub channel_id: Option<Snowflake>,
    #[serde(default)]
    pub channel: Channel,
    #[serde(default)]
    pub member: Option<Member>,
    #[serde(default)]
    pub user: Option<User>,
    #[serde(default)]
    pub context: Option<u8>,
    #[serde(default)]
    pub message: PressedMessage,
}

/// The message whose button was pressed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PressedMessage {
    #[serde(default)]
    pub components: serde_json::Value,
}

/// The channel of an interaction.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Channel {
    #[serde(rename = "type", default)]
    pub kind: Option<u8>,
}

/// The command or the component of an interaction.
#[derive(Debug, Default, Deserialize)]
pub(super) struct InteractionData {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub options: Vec<CommandOption>,
    #[serde(default)]
    pub custom_id: String,
    #[serde(default)]
    pub resolved: Resolved,
}

/// Objects that the options of a slash command refer to.
///
/// See [Discord Docs/Resolved Data Structure](https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-object-resolved-data-structure).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Resolved {
    #[serde(default)]
    pub attachments: BTreeMap<Snowflake, Attachment>,
}

/// An option of a slash command, with the value that the person gave.
#[derive(Debug, Deserialize)]
pub(super) struct CommandOption {
    #[serde(rename = "type", default)]
    pub kind: u8,
    #[serde(default)]
    pub value: serde_json::Value,
}

/// `GET /gateway/bot`.
///
/// See [Discord Docs/Get Gateway Bot](https://discord.com/developers/docs/events/gateway#get-gateway-bot).
#[derive(Debug, Deserialize)]
pub(super) struct GatewayBot {
    pub url: String,
    #[serde(default)]
    pub shards: u32,
    pub session_start_limit: SessionStartLimit,
}

/// Number of sessions that the bot may still start.
#[derive(Debug, Deserialize)]
pub(super) struct SessionStartLimit {
    pub remaining: u32,
    /// Milliseconds.
    pub reset_after: u64,
}

/// `GET /applications/@me`.
///
/// See [Discord Docs/Application Object](https://discord.com/developers/docs/resources/application#application-object).
#[derive(Debug, Deserialize)]
pub(super) struct Application {
    pub id: Snowflake,
    /// Optional in the documentation.
    #[serde(default)]
    pub flags: Option<u64>,
    #[serde(default)]
    pub bot: Option<User>,
}

/// Fields of API responses: errors, rate limits, messages.
///
/// See [Discord Docs/Rate Limits](https://discord.com/developers/docs/topics/rate-limits#exceeding-a-rate-limit).
#[derive(Debug, Default, Deserialize)]
pub(super) struct ApiBody {
    #[serde(default)]
    pub code: i64,
    /// Seconds.
    #[serde(default)]
    pub retry_after: Option<f64>,
    #[serde(default)]
    pub global: bool,
    #[serde(default)]
    pub id: Option<Snowflake>,
    #[serde(default)]
    pub content: Option<String>,
}

/// `null` if the platform has withheld a text.
fn or_default<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Option::deserialize(text).map(Option::unwrap_or_default)
}

/// Nothing if the value doesn't have the documented shape: it only describes what comes with a text.
fn lenient<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(value: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(value)?;
    Ok(T::deserialize(value).unwrap_or_default())
}
