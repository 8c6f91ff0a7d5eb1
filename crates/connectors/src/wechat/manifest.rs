//! Manifest of personal WeChat.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Manifest, Merged, ModeManifest, Proof, SentFiles, WaitingSign,
};
use tieline_core::thinking_display::ReasoningDetail;

use super::classify;
use super::plan::{TEXT, TYPING_LIFE};
use super::settings::{API_BASE, CDN_BASE};

pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wechat",
    name: "WeChat (personal)",
    docs: "https://github.com/Tencent/openclaw-weixin/blob/main/docs/protocol.md",
    proof: Proof::Platform,
    rate_hint: None,
    // How long the CDN keeps a file is not documented.
    media_is_short_lived: true,
    max_media_bytes: None,
    answers_by_newest: true,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[classify::WINDOW_CLOSED, classify::LOGIN_EXPIRED, "target_expired"],
    tasks_from_outside: false,
    modes: &[LONG_CONNECTION],
};

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    // Obtained by the login.
    credentials: &[],
    endpoints: &[
        EndpointField {
            name: "apiBase",
            default: API_BASE,
        },
        EndpointField {
            name: "cdnBase",
            default: CDN_BASE,
        },
    ],
    setup: &[
        Bilingual {
            en: "Update WeChat on the phone: the app must offer the ClawBot plugin (Me > Settings > Plugins).",
            zh: "更新手机上的微信：应用中须有 ClawBot 插件（我 > 设置 > 插件）。",
        },
        Bilingual {
            en: "Create the integration without credentials and bind it to an agent with a trigger.",
            zh: "创建机器人时不填凭据，并用触发器把它绑定到一个智能体。",
        },
        Bilingual {
            en: "Start a login in the console or with `tieline login`, scan the QR code with WeChat and confirm on the phone. If the phone shows \
         digits, type them where the QR code is shown.",
            zh: "在控制台或用 `tieline login` 发起登录，用微信扫描二维码并在手机上确认。手机上若显示数字，请在显示二维码的地方输入。",
        },
        Bilingual {
            en: "Write to the new contact. Only the person who scanned the code can talk to the bot, in a direct chat; a login of the same person \
         elsewhere ends this one.",
            zh: "给新联系人发消息。只有扫码的人可以在单聊中与机器人对话；同一人在别处登录会使这里的登录失效。",
        },
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    // The platform doesn't report when a person opens the chat.
    welcome: None,
    // Two pollers with one token would each get only a part of the messages.
    two_sockets: false,
    hears_groups: false,
    proactive: false,
    buttons: CardButtons::None,
    sent_files: SentFiles::NONE,
    login: true,
};

const BUDGET: Budget = Budget {
    text: TEXT,
    // Of a growing text only the typing indicator is shown.
    min_interval: TYPING_LIFE,
    slow_after: Duration::from_hours(24),
    slow_interval: TYPING_LIFE,
    lifetime: None,
    max_updates: None,
    // Ten messages for each message of the person, counted in the reply's progress. No time limit is documented.
    quotas: &[],
    source: "https://github.com/Tencent/openclaw-weixin/blob/main/docs/protocol.md, src/messaging/send.ts, and the platform's rules, \
             https://mp.weixin.qq.com/s/eze9tUMh94B7cURgtqgSOQ",
};
