//! Manifest of Lark and Feishu.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign,
};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

use super::files;
use super::plan::MAX_CARD;
use super::settings::FEISHU;

pub(super) static MANIFEST: Manifest = Manifest {
    platform: "lark",
    name: "Lark / Feishu",
    docs: "https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM",
    proof: Proof::Platform,
    // See [Feishu Docs/通用错误码](https://open.feishu.cn/document/ukTMukTMukTM/ugjM14COyUjL4ITN), 99991400.
    rate_hint: Some("x-ogw-ratelimit-reset"),
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: true,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[LONG_CONNECTION, WEBHOOK],
};

const APP_ID: Field = Field {
    name: "appId",
    secret: false,
    required: true,
    help: Bilingual {
        en: "App ID, on the app's page \"Credentials & Basic Info\"; begins with cli_.",
        zh: "App ID，在应用的“凭证与基础信息”页；以 cli_ 开头。",
    },
};

const APP_SECRET: Field = Field {
    name: "appSecret",
    secret: true,
    required: true,
    help: Bilingual {
        en: "App Secret, on the app's page \"Credentials & Basic Info\".",
        zh: "App Secret，在应用的“凭证与基础信息”页。",
    },
};

const VERIFICATION_TOKEN: Field = Field {
    name: "verificationToken",
    secret: true,
    required: false,
    help: Bilingual {
        en: "Verification Token, on \"Events & Callbacks\", tab \"Encryption Strategy\"; required where there is no Encrypt Key.",
        zh: "Verification Token，在“事件与回调”的“加密策略”页签；没有 Encrypt Key 时必填。",
    },
};

const ENCRYPT_KEY: Field = Field {
    name: "encryptKey",
    secret: true,
    required: false,
    help: Bilingual {
        en: "Encrypt Key, on \"Events & Callbacks\", tab \"Encryption Strategy\"; recommended, it signs and encrypts what is sent.",
        zh: "Encrypt Key，在“事件与回调”的“加密策略”页签；建议填写，平台会用它签名并加密所发内容。",
    },
};

const DOMAIN: Field = Field {
    name: "domain",
    secret: false,
    required: false,
    help: Bilingual {
        en: "feishu (mainland China, the default) or lark (international): where the app was made.",
        zh: "feishu（中国大陆，默认）或 lark（国际版）：应用在哪一边创建的。",
    },
};

const ENDPOINTS: &[EndpointField] = &[EndpointField {
    name: "apiBase",
    default: FEISHU,
}];

pub(super) const PERMISSIONS: &[&str] = &[
    "im:message.p2p_msg:readonly",
    "im:message.group_at_msg:readonly",
    "im:message:readonly",
    "im:chat.access_event.bot_p2p_chat:read",
    "im:message:send_as_bot",
    "im:resource",
    "im:message.reactions:write_only",
    "cardkit:card:write",
];

/// See [Feishu Docs/频控策略](https://open.feishu.cn/document/ukTMukTMukTM/uUzN04SN3QjL1cDN) and
/// [发送消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create).
const BUDGET: Budget = Budget {
    text: TextLimit {
        max: MAX_CARD,
        unit: TextUnit::Bytes,
    },
    // A card allows ten changes a second. Each is a call with the whole text so far, which the client displays as if typed: for a short
    // text, two a second read well; later, fewer do.
    min_interval: Duration::from_millis(500),
    slow_after: Duration::from_secs(5),
    slow_interval: Duration::from_millis(1200),
    // The connector enables streaming again before its 10 minutes are over; a card can be changed for 14 days.
    lifetime: None,
    max_updates: None,
    // The limit of 1000 calls a minute for each API is covered by the platform's own rate hint.
    quotas: &[
        Quota {
            name: "messages to one person or group",
            scope: QuotaScope::Chat,
            sends: 5,
            per: Duration::from_secs(1),
            calls: Calls::Only(MESSAGES),
        },
        api("calls of messages", MESSAGES),
        api("calls of patch", &["patch"]),
        api("calls of reactions/create", &["react"]),
        api("calls of reactions/delete", &["unreact"]),
        api("calls of card/create", &["create_card"]),
        api("calls of card/settings", &["reopen_card", "close_card", "close_left"]),
        api("calls of card/update", &["replace_card"]),
        api("calls of image/create", &[files::UPLOAD_PICTURE]),
        api("calls of file/create", &[files::UPLOAD_FILE]),
        // Text streamed into a card isn't counted.
    ],
    source: "https://open.feishu.cn/document/ukTMukTMukTM/uUzN04SN3QjL1cDN",
};

/// Calls that send a message to a chat, including replies.
const MESSAGES: &[&str] = &["send", "send_card", files::SEND_FILE];

/// Quota of one API for a bot.
const fn api(name: &'static str, calls: &'static [&'static str]) -> Quota {
    Quota {
        name,
        scope: QuotaScope::Account,
        sends: 50,
        per: Duration::from_secs(1),
        calls: Calls::Only(calls),
    }
}

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    credentials: &[APP_ID, APP_SECRET, DOMAIN],
    endpoints: ENDPOINTS,
    setup: &[
        Bilingual {
            en: "Create a custom app in the developer console (https://open.feishu.cn/app or https://open.larksuite.com/app) and add the bot ability.",
            zh: "在开发者后台（https://open.feishu.cn/app 或 https://open.larksuite.com/app）创建企业自建应用，并添加机器人能力。",
        },
        Bilingual {
            en: "Grant the permissions listed here. Agents are told the names of people and groups if you grant contact:contact.base:readonly, contact:user.base:readonly and im:chat:readonly too.",
            zh: "开通下列权限。若再开通 contact:contact.base:readonly、contact:user.base:readonly 和 im:chat:readonly，智能体还能得知用户和群的名称。",
        },
        Bilingual {
            en: "Save this integration and wait until it is connected: the console accepts the next two steps only over a live connection.",
            zh: "保存本机器人，等到状态为已连接：后台只有在长连接在线时才允许保存后面两步。",
        },
        Bilingual {
            en: "On \"Events & Callbacks\", tab \"Event Configuration\", choose \"long connection\" and add im.message.receive_v1; for a welcome also im.chat.access_event.bot_p2p_chat_entered_v1, to stop answers of recalled questions im.message.recalled_v1.",
            zh: "在“事件与回调”的“事件配置”页签选择“使用长连接接收事件”，添加 im.message.receive_v1；需要欢迎语时再添加 im.chat.access_event.bot_p2p_chat_entered_v1，需要撤回提问即停止回答时再添加 im.message.recalled_v1。",
        },
        Bilingual {
            en: "On the tab \"Callback Configuration\" choose \"long connection\" too and add card.action.trigger.",
            zh: "在“回调配置”页签同样选择长连接，添加 card.action.trigger。",
        },
        Bilingual {
            en: "Publish a version; permissions, events and callbacks work only after that.",
            zh: "发布版本；权限、事件和回调在发布后才生效。",
        },
    ],
    permissions: PERMISSIONS,
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Mark,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    welcome: Some(BUDGET.text),
    // Fifty connections are allowed, and each event goes to one of them.
    two_sockets: true,
    hears_groups: true,
    proactive: true,
    buttons: CardButtons::All,
    sent_files: files::LIMITS,
    login: false,
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[APP_ID, APP_SECRET, VERIFICATION_TOKEN, ENCRYPT_KEY, DOMAIN],
    endpoints: ENDPOINTS,
    setup: &[
        Bilingual {
            en: "Create a custom app in the developer console (https://open.feishu.cn/app or https://open.larksuite.com/app) and add the bot ability.",
            zh: "在开发者后台（https://open.feishu.cn/app 或 https://open.larksuite.com/app）创建企业自建应用，并添加机器人能力。",
        },
        Bilingual {
            en: "Grant the permissions listed here. Agents are told the names of people and groups if you grant contact:contact.base:readonly, contact:user.base:readonly and im:chat:readonly too.",
            zh: "开通下列权限。若再开通 contact:contact.base:readonly、contact:user.base:readonly 和 im:chat:readonly，智能体还能得知用户和群的名称。",
        },
        Bilingual {
            en: "On \"Events & Callbacks\", tab \"Encryption Strategy\", set an Encrypt Key and copy it and the Verification Token here.",
            zh: "在“事件与回调”的“加密策略”页签设置 Encrypt Key，并把它和 Verification Token 复制到这里。",
        },
        Bilingual {
            en: "On the tab \"Event Configuration\" enter the callback URL and add im.message.receive_v1; for a welcome also im.chat.access_event.bot_p2p_chat_entered_v1, to stop answers of recalled questions im.message.recalled_v1.",
            zh: "在“事件配置”页签填入回调地址，添加 im.message.receive_v1；需要欢迎语时再添加 im.chat.access_event.bot_p2p_chat_entered_v1，需要撤回提问即停止回答时再添加 im.message.recalled_v1。",
        },
        Bilingual {
            en: "On the tab \"Callback Configuration\" enter the same URL and add card.action.trigger.",
            zh: "在“回调配置”页签填入同一地址，添加 card.action.trigger。",
        },
        Bilingual {
            en: "Publish a version; permissions, events and callbacks work only after that.",
            zh: "发布版本；权限、事件和回调在发布后才生效。",
        },
    ],
    permissions: PERMISSIONS,
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Mark,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    welcome: Some(BUDGET.text),
    two_sockets: true,
    hears_groups: true,
    proactive: true,
    buttons: CardButtons::All,
    sent_files: files::LIMITS,
    login: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Scopes of the quotas that count a call.
    #[track_caller]
    fn check(call: &str, expected: &[QuotaScope]) {
        let counting = BUDGET.quotas.iter().filter(|quota| quota.counts(call));
        assert_eq!(
            counting.map(|quota| quota.scope).collect::<Vec<_>>(),
            expected,
            "{call}"
        );
    }

    #[test]
    fn only_messages_count_per_chat_and_streamed_text_is_free() {
        for message in ["send", "send_card"] {
            check(message, &[QuotaScope::Chat, QuotaScope::Account]);
        }
        for call in [
            "react",
            "unreact",
            "create_card",
            "reopen_card",
            "close_card",
            "close_left",
            "replace_card",
            "patch",
        ] {
            check(call, &[QuotaScope::Account]);
        }
        check("write_card", &[]);
    }
}
