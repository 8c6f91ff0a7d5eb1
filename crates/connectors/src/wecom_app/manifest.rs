//! Facts about the platform.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};

use super::compose::{MESSAGES, TEXT};
use super::settings::API_BASE;

/// Facts about WeCom applications.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wecom_app",
    name: "WeCom application (企业微信自建应用)",
    docs: "https://developer.work.weixin.qq.com/document/path/90238",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
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
            help: "Company ID (企业ID), at the bottom of My Company, Company Information.",
        },
        Field {
            name: "agentId",
            secret: false,
            required: true,
            help: "AgentId, on the application's page in App Management.",
        },
        Field {
            name: "secret",
            secret: true,
            required: true,
            help: "Secret, on the application's page; it is sent to the administrator's WeCom client.",
        },
        Field {
            name: "token",
            secret: true,
            required: true,
            help: "Token, on the application's page under Receive Messages, Set API Receive.",
        },
        Field {
            name: "encodingAesKey",
            secret: true,
            required: true,
            help: "EncodingAESKey from the same page: 43 letters and digits.",
        },
        Field {
            name: "format",
            secret: false,
            required: false,
            help: "`text` (default) is shown everywhere, in WeChat too. `markdown` keeps headings, bold and quotes, but only the WeCom clients show it.",
        },
    ],
    endpoints: &[EndpointField {
        name: "apiBase",
        default: API_BASE,
    }],
    setup: &[
        "In the admin console open App Management and create a self-built application (自建应用); choose who sees it: only these members can talk to it.",
        "Copy AgentId and Secret of the application, and the company ID from My Company, Company Information.",
        "On the application's page open Receive Messages, Set API Receive; let the console make a Token and an EncodingAESKey; copy both here.",
        "Copy this integration's callback URL to that page and save: the console asks the URL at once, so do this last. Its domain must belong to your company.",
        "On the application's page open Trusted IP of the Company (企业可信IP) and enter the address from which this bridge calls; without it every answer is refused with 60020.",
        "Under Receive Messages tick the event of members who open the application's chat, if a welcome is to be sent.",
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    budget: Budget {
        text: TEXT,
        // Nothing is shown before the answer is whole.
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(60),
        slow_interval: Duration::from_secs(1),
        lifetime: None,
        max_updates: None,
        // What is more is dropped with a success answer, so it must not be sent.
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
    proactive: true,
    login: false,
};
