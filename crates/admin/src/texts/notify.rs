//! Sentences of incident notifications.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "notify_head",
        en: "Tieline, organization {organization}:",
        zh: "Tieline，组织 {organization}：",
    },
    Phrase {
        code: "notify_down",
        en: "{name} ({platform}) has been down since {since}. {next} {url}",
        zh: "{name}（{platform}）自 {since} 起已断线。{next} {url}",
    },
    Phrase {
        code: "notify_back",
        en: "{name} ({platform}) is up again. It had been down since {since}. {url}",
        zh: "{name}（{platform}）已恢复连接，断线始于 {since}。{url}",
    },
    Phrase {
        code: "notify_failing",
        en: "Answers of {name} ({platform}) have been failing since {since}. {next} {url}",
        zh: "{name}（{platform}）自 {since} 起回复失败。{next} {url}",
    },
    Phrase {
        code: "notify_answers_back",
        en: "Answers of {name} ({platform}) arrive again. They had been failing since {since}. {url}",
        zh: "{name}（{platform}）的回复已恢复正常，失败始于 {since}。{url}",
    },
    Phrase {
        code: "notify_letters",
        en: "{n} message(s) ended without an answer. See why, and redrive them: {url}",
        zh: "有 {n} 条消息未得到回复。请查看原因并重新处理：{url}",
    },
    Phrase {
        code: "notify_more",
        en: "{n} more, which the console shows.",
        zh: "另有 {n} 条，请在控制台查看。",
    },
    Phrase {
        code: "notify_test",
        en: "Tieline, organization {organization}: this is a test. Notifications arrive here.",
        zh: "Tieline，组织 {organization}：这是一条测试通知，通知会发送到这里。",
    },
];
