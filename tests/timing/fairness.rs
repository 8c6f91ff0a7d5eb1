//! Fairness: a chat doesn't wait for another chat's agent, nor an organization for another's load.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;

use crate::alone;
use tieline_tests::test_bridge::{TestBridge, figure, until, uuid};

/// Number of measured answers.
const N_SAMPLES: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_delay_no_other_conversation() {
    let _alone = alone().await;
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        holds: |text| text.starts_with("slow"),
        ..Manner::default()
    })
    .await;
    let bot = bridge.web(&agent.as_chat(""), &json!({})).await;
    let alone = latencies(&bridge, &bot, "before").await;

    let mut waiting = Vec::new();
    for n in 0..20 {
        let (_, reply) = bridge
            .console
            .say(&bot, &format!("slow{n}"), "slow", &uuid())
            .await
            .unwrap();
        waiting.push(reply);
    }
    until("the slow ones are asked", || {
        agent.asked().iter().filter(|it| *it == "slow").count() == 20
    })
    .await;
    let beside = latencies(&bridge, &bot, "beside").await;
    figure("answer with no other conversation", format!("{:?}", median(&alone)));
    figure("answer beside 20 slow ones", format!("{:?}", median(&beside)));
    let delay = median(&beside).saturating_sub(median(&alone));
    assert!(delay < Duration::from_millis(200), "alone {alone:?}, beside {beside:?}");

    agent.open_gate();
    for reply in waiting {
        assert_eq!(bridge.answer(&reply).await, "echo: slow");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn organization_under_load_delays_no_other_organization() {
    let _alone = alone().await;
    let bridge = TestBridge::start();
    for organization in ["loud", "quiet"] {
        bridge
            .post("/api/v1/orgs", &json!({ "id": organization, "name": organization }))
            .await;
    }
    let agent = FakeAgent::start(Manner {
        before: Duration::from_millis(300),
        ..Manner::default()
    })
    .await;
    let loud = bridge.web_of("loud", &agent.as_chat(""), &json!({})).await;
    let loud = loud["integrationId"].as_str().unwrap().to_owned();
    let quick = json!({ "protocol": "echo", "config": {} });
    let quiet = bridge.web_of("quiet", &quick, &json!({})).await;
    let quiet = quiet["integrationId"].as_str().unwrap();
    let alone = latencies(&bridge, quiet, "before").await;

    let crowd = tokio::spawn(join_all(
        (0..50).map(|person| rush(bridge.console.clone(), loud.clone(), person)),
    ));
    until("the rush has begun", || agent.asked().len() > 5).await;
    let beside = latencies(&bridge, quiet, "beside").await;
    figure("answer of the quiet tenant alone", format!("{:?}", median(&alone)));
    figure(
        "answer of the quiet tenant beside 500 of another",
        format!("{:?}", median(&beside)),
    );
    let worst = *beside.iter().max().unwrap();
    figure("the worst of these", format!("{worst:?}"));
    let delay = worst.saturating_sub(median(&alone));
    assert!(delay < Duration::from_secs(1), "alone {alone:?}, beside {beside:?}");

    for reply in crowd.await.unwrap().into_iter().flatten() {
        assert_eq!(bridge.answer(&reply).await, "echo: now!");
    }
    assert_eq!(agent.asked().len(), 500);
}

/// More than the former limit of an organization's concurrent runs, which was 64.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_answers_delay_no_other_chat_of_the_organization() {
    const N_SLOW: usize = 1000;
    let _alone = alone().await;
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        holds: |text| text.starts_with("slow"),
        ..Manner::default()
    })
    .await;
    let bot = bridge.web(&agent.as_chat(""), &json!({})).await;
    let alone = latencies(&bridge, &bot, "before").await;
    for first in (0..N_SLOW).step_by(50) {
        let said = (first..first + 50).map(|n| {
            let (console, bot) = (bridge.console.clone(), bot.clone());
            async move { console.say(&bot, &format!("slow{n}"), "slow", &uuid()).await.unwrap() }
        });
        join_all(said).await;
    }
    until("the slow ones are asked", || {
        agent.asked().iter().filter(|it| *it == "slow").count() == N_SLOW
    })
    .await;
    let beside = latencies(&bridge, &bot, "beside").await;
    let worst = *beside.iter().max().unwrap();
    figure("answer beside 1000 slow ones, worst", format!("{worst:?}"));
    let delay = worst.saturating_sub(median(&alone));
    assert!(delay < Duration::from_millis(200), "alone {alone:?}, beside {beside:?}");
}

/// A slot is free again after some milliseconds. Polling for one at intervals would take much longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_free_slot_is_taken_at_once() {
    const N_CHATS: u32 = 100;
    let _alone = alone().await;
    let bridge = TestBridge::start_with(&["--max-runs", "4"]);
    let agent = FakeAgent::start(Manner {
        before: Duration::from_millis(20),
        ..Manner::default()
    })
    .await;
    let bot = bridge.web(&agent.as_chat(""), &json!({})).await;
    let began = Instant::now();
    let said = (0..N_CHATS).map(|n| {
        let (console, bot) = (bridge.console.clone(), bot.clone());
        async move { console.say(&bot, &format!("chat{n}"), "now!", &uuid()).await.unwrap().1 }
    });
    let replies = join_all(said).await;
    // Confirmations of commands have slots of their own.
    let asked_at = Instant::now();
    assert!(!bridge.ask(&bot, "other", "/status").await.is_empty());
    figure(
        "confirmation beside 100 that wait for a slot",
        format!("{:?}", asked_at.elapsed()),
    );
    for reply in replies {
        assert_eq!(bridge.answer(&reply).await, "echo: now!");
    }
    let took = began.elapsed();
    figure("100 answers of 20 ms with 4 slots", format!("{took:?}"));
    assert!(took < Duration::from_secs(6), "expected less than 6 s, took {took:?}");
}

/// Sends ten messages, each in a chat of its own.
async fn rush(console: Console, bot: String, person: usize) -> Vec<String> {
    let mut replies = Vec::new();
    for n in 0..10 {
        let chat = format!("{person}-{n}");
        replies.push(console.say(&bot, &chat, "now!", &uuid()).await.unwrap().1);
    }
    replies
}

/// Latencies from sending a message to the whole answer.
async fn latencies(bridge: &TestBridge, bot: &str, chat: &str) -> Vec<Duration> {
    let mut took = Vec::new();
    for n in 0..N_SAMPLES {
        let began = Instant::now();
        let answer = bridge.ask(bot, &format!("{chat}{n}"), "quick").await;
        took.push(began.elapsed());
        assert!(answer.contains("quick"), "expected `quick` in {answer:?}");
    }
    took
}

fn median(took: &[Duration]) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}
