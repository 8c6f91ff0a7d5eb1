//! JSON of updates and API responses. Optional fields of an unknown format count as absent: the API grows.
//!
//! See [Bot API/Available types](https://core.telegram.org/bots/api#available-types).

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// See [Bot API/Update](https://core.telegram.org/bots/api#update). One member is present besides the id.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub update_id: i64,
    pub message: Option<Value>,
    pub callback_query: Option<Value>,
    pub my_chat_member: Option<Value>,
    pub stopped_message_generation: Option<Value>,
    pub edited_message: Option<Value>,
}

/// See [Bot API/Message](https://core.telegram.org/bots/api#message).
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub message_id: i64,
    pub date: i64,
    pub chat: Chat,
    #[serde(default, deserialize_with = "lenient")]
    pub from: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    pub sender_chat: Option<Chat>,
    #[serde(default, deserialize_with = "lenient")]
    pub message_thread_id: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    pub is_topic_message: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub media_group_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub reply_to_message: Option<Box<Message>>,
    #[serde(default, deserialize_with = "lenient")]
    pub quote: Option<TextQuote>,
    #[serde(default, deserialize_with = "lenient")]
    pub text: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub entities: Option<Vec<Entity>>,
    #[serde(default, deserialize_with = "lenient")]
    pub caption: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub caption_entities: Option<Vec<Entity>>,
    #[serde(default, deserialize_with = "lenient")]
    pub reply_markup: Option<InlineKeyboard>,
    #[serde(flatten)]
    pub content: Content,
    #[serde(default, deserialize_with = "lenient")]
    pub external_reply: Option<Content>,
    #[serde(default, deserialize_with = "lenient")]
    pub migrate_to_chat_id: Option<i64>,
    #[serde(default, deserialize_with = "lenient")]
    pub migrate_from_chat_id: Option<i64>,
    pub forum_topic_created: Option<Value>,
    pub business_connection_id: Option<Value>,
    pub guest_query_id: Option<Value>,
}

/// Content besides text, of a message or of a message in another chat or topic that it replies to.
///
/// See [Bot API/ExternalReplyInfo](https://core.telegram.org/bots/api#externalreplyinfo).
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    #[serde(default, deserialize_with = "lenient")]
    pub photo: Option<Vec<File>>,
    #[serde(default, deserialize_with = "lenient")]
    pub document: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub voice: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub audio: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub video: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub video_note: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub animation: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub sticker: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub location: Option<Location>,
    #[serde(default, deserialize_with = "lenient")]
    pub venue: Option<Venue>,
    #[serde(default, deserialize_with = "lenient")]
    pub contact: Option<Contact>,
    #[serde(default, deserialize_with = "lenient")]
    pub poll: Option<Poll>,
    #[serde(default, deserialize_with = "lenient")]
    pub dice: Option<Dice>,
    pub rich_message: Option<IgnoredAny>,
    pub story: Option<IgnoredAny>,
    pub checklist: Option<IgnoredAny>,
    pub game: Option<IgnoredAny>,
    pub paid_media: Option<IgnoredAny>,
}

impl Content {
    /// Whether it is of a kind that people send and that is neither text nor a file for us.
    pub(super) const fn is_unreadable(&self) -> bool {
        self.rich_message.is_some()
            || self.story.is_some()
            || self.checklist.is_some()
            || self.game.is_some()
            || self.paid_media.is_some()
            || self.sticker.is_some()
    }
}

/// See [Bot API/Chat](https://core.telegram.org/bots/api#chat).
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub id: i64,
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "lenient")]
    pub title: Option<String>,
}

/// See [Bot API/User](https://core.telegram.org/bots/api#user).
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub id: i64,
    #[serde(default)]
    pub is_bot: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub first_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub last_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub username: Option<String>,
}

/// Offsets in UTF-16 code units. Hostile values may be negative or huge.
///
/// See [Bot API/MessageEntity](https://core.telegram.org/bots/api#messageentity).
#[derive(Debug, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: i64,
    pub length: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub user: Option<User>,
}

/// See [Bot API/TextQuote](https://core.telegram.org/bots/api#textquote).
#[derive(Debug, Deserialize)]
pub(super) struct TextQuote {
    pub text: String,
}

/// Common fields of photos, documents, voice messages and all other media.
///
/// See [Bot API/Document](https://core.telegram.org/bots/api#document).
#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub file_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub file_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub mime_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub file_size: Option<u64>,
    /// Only for stickers.
    #[serde(default, deserialize_with = "lenient")]
    pub emoji: Option<String>,
}

/// See [Bot API/Location](https://core.telegram.org/bots/api#location).
#[derive(Debug, Deserialize)]
pub(super) struct Location {
    pub latitude: f64,
    pub longitude: f64,
}

/// See [Bot API/Venue](https://core.telegram.org/bots/api#venue).
#[derive(Debug, Deserialize)]
pub(super) struct Venue {
    pub title: String,
    #[serde(default)]
    pub address: String,
}

/// See [Bot API/Contact](https://core.telegram.org/bots/api#contact).
#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    pub phone_number: String,
    pub first_name: String,
}

/// See [Bot API/Poll](https://core.telegram.org/bots/api#poll).
#[derive(Debug, Deserialize)]
pub(super) struct Poll {
    pub question: String,
}

/// See [Bot API/Dice](https://core.telegram.org/bots/api#dice).
#[derive(Debug, Deserialize)]
pub(super) struct Dice {
    pub emoji: String,
    pub value: i64,
}

/// See [Bot API/CallbackQuery](https://core.telegram.org/bots/api#callbackquery). `message` may be one that isn't accessible any more.
#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    pub id: String,
    pub from: User,
    #[serde(default, deserialize_with = "lenient")]
    pub message: Option<Message>,
    #[serde(default)]
    pub data: String,
}

/// See [Bot API/InlineKeyboardMarkup](https://core.telegram.org/bots/api#inlinekeyboardmarkup).
#[derive(Debug, Deserialize)]
pub(super) struct InlineKeyboard {
    pub inline_keyboard: Vec<Vec<InlineButton>>,
}

/// See [Bot API/InlineKeyboardButton](https://core.telegram.org/bots/api#inlinekeyboardbutton).
#[derive(Debug, Deserialize)]
pub(super) struct InlineButton {
    pub text: String,
    #[serde(default)]
    pub callback_data: String,
}

/// See [Bot API/ChatMemberUpdated](https://core.telegram.org/bots/api#chatmemberupdated).
#[derive(Debug, Deserialize)]
pub(super) struct ChatMemberUpdated {
    pub chat: Chat,
    pub new_chat_member: ChatMember,
}

/// See [Bot API/ChatMember](https://core.telegram.org/bots/api#chatmember).
#[derive(Debug, Deserialize)]
pub(super) struct ChatMember {
    pub status: String,
}

/// See [Bot API/MessageGenerationStopped](https://core.telegram.org/bots/api#messagegenerationstopped).
#[derive(Debug, Deserialize)]
pub(super) struct MessageGenerationStopped {
    pub chat: Chat,
    #[serde(default, deserialize_with = "lenient")]
    pub message_thread_id: Option<i64>,
}

/// See [Bot API/Making requests](https://core.telegram.org/bots/api#making-requests).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiBody {
    pub ok: bool,
    pub result: Value,
    pub error_code: Option<u16>,
    #[serde(deserialize_with = "lenient_text")]
    pub description: String,
    pub parameters: ResponseParameters,
}

/// See [Bot API/ResponseParameters](https://core.telegram.org/bots/api#responseparameters).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseParameters {
    pub retry_after: Option<u64>,
    pub migrate_to_chat_id: Option<i64>,
}

/// The value, or `None` if it doesn't have the expected format.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).ok())
}

fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    lenient(deserializer).map(Option::unwrap_or_default)
}
