//! Reads the conversation of a wake-up: eventually consistent where what follows proves the state or a later look repeats the read.

use tieline_core::conversation::{Conversation, Lease, RunPhase};
use tieline_core::envelope::WakeUpV1;
use tieline_core::timestamp::Timestamp;
use tieline_store::{conversation, run};

use super::RunError;
use super::watchdog::Watchdog;
use crate::world::World;

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
        let recent = conversation::load_eventual(&world.store, &wake.conversation, now).await?;
        if let Some(until) = quiet_until(world, wake, recent.as_ref()).await? {
            watch.after_callback(until).await?;
            return Ok(None);
        }
        if let Some(found) = recent.filter(|it| has_unclaimed_messages(world, it)) {
            return Ok(Some((Box::new(found), true)));
        }
    }
    let found = conversation::load(&world.store, &wake.conversation, now).await?;
    Ok(found.map(|found| (Box::new(found), false)))
}

/// Until when an agent may call back that hasn't yet, by an eventually consistent read. Only for a watchdog, which is sent on: it finds later
/// what it misses now, and a callback wakes a runner itself.
async fn quiet_until(
    world: &World,
    wake: &WakeUpV1,
    recent: Option<&Conversation>,
) -> Result<Option<Timestamp>, RunError> {
    let now = world.clock.now();
    let Some((found, run)) = recent.and_then(|it| Some((it, it.run.as_ref()?))) else {
        return Ok(None);
    };
    let until = parked_until(found).filter(|until| now < *until);
    let Some(until) = until.filter(|_| wake.watch && run.watch == wake.watch_at) else {
        return Ok(None);
    };
    let is_heard = run::is_heard_eventual(&world.store, &run.id, now).await?;
    Ok((!is_heard).then_some(until))
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

/// Until when an agent may call back for a run whose lease was released. The holder of an expired lease may have died with work left to do.
pub(super) fn parked_until(conversation: &Conversation) -> Option<Timestamp> {
    let run = conversation.run.as_ref()?;
    let is_free = conversation.lease.as_ref().is_none_or(Lease::is_given_back);
    let is_parked = run.phase == RunPhase::Deferred && run.stop.is_none() && is_free;
    run.deferred_until.filter(|_| is_parked)
}
