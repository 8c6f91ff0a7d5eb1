//! Platform features beside messages: typing indicators, the event of an opened chat, ratings.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tieline_connectors::registry;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::{Speaker, stays};
use tokio::time::{Instant, sleep};

use crate::test_bridge::{Bot, PATIENCE, TestBridge};

/// An agent that sends nothing until its gate is opened.
fn thinking() -> Manner {
    Manner {
        holds: |_| true,
        ..Manner::default()
    }
}

#[tokio::test]
async fn thinking_agent_shows_the_platforms_waiting_sign() {
    let test = TestBridge::open(thinking()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.agent_is_asked(&["hello"]).await?;
        let signs = || bot.simulator.thinking_signs(&lisi);
        match signs() {
            Some(_) => bot.wait_until("the sign", || signs() > Some(0)).await?,
            None => {
                let nothing = || bot.texts(&lisi).is_empty();
                stays("nothing is shown", Duration::from_secs(3), nothing).await?;
            }
        }
        bot.agent.open_gate();
        bot.shows(&lisi, &["echo: hello"]).await
    })
    .await;
}

/// The ledger's state and reason of the bot's newest message that ended without an agent.
async fn newest_command(bot: &Bot) -> anyhow::Result<Value> {
    let path = format!("/api/v1/orgs/default/messages?integrationId={}&state=commanded", bot.id);
    Ok(bot.console.first(&path).await?["reason"].clone())
}

/// Whether the platform reports in the bot's mode that a person has opened the chat.
async fn has_welcome(bot: &Bot) -> anyhow::Result<bool> {
    let integration = format!("/api/v1/orgs/default/integrations/{}", bot.id);
    let integration = bot.console.get(&integration).await?;
    let connector = registry::ALL
        .iter()
        .find(|it| integration["platform"] == it.manifest().platform);
    let modes = connector.context("no such platform")?.manifest().modes;
    let mode = modes.iter().find(|it| integration["connectionMode"] == json!(it.mode));
    Ok(mode.context("no such mode")?.welcome.is_some())
}

#[tokio::test]
async fn person_who_opens_the_chat_is_welcomed_and_the_agent_is_not_asked() {
    let mut test = TestBridge::open(Manner::default()).await;
    let mut welcoming = BTreeSet::new();
    for bot in &test.bots {
        if has_welcome(bot).await.unwrap() {
            let changed = bot.change_trigger(&json!({ "welcome": "Ask me anything." })).await;
            changed.unwrap_or_else(|error| panic!("{}: {error:#}", bot.name));
            welcoming.insert(bot.id.clone());
        }
    }
    // An existing connection learns of the change within seconds; a new one has it from the beginning.
    test.while_stopped(async |_, _| ()).await;
    test.play(async |bot| {
        if !welcoming.contains(&bot.id) {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        ensure!(bot.simulator.open_chat(&lisi), "the simulator cannot open a chat");
        bot.shows(&lisi, &["Ask me anything."]).await?;
        ensure!(bot.agent.asked().is_empty(), "asked {:?}", bot.agent.asked());
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["Ask me anything.", "echo: hello"]).await
    })
    .await;
}

#[tokio::test]
async fn rating_of_an_answer_is_in_the_ledger() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        if !bot.simulator.rate(&lisi, true) {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let reason = newest_command(bot).await?;
            if reason == "feedback_up" {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "the ledger has {reason}");
            sleep(Duration::from_millis(50)).await;
        }
        bot.keeps_showing(&lisi, &["echo: hello"]).await
    })
    .await;
}
