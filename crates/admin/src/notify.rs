//! Incident notifications: an organization's operators are notified when a bot is down or its answers fail, and when it has recovered.

pub(crate) mod form;
mod message;
mod watch;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tieline_bridge::error_chain::chain;
use tieline_bridge::notifier::{self, Notification};
use tieline_core::ids::{ChatId, IntegrationId, SenderId};
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::notify::{self as store_notify, NotifyChannel, NotifyRecipient, NotifySettings};
use tieline_store::notifications;
use utoipa::ToSchema;

use crate::audit::{Change, Shown};
use crate::auth::Scope;
use crate::body::Body;
use crate::etag::{self, IfMatch, Tagged, Versioned};
use crate::integrations::{self, send_message};
use crate::mask::MASK;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::{schema, signed_endpoint, validation};

pub use self::watch::look_at_all;

/// Notification settings of an organization.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NotifySettings)]
pub(crate) struct NotifyView {
    /// Null if notifications don't go to a webhook.
    webhook: Option<WebhookView>,
    /// Null if notifications don't go to a chat.
    chat: Option<ChatView>,
    #[schema(value_type = schema::Language)]
    language: Language,
    /// Notifications waiting to be sent.
    waiting: usize,
    /// The result of the newest attempt to send one.
    last_attempt: Option<AttemptView>,
    /// The entity tag, for `If-Match`.
    etag: String,
}

/// A webhook that receives notifications, signed according to Standard Webhooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NotifyWebhook)]
pub(crate) struct WebhookView {
    url: String,
    /// Masked.
    secret: &'static str,
}

/// A chat that receives notifications.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NotifyChat)]
pub(crate) struct ChatView {
    /// The bot that writes the notification.
    integration_id: String,
    /// The platform's id of the chat. Null if the notification goes to a person.
    chat_id: Option<String>,
    /// The platform's id of the person. Null if the notification goes to a chat.
    user_id: Option<String>,
}

/// An attempt to send a notification.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NotifyAttempt)]
pub(crate) struct AttemptView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why it failed. Null: it was delivered, unless `messageId` is set.
    error: Option<String>,
    /// The bot's message that is being delivered, while its outcome isn't known.
    message_id: Option<String>,
}

/// Changes of notification settings. Absent fields keep their values; a webhook replaces a chat, and a chat replaces a webhook.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NotifyPatch {
    webhook: Option<WebhookPatch>,
    chat: Option<ChatPatch>,
    /// Default: `zh-CN`.
    #[schema(value_type = Option<schema::Language>)]
    language: Option<Language>,
}

/// A webhook that will receive notifications.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WebhookPatch {
    url: String,
    /// At least 16 characters; `whsec_` and base64, or any text. Absent, empty or `***` keeps the old one.
    #[schema(write_only)]
    secret: Option<String>,
}

/// A chat that will receive notifications: `chatId`, or `userId`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChatPatch {
    /// The bot that writes the notification. Best a bot of another platform than the bots it reports about.
    integration_id: String,
    chat_id: Option<String>,
    user_id: Option<String>,
}

/// Result of a test notification.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotifyTest {
    /// Whether the webhook accepted it, or the bot's message was delivered within a few seconds.
    ok: bool,
    /// Why it failed.
    detail: Option<String>,
    /// The bot's message, whose steps show its delivery.
    message_id: Option<String>,
}

impl Versioned for NotifyView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Returns where the organization's operators are notified of incidents.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/notify", tag = "organizations", responses((status = 200, body = NotifyView)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope) -> Result<Tagged<NotifyView>, Problem> {
    let found = store_notify::get(&state.world.store, &scope.organization).await?;
    view(&state, &scope, found).await.map(Tagged::ok)
}

/// Sets where the organization's operators are notified of incidents: a signed webhook, or a chat of one of its bots.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/notify", tag = "organizations", request_body = NotifyPatch,
    responses((status = 200, body = NotifyView),
        (status = 409, body = Problem, description = "`not_supported`: the bot can only answer")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    if_match: IfMatch,
    Body(patch): Body<NotifyPatch>,
) -> Result<Tagged<NotifyView>, Problem> {
    let after = until_settled(|| async {
        let before = store_notify::get(&state.world.store, &scope.organization).await?;
        if_match.check(&etag_of(before.as_ref()))?;
        let channel = channel(&state, &scope, before.as_ref(), &patch).await?;
        let language = before.as_ref().map(|before| before.language);
        let language = patch.language.or(language).unwrap_or_default();
        let store = scope.audited(&state, updated(&scope, before.as_ref(), (&channel, language)));
        let version = before.map(|before| before.version);
        Ok(store_notify::save(&store, version, &scope.organization, channel, language).await?)
    })
    .await?;
    view(&state, &scope, Some(after)).await.map(Tagged::ok)
}

/// Removes the notification settings.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/notify", tag = "organizations", responses((status = 204)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = store_notify::get(&state.world.store, &scope.organization).await?;
        if_match.check(&etag_of(before.as_ref()))?;
        let Some(before) = before else { return Ok(()) };
        let store = scope.audited(&state, deleted(&scope, &before));
        Ok(store_notify::remove(&store, &before).await?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test notification now, and waits a few seconds for its delivery.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/notify/test", tag = "organizations",
    responses((status = 200, body = NotifyTest), (status = 409, body = Problem, description = "`notify_not_set`")))]
pub(crate) async fn test(State(state): State<AdminState>, scope: Scope) -> Result<Json<NotifyTest>, Problem> {
    let found = store_notify::get(&state.world.store, &scope.organization).await?;
    let settings = found.ok_or_else(|| {
        Problem::conflict(
            "notify_not_set",
            "the organization has neither a webhook nor a chat for notifications",
        )
    })?;
    let id = notifier::fresh_id();
    let body = message::test(watch::about(&state, &settings, &id)).to_body();
    let notification = Notification { id: &id, body: &body };
    let (message, outcome) = notifier::test(&state.world, &settings, notification).await;
    Ok(Json(NotifyTest {
        ok: outcome.is_ok(),
        detail: outcome.err().map(|error| chain(&error)),
        message_id: message.map(|id| id.to_string()),
    }))
}

/// The destination of notifications after a change.
async fn channel(
    state: &AdminState,
    scope: &Scope,
    before: Option<&NotifySettings>,
    patch: &NotifyPatch,
) -> Result<NotifyChannel, Problem> {
    match (&patch.webhook, &patch.chat) {
        (Some(_), Some(_)) => Err(Problem::invalid("chat", "can't be combined with webhook")),
        (Some(webhook), None) => read_webhook(state, before, webhook),
        (None, Some(chat)) => read_chat(state, scope, chat).await,
        (None, None) => match before {
            Some(before) => Ok(before.channel.clone()),
            None => Err(Problem::invalid("webhook", "or chat is required")),
        },
    }
}

fn read_webhook(
    state: &AdminState,
    before: Option<&NotifySettings>,
    patch: &WebhookPatch,
) -> Result<NotifyChannel, Problem> {
    let kept = match before.map(|before| &before.channel) {
        Some(NotifyChannel::Webhook { url, secret }) => Some((&**url, secret)),
        _ => None,
    };
    let (url, secret) = signed_endpoint::read(state, "webhook", kept, (&patch.url, patch.secret.as_deref()))?;
    Ok(NotifyChannel::Webhook { url, secret })
}

async fn read_chat(state: &AdminState, scope: &Scope, patch: &ChatPatch) -> Result<NotifyChannel, Problem> {
    let id = validation::named_id(&patch.integration_id);
    let record = integrations::find(state, scope, id)
        .await
        .map_err(|problem| match problem.code() {
            "integration_not_found" => problem.on("chat.integrationId"),
            _ => problem,
        })?;
    let bot = (&*record.platform, record.mode, &record.endpoints);
    chat_channel(
        state,
        (&record.id, bot),
        (patch.chat_id.clone(), patch.user_id.clone()),
        "chat.integrationId",
    )
}

/// A chat or a person that the bot can write to. `field` is the path of the bot in the request.
fn chat_channel(
    state: &AdminState,
    (integration, bot): form::NamedBot<'_>,
    (chat, person): (Option<String>, Option<String>),
    field: &'static str,
) -> Result<NotifyChannel, Problem> {
    send_message::check_proactive(state, bot).map_err(|problem| problem.on(field))?;
    let chat = validation::optional_text(chat);
    let to = match (chat, validation::optional_text(person)) {
        (Some(chat), None) => NotifyRecipient::Chat(ChatId::new(chat)),
        (None, Some(person)) => NotifyRecipient::Person(SenderId::new(person)),
        (None, None) => return Err(Problem::invalid("chat.chatId", "or chat.userId is required")),
        (Some(_), Some(_)) => return Err(Problem::invalid("chat.userId", "can't be combined with chat.chatId")),
    };
    Ok(NotifyChannel::Chat {
        integration: integration.clone(),
        to,
    })
}

async fn view(state: &AdminState, scope: &Scope, settings: Option<NotifySettings>) -> Result<NotifyView, Problem> {
    let mut known = notifications::get(&state.world.store, &scope.organization).await?;
    notifier::settle(&state.world, &mut known).await;
    let etag = etag_of(settings.as_ref());
    let language = settings.as_ref().map(|settings| settings.language).unwrap_or_default();
    let (webhook, chat) = match settings.map(|settings| settings.channel) {
        Some(NotifyChannel::Webhook { url, .. }) => (Some(WebhookView { url, secret: MASK }), None),
        Some(NotifyChannel::Chat { integration, to }) => (None, Some(ChatView::of(&integration, &to))),
        None => (None, None),
    };
    Ok(NotifyView {
        webhook,
        chat,
        language,
        waiting: known.outbox.len(),
        last_attempt: known.last_attempt.map(|attempt| AttemptView {
            at: attempt.at,
            error: attempt.error,
            message_id: attempt.message.map(|id| id.to_string()),
        }),
        etag,
    })
}

/// The entity tag of settings. Absent settings have an entity tag too.
fn etag_of(settings: Option<&NotifySettings>) -> String {
    etag::of_version(settings.map(|settings| settings.version).unwrap_or_default())
}

/// Audit entry for changing the settings.
pub(crate) fn updated(
    scope: &Scope,
    before: Option<&NotifySettings>,
    (channel, language): (&NotifyChannel, Language),
) -> Change {
    let change = Change::of("notify.update", ("organization", scope.organization.as_str(), None));
    change.between(&shown(before), &shown_channel(channel, language))
}

/// Audit entry for removing the settings.
pub(crate) fn deleted(scope: &Scope, before: &NotifySettings) -> Change {
    let change = Change::of("notify.delete", ("organization", scope.organization.as_str(), None));
    change.from(shown(Some(before)))
}

/// The settings, for the audit log.
fn shown(settings: Option<&NotifySettings>) -> Shown {
    match settings {
        Some(settings) => shown_channel(&settings.channel, settings.language),
        None => crate::audit::shown(json!({})),
    }
}

fn shown_channel(channel: &NotifyChannel, language: Language) -> Shown {
    let (view, secrets) = match channel {
        NotifyChannel::Webhook { url, secret } => (
            json!({ "webhook": { "url": url, "secret": MASK }, "language": language }),
            Map::from_iter([("webhook".to_owned(), json!({ "secret": secret.expose() }))]),
        ),
        NotifyChannel::Chat { integration, to } => {
            let chat = ChatView::of(integration, to);
            (
                json!({ "chat": chat, "language": language }),
                Map::<String, Value>::new(),
            )
        }
    };
    Shown { view, secrets }
}

impl ChatView {
    fn of(integration: &IntegrationId, to: &NotifyRecipient) -> Self {
        let (chat_id, user_id) = match to {
            NotifyRecipient::Chat(chat) => (Some(chat.to_string()), None),
            NotifyRecipient::Person(person) => (None, Some(person.to_string())),
        };
        Self {
            integration_id: integration.to_string(),
            chat_id,
            user_id,
        }
    }
}
