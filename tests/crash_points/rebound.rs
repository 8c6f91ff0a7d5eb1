//! Waiting messages whose trigger the operator changes meanwhile.

use serde_json::{Value, json};
use tieline_bridge::world::random;
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, OrganizationId, fresh};
use tieline_core::message_state::MessageState;
use tieline_core::trigger::BusyPolicy;
use tieline_store::config::agent;
use tieline_store::config::organization::DEFAULT;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::scenario::{Scenario, change_trigger};
use crate::test_bot::Over;

async fn scenario() -> Scenario {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("First");
    Scenario::begin(Over::DingTalk, agent, &settings).await
}

impl Scenario {
    /// Binds the bot to another agent.
    async fn rebind(&self, other: &FakeAgent) {
        let settings = other.as_chat("Second");
        let id = AgentId::new(fresh("agt", random()));
        let asked = Agent {
            name: "Second".to_owned(),
            id: id.clone(),
            organization: OrganizationId::new(DEFAULT),
            protocol: settings["protocol"].as_str().unwrap().to_owned(),
            config: AgentConfig::new(settings["config"].as_object().unwrap().clone()),
        };
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        agent::create(store, asked, now).await.unwrap();
        change_trigger(&self.process, |trigger| trigger.agent = id).await;
    }
}

/// All messages of the agent's newest request.
fn told(agent: &FakeAgent) -> Vec<String> {
    let body = agent.seen().pop().unwrap().body;
    let turns = body["messages"].as_array().unwrap().iter();
    turns
        .filter(|turn| turn["role"] != json!("system"))
        .map(words)
        .collect()
}

fn words(turn: &Value) -> String {
    turn["content"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_gets_no_history_of_the_first() {
    let scenario = scenario().await;
    let other = FakeAgent::start(Manner::default()).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    // The message waits while the bot is bound to the other agent.
    scenario.receive("two").await;
    scenario.rebind(&other).await;
    scenario.process.work().await;
    assert_eq!(told(&other), ["two"]);
    scenario.receive("three").await;
    scenario.process.work().await;
    assert_eq!(told(&other), ["two", "echo: two", "three"]);
    assert_eq!(scenario.agent.asked(), ["one"]);
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_gets_no_history_when_the_next_message_notices_the_rebinding() {
    let scenario = scenario().await;
    let other = FakeAgent::start(Manner::default()).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    scenario.receive("two").await;
    scenario.rebind(&other).await;
    scenario.receive("three").await;
    scenario.process.work().await;
    assert_eq!(told(&other), ["two", "echo: two", "three"]);
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_message_is_interrupted_by_the_next_one() {
    let scenario = scenario().await;
    change_trigger(&scenario.process, |trigger| {
        trigger.settings.busy_policy = BusyPolicy::Interrupt
    })
    .await;
    scenario.receive("one").await;
    scenario.receive("two").await;
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["two"]);
    assert_eq!(scenario.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scenario.n_ended(MessageState::Answered).await, 1);
}
