//! Registration when the integration starts: callback URL and command menu.

use serde_json::json;
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::http_types::HttpCall;

use super::{settings, verify};

/// Kinds of updates that we use. The list replaces the previous one; other updates are not sent.
///
/// See [Bot API/Update](https://core.telegram.org/bots/api#update).
pub(super) const UPDATES: [&str; 4] = [
    "message",
    "callback_query",
    "my_chat_member",
    "stopped_message_generation",
];
/// Largest number of parallel requests from the platform.
const MAX_CONNECTIONS: u32 = 40;

/// Command menu of the bot: command, description in English and in Chinese.
const COMMANDS: [(&str, &str, &str); 4] = [
    ("new", "Start a new session", "开始新会话"),
    ("stop", "Stop the running answer", "停止正在生成的回答"),
    ("status", "Show what is going on", "查看当前状态"),
    ("help", "Show all commands", "查看所有命令"),
];

/// The calls, in order. Updates pending at the platform are kept.
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

/// Menu for clients in a language; without one, the default menu.
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
