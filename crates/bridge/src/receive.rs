//! Receive: verifies a platform's request, puts its events on the queue, and answers it.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Answer, Context, Proof, Received, Rejection, Remark, Unaddressed};
use tieline_core::conversation::inbound_group;
use tieline_core::envelope::{Envelope, EnvelopeV1, StoredEvent};
use tieline_core::event::Event;
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IntegrationId, PlatformMessageId, is_shaped};
use tieline_queue::QueueError;
use tieline_queue::inbound::{self, Inbound};
use tieline_store::StoreError;
use tieline_store::config::integration::{self, Bound};
use tieline_store::status::{SignatureFailure, StatusChange};
use tracing::{info, warn};

use crate::accounts::{self, AccountError, Bot};
use crate::error_chain::chain;
use crate::integration_log;
use crate::large_event::{self, StoredApart};
use crate::media;
use crate::operator::{self, Operator};
use crate::printable::Printable;
use crate::reply_poll;
use crate::world::World;

/// Longest body that is read.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Timeout for the table where an older, cached state is known.
const TABLE_PATIENCE: Duration = Duration::from_millis(500);
/// Timeout for the queue. The tightest platform waits one second.
const QUEUE_PATIENCE: Duration = Duration::from_millis(2500);

/// Answers a request to `/api/{platform}/webhook/{integration}`.
///
/// Requests that can't be verified all get the same answer; the reason is only logged.
pub async fn receive(
    world: &World,
    platform: &str,
    integration: &IntegrationId,
    request: &WebhookRequest,
    operator: Option<&Operator>,
) -> WebhookAnswer {
    // A probe: answered for any id, so it reveals nothing.
    if request.method == "GET" && request.query.is_empty() {
        return WebhookAnswer::text("ok");
    }
    if request.body.len() > MAX_BODY_BYTES {
        return WebhookAnswer::empty(413);
    }
    // Before anything is read or logged: strangers may send addresses of any length.
    if !is_shaped("int", integration.as_str()) || world.connector(platform).is_none() {
        if let Some(n_left_out) = world.refusal_log.sample(world.clock.now()) {
            info!(n_left_out, "refused a request to an address that can't be one of ours");
        }
        return WebhookAnswer::empty(401);
    }
    match answer(world, platform, integration, request, operator).await {
        Ok(answer) => answer,
        Err(ReceiveError::Unproved(reason)) => {
            if let Some(n_left_out) = world.refusal_log.sample(world.clock.now()) {
                info!(platform, account.id = %integration, error = %reason, n_left_out, "refused an unproved request");
            }
            WebhookAnswer::empty(401)
        }
        // The platform repeats requests without a success answer.
        Err(ReceiveError::Unavailable(what)) => {
            warn!(platform, account.id = %integration, error = %what, "could not store the events of a request");
            WebhookAnswer::empty(503)
        }
        // A repetition would fail again.
        Err(ReceiveError::TooLarge(what)) => {
            warn!(platform, account.id = %integration, error = %what, "events of a request exceed the queue's size limit");
            WebhookAnswer::empty(413)
        }
    }
}

/// Why a request got no answer of its connector.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("{0}")]
    Unproved(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    TooLarge(String),
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

async fn answer(
    world: &World,
    platform: &str,
    id: &IntegrationId,
    request: &WebhookRequest,
    operator: Option<&Operator>,
) -> Result<WebhookAnswer, ReceiveError> {
    let bound = look_up(world, id).await?;
    let bound = bound.filter(|bound| takes_requests(bound, platform));
    let bound = bound.ok_or_else(|| ReceiveError::Unproved("no running integration of that id".into()))?;
    let bot = accounts::open(world, &bound.integration).map_err(|error| match error {
        // Not the sender's fault: the data key was created after this process last read the keys.
        AccountError::Store(StoreError::UnknownKey) => ReceiveError::Unavailable(chain(&error)),
        error => ReceiveError::Unproved(chain(&error)),
    })?;
    if bot.connector.manifest().proof == Proof::Operator {
        prove_operator(operator, &bound)?;
    }
    let trigger = bound.trigger.as_ref();
    let welcome = trigger.and_then(|trigger| trigger.settings.welcome.as_deref());
    let cx = Context {
        unaddressed: trigger.map_or(Unaddressed::Ignored, |trigger| trigger.settings.unaddressed()),
        ..bot.context(world, welcome)
    };
    let received = match bot.connector.receive(request, &cx) {
        Ok(received) => received,
        Err(rejection) => {
            let reason = rejection.to_string();
            note_rejection(world, &bot, &rejection, &reason).await;
            return Err(ReceiveError::Unproved(reason));
        }
    };
    if is_handshake(request, &received) {
        integration_log::note_often(world, id, "verified", StatusChange::VerifiedAt(cx.now)).await;
    }
    enqueue(world, &bot, &received).await?;
    note_remark(world, platform, id, received.remark).await;
    match received.answer {
        Answer::Fixed(answer) => Ok(answer),
        Answer::Polled(asked) => Ok(reply_poll::answer(world, &bot, &asked, welcome).await),
    }
}

/// The integration. While the table can't be read or is slow, its last known state: platforms don't retry for long, and the queue can
/// accept their messages though the table is unavailable.
async fn look_up(world: &World, id: &IntegrationId) -> Result<Option<Bound>, StoreError> {
    let now = world.clock.now();
    let mut looking = Box::pin(integration::look_up(&world.store, id, now));
    let known = || integration::last_known(&world.store, id, now);
    match tokio::time::timeout(TABLE_PATIENCE, &mut looking).await {
        Ok(Err(error @ StoreError::Unavailable { .. })) => known().map_or(Err(error), |known| Ok(Some(known))),
        Ok(found) => found,
        Err(_) => match known() {
            Some(known) => Ok(Some(known)),
            None => looking.await,
        },
    }
}

/// Reports a request that could not be verified to the operator, with the credential that this points at.
async fn note_rejection(world: &World, bot: &Bot, rejection: &Rejection, reason: &str) {
    let id = &bot.account.integration;
    let field = bot.connector.rejected_credential(rejection);
    let changes = [
        StatusChange::LastSignatureFailureAt(world.clock.now()),
        StatusChange::SignatureFailure(SignatureFailure {
            reason: reason.to_owned(),
            field: field.map(str::to_owned),
        }),
    ];
    integration_log::note_all_often(world, id, "rejection", &changes).await;
    let compare = field.map_or_else(String::new, |field| format!("; compare `{field}` with the platform's"));
    integration_log::warn(
        world,
        id,
        "unproved",
        &format!("a request was refused: {reason}{compare}"),
    )
    .await;
}

/// Whether the platform only checks whether we are there. Not an event, which shows the same later, nor a poll, since there are too many.
fn is_handshake(request: &WebhookRequest, received: &Received) -> bool {
    request.method == "GET" || (received.events.is_empty() && matches!(received.answer, Answer::Fixed(_)))
}

fn takes_requests(bound: &Bound, platform: &str) -> bool {
    let record = &bound.integration;
    record.enabled && record.platform == platform && record.mode == ConnectionMode::Webhook
}

fn prove_operator(operator: Option<&Operator>, bound: &Bound) -> Result<(), ReceiveError> {
    let may = operator.is_some_and(|operator| operator::may_write(operator, &bound.integration.organization));
    if may {
        Ok(())
    } else {
        Err(ReceiveError::Unproved("no operator of this organization".into()))
    }
}

/// Puts the events on the queue, in order. The platform may be answered only after that.
async fn enqueue(world: &World, bot: &Bot, received: &Received) -> Result<(), ReceiveError> {
    if received.events.is_empty() {
        return Ok(());
    }
    let storing = store_events(world, bot, &received.events);
    match tokio::time::timeout(QUEUE_PATIENCE, storing).await {
        Ok(Err(error @ EnqueueError::Queue(QueueError::TooLarge { .. }))) => Err(ReceiveError::TooLarge(chain(&error))),
        Ok(stored) => stored.map_err(|error| ReceiveError::Unavailable(chain(&error))),
        Err(_) => Err(ReceiveError::Unavailable(format!(
            "queue took longer than {QUEUE_PATIENCE:?}"
        ))),
    }
}

/// Why events are not on the queue.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The queue failed.
    #[error("event is not on the queue")]
    Queue(#[from] QueueError),
    /// The table failed, where the files of an event are stored before it.
    #[error("files of an event are not stored")]
    Store(#[from] StoreError),
}

/// Puts the events of one account on the queue, in order.
///
/// # Errors
/// [`EnqueueError`] if the queue didn't accept all of them. What it accepted is recognized by its deduplication id when it is sent again.
pub async fn store_events(world: &World, bot: &Bot, events: &[Event]) -> Result<(), EnqueueError> {
    for event in events {
        let mut event = event.clone();
        let files = media::take_inline(bot, &mut event);
        media::store_inline(&world.store, &files, world.clock.now()).await?;
        let (Inbound { envelope, group, dedup }, apart) = inbound(world, bot, &event);
        if let Some(apart) = &apart {
            large_event::store(&world.store, apart, world.clock.now()).await?;
        }
        inbound::send(&world.queues, &envelope, &group, &dedup).await?;
        let Envelope::V1(inner) = envelope;
        info!(
            platform = bot.connector.manifest().platform,
            account.id = %inner.integration,
            chat.id = %Printable(event.chat().id.as_str()),
            event.key = %inner.message,
            "received event {}",
            inner.message
        );
    }
    Ok(())
}

/// An event as it is queued, and its parts that must be stored before.
pub(crate) fn inbound(world: &World, bot: &Bot, event: &Event) -> (Inbound, Option<StoredApart>) {
    if bot.connector.manifest().answers_by_newest
        && let Event::Message(message) = event
    {
        let sent_at = message.sent_at.unwrap_or_else(|| world.clock.now());
        world.newest_targets.keep(&message.target, sent_at);
    }
    let mut envelope = seal(world, bot, event);
    let apart = large_event::take(&mut envelope);
    let inbound = Inbound {
        group: inbound_group(&envelope.integration, event.chat()),
        dedup: deduplication_id(bot, event, &envelope),
        envelope: Envelope::V1(envelope),
    };
    (inbound, apart)
}

/// The event's deduplication id on the queue, which knows it for five minutes. Later deliveries are recognized by the message's id in the ledger.
fn deduplication_id(bot: &Bot, event: &Event, envelope: &EnvelopeV1) -> String {
    let fingerprint = match event {
        // Its envelope has the ids of the message that it recalls.
        Event::Recalled(_) => return format!("recall.{}", envelope.message),
        Event::Message(message) | Event::Overheard(message) if bot.connector.manifest().redelivers_with_new_id => {
            message.fingerprint()
        }
        _ => None,
    };
    match fingerprint {
        Some(fingerprint) => bot.account.ids.other("same.", &fingerprint),
        None => envelope.message.as_str().to_owned(),
    }
}

/// The approximate size of an event in memory.
pub(crate) fn size_of(inbound: &Inbound) -> usize {
    const REST: usize = 512;
    let Envelope::V1(inner) = &inbound.envelope;
    inner.event.len() + REST
}

fn seal(world: &World, bot: &Bot, event: &Event) -> EnvelopeV1 {
    let ids = &bot.account.ids;
    let id: &PlatformMessageId = event.id();
    let message = ids.message(id);
    let stored = serde_json::to_vec(&StoredEvent::from(event.clone())).expect("stored events serialize as JSON");
    let sealed = world.store.keyring().seal(&stored, message.as_str());
    EnvelopeV1 {
        organization: bot.account.organization.clone(),
        integration: bot.account.integration.clone(),
        account: bot.account_mark.clone(),
        reply: ids.reply(id),
        received_at: world.clock.now(),
        event: sealed,
        event_file: None,
        message,
    }
}

async fn note_remark(world: &World, platform: &str, id: &IntegrationId, remark: Option<Remark>) {
    let Some(Remark::Unreadable(reason)) = remark else {
        return;
    };
    warn!(platform, account.id = %id, error = reason, "proved request can't be read");
    integration_log::warn(world, id, "unreadable", reason).await;
}
