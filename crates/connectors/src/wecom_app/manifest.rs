//! Manifest of WeCom applications.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign,
};
use tieline_core::thinking_display::ReasoningDetail;

use super::compose::{MESSAGES, TEXT};
use super::files;
use super::settings::API_BASE;

/// Manifest of WeCom applications.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wecom_app",
    name: "WeCom application (企业微信自建应用)",
    docs: "https://developer.work.weixin.qq.com/document/path/90238",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[WEBHOOK],
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[
        Field {
            name: "corpId",
            secret: false,
            required: true,
            help: Bilingual {
                en: "Company ID (企业ID), at the bottom of My Company, Company Information.",
                zh: "企业ID，在“我的企业”的“企业信息”页底部。",
            },
        },
        Field {
            name: "agentId",
            secret: false,
            required: true,
            help: Bilingual {
                en: "AgentId, on the application's page in App Management.",
                zh: "AgentId，在“应用管理”中该应用的页面上。",
            },
        },
        Field {
            name: "secret",
            secret: true,
            required: true,
            help: Bilingual {
                en: "Secret, on the application's page; it is sent to the administrator's WeCom client.",
                zh: "Secret，在应用页面查看；会发送到管理员的企业微信客户端。",
            },
        },
        Field {
            name: "token",
            secret: true,
            required: true,
            help: Bilingual {
                en: "Token, on the application's page under Receive Messages, Set API Receive.",
                zh: "Token，在应用页面的“接收消息”的“设置API接收”中。",
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
        Field {
            name: "format",
            secret: false,
            required: false,
            help: Bilingual {
                en: "`text` (default) is shown everywhere, in WeChat too. `markdown` keeps headings, bold and quotes, but only the WeCom clients show it.",
                zh: "`text`（默认）处处都能显示，微信中也可以。`markdown` 保留标题、粗体和引用，但只有企业微信客户端能显示。",
            },
        },
    ],
    endpoints: &[EndpointField {
        name: "apiBase",
        default: API_BASE,
    }],
    setup: &[
        Bilingual {
            en: "In the admin console open App Management and create a self-built application (自建应用); choose who sees it: only these members can talk to it.",
            zh: "在管理后台打开“应用管理”，创建自建应用；选择可见范围：只有这些成员能与它对话。",
        },
        Bilingual {
            en: "Copy AgentId and Secret of the application, and the company ID from My Company, Company Information.",
            zh: "复制应用的 AgentId 和 Secret，以及“我的企业”的“企业信息”中的企业ID。",
        },
        Bilingual {
            en: "On the application's page open Receive Messages, Set API Receive; let the console make a Token and an EncodingAESKey; copy both here.",
            zh: "在应用页面打开“接收消息”的“设置API接收”；由后台随机生成 Token 和 EncodingAESKey，把两者复制到这里。",
        },
        Bilingual {
            en: "Copy this integration's callback URL to that page and save: the console asks the URL at once, so do this last. Its domain must belong to your company.",
            zh: "把本机器人的回调地址填到该页面并保存：后台会立即访问该地址，所以请最后做这一步。域名须属于您的企业。",
        },
        Bilingual {
            en: "On the application's page open Trusted IP of the Company (企业可信IP) and enter the address from which this bridge calls; without it every answer is refused with 60020.",
            zh: "在应用页面打开“企业可信IP”，填入网桥的出口地址；否则每条回答都会被 60020 拒绝。",
        },
        Bilingual {
            en: "Under Receive Messages tick the event of members who open the application's chat, if a welcome is to be sent.",
            zh: "如需发送欢迎语，请在“接收消息”下勾选“用户进入应用”事件。",
        },
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: Budget {
        text: TEXT,
        // Nothing is shown before the answer is complete.
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(60),
        slow_interval: Duration::from_secs(1),
        lifetime: None,
        max_updates: None,
        // Messages above the limit are dropped with a success response, so they must not be sent.
        quotas: &[
            Quota {
                name: "wecom_app_minute",
                scope: QuotaScope::Chat,
                sends: 30,
                per: Duration::from_secs(60),
                calls: Calls::Only(&MESSAGES),
            },
            Quota {
                name: "wecom_app_hour",
                scope: QuotaScope::Chat,
                sends: 1000,
                per: Duration::from_secs(60 * 60),
                calls: Calls::Only(&MESSAGES),
            },
        ],
        source: "https://developer.work.weixin.qq.com/document/path/90312",
    },
    welcome: Some(TEXT),
    two_sockets: true,
    hears_groups: false,
    proactive: true,
    buttons: CardButtons::All,
    sent_files: files::LIMITS,
    login: false,
};
