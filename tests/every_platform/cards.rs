//! Cards that answer nothing: shown with their link wherever a bot may speak unasked, and chosen from wherever clicks are reported.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use crate::test_bridge::{Bot, TestBridge};

const LINK: &str = "https://example.com/log";

/// Sends a card to the person who spoke: not every direct chat can be named otherwise.
async fn send_card(bot: &Bot, card: &Value) -> anyhow::Result<()> {
    let path = format!("/api/v1/orgs/default/integrations/{}", bot.id);
    let found = bot.console.get(&format!("{path}/conversations")).await?;
    let person = found["items"][0]["senderId"].as_str().context("no conversation")?;
    let body = json!({ "userId": person, "card": card });
    bot.console.post(&format!("{path}/messages"), &body).await?;
    Ok(())
}

#[tokio::test]
async fn proactive_card_is_shown_and_its_button_answers() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let abilities = bot.abilities().await?;
        let is_polled = bot.name.contains("polled");
        if abilities["proactive"] != true || is_polled {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        let card = json!({ "title": "Deployment", "text": "Version 42 is ready.",
            "fields": [{ "name": "Stage", "value": "production" }],
            "buttons": [{ "text": "Log", "url": LINK }, { "text": "Go", "value": "deploy 42" }] });
        send_card(bot, &card).await?;
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
            ensure!(shown().contains(LINK), "no link: {}", shown());
        } else {
            let opens = || button("Log").is_some_and(|it| it.url.as_deref() == Some(LINK));
            bot.wait_until("the link", opens).await?;
        }
        if abilities["buttons"] != "all" {
            ensure!(
                shown().contains("deploy 42"),
                "nothing says what to answer: {}",
                shown()
            );
            return Ok(());
        }
        bot.wait_until("the button", || button("Go").is_some_and(|it| it.url.is_none()))
            .await?;
        bot.simulator.click(&lisi, "Go");
        bot.agent_is_asked(&["hello", "deploy 42"]).await?;
        let answered = || bot.texts(&lisi).last().is_some_and(|text| text == "echo: deploy 42");
        bot.wait_until("the answer", answered).await
    })
    .await;
}
