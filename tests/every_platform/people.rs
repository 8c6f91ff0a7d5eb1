//! People: accounts that the organization's mapper doesn't know, link codes, quiet hours, limits, credentials in messages.

use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use axum::{Json, Router};
use serde_json::{Value, json};
use tieline_core::notice::{Language, Notice};
use tieline_core::people_texts::PeopleReply;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tokio::net::TcpListener;

use crate::test_bridge::{Bot, TestBridge, sentence};

fn told(reply: &PeopleReply) -> String {
    reply.text(Language::English)
}

/// Waits until the bot's newest message in a chat contains a text.
async fn shows(bot: &Bot, chat: &Speaker, part: &str) -> anyhow::Result<()> {
    let is_shown = || bot.texts(chat).last().is_some_and(|text| text.contains(part));
    let shown = bot.wait_until("the newest text", is_shown).await;
    shown.map_err(|error| error.context(format!("expected {part:?}, shown {:?}", bot.texts(chat))))
}

/// The reason for which a message of this bot was refused.
async fn reason_of_refusal(bot: &Bot) -> anyhow::Result<Value> {
    let path = format!("/api/v1/orgs/default/messages?integrationId={}&state=refused", bot.id);
    Ok(bot.console.first(&path).await?["reason"].clone())
}

#[tokio::test]
async fn person_whom_the_mapper_does_not_know_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mapper = Router::new().fallback(async || Json(json!({ "unknown": true })));
    tokio::spawn(async move { axum::serve(listener, mapper).await });
    let test = TestBridge::open(Manner::default()).await;
    let settings = json!({ "url": url, "secret": "a secret of the tests", "unknown": "refuse" });
    let console = &test.bots[0].console;
    console.patch("/api/v1/orgs/default/mapper", &settings).await.unwrap();
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &[&told(&PeopleReply::UnknownPerson)]).await?;
        let reason = reason_of_refusal(bot).await?;
        ensure!(reason == "mapper_unknown_person", "refused for {reason}");
        ensure!(bot.agent.asked().is_empty(), "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn code_links_one_person_and_no_other() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().typed_commands {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        let body = json!({ "linked": format!("Li Si of {}", bot.name) });
        let made = bot.console.post("/api/v1/orgs/default/link-codes", &body).await?;
        let command = format!("/link {}", made["code"].as_str().context("no code")?);
        bot.say(&lisi, &command);
        let linked = PeopleReply::Linked(format!("Li Si of {}", bot.name));
        shows(bot, &lisi, &told(&linked)).await?;
        let users = bot.console.get("/api/v1/orgs/default/users?limit=200").await?;
        let mut all = users["items"].as_array().into_iter().flatten();
        let is_linked = all.any(|user| user["integrationId"] == bot.id.as_str() && user["linked"] == body["linked"]);
        ensure!(is_linked, "not linked: {users}");
        let wang = Speaker::alone("1002");
        if bot.simulator.features().many_people {
            bot.say(&wang, &command);
            shows(bot, &wang, &told(&PeopleReply::WrongLinkCode)).await?;
        }
        Ok(())
    })
    .await;
}

/// The hour of the day `hours` from now, in UTC.
fn hour_from_now(hours: u64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    format!("{:02}:00", (now + hours) % 24)
}

#[tokio::test]
async fn questions_in_quiet_hours_are_refused_and_commands_work() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let hours = json!({ "from": hour_from_now(23), "to": hour_from_now(2), "utcOffset": "+00:00" });
        bot.change_trigger(&json!({ "quietHours": hours })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        shows(bot, &lisi, "answers no questions at these hours").await?;
        let reason = reason_of_refusal(bot).await?;
        ensure!(reason == "quiet_hours", "refused for {reason}");
        bot.say(&lisi, "/help");
        shows(bot, &lisi, "/stop").await?;
        bot.change_trigger(&json!({ "quietHours": null })).await?;
        bot.say(&lisi, "hello again");
        shows(bot, &lisi, "echo: hello again").await?;
        bot.agent_is_asked(&["hello again"]).await
    })
    .await;
}

#[tokio::test]
async fn person_who_asks_too_often_is_told_when_to_ask_again() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "maxMessagesPerPersonPerMinute": 1 }))
            .await?;
        let (lisi, wang) = (Speaker::alone("1001"), Speaker::alone("1002"));
        bot.say(&lisi, "one");
        shows(bot, &lisi, "echo: one").await?;
        bot.say(&lisi, "two");
        shows(bot, &lisi, "asking faster than this bot may answer").await?;
        let reason = reason_of_refusal(bot).await?;
        ensure!(reason == "person_rate_limit", "refused for {reason}");
        if bot.simulator.features().many_people {
            bot.say(&wang, "three");
            shows(bot, &wang, "echo: three").await?;
        }
        Ok(())
    })
    .await;
}

const KEY: &str = "sk-a1B2c3D4e5F6g7H8i9J0k1L2";

#[tokio::test]
async fn credential_in_a_question_is_hidden_from_the_agent_and_in_an_answer_from_the_chat() {
    let test = TestBridge::open(Manner {
        answer: |text| {
            vec![
                format!("{text}, and mine is sk-a1B2c3"),
                "D4e5F6g7H8i9J0k1L2.".to_owned(),
            ]
        },
        ..Manner::default()
    })
    .await;
    test.play(async |bot| {
        let redaction = json!({ "redaction": { "incoming": "mask", "outgoing": "mask" } });
        bot.change_trigger(&redaction).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, &format!("my key is {KEY}"));
        let is_warned = || bot.texts(&lisi).concat().contains(sentence(Notice::CredentialHidden));
        bot.wait_until("the warning", is_warned).await?;
        bot.agent_is_asked(&["my key is [redacted]"]).await?;
        let bubbles = bot.simulator.shown(&lisi);
        let states: Vec<_> = bubbles.iter().flat_map(|bubble| &bubble.states).collect();
        ensure!(
            states.iter().all(|text| !text.contains("a1B2")),
            "the credential is shown: {states:?}"
        );
        let last = bot.texts(&lisi).concat();
        ensure!(
            last.contains("and mine is [redacted]"),
            "expected `and mine is [redacted]` in {last}"
        );
        Ok(())
    })
    .await;
}
