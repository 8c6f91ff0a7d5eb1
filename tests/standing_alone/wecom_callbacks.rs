//! A WeCom callback is answered by a stream, which the platform polls while the answer grows.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::wecom::{Shown, Speaker};

use tieline_tests::test_bridge::{PATIENCE, TestBridge, until};

fn in_pieces() -> Manner {
    Manner {
        between: Duration::from_millis(600),
        answer: |text| {
            vec![
                "**答**：".to_owned(),
                text.to_owned(),
                " 🚀".to_owned(),
                " 完".to_owned(),
            ]
        },
        ..Manner::default()
    }
}

#[tokio::test]
async fn polls_show_a_growing_text_and_its_exact_end() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(in_pieces()).await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let person = Speaker::in_group("lisi", "wrkGROUP1");

    let message = bot.text(&person, "m1", "@Helper 你好", &responses.url_for("RC1"));
    let shown = bot.converse(&person, &message, PATIENCE).await.unwrap();

    assert_eq!(agent.asked(), ["你好"], "the mention must not reach the agent");
    let texts: Vec<&str> = shown.iter().map(|it| it.content.as_str()).collect();
    let grown: Vec<&&str> = texts.iter().filter(|text| text.starts_with("**答**")).collect();
    assert!(grown.len() >= 3, "the text does not grow: {texts:?}");
    assert!(
        grown.is_sorted_by(|a, b| b.starts_with(**a)),
        "the text must only grow: {texts:?}"
    );
    assert_eq!(shown.last().unwrap().content, "**答**：你好 🚀 完");
    assert!(shown.iter().rev().skip(1).all(|it| !it.finish));
    assert!(
        responses.said().is_empty(),
        "an answer that was polled must not be pushed too"
    );
    assert!(responses.refused().is_empty());
}

#[tokio::test]
async fn callback_delivered_five_times_is_one_message() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(in_pieces()).await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let person = Speaker::alone("lisi");
    let message = bot.text(&person, "m1", "once", &responses.url_for("RC1"));

    let sent = join_all((0..5).map(|_| bot.send_for_stream(&message))).await;
    let first: Vec<Shown> = sent.into_iter().map(Result::unwrap).collect();
    assert!(
        first.iter().all(|it| it.id == first[0].id),
        "all responses must name one stream: {first:?}"
    );

    // Redelivered while the answer grows: the same stream, with its current text.
    until("the agent is asked", || !agent.asked().is_empty()).await;
    let again = bot.send_for_stream(&message).await.unwrap();
    assert_eq!(again.id, first[0].id);
    let shown = bot.converse(&person, &message, PATIENCE).await.unwrap();
    assert_eq!(shown.last().unwrap().content, "**答**：once 🚀 完");
    // Redelivered after the answer is complete.
    let late = bot.send_for_stream(&message).await.unwrap();
    assert_eq!((&late.id, late.finish), (&first[0].id, true));
    assert_eq!(late.content, "**答**：once 🚀 完");
    assert_eq!(agent.asked(), ["once"]);
    assert!(responses.said().is_empty());
}

#[tokio::test]
async fn poll_of_another_person_shows_no_answer() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let asker = Speaker::alone("lisi");
    let message = bot.text(&asker, "m1", "my secret", &responses.url_for("RC1"));
    let shown = bot.converse(&asker, &message, PATIENCE).await.unwrap();
    assert_eq!(shown.last().unwrap().content, "echo: my secret");

    let other = Speaker::alone("wangwu");
    let stolen = bot.send_for_stream(&bot.poll(&other, &shown[0].id)).await.unwrap();
    assert!(
        stolen.finish && !stolen.content.contains("secret"),
        "another person's poll must end without the answer: {stolen:?}"
    );
}

#[tokio::test]
async fn answer_that_is_too_long_for_a_stream_arrives_whole() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        answer: |_| {
            (0..700)
                .map(|n| format!("第{n:04}段，这里有足够多的文字来填满一个气泡。\n\n"))
                .collect()
        },
        ..Manner::default()
    })
    .await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let person = Speaker::alone("lisi");
    let message = bot.text(&person, "m1", "long", &responses.url_for("RC1"));
    let shown = bot.converse(&person, &message, PATIENCE).await.unwrap();
    let bubble = shown.last().unwrap().content.clone();

    until("the rest is pushed", || !responses.said().is_empty()).await;
    let said = responses.said();
    assert_eq!((said.len(), said[0].code.as_str()), (1, "RC1"));
    let mut all = format!("{bubble}\n{}", said[0].content);
    // The text that doesn't fit into both messages is behind a link.
    if let Some(link) = all.split_whitespace().find(|word| word.contains("/api/replies/")) {
        let link = link.trim_matches(|c| "()[]<>".contains(c)).to_owned();
        let link = link.rsplit_once('(').map_or(link.clone(), |(_, url)| url.to_owned());
        all = reqwest::get(&link).await.unwrap().text().await.unwrap();
    }
    let missing: Vec<usize> = (0..700).filter(|n| !all.contains(&format!("第{n:04}段"))).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}
