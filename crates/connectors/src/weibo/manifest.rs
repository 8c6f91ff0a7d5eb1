//! Manifest of Weibo direct messages.
//!
//! Weibo publishes no specification of this channel. The facts are those of the vendor's own client,
//! [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo) 2.2.12.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, SentFiles, WaitingSign,
};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

/// URL of the socket. The vendor's client uses `ws://` on the same host; an unencrypted connection is the operator's choice.
pub(super) const WS_URL: &str = "wss://open-im.api.weibo.com/ws/stream";
/// URL of the token call.
pub(super) const TOKEN_URL: &str = "https://open-im.api.weibo.com/open/auth/ws_token";
/// Base URL for sending files.
pub(super) const API_BASE: &str = "https://open-im.api.weibo.com";

/// Longest text of one frame. The vendor's clients send 1800 to 2000 characters.
pub(super) const MAX_FRAME: TextLimit = TextLimit {
    max: 1800,
    unit: TextUnit::Utf16,
};
/// Longest text of one message: no limit is documented; messages of about this length are known to arrive.
pub(super) const MAX_MESSAGE: TextLimit = TextLimit {
    max: 4000,
    unit: TextUnit::Utf16,
};

/// Manifest of Weibo direct messages.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "weibo",
    name: "Weibo direct messages (微博私信)",
    docs: "https://github.com/wecode-ai/openclaw-weibo",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: true,
    modes: &[LONG_CONNECTION],
};

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    credentials: &[
        Field {
            name: "appId",
            secret: false,
            required: true,
            help: Bilingual {
                en: "AppId, as 微博龙虾助手 answers to 连接龙虾. Text, although it looks like a number.",
                zh: "AppId，来自 微博龙虾助手 对“连接龙虾”的回复。虽然看起来是数字，但按文本填写。",
            },
        },
        Field {
            name: "appSecret",
            secret: true,
            required: true,
            help: Bilingual {
                en: "AppSecret from the same answer. 重置凭证 issues a new one and invalidates the old.",
                zh: "AppSecret，来自同一条回复。“重置凭证”会生成新的并使旧的失效。",
            },
        },
        Field {
            name: "ownerUid",
            secret: false,
            required: false,
            help: Bilingual {
                en: "User id of the account that got the credentials. Files of answers are sent as files into this chat only; \
                   everywhere else, and without it, they stand in the text as links.",
                zh: "取得凭据的账号的用户 ID。回答中的文件只在与该账号的聊天中以文件发送；在其他聊天中，或不填时，以链接形式写在文本里。",
            },
        },
    ],
    endpoints: &[
        EndpointField {
            name: "wsUrl",
            default: WS_URL,
        },
        EndpointField {
            name: "tokenUrl",
            default: TOKEN_URL,
        },
        EndpointField {
            name: "apiBase",
            default: API_BASE,
        },
    ],
    setup: &[
        Bilingual {
            en: "In Weibo open a private chat with 微博龙虾助手 (https://weibo.com/u/6808810981) and send 连接龙虾.",
            zh: "在微博打开与 微博龙虾助手（https://weibo.com/u/6808810981）的私信，发送“连接龙虾”。",
        },
        Bilingual {
            en: "Copy AppId and AppSecret from its answer here. They belong to your own chat with that account.",
            zh: "把回复中的 AppId 和 AppSecret 复制到这里。它们属于您自己与该账号的聊天。",
        },
        Bilingual {
            en: "Connect no other client with the same AppId: each of them would answer.",
            zh: "不要让其他程序用同一个 AppId 连接：每个程序都会回答。",
        },
        Bilingual {
            en: "If the credentials are refused, send 重置凭证 and enter the new ones: the old ones stop working at once.",
            zh: "若凭据被拒绝，请发送“重置凭证”并填入新的凭据：旧的会立即失效。",
        },
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: Budget {
        text: MAX_MESSAGE,
        // One frame every 300 to 500 ms. No rate limit is documented. A frame can't be repeated, so each one is recorded: a table write.
        // People read later text more slowly than it is written, so it is sent in fewer and longer frames.
        min_interval: Duration::from_millis(400),
        slow_after: Duration::from_secs(5),
        slow_interval: Duration::from_millis(1200),
        lifetime: None,
        max_updates: None,
        quotas: &[],
        source: "https://github.com/wecode-ai/openclaw-weibo",
    },
    welcome: None,
    // One connection per AppId: whether a second one gets the messages too is not documented.
    two_sockets: false,
    hears_groups: false,
    proactive: true,
    buttons: CardButtons::None,
    sent_files: SentFiles::NONE,
    login: false,
};
