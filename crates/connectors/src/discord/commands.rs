//! Slash commands: their registration, and the text or action of each.

use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::HttpCall;

use super::settings::{Settings, address};
use super::{EPHEMERAL, call};

/// Longest question that a slash command can carry.
///
/// See [Discord Docs/Application Command Option Structure](https://discord.com/developers/docs/interactions/application-commands#application-command-object-application-command-option-structure).
const MAX_PROMPT: u32 = 6000;

/// Types of a command's option.
///
/// See [Discord Docs/Application Command Option Type](https://discord.com/developers/docs/interactions/application-commands#application-command-object-application-command-option-type).
pub(super) const TEXT_OPTION: u8 = 3;
pub(super) const FILE_OPTION: u8 = 11;

/// A slash command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Ask,
    New,
    Stop,
    Status,
    Help,
}

const ALL: [Command; 5] = [
    Command::Ask,
    Command::New,
    Command::Stop,
    Command::Status,
    Command::Help,
];

impl Command {
    pub(super) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|command| command.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::New => "new",
            Self::Stop => "stop",
            Self::Status => "status",
            Self::Help => "help",
        }
    }

    /// The text that the command stands for. `None` for a question without text.
    pub(super) fn text(self, prompt: &str) -> Option<String> {
        match self {
            Self::Ask if prompt.is_empty() => None,
            Self::Ask => Some(prompt.to_owned()),
            Self::New => Some(format!("/new {prompt}").trim_end().to_owned()),
            Self::Stop | Self::Status | Self::Help => Some(format!("/{}", self.name())),
        }
    }

    /// The initial response: the answer comes later. Responses that concern only the caller are visible only to them.
    pub(super) fn response(self) -> Value {
        match self {
            Self::Ask | Self::New => json!({ "type": 5 }),
            Self::Stop | Self::Status | Self::Help => json!({ "type": 5, "data": { "flags": EPHEMERAL } }),
        }
    }

    const fn english(self) -> &'static str {
        match self {
            Self::Ask => "Ask the agent",
            Self::New => "Start a new session",
            Self::Stop => "Stop the running answer",
            Self::Status => "Show whether an answer is running",
            Self::Help => "Show what the bot can do",
        }
    }

    const fn chinese(self) -> &'static str {
        match self {
            Self::Ask => "向智能体提问",
            Self::New => "开始新会话",
            Self::Stop => "停止正在生成的回答",
            Self::Status => "查看是否有回答正在生成",
            Self::Help => "查看机器人的用法",
        }
    }

    fn definition(self) -> Value {
        let mut definition = json!({
            "name": self.name(),
            "type": 1,
            "description": self.english(),
            "description_localizations": { "zh-CN": self.chinese() },
            // In servers and in the direct chat with the bot, if the bot itself is installed.
            "contexts": [0, 1],
            "integration_types": [0],
        });
        if matches!(self, Self::Ask | Self::New) {
            let prompt = json!({
                "name": "prompt",
                "type": TEXT_OPTION,
                "description": "Your question",
                "description_localizations": { "zh-CN": "您的问题" },
                "required": self == Self::Ask,
                "max_length": MAX_PROMPT,
            });
            let file = json!({
                "name": "file",
                "type": FILE_OPTION,
                "description": "A picture or a file",
                "description_localizations": { "zh-CN": "图片或文件" },
                "required": false,
            });
            definition["options"] = json!([prompt, file]);
        }
        definition
    }
}

/// Registers the commands: the whole list, so the call is idempotent.
///
/// See [Discord Docs/Bulk Overwrite Global Application Commands](https://discord.com/developers/docs/interactions/application-commands#bulk-overwrite-global-application-commands).
pub(super) fn register(cx: &Context<'_>) -> HttpCall {
    let path = format!("/applications/{}/commands", Settings::of(cx.account).application);
    let definitions: Value = ALL.into_iter().map(Command::definition).collect();
    call::with_token(
        "register_commands",
        "PUT",
        address(cx.account, &path),
        Some(definitions),
        cx,
    )
}

/// Registers the URL that interactions are sent to, or none: then they come over the gateway. The platform tests a URL before it responds.
///
/// See [Discord Docs/Edit Current Application](https://discord.com/developers/docs/resources/application#edit-current-application).
pub(super) fn register_endpoint(callback_url: Option<&str>, cx: &Context<'_>) -> HttpCall {
    let body = json!({ "interactions_endpoint_url": callback_url });
    let url = address(cx.account, "/applications/@me");
    call::with_token("register_endpoint", "PATCH", url, Some(body), cx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_map_to_typed_text() {
        assert_eq!(Command::Ask.text("hi").as_deref(), Some("hi"));
        assert_eq!(Command::Ask.text(""), None);
        assert_eq!(Command::New.text("").as_deref(), Some("/new"));
        assert_eq!(Command::New.text("hi").as_deref(), Some("/new hi"));
        assert_eq!(Command::Status.text("").as_deref(), Some("/status"));
        assert_eq!(Command::named("ask"), Some(Command::Ask));
        assert_eq!(Command::named("ban"), None);
    }

    #[test]
    fn definitions_keep_the_platforms_limits() {
        for command in ALL {
            let definition = command.definition();
            let length = |text: &Value| text.as_str().unwrap().chars().count();
            assert!((1..=32).contains(&length(&definition["name"])));
            assert!((1..=100).contains(&length(&definition["description"])));
            assert!((1..=100).contains(&length(&definition["description_localizations"]["zh-CN"])));
        }
    }
}
