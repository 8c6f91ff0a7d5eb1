//! `/new`, `/stop`, `/help` in a direct chat.

use tieline_core::notice::Notice;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use anyhow::ensure;

use crate::test_bridge::{TestBridge, sentence};

#[tokio::test]
async fn new_starts_a_session_and_help_explains() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let mut expected = vec!["echo: one"];
        bot.say(&lisi, "one");
        bot.shows(&lisi, &expected).await?;
        expected.push(sentence(Notice::NewSession));
        bot.say(&lisi, "/new");
        bot.shows(&lisi, &expected).await?;
        expected.push("echo: two");
        bot.say(&lisi, "two");
        bot.shows(&lisi, &expected).await?;
        bot.say(&lisi, "/help");
        let helps = || bot.texts(&lisi).len() == 4 && bot.texts(&lisi)[3].contains("/stop");
        bot.wait_until("the help", helps).await?;
        ensure!(bot.agent.asked() == ["one", "two"], "asked {:?}", bot.agent.asked());
        let told = bot.agent.seen()[1].body["messages"].as_array().map(Vec::len);
        ensure!(told == Some(1), "the new session has messages of the old one: {told:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn stop_ends_the_running_answer() {
    let test = TestBridge::open(Manner {
        answer: |_| vec!["The beginning".to_owned(), " and the end".to_owned()],
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "tell");
        bot.agent_is_asked(&["tell"]).await?;
        bot.say(&lisi, "/stop");
        let stopped = || {
            bot.texts(&lisi)
                .iter()
                .any(|text| text.contains(sentence(Notice::Stopped)))
        };
        bot.wait_until("the answer is stopped", stopped).await?;
        let texts = bot.texts(&lisi);
        ensure!(
            !texts.concat().contains("and the end"),
            "the answer continued after /stop: {texts:?}"
        );
        Ok(())
    })
    .await;
}
