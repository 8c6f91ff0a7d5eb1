//! Manifest of Official Accounts.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{
    CardButtons, Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign,
};
use tieline_core::thinking_display::ReasoningDetail;

use super::compose::TEXT;
use super::files;
use super::settings::API_BASE;

/// Manifest of Official Accounts.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "wechat_mp",
    name: "WeChat Official Account (微信公众号)",
    docs: "https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: true,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &["45015_window_closed", "45047_message_quota_used_up", "target_expired"],
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
            help: Bilingual {
                en: "Developer ID (AppID), under Settings and Development, Basic Configuration.",
                zh: "开发者 ID（AppID），在“设置与开发”的“基本配置”中。",
            },
        },
        Field {
            name: "appSecret",
            secret: true,
            required: true,
            help: Bilingual {
                en: "Developer password (AppSecret) from the same page. It is shown once.",
                zh: "开发者密码（AppSecret），在同一页面。只显示一次。",
            },
        },
        Field {
            name: "token",
            secret: true,
            required: true,
            help: Bilingual {
                en: "Token, as you enter it in the server configuration on the same page: 3 to 32 letters and digits.",
                zh: "令牌（Token），与同一页面的服务器配置中所填的一致：3 到 32 个字母和数字。",
            },
        },
        Field {
            name: "encodingAesKey",
            secret: true,
            required: false,
            help: Bilingual {
                en: "EncodingAESKey from the server configuration: 43 characters. Needed for safe mode, which is recommended; with it messages in plain text are refused.",
                zh: "服务器配置中的消息加解密密钥（EncodingAESKey）：43 个字符。安全模式需要它，建议使用；填写后明文消息会被拒绝。",
            },
        },
        Field {
            name: "replies",
            secret: false,
            required: false,
            help: Bilingual {
                en: "Leave it out: the platform is asked. `customer_service`: answers of any duration, up to 5 messages. `passive`: for accounts without the customer-service API (48001); answers within 14 s come into the chat, later ones are behind a link.",
                zh: "请留空：由平台告知。`customer_service`：回答时长不限，最多 5 条消息。`passive`：用于没有客服消息接口（48001）的账号；14 秒内的回答直接进入聊天，之后的在链接后面。",
            },
        },
    ],
    endpoints: &[EndpointField {
        name: "apiBase",
        default: API_BASE,
    }],
    setup: &[
        Bilingual {
            en: "On mp.weixin.qq.com open Settings and Development, Basic Configuration; copy the AppID, and make an AppSecret.",
            zh: "在 mp.weixin.qq.com 打开“设置与开发”的“基本配置”；复制 AppID，生成 AppSecret。",
        },
        Bilingual {
            en: "On the same page add the address from which this bridge calls to the IP whitelist; without it every token is refused with 40164.",
            zh: "在同一页面把网桥的出口地址加入 IP 白名单；否则获取 access_token 都会被 40164 拒绝。",
        },
        Bilingual {
            en: "Open the server configuration, enter a Token of your own, make an EncodingAESKey, choose safe mode, and copy Token and key here.",
            zh: "打开服务器配置，自定一个令牌（Token），生成消息加解密密钥（EncodingAESKey），选择安全模式，并把两者复制到这里。",
        },
        Bilingual {
            en: "Copy this integration's callback URL there and submit: the platform asks the URL at once, so do this last. Then enable the configuration; automatic replies and the menu of the website are off from then on.",
            zh: "把本机器人的回调地址填到那里并提交：平台会立即访问该地址，所以请最后做这一步。然后启用配置；此后网站上的自动回复和菜单将失效。",
        },
        Bilingual {
            en: "Service accounts, and verified subscription accounts, answer by the customer-service API. Other subscription accounts can only answer the message itself: what an agent says within 14 s comes into the chat, what takes longer is behind a link in the chat.",
            zh: "服务号和已认证的订阅号用客服消息接口回答。其他订阅号只能被动回复：智能体在 14 秒内说的内容进入聊天，更久的在聊天中的链接后面。",
        },
    ],
    permissions: &["客服消息 (customer-service messages), for answers that take longer than 14 s"],
    delivery: Delivery::Push,
    merged: Merged::Note,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: Budget {
        text: TEXT,
        min_interval: Duration::from_secs(1),
        slow_after: Duration::from_secs(60),
        slow_interval: Duration::from_secs(1),
        // The typing indicator is shown for 15 s.
        lifetime: Some(Duration::from_secs(10)),
        max_updates: None,
        quotas: &[],
        source: "https://developers.weixin.qq.com/doc/offiaccount/Customer_Service/Customer_Service_Messages.html",
    },
    welcome: Some(TEXT),
    two_sockets: true,
    hears_groups: false,
    proactive: true,
    buttons: CardButtons::None,
    sent_files: files::LIMITS,
    login: false,
};
