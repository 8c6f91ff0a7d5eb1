//! Callbacks of agents, and their limits.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::operator::{RunGrant, run_token};
use tieline_core::conversation::{Conversation, ConversationKey, RunPhase, RunState};
use tieline_core::envelope::WakeUp;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{AgentId, ChatId, IntegrationId, MessageId, OrganizationId, RunId};
use tieline_core::timestamp::Timestamp;
use tieline_store::conversation;
use tieline_store::run::{self, MAX_AHEAD, MAX_EVENTS, RunRecord};

use crate::test_api::{Reply, TestApi};

const PATH: &str = "/api/runs/run_1/events";

fn key() -> ConversationKey {
    ConversationKey {
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("c"),
            thread: None,
        },
        sender: None,
    }
}

fn under_way(now: Timestamp) -> RunState {
    let messages = vec![MessageId::new("msg_1")];
    RunState::new(RunId::new("run_1"), messages, 1, AgentId::new("agt_1"), now)
}

async fn save(api: &TestApi, before: &Conversation, run: Option<RunState>) {
    let mut after = Conversation { run, ..before.clone() };
    conversation::save(&api.world.store, before, &mut after).await.unwrap();
}

/// A run that waits for its agent, and the token of the agent's callbacks.
async fn waiting(api: &TestApi, n_events: u64) -> String {
    let now = api.world.clock.now();
    let before = Conversation::new(key(), now);
    save(api, &before, Some(under_way(now))).await;
    let record = RunRecord {
        id: RunId::new("run_1"),
        organization: key().organization,
        integration: key().integration,
        conversation: key().id(),
        started_at: now,
        closed: false,
        end: None,
        n_events,
        n_bytes: 0,
        last_seq: 0,
    };
    run::open_run(&api.world.store, &record).await.unwrap();
    let grant = RunGrant {
        run: record.id,
        conversation: record.conversation,
        organization: record.organization,
        expires_at: now.after(Duration::from_secs(60)),
    };
    run_token(&api.world, &grant).expose().to_owned()
}

async fn report(api: &TestApi, token: &str, events: &[(u64, &str)]) -> Reply {
    let events: Vec<Value> = events
        .iter()
        .map(|(seq, kind)| json!({ "seq": seq, "event": { "type": kind, "text": "t" } }))
        .collect();
    api.ask(token, "POST", PATH, &Value::Array(events)).await
}

async fn n_wake_ups(api: &TestApi) -> usize {
    let queues = &api.world.queues;
    let wait = Duration::from_millis(10);
    let received = tieline_queue::receive::receive::<WakeUp>(queues, &queues.urls().work, 10, wait).await;
    received.unwrap().len()
}

#[tokio::test]
async fn final_event_wakes_the_runner_and_later_events_are_refused() {
    let api = TestApi::new().await;
    let token = waiting(&api, 0).await;
    let answer = report(&api, &token, &[(1, "completed"), (2, "text.delta")]).await;
    answer.problem(409, "run_closed");
    assert_eq!(n_wake_ups(&api).await, 1);
    let seen = api.ask(&token, "GET", PATH, &Value::Null).await.ok();
    assert_eq!(seen["lastSeq"], 1);
}

#[tokio::test]
async fn a_run_is_closed_as_soon_as_all_events_up_to_the_final_one_are_received() {
    let api = TestApi::new().await;
    let token = waiting(&api, 0).await;
    let state = async |received: Reply| {
        let received = received.ok();
        let seen = api.ask(&token, "GET", PATH, &Value::Null).await.ok();
        assert_eq!(seen, received);
        (received["lastSeq"].clone(), received["state"].clone())
    };
    let gap = state(report(&api, &token, &[(1, "text.delta"), (3, "completed")]).await).await;
    assert_eq!(gap, (json!(1), json!("open")));
    let complete = state(report(&api, &token, &[(2, "text.delta")]).await).await;
    assert_eq!(complete, (json!(3), json!("closed")));
    let again = state(report(&api, &token, &[(3, "completed")]).await).await;
    assert_eq!(again, complete);
}

#[tokio::test]
async fn events_over_the_limit_of_a_run_are_refused_with_a_code() {
    let api = TestApi::new().await;
    let token = waiting(&api, MAX_EVENTS - 1).await;
    let far = report(&api, &token, &[(MAX_AHEAD + 1, "text.delta")]).await;
    far.problem(413, "seq_too_far_ahead");
    let many = report(&api, &token, &[(1, "text.delta"), (2, "text.delta")]).await;
    many.problem(413, "too_many_events");
    let again = report(&api, &token, &[(1, "text.delta")]).await.ok();
    assert_eq!(again["lastSeq"], 1);
    let end = report(&api, &token, &[(2, "completed")]).await.ok();
    assert_eq!(end["lastSeq"], 2);
}

#[tokio::test]
async fn events_after_the_end_of_a_run_are_refused() {
    for is_delivered in [false, true] {
        let api = TestApi::new().await;
        let token = waiting(&api, 0).await;
        report(&api, &token, &[(1, "text.delta")]).await.ok();
        let (store, now) = (&api.world.store, api.world.clock.now());
        let before = conversation::load(store, &key().id(), now).await.unwrap().unwrap();
        let delivering = before.run.clone().map(|run| RunState {
            phase: RunPhase::Delivering,
            ..run
        });
        save(&api, &before, delivering.filter(|_| !is_delivered)).await;
        let late = report(&api, &token, &[(2, "text.delta")]).await;
        late.problem(409, "run_closed");
        let again = report(&api, &token, &[(1, "text.delta")]).await.ok();
        let seen = api.ask(&token, "GET", PATH, &Value::Null).await.ok();
        for told in [again, seen] {
            assert_eq!((&told["lastSeq"], &told["state"]), (&json!(1), &json!("closed")));
        }
    }
}
