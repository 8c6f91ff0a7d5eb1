//! An operator who schedules messages of the bot, and cancels some.

use std::sync::{Arc, Mutex};

use tieline_bridge::world::World;
use tieline_core::ids::ChatId;
use tieline_store::StoreError;
use tieline_store::scheduled::{self, Audience, Content, Scheduled, State};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::bot::{bot, organization, pushed_chat};
use crate::chance::SeededRng;
use crate::erasure::Erasures;
use crate::faults::FaultPlan;
use crate::platform::{Platform, ShownMessage};
use crate::process::Process;

/// The operator's timeout for a request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often the operator repeats a request that fails.
pub(crate) const TRIES: usize = 100;

/// A scheduled message, as the operator knows it.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    id: String,
    chat: usize,
    text: String,
    is_created: bool,
    is_cancelled: bool,
}

/// All messages of the operator.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlannedMessages(Arc<Mutex<Vec<Planned>>>);

/// Schedules a message, and perhaps cancels it.
pub(crate) async fn schedule(
    number: u64,
    chat: usize,
    processes: Arc<Vec<Arc<Process>>>,
    planned: PlannedMessages,
    mut rng: SeededRng,
) {
    sleep(rng.millis(0, 100_000)).await;
    let mut message = Planned {
        id: format!("sch_{number:024x}"),
        chat,
        text: format!("scheduled {number}"),
        is_created: false,
        is_cancelled: false,
    };
    let ahead = rng.millis(0, 120_000);
    for _ in 0..TRIES {
        if let Some(world) = Process::any_running(&processes, &mut rng) {
            message.is_created = matches!(timeout(PATIENCE, create(&world, &message, ahead)).await, Ok(Ok(())));
        }
        if message.is_created {
            break;
        }
        sleep(rng.millis(500, 5_000)).await;
    }
    let at = {
        let mut all = planned.0.lock().unwrap();
        all.push(message.clone());
        all.len() - 1
    };
    if rng.below(2) == 0 {
        return;
    }
    sleep(rng.millis(0, 150_000)).await;
    for _ in 0..TRIES {
        if let Some(world) = Process::any_running(&processes, &mut rng)
            && let Ok(Ok(is_cancelled)) = timeout(PATIENCE, cancel(&world, &message.id)).await
        {
            planned.0.lock().unwrap()[at].is_cancelled = is_cancelled;
            return;
        }
        sleep(rng.millis(500, 5_000)).await;
    }
}

async fn create(world: &World, planned: &Planned, ahead: Duration) -> Result<(), StoreError> {
    let now = world.clock.now();
    let message = Scheduled {
        id: planned.id.clone(),
        organization: organization(),
        integration: bot(),
        at: now.after(ahead),
        to: Audience::Chat(ChatId::new(pushed_chat(planned.chat).to_string())),
        content: Content::Text(planned.text.clone()),
        state: State::Waiting,
        n_said: 0,
        cursor: None,
        begun: false,
        created_at: now,
        version: 1,
    };
    match scheduled::create(&world.store, &message).await {
        // Stored by an earlier attempt, whose answer was lost.
        Err(StoreError::Conflict) => Ok(()),
        created => created,
    }
}

/// Cancels a message, as the API does. Returns whether it is cancelled, or an error if that is to be tried again.
async fn cancel(world: &World, id: &str) -> Result<bool, StoreError> {
    let found = scheduled::get(&world.store, &organization(), id, world.clock.now()).await?;
    let Some(kept) = found else {
        return Ok(false);
    };
    let message = kept.open(&world.store, world.clock.now().since(kept.created_at()))?;
    if message.is_none_or(|message| message.is_past_cancelling()) {
        // Perhaps by an earlier attempt, whose answer was lost.
        return Ok(*kept.state() == State::Cancelled);
    }
    scheduled::end(&world.store, &kept, &State::Cancelled)
        .await
        .map(|()| true)
}

/// Whether all messages have been sent or cancelled.
pub(crate) async fn have_ended(world: &World, planned: &PlannedMessages) -> bool {
    let all = planned.0.lock().unwrap().clone();
    for message in all {
        let found = scheduled::get(&world.store, &organization(), &message.id, world.clock.now()).await;
        if found.unwrap().is_some_and(|message| *message.state() == State::Waiting) {
            return false;
        }
    }
    true
}

/// Whether a message of the bot is one of the operator's.
pub(crate) fn is_planned(message: &ShownMessage) -> bool {
    message.text().starts_with("scheduled ")
}

/// Each message was sent to its chat, a second time only after a fault, and a cancelled one not at all.
pub(crate) fn check(
    planned: &PlannedMessages,
    platform: &Platform,
    faults: &FaultPlan,
    erasures: &Erasures,
) -> Result<(), String> {
    let shown = platform.messages();
    for message in planned.0.lock().unwrap().iter() {
        let copies: Vec<&ShownMessage> = shown.iter().filter(|shown| shown.text() == message.text).collect();
        if copies.iter().any(|copy| copy.chat != pushed_chat(message.chat)) {
            return Err(format!("{message:?} was sent to another chat"));
        }
        let times: Vec<Instant> = copies.iter().map(|copy| copy.sent_at()).collect();
        let is_wrong = match (message.is_created, message.is_cancelled) {
            (_, true) => !times.is_empty(),
            (true, false) => times.is_empty() && !erasures.may_concern_chat(message.chat),
            // It was never confirmed.
            (false, false) => false,
        };
        if is_wrong {
            return Err(format!("{message:?} was sent at {times:?}"));
        }
        if let Some(pair) = times.windows(2).find(|pair| !faults.has_fault(pair[0], pair[1])) {
            return Err(format!("{message:?} was sent twice without a fault: {pair:?}"));
        }
    }
    Ok(())
}
