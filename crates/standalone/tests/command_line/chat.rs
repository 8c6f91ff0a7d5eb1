//! `tieline chat`.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bridge::{Bridge, PATIENCE, Said, read_lines, wait};
use crate::fake::{Answer, Fake};

/// A bridge's responses about a chat page that is bound to an agent.
fn a_page(path: &str) -> Answer {
    let list = |item: Value| Some((200, json!({ "items": [item], "nextCursor": null }).to_string()));
    let page = json!({ "id": "int_1", "name": "Page", "platform": "web", "enabled": true });
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    match path.strip_prefix("/api/v1/orgs/default/") {
        Some("integrations") => list(page),
        Some("integrations/int_1") => Some((200, page.to_string())),
        Some("triggers") => list(json!({ "integrationId": "int_1", "agentId": "agt_1", "enabled": true })),
        Some("agents/agt_1") => Some((200, json!({ "id": "agt_1", "name": "Mute" }).to_string())),
        _ => None,
    }
}

#[test]
fn lines_are_answered_in_order() {
    let bridge = Bridge::start();
    let said = bridge.typed(&["chat"], "hello there\n\n你好 👋\n").good();
    let (hello, greeting) = (said.find("hello there"), said.find("你好 👋"));
    assert!(hello.is_some() && hello < greeting, "{said}");
}

#[test]
fn chat_page_created_for_a_talk_is_deleted_after_it() {
    let bridge = Bridge::start();
    let file = bridge.file("a.yaml", "agents: [{name: Second, protocol: echo}]");
    bridge.tieline(&["apply", "-f", &file]).good();
    let owned = || ["integrations", "triggers", "users"].map(|kind| bridge.tieline(&["get", kind]).good());
    let before = owned();
    let said = bridge.typed(&["chat", "--agent", "Second"], "hi\n").good();
    assert!(said.contains("hi"), "{said}");
    assert_eq!(owned(), before);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut chat = bridge.command_of(&["chat", "--agent", "Second"]);
        let mut chat = chat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut typed = chat.stdin.take().unwrap();
        typed.write_all(b"hello\n").unwrap();
        let answers = read_lines(chat.stdout.take().unwrap());
        assert!(answers.recv_timeout(PATIENCE).unwrap().contains("hello"));
        assert_ne!(owned()[0], before[0], "it is there while they talk");
        kill_process(Pid::from_child(&chat), signal).unwrap();
        let ended = wait(|| chat.try_wait().unwrap());
        assert!(ended.success(), "{signal:?}: {ended}");
        assert_eq!(owned(), before, "{signal:?}");
    }
}

#[test]
fn chat_commands_work() {
    let bridge = Bridge::start();
    let said = bridge.typed(&["chat"], "/new\n").good();
    assert!(
        !said.contains("/new") && !said.trim().is_empty(),
        "confirmed, not echoed: {said}"
    );
}

#[test]
fn missing_agent_is_reported() {
    let bridge = Bridge::start();
    let none = bridge.typed(&["chat", "--agent", "Unknown"], "hi\n").bad();
    assert!(none.contains("there is no agent"), "{none}");
    let off = bridge.file(
        "off.yaml",
        "triggers: [{integration: Playground, agent: Echo, enabled: false}]",
    );
    bridge.tieline(&["apply", "-f", &off]).good();
    let none = bridge.typed(&["chat"], "hi\n").bad();
    assert!(
        none.contains("no chat page is bound to an agent: say which agent with --agent"),
        "{none}"
    );
}

/// The body with which the chat creates a page.
fn page_created_with(locale: &str) -> Value {
    let (tell, asked) = mpsc::channel();
    let fake = Fake::start(move |method, path, body| {
        let path = path.split('?').next().unwrap();
        match (method, path.strip_prefix("/api/v1/orgs/default/")) {
            ("POST", Some("integrations")) => {
                tell.send(serde_json::from_str(body).unwrap()).unwrap();
                Some((409, json!({ "code": "name_taken" }).to_string()))
            }
            (_, Some("integrations")) => Some((200, json!({ "items": [] }).to_string())),
            (_, Some("triggers")) => Some((200, json!({ "items": [] }).to_string())),
            (_, Some("agents/agt_1")) => Some((200, json!({ "id": "agt_1", "name": "Mute" }).to_string())),
            _ => None,
        }
    });
    let mut chat = fake.command_of(&["chat", "--agent", "agt_1"]);
    Said::of(chat.env("LANG", locale)).bad();
    asked.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn created_chat_page_has_the_language_of_the_locale() {
    for (locale, language) in [("en_US.UTF-8", "en"), ("C", "en"), ("zh_CN.UTF-8", "zh-CN")] {
        assert_eq!(page_created_with(locale)["language"], language, "{locale}");
    }
}

#[test]
fn chat_uses_the_oldest_page() {
    let page = |id: &str, at: &str| json!({ "id": id, "platform": "web", "enabled": true, "createdAt": at });
    // Ids don't tell which is older: earlier versions created random ones.
    let pages = json!([
        page("int_1", "2026-11-24T10:00:00Z"),
        page("int_2", "2026-11-22T10:00:00.5Z"),
        page("int_3", "2026-11-23T10:00:00Z"),
    ]);
    let fake = Fake::start(move |_, path, _| {
        let path = path.split('?').next().unwrap();
        let bound =
            |n: u8| json!({ "integrationId": format!("int_{n}"), "agentId": format!("agt_{n}"), "enabled": true });
        match path.strip_prefix("/api/v1/orgs/default/")? {
            "integrations" => Some((200, json!({ "items": pages }).to_string())),
            "triggers" => Some((200, json!({ "items": [bound(1), bound(2), bound(3)] }).to_string())),
            "agents" => Some((200, json!({ "items": [] }).to_string())),
            _ => Some((404, json!({ "code": "agent_not_found" }).to_string())),
        }
    });
    let said = Said::of(&mut fake.command_of(&["chat"])).bad();
    assert!(said.contains("\"agt_2\""), "the oldest page's agent: {said}");
}

#[test]
fn rejected_message_is_explained() {
    let fake = Fake::start(|method, path, _| match method {
        "POST" => Some((401, String::new())),
        _ => a_page(path),
    });
    let mut chat = fake.command_of(&["chat"]);
    let mut chat = chat.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"hi\n").unwrap();
    let said = chat.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(said.stderr).unwrap(),
        "tieline: this token is read-only, or the chat page was stopped\n"
    );
    assert_eq!(said.status.code(), Some(1));
}

#[test]
fn ctrl_c_stops_an_answer_and_then_the_chat() {
    /// Where the chat hangs when it is interrupted: in its first message, or in the answer to it.
    #[track_caller]
    fn check(takes_messages: bool) {
        let (tell, asked) = mpsc::channel();
        let fake = Fake::start(move |method, path, body| {
            if method == "POST" {
                let said: Value = serde_json::from_str(body).unwrap();
                tell.send(said["text"].as_str().unwrap().to_owned()).unwrap();
                return takes_messages.then(|| (200, json!({ "replyId": "rpl_1" }).to_string()));
            }
            if path.starts_with("/api/web/replies/") {
                tell.send("(listens)".to_owned()).unwrap();
            }
            a_page(path)
        });
        let mut chat = fake.command_of(&["chat"]);
        let mut chat = chat.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut typed = chat.stdin.take().unwrap();
        typed.write_all(b"hi\n").unwrap();
        for text in ["hi", "/stop"] {
            assert_eq!(asked.recv_timeout(PATIENCE).as_deref(), Ok(text));
            if takes_messages {
                assert_eq!(asked.recv_timeout(PATIENCE).as_deref(), Ok("(listens)"));
            }
            kill_process(Pid::from_child(&chat), Signal::INT).unwrap();
        }
        let ended = wait(|| chat.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
    check(false);
    check(true);
}
