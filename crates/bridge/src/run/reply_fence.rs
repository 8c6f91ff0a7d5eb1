//! The reply that a run begins with, fenced if an earlier process has begun it.

use tieline_core::connector::WaitingSign;
use tieline_store::StoreError;
use tieline_store::reply::{self, ReplyRecord};

use super::request::Asked;
use super::{LeasedConversation, RunError};
use crate::accounts::Bot;
use crate::conversation::{Contended, MAX_RACES};
use crate::world::World;
use crate::{deliver, reply_writes};

/// Reads the reply to the last message of a run. `None` if it can't have a record yet.
pub(super) async fn begun_reply(
    world: &World,
    held: &LeasedConversation,
    bot: &Bot,
    last: &Asked,
) -> Result<Option<ReplyRecord>, RunError> {
    if held.run().attempt > 1 {
        return take_over(world, held.fence, last.blank_reply(held)).await.map(Some);
    }
    // The first holder of a run is the first to write its reply, unless an operator redrove its message or it got a waiting sign.
    let may_be_signed = held.run().may_be_signed && deliver::mode(bot).waiting_sign != WaitingSign::Nothing;
    if last.record.redrives == 0 && !may_be_signed {
        return Ok(None);
    }
    Ok(reply::get(&world.store, &last.record.reply, world.clock.now()).await?)
}

/// Reads the reply of a run's later attempt, and writes our fencing token to it before the agent is asked. A write of an earlier process that
/// is still in flight either arrives before that, and its progress is continued, or is rejected: after our read it would end this attempt, and
/// another process would ask the agent once more. A reply with an outcome stays as it is, because its agent isn't asked again.
async fn take_over(world: &World, fence: u64, blank: ReplyRecord) -> Result<ReplyRecord, RunError> {
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        let found = reply::get(&world.store, &blank.id, now).await?;
        match &found {
            // The same token: our write was applied and its answer lost.
            Some(found) if found.outcome.is_some() || found.fence == fence => return Ok(found.clone()),
            Some(found) if found.fence > fence => return Err(RunError::Lost),
            _ => {}
        }
        let mut fenced = found.clone().unwrap_or_else(|| blank.clone());
        fenced.fence = fence;
        match reply_writes::save(world, found.as_ref(), &mut fenced, now).await {
            Ok(()) => return Ok(fenced),
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Contended.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[tokio::test]
    async fn late_writes_of_an_earlier_process_are_continued_or_rejected() {
        let (_engine, world) = test_support::world(&[]).await;
        let now = world.clock.now();
        let blank = test_support::blank_reply(now);
        let written_under = |fence: u64, text: &str| ReplyRecord {
            fence,
            text: text.to_owned(),
            ..blank.clone()
        };

        let mut early = written_under(3, "arrives before");
        reply::save(&world.store, None, &mut early, now).await.unwrap();
        let continued = take_over(&world, 5, blank.clone()).await.unwrap();
        assert_eq!((continued.fence, continued.text.as_str()), (5, "arrives before"));

        let mut late = ReplyRecord {
            text: "arrives after".to_owned(),
            ..early.clone()
        };
        let rejected = reply::save(&world.store, Some(&early), &mut late, now).await;
        assert!(matches!(rejected, Err(StoreError::Conflict)), "{rejected:?}");
        assert_eq!(take_over(&world, 5, blank.clone()).await.unwrap(), continued);
        assert!(matches!(take_over(&world, 4, blank).await, Err(RunError::Lost)));
    }

    #[tokio::test]
    async fn first_write_of_an_earlier_process_is_rejected_too() {
        let (_engine, world) = test_support::world(&[]).await;
        let now = world.clock.now();
        let blank = test_support::blank_reply(now);
        take_over(&world, 5, blank.clone()).await.unwrap();
        let mut late = ReplyRecord { fence: 3, ..blank };
        let rejected = reply::save(&world.store, None, &mut late, now).await;
        assert!(matches!(rejected, Err(StoreError::Conflict)), "{rejected:?}");
    }
}
