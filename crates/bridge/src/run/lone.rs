//! Replies that need no agent: our own sentences, and final texts that the platform didn't fetch.

use std::time::Duration;

use tieline_core::connector::Delivery;
use tieline_core::conversation::Lease;
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::Event;
use tieline_core::fate::LedgerStep;
use tieline_core::ids::ReplyId;
use tieline_core::reply::{Progress, ReplyTarget, Stage};
use tieline_store::config::integration;
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, ReplyRecord};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{AFTER_LEASE, Next, RunError, finish, watch_on};
use crate::accounts::{self, Bot};
use crate::deliver::{self, DeliverError, Showing, Shown};
use crate::journal;
use crate::world::World;

/// Longest delay of a wake-up.
const MAX_DELAY: Duration = Duration::from_secs(900);

/// Brings one finished reply into its chat, unless that is done or somebody does it.
pub(super) async fn look_after(
    world: &World,
    wake: &WakeUpV1,
    id: &ReplyId,
    until: Option<Instant>,
) -> Result<Next, RunError> {
    let now = world.clock.now();
    let Some(record) = reply::get(&world.store, id, now).await? else {
        return Ok(Next::Done);
    };
    let me = &world.settings.owner;
    if record.delivered || record.stage != Stage::Final {
        return Ok(Next::Done);
    }
    let taken = record.lease.as_ref().filter(|lease| !lease.is_free(me, now));
    if wake.watch {
        let delay = taken.map_or(world.settings.watchdog, |lease| {
            lease.expires_at.since(now) + AFTER_LEASE
        });
        watch_on(world, wake, delay).await?;
    }
    if taken.is_some() {
        return Ok(Next::Done);
    }
    let Some((ledger, bot, target)) = open(world, &record).await? else {
        return Ok(Next::Done);
    };
    let mut showing = Showing::new(world, &bot, &target, Some(record.clone()), || record);
    let fence = showing.record.version + 1;
    showing.record.lease = Some(Lease {
        owner: me.clone(),
        fence,
        expires_at: now.after(world.settings.lease),
    });
    save(&mut showing).await?;
    close_if_over(world, &bot, &mut showing.record).await?;
    let limit = Instant::now() + world.settings.lease / 2;
    let shown = showing
        .finish(Some(until.map_or(limit, |until| until.min(limit))))
        .await
        .map_err(lost)?;
    let next = conclude(world, wake, showing, &ledger, shown).await?;
    // The watchdog that was sent on looks again.
    Ok(if wake.watch { Next::Done } else { next })
}

async fn conclude(
    world: &World,
    wake: &WakeUpV1,
    mut showing: Showing<'_>,
    ledger: &MessageRecord,
    shown: Shown,
) -> Result<Next, RunError> {
    let now = world.clock.now();
    showing.record.lease = None;
    match shown {
        Shown::Yes => {
            showing.record.delivered = true;
            save(&mut showing).await?;
            message::note(&world.store, &ledger.id, &[LedgerStep::new(now, "delivered")]).await?;
            info!(account.id = %ledger.integration, event.key = %ledger.id, "delivered reply");
            Ok(Next::Done)
        }
        Shown::NotBefore(at) => {
            save(&mut showing).await?;
            info!(conversation = %wake.conversation, event.key = %ledger.id, "reply waits");
            Ok(Next::Again(at.since(now).min(MAX_DELAY)))
        }
        Shown::Never { code } => {
            showing.record.delivered = true;
            journal::warn(world, &ledger.integration, "delivery_refused", &code).await;
            warn!(account.id = %ledger.integration, event.key = %ledger.id, code, "reply can't be delivered");
            finish::bury(world, ledger, &code).await?;
            message::note(
                &world.store,
                &ledger.id,
                &[LedgerStep::new(now, "delivery_refused").code(code)],
            )
            .await?;
            save(&mut showing).await?;
            Ok(Next::Done)
        }
    }
}

/// When the platform has stopped asking and nobody closed the fetching, nothing was shown.
async fn close_if_over(world: &World, bot: &Bot, record: &mut ReplyRecord) -> Result<(), RunError> {
    let Delivery::Pull { lifetime, .. } = deliver::mode(bot).delivery else {
        return Ok(());
    };
    if record.closed.is_none() && world.clock.now() >= record.received_at.after(lifetime) {
        record.closed = Some(reply::close(&world.store, &record.id, &Progress::default(), world.clock.now()).await?);
    }
    Ok(())
}

/// Whose reply it is, and where it goes.
async fn open(world: &World, record: &ReplyRecord) -> Result<Option<(MessageRecord, Bot, ReplyTarget)>, RunError> {
    let Some(ledger) = message::get(&world.store, &record.message, world.clock.now()).await? else {
        return Ok(None);
    };
    let Some(bound) = integration::look_up(&world.store, &record.integration, world.clock.now()).await? else {
        return Ok(None);
    };
    let bot = match accounts::open(world, &bound.integration) {
        Ok(bot) => bot,
        Err(error) => {
            warn!(account.id = %record.integration, error = %error, "account can't be opened");
            return Ok(None);
        }
    };
    let target = match crate::event_of(world, &ledger) {
        Some(Event::Message(message)) => message.target,
        Some(Event::CardAction(action)) => action.target,
        Some(Event::Feedback(_)) | None => return Ok(None),
    };
    Ok(Some((ledger, bot, target)))
}

async fn save(showing: &mut Showing<'_>) -> Result<(), RunError> {
    showing.save().await.map_err(lost)
}

fn lost(DeliverError::Store(error): DeliverError) -> RunError {
    error.into()
}
