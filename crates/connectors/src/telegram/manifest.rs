//! Manifest of Telegram.

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
use super::media;
use super::pages::MAX_UNITS;
use super::settings::API;

pub(super) static MANIFEST: Manifest = Manifest {
    platform: "telegram",
    name: "Telegram",
    docs: "https://core.telegram.org/bots/api",
    proof: Proof::Platform,
    rate_hint: None,
    // A file's id is valid for as long as the bot exists.
    media_is_short_lived: false,
    max_media_bytes: Some(media::MAX_BYTES),
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: true,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[WEBHOOK, LONG_CONNECTION],
};

const BOT_TOKEN: Field = Field {
    name: "botToken",
    secret: true,
    required: true,
    help: Bilingual {
        en: "Token that @BotFather shows after /newbot, or later under /mybots, \"API Token\"; like 123456789:AAE...",
        zh: "@BotFather 在 /newbot 之后显示的令牌，之后也可在 /mybots 的“API Token”中查看；形如 123456789:AAE...",
    },
};

const ENDPOINTS: &[EndpointField] = &[EndpointField {
    name: "apiBase",
    default: API,
}];

/// See [Bots FAQ/My bot is hitting limits](https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this):
/// one message a second in a chat, 20 a minute in a group, 30 a second in all. Edits count as messages do.
const BUDGET: Budget = Budget {
    text: TextLimit {
        max: MAX_UNITS,
        unit: TextUnit::Utf16,
    },
    min_interval: Duration::from_millis(1100),
    slow_after: Duration::from_secs(60),
    slow_interval: Duration::from_secs(2),
    lifetime: None,
    max_updates: None,
    quotas: &[
        // Growing texts leave quota for final ones.
        Quota {
            name: "growing texts in a group",
            scope: QuotaScope::Chat,
            sends: 12,
            per: MINUTE,
            calls: Calls::Only(&["group_grow"]),
        },
        Quota {
            name: "messages in a group",
            scope: QuotaScope::Chat,
            sends: 20,
            per: MINUTE,
            calls: Calls::Only(&["group_send", "group_edit", "group_grow", "group_file"]),
        },
        Quota {
            name: "messages in all chats",
            scope: QuotaScope::Account,
            sends: 30,
            per: Duration::from_secs(1),
            calls: Calls::Only(&[
                "send",
                "edit",
                "draft",
                "file",
                "group_send",
                "group_edit",
                "group_grow",
                "group_file",
            ]),
        },
    ],
    source: "https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this",
};

const MINUTE: Duration = Duration::from_secs(60);

const CREATE: Bilingual = Bilingual {
    en: "In Telegram, open a chat with @BotFather, send /newbot, choose a name and a user name that ends in \"bot\", and copy the token.",
    zh: "在 Telegram 中打开与 @BotFather 的聊天，发送 /newbot，取一个名称和一个以“bot”结尾的用户名，复制令牌。",
};
const GROUPS: Bilingual = Bilingual {
    en: "For groups: @BotFather, /mybots, the bot, \"Bot Settings\", \"Allow Groups?\" must be on. Privacy mode can stay on: the bot then receives only what is meant for it. After a change of \"Group Privacy\" remove the bot from the group and add it again.",
    zh: "用于群组时：@BotFather 的 /mybots 中选择该机器人，“Bot Settings”里的“Allow Groups?”须打开。隐私模式（Group Privacy）可以保持打开：机器人只会收到发给它的消息。更改“Group Privacy”之后，请把机器人移出群组再重新加入。",
};

const WEBHOOK: ModeManifest = ModeManifest {
    mode: ConnectionMode::Webhook,
    credentials: &[BOT_TOKEN],
    endpoints: ENDPOINTS,
    setup: &[
        CREATE,
        Bilingual {
            en: "Make the bridge reachable over HTTPS on port 443, 80, 88 or 8443 with a certificate of a public authority, and start it with that address (--public-url).",
            zh: "让网桥可通过 HTTPS 的 443、80、88 或 8443 端口访问，证书须由公共机构签发，并以该地址启动（--public-url）。",
        },
        Bilingual {
            en: "Save this integration: the bridge registers its webhook, the webhook's secret and the menu of commands itself. A webhook that another program has set for the bot is replaced.",
            zh: "保存本机器人：webhook、webhook 密钥和命令菜单都由网桥注册。其他程序为该机器人设置的 webhook 会被替换。",
        },
        GROUPS,
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
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

const LONG_CONNECTION: ModeManifest = ModeManifest {
    mode: ConnectionMode::LongConnection,
    credentials: &[BOT_TOKEN],
    endpoints: ENDPOINTS,
    setup: &[
        CREATE,
        Bilingual {
            en: "Save this integration: the bridge fetches updates by long polling and needs no public address. No other program may do so for the same bot, and none may have set a webhook: such a webhook is removed with the method deleteWebhook.",
            zh: "保存本机器人：网桥以长轮询获取更新，不需要公网地址。同一机器人不能再有其他程序轮询，也不能设置 webhook：已有的 webhook 用 deleteWebhook 方法删除。",
        },
        GROUPS,
    ],
    permissions: &[],
    delivery: Delivery::Push,
    merged: Merged::Nothing,
    waiting_sign: WaitingSign::Nothing,
    reasoning: ReasoningDetail::Hidden,
    budget: BUDGET,
    welcome: Some(BUDGET.text),
    // A second poller aborts the first one's request.
    two_sockets: false,
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
    fn growing_texts_in_a_group_leave_quota_for_final_ones() {
        check("send", &[QuotaScope::Account]);
        check("draft", &[QuotaScope::Account]);
        check("group_send", &[QuotaScope::Chat, QuotaScope::Account]);
        check("group_grow", &[QuotaScope::Chat, QuotaScope::Chat, QuotaScope::Account]);
        check("typing", &[]);
        check("answer_query", &[]);
        assert!(BUDGET.quotas[0].sends < BUDGET.quotas[1].sends);
    }
}
