//! Messages in groups: to the bot, and among people.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tokio::time::sleep;

use crate::test_bridge::{Bot, TestBridge};

/// A group that every simulator knows.
const GROUP: &str = "-1002001";
/// Pause between two messages that don't reach the bot yet.
const PAUSE: Duration = Duration::from_millis(300);

/// Whether the bot's platform delivers messages without a mention, by the catalogue.
async fn hears_groups(bot: &Bot) -> anyhow::Result<bool> {
    Ok(bot.abilities().await?["hearsGroups"] == true)
}

/// Number of group messages of this bot that the bridge has stored.
fn n_kept(test: &TestBridge, bot: &Bot) -> usize {
    let log = test.bridge.log();
    let kept = log.lines().filter(|line| line.contains("kept a group message"));
    kept.filter(|line| line.contains(&bot.id)).count()
}

#[tokio::test]
async fn latest_group_messages_are_sent_to_the_agent_once() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !hears_groups(bot).await? {
            let refused = bot.change_trigger(&json!({ "groupContext": 2 })).await;
            let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(refused.contains("groupContext"), "refused with {refused:?}");
            return Ok(());
        }
        bot.change_trigger(&json!({ "groupContext": 2 })).await?;
        let (lisi, wang) = (Speaker::in_group("1001", GROUP), Speaker::in_group("1002", GROUP));
        // Until the changed setting reaches the connection, messages without a mention are dropped.
        let mut n_said = 0;
        while n_kept(&test, bot) == 0 {
            ensure!(n_said < 100, "no group message is stored");
            n_said += 1;
            bot.simulator.say(&wang, "too old", false);
            sleep(PAUSE).await;
        }
        let talk = async |text: &str| {
            let n_before = n_kept(&test, bot);
            bot.simulator.say(&wang, text, false);
            bot.wait_until("one more that is kept", || n_kept(&test, bot) > n_before)
                .await
        };
        talk("deploy is\nbroken").await?;
        talk("since noon").await?;
        bot.say(&lisi, "what is wrong?");
        bot.wait_until("the first question", || bot.agent.asked().len() == 1)
            .await?;
        let first = bot.agent.asked().remove(0);
        let name = first
            .lines()
            .nth(1)
            .and_then(|line| line.split_once(": "))
            .map(|it| it.0.to_owned());
        let name = name.unwrap_or_default();
        let expected = format!(
            "[Said in this group before, not to you:]\n{name}: deploy is\n  broken\n{name}: since noon\n\
             [End of what was said before. The question:]\n\nwhat is wrong?"
        );
        ensure!(first == expected && !name.is_empty(), "asked {first:?}");

        bot.say(&lisi, "thanks");
        bot.wait_until("the second question", || bot.agent.asked().len() == 2)
            .await?;
        ensure!(
            bot.agent.asked()[1] == "thanks",
            "the group's messages should be sent to the agent once: {:?}",
            bot.agent.asked()
        );

        talk("forgotten").await?;
        bot.say(&lisi, "/new anything?");
        bot.wait_until("the third question", || bot.agent.asked().len() == 3)
            .await?;
        ensure!(
            bot.agent.asked()[2] == "anything?",
            "a new session: {:?}",
            bot.agent.asked()
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reply_to_the_bots_message_needs_no_mention() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().groups {
            return Ok(());
        }
        let (lisi, wang) = (Speaker::in_group("1001", GROUP), Speaker::in_group("1002", GROUP));
        bot.say(&lisi, "one");
        bot.shows(&lisi, &["echo: one"]).await?;
        if bot.simulator.reply_to_newest(&wang, "and two?").is_none() {
            return Ok(());
        }
        bot.wait_until("the second question", || bot.agent.asked().len() == 2)
            .await?;
        // The message that is replied to is sent as a quote.
        bot.agent_is_asked(&["one", "> echo: one\n\nand two?"]).await?;
        bot.wait_until("the answer", || bot.texts(&lisi).len() == 2).await
    })
    .await;
}

#[tokio::test]
async fn bot_that_answers_all_needs_no_mention() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !hears_groups(bot).await? {
            return Ok(());
        }
        bot.change_trigger(&json!({ "groupMessages": "all" })).await?;
        let lisi = Speaker::in_group("1001", GROUP);
        let mut n_said = 0;
        // Until the changed setting reaches the connection, messages without a mention are dropped.
        while bot.agent.asked().is_empty() {
            ensure!(n_said < 100, "nothing was answered");
            n_said += 1;
            bot.simulator.say(&lisi, &format!("no mention {n_said}"), false);
            sleep(PAUSE).await;
        }
        bot.simulator.say(&lisi, "the last", false);
        bot.wait_until("an answer", || {
            bot.texts(&lisi).last().is_some_and(|text| text == "echo: the last")
        })
        .await
    })
    .await;
}
