//! Handlers of the ledger: the processing of every message.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tieline_core::ids::{ChatId, ConversationId, IntegrationId, MessageId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::reference::Reference;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::user;
use tieline_store::message::{self, Filter, MessageRecord};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Scope;
use crate::body::Query;
use crate::page::{self, List};
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::{schema, validation};

/// An inbound message and its processing. Its text is not included.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(crate) struct MessageView {
    id: String,
    integration_id: String,
    /// Null if it was never assigned to a conversation.
    conversation_id: Option<String>,
    session_id: Option<String>,
    /// The platform's own id of the sender. Null if the platform names none.
    sender_id: Option<String>,
    /// The platform's own id of the message.
    platform_message_id: String,
    reply_id: String,
    /// Short reference, which a failure notice shows in the chat.
    #[schema(example = "7KQ4-X9MA")]
    reference: String,
    /// The run that answers it. Merged messages share a run.
    run_id: Option<String>,
    #[schema(value_type = schema::MessageState)]
    state: MessageState,
    /// Why it has this state, as a code.
    reason: Option<String>,
    /// How often an operator redrove it.
    redrives: u32,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// Its processing steps, in order.
    steps: Vec<StepView>,
}

/// A processing step of a message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageStep)]
pub(crate) struct StepView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `received`, `dispatched`, `run_started`, `first_text`, `result`, `delivered`, ...
    step: String,
    /// Number of the attempt, from 1.
    attempt: Option<u32>,
    /// The platform's or the agent's code, or our reason.
    code: Option<String>,
    /// The agent's own error message, redacted and at most 500 characters.
    detail: Option<String>,
}

/// Filters of a list.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct MessageQuery {
    /// Only messages of this integration.
    integration_id: Option<String>,
    /// Only messages of this conversation.
    conversation_id: Option<String>,
    /// Only messages in this state.
    #[param(value_type = Option<schema::MessageState>)]
    state: Option<MessageState>,
    /// Only messages of this person: a user's id, or the platform's own id of the sender.
    user_id: Option<String>,
    /// Only messages of this chat: the platform's own id of it.
    chat_id: Option<String>,
    /// Received at this time or later (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Received before this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The reference that a notice showed in the chat, or a substring of one of the message's ids: its own, the platform's, the reply's,
    /// the run's or the conversation's.
    search: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    limit: Option<usize>,
}

/// Lists the messages of an organization, newest first.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/messages", tag = "messages", params(MessageQuery),
    responses((status = 200, body = List<MessageView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<MessageQuery>,
) -> Result<Json<List<MessageView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = Filter {
        integration: query
            .integration_id
            .as_deref()
            .map(validation::named_id)
            .map(IntegrationId::new),
        conversation: query
            .conversation_id
            .as_deref()
            .map(validation::named_id)
            .map(ConversationId::new),
        chat: query.chat_id.map(ChatId::new),
        state: query.state,
        since: query.since,
        until: query.until,
    };
    let cursor = page::cursor(query.cursor.as_deref());
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (person, search) = (given(query.user_id), given(query.search));
    let store = &state.world.store;
    let page = if person.is_none() && search.is_none() {
        message::list(store, &scope.organization, &filter, cursor, limit, state.now()).await?
    } else {
        let reference = search.as_deref().and_then(Reference::read);
        let matches = |record: &MessageRecord| {
            person.as_deref().is_none_or(|person| is_from(record, person))
                && (search.as_deref().is_none_or(|search| has_id(record, search))
                    || reference.is_some_and(|wanted| wanted == Reference::of(&record.reply)))
        };
        message::list_matching(
            store,
            &scope.organization,
            &filter,
            &matches,
            cursor,
            limit,
            state.now(),
        )
        .await?
    };
    Ok(Json(List::of(page, MessageView::of)))
}

/// Returns a message with every step of its processing.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/messages/{id}", tag = "messages",
    responses((status = 200, body = MessageView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Json<MessageView>, Problem> {
    let found = message::show(&state.world.store, &MessageId::new(id), state.now()).await?;
    let found = found.filter(|record| record.organization == scope.organization);
    let missing = || Problem::not_found("message_not_found", "message");
    found.map(MessageView::of).map(Json).ok_or_else(missing)
}

fn is_from(record: &MessageRecord, person: &str) -> bool {
    record
        .sender
        .as_ref()
        .is_some_and(|sender| sender.as_str() == person || user::id_of(&record.integration, sender).as_str() == person)
}

fn has_id(record: &MessageRecord, part: &str) -> bool {
    let ids = [
        record.id.as_str(),
        record.platform_message.as_str(),
        record.reply.as_str(),
    ];
    let run = record.run.as_ref().map(|id| id.as_str());
    let conversation = record.conversation.as_ref().map(|id| id.as_str());
    ids.into_iter()
        .chain(run)
        .chain(conversation)
        .any(|id| id.contains(part))
}

impl MessageView {
    pub(crate) fn of(record: MessageRecord) -> Self {
        Self {
            sender_id: record.sender.map(|id| id.to_string()),
            id: record.id.to_string(),
            integration_id: record.integration.to_string(),
            conversation_id: record.conversation.map(|id| id.to_string()),
            session_id: record.session.map(|(id, _)| id.to_string()),
            platform_message_id: record.platform_message.to_string(),
            reference: Reference::of(&record.reply).to_string(),
            reply_id: record.reply.to_string(),
            run_id: record.run.map(|id| id.to_string()),
            state: record.state,
            reason: record.reason,
            redrives: record.redrives,
            received_at: record.received_at,
            steps: record.steps.into_iter().map(StepView::of).collect(),
        }
    }
}

impl StepView {
    fn of(step: LedgerStep) -> Self {
        Self {
            at: step.at,
            step: step.step,
            attempt: step.attempt,
            code: step.code,
            detail: step.detail,
        }
    }
}
