//! Frames of runners, in this process and in others, sent over a bot's socket.

use std::time::Duration;

use serde_json::json;
use tieline_bridge::accounts::{self, Bot};
use tieline_bridge::connections::relay_call::{self, FrameAttempts};
use tieline_bridge::deliver::{DeliveryOutcome, ReplyDelivery};
use tieline_bridge::world::World;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::ids::{
    ChatId, ConversationId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, SenderId,
};
use tieline_core::reply::{ReplyHandle, ReplyTarget, Stage};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration::{self, IntegrationSettings};
use tieline_store::reply::{self, About, Outcome, ReplyRecord};
use tokio::time::Instant;

use crate::platform::Manners;
use crate::test_cluster::{TestCluster, until};

async fn bot(world: &World, id: &IntegrationId) -> Bot {
    let bound = integration::look_up(&world.store, id, world.clock.now()).await;
    accounts::open(world, &bound.unwrap().unwrap().integration).unwrap()
}

async fn send(world: &World, id: &IntegrationId, content: &str, tries: &mut FrameAttempts) -> ApiAnswer {
    send_as(world, &bot(world, id).await, content, tries).await
}

async fn send_as(world: &World, bot: &Bot, content: &str, tries: &mut FrameAttempts) -> ApiAnswer {
    let call = SocketCall {
        name: "stream".to_owned(),
        lane: "r-m1".to_owned(),
        frame: json!({ "cmd": "aibot_respond_msg", "reqId": "r-m1", "body": { "content": content } }),
        replaceable: false,
        expires_at: world.clock.now().after(Duration::from_secs(60)),
    };
    relay_call::send(world, bot, &ReplyId::new("tl-1"), &call, tries).await
}

fn is_ok(answer: &ApiAnswer) -> bool {
    answer
        .json()
        .is_some_and(|answer| answer["errcode"] == 0 && answer["headers"]["req_id"] == "r-m1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_reaches_the_socket_from_this_process_and_from_another() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    assert!(is_ok(
        &send(&process.world, &id, "here", &mut FrameAttempts::default()).await
    ));
    let runner = cluster.world("runner");
    let begun = Instant::now();
    assert!(is_ok(
        &send(&runner, &id, "elsewhere", &mut FrameAttempts::default()).await
    ));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let said: Vec<_> = platform
        .said()
        .iter()
        .map(|said| said.frame["body"]["content"].clone())
        .collect();
    assert_eq!(said, ["here", "elsewhere"]);
}

/// Its run began before an operator changed the integration.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_another_account_is_not_sent() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    let store = &process.world.store;
    let before = integration::get(store, &id).await.unwrap().unwrap();
    let settings = IntegrationSettings {
        account_key: Some("bot2".to_owned()),
        ..before.settings(store.keyring()).unwrap()
    };
    let now = process.world.clock.now();
    integration::update(store, &before, settings, now).await.unwrap();
    let old = Bot {
        account_mark: Some("of another".to_owned()),
        ..bot(&process.world, &id).await
    };
    until("the earlier connection has ended", async || {
        let answer = send_as(&process.world, &old, "old", &mut FrameAttempts::default()).await;
        answer == ApiAnswer::NotSent
    })
    .await;
    until("the new account is connected", async || {
        is_ok(&send(&process.world, &id, "new", &mut FrameAttempts::default()).await)
    })
    .await;
    let n_said = platform.said().len();
    let runner = cluster.world("runner");
    for world in [&process.world, &runner] {
        let answer = send_as(world, &old, "late", &mut FrameAttempts::default()).await;
        assert_eq!(answer, ApiAnswer::NotSent);
    }
    assert_eq!(platform.said().len(), n_said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_frame_of_a_dead_runner_is_not_sent_twice() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    // The second runner knows nothing of the first.
    for node in ["runner1", "runner2"] {
        assert!(is_ok(
            &send(&cluster.world(node), &id, "the end", &mut FrameAttempts::default()).await
        ));
    }
    assert_eq!(platform.said().len(), 1);
    // A repetition on purpose is sent.
    let runner = cluster.world("runner3");
    let mut tries = FrameAttempts::default();
    for _ in 0..2 {
        assert!(is_ok(&send(&runner, &id, "the end", &mut tries).await));
    }
    assert_eq!(platform.said().len(), 2);
}

/// The process with the socket has sent the frame for the first runner, and answered it over the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_frame_of_a_dead_runner_is_not_sent_again_by_the_process_that_holds_the_socket() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    // The result that the first runner recorded before it sent anything.
    let mut result = ReplyRecord {
        fence: 1,
        ..final_reply(&id, now)
    };
    reply::save(store, None, &mut result, now).await.unwrap();
    for world in [&cluster.world("runner"), &process.world] {
        assert_eq!(finish_as(world, &id, true).await, DeliveryOutcome::Yes);
    }
    assert_eq!(platform.said().len(), 1);
    // A repetition on purpose is sent.
    let mut tries = FrameAttempts::after(None);
    for n in 1..=2 {
        assert!(is_ok(&send(&process.world, &id, "another end", &mut tries).await));
        assert_eq!(platform.said().len(), 1 + n);
    }
}

fn final_reply(id: &IntegrationId, now: Timestamp) -> ReplyRecord {
    ReplyRecord {
        stage: Stage::Final,
        text: "the end".to_owned(),
        outcome: Some(Outcome::Completed),
        ..ReplyRecord::blank(&About {
            reply: &ReplyId::new("tl-1"),
            organization: &OrganizationId::new("default"),
            integration: id,
            conversation: &ConversationId::new("cnv_1"),
            message: &MessageId::new("msg_1"),
            asker: &SenderId::new("lisi"),
            received_at: now,
        })
    }
}

/// A runner that knows no more of a reply than its record.
async fn finish(world: &World, id: &IntegrationId) -> DeliveryOutcome {
    finish_as(world, id, false).await
}

/// Like [`finish`]. `dies`: the runner records nothing of what it has sent.
async fn finish_as(world: &World, id: &IntegrationId, dies: bool) -> DeliveryOutcome {
    let now = world.clock.now();
    let bound = integration::look_up(&world.store, id, now).await.unwrap().unwrap();
    let bot = accounts::open(world, &bound.integration).unwrap();
    let target = ReplyTarget {
        integration: id.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("lisi"),
            thread: None,
        },
        asker: SenderId::new("lisi"),
        message: PlatformMessageId::new("m1"),
        handle: ReplyHandle::new(json!({ "reqId": "r-m1" })),
        expires_at: None,
    };
    let found = reply::get(&world.store, &ReplyId::new("tl-1"), now).await.unwrap();
    let mut showing = ReplyDelivery::new(world, &bot, &target, found, || final_reply(id, now));
    if dies {
        showing.let_the_ledger_tell();
    }
    let shown = showing.finish(Some(Instant::now())).await.unwrap();
    if !dies {
        showing.save().await.unwrap();
    }
    shown
}

/// The answer to its first attempt is kept for minutes, so that none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_resuming_runner_does_not_mistake_an_old_refusal_for_a_new_one() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    let busy = Manners {
        code: -1,
        ..Manners::default()
    };
    platform.behave(busy);
    for n in 1..=2 {
        let shown = finish(&cluster.world(&format!("runner{n}")), &id).await;
        assert!(matches!(shown, DeliveryOutcome::NotBefore(_)), "{shown:?}");
        assert_eq!(platform.said().len(), n);
    }
    platform.behave(Manners::default());
    for n in 3..=4 {
        assert_eq!(
            finish(&cluster.world(&format!("runner{n}")), &id).await,
            DeliveryOutcome::Yes
        );
        assert_eq!(platform.said().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_holder_or_a_socket_nothing_is_sent_and_that_is_certain() {
    let cluster = TestCluster::new().await;
    let runner = cluster.world("runner");
    let id = cluster.wecom(&runner, "bot1").await;
    let begun = Instant::now();
    assert_eq!(
        send(&runner, &id, "x", &mut FrameAttempts::default()).await,
        ApiAnswer::NotSent
    );
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    cluster.platform.behave(Manners {
        subscribed: 853_000,
        ..Manners::default()
    });
    let process = cluster.process("a");
    until("it is refused", async || process.status(&id).await.reason.is_some()).await;
    let runner = cluster.world("runner2");
    let begun = Instant::now();
    for world in [&runner, &process.world] {
        assert_eq!(
            send(world, &id, "y", &mut FrameAttempts::default()).await,
            ApiAnswer::NotSent
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(cluster.platform.said().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_is_reported_as_unknown_within_15_seconds() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    platform.behave(Manners {
        no_acks: true,
        ..Manners::default()
    });
    let begun = Instant::now();
    let runner = cluster.world("runner");
    assert_eq!(
        send(&runner, &id, "x", &mut FrameAttempts::default()).await,
        ApiAnswer::Unknown
    );
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_waits_for_a_socket_that_comes_back() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    platform.drop_connection("bot1");
    // It reconnects at once, so the gap may be over before it is seen.
    until("the process notices", async || {
        process.connections.health().connected == 0 || platform.dialed() > 1
    })
    .await;
    let runner = cluster.world("runner");
    assert!(is_ok(&send(&runner, &id, "x", &mut FrameAttempts::default()).await));
    assert_eq!(platform.said().len(), 1);
    assert_eq!(platform.said()[0].connection, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_streams_fast_delays_no_other_bot_of_its_shard() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let shard = |name: &str| process.world.shard_of(&IntegrationId::new(format!("int_{name}")));
    let other = (1..100).map(|n| format!("other{n}"));
    let other = other.into_iter().find(|name| shard(name) == shard("fast")).unwrap();
    let fast = cluster.wecom(&process.world, "fast").await;
    let slow = cluster.wecom(&process.world, &other).await;
    let platform = &cluster.platform;
    until("both connect", async || platform.standing() == 2).await;
    // Each frame of the fast bot waits for the acknowledgement of the previous frame.
    platform.behave(Manners {
        no_acks: true,
        ..Manners::default()
    });
    let runner = cluster.world("runner");
    let mut streaming = tokio::task::JoinSet::new();
    for n in 0..30 {
        let (runner, fast) = (runner.clone(), fast.clone());
        streaming
            .spawn(async move { send(&runner, &fast, &format!("piece {n}"), &mut FrameAttempts::default()).await });
    }
    let said_by = |bot: &str| platform.said().iter().filter(|said| said.bot == bot).count();
    until("the fast bot streams", async || said_by("fast") > 0).await;
    let begun = Instant::now();
    streaming.spawn(async move { send(&runner, &slow, "hello", &mut FrameAttempts::default()).await });
    until("the other bot's frame is sent", async || said_by(&other) == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
