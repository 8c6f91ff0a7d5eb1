//! Faults: rate limits, wrong credentials, a platform outage, a killed process.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tieline_core::notice::Notice;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tokio::time::{Instant, sleep};

use crate::test_bridge::{TestBridge, sentence};

#[tokio::test]
async fn rate_limited_answer_is_shown_later_and_once() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().rate_limits {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.simulator.rate_limit_once();
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        bot.keeps_showing(&lisi, &["echo: hello"]).await
    })
    .await;
}

#[tokio::test]
async fn wrong_credentials_show_in_the_status() {
    let test = TestBridge::with(Manner::default(), |simulator| simulator.wrong_integration()).await;
    test.play(async |bot| {
        if !bot.simulator.features().checks_credentials {
            return Ok(());
        }
        bot.status_is("disconnected", "config_invalid").await
    })
    .await;
}

/// An agent that pauses before the last piece of its answer, so that a fault can happen in the middle.
pub(crate) fn holding_last_piece() -> Manner {
    Manner {
        answer: |text| vec![format!("The answer to {text}"), " has an end.".to_owned()],
        holds: |_| true,
        ..Manner::default()
    }
}

#[tokio::test]
async fn failed_answer_shows_a_reference_that_finds_the_message() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.agent_is_gone().await?;
        bot.say(&lisi, "hello");
        let notice = sentence(Notice::AgentFailed);
        bot.wait_until("the notice", || {
            bot.texts(&lisi).iter().any(|text| text.contains(notice))
        })
        .await?;
        let shown = bot.texts(&lisi).concat();
        let reference = shown.split("(Ref ").nth(1).and_then(|rest| rest.split(')').next());
        let reference = reference.with_context(|| format!("the answer shows no reference: {shown:?}"))?;
        let path = format!("/api/v1/orgs/default/messages?search={reference}&state=failed");
        bot.console.first(&path).await?;
        let found = bot.console.get(&path).await?;
        let found = found["items"].as_array().context("no list")?;
        let [message] = found.as_slice() else {
            anyhow::bail!("the reference {reference} should find one message, found {found:?}");
        };
        let names = (&message["integrationId"], &message["reference"]);
        ensure!(
            names == (&json!(bot.id), &json!(reference)),
            "expected bot and reference in {message}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn answer_is_delivered_after_a_platform_outage() {
    let mut test = TestBridge::open(holding_last_piece()).await;
    // If the platform created a card but the response was lost, the card is created again with the same id.
    test.forgiven = &["create_card: param.cardAlreadyExist"];
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "one");
        bot.agent_is_asked(&["one"]).await?;
        for gate in &bot.gates {
            gate.close();
        }
        bot.agent.open_gate();
        sleep(Duration::from_secs(60)).await;
        for gate in &bot.gates {
            gate.open();
        }
        let whole = "The answer to one has an end.";
        let is_whole = || bot.texts(&lisi).last().is_some_and(|text| text == whole);
        let shown = bot.wait_until("the whole answer", is_whole).await;
        shown.map_err(|error| error.context(format!("shown {:?}", bot.texts(&lisi))))?;
        // Some ways of answering are open again before others, so a bubble may only say that the answer is below it.
        let texts = bot.texts(&lisi);
        ensure!(
            texts.concat().matches(whole).count() == 1,
            "the answer should be shown once: {texts:?}"
        );
        ensure!(bot.agent.asked() == ["one"], "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

/// Limit until a dead connection is noticed: the slowest platform sends pings two minutes apart.
const NOTICED: Duration = Duration::from_mins(5);

#[tokio::test]
async fn half_open_connection_is_replaced() {
    let mut test = TestBridge::open(Manner::default()).await;
    test.forgiven = &["a heartbeat that didn't come"];
    test.play(async |bot| {
        if bot.mode != "long_connection" {
            return Ok(());
        }
        for gate in &bot.gates {
            gate.freeze();
        }
        // Not every platform redelivers what it wrote to a dead connection, so the person keeps asking.
        let (lisi, began) = (Speaker::alone("1001"), Instant::now());
        let mut n_said = 0;
        while bot.agent.asked().is_empty() {
            ensure!(began.elapsed() < NOTICED, "none of {n_said} messages was answered");
            bot.say(&lisi, &format!("Are you there? ({n_said})"));
            n_said += 1;
            sleep(Duration::from_secs(10)).await;
        }
        bot.say(&lisi, "At last.");
        let is_answered = || bot.texts(&lisi).last().is_some_and(|text| text.ends_with("At last."));
        bot.wait_until("an answer", is_answered).await?;
        let asked = bot.agent.asked().concat();
        let doubled = (0..n_said).find(|n| asked.matches(&format!("({n})")).count() > 1);
        ensure!(doubled.is_none(), "the agent was asked twice: {asked:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn signed_out_bot_is_reported_in_its_status() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let signed_out = bot.simulator.sign_out();
        ensure!(
            signed_out.is_some() || bot.mode != "long_connection",
            "the simulator cannot sign this bot out"
        );
        match signed_out {
            Some((state, reason)) => bot.status_is(state, reason).await,
            None => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_continues_the_answer() {
    let mut test = TestBridge::open(holding_last_piece()).await;
    let lisi = Speaker::alone("1001");
    for bot in &test.bots {
        bot.say(&lisi, "one");
    }
    for bot in &test.bots {
        bot.agent_is_asked(&["one"]).await.unwrap();
    }
    tokio::task::block_in_place(|| test.bridge.restart()).unwrap();
    // A card that was created right before the kill is created again with the same id, and a stream that was opened is opened again.
    test.forgiven = &[
        "create_card: param.cardAlreadyExist",
        "aibot_respond_msg: 40058 feedback in a later frame",
    ];
    for bot in &test.bots {
        bot.agent.open_gate();
    }
    test.play(async |bot| {
        let is_answered = || {
            bot.texts(&lisi)
                .last()
                .is_some_and(|text| text == "The answer to one has an end.")
        };
        bot.wait_until("the answer", is_answered).await?;
        bot.say(&lisi, "two");
        let last = || {
            bot.texts(&lisi)
                .last()
                .is_some_and(|text| text == "The answer to two has an end.")
        };
        bot.wait_until("the next answer", last).await?;
        let texts = bot.texts(&lisi);
        let n_answers = texts.iter().filter(|text| text.contains("to one has an end")).count();
        ensure!(
            n_answers == 1,
            "the answer is shown {n_answers} times, expected once: {texts:?}"
        );
        Ok(())
    })
    .await;
}
