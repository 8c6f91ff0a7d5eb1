//! Proactive messages: cards, shown with their link, with buttons wherever the platform reports clicks; and people's answers to them.

use anyhow::ensure;
use serde_json::{Value, json};
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use crate::test_bridge::{Bot, TestBridge};

const LINK: &str = "https://example.com/log";

/// Sends a proactive message to the person who spoke first: not every platform can address a direct chat before.
async fn send(bot: &Bot, mut content: Value) -> anyhow::Result<()> {
    let path = format!("/api/v1/orgs/default/integrations/{}", bot.id);
    let found = bot.console.get(&format!("{path}/conversations")).await?;
    content["userId"] = found["items"][0]["senderId"].clone();
    bot.console.post(&format!("{path}/messages"), &content).await?;
    Ok(())
}

/// Whether the bot can send proactive messages. Polling programs can't receive any.
async fn sends_proactively(bot: &Bot) -> anyhow::Result<bool> {
    Ok(bot.abilities().await?["proactive"] == true && !bot.name.contains("polled"))
}

#[tokio::test]
async fn answer_to_a_proactive_message_has_it_as_its_quote_once() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !sends_proactively(bot).await? {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        send(bot, json!({ "text": "Deploy build 42?" })).await?;
        bot.wait_until("the question", || {
            bot.texts(&lisi)
                .last()
                .is_some_and(|text| text.contains("Deploy build 42?"))
        })
        .await?;
        bot.say(&lisi, "yes please");
        bot.agent_is_asked(&["hello", "> Deploy build 42?\n\nyes please"])
            .await?;
        let answered = |end: &str| bot.texts(&lisi).last().is_some_and(|text| text.ends_with(end));
        bot.wait_until("the answer", || answered("yes please")).await?;
        bot.say(&lisi, "thanks");
        let expected = ["hello", "> Deploy build 42?\n\nyes please", "thanks"];
        bot.agent_is_asked(&expected).await?;
        // A stateless agent is sent the session's messages again.
        let told = bot.agent.seen()[2].body["messages"].to_string();
        ensure!(
            told.matches("Deploy build 42?").count() >= 1,
            "the history has no proactive message: {told}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn proactive_card_is_shown_and_its_button_answers() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !sends_proactively(bot).await? {
            return Ok(());
        }
        let abilities = bot.abilities().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        let card = json!({ "title": "Deployment", "text": "Version 42 is ready.",
            "fields": [{ "name": "Stage", "value": "production" }],
            "buttons": [{ "text": "Log", "url": LINK }, { "text": "Go", "value": "deploy 42" }] });
        send(bot, json!({ "card": card })).await?;
        let shown = || bot.texts(&lisi)[1..].join("\n");
        bot.wait_until("the card", || shown().contains("production")).await?;
        ensure!(
            shown().contains("Deployment") && shown().contains("Version 42 is ready."),
            "{}",
            shown()
        );
        let button = |label: &str| {
            bot.simulator
                .buttons(&lisi)
                .into_iter()
                .find(|button| button.label == label)
        };
        if abilities["buttons"] == "none" || !bot.simulator.features().link_buttons {
            ensure!(shown().contains(LINK), "the card has no link: {}", shown());
        } else {
            let opens = || button("Log").is_some_and(|it| it.url.as_deref() == Some(LINK));
            bot.wait_until("the link", opens).await?;
        }
        if abilities["buttons"] != "all" {
            ensure!(
                shown().contains("deploy 42"),
                "the card without buttons lists no answers: {}",
                shown()
            );
            return Ok(());
        }
        bot.wait_until("the button", || button("Go").is_some_and(|it| it.url.is_none()))
            .await?;
        bot.simulator.click(&lisi, "Go");
        bot.wait_until("the question", || bot.agent.asked().len() == 2).await?;
        // The card is included as a quote.
        let asked = bot.agent.asked().remove(1);
        ensure!(
            asked.starts_with("> **Deployment**\n") && asked.ends_with("\n\ndeploy 42"),
            "asked {asked:?}"
        );
        let answered = || bot.texts(&lisi).last().is_some_and(|text| text.ends_with("deploy 42"));
        bot.wait_until("the answer", answered).await
    })
    .await;
}
