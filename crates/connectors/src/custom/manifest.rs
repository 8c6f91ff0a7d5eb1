//! Manifest of custom platforms.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, SentFiles, WaitingSign,
};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

/// The endpoint where replies are posted.
pub(super) const SEND_URL: &str = "sendUrl";

/// Manifest of platforms that connect themselves.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "custom",
    name: "Custom platform",
    docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[ModeManifest {
        mode: ConnectionMode::Webhook,
        credentials: &[
            Field {
                name: "secret",
                secret: true,
                required: true,
                help: Bilingual {
                    en: "What both sides sign with: whsec_ and at least 24 random bytes in base64. Several, separated by spaces, \
                       while it is being changed: any of them proves a message, all of them sign a reply.",
                    zh: "双方签名所用的密钥：whsec_ 加至少 24 个随机字节的 base64。更换期间可填多个，用空格分隔：任何一个都能验证消息，回复则用全部密钥签名。",
                },
            },
            Field {
                name: "name",
                secret: false,
                required: false,
                help: Bilingual {
                    en: "The bot's name in groups, without @, so that its mention is recognized and removed from the text.",
                    zh: "机器人在群里的名称，不带 @，用来识别对它的提及并从文本中去掉。",
                },
            },
        ],
        endpoints: &[EndpointField {
            name: SEND_URL,
            default: "",
        }],
        setup: &[
            Bilingual {
                en: "Choose a secret: whsec_ followed by 24 or more random bytes in base64. Your program and this integration share it.",
                zh: "选定一个密钥：whsec_ 后接 24 个以上随机字节的 base64。您的程序与本机器人共用它。",
            },
            Bilingual {
                en: "Have your program post each message, signed, to this integration's callback URL (docs/platforms/custom.md).",
                zh: "让您的程序把每条消息签名后 POST 到本机器人的回调地址（见 docs/platforms/custom.md）。",
            },
            Bilingual {
                en: "To be sent replies while they grow, set the endpoint sendUrl to an address of your program that accepts signed posts.",
                zh: "如需在回复生成过程中陆续收到内容，请把端点 sendUrl 设为您的程序接收签名 POST 的地址。",
            },
            Bilingual {
                en: "Without sendUrl, have your program ask the callback URL for the reply of each message until it is done.",
                zh: "不设 sendUrl 时，让您的程序向回调地址查询每条消息的回复，直到完成。",
            },
        ],
        permissions: &[],
        delivery: Delivery::PushTo {
            endpoint: SEND_URL,
            lifetime: Duration::from_secs(24 * 60 * 60),
        },
        merged: Merged::SameAnswer,
        waiting_sign: WaitingSign::Nothing,
        reasoning: ReasoningDetail::Hidden,
        budget: Budget {
            // The program decides how it shows a text.
            text: TextLimit {
                max: MAX_ANSWER_BYTES,
                unit: TextUnit::Bytes,
            },
            // Each snapshot is a request with the whole text.
            min_interval: Duration::from_millis(750),
            slow_after: Duration::from_secs(30),
            slow_interval: Duration::from_secs(2),
            lifetime: None,
            max_updates: None,
            quotas: &[],
            source: "our own interface: docs/platforms/custom.md",
        },
        welcome: None,
        two_sockets: true,
        hears_groups: true,
        proactive: true,
        buttons: CardButtons::All,
        sent_files: SentFiles::NONE,
        login: false,
    }],
};
