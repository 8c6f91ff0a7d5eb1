//! Proactive messages: sent by an operator or a program, not in answer to one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tieline_bridge::accounts;
use tieline_bridge::error_chain::chain;
use tieline_bridge::proactive::{self, Content, Recipient, SpeakError};
use tieline_core::card::{Card, CardError};
use tieline_core::ids::{ChatId, SenderId};
use tieline_store::config::integration::IntegrationRecord;
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
use crate::validation;

/// Longest text, in bytes. Connectors split it as their platform needs.
const MAX_TEXT_BYTES: usize = 200_000;

/// A proactive message: into a chat, or to a person.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProactiveMessage {
    /// The platform's id of the chat.
    chat_id: Option<String>,
    /// The platform's id of the person, in place of `chatId`.
    user_id: Option<String>,
    /// Markdown.
    text: Option<String>,
    /// A card, in place of `text`: shown as the platform's own card, or as text with links where it has none.
    #[schema(value_type = Option<schema::Card>)]
    card: Option<Value>,
}

/// Says something without being asked. The message's steps tell what came of it.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/messages", tag = "integrations",
    request_body = ProactiveMessage, responses((status = 202, body = MessageView),
        (status = 409, body = Problem, description = "`not_supported`: the platform can't in this mode; `integration_stopped`; `config_invalid`")))]
pub(crate) async fn say(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    fresh: Fresh,
    Body(said): Body<ProactiveMessage>,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    let record = find(&state, &scope, &id).await?;
    let (to, content) = read(said, state.world.settings.allow_private)?;
    check_proactive(&state, &record)?;
    if !record.enabled {
        return Err(Problem::conflict("integration_stopped", "the integration is stopped"));
    }
    let bot = accounts::open(&state.world, &record)
        .map_err(|error| Problem::conflict("config_invalid", status::unusable_because(&error)))?;
    let change = Change::of("message.send", view::target(&record)).to(audit::shown(serde_json::json!({
        "chatId": match &to { Recipient::Chat(chat) => Some(chat), Recipient::Person(_) => None },
        "userId": match &to { Recipient::Person(person) => Some(person), Recipient::Chat(_) => None },
    })));
    scope.note(&state, change).await?;
    let kept = proactive::speak(&state.world, &bot, to, content, fresh.bytes())
        .await
        .map_err(explain)?;
    Ok((StatusCode::ACCEPTED, Json(MessageView::of(kept))))
}

fn read(said: ProactiveMessage, allow_http: bool) -> Result<(Recipient, Content), Problem> {
    let to = match (
        validation::optional_text(said.chat_id),
        validation::optional_text(said.user_id),
    ) {
        (Some(chat), None) => Recipient::Chat(ChatId::new(chat)),
        (None, Some(person)) => Recipient::Person(SenderId::new(person)),
        (None, None) => return Err(Problem::invalid("chatId", "or userId is required")),
        (Some(_), Some(_)) => return Err(Problem::invalid("userId", "can't stand beside chatId")),
    };
    let content = read_content(said.text, said.card, allow_http)?;
    Ok((to, content))
}

/// Refuses an integration whose platform lets the bot only answer.
pub(crate) fn check_proactive(state: &AdminState, record: &IntegrationRecord) -> Result<(), Problem> {
    let connector = state.world.connector(&record.platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(record.mode));
    match mode.is_some_and(|mode| mode.proactive) {
        true => Ok(()),
        false => {
            let detail = "the platform lets the bot only answer in this mode";
            Err(Problem::conflict("not_supported", detail))
        }
    }
}

/// What is said, checked.
pub(crate) fn read_content(text: Option<String>, card: Option<Value>, allow_http: bool) -> Result<Content, Problem> {
    match (validation::optional_text(text), card) {
        (Some(text), None) if text.len() > MAX_TEXT_BYTES => {
            Err(Problem::invalid("text", "must have at most 200000 bytes"))
        }
        (Some(text), None) => Ok(Content::Text(text)),
        (None, Some(card)) => Ok(Content::Card(Card::read(&card, allow_http).map_err(explain_card)?)),
        (None, None) => Err(Problem::invalid("text", "or card is required")),
        (Some(_), Some(_)) => Err(Problem::invalid("card", "can't stand beside text")),
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
