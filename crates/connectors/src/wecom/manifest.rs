//! Manifest of WeCom bots.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, SentFiles, WaitingSign,
};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

use super::callback_answer::MAX_WELCOME;
use super::decode::POLLED;
use super::full_text::MAX_BYTES;
use super::{poll_reply, socket_reply};

/// Manifest of WeCom bots.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wecom",
    name: "WeCom AI bot (企业微信智能机器人)",
    docs: "https://developer.work.weixin.qq.com/document/path/101039",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: true,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[LONG_CONNECTION, WEBHOOK],
};

/// URL of the long connection.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).
pub(super) const WS_URL: &str = "wss://openws.work.weixin.qq.com";

const TEXT: TextLimit = TextLimit {
    max: MAX_BYTES,
    unit: TextUnit::Bytes,
};

const BOT_NAME: Field = Field {
    name: "botName",
    secret: false,
    required: false,
    help: Bilingual {
        en: "The bot's name as members see it, so that its mention is taken out of group messages even if the name holds spaces.",
        zh: "成员看到的机器人名称；即使名称中有空格，也能从群消息中去掉对它的提及。",
    },
};

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    credentials: &[
        Field {
            name: "botId",
            secret: false,
            required: true,
            help: Bilingual {
                en: "Bot ID, shown beside the secret when the API mode is set to long connection.",
                zh: "Bot ID，把 API 模式设为长连接时与 Secret 一起显示。",
            },
        },
        Field {
            name: "secret",
            secret: true,
            required: true,
            help: Bilingual {
                en: "The long connection's own secret. It is shown once.",
                zh: "长连接专用的 Secret。只显示一次。",
            },
        },
        BOT_NAME,
    ],
    endpoints: &[
        EndpointField {
            name: "wsUrl",
            default: WS_URL,
        },
        EndpointField {
            name: "apiBase",
            default: "https://qyapi.weixin.qq.com",
        },
    ],
    setup: &[
        Bilingual {
            en: "In the admin console open Security & Management, Management Tools, AI bots, and create a bot in API mode.",
            zh: "在管理后台打开“安全与管理”的“管理工具”中的“智能机器人”，以 API 模式创建机器人。",
        },
        Bilingual {
            en: "Choose long connection. This switches a callback URL of the same bot off.",
            zh: "选择长连接。这会关闭同一机器人的回调地址。",
        },
        Bilingual {
            en: "Copy the Bot ID and the secret here. The secret is shown once.",
            zh: "把 Bot ID 和 Secret 复制到这里。Secret 只显示一次。",
        },
        Bilingual {
            en: "Connect no other program with this bot: a second connection throws the first one out.",
            zh: "不要让其他程序用该机器人连接：第二个连接会把第一个踢下线。",
        },
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Bubble,
    reasoning: ReasoningDetail::Full,
    budget: Budget {
        text: TEXT,
        // 30 messages per minute and chat, and every refresh may count: 10 in the first 10 s, then 20 a minute.
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(10),
        slow_interval: Duration::from_secs(3),
        lifetime: Some(socket_reply::LIFETIME),
        max_updates: None,
        quotas: &[
            Quota {
                name: "wecom_minute",
                scope: QuotaScope::Chat,
                sends: 30,
                per: Duration::from_secs(60),
                calls: Calls::All,
            },
            Quota {
                name: "wecom_hour",
                scope: QuotaScope::Chat,
                sends: 1000,
                per: Duration::from_secs(60 * 60),
                calls: Calls::All,
            },
        ],
        source: "https://developer.work.weixin.qq.com/document/path/101463",
    },
    welcome: Some(MAX_WELCOME),
    two_sockets: false,
    hears_groups: false,
    proactive: true,
    buttons: CardButtons::All,
    sent_files: SentFiles::NONE,
    login: false,
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[
        Field {
            name: "token",
            secret: true,
            required: true,
            help: Bilingual {
                en: "Token, as entered or made on the page where the callback URL is set.",
                zh: "Token，在设置回调地址的页面填写或生成。",
            },
        },
        Field {
            name: "encodingAesKey",
            secret: true,
            required: true,
            help: Bilingual {
                en: "EncodingAESKey from the same page: 43 letters and digits.",
                zh: "EncodingAESKey，在同一页面：43 个字母和数字。",
            },
        },
        BOT_NAME,
    ],
    endpoints: &[EndpointField {
        name: "apiBase",
        default: "https://qyapi.weixin.qq.com",
    }],
    setup: &[
        Bilingual {
            en: "In the admin console open Security & Management, Management Tools, AI bots, and create a bot in API mode.",
            zh: "在管理后台打开“安全与管理”的“管理工具”中的“智能机器人”，以 API 模式创建机器人。",
        },
        Bilingual {
            en: "Choose the callback URL and let the console make a Token and an EncodingAESKey; copy both here.",
            zh: "选择回调地址方式，由后台随机生成 Token 和 EncodingAESKey；把两者复制到这里。",
        },
        Bilingual {
            en: "Copy this integration's callback URL to the console and save: the console asks the URL at once, so do this last.",
            zh: "把本机器人的回调地址填到管理后台并保存：后台会立即访问该地址，所以请最后做这一步。",
        },
    ],
    permissions: &[],
    delivery: Delivery::Pull {
        lifetime: POLLED,
        push_after: true,
    },
    merged: Merged::Note,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Full,
    budget: Budget {
        text: TEXT,
        // What the polls fetch: they come about every second, and each record writes the whole text.
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(5),
        slow_interval: Duration::from_secs(3),
        lifetime: Some(poll_reply::LIFETIME),
        max_updates: None,
        quotas: &[],
        source: "https://developer.work.weixin.qq.com/document/path/101031",
    },
    welcome: Some(MAX_WELCOME),
    two_sockets: true,
    hears_groups: false,
    proactive: false,
    buttons: CardButtons::None,
    sent_files: SentFiles::NONE,
    login: false,
};
