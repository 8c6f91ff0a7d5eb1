//! Words of the API whose types live in crates that know no OpenAPI. Only for the description; nothing is read into them.
#![expect(dead_code, reason = "only described, never made")]

use utoipa::ToSchema;

/// How an integration is connected.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ConnectionMode {
    /// The platform calls us over HTTP.
    Webhook,
    /// We hold a connection to the platform open.
    LongConnection,
}

/// The language of our own sentences in the chat.
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
    /// The line that it has come to.
    Brief,
    /// All of it, or its end where it is long.
    Full,
}

/// Whether a sign says that the agent is at it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ThinkingSign {
    On,
    /// Not shown, but where the platform's protocol begins an answer with one.
    Off,
}

/// What becomes of the messages of a person whom the mapper doesn't know.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum UnknownPolicy {
    /// They are answered.
    Allow,
    /// They are refused, with a notice.
    Refuse,
}

/// What a mapper says of an account.
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

/// How a connection is.
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

/// How far the processing of a message is. All but `queued` and `running` are terminal.
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

/// What the owner of a token may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Role {
    /// All within the organization.
    Admin,
    /// Look.
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

/// What a check found.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum CheckLevel {
    /// As it should be.
    Ok,
    /// It works, and is worth attention.
    Warning,
    /// It has to be mended.
    Failed,
    /// It could not be found out.
    Unknown,
}

/// What is done to credentials in what people write.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Incoming {
    /// Nothing.
    Off,
    /// The agent gets them; the person is warned below the answer.
    Warn,
    /// They are masked before anything is kept; the person is told so below the answer.
    Mask,
}

/// What is done to credentials in what agents write.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Outgoing {
    /// Nothing.
    Off,
    /// They are masked before anything is shown or kept.
    Mask,
}

/// Who shares a conversation in a group.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum SessionScope {
    /// Each person has their own.
    Sender,
    /// The whole chat has one.
    Chat,
}

/// Which people a message is said to.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Everybody {
    /// Those who are linked to a known person.
    Linked,
}

/// How far a scheduled message is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ScheduledState {
    /// Its time has not come, or it is being said to many.
    Waiting,
    /// It was said to all.
    Said,
    /// An operator has cancelled it.
    Cancelled,
    /// It can't be said.
    Failed,
}

/// Which messages in groups are answered.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum GroupMessages {
    /// Those that mention the bot or reply to it.
    Mentioned,
    /// All that the platform delivers.
    All,
}

/// What a message does to a running answer.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BusyPolicy {
    /// It waits.
    Queue,
    /// It stops the answer.
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
    /// What a click says to the agent, as the person who clicks.
    #[schema(max_length = 500)]
    value: Option<String>,
}
