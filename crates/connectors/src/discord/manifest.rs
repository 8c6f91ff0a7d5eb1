//! Manifest of Discord.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign,
};
use tieline_core::thinking_display::ReasoningDetail;

use super::files;
use super::pages::LIMIT;
use super::settings::API;

pub(super) static MANIFEST: Manifest = Manifest {
    platform: "discord",
    name: "Discord",
    docs: "https://discord.com/developers/docs",
    proof: Proof::Platform,
    // `Retry-After` and the body of a 429 contain it.
    rate_hint: None,
    // URLs of attachments are signed for about a day.
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[LONG_CONNECTION, WEBHOOK],
};

const BOT_TOKEN: Field = Field {
    name: "botToken",
    secret: true,
    required: true,
    help: Bilingual {
        en: "Token of the bot: developer portal, page \"Bot\", button \"Reset Token\". It is shown once.",
        zh: "机器人的令牌：开发者门户的“Bot”页，点“Reset Token”。只显示一次。",
    },
};

const APPLICATION_ID: Field = Field {
    name: "applicationId",
    secret: false,
    required: true,
    help: Bilingual {
        en: "Application ID, on the developer portal's page \"General Information\".",
        zh: "Application ID，在开发者门户的“General Information”页。",
    },
};

const PUBLIC_KEY: Field = Field {
    name: "publicKey",
    secret: false,
    required: true,
    help: Bilingual {
        en: "Public Key, on the developer portal's page \"General Information\": 64 hexadecimal digits.",
        zh: "Public Key，在开发者门户的“General Information”页：64 位十六进制数字。",
    },
};

const OPTIONAL_PUBLIC_KEY: Field = Field {
    required: false,
    ..PUBLIC_KEY
};

const ENDPOINTS: &[EndpointField] = &[EndpointField {
    name: "apiBase",
    default: API,
}];

/// Names as in the developer portal. Their sum is 274878024704.
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

/// The platform reports its rate limits with each response, and they must not be hard-coded; the values here stay below the limits observed
/// for edits.
///
/// See [Discord Docs/Rate Limits](https://discord.com/developers/docs/topics/rate-limits).
const BUDGET: Budget = Budget {
    text: LIMIT,
    // A channel allows about five edits in five seconds, and several answers may grow in it.
    min_interval: Duration::from_millis(1200),
    slow_after: Duration::from_secs(60),
    slow_interval: Duration::from_secs(2),
    // While there is no text, each request of the bridge (after this time plus a slack of five seconds) shows the typing indicator again.
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
        Bilingual {
            en: "Create an application in the developer portal (https://discord.com/developers/applications) with \"New Application\"; copy the Application ID and the Public Key from \"General Information\".",
            zh: "在开发者门户（https://discord.com/developers/applications）用“New Application”创建应用；从“General Information”复制 Application ID 和 Public Key。",
        },
        Bilingual {
            en: "On \"General Information\", \"Interactions Endpoint URL\" must stay empty: an address there takes slash commands and buttons away from this connection. Saving the integration removes one.",
            zh: "“General Information”中的“Interactions Endpoint URL”须保持为空：填了地址，斜杠命令和按钮就不再发到本连接。保存本机器人会清除已有地址。",
        },
        Bilingual {
            en: "On \"Bot\" press \"Reset Token\" and copy the token; below \"Privileged Gateway Intents\" switch on \"Message Content Intent\", so that the bot can read replies that don't mention it.",
            zh: "在“Bot”页点“Reset Token”并复制令牌；在“Privileged Gateway Intents”下打开“Message Content Intent”，机器人才能读到没有 @ 它的回复。",
        },
        Bilingual {
            en: "On \"Installation\" choose \"Guild Install\" with the scopes bot and applications.commands and the permissions listed here.",
            zh: "在“Installation”页选择“Guild Install”，勾选 bot 和 applications.commands，以及下列权限。",
        },
        Bilingual {
            en: "Open the \"Install Link\" and add the bot to a server. Save this integration and wait until it is connected.",
            zh: "打开“Install Link”，把机器人加入服务器。保存本机器人，等到状态为已连接。",
        },
    ],
    permissions: PERMISSIONS,
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    // The platform doesn't report when a person opens the chat.
    welcome: None,
    // Both connections of a bot get every event; events are deduplicated by id.
    two_sockets: true,
    hears_groups: true,
    proactive: true,
    buttons: CardButtons::All,
    sent_files: files::LIMITS,
    login: false,
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[BOT_TOKEN, APPLICATION_ID, PUBLIC_KEY],
    setup: &[
        Bilingual {
            en: "Create an application in the developer portal (https://discord.com/developers/applications) with \"New Application\"; copy the Application ID and the Public Key from \"General Information\".",
            zh: "在开发者门户（https://discord.com/developers/applications）用“New Application”创建应用；从“General Information”复制 Application ID 和 Public Key。",
        },
        Bilingual {
            en: "On \"Bot\" press \"Reset Token\" and copy the token.",
            zh: "在“Bot”页点“Reset Token”并复制令牌。",
        },
        Bilingual {
            en: "On \"Installation\" choose \"Guild Install\" with the scopes bot and applications.commands and the permissions listed here; open the \"Install Link\" and add the bot to a server.",
            zh: "在“Installation”页选择“Guild Install”，勾选 bot 和 applications.commands，以及下列权限；打开“Install Link”，把机器人加入服务器。",
        },
        Bilingual {
            en: "Save this integration: it registers the slash commands and its own address. If \"General Information\" doesn't show the callback URL as \"Interactions Endpoint URL\" then, see the integration's status: the bridge repeats the registration.",
            zh: "保存本机器人：它会注册斜杠命令和自己的地址。若之后“General Information”的“Interactions Endpoint URL”没有显示回调地址，请查看该机器人的状态：系统会自动重试登记。",
        },
        Bilingual {
            en: "Use /ask: in this mode the bot sees slash commands and buttons only, no messages.",
            zh: "使用 /ask：在此模式下机器人只能收到斜杠命令和按钮，收不到普通消息。",
        },
    ],
    // An interaction's token expires after 15 minutes: the bridge asks again before that, so that a growing answer can move to another
    // message.
    budget: Budget {
        lifetime: Some(Duration::from_mins(13)),
        ..BUDGET
    },
    hears_groups: false,
    ..LONG_CONNECTION
};
