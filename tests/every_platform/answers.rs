//! From a message to its answer: streamed text, exact final texts, long answers, groups, redelivery.

use std::time::Duration;

use anyhow::ensure;
use tieline_tests::agents::{Manner, REASONING};
use tieline_tests::outbound::Speaker;

use crate::test_bridge::TestBridge;

fn in_pieces() -> Manner {
    Manner {
        between: Duration::from_millis(700),
        answer: |text| {
            ["You said: ", text, ". That is all", " there is", " to say."]
                .map(str::to_owned)
                .to_vec()
        },
        ..Manner::default()
    }
}

#[tokio::test]
async fn answer_grows_to_its_exact_final_text() {
    let test = TestBridge::open(in_pieces()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let expected = ["You said: 你好 🚀. That is all there is to say."];
        bot.say(&lisi, "你好 🚀");
        bot.shows(&lisi, &expected).await?;
        bot.keeps_showing(&lisi, &expected).await?;
        let bubbles = bot.simulator.shown(&lisi);
        let states = &bubbles[0].states;
        let grown: Vec<_> = states.iter().filter(|text| text.starts_with("You")).collect();
        ensure!(
            grown.is_sorted_by(|a, b| b.starts_with(a.as_str())),
            "text shrinks: {states:?}"
        );
        ensure!(
            !bot.simulator.features().streams || grown.len() >= 2,
            "text does not grow: {states:?}"
        );
        ensure!(bot.agent.asked() == ["你好 🚀"], "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn redelivered_message_is_answered_once() {
    let test = TestBridge::open(in_pieces()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let expected = ["You said: once. That is all there is to say."];
        let id = bot.say(&lisi, "once");
        bot.simulator.redeliver(&id);
        bot.agent_is_asked(&["once"]).await?;
        bot.simulator.redeliver(&id);
        bot.shows(&lisi, &expected).await?;
        bot.simulator.redeliver(&id);
        bot.keeps_showing(&lisi, &expected).await?;
        ensure!(bot.agent.asked() == ["once"], "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_person_gets_their_own_answer() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().many_people {
            return Ok(());
        }
        let (lisi, wangwu) = (Speaker::alone("1001"), Speaker::alone("1002"));
        bot.say(&lisi, "one");
        bot.say(&wangwu, "two");
        bot.shows(&lisi, &["echo: one"]).await?;
        bot.shows(&wangwu, &["echo: two"]).await
    })
    .await;
}

/// Number of paragraphs of the long answer: it needs several messages on every platform.
const N_PARAGRAPHS: usize = 900;

fn paragraph(n: usize) -> String {
    format!("Paragraph {n:04} 有足够多的文字来填满这个消息气泡。")
}

#[tokio::test]
async fn long_answer_is_shown_whole_and_in_order() {
    let test = TestBridge::open(Manner {
        answer: |_| (0..N_PARAGRAPHS).map(|n| format!("{}\n\n", paragraph(n))).collect(),
        ..Manner::default()
    })
    .await;
    test.play(async |bot| {
        if !bot.simulator.features().long_answers {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "long");
        let last = paragraph(N_PARAGRAPHS - 1);
        let is_whole = || bot.texts(&lisi).last().is_some_and(|text| text.contains(&last));
        bot.wait_until("the last paragraph", is_whole).await?;
        let all = bot.texts(&lisi).join("\n");
        let mut rest = all.as_str();
        for n in 0..N_PARAGRAPHS {
            let Some((_, after)) = rest.split_once(&paragraph(n)) else {
                anyhow::bail!("paragraph {n} is missing or not in order");
            };
            rest = after;
        }
        let n_shown = all.matches("Paragraph").count();
        ensure!(
            n_shown == N_PARAGRAPHS,
            "{n_shown} paragraphs are shown, expected {N_PARAGRAPHS}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn group_message_is_answered_in_the_group_if_it_mentions_the_bot() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().groups {
            return Ok(());
        }
        let (lisi, alone) = (Speaker::in_group("1001", "-1002001"), Speaker::alone("1001"));
        if bot.simulator.features().hears_groups {
            bot.simulator.say(&lisi, "not for the bot", false);
        }
        bot.say(&lisi, "for the bot");
        bot.shows(&lisi, &["echo: for the bot"]).await?;
        bot.keeps_showing(&lisi, &["echo: for the bot"]).await?;
        ensure!(
            bot.texts(&alone).is_empty(),
            "nothing may be shown in the direct chat: {:?}",
            bot.texts(&alone)
        );
        ensure!(bot.agent.asked() == ["for the bot"], "asked {:?}", bot.agent.asked());
        Ok(())
    })
    .await;
}

/// Number of sentences of an answer that is longer than one message of any platform that streams.
const N_SENTENCES: usize = 200;

/// Sentences that end a paragraph, where a message could be cut: in the second half of each platform's first message.
const PARAGRAPHS: [usize; 4] = [23, 31, 70, 150];

/// Sentences without a space, two at a time.
fn sentences() -> Vec<String> {
    let numbered = |n: usize| {
        let end = if PARAGRAPHS.contains(&n) { "\n\n" } else { "" };
        format!("§{n:03}§{}{end}", "有足够多的文字来填满这个消息气泡".repeat(4))
    };
    let all: Vec<_> = (0..N_SENTENCES).map(numbered).collect();
    all.chunks(2).map(<[String]>::concat).collect()
}

#[tokio::test]
async fn shown_text_stays_where_it_is_while_a_long_answer_grows() {
    let test = TestBridge::open(Manner {
        between: Duration::from_millis(80),
        answer: |_| sentences(),
        ..Manner::default()
    })
    .await;
    test.play(async |bot| {
        if !bot.simulator.features().streams {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "long");
        let last = format!("§{:03}§", N_SENTENCES - 1);
        let is_whole = || bot.texts(&lisi).iter().any(|text| text.contains(&last));
        bot.wait_until("the last sentence", is_whole).await?;
        for bubble in bot.simulator.shown(&lisi) {
            let n_shown: Vec<_> = bubble.states.iter().map(|text| text.matches('§').count()).collect();
            ensure!(n_shown.is_sorted(), "a message loses sentences: {n_shown:?}");
        }
        Ok(())
    })
    .await;
}

fn thoughtful() -> Manner {
    Manner {
        between: Duration::from_millis(900),
        answer: |_| {
            [
                "<reasoning>Two options.\n\n",
                "<reasoning>Weighing ```them``` up. ",
                "<reasoning>Done.",
                "The second",
                " one.",
            ]
            .map(str::to_owned)
            .to_vec()
        },
        ..Manner::default()
    }
}

#[tokio::test]
async fn reasoning_is_shown_until_the_text_replaces_it() {
    assert!(
        (thoughtful().answer)("")
            .iter()
            .any(|piece| piece.starts_with(REASONING))
    );
    let test = TestBridge::with(thoughtful(), |simulator| {
        let mut integration = simulator.integration();
        integration["reasoning"] = "full".into();
        integration
    })
    .await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let expected = ["The second one."];
        bot.wait_until("connected", || bot.simulator.is_connected()).await?;
        bot.say(&lisi, "which?");
        bot.shows(&lisi, &expected).await?;
        bot.keeps_showing(&lisi, &expected).await?;
        let states = bot.simulator.shown(&lisi)[0].states.clone();
        let first_text = states.iter().position(|text| text.starts_with("The"));
        let (before, after) = states.split_at(first_text.unwrap_or(0));
        let is_shown = before.iter().any(|text| text.contains("Weighing"));
        ensure!(
            is_shown == bot.simulator.features().shows_reasoning,
            "the reasoning should come before the text: {states:?}"
        );
        ensure!(
            after.iter().all(|text| text.starts_with("The")),
            "the reasoning should be gone once there is text: {states:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn reasoning_is_shown_by_default_only_where_the_platform_does_so() {
    let test = TestBridge::open(thoughtful()).await;
    test.play(async |bot| {
        let path = format!("/api/v1/orgs/default/integrations/{}", bot.id);
        let is_habit = bot.console.get(&path).await?["reasoning"] != "hidden";
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "which?");
        bot.shows(&lisi, &["The second one."]).await?;
        let bubbles = bot.simulator.shown(&lisi);
        let all: Vec<_> = bubbles.iter().flat_map(|bubble| &bubble.states).collect();
        let is_shown = all.iter().any(|text| text.contains("Weighing"));
        ensure!(
            is_shown == is_habit,
            "reasoning is shown: {is_shown}, expected {is_habit}: {all:?}"
        );
        Ok(())
    })
    .await;
}
