//! Manifest of DingTalk.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::{Budget, Calls, Quota, QuotaScope};
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign,
};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

use super::call::{API_BASE, OAPI_BASE};
use super::files;

/// Static facts about the platform.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "dingtalk",
    name: "DingTalk",
    docs: "https://open.dingtalk.com/document/dingstart/robot-receive-message",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: true,
    max_media_bytes: None,
    answers_by_newest: true,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    // The `sessionWebhook` is the only way to a person outside the organization, and each message has a new one.
    refused_until_next: &["target_expired"],
    tasks_from_outside: false,
    modes: &[
        ModeManifest {
            mode: ConnectionMode::LongConnection,
            credentials: &[CLIENT_ID, CLIENT_SECRET, ROBOT_CODE, CARD_TEMPLATE_ID, CORP_ID],
            setup: &[
                Bilingual {
                    en: "Create an internal application in the developer console (open-dev.dingtalk.com) and add the robot ability to it.",
                    zh: "在开发者后台（open-dev.dingtalk.com）创建企业内部应用，并添加机器人能力。",
                },
                Bilingual {
                    en: "Set the robot's message receiving mode to Stream, and the event subscription's too if you use it.",
                    zh: "把机器人的消息接收模式设为 Stream 模式；如使用事件订阅，也设为 Stream 模式。",
                },
                Bilingual {
                    en: "Copy Client ID and Client Secret from the application's credentials page.",
                    zh: "从应用的“凭证与基础信息”页复制 Client ID 和 Client Secret。",
                },
                Bilingual {
                    en: "Apply for the permissions below and publish a version: before that nothing is pushed.",
                    zh: "申请下列权限并发布版本：在此之前平台不会推送任何消息。",
                },
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
        Bilingual {
            en: "Create an internal application in the developer console (open-dev.dingtalk.com) and add the robot ability to it.",
            zh: "在开发者后台（open-dev.dingtalk.com）创建企业内部应用，并添加机器人能力。",
        },
        Bilingual {
            en: "Set the robot's message receiving mode to HTTP and its address to the callback URL of this integration.",
            zh: "把机器人的消息接收模式设为 HTTP 模式，消息接收地址填本机器人的回调地址。",
        },
        Bilingual {
            en: "Copy Client ID and Client Secret from the application's credentials page.",
            zh: "从应用的“凭证与基础信息”页复制 Client ID 和 Client Secret。",
        },
        Bilingual {
            en: "Only if you subscribe to events over HTTP: set the same address there and copy token and AES key.",
            zh: "仅当以 HTTP 方式订阅事件时：在那里填同一地址，并复制签名 token 和加密 aes_key。",
        },
        Bilingual {
            en: "Apply for the permissions below and publish a version: before that nothing is pushed.",
            zh: "申请下列权限并发布版本：在此之前平台不会推送任何消息。",
        },
        CARD_SETUP,
    ],
    permissions: &["qyapi_robot_sendmsg", "Card.Instance.Write", "Card.Streaming.Write"],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    welcome: None,
    two_sockets: true,
    hears_groups: false,
    proactive: true,
    buttons: CardButtons::Links,
    sent_files: files::LIMITS,
    login: false,
};

/// A custom card template is optional: without it a public one is used.
const CARD_SETUP: Bilingual = Bilingual {
    en: "Recommended: make a card of the scene \"AI card\" in the card console, tie it to the application, bind its \
                          streaming component to the variable content, publish it and copy its id. Buttons with the ids like and dislike \
                          rate an answer.",
    zh: "建议：在卡片平台新建场景为“AI 卡片”的模板，关联该应用，把流式组件绑定到变量 content，发布后复制模板 ID。ID 为 like 和 dislike 的按钮用于评价回答。",
};

const CLIENT_ID: Field = Field {
    name: "clientId",
    secret: false,
    required: true,
    help: Bilingual {
        en: "Client ID (AppKey) on the application's credentials page.",
        zh: "应用“凭证与基础信息”页上的 Client ID（原 AppKey）。",
    },
};
const CLIENT_SECRET: Field = Field {
    name: "clientSecret",
    secret: true,
    required: true,
    help: Bilingual {
        en: "Client Secret (AppSecret) on the application's credentials page.",
        zh: "应用“凭证与基础信息”页上的 Client Secret（原 AppSecret）。",
    },
};
const ROBOT_CODE: Field = Field {
    name: "robotCode",
    secret: false,
    required: false,
    help: Bilingual {
        en: "RobotCode on the robot's page. Without it the Client ID is used, which is right for an application's own robot.",
        zh: "机器人页面上的 RobotCode。不填则使用 Client ID；对应用自己的机器人而言这是正确的。",
    },
};
const CARD_TEMPLATE_ID: Field = Field {
    name: "cardTemplateId",
    secret: false,
    required: false,
    help: Bilingual {
        en: "Id of a published AI card template, ending in .schema, whose streaming variable is content. Without it a public one is used.",
        zh: "已发布的 AI 卡片模板的 ID，以 .schema 结尾，流式变量为 content。不填则使用公共模板。",
    },
};
const CORP_ID: Field = Field {
    name: "corpId",
    secret: false,
    required: false,
    help: Bilingual {
        en: "CorpId of the organization. Only needed where event callbacks were registered with the old API.",
        zh: "企业的 CorpId。仅在用旧版 API 注册过事件回调时需要。",
    },
};
const TOKEN: Field = Field {
    name: "token",
    secret: true,
    required: false,
    help: Bilingual {
        en: "Signature token on the event subscription page, for events over HTTP.",
        zh: "事件订阅页上的签名 token，用于 HTTP 方式的事件。",
    },
};
const AES_KEY: Field = Field {
    name: "aesKey",
    secret: true,
    required: false,
    help: Bilingual {
        en: "AES key (43 characters) on the event subscription page, for events over HTTP.",
        zh: "事件订阅页上的加密 aes_key（43 个字符），用于 HTTP 方式的事件。",
    },
};

/// An update costs a call of the organization's monthly quota (5,000 in the standard edition), so long answers are shown in larger steps.
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
        // A robot that sends more than 20 messages a minute to a group is blocked for ten minutes. Each reply paces its own messages; this
        // counts those of all replies.
        Quota {
            name: "messages over sessionWebhook",
            scope: QuotaScope::Chat,
            sends: 18,
            per: Duration::from_mins(1),
            calls: Calls::Only(&["send_webhook"]),
        },
    ],
    source: "20 calls a second per application and API: https://open.dingtalk.com/document/development/call-frequency-limit; 20 messages \
             a minute per robot and group: https://open.dingtalk.com/document/development/custom-robots-send-group-messages; calls a \
             month: https://open.dingtalk.com/document/development/dingtalk-application-development-platform-billing-model; text: \
             https://open.dingtalk.com/document/development/the-robot-sends-a-group-message",
};

/// Quota of one API: for an application, shared by all its chats.
const fn per_api(name: &'static str, calls: &'static [&'static str]) -> Quota {
    Quota {
        name,
        scope: QuotaScope::Account,
        sends: 15,
        per: Duration::from_secs(1),
        calls: Calls::Only(calls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_webhooks_have_a_quota_for_each_chat() {
        let counting: Vec<_> = BUDGET
            .quotas
            .iter()
            .filter(|quota| quota.counts("send_webhook"))
            .collect();
        let [quota] = counting[..] else {
            panic!("one quota counts them: {counting:?}")
        };
        assert_eq!((quota.scope, quota.per), (QuotaScope::Chat, Duration::from_mins(1)));
        assert!(quota.sends < 20, "{}", quota.sends);
    }
}
