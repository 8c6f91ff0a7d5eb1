//! A person chooses another agent while a message waits: each message is answered by the agent that it was sent to, wherever a process crashes.

use std::time::Duration;

use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, OrganizationId};
use tieline_core::message_state::MessageState;
use tieline_store::config::agent;
use tieline_store::config::organization::DEFAULT;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::LATER;
use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::{at_every_crash_point, change_trigger, n_ended};
use crate::test_bot::{Over, set_up};

const WINDOW: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_answered_by_its_own_agent_after_any_crash() {
    at_every_crash_point(24, die_at).await;
}

/// Returns whether the process reached that crash point.
async fn die_at(point: u64) -> bool {
    let (dir, chat) = (tempfile::tempdir().unwrap(), ChatServer::start().await);
    let (own, other) = (
        FakeAgent::start(Manner::default()).await,
        FakeAgent::start(Manner::default()).await,
    );
    let plan = CrashPlan::new(Some(point));
    let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let bot = set_up(&process.world, Over::Web, &own.as_chat("Own"), &chat, WINDOW).await;
    offer(&process, &other).await;
    let texts = ["one", "/agent Other", "two"];
    assert!(bot.receive(&process.world, "m0", texts[0]).await);
    process.dispatch().await;
    process.watch();
    let mut n_heard = 1;
    for (at, text) in texts.iter().enumerate().skip(1) {
        let heard = plan
            .unless_dead(bot.receive(&process.world, &format!("m{at}"), text))
            .await;
        if heard.is_none() {
            break;
        }
        n_heard += 1;
        plan.unless_dead(process.dispatch()).await;
    }
    process.end().await;

    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
    for (at, text) in texts.iter().enumerate().skip(n_heard) {
        assert!(bot.receive(&process.world, &format!("m{at}"), text).await);
    }
    process.work().await;
    process.pass(LATER);
    process.work().await;
    let crash_point = plan.crash_point();
    assert_eq!(
        (own.asked(), other.asked()),
        (vec!["one".to_owned()], vec!["two".to_owned()]),
        "died {crash_point}"
    );
    assert_eq!(n_ended(&process, MessageState::Answered).await, 2, "died {crash_point}");
    assert_eq!(
        n_ended(&process, MessageState::Commanded).await,
        1,
        "died {crash_point}"
    );
    process.end().await;
    plan.has_died()
}

/// Creates another agent, and lets people choose it.
async fn offer(process: &ProcessRun, other: &FakeAgent) {
    let (store, now, organization) = (
        &process.world.store,
        process.world.clock.now(),
        OrganizationId::new(DEFAULT),
    );
    let settings = other.as_chat("Other");
    let other = Agent {
        id: AgentId::new("agt_other"),
        organization: organization.clone(),
        name: "Other".to_owned(),
        protocol: "openai_chat".to_owned(),
        config: AgentConfig::new(settings["config"].as_object().unwrap().clone()),
    };
    agent::create(store, other, now).await.unwrap();
    change_trigger(process, |trigger| trigger.settings.agent_choice = true).await;
}
