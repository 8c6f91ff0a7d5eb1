//! A person whom the organization's mapper doesn't know gets a notice, wherever a process crashes, and no agent is asked.

use std::time::Duration;

use axum::{Json, Router};
use serde_json::json;
use tieline_core::ids::OrganizationId;
use tieline_core::mapper::UnknownPolicy;
use tieline_core::message_state::MessageState;
use tieline_core::secret::Secret;
use tieline_store::config::organization::{self, DEFAULT, Mapper};
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::LATER;
use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::at_every_crash_point;
use crate::test_bot::{Over, set_up};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_person_is_refused_after_any_crash() {
    let (agent, mapper) = (FakeAgent::start(Manner::default()).await, empty_mapper().await);
    at_every_crash_point(24, async |point| die_at(point, &agent, &mapper).await).await;
    assert_eq!(agent.asked().len(), 0);
}

/// A mapper that knows no person.
async fn empty_mapper() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(async || Json(json!({ "unknown": true })));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Returns whether the process reached that crash point.
async fn die_at(point: u64, agent: &FakeAgent, mapper: &str) -> bool {
    let (dir, chat) = (tempfile::tempdir().unwrap(), ChatServer::start().await);
    let plan = CrashPlan::new(Some(point));
    let process = ProcessRun::begin(dir.path(), plan.clone(), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::DingTalk, &settings, &chat, Duration::ZERO).await;
    set_mapper(&process, mapper).await;
    process.watch();
    let heard = plan.unless_dead(bot.receive(&process.world, "m0", "one")).await;
    if heard.is_some() {
        plan.unless_dead(process.work()).await;
    }
    process.end().await;

    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
    if heard.is_none() {
        assert!(bot.receive(&process.world, "m0", "one").await);
    }
    process.work().await;
    process.pass(LATER);
    process.work().await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let found = found.unwrap().items;
    let crash_point = plan.crash_point();
    let ends: Vec<_> = found.iter().map(|it| (it.state, it.reason.as_deref())).collect();
    assert_eq!(
        ends,
        [(MessageState::Refused, Some(message::UNKNOWN_PERSON))],
        "died {crash_point}"
    );
    // Twice only if the process died between the platform's response and our record of it.
    let said = chat.said();
    assert!((1..=2).contains(&said.len()), "died {crash_point}: {said:?}");
    assert!(
        said.iter().all(|text| text.contains("未能识别您的账号")),
        "expected only the notice for unknown people, found {said:?}"
    );
    process.end().await;
    plan.has_died()
}

async fn set_mapper(process: &ProcessRun, url: &str) {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let before = organization::get(store, &organization, now).await.unwrap().unwrap();
    let mapper = Mapper {
        url: url.to_owned(),
        secret: Secret::new("a secret of the tests"),
        unknown: UnknownPolicy::Refuse,
    };
    organization::set_mapper(store, &before, Some(mapper)).await.unwrap();
}
