//! A question over a limit is refused or answered, never both, wherever a process crashes.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::trigger::Trigger;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::LATER;
use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::{at_every_crash_point, change_trigger};
use crate::test_bot::{Over, set_up};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_question_is_not_asked_after_a_crash() {
    at_every_crash_point(14, die_at).await;
}

/// Returns whether the process reached that crash point.
async fn die_at(point: u64) -> bool {
    let (dir, chat) = (tempfile::tempdir().unwrap(), ChatServer::start().await);
    let agent = FakeAgent::start(Manner::default()).await;
    let plan = CrashPlan::new(Some(point));
    let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let ask = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::DingTalk, &ask, &chat, Duration::ZERO).await;
    let limit = |trigger: &mut Trigger| trigger.settings.max_messages_per_person_per_minute = Some(1);
    change_trigger(&process, limit).await;
    assert!(bot.receive(&process.world, "m0", "one").await);
    process.work().await;
    process.watch();
    let heard = plan.unless_dead(bot.receive(&process.world, "m1", "two")).await;
    if heard.is_some() {
        plan.unless_dead(process.work()).await;
    }
    process.end().await;

    // By now the limit allows another question.
    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
    if heard.is_none() {
        assert!(bot.receive(&process.world, "m1", "two").await);
    }
    process.work().await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let second = found.unwrap().items.swap_remove(0);
    let died = plan.crash_point();
    let was_refused = chat.said().iter().any(|said| !said.contains("echo: "));
    let (state, reason, n_asked) = match was_refused {
        true => (MessageState::Refused, Some("person_rate_limit"), 1),
        false => (MessageState::Answered, None, 2),
    };
    assert_eq!((second.state, second.reason.as_deref()), (state, reason), "died {died}");
    assert_eq!(agent.asked().len(), n_asked, "died {died}");
    process.end().await;
    plan.has_died()
}
