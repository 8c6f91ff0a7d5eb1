//! Sends notifications to an organization's operators: to a webhook, or as a message of one of the organization's bots.
//!
//! Notifications wait in an outbox in the table and are retried with backoff. Each attempt is recorded before it is made, so that two processes
//! don't make the same one, and a process that dies during one only delays the next. A notification keeps its id in all attempts: a
//! receiver that gets it twice can recognize it, and a chat shows it once.
//!
//! A bot's message is delivered after the attempt, and retried like every reply. Its outcome is in the ledger, and becomes the attempt's.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, digest, fresh};
use tieline_core::message_state::MessageState;
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::config::notify::{NotifyChannel, NotifyRecipient, NotifySettings};
use tieline_store::message;
use tieline_store::notifications::{self, Attempt, Notifications, Outgoing};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::accounts::{self, AccountError};
use crate::error_chain::chain;
use crate::proactive::{self, Content, Recipient, SpeakError};
use crate::signed_post::{self, SignedPostError};
use crate::world::{World, chance, random};

/// Time between two attempts to send a notification: with [`MAX_ATTEMPTS`] about three hours in all.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_mins(1),
    cap: Duration::from_hours(1),
};
/// Most attempts of one notification.
const MAX_ATTEMPTS: u32 = 8;
/// How long a notification is worth sending: longer than all attempts take. One that waits longer has waited while notifications were off.
const LIFETIME: Duration = Duration::from_hours(6);
/// Timeout of a webhook.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most notifications of one organization sent in one pass. The rest is sent in the next.
const MAX_SENDS: usize = 2;
/// Most notifications of an organization that wait. Beyond that the oldest one is dropped.
const MAX_WAITING: usize = 20;
/// Most messages remembered as notifications.
const MAX_OWN_MESSAGES: usize = 20;
/// Most attempts to record the outcome of a notification.
const MAX_RACES: usize = 5;
/// How long a test waits for the outcome of a bot's message.
const TEST_PATIENCE: Duration = Duration::from_secs(8);
/// Time between two reads of the outcome.
const TEST_INTERVAL: Duration = Duration::from_millis(200);

/// A notification as it is sent: a JSON object for a webhook, and text for a chat.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Its id, the same in every attempt.
    pub id: &'a str,
    /// JSON, with the text for people in `text`.
    pub body: &'a str,
}

/// Why a notification was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The webhook failed.
    #[error(transparent)]
    Webhook(#[from] SignedPostError),
    /// The bot was deleted or stopped, or can only answer.
    #[error("the bot {0} can't send messages: it was deleted or stopped, or can only answer")]
    NoBot(IntegrationId),
    /// The platform refused the bot's message for good.
    #[error("the message {message} could not be delivered: {code}")]
    Refused {
        /// The message.
        message: MessageId,
        /// The platform's code.
        code: String,
    },
    /// The bot's message has no outcome yet.
    #[error("the message {0} is not delivered yet; its steps will show whether it arrives")]
    Undelivered(MessageId),
    /// The bot's settings can't be used.
    #[error("the bot can't be used")]
    Account(#[from] AccountError),
    /// The message can't be recorded.
    #[error("the message can't be recorded")]
    Speak(#[from] SpeakError),
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
}

/// A random notification id.
#[must_use]
pub fn fresh_id() -> String {
    fresh("ntf", random())
}

/// Adds a notification to the outbox. The caller saves it.
pub fn enqueue(notifications: &mut Notifications, id: String, body: String, now: Timestamp) {
    if notifications.outbox.len() >= MAX_WAITING {
        let dropped = notifications.outbox.remove(0);
        warn!(notification.id = %dropped.id, "dropped a notification: the outbox is full");
    }
    notifications.outbox.push(Outgoing {
        id,
        at: now,
        attempts: 0,
        next_at: now,
        body,
    });
}

/// Sends the notifications that are due. Failed ones are retried later, and given up in the end.
///
/// # Errors
/// The table's.
pub async fn send_due(world: &World, settings: &NotifySettings) -> Result<(), StoreError> {
    let organization = &settings.organization;
    for _ in 0..MAX_SENDS {
        let Some((due, attempt)) = claim(world, organization).await? else {
            return Ok(());
        };
        let notification = Notification {
            id: &due.id,
            body: &due.body,
        };
        let sent = send(world, settings, notification).await;
        match &sent {
            Ok(None) => info!(organization.id = %organization, notification.id = %due.id, "sent a notification"),
            Ok(Some(message)) => {
                info!(organization.id = %organization, notification.id = %due.id, event.key = %message, "a bot delivers a notification");
            }
            Err(error) => {
                let error = chain(error);
                warn!(organization.id = %organization, notification.id = %due.id, attempt, error, "a notification can't be sent");
            }
        }
        record(world, organization, &due.id, &sent).await?;
    }
    Ok(())
}

/// The next due notification, with the number of the attempt, which is recorded. `None`: none is due, or another process is sending
/// at the same time.
async fn claim(world: &World, organization: &OrganizationId) -> Result<Option<(Outgoing, u32)>, StoreError> {
    let now = world.clock.now();
    let mut all = notifications::get(&world.store, organization).await?;
    let is_settled = settle(world, &mut all).await;
    let n_waiting = all.outbox.len();
    // A process that died during the last attempt recorded no outcome.
    all.outbox
        .retain(|waiting| waiting.attempts < MAX_ATTEMPTS && now.since(waiting.at) < LIFETIME);
    let due = all.outbox.iter_mut().find(|waiting| waiting.next_at <= now);
    let claimed = due.map(|due| {
        due.attempts += 1;
        due.next_at = now.after(BACKOFF.wait(due.attempts, chance()));
        (due.clone(), due.attempts)
    });
    if claimed.is_none() && all.outbox.len() == n_waiting && !is_settled {
        return Ok(None);
    }
    match notifications::save(&world.store, organization, &mut all).await {
        Ok(()) => Ok(claimed),
        Err(StoreError::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Records the outcome of an attempt.
async fn record(
    world: &World,
    organization: &OrganizationId,
    id: &str,
    sent: &Result<Option<MessageId>, NotifyError>,
) -> Result<(), StoreError> {
    let at = world.clock.now();
    for _ in 0..MAX_RACES {
        let mut all = notifications::get(&world.store, organization).await?;
        all.outbox
            .retain(|waiting| waiting.id != id || sent.is_err() && waiting.attempts < MAX_ATTEMPTS);
        if let Ok(Some(message)) = sent {
            all.own_messages.push(message.clone());
            let n_old = all.own_messages.len().saturating_sub(MAX_OWN_MESSAGES);
            all.own_messages.drain(..n_old);
        }
        all.last_attempt = Some(Attempt {
            at,
            error: sent.as_ref().err().map(|error| chain(error)),
            message: sent.as_ref().ok().cloned().flatten(),
        });
        match notifications::save(&world.store, organization, &mut all).await {
            Err(StoreError::Conflict) => {}
            saved => return saved,
        }
    }
    // It will be sent once more, under the same id.
    Err(StoreError::Conflict)
}

/// Completes the latest attempt once the outcome of its message is known. Returns whether it did; the caller may save it.
pub async fn settle(world: &World, notifications: &mut Notifications) -> bool {
    let Some(attempt) = &mut notifications.last_attempt else {
        return false;
    };
    let Some(message) = &attempt.message else {
        return false;
    };
    let is_late = world.clock.now().since(attempt.at) >= LIFETIME;
    let error = match outcome(world, message).await {
        Ok(()) => None,
        // A ledger that can't be read must not hold back the next notification.
        Err(NotifyError::Undelivered(_) | NotifyError::Store(_)) if !is_late => return false,
        Err(error) => Some(chain(&error)),
    };
    attempt.error = error;
    attempt.message = None;
    true
}

/// Outcome of a bot's message in the ledger.
async fn outcome(world: &World, id: &MessageId) -> Result<(), NotifyError> {
    let found = message::show(&world.store, id, world.clock.now()).await?;
    let undelivered = || NotifyError::Undelivered(id.clone());
    let record = found.ok_or_else(undelivered)?;
    if record.state == MessageState::Failed {
        return Err(NotifyError::Refused {
            message: id.clone(),
            code: record.reason.unwrap_or_default(),
        });
    }
    match record.steps.iter().any(|step| step.step == "delivered") {
        true => Ok(()),
        false => Err(undelivered()),
    }
}

/// Sends a test notification, and waits a few seconds for the outcome if a bot sends it. Returns the bot's message with the outcome.
pub async fn test(
    world: &World,
    settings: &NotifySettings,
    notification: Notification<'_>,
) -> (Option<MessageId>, Result<(), NotifyError>) {
    let message = match send(world, settings, notification).await {
        Ok(Some(message)) => message,
        sent => return (None, sent.map(drop)),
    };
    let give_up_at = Instant::now() + TEST_PATIENCE;
    loop {
        let outcome = outcome(world, &message).await;
        if !matches!(outcome, Err(NotifyError::Undelivered(_))) || Instant::now() >= give_up_at {
            return (Some(message), outcome);
        }
        tokio::time::sleep(TEST_INTERVAL).await;
    }
}

/// Sends a notification now. Returns the message, if a bot sends it; its outcome is in the ledger.
///
/// # Errors
/// [`NotifyError`].
pub async fn send(
    world: &World,
    settings: &NotifySettings,
    notification: Notification<'_>,
) -> Result<Option<MessageId>, NotifyError> {
    match &settings.channel {
        NotifyChannel::Webhook { url, secret } => post(world, url, secret, notification).await.map(|()| None),
        NotifyChannel::Chat { integration, to } => say(world, &settings.organization, integration, to, notification)
            .await
            .map(Some),
    }
}

async fn post(world: &World, url: &str, secret: &Secret, notification: Notification<'_>) -> Result<(), NotifyError> {
    let Notification { id, body } = notification;
    signed_post::send(world, (url, secret), (id, body.to_owned()), PATIENCE).await?;
    Ok(())
}

async fn say(
    world: &World,
    organization: &OrganizationId,
    id: &IntegrationId,
    to: &NotifyRecipient,
    notification: Notification<'_>,
) -> Result<MessageId, NotifyError> {
    let found = integration::get(&world.store, id).await?;
    let record = found.filter(|record| record.enabled && record.organization == *organization);
    let record = record.ok_or_else(|| NotifyError::NoBot(id.clone()))?;
    let bot = accounts::open(world, &record)?;
    let mode = bot.connector.manifest().mode(record.mode);
    if !mode.is_some_and(|mode| mode.proactive_with(&record.endpoints)) {
        return Err(NotifyError::NoBot(id.clone()));
    }
    let to = match to {
        NotifyRecipient::Chat(chat) => Recipient::Chat(chat.clone()),
        NotifyRecipient::Person(person) => Recipient::Person(person.clone()),
    };
    let said = proactive::speak(
        world,
        &bot,
        to,
        Content::Text(text_of(notification.body)),
        name_of(notification.id),
    )
    .await?;
    Ok(said.id)
}

/// The text for people.
fn text_of(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    body["text"].as_str().unwrap_or_default().to_owned()
}

/// Seed of the message's id: the same for the same notification, so that it is shown once however often it is sent.
fn name_of(id: &str) -> [u8; 12] {
    let mut name = [0; 12];
    name.copy_from_slice(&digest(&["notification", id]).as_bytes()[..12]);
    name
}
