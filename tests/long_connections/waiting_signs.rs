//! Messages that wait behind a running answer: each shows a quiet sign, and loses it whatever becomes of the message.

use std::time::Duration;

use tieline_tests::outbound::{Bubble, Speaker, until};

use crate::agent::{Agent, pieces};
use crate::stage::{Mode, Platform, SOON, Stage};

fn lisi() -> Speaker {
    Speaker::alone("ou_lisi")
}

/// A stage whose agent takes some seconds for each answer.
async fn stage(mode: Mode) -> Stage {
    stage_of_answers(mode, |text| pieces(&format!("You said {text}."), 6)).await
}

/// A stage whose agent is not done before it is stopped.
async fn stage_of_long_answers(mode: Mode) -> Stage {
    stage_of_answers(mode, |text| {
        pieces(&format!("You said {text}. {}", "And so on. ".repeat(20)), 60)
    })
    .await
}

async fn stage_of_answers(mode: Mode, answer: fn(&str) -> Vec<String>) -> Stage {
    let between = Duration::from_millis(800);
    let agent = Agent::start(move |asked| (answer(&asked.text), between)).await;
    Stage::open(mode, agent).await
}

/// Waits for the beginning of the answer to the first message, then says the second one.
async fn say_behind(stage: &Stage, first: &str, second: &str) {
    stage.say(&lisi(), first).await;
    let grows = || stage.shown(&lisi()).pop().filter(|it| it.text().contains("You"));
    until("a growing answer", SOON, grows).await.unwrap();
    stage.say(&lisi(), second).await;
}

fn texts(bubbles: &[Bubble]) -> Vec<&str> {
    bubbles.iter().map(Bubble::text).collect()
}

/// Waits until two bubbles are open at the same time, the second one with nothing but dots.
async fn dots(stage: &Stage) {
    let both = || match stage.shown(&lisi()).as_slice() {
        [first, second] => (!first.done && !second.done && second.text() == "<think></think>").then_some(()),
        _ => None,
    };
    until("dots behind a growing answer", SOON, both).await.unwrap();
}

/// Waits until the chat shows this many reactions while the first answer still grows.
async fn reactions(stage: &Stage, wanted: usize) {
    let Platform::Lark(lark) = &stage.platform else {
        unreachable!("a stage of Lark's");
    };
    until("reactions", SOON, || (lark.reactions("bot1") == wanted).then_some(()))
        .await
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", lark.reactions("bot1"), stage.bridge.log_tail()));
}

#[tokio::test]
async fn wecom_message_shows_dots_until_its_turn() {
    let stage = stage(Mode::WecomSocket).await;
    say_behind(&stage, "first", "second").await;
    dots(&stage).await;
    assert_eq!(stage.agent.asked().len(), 1, "the agent is asked one by one");
    let told = stage.settled(&lisi(), "You said second.").await;
    assert_eq!(texts(&told), ["You said first.", "You said second."]);
    stage.nothing_wrong();
}

#[tokio::test]
async fn wecom_dots_end_when_the_message_is_stopped() {
    let stage = stage_of_long_answers(Mode::WecomSocket).await;
    say_behind(&stage, "first", "second").await;
    dots(&stage).await;
    stage.say(&lisi(), "/stop").await;
    let done = || Some(stage.shown(&lisi())).filter(|all| all.len() == 3 && all.iter().all(|it| it.done));
    let told = until("three finished bubbles", SOON, done).await.unwrap();
    assert!(told[1].text().contains("Stopped"), "{told:#?}");
    assert_eq!(stage.agent.asked().len(), 1);
    stage.nothing_wrong();
}

#[tokio::test]
async fn lark_message_has_a_reaction_until_its_turn() {
    for mode in [Mode::LarkSocket, Mode::LarkWebhook] {
        let stage = stage(mode).await;
        say_behind(&stage, "first", "second").await;
        reactions(&stage, 1).await;
        assert_eq!(stage.agent.asked().len(), 1, "the agent is asked one by one");
        let told = stage.settled(&lisi(), "You said second.").await;
        assert_eq!(texts(&told), ["You said first.", "You said second."]);
        reactions(&stage, 0).await;
        stage.nothing_wrong();
    }
}

#[tokio::test]
async fn lark_reaction_goes_without_a_word_when_the_message_is_stopped() {
    let stage = stage_of_long_answers(Mode::LarkSocket).await;
    say_behind(&stage, "first", "second").await;
    reactions(&stage, 1).await;
    stage.say(&lisi(), "/stop").await;
    reactions(&stage, 0).await;
    let done = || Some(stage.shown(&lisi())).filter(|all| all.len() == 2 && all.iter().all(|it| it.done));
    until("the stopped answer and the confirmation", SOON, done)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:#?}\n{}", stage.shown(&lisi()), stage.bridge.log_tail()));
    assert_eq!(stage.agent.asked().len(), 1);
    stage.nothing_wrong();
}
