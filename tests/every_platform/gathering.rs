//! Messages that are gathered into one question: limits of time and number, what is not held back, what waits behind an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::Upload;
use tokio::time::{Instant, sleep};

use crate::chat_rules::in_ledger;
use crate::test_bridge::{PATIENCE, TestBridge};

#[tokio::test]
async fn twenty_messages_are_asked_before_the_window_ends() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 60 })).await?;
        let (lisi, began) = (Speaker::alone("1001"), Instant::now());
        let texts: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
        for text in &texts {
            bot.say(&lisi, text);
        }
        bot.wait_until("a question", || !bot.agent.asked().is_empty()).await?;
        ensure!(
            began.elapsed() < Duration::from_secs(60),
            "the messages were held back by the window"
        );
        let asked = bot.agent.asked();
        let lines: BTreeSet<&str> = asked[0].lines().collect();
        ensure!(
            asked.len() == 1 && lines == texts.iter().map(String::as_str).collect(),
            "asked {asked:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn person_who_keeps_writing_is_answered_after_five_windows() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 2 })).await?;
        let (lisi, began) = (Speaker::alone("1001"), Instant::now());
        let mut n_said = 0;
        while bot.agent.asked().is_empty() {
            ensure!(
                began.elapsed() < PATIENCE,
                "no question was asked while the person kept writing"
            );
            bot.say(&lisi, &format!("line {n_said}"));
            n_said += 1;
            sleep(Duration::from_millis(900)).await;
        }
        let asked = bot.agent.asked().remove(0);
        let n_asked = asked.lines().count();
        // Gathering ends after five windows of two seconds; twenty messages, which end it too, are not reached.
        ensure!(
            (6..20).contains(&n_asked),
            "{n_asked} of {n_said} messages were asked, expected 6 to 19"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn command_is_not_held_back_with_gathered_messages() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 60 })).await?;
        let (lisi, began) = (Speaker::alone("1001"), Instant::now());
        bot.say(&lisi, "held back");
        bot.say(&lisi, "/status");
        let is_shown = || bot.texts(&lisi).iter().any(|text| text.contains("Mode: chat"));
        bot.wait_until("the status", is_shown).await?;
        ensure!(began.elapsed() < Duration::from_secs(60), "the command waited");
        ensure!(bot.agent.asked().is_empty(), "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn media_is_not_held_back_and_is_asked_with_the_gathered_messages() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 60 })).await?;
        let (lisi, began) = (Speaker::alone("1001"), Instant::now());
        bot.say(&lisi, "what is this?");
        in_ledger(bot, 1).await?;
        let sent = bot.simulator.upload(&lisi, Upload::PICTURE);
        ensure!(sent.is_some(), "every platform must support pictures");
        bot.wait_until("a question", || !bot.agent.asked().is_empty()).await?;
        ensure!(began.elapsed() < Duration::from_secs(60), "the picture waited");
        let seen = bot.agent.seen();
        let newest = seen[0].body["messages"].as_array().and_then(|it| it.last());
        let content = newest.map(|it| it["content"].to_string()).unwrap_or_default();
        ensure!(
            content.contains("what is this?") && content.contains("data:image/png"),
            "asked {content}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn gathered_messages_behind_a_running_answer_are_one_question() {
    let test = TestBridge::open(Manner {
        holds: |text| text == "hold",
        ..Manner::default()
    })
    .await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 1 })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hold");
        bot.agent_is_asked(&["hold"]).await?;
        bot.say(&lisi, "two");
        // Longer than the window: what keeps the messages is the running answer.
        sleep(Duration::from_secs(3)).await;
        bot.say(&lisi, "three");
        sleep(Duration::from_secs(3)).await;
        bot.agent.open_gate();
        bot.agent_is_asked(&["hold", "two\nthree"]).await
    })
    .await;
}
