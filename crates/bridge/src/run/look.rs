//! Reads the conversation of a wake-up: eventually consistent where what follows proves the state or a later look repeats the read.

use tieline_core::conversation::{Conversation, Lease, RunPhase};
use tieline_core::envelope::{ParkedV1, WakeUpV1};
use tieline_core::timestamp::Timestamp;
use tieline_store::{conversation, run};

use super::RunError;
use super::watchdog::Watchdog;
use crate::world::World;

/// How many looks at a parked run in a row read only whether its agent has called back: most runs that wait for long do so for hours.
const MAX_SHORT_LOOKS: u8 = 3;

/// The conversation of a wake-up, and whether the read was eventually consistent, which `may_be` allows: saving it then proves that it was
/// current, and a decision that saves nothing must read it again. `None`: there is nothing to do.
pub(super) async fn look_at(
    world: &World,
    watch: &mut Watchdog<'_>,
    wake: &WakeUpV1,
    may_be: bool,
) -> Result<Option<(Box<Conversation>, bool)>, RunError> {
    let now = world.clock.now();
    if may_be && (!wake.watch || watch.was_sent_on()) {
        if let Some(known) = known_parked(wake, now) {
            if !run::is_heard_eventual(&world.store, &known.run, now).await? {
                watch.after_callback(known).await?;
                return Ok(None);
            }
        } else {
            let recent = conversation::load_eventual(&world.store, &wake.conversation, now).await?;
            if let Some(parked) = found_parked(world, wake, recent.as_ref()).await? {
                watch.after_callback(parked).await?;
                return Ok(None);
            }
            if let Some(found) = recent.filter(|it| has_unclaimed_messages(world, it)) {
                return Ok(Some((Box::new(found), true)));
            }
        }
    }
    let found = conversation::load(&world.store, &wake.conversation, now).await?;
    Ok(found.map(|found| (Box::new(found), false)))
}

/// The run that this watchdog has found parked before, if one more look need only ask whether its agent has called back. Whatever else happens
/// to the run wakes a runner itself, and one look in [`MAX_SHORT_LOOKS`] and one reads all.
fn known_parked(wake: &WakeUpV1, now: Timestamp) -> Option<ParkedV1> {
    let parked = wake.parked.as_ref().filter(|_| wake.watch)?;
    (now < parked.until && parked.n_short < MAX_SHORT_LOOKS).then(|| ParkedV1 {
        n_short: parked.n_short + 1,
        ..parked.clone()
    })
}

/// The conversation's parked run if its agent hasn't called back yet, by an eventually consistent read. Only for a watchdog, which is sent on:
/// it finds later what it misses now, and a callback wakes a runner itself.
async fn found_parked(
    world: &World,
    wake: &WakeUpV1,
    recent: Option<&Conversation>,
) -> Result<Option<ParkedV1>, RunError> {
    let now = world.clock.now();
    let is_watched = |it: &&Conversation| wake.watch && it.run.as_ref().is_some_and(|run| run.watch == wake.watch_at);
    let found = recent.filter(is_watched).and_then(parked);
    let Some(parked) = found.filter(|parked| now < parked.until) else {
        return Ok(None);
    };
    let is_heard = run::is_heard_eventual(&world.store, &parked.run, now).await?;
    Ok((!is_heard).then_some(parked))
}

/// Whether messages are pending in a conversation without a lease holder and a run.
fn has_unclaimed_messages(world: &World, found: &Conversation) -> bool {
    found.run.is_none() && !found.pending.is_empty() && held_by(world, found).is_none()
}

/// The conversation's lease, if it isn't free for this process.
pub(super) fn held_by<'a>(world: &World, conversation: &'a Conversation) -> Option<&'a Lease> {
    let (me, now) = (&world.settings.owner, world.clock.now());
    conversation.lease.as_ref().filter(|lease| !lease.is_free(me, now))
}

/// A run whose agent may call back and whose lease was released. The holder of an expired lease may have died with work left to do.
pub(super) fn parked(conversation: &Conversation) -> Option<ParkedV1> {
    let run = conversation.run.as_ref()?;
    let is_free = conversation.lease.as_ref().is_none_or(Lease::is_given_back);
    let is_parked = run.phase == RunPhase::Deferred && run.stop.is_none() && is_free;
    let until = run.deferred_until.filter(|_| is_parked)?;
    Some(ParkedV1 {
        run: run.id.clone(),
        until,
        n_short: 0,
    })
}
