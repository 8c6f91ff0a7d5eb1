//! Proactive messages: sent by an operator or a program, not in reply to a message.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tieline_bridge::accounts;
use tieline_bridge::error_chain::chain;
use tieline_bridge::media;
use tieline_bridge::proactive::{self, Content, Recipient, SpeakError};
use tieline_core::account::{ConnectionMode, Endpoints};
use tieline_core::agent::AgentEvent;
use tieline_core::card::{Card, CardError};
use tieline_core::ids::{ChatId, IntegrationId, SenderId, digest};
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::reply::ReplyFile;
use tieline_store::config::user;
use tracing::error;
use utoipa::ToSchema;

use super::{find, status, view};
use crate::audit::{self, Change};
use crate::auth::Scope;
use crate::body::Body;
use crate::fresh::Fresh;
use crate::messages::MessageView;
use crate::path::Id;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;
use crate::validation::{self, Protocol};

/// Maximum length of a text, in bytes. Connectors split it as their platform requires.
const MAX_TEXT_BYTES: usize = 200_000;
/// Maximum number of files in a message.
const MAX_FILES: usize = 10;
/// Maximum length of a file name, in characters.
const MAX_NAME_CHARS: usize = 200;

/// A proactive message, to a chat or to a person.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProactiveMessage {
    /// The platform's id of the chat.
    chat_id: Option<String>,
    /// The platform's id of the person, instead of `chatId`.
    user_id: Option<String>,
    /// Markdown.
    text: Option<String>,
    /// A card, instead of `text`: shown as the platform's own card, or as text with links if it has none.
    #[schema(value_type = Option<schema::Card>)]
    card: Option<Value>,
    /// Files, with or without a `text`: shown as links with their names, or as the platform shows files of answers.
    #[schema(max_items = 10)]
    files: Option<Vec<MessageFile>>,
}

/// A file of a message: by URL, or by content, which is stored for seven days.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MessageFile {
    /// The URL of the file.
    url: Option<String>,
    /// Its content in base64, instead of `url`.
    bytes: Option<String>,
    /// Its name.
    name: String,
    /// Its MIME type. Default: `application/octet-stream`.
    mime: Option<String>,
}

/// Sends a proactive message. The message's steps in the ledger show the result.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/messages", tag = "integrations",
    request_body = ProactiveMessage, responses((status = 202, body = MessageView),
        (status = 409, body = Problem, description = "`not_supported`: the bot can only answer; `integration_stopped`; `config_invalid`")))]
pub(crate) async fn say(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    fresh: Fresh,
    Body(said): Body<ProactiveMessage>,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    let record = find(&state, &scope, &id).await?;
    let (to, content, files) = read(said, state.allow_private())?;
    check_proactive(&state, (&record.platform, record.mode, &record.endpoints))?;
    if !record.enabled {
        return Err(Problem::conflict("integration_stopped", "the integration is stopped"));
    }
    let bot = accounts::open(&state.world, &record)
        .map_err(|error| Problem::conflict("config_invalid", status::unusable_because(&error)))?;
    let noted = match &to {
        Recipient::Chat(chat) => addressed(&record.id, Some(chat.as_str()), None),
        Recipient::Person(person) => addressed(&record.id, None, Some(person.as_str())),
    };
    let change = Change::of("message.send", view::target(&record)).to(audit::shown(noted));
    scope.note(&state, change).await?;
    let content = with_files(&state, &scope, content, files).await?;
    let kept = proactive::speak(&state.world, &bot, to, content, fresh.bytes())
        .await
        .map_err(explain)?;
    Ok((StatusCode::ACCEPTED, Json(MessageView::of(kept))))
}

/// The recipient of a message, for the audit log: a person's id in the API, and a digest of a chat. Never the platform's own ids, because the log
/// outlives a person who is erased, and some platforms name a direct chat by the person in it.
pub(crate) fn addressed(bot: &IntegrationId, chat: Option<&str>, person: Option<&str>) -> Value {
    json!({
        "chat": chat.map(|chat| format!("chat_{}", digest(&[bot.as_str(), chat]))),
        "userId": person.map(|person| user::id_of(bot, &SenderId::new(person))),
    })
}

fn read(said: ProactiveMessage, allowed: &PrivateEndpoints) -> Result<(Recipient, Content, Vec<AgentEvent>), Problem> {
    let to = match (
        validation::optional_text(said.chat_id),
        validation::optional_text(said.user_id),
    ) {
        (Some(chat), None) => Recipient::Chat(ChatId::new(chat)),
        (None, Some(person)) => Recipient::Person(SenderId::new(person)),
        (None, None) => return Err(Problem::invalid("chatId", "or userId is required")),
        (Some(_), Some(_)) => return Err(Problem::invalid("userId", "can't be combined with chatId")),
    };
    let files = files(said.files.unwrap_or_default(), allowed)?;
    if !files.is_empty() && said.card.is_some() {
        return Err(Problem::invalid("files", "can't be combined with card"));
    }
    let content = match (&said.text, files.is_empty()) {
        (None, false) => Content::Text(String::new()),
        _ => read_content(said.text, said.card, allowed.allows_plain())?,
    };
    Ok((to, content, files))
}

/// The files of a message as agent events.
fn files(given: Vec<MessageFile>, allowed: &PrivateEndpoints) -> Result<Vec<AgentEvent>, Problem> {
    if given.len() > MAX_FILES {
        return Err(Problem::invalid(
            "files",
            &format!("must have at most {MAX_FILES} items"),
        ));
    }
    let read = |(at, file): (usize, MessageFile)| {
        let invalid = |field: &str, reason: &str| Problem::invalid(format!("files[{at}].{field}"), reason);
        let name = file.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(invalid(
                "name",
                "must have 1 to 200 characters and no control characters",
            ));
        }
        let mime = validation::optional_text(file.mime).unwrap_or_else(|| "application/octet-stream".to_owned());
        match (validation::optional_text(file.url), file.bytes) {
            (Some(url), None) => {
                validation::address(&format!("files[{at}].url"), &url, Protocol::Http, allowed)?;
                Ok(AgentEvent::File(ReplyFile { url, name, mime }))
            }
            (None, Some(bytes)) => match STANDARD.decode(bytes) {
                Ok(bytes) if !bytes.is_empty() => Ok(AgentEvent::FileBytes { bytes, name, mime }),
                _ => Err(invalid("bytes", "must be base64 and not empty")),
            },
            _ => Err(invalid("url", "or bytes is required, and only one of them")),
        }
    };
    given.into_iter().enumerate().map(read).collect()
}

/// The content with its files; files given by content are stored first.
async fn with_files(
    state: &AdminState,
    scope: &Scope,
    content: Content,
    files: Vec<AgentEvent>,
) -> Result<Content, Problem> {
    let mut kept = Vec::with_capacity(files.len());
    for file in files {
        if let AgentEvent::File(file) = media::keep(&state.world, &scope.organization, file).await? {
            kept.push(file);
        }
    }
    Ok(match content {
        Content::Text(text) if !kept.is_empty() => Content::Files(text, kept),
        content => content,
    })
}

/// Refuses an integration whose bot can only answer: its platform doesn't allow proactive messages, or it lacks the endpoint to push to.
pub(crate) fn check_proactive(
    state: &AdminState,
    (platform, mode, endpoints): (&str, ConnectionMode, &Endpoints),
) -> Result<(), Problem> {
    let connector = state.world.connector(platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(mode));
    let detail = match mode
        .filter(|mode| mode.proactive)
        .map(|mode| mode.missing_endpoint(endpoints))
    {
        Some(None) => return Ok(()),
        Some(Some(endpoint)) => format!("without endpoints.{endpoint} the bot can only answer"),
        None => "the platform lets the bot only answer in this mode".to_owned(),
    };
    Err(Problem::conflict("not_supported", detail))
}

/// Validates the content of a message.
pub(crate) fn read_content(text: Option<String>, card: Option<Value>, allow_http: bool) -> Result<Content, Problem> {
    match (validation::optional_text(text), card) {
        (Some(text), None) if text.len() > MAX_TEXT_BYTES => {
            Err(Problem::invalid("text", "must have at most 200000 bytes"))
        }
        (Some(text), None) => Ok(Content::Text(text)),
        (None, Some(card)) => Ok(Content::Card(Card::read(&card, allow_http).map_err(explain_card)?)),
        (None, None) => Err(Problem::invalid("text", "or card is required")),
        (Some(_), Some(_)) => Err(Problem::invalid("card", "can't be combined with text")),
    }
}

fn explain_card(error: CardError) -> Problem {
    match error {
        CardError::Unknown(field) => Problem::unknown(field),
        CardError::Field { field, reason } => Problem::invalid(field, &reason),
    }
}

fn explain(failure: SpeakError) -> Problem {
    match failure {
        SpeakError::Store(failure) => failure.into(),
        SpeakError::Queue(failure) => {
            error!(error = %chain(&failure), "queue can't be reached");
            Problem::unavailable("the queue can't be reached; try again")
        }
    }
}
