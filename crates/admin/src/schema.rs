//! OpenAPI schemas of API types that live in crates without OpenAPI. Only for the description; never constructed or parsed.
#![expect(dead_code, reason = "only described, never made")]

use utoipa::ToSchema;

/// How an integration is connected.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ConnectionMode {
    /// The platform calls us over HTTP.
    Webhook,
    /// We keep a connection to the platform open.
    LongConnection,
}

/// The language of notices in the chat.
#[derive(ToSchema)]
pub(crate) enum Language {
    #[schema(rename = "en")]
    English,
    #[schema(rename = "zh-CN")]
    Chinese,
}

/// How much of an agent's reasoning is shown before its text begins.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ReasoningDetail {
    Hidden,
    /// A line with its conclusion.
    Brief,
    /// All of it, or its end if it is long.
    Full,
}

/// Whether a sign shows that the agent is working.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ThinkingSign {
    On,
    /// Not shown, except where the platform's protocol starts an answer with one.
    Off,
}

/// What happens to messages of a person the mapper doesn't know.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum UnknownPolicy {
    /// They are answered.
    Allow,
    /// They are refused, with a notice.
    Refuse,
}

/// A mapper's answer about an account.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum MapperAnswer {
    Person,
    Unknown,
}

/// Who has linked an account to a known person.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum LinkedBy {
    /// An operator, or a person with an operator's code.
    Operator,
    /// The organization's mapper.
    Mapper,
}

/// The state of a connection.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ConnectionState {
    Connected,
    /// Connected, but its newest answers fail.
    Degraded,
    Connecting,
    Retrying,
    Disconnected,
    Disabled,
    NeedsLogin,
}

/// The processing state of a message. All but `queued` and `running` are terminal.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum MessageState {
    Queued,
    Running,
    Answered,
    Commanded,
    Stopped,
    Dropped,
    Refused,
    Failed,
}

/// What a token allows.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Everything within the organization.
    Admin,
    /// Read only.
    Viewer,
}

/// Level of a log entry.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// Result of a check.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum CheckLevel {
    /// As it should be.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// It must be fixed.
    Failed,
    /// The result is unknown.
    Unknown,
}

/// What happens to credentials in messages of people.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Incoming {
    /// Nothing.
    Off,
    /// The agent receives them; the person is warned below the answer.
    Warn,
    /// They are masked before anything is stored; a line below the answer informs the person.
    Mask,
}

/// What happens to credentials in answers of agents.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Outgoing {
    /// Nothing.
    Off,
    /// They are masked before anything is shown or stored.
    Mask,
}

/// Who shares a conversation in a group.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum SessionScope {
    /// Each person has their own conversation.
    Sender,
    /// The whole chat shares one conversation.
    Chat,
}

/// The recipients of a broadcast.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Everybody {
    /// People who are linked to a known person.
    Linked,
}

/// The state of a scheduled message.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ScheduledState {
    /// It isn't due yet, or a broadcast is in progress.
    Waiting,
    /// It was sent to all recipients.
    Said,
    /// An operator cancelled it.
    Cancelled,
    /// It can't be sent.
    Failed,
}

/// Which messages in groups are answered.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum GroupMessages {
    /// Those that mention the bot or reply to it.
    Mentioned,
    /// All messages that the platform delivers.
    All,
}

/// What a message does while a run is in progress.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BusyPolicy {
    /// It waits.
    Queue,
    /// It interrupts the run.
    Interrupt,
}

/// A card. Addresses of buttons are https addresses.
#[derive(ToSchema)]
pub(crate) struct Card {
    /// One line, no Markdown.
    #[schema(max_length = 100)]
    title: Option<String>,
    /// Markdown.
    #[schema(max_length = 4000)]
    text: String,
    #[schema(max_items = 10)]
    fields: Option<Vec<CardField>>,
    #[schema(max_items = 5)]
    buttons: Option<Vec<CardButton>>,
}

/// A named value, listed below the text.
#[derive(ToSchema)]
pub(crate) struct CardField {
    #[schema(max_length = 50)]
    name: String,
    #[schema(max_length = 500)]
    value: String,
}

/// A button: with either `url` or `value`.
#[derive(ToSchema)]
pub(crate) struct CardButton {
    /// One line, no Markdown.
    #[schema(max_length = 40)]
    text: String,
    /// The address that a click opens.
    #[schema(max_length = 500)]
    url: Option<String>,
    /// The text that a click sends to the agent, on behalf of the person who clicks.
    #[schema(max_length = 500)]
    value: Option<String>,
}
