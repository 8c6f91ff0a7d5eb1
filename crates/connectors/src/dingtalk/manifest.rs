//! Facts about DingTalk.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};
use tieline_core::split::{TextLimit, TextUnit};

use super::call::{API_BASE, OAPI_BASE};

/// What is known without asking.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "dingtalk",
    name: "DingTalk",
    docs: "https://open.dingtalk.com/document/dingstart/robot-receive-message",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: true,
    tasks_from_outside: false,
    modes: &[
        ModeManifest {
            mode: ConnectionMode::LongConnection,
            credentials: &[CLIENT_ID, CLIENT_SECRET, ROBOT_CODE, CARD_TEMPLATE_ID, CORP_ID],
            setup: &[
                "Create an internal application in the developer console (open-dev.dingtalk.com) and add the robot ability to it.",
                "Set the robot's message receiving mode to Stream, and the event subscription's too if you use it.",
                "Copy Client ID and Client Secret from the application's credentials page.",
                "Apply for the permissions below and publish a version: before that nothing is pushed.",
                CARD_SETUP,
            ],
            ..WEBHOOK
        },
        WEBHOOK,
    ],
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[
        CLIENT_ID,
        CLIENT_SECRET,
        ROBOT_CODE,
        CARD_TEMPLATE_ID,
        CORP_ID,
        TOKEN,
        AES_KEY,
    ],
    endpoints: &[
        EndpointField {
            name: "apiBase",
            default: API_BASE,
        },
        EndpointField {
            name: "oapiBase",
            default: OAPI_BASE,
        },
    ],
    setup: &[
        "Create an internal application in the developer console (open-dev.dingtalk.com) and add the robot ability to it.",
        "Set the robot's message receiving mode to HTTP and its address to the callback URL of this integration.",
        "Copy Client ID and Client Secret from the application's credentials page.",
        "Only if you subscribe to events over HTTP: set the same address there and copy token and AES key.",
        "Apply for the permissions below and publish a version: before that nothing is pushed.",
        CARD_SETUP,
    ],
    permissions: &["qyapi_robot_sendmsg", "Card.Instance.Write", "Card.Streaming.Write"],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    budget: BUDGET,
    welcome: None,
    two_sockets: true,
    proactive: true,
    login: false,
};

/// A card template of one's own is optional: a public one is used without.
const CARD_SETUP: &str = "Recommended: make a card of the scene \"AI card\" in the card console, tie it to the application, bind its \
                          streaming component to the variable content, publish it and copy its id. Buttons with the ids like and dislike \
                          rate an answer.";

const CLIENT_ID: Field = Field {
    name: "clientId",
    secret: false,
    required: true,
    help: "Client ID (AppKey) on the application's credentials page.",
};
const CLIENT_SECRET: Field = Field {
    name: "clientSecret",
    secret: true,
    required: true,
    help: "Client Secret (AppSecret) on the application's credentials page.",
};
const ROBOT_CODE: Field = Field {
    name: "robotCode",
    secret: false,
    required: false,
    help: "RobotCode on the robot's page. Without it the Client ID is used, which is right for an application's own robot.",
};
const CARD_TEMPLATE_ID: Field = Field {
    name: "cardTemplateId",
    secret: false,
    required: false,
    help: "Id of a published AI card template, ending in .schema, whose streaming variable is content. Without it a public one is used.",
};
const CORP_ID: Field = Field {
    name: "corpId",
    secret: false,
    required: false,
    help: "CorpId of the organization. Only needed where event callbacks were registered with the old API.",
};
const TOKEN: Field = Field {
    name: "token",
    secret: true,
    required: false,
    help: "Signature token on the event subscription page, for events over HTTP.",
};
const AES_KEY: Field = Field {
    name: "aesKey",
    secret: true,
    required: false,
    help: "AES key (43 characters) on the event subscription page, for events over HTTP.",
};

/// An update costs a call of the organization's month (5,000 in the standard edition), so long answers are shown in larger steps.
const BUDGET: Budget = Budget {
    text: TextLimit {
        max: 12_000,
        unit: TextUnit::Bytes,
    },
    min_interval: Duration::from_millis(1500),
    slow_after: Duration::from_secs(30),
    slow_interval: Duration::from_secs(5),
    lifetime: None,
    max_updates: None,
    quotas: &[
        per_api("create_card", &["create_card"]),
        per_api("card_streaming", &["stream_text"]),
        per_api("card_instances", &["begin_text", "settle_card", "mark_card"]),
        per_api("send_direct", &["send_direct"]),
        per_api("send_group", &["send_group"]),
    ],
    source: "20 calls a second per application and API: https://open.dingtalk.com/document/development/call-frequency-limit; calls a \
             month: https://open.dingtalk.com/document/development/dingtalk-application-development-platform-billing-model; text: \
             https://open.dingtalk.com/document/development/the-robot-sends-a-group-message",
};

/// The limit of one API: of an application, for all its chats together.
const fn per_api(name: &'static str, calls: &'static [&'static str]) -> Quota {
    Quota {
        name,
        scope: QuotaScope::Account,
        sends: 15,
        per: Duration::from_secs(1),
        calls: Calls::Only(calls),
    }
}
