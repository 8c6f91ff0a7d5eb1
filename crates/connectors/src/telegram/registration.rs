//! Registration when the integration starts: our callback address, and the bot's menu of commands.

use serde_json::json;
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::http_types::HttpCall;

use super::{settings, verify};

/// Kinds of update that are used. The list replaces the one before, and others are not sent.
///
/// See [Bot API/Update](https://core.telegram.org/bots/api#update).
pub(super) const UPDATES: [&str; 4] = [
    "message",
    "callback_query",
    "my_chat_member",
    "stopped_message_generation",
];
/// Parallel requests that the platform may make.
const MAX_CONNECTIONS: u32 = 40;

/// The bot's menu: command, what it does in English and in Chinese.
const COMMANDS: [(&str, &str, &str); 4] = [
    ("new", "Start a new session", "开始新会话"),
    ("stop", "Stop the running answer", "停止正在生成的回答"),
    ("status", "Show what is going on", "查看当前状态"),
    ("help", "Show all commands", "查看所有命令"),
];

/// The calls, in order. Updates that wait at the platform are kept.
pub(super) fn calls(callback_url: &str, account: &Account) -> Vec<HttpCall> {
    let webhook = || {
        let parameters = json!({
            "url": callback_url,
            "secret_token": verify::secret(account).expose(),
            "allowed_updates": UPDATES,
            "max_connections": MAX_CONNECTIONS,
        });
        settings::call(account, "set_webhook", "setWebhook", &parameters)
    };
    let webhook = (account.mode == ConnectionMode::Webhook).then(webhook);
    webhook
        .into_iter()
        .chain([menu(account, None), menu(account, Some("zh"))])
        .collect()
}

/// The menu that clients show in a language; without one, that of all others.
///
/// See [Bot API/setMyCommands](https://core.telegram.org/bots/api#setmycommands).
fn menu(account: &Account, language: Option<&str>) -> HttpCall {
    let command = |(command, english, chinese): (&str, &str, &str)| {
        let description = if language.is_some() { chinese } else { english };
        json!({ "command": command, "description": description })
    };
    let mut parameters = json!({ "commands": COMMANDS.map(command) });
    if let Some(language) = language {
        parameters["language_code"] = json!(language);
    }
    settings::call(account, "set_commands", "setMyCommands", &parameters)
}
