//! Task mode in a direct chat: tasks survive a new chat; where tasks are created elsewhere only, people get a notice.

use anyhow::ensure;
use serde_json::json;
use tieline_core::notice::{Language, Notice};
use tieline_core::task_reply::TaskReply;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use crate::test_bridge::{Bot, TestBridge, sentence};

pub(crate) fn told(reply: &TaskReply) -> String {
    reply.text(Language::English)
}

/// Sends a text, and waits until the bot shows the expected answer.
pub(crate) async fn talk(
    bot: &Bot,
    from: &Speaker,
    shown: &mut Vec<String>,
    text: &str,
    answer: String,
) -> anyhow::Result<()> {
    bot.say(from, text);
    shown.push(answer);
    let expected: Vec<&str> = shown.iter().map(String::as_str).collect();
    bot.shows(from, &expected).await
}

#[tokio::test]
async fn task_survives_a_new_chat() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "taskMode": true })).await?;
        let (lisi, mut shown) = (Speaker::alone("1001"), Vec::new());
        if bot.simulator.features().tasks_from_outside {
            let guidance = told(&TaskReply::OnlyFromOutside);
            return talk(bot, &lisi, &mut shown, "/task Deploy", guidance).await;
        }
        // Here only registered commands can be typed, so tasks need the other mode.
        if !bot.simulator.features().typed_commands {
            return Ok(());
        }
        let made = told(&TaskReply::TaskMade("Deploy".to_owned()));
        talk(bot, &lisi, &mut shown, "/task Deploy", made).await?;
        talk(bot, &lisi, &mut shown, "one", "echo: one".to_owned()).await?;
        talk(bot, &lisi, &mut shown, "/new", told(&TaskReply::Menu { recent: true })).await?;
        talk(bot, &lisi, &mut shown, "1", sentence(Notice::NewSession).to_owned()).await?;
        talk(bot, &lisi, &mut shown, "two", "echo: two".to_owned()).await?;
        let entered = told(&TaskReply::TaskEntered("Deploy".to_owned()));
        talk(bot, &lisi, &mut shown, "/Task deploy", entered).await?;
        talk(bot, &lisi, &mut shown, "three", "echo: three".to_owned()).await?;
        let seen = bot.agent.seen();
        let n_told = |at: usize| seen[at].body["messages"].as_array().map(Vec::len);
        ensure!(
            n_told(1) == Some(1),
            "the new chat has messages of the task: {:?}",
            n_told(1)
        );
        ensure!(
            n_told(2) == Some(3),
            "the task has lost its first messages: {:?}",
            n_told(2)
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn unknown_person_is_admitted_by_their_pairing_code() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        bot.change_trigger(&json!({ "access": { "pairing": true } })).await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "hello");
        let code = || {
            let texts = bot.texts(&lisi);
            let (_, rest) = texts.first()?.split_once("this bot: ")?;
            Some(rest.chars().take(8).collect::<String>())
        };
        bot.wait_until("a code", || code().is_some_and(|code| code.len() == 8))
            .await?;
        let body = json!({ "integrationId": bot.id, "code": code() });
        bot.console.post("/api/v1/orgs/default/pairings/approve", &body).await?;
        bot.say(&lisi, "hello again");
        let answered = || bot.texts(&lisi).last().is_some_and(|text| text == "echo: hello again");
        bot.wait_until("the answer", answered).await?;
        ensure!(bot.agent.asked() == ["hello again"], "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}
