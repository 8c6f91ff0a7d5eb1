//! Facts about the platform.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::budget::Budget;
use tieline_core::connector::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};

use super::compose::TEXT;
use super::settings::API_BASE;

/// Facts about Official Accounts.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wechat_mp",
    name: "WeChat Official Account (微信公众号)",
    docs: "https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html",
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
            name: "appId",
            secret: false,
            required: true,
            help: "Developer ID (AppID), under Settings and Development, Basic Configuration.",
        },
        Field {
            name: "appSecret",
            secret: true,
            required: true,
            help: "Developer password (AppSecret) from the same page. It is shown once.",
        },
        Field {
            name: "token",
            secret: true,
            required: true,
            help: "Token, as you enter it in the server configuration on the same page: 3 to 32 letters and digits.",
        },
        Field {
            name: "encodingAesKey",
            secret: true,
            required: false,
            help: "EncodingAESKey from the server configuration: 43 characters. Needed for safe mode, which is recommended; with it messages in plain text are refused.",
        },
        Field {
            name: "replies",
            secret: false,
            required: false,
            help: "Leave it out: the platform is asked. `customer_service`: answers of any duration, up to 5 messages. `passive`: for accounts without the customer-service API (48001); answers within 14 s come into the chat, later ones are behind a link.",
        },
    ],
    endpoints: &[EndpointField {
        name: "apiBase",
        default: API_BASE,
    }],
    setup: &[
        "On mp.weixin.qq.com open Settings and Development, Basic Configuration; copy the AppID, and make an AppSecret.",
        "On the same page add the address from which this bridge calls to the IP whitelist; without it every token is refused with 40164.",
        "Open the server configuration, enter a Token of your own, make an EncodingAESKey, choose safe mode, and copy Token and key here.",
        "Copy this integration's callback URL there and submit: the platform asks the URL at once, so do this last. Then enable the configuration; automatic replies and the menu of the website are off from then on.",
        "Service accounts, and verified subscription accounts, answer by the customer-service API. Other subscription accounts can only answer the message itself: what an agent says within 14 s comes into the chat, what takes longer is behind a link in the chat.",
    ],
    permissions: &["客服消息 (customer-service messages), for answers that take longer than 14 s"],
    delivery: Delivery::Push,
    merged: Merged::Note,
    waiting_sign: WaitingSign::Nothing,
    budget: Budget {
        text: TEXT,
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(60),
        slow_interval: Duration::from_secs(1),
        // The sign that we are typing is shown for 15 s.
        lifetime: Some(Duration::from_secs(10)),
        max_updates: None,
        quotas: &[],
        source: "https://developers.weixin.qq.com/doc/offiaccount/Customer_Service/Customer_Service_Messages.html",
    },
    welcome: Some(TEXT),
    two_sockets: true,
    proactive: true,
    login: false,
};
