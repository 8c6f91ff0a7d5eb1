//! Buttons below answers: an agent's card, the choices of its question, our own button for a new session.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tieline_core::notice::Notice;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::{Speaker, stays};

use crate::test_bridge::{Bot, TestBridge, sentence};

/// A group that every simulator knows.
const GROUP: &str = "-1002001";

/// Platforms whose messages can have our own button below them.
const WITH_RESET_BUTTON: &[&str] = &["discord", "lark", "telegram", "wecom_app"];

/// An agent that answers `ask` with a card, `sure` with a question, and everything else with an echo.
fn with_cards() -> Manner {
    Manner {
        events: |text| match text {
            "ask" => Some(vec![
                json!({ "type": "text.delta", "text": "All tests pass." }),
                json!({ "type": "card", "card": { "title": "Deploy", "text": "Ready?",
                    "buttons": [{ "text": "Go", "value": "deploy 42" }, { "text": "Wait", "value": "wait" }] } }),
                json!({ "type": "completed" }),
            ]),
            "sure" => Some(vec![
                json!({ "type": "input.required", "prompt": "Sure?", "choices": ["yes", "no"] }),
            ]),
            _ => None,
        },
        ..Manner::default()
    }
}

fn has_button(bot: &Bot, chat: &Speaker, label: &str) -> bool {
    let buttons = bot.simulator.buttons(chat);
    buttons
        .iter()
        .any(|button| button.label == label && button.url.is_none())
}

/// Whether buttons with a value are shown as buttons. Polling programs get them beside the text.
async fn has_buttons(bot: &Bot) -> anyhow::Result<bool> {
    Ok(bot.abilities().await?["buttons"] == "all" && !bot.name.contains("polled"))
}

#[tokio::test]
async fn chosen_card_button_is_the_next_question() {
    let test = TestBridge::open(with_cards()).await;
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "ask");
        let shown = || bot.texts(&lisi).join("\n");
        bot.wait_until("the card", || {
            shown().contains("Ready?") || has_button(bot, &lisi, "Go")
        })
        .await?;
        if has_buttons(bot).await? {
            bot.wait_until("the button", || has_button(bot, &lisi, "Go")).await?;
            bot.simulator.click(&lisi, "Go");
        } else {
            bot.wait_until("what to answer", || shown().contains("deploy 42"))
                .await?;
            bot.say(&lisi, "deploy 42");
        }
        bot.agent_is_asked(&["ask", "deploy 42"]).await?;
        bot.wait_until("the answer", || shown().contains("echo: deploy 42"))
            .await
    })
    .await;
}

#[tokio::test]
async fn choices_of_a_question_are_buttons_or_text() {
    let test = TestBridge::open(with_cards()).await;
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "sure");
        let shown = || bot.texts(&lisi).join("\n");
        bot.wait_until("the question", || shown().contains("Sure?")).await?;
        if has_buttons(bot).await? {
            bot.wait_until("the button", || has_button(bot, &lisi, "yes")).await?;
            bot.simulator.click(&lisi, "yes");
        } else {
            bot.wait_until("the choices", || shown().contains("yes")).await?;
            bot.say(&lisi, "yes");
        }
        bot.agent_is_asked(&["sure", "yes"]).await
    })
    .await;
}

#[tokio::test]
async fn only_the_asker_can_use_the_buttons_of_an_answer_in_a_group() {
    let test = TestBridge::open(with_cards()).await;
    test.play(async |bot| {
        let features = bot.simulator.features();
        if !features.groups || !features.many_people {
            return Ok(());
        }
        bot.agent_speaks_our_contract().await?;
        let (lisi, wang) = (Speaker::in_group("1001", GROUP), Speaker::in_group("1002", GROUP));
        bot.say(&lisi, "ask");
        let is_line = || bot.texts(&lisi).join("\n").contains("deploy 42");
        bot.wait_until("the button or its line", || is_line() || has_button(bot, &lisi, "Go"))
            .await?;
        // Without a button, any person can answer by typing the words.
        if !has_button(bot, &lisi, "Go") {
            return Ok(());
        }
        bot.simulator.click(&wang, "Go");
        let asked = || bot.agent.asked() == ["ask"];
        stays("another person's click says nothing", Duration::from_secs(3), asked).await?;
        bot.simulator.click(&lisi, "Go");
        bot.agent_is_asked(&["ask", "deploy 42"]).await
    })
    .await;
}

#[tokio::test]
async fn chosen_button_is_confirmed_where_the_platform_can_show_it() {
    let test = TestBridge::open(with_cards()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let marks = || bot.simulator.click_marks(&lisi);
        if marks().is_none() || !has_buttons(bot).await? {
            return Ok(());
        }
        bot.agent_speaks_our_contract().await?;
        bot.say(&lisi, "ask");
        bot.wait_until("the button", || has_button(bot, &lisi, "Go")).await?;
        bot.simulator.click(&lisi, "Go");
        bot.wait_until("the mark", || marks().is_some_and(|marks| marks.contains("✓ Go")))
            .await
            .map_err(|error| error.context(format!("expected a confirmation mark, found {:?}", marks())))?;
        // The answer is a message of its own: the card is kept.
        let answered = || bot.texts(&lisi).last().is_some_and(|text| text == "echo: deploy 42");
        bot.wait_until("the answer", answered).await?;
        let texts = bot.texts(&lisi);
        ensure!(
            texts[0].contains("All tests pass."),
            "expected `All tests pass.` in {texts:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn new_session_and_failure_offer_a_button_for_the_next_session() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let label = sentence(Notice::ButtonNewSession);
        let (lisi, confirmed) = (Speaker::alone("1001"), sentence(Notice::NewSession));
        let n_confirmed = || bot.texts(&lisi).iter().filter(|text| text.contains(confirmed)).count();
        bot.say(&lisi, "/new");
        bot.wait_until("the confirmation", || n_confirmed() == 1).await?;
        let n_buttons = || {
            let buttons = bot.simulator.buttons(&lisi);
            buttons.iter().filter(|button| button.label == label).count()
        };
        if !WITH_RESET_BUTTON.iter().any(|platform| bot.name.starts_with(platform)) {
            ensure!(n_buttons() == 0, "expected no button");
            return Ok(());
        }
        bot.wait_until("the button", || n_buttons() == 1).await?;
        // On this platform the button itself is updated to the confirmation.
        if bot.name.starts_with("wecom_app") {
            return Ok(());
        }
        bot.simulator.click(&lisi, label);
        bot.wait_until("the second confirmation", || n_confirmed() == 2).await?;
        bot.agent_is_gone().await?;
        bot.say(&lisi, "hello");
        let failed = || {
            bot.texts(&lisi)
                .iter()
                .any(|text| text.contains(sentence(Notice::AgentFailed)))
        };
        bot.wait_until("the failure", failed).await?;
        bot.wait_until("its button", || n_buttons() == 3).await?;
        bot.simulator.click(&lisi, label);
        bot.wait_until("the third confirmation", || n_confirmed() == 3).await
    })
    .await;
}
