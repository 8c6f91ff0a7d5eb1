//! Pictures and files that people send.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::Upload;

use crate::test_bridge::{Bot, TestBridge};

fn answering() -> Manner {
    Manner {
        answer: |_| vec!["Seen.".to_owned()],
        ..Manner::default()
    }
}

/// Sends an upload in a direct chat. Returns what the agent is asked, or `None` if the platform can't send this type.
async fn asked_with(bot: &Bot, upload: Upload) -> anyhow::Result<Option<Value>> {
    let lisi = Speaker::alone("1001");
    let Some(id) = bot.simulator.upload(&lisi, upload) else {
        return Ok(None);
    };
    let answered = |text: String| text == "Seen.";
    let is_answered = || bot.texts(&lisi).into_iter().any(answered);
    bot.wait_until("an answer", is_answered).await?;
    bot.simulator.redeliver(&id);
    bot.keeps_showing(&lisi, &["Seen."]).await?;
    let seen = bot.agent.seen();
    ensure!(
        seen.len() == 1,
        "the agent was asked {} times, expected once",
        seen.len()
    );
    let newest = seen[0].body["messages"].as_array().and_then(|it| it.last());
    Ok(Some(newest.context("no message")?["content"].clone()))
}

#[tokio::test]
async fn picture_reaches_the_agent_with_its_bytes() {
    let test = TestBridge::open(answering()).await;
    test.play(async |bot| {
        let content = asked_with(bot, Upload::PICTURE).await?;
        let content = content.context("every platform must support pictures")?;
        let parts = content
            .as_array()
            .with_context(|| format!("the content has no parts: {content}"))?;
        let mut urls = parts.iter().filter_map(|part| part["image_url"]["url"].as_str());
        let (url, other) = (
            urls.next()
                .with_context(|| format!("the content has no picture: {content}"))?,
            urls.next(),
        );
        ensure!(other.is_none(), "more than one picture: {content}");
        let (kind, data) = url
            .split_once(";base64,")
            .with_context(|| format!("the picture is no base64 data URL: {url}"))?;
        ensure!(kind == "data:image/png", "the picture's type is {kind}, expected a PNG");
        ensure!(
            STANDARD.decode(data)? == Upload::PICTURE.bytes,
            "the picture's bytes differ: {data}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn file_reaches_the_agent_by_a_link_to_its_bytes() {
    let test = TestBridge::open(answering()).await;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
    let http = http.build().unwrap();
    test.play(async |bot| {
        let Some(content) = asked_with(bot, Upload::FILE).await? else {
            return Ok(());
        };
        let text = content
            .as_str()
            .with_context(|| format!("the content is no text: {content}"))?;
        let link = text.rsplit_once("](").and_then(|(_, link)| link.strip_suffix(')'));
        let link = link.with_context(|| format!("the text has no link: {text}"))?;
        let got = http.get(link).send().await?.error_for_status()?;
        let named = got.headers().get("content-disposition").and_then(|it| it.to_str().ok());
        // Not every platform sends the name.
        let name = text.contains(Upload::FILE.name).then_some(Upload::FILE.name);
        let has_name = named.is_some_and(|named| named.contains(name.unwrap_or_default()));
        ensure!(has_name, "the link is named {named:?}, in {text}");
        let bytes = got.bytes().await?;
        ensure!(bytes == Upload::FILE.bytes, "the file's bytes differ: {bytes:?}");
        Ok(())
    })
    .await;
}
