//! Handlers of an integration's conversations.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tieline_core::conversation::Conversation;
use tieline_core::conversation::task;
use tieline_core::event::ChatKind;
use tieline_core::ids::{ConversationId, IntegrationId};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration;
use tieline_store::conversation;
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::audit::Change;
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::page::{self, List};
use crate::path::{ConversationInPath, Id};
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::validation;

/// A conversation. Chat, thread and sender are the platform's own ids.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(crate) struct ConversationView {
    id: String,
    /// `direct` or `group`.
    chat_type: &'static str,
    chat_id: String,
    thread_id: Option<String>,
    /// Null if the whole chat shares the conversation.
    sender_id: Option<String>,
    /// The agent of the newest session.
    agent_id: Option<String>,
    session_id: Option<String>,
    /// The mode: `chat` or `task`.
    mode: &'static str,
    /// The name of the current task; null in chat mode.
    task: Option<String>,
    /// The names of all tasks of the conversation, most recently used first.
    tasks: Vec<String>,
    /// Whether a run is in progress.
    running: bool,
    pending_messages: usize,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Filters of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConversationQuery {
    /// Substring of an id: the chat's, the thread's, the person's, or the conversation's own. The whole id of a conversation finds only that
    /// one.
    search: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    limit: Option<usize>,
}

/// Lists the conversations of an integration.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/conversations", tag = "conversations",
    params(ConversationQuery), responses((status = 200, body = List<ConversationView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<ConversationQuery>,
) -> Result<Json<List<ConversationView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let record = find(&state, &scope, &id).await?;
    let search = query.search.as_deref().filter(|search| !search.is_empty());
    let cursor = page::cursor(query.cursor.as_deref());
    if let Some(id) = search.filter(|_| cursor.is_none())
        && let Some(found) = with_id(&state, &record.id, id).await?
    {
        return Ok(Json(List {
            items: vec![ConversationView::of(found)],
            next_cursor: None,
        }));
    }
    let page = conversation::list(&state.world.store, &record.id, search, cursor, limit, state.now()).await?;
    Ok(Json(List::of(page, ConversationView::of)))
}

/// The conversation with this id, if it is the integration's: a search for it would read all of them.
async fn with_id(state: &AdminState, integration: &IntegrationId, id: &str) -> Result<Option<Conversation>, Problem> {
    let ids = [ConversationId::new(validation::named_id(id))];
    let found = conversation::get_many(&state.world.store, &ids, state.now()).await?;
    Ok(found.into_iter().find(|found| found.key.integration == *integration))
}

/// Ends the session of a conversation: the next message starts a new one.
///
/// A run in progress is finished; waiting messages are answered in the session they were sent in.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/conversations/{conversationId}/reset",
    tag = "conversations", responses((status = 200, body = ConversationView)))]
pub(crate) async fn reset(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    ConversationInPath(conversation): ConversationInPath,
) -> Result<Json<ConversationView>, Problem> {
    let integration = find(&state, &scope, &id).await?.id;
    let id = ConversationId::new(conversation);
    until_settled(|| async {
        let found = conversation::load(&state.world.store, &id, state.now()).await?;
        let before = found
            .filter(|found| found.key.integration == integration)
            .ok_or_else(missing)?;
        let Some(old) = &before.session else {
            return Ok(Json(ConversationView::of(before)));
        };
        let mut after = before.clone();
        after.leave_for(before.next_session(&old.agent, state.now()));
        after.updated_at = state.now();
        scope
            .note(
                &state,
                Change::of("conversation.reset", ("conversation", id.as_str(), None)),
            )
            .await?;
        conversation::save(&state.world.store, &before, &mut after).await?;
        Ok(Json(ConversationView::of(after)))
    })
    .await
}

/// The task to bind a conversation to.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TaskBinding {
    /// Its name: 1 to 60 characters. The conversation's task of this name becomes the current one; if there is none, it is created.
    task: String,
    /// Identifies the conversation at the agent: the task's session continues that one. If absent, an existing task keeps its reference.
    conversation_ref: Option<String>,
}

/// Maximum length of a conversation reference at an agent, in bytes.
const MAX_REFERENCE_BYTES: usize = 1024;

/// Binds a direct conversation to a task: from now on the person's messages belong to it.
///
/// Needs a trigger with `taskMode`. Binding to the same task again changes nothing.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/conversations/{conversationId}/bind",
    tag = "conversations", request_body = TaskBinding, responses((status = 200, body = ConversationView),
        (status = 409, body = Problem, description = "`task_mode_off`, `not_direct`")))]
pub(crate) async fn bind(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    ConversationInPath(conversation): ConversationInPath,
    Body(binding): Body<TaskBinding>,
) -> Result<Json<ConversationView>, Problem> {
    let integration = find(&state, &scope, &id).await?.id;
    let name = task::clean_name(&binding.task)
        .filter(|_| binding.task.chars().count() <= task::MAX_NAME_CHARS)
        .ok_or_else(|| Problem::invalid("task", "must have 1 to 60 characters, not only white space"))?;
    let reference = binding.conversation_ref.as_deref();
    if reference.is_some_and(|reference| reference.is_empty() || reference.len() > MAX_REFERENCE_BYTES) {
        return Err(Problem::invalid("conversationRef", "must have 1 to 1024 bytes"));
    }
    let id = ConversationId::new(conversation);
    until_settled(|| async {
        let found = conversation::load(&state.world.store, &id, state.now()).await?;
        let before = found
            .filter(|found| found.key.integration == integration)
            .ok_or_else(missing)?;
        let bound = integration::look_up(&state.world.store, &integration, state.now()).await?;
        let trigger = bound.and_then(|bound| bound.trigger).filter(|it| it.settings.task_mode);
        let Some(trigger) = trigger else {
            let detail = "the integration has no enabled trigger with `taskMode`";
            return Err(Problem::conflict("task_mode_off", detail));
        };
        if before.key.chat.kind != ChatKind::Direct {
            return Err(Problem::conflict(
                "not_direct",
                "tasks are for direct chats; this conversation is a group's",
            ));
        }
        let mut after = before.clone();
        after.bind_task(&name, reference, &trigger.agent, state.now());
        if after != before {
            after.updated_at = state.now();
            // Without the task's name, which may be a person's words: the log outlives a person who is erased.
            let target = ("conversation", id.as_str(), None);
            scope.note(&state, Change::of("conversation.bind", target)).await?;
            conversation::save(&state.world.store, &before, &mut after).await?;
        }
        Ok(Json(ConversationView::of(after)))
    })
    .await
}

fn missing() -> Problem {
    Problem::not_found("conversation_not_found", "conversation")
}

impl ConversationView {
    fn of(conversation: Conversation) -> Self {
        let id = conversation.key.id();
        let key = conversation.key;
        Self {
            id: id.to_string(),
            chat_type: match key.chat.kind {
                ChatKind::Direct => "direct",
                ChatKind::Group => "group",
            },
            chat_id: key.chat.id.to_string(),
            thread_id: key.chat.thread.map(|thread| thread.to_string()),
            sender_id: key.sender.map(|sender| sender.to_string()),
            agent_id: conversation.session.as_ref().map(|session| session.agent.to_string()),
            session_id: conversation.session.as_ref().map(|session| session.id.to_string()),
            mode: if conversation.tasks.current.is_some() {
                "task"
            } else {
                "chat"
            },
            task: conversation.tasks.current().map(|task| task.name.clone()),
            tasks: conversation.tasks.tasks.iter().map(|task| task.name.clone()).collect(),
            running: conversation.run.is_some(),
            pending_messages: conversation.pending.len(),
            updated_at: conversation.updated_at,
        }
    }
}
