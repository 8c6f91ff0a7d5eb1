//! The commands of task mode, which of them work in groups, and what `/status` reports.

use anyhow::ensure;
use serde_json::json;
use tieline_core::notice::Notice;
use tieline_core::task_reply::TaskReply;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use crate::chat_rules::in_ledger;
use crate::tasks::{talk, told};
use crate::test_bridge::{Bot, TestBridge, sentence};

/// A group that every simulator knows.
const GROUP: &str = "-1002001";

/// Whether people of this bot can create tasks by typing.
pub(crate) fn has_typed_tasks(bot: &Bot) -> bool {
    let features = bot.simulator.features();
    features.typed_commands && !features.tasks_from_outside
}

fn n_told(bot: &Bot, n: usize) -> usize {
    bot.agent.seen()[n].body["messages"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn chat_is_bound_to_a_task_and_tasks_are_switched_by_name_and_number() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !has_typed_tasks(bot) {
            return Ok(());
        }
        bot.change_trigger(&json!({ "taskMode": true })).await?;
        let (lisi, mut shown) = (Speaker::alone("1001"), Vec::new());
        let shown = &mut shown;
        let entered = |name: &str| told(&TaskReply::TaskEntered(name.to_owned()));
        talk(bot, &lisi, shown, "one", "echo: one".to_owned()).await?;
        talk(
            bot,
            &lisi,
            shown,
            "/bind Notes",
            told(&TaskReply::Bound("Notes".to_owned())),
        )
        .await?;
        talk(
            bot,
            &lisi,
            shown,
            "/task Deploy",
            told(&TaskReply::TaskMade("Deploy".to_owned())),
        )
        .await?;
        talk(bot, &lisi, shown, "two", "echo: two".to_owned()).await?;
        talk(bot, &lisi, shown, "/SWITCH notes", entered("Notes")).await?;
        talk(bot, &lisi, shown, "three", "echo: three".to_owned()).await?;
        // The most recently used task is the first of the list.
        talk(bot, &lisi, shown, "/switch 2", entered("Deploy")).await?;
        talk(bot, &lisi, shown, "four", "echo: four".to_owned()).await?;
        talk(bot, &lisi, shown, "/chat", told(&TaskReply::ChatMode)).await?;
        talk(bot, &lisi, shown, "five", "echo: five".to_owned()).await?;
        let histories: Vec<usize> = (0..5).map(|n| n_told(bot, n)).collect();
        ensure!(
            histories == [1, 1, 3, 3, 1],
            "lengths of the agent's requests: {histories:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn menu_offers_chat_task_and_recent_tasks_until_it_is_cancelled() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !has_typed_tasks(bot) {
            return Ok(());
        }
        bot.change_trigger(&json!({ "taskMode": true })).await?;
        let (lisi, mut shown) = (Speaker::alone("1001"), Vec::new());
        let shown = &mut shown;
        let menu = |recent| told(&TaskReply::Menu { recent });
        talk(bot, &lisi, shown, "/new", menu(false)).await?;
        talk(bot, &lisi, shown, "/cancel", told(&TaskReply::Cancelled)).await?;
        talk(bot, &lisi, shown, "/cancel", told(&TaskReply::NothingToCancel)).await?;
        // No menu is open any more, so a number is ordinary text.
        talk(bot, &lisi, shown, "1", "echo: 1".to_owned()).await?;
        talk(bot, &lisi, shown, "/new", menu(false)).await?;
        talk(bot, &lisi, shown, "2", told(&TaskReply::AskName)).await?;
        talk(
            bot,
            &lisi,
            shown,
            "Release 7",
            told(&TaskReply::TaskMade("Release 7".to_owned())),
        )
        .await?;
        talk(bot, &lisi, shown, "/new", menu(true)).await?;
        let list = TaskReply::ChooseTask(vec!["Release 7".to_owned()]);
        talk(bot, &lisi, shown, "3", told(&list)).await?;
        let entered = TaskReply::TaskEntered("Release 7".to_owned());
        talk(bot, &lisi, shown, "1", told(&entered)).await?;
        let unknown = TaskReply::NoSuchTask(vec!["Release 7".to_owned()]);
        talk(bot, &lisi, shown, "/switch Nothing", told(&unknown)).await?;
        // Text that is no choice closes the menu and goes to the agent.
        talk(bot, &lisi, shown, "on with it", "echo: on with it".to_owned()).await?;
        bot.agent_is_asked(&["1", "on with it"]).await
    })
    .await;
}

#[tokio::test]
async fn groups_have_four_commands_and_treat_the_others_as_text() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        let features = bot.simulator.features();
        if !features.groups {
            return Ok(());
        }
        bot.change_trigger(&json!({ "taskMode": true })).await?;
        let lisi = Speaker::in_group("1001", GROUP);
        let shows = async |what: &str, part: &str| {
            let is_shown = || bot.texts(&lisi).last().is_some_and(|text| text.contains(part));
            let shown = bot.wait_until(what, is_shown).await;
            shown.map_err(|error| error.context(format!("shown {:?}", bot.texts(&lisi))))
        };
        bot.say(&lisi, "/help");
        shows("the help", "/status").await?;
        let help = bot.texts(&lisi).concat();
        ensure!(
            !help.contains("/task") && !help.contains("/switch"),
            "a group's help must not list task commands: {help}"
        );
        // Before the status, which contains the same sentence.
        bot.say(&lisi, "/stop");
        shows("that nothing runs", sentence(Notice::NothingToStop)).await?;
        bot.say(&lisi, "/status");
        shows("the status", "Mode: chat").await?;
        // No menu, although the trigger allows tasks.
        bot.say(&lisi, "/new");
        shows("the confirmation", sentence(Notice::NewSession)).await?;
        if !features.typed_commands {
            return Ok(());
        }
        let mut asked = Vec::new();
        for text in ["/chat now", "/task Deploy", "/switch a", "/bind a", "/cancel"] {
            bot.say(&lisi, text);
            asked.push(text);
            bot.agent_is_asked(&asked).await?;
            shows(text, &format!("echo: {text}")).await?;
        }
        Ok(())
    })
    .await;
}

/// An agent that holds back the end of its answers to the text `hold`.
fn holding() -> Manner {
    Manner {
        answer: |text| vec!["echo".to_owned(), format!(": {text}")],
        holds: |text| text == "hold",
        ..Manner::default()
    }
}

#[tokio::test]
async fn status_reports_agent_mode_session_run_and_waiting_messages() {
    let test = TestBridge::open(holding()).await;
    test.play(async |bot| {
        let lisi = Speaker::alone("1001");
        let status = async |parts: &[&str]| {
            bot.say(&lisi, "/status");
            let is_shown = || {
                let texts = bot.texts(&lisi);
                texts.iter().any(|text| parts.iter().all(|part| text.contains(part)))
            };
            let shown = bot.wait_until("the status", is_shown).await;
            shown.map_err(|error| error.context(format!("expected {parts:?}, shown {:?}", bot.texts(&lisi))))
        };
        let agent = format!("Agent: Agent of {}", bot.name);
        let idle = [
            "Mode: chat",
            "begins a new one",
            "No answer is running.",
            "No message is waiting.",
        ];
        status(&[&[&*agent], &idle[..]].concat()).await?;
        bot.say(&lisi, "hold");
        bot.agent_is_asked(&["hold"]).await?;
        bot.say(&lisi, "next");
        in_ledger(bot, 3).await?;
        status(&[
            &*agent,
            "Session: no. 1, begun",
            "An answer is being written, for",
            "1 message is waiting.",
        ])
        .await?;
        bot.agent.open_gate();
        bot.agent_is_asked(&["hold", "next"]).await
    })
    .await;
}

#[tokio::test]
async fn name_of_the_bot_behind_a_command_is_dropped() {
    let test = TestBridge::open(Manner::default()).await;
    test.play(async |bot| {
        if !bot.simulator.features().typed_commands {
            return Ok(());
        }
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "/Help@tieline_demo_bot");
        let helps = || bot.texts(&lisi).last().is_some_and(|text| text.contains("/stop"));
        bot.wait_until("the help", helps).await?;
        bot.say(&lisi, "/new@tieline_demo_bot the first words");
        bot.agent_is_asked(&["the first words"]).await
    })
    .await;
}
