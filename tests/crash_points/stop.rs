//! Waiting messages that a command stops or drops, by a process that dies meanwhile.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_store::reply::{self, ReplyRecord};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::{Scenario, at_every_crash_point};
use crate::test_bot::{Over, set_up};
use crate::{LATER, MOST_POINTS};

/// The trigger's summary window: how long messages are gathered.
const WINDOW: Duration = Duration::from_secs(5);

/// Which queue the second process works first.
#[derive(Debug, Clone, Copy)]
enum First {
    Dispatcher,
    Runner,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reply_stays_open_when_the_dispatcher_works_first() {
    crash_everywhere("/stop", First::Dispatcher, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reply_stays_open_when_the_runner_works_first() {
    crash_everywhere("/stop", First::Runner, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_dropped_message_stays_open_when_the_dispatcher_works_first() {
    crash_everywhere("/new two", First::Dispatcher, 18).await;
}

/// The runner answers the new session's first message, so that the retry of its event finds it answered.
#[tokio::test(flavor = "multi_thread")]
async fn no_dropped_message_stays_open_when_the_runner_works_first() {
    crash_everywhere("/new two", First::Runner, 18).await;
}

/// A message is pending when `command` is sent. Its process dies at each crash point in turn. Fails if there are fewer than `at_least`.
async fn crash_everywhere(command: &str, first: First, at_least: u64) {
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    at_every_crash_point(at_least, async |point| {
        die_at(point, command, first, &agent, &chat).await
    })
    .await;
}

/// Returns whether the process reached that crash point.
async fn die_at(point: u64, command: &str, first: First, agent: &FakeAgent, chat: &ChatServer) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let plan = CrashPlan::new(Some(point));
    let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let bot = set_up(&process.world, Over::Web, &agent.as_chat("Counting"), chat, WINDOW).await;
    assert!(bot.receive(&process.world, "m0", "one").await);
    process.dispatch().await;
    process.watch();
    let heard = plan.unless_dead(bot.receive(&process.world, "m1", command)).await;
    if heard.is_some() {
        plan.unless_dead(process.dispatch()).await;
    }
    process.end().await;

    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
    if heard.is_none() {
        assert!(bot.receive(&process.world, "m1", command).await);
    }
    match first {
        First::Dispatcher => process.dispatch().await,
        First::Runner => process.run().await,
    };
    process.work().await;
    process.pass(2 * WINDOW);
    process.work().await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let found = found.unwrap().items;
    assert_eq!(found.len(), 2);
    for message in found {
        let crash_point = plan.crash_point();
        assert!(message.state.is_terminal(), "died {crash_point}: {:?}", message.steps);
        let reply = reply::get(store, &message.reply, now).await.unwrap();
        let stage = reply.map(|reply| reply.stage);
        assert_eq!(stage, Some(Stage::Final), "died {crash_point}: {:?}", message.steps);
        let is_unanswered = matches!(message.state, MessageState::Stopped | MessageState::Dropped);
        assert!(
            !is_unanswered || message.platform_message.as_str() == "m0",
            "died {crash_point}"
        );
    }
    process.end().await;
    plan.has_died()
}

/// A run that dies leaves a complete or an incomplete answer; in either case its conversation may still have the run.
#[tokio::test(flavor = "multi_thread")]
async fn stop_reports_stopped_only_for_incomplete_answers() {
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut told = Vec::new();
    for point in 0..MOST_POINTS {
        let Some((is_whole, notice)) = stop_after_death_at(point, &agent, &chat).await else {
            break;
        };
        let expected = match is_whole {
            true => Notice::NothingToStop,
            false => Notice::Stopped,
        };
        assert_eq!(notice, Some(expected), "point {point}, whole: {is_whole}");
        told.push(expected);
    }
    assert!(
        told.contains(&Notice::Stopped),
        "expected a notice Stopped among {told:?}"
    );
    let n_whole = told.iter().filter(|told| **told == Notice::NothingToStop).count();
    assert!(
        n_whole >= 2,
        "only {n_whole} crash points between the complete answer and the end of its run, expected at least 2"
    );
}

/// Returns whether the answer was complete when its process died, and the notice of `/stop` then. `None`: the crash point was not reached.
async fn stop_after_death_at(point: u64, agent: &FakeAgent, chat: &ChatServer) -> Option<(bool, Option<Notice>)> {
    let dir = tempfile::tempdir().unwrap();
    let plan = CrashPlan::new(Some(point));
    let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let bot = set_up(
        &process.world,
        Over::Web,
        &agent.as_chat("Counting"),
        chat,
        Duration::ZERO,
    )
    .await;
    assert!(bot.receive(&process.world, "m0", "one").await);
    process.dispatch().await;
    process.watch();
    plan.unless_dead(process.run()).await;
    process.end().await;
    if !plan.has_died() {
        return None;
    }

    // The lease of the dead process is still valid.
    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let outcome = reply_to(&process, "m0").await.and_then(|reply| reply.outcome);
    assert!(bot.receive(&process.world, "m1", "/stop").await);
    process.dispatch().await;
    let notice = reply_to(&process, "m1").await.and_then(|reply| reply.notice);
    process.end().await;
    Some((outcome.is_some(), notice))
}

/// The reply to a message, by the platform's id of the message.
async fn reply_to(process: &ProcessRun, id: &str) -> Option<ReplyRecord> {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let found = found.unwrap().items;
    let message = found.iter().find(|it| it.platform_message.as_str() == id).unwrap();
    reply::get(store, &message.reply, now).await.unwrap()
}

/// The platform asks for a pause, during which the person stops the answer.
#[tokio::test(flavor = "multi_thread")]
async fn stop_counts_until_the_answer_is_delivered() {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("Counting");
    let mut scenario = Scenario::begin(Over::DingTalk, agent, &settings).await;
    scenario.receive("one").await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["one"]);
    scenario.receive("/stop").await;
    scenario.process.work().await;
    *scenario.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scenario.process.pass(Duration::from_secs(61));
        scenario.process.work().await;
    }
    assert_eq!(
        scenario.chat.said().len(),
        1,
        "expected only the confirmation of the command: {:?}",
        scenario.chat.said()
    );
    assert_eq!(scenario.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scenario.agent.asked(), ["one"]);
}
