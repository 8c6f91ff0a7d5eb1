//! Facts about the platform.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::budget::Budget;
use tieline_core::connector::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};

use super::pages::LIMIT;
use super::settings::API;

pub(super) static MANIFEST: Manifest = Manifest {
    platform: "discord",
    name: "Discord",
    docs: "https://discord.com/developers/docs",
    proof: Proof::Platform,
    // `Retry-After` and the body of a 429 say it.
    rate_hint: None,
    // Addresses of attachments are signed for about a day.
    media_is_short_lived: false,
    tasks_from_outside: false,
    modes: &[LONG_CONNECTION, WEBHOOK],
};

const BOT_TOKEN: Field = Field {
    name: "botToken",
    secret: true,
    required: true,
    help: "Token of the bot: developer portal, page \"Bot\", button \"Reset Token\". It is shown once.",
};

const APPLICATION_ID: Field = Field {
    name: "applicationId",
    secret: false,
    required: true,
    help: "Application ID, on the developer portal's page \"General Information\".",
};

const PUBLIC_KEY: Field = Field {
    name: "publicKey",
    secret: false,
    required: true,
    help: "Public Key, on the developer portal's page \"General Information\": 64 hexadecimal digits.",
};

const OPTIONAL_PUBLIC_KEY: Field = Field {
    required: false,
    ..PUBLIC_KEY
};

const ENDPOINTS: &[EndpointField] = &[EndpointField {
    name: "apiBase",
    default: API,
}];

/// By the names that the developer portal uses. Their sum is 274878024704.
///
/// See [Discord Docs/Permissions](https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags).
const PERMISSIONS: &[&str] = &[
    "View Channels",
    "Send Messages",
    "Send Messages in Threads",
    "Embed Links",
    "Attach Files",
    "Read Message History",
];

/// The platform reports its limits with each answer and must not be written into programs; what is fixed here keeps below those that
/// were observed for edits.
///
/// See [Discord Docs/Rate Limits](https://discord.com/developers/docs/topics/rate-limits).
const BUDGET: Budget = Budget {
    text: LIMIT,
    // About five changes in five seconds are let through in a channel, and several answers may grow there.
    min_interval: Duration::from_millis(1200),
    slow_after: Duration::from_secs(60),
    slow_interval: Duration::from_secs(2),
    // While there is no text, the typing indicator is shown again each time the bridge asks: this and its slack of five seconds.
    lifetime: Some(Duration::from_secs(3)),
    max_updates: None,
    quotas: &[],
    source: "https://discord.com/developers/docs/topics/rate-limits",
};

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    credentials: &[BOT_TOKEN, APPLICATION_ID, OPTIONAL_PUBLIC_KEY],
    endpoints: ENDPOINTS,
    setup: &[
        "Create an application in the developer portal (https://discord.com/developers/applications) with \"New Application\"; copy the Application ID and the Public Key from \"General Information\".",
        "On \"General Information\" leave \"Interactions Endpoint URL\" empty: an address there takes slash commands and buttons away from this connection.",
        "On \"Bot\" press \"Reset Token\" and copy the token; below \"Privileged Gateway Intents\" switch on \"Message Content Intent\", so that the bot can read replies that don't mention it.",
        "On \"Installation\" choose \"Guild Install\" with the scopes bot and applications.commands and the permissions listed here.",
        "Open the \"Install Link\" and add the bot to a server. Save this integration and wait until it is connected.",
    ],
    permissions: PERMISSIONS,
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    budget: BUDGET,
    // The platform doesn't report that a person has opened the chat.
    welcome: None,
    // Both connections of a bot get every event, which is recognized by its id.
    two_sockets: true,
    proactive: true,
    login: false,
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[BOT_TOKEN, APPLICATION_ID, PUBLIC_KEY],
    setup: &[
        "Create an application in the developer portal (https://discord.com/developers/applications) with \"New Application\"; copy the Application ID and the Public Key from \"General Information\".",
        "On \"Bot\" press \"Reset Token\" and copy the token.",
        "On \"Installation\" choose \"Guild Install\" with the scopes bot and applications.commands and the permissions listed here; open the \"Install Link\" and add the bot to a server.",
        "Save this integration: it registers the slash commands and its own address. If \"General Information\" doesn't show the callback URL as \"Interactions Endpoint URL\" then, enter it there.",
        "Use /ask: in this mode the bot sees slash commands and buttons only, no messages.",
    ],
    // An interaction's token ends after 15 minutes: the bridge asks again before, so that an answer which still grows can leave it.
    budget: Budget {
        lifetime: Some(Duration::from_mins(13)),
        ..BUDGET
    },
    ..LONG_CONNECTION
};
