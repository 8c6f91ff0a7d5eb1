//! Proactive messages: sent by an operator or a program, not in answer to one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tieline_bridge::accounts;
use tieline_bridge::error_chain::chain;
use tieline_bridge::proactive::{self, Recipient, SpeakError};
use tieline_core::ids::{ChatId, SenderId};
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
    /// A card in the platform's own words. No platform takes one yet.
    #[schema(value_type = Option<Object>)]
    card: Option<Value>,
}

/// Says something without being asked. The message's steps tell what came of it.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/messages", tag = "integrations",
    request_body = ProactiveMessage, responses((status = 202, body = MessageView),
        (status = 409, body = Problem, description = "`not_supported`: the platform can't in this mode; `integration_stopped`; `config_invalid`"),
        (status = 501, body = Problem, description = "`card_not_supported`")))]
pub(crate) async fn say(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    fresh: Fresh,
    Body(said): Body<ProactiveMessage>,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    let record = find(&state, &scope, &id).await?;
    let (to, text) = read(said)?;
    let connector = state.world.connector(&record.platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(record.mode));
    if !mode.is_some_and(|mode| mode.proactive) {
        let detail = "the platform lets the bot only answer in this mode";
        return Err(Problem::conflict("not_supported", detail));
    }
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
    let kept = proactive::speak(&state.world, &bot, to, &text, fresh.bytes())
        .await
        .map_err(explain)?;
    Ok((StatusCode::ACCEPTED, Json(MessageView::of(kept))))
}

fn read(said: ProactiveMessage) -> Result<(Recipient, String), Problem> {
    if said.card.is_some() {
        let detail = "cards can't be sent yet; send a text";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "card_not_supported", detail).on("card"));
    }
    let to = match (
        validation::optional_text(said.chat_id),
        validation::optional_text(said.user_id),
    ) {
        (Some(chat), None) => Recipient::Chat(ChatId::new(chat)),
        (None, Some(person)) => Recipient::Person(SenderId::new(person)),
        (None, None) => return Err(Problem::invalid("chatId", "or userId is required")),
        (Some(_), Some(_)) => return Err(Problem::invalid("userId", "can't stand beside chatId")),
    };
    let text = validation::optional_text(said.text).ok_or_else(|| Problem::invalid("text", "is required"))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(Problem::invalid("text", "must have at most 200000 bytes"));
    }
    Ok((to, text))
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
