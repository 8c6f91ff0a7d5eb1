//! Notices: texts of the bridge to people in a chat.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::reference::Reference;

/// The language of an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[default]
    #[serde(rename = "zh-CN")]
    Chinese,
}

impl Language {
    /// The tag used in the API and toward agents.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }
}

/// A notice of the bridge. Chosen by `match`, never an error's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A new session was started.
    NewSession,
    /// No agent is bound to the bot.
    Unbound,
    /// The bot's agent is switched off.
    Disabled,
    /// The person or chat may not use the bot.
    NotAllowed,
    /// The agent can't be reached or gave up.
    AgentFailed,
    /// The agent took too long.
    AgentTimedOut,
    /// The answer broke off.
    Incomplete,
    /// The answer was stopped.
    Stopped,
    /// Nothing to stop.
    NothingToStop,
    /// Too many messages are pending.
    Busy,
    /// The answer is shown below, under a later message.
    AnsweredBelow,
    /// The answer continues in another message.
    Continued,
    /// The stream has expired.
    Expired,
    /// The agent sent no text.
    EmptyAnswer,
    /// The rest is behind a link.
    RestBehindLink,
    /// The platform blocked the answer, which is behind a link.
    BlockedBehindLink,
    /// The platform blocked the answer.
    Blocked,
    /// The button that was clicked is too old.
    StaleClick,
    /// The agent is working on it.
    Thinking,
    /// The available commands.
    Help,
    /// An answer is running.
    StatusRunning,
    /// No answer is running.
    StatusIdle,
    /// The message is too old.
    Stale,
    /// The command needs a direct chat.
    OnlyDirect,
    /// The earlier conversation at the agent is lost; a new one was started.
    ConversationLost,
    /// The message kind can't be read.
    Unsupported,
    /// Label of a button that starts a new session.
    ButtonNewSession,
    /// Label of a button that stops the running answer.
    ButtonStop,
    /// A button below another person's answer was pressed.
    NotYourButton,
    /// The title of buttons without a text.
    Choose,
    /// A button of a card that is no longer stored was pressed.
    ButtonGone,
    /// A message contained a credential, which was sent to the agent.
    CredentialSeen,
    /// A message contained a credential, which was not sent to the agent.
    CredentialHidden,
}

impl Notice {
    /// The text.
    #[must_use]
    pub const fn text(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        }
    }

    /// The text, with the reference number by which operators find the message, if there is one.
    #[must_use]
    pub fn referring(self, reference: Option<Reference>, language: Language) -> Cow<'static, str> {
        let text = self.text(language);
        match (reference, language) {
            (None, _) => text.into(),
            (Some(reference), Language::English) => format!("{text} (Ref {reference})").into(),
            (Some(reference), Language::Chinese) => format!("{text}（编号 {reference}）").into(),
        }
    }

    /// Whether it means that an answer is missing or incomplete, so that people will ask for it.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::AgentFailed | Self::AgentTimedOut | Self::Incomplete | Self::EmptyAnswer
        )
    }

    const fn english(self) -> &'static str {
        match self {
            Self::NewSession => "A new session has begun.",
            Self::Unbound => "This bot has no agent yet. Please ask your administrator to bind one.",
            Self::Disabled => "This bot is switched off at the moment. Please ask your administrator.",
            Self::NotAllowed => "You are not allowed to use this bot here. Please ask your administrator.",
            Self::AgentFailed => "The agent could not answer. Please try again later.",
            Self::AgentTimedOut => "The agent took too long to answer. Please try again later.",
            Self::Incomplete => "(The answer broke off here.)",
            Self::Stopped => "(Stopped.)",
            Self::NothingToStop => "No answer is running.",
            Self::Busy => "Too many messages are waiting. Please try again in a moment.",
            Self::AnsweredBelow => "Answered below.",
            Self::Continued => "(Continued in the next message.)",
            Self::Expired => "This answer is no longer available.",
            Self::EmptyAnswer => "The agent finished without an answer.",
            Self::RestBehindLink => "The whole answer:",
            Self::BlockedBehindLink => "The platform blocked this answer. It can be read here:",
            Self::Blocked => "The platform blocked this answer.",
            Self::StaleClick => "This button is too old. Please send /new instead.",
            Self::Thinking => "Thinking…",
            Self::Help => {
                "/new starts a new session (text after it is the first question).\n/stop stops the running answer.\n/status tells what is going on.\n/help shows this."
            }
            Self::StatusRunning => "An answer is being written.",
            Self::StatusIdle => "No answer is running.",
            Self::Stale => "This message is too old to be answered. Please send it again.",
            Self::OnlyDirect => "This works only in a direct chat with the bot.",
            Self::ConversationLost => "(The earlier conversation is gone; this is a new one.)",
            Self::Unsupported => "This kind of message can't be read here.",
            Self::ButtonNewSession => "New session",
            Self::ButtonStop => "Stop",
            Self::NotYourButton => "Only the person who asked can use this button.",
            Self::Choose => "Please choose",
            Self::ButtonGone => "This button no longer works.",
            Self::CredentialSeen => {
                "(Your message contains what looks like a key or a password. Please delete it and have it changed.)"
            }
            Self::CredentialHidden => {
                "(What looks like a key or a password in your message was hidden from the agent. Please delete it there.)"
            }
        }
    }

    const fn chinese(self) -> &'static str {
        match self {
            Self::NewSession => "已开始新会话。",
            Self::Unbound => "该机器人尚未绑定智能体，请联系管理员。",
            Self::Disabled => "该机器人已停用，请联系管理员。",
            Self::NotAllowed => "您没有权限在此使用该机器人，请联系管理员。",
            Self::AgentFailed => "智能体未能回答，请稍后再试。",
            Self::AgentTimedOut => "智能体响应超时，请稍后再试。",
            Self::Incomplete => "（回答在此中断。）",
            Self::Stopped => "（已停止。）",
            Self::NothingToStop => "当前没有正在生成的回答。",
            Self::Busy => "等待处理的消息过多，请稍后再试。",
            Self::AnsweredBelow => "已在下方回答。",
            Self::Continued => "（未完，见下一条消息。）",
            Self::Expired => "该回答已失效。",
            Self::EmptyAnswer => "智能体没有给出回答。",
            Self::RestBehindLink => "完整回答：",
            Self::BlockedBehindLink => "该回答被平台拦截，可在此查看：",
            Self::Blocked => "该回答被平台拦截。",
            Self::StaleClick => "该按钮已过期，请发送 /new。",
            Self::Thinking => "正在思考…",
            Self::Help => {
                "/new 开始新会话（其后的文字作为第一个问题）。\n/stop 停止正在生成的回答。\n/status 查看当前状态。\n/help 显示本帮助。"
            }
            Self::StatusRunning => "正在生成回答。",
            Self::StatusIdle => "当前没有正在生成的回答。",
            Self::Stale => "消息已过期，请重新发送。",
            Self::OnlyDirect => "该功能仅支持与机器人单聊时使用。",
            Self::ConversationLost => "（之前的对话已失效，已开始新的对话。）",
            Self::Unsupported => "暂不支持该类型的消息。",
            Self::ButtonNewSession => "新会话",
            Self::ButtonStop => "停止",
            Self::NotYourButton => "只有提问者可以使用此按钮。",
            Self::Choose => "请选择",
            Self::ButtonGone => "该按钮已失效。",
            Self::CredentialSeen => "（您的消息中似乎包含密钥或密码，请撤回该消息并尽快更换。）",
            Self::CredentialHidden => "（您的消息中似乎包含密钥或密码，已对智能体隐藏，请撤回该消息。）",
        }
    }
}
