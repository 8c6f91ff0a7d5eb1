//! Handlers of scheduled messages and broadcasts: messages that a bot sends later, or to everybody.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_bridge::proactive::Content as Said;
use tieline_core::ids::{ChatId, SenderId};
use tieline_core::timestamp::Timestamp;
use tieline_store::scheduled::{self, Audience, Content, Kept, Scheduled, State as Stage};
use utoipa::ToSchema;

use crate::audit::{self, Change};
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::etag::{self, IfMatch, Tagged, Versioned};
use crate::fresh::Fresh;
use crate::integrations::send_message;
use crate::integrations::{self, view};
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::{FieldErrors, Problem};
use crate::retry::until_settled;
use crate::schema;
use crate::state::AdminState;
use crate::validation;

/// How far ahead a message can be scheduled.
const FURTHEST: Duration = Duration::from_hours(366 * 24);

/// A message that a bot sends later, or to everybody: to a chat, a person, or all linked people.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewScheduledMessage {
    integration_id: String,
    /// When it is sent: within a minute after this time. Default: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    send_at: Option<String>,
    /// The platform's id of the chat.
    chat_id: Option<String>,
    /// The platform's id of the person, instead of `chatId`.
    user_id: Option<String>,
    /// `linked`, instead of `chatId`: everybody who has written to this bot and is linked to a known person, each in a direct chat.
    #[schema(value_type = Option<schema::Everybody>)]
    everybody: Option<String>,
    /// Markdown.
    text: Option<String>,
    /// A card, instead of `text`.
    #[schema(value_type = Option<schema::Card>)]
    card: Option<Value>,
}

/// A scheduled message and its result.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledMessage)]
pub(crate) struct ScheduledView {
    id: String,
    integration_id: String,
    #[schema(value_type = String, format = DateTime)]
    send_at: Timestamp,
    chat_id: Option<String>,
    user_id: Option<String>,
    #[schema(value_type = Option<schema::Everybody>)]
    everybody: Option<&'static str>,
    /// `waiting`, `said`, `cancelled`, `failed`.
    #[schema(value_type = schema::ScheduledState)]
    state: &'static str,
    /// Why it failed: `too_late` (nothing ran for a day), `integration_not_found`, `integration_stopped`, `config_invalid`,
    /// `not_supported`, `unreadable`. `unreadable` in another state: its recipient and its content can't be read, because their data key is
    /// lost, and it fails when it is due.
    reason: Option<String>,
    /// Number of recipients it was sent to. The result for each is in the list of messages.
    said_to: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The entity tag, for `If-Match`.
    etag: String,
}

impl Versioned for ScheduledView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Lists scheduled messages, and those of the last 30 days.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/scheduled-messages", tag = "messages", params(PageQuery),
    responses((status = 200, body = List<ScheduledView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<ScheduledView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let found = scheduled::list(&state.world.store, &scope.organization, cursor, limit, state.now()).await?;
    let items = found.items.iter().map(|kept| ScheduledView::of_kept(&state, kept));
    Ok(Json(List {
        items: items.collect::<Result<_, _>>()?,
        next_cursor: found.cursor,
    }))
}

/// Schedules a message.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/scheduled-messages", tag = "messages", request_body = NewScheduledMessage,
    responses((status = 201, body = ScheduledView),
        (status = 404, body = Problem, description = "`integration_not_found`"),
        (status = 409, body = Problem, description = "`not_supported`: the bot can only answer")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    fresh: Fresh,
    Body(new): Body<NewScheduledMessage>,
) -> Result<Tagged<ScheduledView>, Problem> {
    let found = integrations::find(&state, &scope, validation::named_id(&new.integration_id)).await;
    let record = found.map_err(|problem| problem.on("integrationId"))?;
    let (at, to, content) = new.read(fresh.at(), state.allow_private().allows_plain())?;
    send_message::check_proactive(&state, (&record.platform, record.mode, &record.endpoints))?;
    let message = Scheduled {
        id: fresh.id("sch"),
        organization: scope.organization.clone(),
        integration: record.id.clone(),
        at,
        to,
        content,
        state: Stage::Waiting,
        n_said: 0,
        cursor: None,
        begun: false,
        created_at: fresh.at(),
        version: 1,
    };
    let shown = ScheduledView::of(message.clone());
    let (chat, person) = (shown.chat_id.as_deref(), shown.user_id.as_deref());
    let mut noted = send_message::addressed(&record.id, chat, person);
    noted["id"] = json!(shown.id);
    noted["sendAt"] = json!(shown.send_at);
    noted["everybody"] = json!(shown.everybody);
    let change = Change::of("message.schedule", view::target(&record)).to(audit::shown(noted));
    scope.note(&state, change).await?;
    scheduled::create(&state.world.store, &message).await?;
    Ok(Tagged::created(shown))
}

/// Returns a scheduled message with its progress.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/scheduled-messages/{id}", tag = "messages",
    responses((status = 200, body = ScheduledView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<ScheduledView>, Problem> {
    let kept = find(&state, &scope, &id).await?;
    ScheduledView::of_kept(&state, &kept).map(Tagged::ok)
}

/// Cancels a message that isn't sent yet. A broadcast in progress stops; the people whose turn it is, at most 50, still get it.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/scheduled-messages/{id}", tag = "messages", responses((status = 204),
    (status = 409, body = Problem, description = "`already_ended`: it was sent, is being sent, has failed or was cancelled")))]
pub(crate) async fn cancel(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let kept = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(kept.version()))?;
        let has_ended = *kept.state() != Stage::Waiting;
        if open(&state, &kept)?.map_or(has_ended, |message| message.is_past_cancelling()) {
            return Err(Problem::conflict(
                "already_ended",
                "it was sent, is being sent, has failed or was cancelled",
            ));
        }
        let change = Change::plain("message.unschedule").to(audit::shown(json!({ "id": kept.id() })));
        scope.note(&state, change).await?;
        scheduled::end(&state.world.store, &kept, &Stage::Cancelled).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<Kept, Problem> {
    let found = scheduled::get(&state.world.store, &scope.organization, id, state.now()).await?;
    found.ok_or_else(|| Problem::not_found("scheduled_message_not_found", "scheduled message"))
}

/// The whole message. `None` if it can't be read any more.
fn open(state: &AdminState, kept: &Kept) -> Result<Option<Scheduled>, Problem> {
    let age = state.now().since(kept.created_at());
    Ok(kept.open(&state.world.store, age)?)
}

impl NewScheduledMessage {
    fn read(self, now: Timestamp, allow_http: bool) -> Result<(Timestamp, Audience, Content), Problem> {
        let mut errors = FieldErrors::default();
        let at = errors.keep(send_at(self.send_at.as_deref(), now));
        let chat = validation::optional_text(self.chat_id).map(|id| Audience::Chat(ChatId::new(id)));
        let person = validation::optional_text(self.user_id).map(|id| Audience::Person(SenderId::new(id)));
        let everybody = match self.everybody.as_deref() {
            None => None,
            Some("linked") => Some(Audience::Linked),
            Some(_) => {
                errors.add(Problem::invalid("everybody", "must be linked"));
                None
            }
        };
        let mut given = [chat, person, everybody].into_iter().flatten();
        let to = given.next();
        if given.next().is_some() {
            errors.add(Problem::invalid(
                "chatId",
                "can't be combined: set only one of chatId, userId and everybody",
            ));
        }
        if to.is_none() && !errors.names("everybody") {
            errors.add(Problem::invalid("chatId", "or userId or everybody is required"));
        }
        let content = errors.keep(send_message::read_content(self.text, self.card, allow_http));
        errors.end()?;
        match (at, to, content) {
            (Some(at), Some(to), Some(Said::Text(text))) => Ok((at, to, Content::Text(text))),
            (Some(at), Some(to), Some(Said::Card(card))) => Ok((at, to, Content::Card(card))),
            // A missing field was reported above.
            _ => Err(Problem::invalid("chatId", "or userId or everybody is required")),
        }
    }
}

fn send_at(given: Option<&str>, now: Timestamp) -> Result<Timestamp, Problem> {
    let Some(given) = given else { return Ok(now) };
    let at =
        Timestamp::parse(given).ok_or_else(|| Problem::invalid("sendAt", "must be a time as 2026-11-23T09:00:00Z"))?;
    if at < now || at > now.after(FURTHEST) {
        return Err(Problem::invalid("sendAt", "must be in the future, within a year"));
    }
    Ok(at)
}

impl ScheduledView {
    fn of_kept(state: &AdminState, kept: &Kept) -> Result<Self, Problem> {
        Ok(open(state, kept)?.map_or_else(|| Self::unreadable(kept), Self::of))
    }

    fn unreadable(kept: &Kept) -> Self {
        let (state, reason) = named(kept.state().clone());
        Self {
            id: kept.id().to_owned(),
            integration_id: kept.integration().to_string(),
            send_at: kept.at(),
            chat_id: None,
            user_id: None,
            everybody: None,
            state,
            reason: reason.or_else(|| Some("unreadable".to_owned())),
            said_to: kept.n_said(),
            created_at: kept.created_at(),
            etag: etag::of_version(kept.version()),
        }
    }

    fn of(message: Scheduled) -> Self {
        let (chat_id, user_id, everybody) = match message.to {
            Audience::Chat(chat) => (Some(chat.as_str().to_owned()), None, None),
            Audience::Person(person) => (None, Some(person.as_str().to_owned()), None),
            Audience::Linked => (None, None, Some("linked")),
        };
        let (state, reason) = named(message.state);
        Self {
            id: message.id,
            integration_id: message.integration.to_string(),
            send_at: message.at,
            chat_id,
            user_id,
            everybody,
            state,
            reason,
            said_to: message.n_said,
            created_at: message.created_at,
            etag: etag::of_version(message.version),
        }
    }
}

fn named(state: Stage) -> (&'static str, Option<String>) {
    match state {
        Stage::Waiting => ("waiting", None),
        Stage::Said => ("said", None),
        Stage::Cancelled => ("cancelled", None),
        Stage::Failed(reason) => ("failed", Some(reason)),
    }
}
