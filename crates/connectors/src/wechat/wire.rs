//! The platform's JSON.
//!
//! See [openclaw-weixin/docs/protocol.md](https://github.com/Tencent/openclaw-weixin/blob/main/docs/protocol.md) and
//! [src/api/types.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/api/types.ts).

use serde::Deserialize;
use serde_json::Value;

/// Common fields of every response. Success may omit both codes; errors come with status 200.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope {
    pub(super) ret: i64,
    pub(super) errcode: i64,
}

impl Envelope {
    /// The error code, 0 on success.
    pub(super) const fn code(&self) -> i64 {
        if self.ret == 0 { self.errcode } else { self.ret }
    }
}

/// Answer of `getupdates`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Updates {
    /// Parsed one by one, so that an unreadable one loses no other.
    pub(super) msgs: Vec<Value>,
    /// The new cursor; if empty, the old one stays valid.
    pub(super) get_updates_buf: String,
    /// How long the next call is held.
    pub(super) longpolling_timeout_ms: i64,
}

/// One message.
#[derive(Debug, Deserialize)]
pub(super) struct WeixinMessage {
    pub(super) message_id: Option<Id>,
    pub(super) from_user_id: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) create_time_ms: Option<i64>,
    pub(super) delete_time_ms: Option<i64>,
    pub(super) group_id: Option<String>,
    pub(super) message_type: Option<i64>,
    #[serde(default)]
    pub(super) item_list: Vec<Value>,
    pub(super) context_token: Option<String>,
}

/// An id: an unsigned 64-bit number, or its decimal text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// `message_type` of a person's message.
pub(super) const FROM_USER: i64 = 1;
/// `message_type` of a bot's message.
pub(super) const FROM_BOT: i64 = 2;
/// `message_state` of a complete message.
pub(super) const FINISHED: i64 = 2;

/// `type` of an item.
pub(super) mod item_type {
    pub(in super::super) const TEXT: i64 = 1;
    pub(in super::super) const IMAGE: i64 = 2;
    pub(in super::super) const VOICE: i64 = 3;
    pub(in super::super) const FILE: i64 = 4;
    pub(in super::super) const VIDEO: i64 = 5;
}

/// One item of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: i64,
    pub(super) text_item: Option<TextItem>,
    pub(super) image_item: Option<ImageItem>,
    pub(super) voice_item: Option<VoiceItem>,
    pub(super) file_item: Option<FileItem>,
    pub(super) video_item: Option<VideoItem>,
    /// A [`RefMessage`]. Parsed on its own, so that an unreadable quote loses no text.
    pub(super) ref_msg: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TextItem {
    #[serde(default)]
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ImageItem {
    pub(super) media: Option<CdnMedia>,
    /// The key in hexadecimal; preferred over the one in `media`.
    pub(super) aeskey: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VoiceItem {
    pub(super) media: Option<CdnMedia>,
    pub(super) encode_type: Option<i64>,
    /// The platform's transcript, if there is one.
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FileItem {
    pub(super) media: Option<CdnMedia>,
    pub(super) file_name: Option<String>,
    /// Size in bytes, as decimal text.
    pub(super) len: Option<Id>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VideoItem {
    pub(super) media: Option<CdnMedia>,
}

/// Location of a file on the CDN, and its key.
#[derive(Debug, Deserialize)]
pub(super) struct CdnMedia {
    #[serde(default)]
    pub(super) encrypt_query_param: String,
    #[serde(default)]
    pub(super) aes_key: String,
    pub(super) full_url: Option<String>,
}

/// A quote: the quoted item itself, or only its id.
#[derive(Debug, Deserialize)]
pub(super) struct RefMessage {
    pub(super) message_item: Option<Value>,
    pub(super) title: Option<String>,
    pub(super) svr_id: Option<Id>,
}

/// Answer of `get_bot_qrcode`.
#[derive(Debug, Deserialize)]
pub(super) struct QrCode {
    /// The handle for the status poll.
    pub(super) qrcode: String,
    /// Content of the QR code.
    pub(super) qrcode_img_content: String,
}

/// Answer of `get_qrcode_status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct QrStatus {
    pub(super) status: String,
    pub(super) bot_token: String,
    pub(super) ilink_bot_id: String,
    pub(super) ilink_user_id: String,
    pub(super) baseurl: String,
    pub(super) redirect_host: String,
}

/// Answer of `getconfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BotConfig {
    /// Empty: the typing indicator is not available.
    pub(super) typing_ticket: String,
}
