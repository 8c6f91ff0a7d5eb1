//! Messages that wait behind a running answer: each shows a waiting sign, which disappears whatever happens to the message.

use std::time::Duration;

use serde_json::json;
use tieline_tests::lark::{Answer, Fault};
use tieline_tests::outbound::{Bubble, Speaker, until};

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, Platform, SOON, TestBridge};

/// Time between two pieces of an answer.
const BETWEEN: Duration = Duration::from_millis(800);

fn lisi() -> Speaker {
    Speaker::alone("ou_lisi")
}

/// A bridge whose agent takes some seconds for each answer.
async fn test(mode: Mode) -> TestBridge {
    bridge_with_answers(mode, |text| pieces(&format!("You said {text}."), 6)).await
}

/// A bridge whose agent never finishes before it is stopped.
async fn bridge_with_long_answers(mode: Mode) -> TestBridge {
    bridge_with_answers(mode, |text| {
        pieces(&format!("You said {text}. {}", "And so on. ".repeat(20)), 60)
    })
    .await
}

async fn bridge_with_answers(mode: Mode, answer: fn(&str) -> Vec<String>) -> TestBridge {
    let agent = Agent::start(move |asked| (answer(&asked.text), BETWEEN)).await;
    TestBridge::open(mode, agent).await
}

/// Waits for the beginning of the answer to the first message and the removal of its waiting sign; then sends the second message.
async fn say_behind(test: &TestBridge, first: &str, second: &str) {
    test.say(&lisi(), first).await;
    let grows = || test.shown(&lisi()).pop().filter(|it| it.text().contains("You"));
    until("a growing answer", SOON, grows).await.unwrap();
    if let Platform::Lark(_) = &test.platform {
        reactions(test, 0).await;
    }
    test.say(&lisi(), second).await;
}

fn texts(bubbles: &[Bubble]) -> Vec<&str> {
    bubbles.iter().map(Bubble::text).collect()
}

/// Waits until two bubbles are open at the same time, the second one with only dots.
async fn dots(test: &TestBridge) {
    let both = || match test.shown(&lisi()).as_slice() {
        [first, second] => (!first.done && !second.done && second.text() == "<think></think>").then_some(()),
        _ => None,
    };
    until("dots behind a growing answer", SOON, both).await.unwrap();
}

/// Waits until the chat shows this many reactions while the first answer is still growing.
async fn reactions(test: &TestBridge, wanted: usize) {
    let Platform::Lark(lark) = &test.platform else {
        unreachable!("a bridge with Lark");
    };
    until("reactions", SOON, || (lark.reactions("bot1") == wanted).then_some(()))
        .await
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", lark.reactions("bot1"), test.bridge.log_tail()));
}

#[tokio::test]
async fn wecom_message_shows_dots_until_its_turn() {
    let test = test(Mode::WecomSocket).await;
    say_behind(&test, "first", "second").await;
    dots(&test).await;
    assert_eq!(
        test.agent.asked().len(),
        1,
        "the agent must be asked one question at a time"
    );
    let told = test.settled(&lisi(), "You said second.").await;
    assert_eq!(texts(&told), ["You said first.", "You said second."]);
    test.nothing_wrong();
}

#[tokio::test]
async fn wecom_dots_end_when_the_message_is_stopped() {
    let test = bridge_with_long_answers(Mode::WecomSocket).await;
    say_behind(&test, "first", "second").await;
    dots(&test).await;
    test.say(&lisi(), "/stop").await;
    let done = || Some(test.shown(&lisi())).filter(|all| all.len() == 3 && all.iter().all(|it| it.done));
    let told = until("three finished bubbles", SOON, done).await.unwrap();
    assert!(told[1].text().contains("Stopped"), "expected `Stopped` in {told:#?}");
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}

#[tokio::test]
async fn lark_message_has_a_reaction_until_its_turn() {
    for mode in [Mode::LarkSocket, Mode::LarkWebhook] {
        let test = test(mode).await;
        say_behind(&test, "first", "second").await;
        reactions(&test, 1).await;
        assert_eq!(
            test.agent.asked().len(),
            1,
            "the agent must be asked one question at a time"
        );
        let told = test.settled(&lisi(), "You said second.").await;
        assert_eq!(texts(&told), ["You said first.", "You said second."]);
        reactions(&test, 0).await;
        test.nothing_wrong();
    }
}

/// The platform takes twelve seconds for the sign of the second message; the first answer is complete after four.
#[tokio::test]
async fn a_sign_that_takes_long_holds_back_no_answer() {
    let test = test(Mode::LarkSocket).await;
    let Platform::Lark(lark) = &test.platform else {
        unreachable!("a bridge with Lark");
    };
    test.say(&lisi(), "first").await;
    let grows = || test.shown(&lisi()).pop().filter(|it| it.text().contains("You"));
    until("a growing answer", SOON, grows).await.unwrap();
    reactions(&test, 0).await;
    let late = Fault {
        call: "react",
        answer: Answer::Late(Duration::from_secs(12)),
    };
    lark.misbehave(|faults| faults.answers.push_back(late));
    test.say(&lisi(), "second").await;
    let told = test
        .settled_within(&lisi(), "You said first.", Duration::from_secs(9))
        .await;
    assert_eq!(texts(&told), ["You said first."]);
    let told = test.settled(&lisi(), "You said second.").await;
    assert_eq!(texts(&told), ["You said first.", "You said second."]);
    reactions(&test, 0).await;
    test.nothing_wrong();
}

#[tokio::test]
async fn lark_reaction_is_removed_without_a_message_when_the_message_is_stopped() {
    let test = bridge_with_long_answers(Mode::LarkSocket).await;
    say_behind(&test, "first", "second").await;
    reactions(&test, 1).await;
    test.say(&lisi(), "/stop").await;
    reactions(&test, 0).await;
    let done = || Some(test.shown(&lisi())).filter(|all| all.len() == 2 && all.iter().all(|it| it.done));
    until("the stopped answer and the confirmation", SOON, done)
        .await
        .unwrap_or_else(|error| panic!("{error}: {:#?}\n{}", test.shown(&lisi()), test.bridge.log_tail()));
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}

#[tokio::test]
async fn lark_reactions_of_merged_messages_are_removed_without_a_message() {
    let agent = Agent::start(|asked| (pieces(&format!("You said {}.", asked.text), 6), BETWEEN)).await;
    let mut test = TestBridge::empty(Mode::LarkSocket, agent).await;
    test.add_with("bot1", &json!({ "summaryWindowSeconds": 1 })).await;
    say_behind(&test, "first", "second").await;
    test.say(&lisi(), "third").await;
    reactions(&test, 2).await;
    let told = test.settled(&lisi(), "You said second\nthird.").await;
    assert_eq!(texts(&told), ["You said first.", "You said second\nthird."]);
    reactions(&test, 0).await;
    test.nothing_wrong();
}
