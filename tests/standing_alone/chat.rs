//! Features of the chat: commands, sessions, merged messages, stopped answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::wecom::{Bot, Speaker};

use tieline_tests::test_bridge::{PATIENCE, TestBridge, until, uuid};

const NEW_SESSION: &str = "A new session has begun.";
const STOPPED: &str = "(Stopped.)";

/// The session number of every request to an agent, whether the session is new, and the text.
fn sessions(agent: &FakeAgent) -> Vec<(u64, bool, String)> {
    let seen = agent.seen().into_iter().map(|seen| {
        let session = &seen.body["session"];
        let text = seen.body["message"]["text"].as_str().unwrap().to_owned();
        (
            session["number"].as_u64().unwrap(),
            session["isNew"].as_bool().unwrap(),
            text,
        )
    });
    seen.collect()
}

fn session(number: u64, is_new: bool, text: &str) -> (u64, bool, String) {
    (number, is_new, text.to_owned())
}

async fn say(bridge: &TestBridge, bot: &str, text: &str) -> String {
    bridge.console.say(bot, "chat", text, &uuid()).await.unwrap().1
}

#[tokio::test]
async fn only_the_exact_new_command_starts_a_session() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge.web(&agent.as_webhook(""), &json!({})).await;
    let ask = async |text: &str| bridge.ask(&bot, "chat", text).await;
    assert_eq!(ask("one").await, "echo: one");
    assert_eq!(ask("  /new ").await, NEW_SESSION);
    assert_eq!(ask("two").await, "echo: two");
    assert_eq!(ask("/new three").await, "echo: three");
    assert_eq!(ask("/new\nfour").await, "echo: four");
    assert_eq!(ask("/newfive").await, "echo: /newfive");
    assert_eq!(ask("/NEW").await, "echo: /NEW");
    assert_eq!(ask("say /new").await, "echo: say /new");
    let expected = [
        session(1, true, "one"),
        session(2, true, "two"),
        session(3, true, "three"),
        session(4, true, "four"),
        session(4, false, "/newfive"),
        session(4, false, "/NEW"),
        session(4, false, "say /new"),
    ];
    assert_eq!(sessions(&agent), expected);
}

#[tokio::test]
async fn a_new_session_has_no_earlier_messages() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge.web(&agent.as_chat(""), &json!({})).await;
    bridge.ask(&bot, "chat", "one").await;
    bridge.ask(&bot, "chat", "two").await;
    bridge.ask(&bot, "chat", "/new").await;
    bridge.ask(&bot, "chat", "three").await;
    let told: Vec<usize> = agent
        .seen()
        .iter()
        .map(|it| it.body["messages"].as_array().unwrap().len())
        .collect();
    assert_eq!(told, [1, 3, 1]);
}

#[tokio::test]
async fn idle_session_is_replaced_by_a_new_one_after_its_timeout() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge
        .web(&agent.as_webhook(""), &json!({ "sessionTimeoutSeconds": 5 }))
        .await;
    bridge.ask(&bot, "chat", "one").await;
    bridge.ask(&bot, "chat", "two").await;
    tokio::time::sleep(Duration::from_millis(7000)).await;
    bridge.ask(&bot, "chat", "three").await;
    assert_eq!(
        sessions(&agent),
        [
            session(1, true, "one"),
            session(1, false, "two"),
            session(2, true, "three")
        ]
    );
}

#[tokio::test]
async fn messages_within_the_window_are_one_question() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge
        .web(&agent.as_webhook(""), &json!({ "summaryWindowSeconds": 5 }))
        .await;
    let mut replies = Vec::new();
    for text in ["one", "two", "three"] {
        replies.push(say(&bridge, &bot, text).await);
    }
    // A command is not held back, and doesn't affect the gathered messages.
    let status = bridge.ask(&bot, "chat", "/status").await;
    assert!(
        status.ends_with("No answer is running.\n3 messages are waiting."),
        "{status}"
    );
    assert!(agent.asked().is_empty(), "asked before the window was over");
    for reply in replies {
        assert_eq!(bridge.answer(&reply).await, "echo: one\ntwo\nthree");
    }
    assert_eq!(agent.asked(), ["one\ntwo\nthree"]);
}

#[tokio::test]
async fn twenty_messages_are_not_held_back() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge
        .web(&agent.as_webhook(""), &json!({ "summaryWindowSeconds": 300 }))
        .await;
    for n in 0..20 {
        say(&bridge, &bot, &n.to_string()).await;
    }
    until("twenty are enough", || !agent.asked().is_empty()).await;
    assert_eq!(agent.asked()[0].lines().count(), 20);
}

#[tokio::test]
async fn messages_are_held_back_for_five_windows_at_most() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge
        .web(&agent.as_webhook(""), &json!({ "summaryWindowSeconds": 2 }))
        .await;
    let began = Instant::now();
    // The person is never silent for a whole window, and never sends twenty messages, which are not held back.
    while agent.asked().is_empty() {
        say(&bridge, &bot, "and another thing").await;
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the messages are still held back"
        );
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    assert!(
        began.elapsed() > Duration::from_millis(9500),
        "the window was cut short: {:?}",
        began.elapsed()
    );
    assert!(agent.asked()[0].lines().count() > 3);
}

fn holding_first() -> Manner {
    Manner {
        answer: |text| vec![format!("part of {text}, "), "rest".to_owned()],
        holds: |text| text == "first",
        ..Manner::default()
    }
}

/// A bot whose agent is in the middle of its answer to `first`. Returns the bot and the reply to `first`.
async fn in_the_middle(bridge: &TestBridge, agent: &FakeAgent, trigger: &Value) -> (String, String) {
    let bot = bridge.web(&agent.as_chat(""), trigger).await;
    let reply = say(bridge, &bot, "first").await;
    let began = Instant::now();
    let mut after = 0;
    loop {
        let state = bridge
            .console
            .get(&format!("/api/web/replies/{reply}?after={after}"))
            .await
            .unwrap();
        if state["text"] == "part of first, " {
            return (bot, reply);
        }
        after = state["version"].as_u64().unwrap();
        assert!(
            began.elapsed() < PATIENCE,
            "the beginning of the answer is not shown: {state}"
        );
    }
}

#[tokio::test]
async fn a_message_waits_while_an_answer_is_written() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(holding_first()).await;
    let (bot, first) = in_the_middle(&bridge, &agent, &json!({})).await;
    let second = say(&bridge, &bot, "second").await;
    let status = bridge.ask(&bot, "chat", "/status").await;
    assert!(
        status.contains("\nAn answer is being written, for "),
        "expected a running answer in {status}"
    );
    assert!(
        status.ends_with("\n1 message is waiting."),
        "expected one waiting message in {status}"
    );
    assert_eq!(agent.asked(), ["first"]);
    agent.open_gate();
    assert_eq!(bridge.answer(&first).await, "part of first, rest");
    assert_eq!(bridge.answer(&second).await, "part of second, rest");
    let status = bridge.ask(&bot, "chat", "/status").await;
    assert!(
        status.ends_with("\nNo answer is running.\nNo message is waiting."),
        "{status}"
    );
    assert_eq!(agent.asked(), ["first", "second"]);
}

#[tokio::test]
async fn a_message_interrupts_if_the_trigger_says_so() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(holding_first()).await;
    let (bot, first) = in_the_middle(&bridge, &agent, &json!({ "busyPolicy": "interrupt" })).await;
    assert_eq!(bridge.ask(&bot, "chat", "second").await, "part of second, rest");
    assert_eq!(bridge.answer(&first).await, format!("part of first, \n\n{STOPPED}"));
}

#[tokio::test]
async fn stop_ends_the_answer_and_the_waiting_messages() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(holding_first()).await;
    let (bot, first) = in_the_middle(&bridge, &agent, &json!({})).await;
    let second = say(&bridge, &bot, "second").await;
    let began = Instant::now();
    assert_eq!(bridge.ask(&bot, "chat", "/stop").await, STOPPED);
    assert_eq!(bridge.answer(&first).await, format!("part of first, \n\n{STOPPED}"));
    assert_eq!(bridge.answer(&second).await, STOPPED);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "stopping took {:?}",
        began.elapsed()
    );
    assert_eq!(bridge.ask(&bot, "chat", "/stop").await, "No answer is running.");
    assert_eq!(bridge.ask(&bot, "chat", "third").await, "part of third, rest");
    assert_eq!(agent.asked(), ["first", "third"]);
}

#[tokio::test]
async fn new_drops_waiting_messages_and_lets_the_answer_end() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(holding_first()).await;
    let (bot, first) = in_the_middle(&bridge, &agent, &json!({})).await;
    let second = say(&bridge, &bot, "second").await;
    assert_eq!(bridge.ask(&bot, "chat", "/new").await, NEW_SESSION);
    assert_eq!(bridge.answer(&second).await, NEW_SESSION);
    agent.open_gate();
    assert_eq!(bridge.answer(&first).await, "part of first, rest");
    assert_eq!(bridge.ask(&bot, "chat", "third").await, "part of third, rest");
    let history = agent.seen().last().unwrap().body["messages"].as_array().unwrap().len();
    assert_eq!(history, 1, "the new session must not have messages of the old one");
}

#[tokio::test]
async fn people_get_a_notice_when_no_agent_answers() {
    let bridge = TestBridge::start();
    let echo = json!({ "protocol": "echo", "config": {} });
    let integration = json!({ "name": "Lonely", "platform": "web", "connectionMode": "webhook", "language": "en" });
    let lonely = bridge.post("/api/v1/orgs/default/integrations", &integration).await;
    let lonely = lonely["id"].as_str().unwrap();
    let told = "This bot has no agent yet. Please ask your administrator to bind one.";
    assert_eq!(bridge.ask(lonely, "chat", "hi").await, told);

    let trigger = bridge.web_of("default", &echo, &json!({})).await;
    let (id, bot) = (
        trigger["id"].as_str().unwrap(),
        trigger["integrationId"].as_str().unwrap(),
    );
    assert_eq!(bridge.ask(bot, "chat", "hi").await, "hi");
    let path = format!("/api/v1/orgs/default/triggers/{id}");
    bridge.patch(&path, &json!({ "enabled": false })).await;
    let told = "This bot is switched off at the moment. Please ask your administrator.";
    assert_eq!(bridge.ask(bot, "chat", "hi").await, told);
    bridge.patch(&path, &json!({ "enabled": true })).await;
    assert_eq!(bridge.ask(bot, "chat", "hi again").await, "hi again");

    let access = json!({ "users": ["another person"], "chats": [], "pairing": false });
    bridge.patch(&path, &json!({ "access": access })).await;
    let told = "You are not allowed to use this bot here. Please ask your administrator.";
    assert_eq!(bridge.ask(bot, "chat", "hi").await, told);
}

#[tokio::test]
async fn a_group_shares_a_session_if_the_trigger_says_so() {
    for (scope, expected) in [("sender", 2), ("chat", 1)] {
        let bridge = TestBridge::start();
        let agent = FakeAgent::start(Manner::default()).await;
        let (bot, responses) = bridge
            .wecom(&agent.as_webhook(""), &json!({ "sessionScope": scope }))
            .await;
        for person in ["lisi", "wangwu"] {
            let speaker = Speaker::in_group(person, "wrkGROUP1");
            let message = bot.text(&speaker, &uuid(), "@Helper hi", &responses.url_for(person));
            // Senders of a shared session are distinguished by name.
            let said_by = if scope == "chat" {
                format!("{person}: ")
            } else {
                String::new()
            };
            said(&bot, &speaker, &message, &format!("echo: {said_by}hi")).await;
        }
        let mut ids: Vec<String> = agent
            .seen()
            .iter()
            .map(|it| it.body["session"]["id"].to_string())
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), expected, "{scope}");
    }
}

#[tokio::test]
async fn agent_without_permission_for_names_gets_aliases() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let mut pseudonymous = agent.as_webhook("");
    pseudonymous["config"]["identity"] = json!("pseudonym");
    let (bot, responses) = bridge.wecom(&pseudonymous, &json!({ "sessionScope": "chat" })).await;
    for person in ["lisi", "wangwu", "lisi"] {
        let speaker = Speaker::in_group(person, "wrkGROUP1");
        let message = bot.text(&speaker, &uuid(), "@Helper hi", &responses.url_for(person));
        bot.converse(&speaker, &message, PATIENCE).await.unwrap();
    }
    let seen = agent.seen();
    for told in &seen {
        let told = told.body.to_string();
        for word in ["lisi", "wangwu", "wrkGROUP1"] {
            assert!(!told.contains(word), "{word}: {told}");
        }
    }
    let aliases: Vec<String> = agent
        .asked()
        .iter()
        .map(|text| text.strip_suffix(": hi").unwrap().to_owned())
        .collect();
    assert!(
        aliases[0] == aliases[2] && aliases[0] != aliases[1],
        "expected one alias for each person, found {aliases:?}"
    );
}

#[tokio::test]
async fn group_command_is_recognized_behind_the_mention() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (bot, responses) = bridge.wecom(&agent.as_webhook(""), &json!({})).await;
    let speaker = Speaker::in_group("lisi", "wrkGROUP1");
    for (n, (text, expected)) in [
        ("@Helper /new", NEW_SESSION),
        ("@Helper /stop", "No answer is running."),
        ("@Helper /new hello", "echo: hello"),
    ]
    .into_iter()
    .enumerate()
    {
        let message = bot.text(&speaker, &format!("m{n}"), text, &responses.url_for(&n.to_string()));
        said(&bot, &speaker, &message, expected).await;
    }
    assert_eq!(agent.asked(), ["hello"]);
}

async fn said(bot: &Bot, speaker: &Speaker, message: &Value, expected: &str) {
    let shown = bot.converse(speaker, message, PATIENCE).await.unwrap();
    assert_eq!(shown.last().unwrap().content, expected);
}
