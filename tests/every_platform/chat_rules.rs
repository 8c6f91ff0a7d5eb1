//! The rules of chats: commands, sessions, gathering, messages during a running answer, users, languages.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tieline_core::notice::{Language, Notice};
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tokio::time::{Instant, sleep};

use crate::test_bridge::{Bot, PATIENCE, TestBridge, sentence};

/// A group that every simulator knows.
const GROUP: &str = "-1002001";

/// Number of messages in the agent's `n`-th request: one in a session's first.
fn n_told(bot: &Bot, n: usize) -> usize {
    bot.agent.seen()[n].body["messages"].as_array().map_or(0, Vec::len)
}

/// An agent that holds back the end of its answers to the text `hold`.
fn holding() -> Manner {
    Manner {
        answer: |text| vec!["echo".to_owned(), format!(": {text}")],
        holds: |text| text == "hold",
        ..Manner::default()
    }
}

/// Waits until the ledger has `n` messages of the bot.
pub(crate) async fn in_ledger(bot: &Bot, n: usize) -> anyhow::Result<()> {
    let path = format!("/api/v1/orgs/default/messages?integrationId={}", bot.id);
    let began = Instant::now();
    loop {
        let listed = bot.console.get(&path).await?;
        let found = listed["items"].as_array().map_or(0, Vec::len);
        if found >= n {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "the ledger has {found} messages, expected {n}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn new_needs_white_space_and_its_text_is_the_first_question() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().typed_commands {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "/newfoo bar");
        bot.shows(&lisi, &["echo: /newfoo bar"]).await?;
        bot.say(&lisi, "/new   first words");
        bot.shows(&lisi, &["echo: /newfoo bar", "echo: first words"]).await?;
        ensure!(n_told(bot, 1) == 1, "the new session has messages of the old one");
        bot.say(&lisi, "/HELP");
        let helps = || bot.texts(&lisi).last().is_some_and(|text| text.contains("/stop"));
        bot.wait_until("the help", helps).await?;
        bot.say(&lisi, "/frobnicate now");
        bot.agent_is_asked(&["/newfoo bar", "first words", "/frobnicate now"])
            .await
    })
    .await;
}

#[tokio::test]
async fn idle_session_is_replaced_by_a_new_one() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "sessionTimeoutSeconds": 1 })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "one");
        bot.shows(&lisi, &["echo: one"]).await?;
        // The idle time is real time, and must be longer than the timeout.
        sleep(Duration::from_millis(2100)).await;
        bot.say(&lisi, "two");
        bot.shows(&lisi, &["echo: one", "echo: two"]).await?;
        ensure!(
            n_told(bot, 1) == 1,
            "the idle session was continued, {} messages",
            n_told(bot, 1)
        );
        bot.change_trigger(&json!({ "sessionTimeoutSeconds": 3600 })).await?;
        bot.say(&lisi, "three");
        bot.shows(&lisi, &["echo: one", "echo: two", "echo: three"]).await?;
        ensure!(
            n_told(bot, 2) == 3,
            "expected 3 messages of a continued session, found {}",
            n_told(bot, 2)
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn messages_within_the_window_are_one_question() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "summaryWindowSeconds": 2 })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "one");
        bot.say(&lisi, "two");
        bot.wait_until("a question", || !bot.agent.asked().is_empty()).await?;
        // The platforms deliver the two messages at the same time, so either may be first.
        let asked = bot.agent.asked();
        let lines: BTreeSet<&str> = asked[0].lines().collect();
        ensure!(
            asked.len() == 1 && lines == BTreeSet::from(["one", "two"]),
            "asked {asked:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn new_session_drops_what_was_gathered() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        // Long enough that no gathered message is asked before the command arrives.
        bot.change_trigger(&json!({ "summaryWindowSeconds": 60 })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "lost");
        in_ledger(bot, 1).await?;
        bot.say(&lisi, "/new");
        let is_confirmed = || bot.texts(&lisi).iter().any(|text| text == sentence(Notice::NewSession));
        bot.wait_until("the confirmation", is_confirmed).await?;
        bot.change_trigger(&json!({ "summaryWindowSeconds": 0 })).await?;
        bot.say(&lisi, "kept");
        bot.agent_is_asked(&["kept"]).await
    })
    .await;
}

#[tokio::test]
async fn message_behind_a_running_answer_waits() {
    let test = TestBridge::open(holding()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hold");
        bot.agent_is_asked(&["hold"]).await?;
        bot.say(&lisi, "next");
        in_ledger(bot, 2).await?;
        ensure!(bot.agent.asked() == ["hold"], "asked {:?}", bot.agent.asked());
        bot.agent.open_gate();
        let both = || {
            ["echo: hold", "echo: next"]
                .iter()
                .all(|it| bot.texts(&lisi).iter().any(|text| text == it))
        };
        bot.wait_until("both answers", both).await?;
        bot.agent_is_asked(&["hold", "next"]).await
    })
    .await;
}

#[tokio::test]
async fn message_interrupts_a_running_answer_where_the_trigger_says_so() {
    let test = TestBridge::open(holding()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "busyPolicy": "interrupt" })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hold");
        bot.agent_is_asked(&["hold"]).await?;
        bot.say(&lisi, "next");
        bot.wait_until("the second answer", || {
            bot.texts(&lisi).last().is_some_and(|text| text == "echo: next")
        })
        .await?;
        let texts = bot.texts(&lisi);
        ensure!(
            !texts.iter().any(|text| text == "echo: hold"),
            "the interrupted answer is shown: {texts:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn people_of_a_group_have_sessions_of_their_own_or_share_one() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let features = bot.simulator.features();
        if !features.groups || !features.many_people {
            return Ok(());
        }
        let (lisi, wang) = (Speaker::in_group("1001", GROUP), Speaker::in_group("1002", GROUP));
        for (n, (speaker, text)) in [(&lisi, "one"), (&wang, "two")].into_iter().enumerate() {
            bot.say(speaker, text);
            bot.wait_until("the question", || bot.agent.asked().len() == n + 1)
                .await?;
            ensure!(
                n_told(bot, n) == 1,
                "{text}: the session has {} messages, expected 1",
                n_told(bot, n)
            );
        }
        let answered = || bot.texts(&lisi).iter().any(|text| text == "echo: two");
        bot.wait_until("the answers", answered).await?;
        bot.change_trigger(&json!({ "sessionScope": "chat" })).await?;
        bot.say(&lisi, "three");
        let answered = || bot.texts(&lisi).last().is_some_and(|text| text.ends_with(": three"));
        bot.wait_until("the third answer", answered).await?;
        bot.say(&wang, "four");
        bot.wait_until("the fourth question", || bot.agent.asked().len() == 4)
            .await?;
        ensure!(
            n_told(bot, 3) == 3,
            "expected 3 messages of a shared session, found {}",
            n_told(bot, 3)
        );
        let asked = &bot.agent.asked()[3];
        ensure!(
            asked.ends_with(": four"),
            "the question should name its sender: {asked}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn first_message_creates_a_user() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        bot.shows(&lisi, &["echo: hello"]).await?;
        let users = bot.console.get("/api/v1/orgs/default/users?limit=200").await?;
        let mut all = users["items"].as_array().into_iter().flatten();
        let own = all.find(|user| user["integrationId"] == bot.id.as_str());
        let own = own.ok_or_else(|| anyhow::anyhow!("no user of this bot: {users}"))?;
        let id = own["externalId"].as_str().unwrap_or_default();
        let platform = bot
            .console
            .get(&format!("/api/v1/orgs/default/integrations/{}", bot.id))
            .await?;
        ensure!(
            !id.is_empty() && own["name"] == id,
            "expected the account's id as name of {own}"
        );
        ensure!(
            own["email"] == format!("{id}@im-platform.com"),
            "expected a generated email address in {own}"
        );
        ensure!(
            own["source"] == platform["platform"],
            "expected the platform as source of {own}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn notices_are_in_the_integrations_language() {
    let test = TestBridge::with(Manner::default(), |simulator| simulator.integration()).await;
    test.play(async |bot| {
        let path = format!("/api/v1/orgs/default/integrations/{}", bot.id);
        let changed: Value = bot.console.patch(&path, &json!({ "language": "zh-CN" })).await?;
        ensure!(
            changed["language"] == "zh-CN",
            "expected the language zh-CN in {changed}"
        );
        bot.wait_until("connected", || bot.simulator.is_connected()).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "/new");
        bot.shows(&lisi, &[Notice::NewSession.text(Language::Chinese)]).await
    })
    .await;
}
