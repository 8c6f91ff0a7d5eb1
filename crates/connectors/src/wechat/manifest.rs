//! Facts about the platform.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::budget::Budget;
use tieline_core::connector::{Delivery, EndpointField, Manifest, Merged, ModeManifest, Proof, WaitingSign};

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
        "Update WeChat on the phone: the app must offer the ClawBot plugin (Me > Settings > Plugins).",
        "Create the integration without credentials and bind it to an agent with a trigger.",
        "Start a login in the console or with `tieline login`, scan the QR code with WeChat and confirm on the phone. If the phone shows \
         digits, type them where the QR code is shown.",
        "Write to the new contact. Only the person who scanned the code can talk to the bot, in a direct chat; a login of the same person \
         elsewhere ends this one.",
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    budget: BUDGET,
    // The platform doesn't report that a person has opened the chat.
    welcome: None,
    // Two pollers of one token would share the messages between them.
    two_sockets: false,
    proactive: false,
    login: true,
};

const BUDGET: Budget = Budget {
    text: TEXT,
    // Nothing is shown of a growing text but the typing sign.
    min_interval: TYPING_LIFE,
    slow_after: Duration::from_hours(24),
    slow_interval: TYPING_LIFE,
    lifetime: None,
    max_updates: None,
    // Ten messages for each message of the person: counted on the reply. No limit in time is documented.
    quotas: &[],
    source: "https://github.com/Tencent/openclaw-weixin/blob/main/docs/protocol.md, src/messaging/send.ts, and the platform's rules, \
             https://mp.weixin.qq.com/s/eze9tUMh94B7cURgtqgSOQ",
};
