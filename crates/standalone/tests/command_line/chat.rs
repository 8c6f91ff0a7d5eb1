//! `tieline chat`.

use crate::bridge::Bridge;

#[test]
fn lines_are_answered_in_turn() {
    let bridge = Bridge::start();
    let said = bridge.typed(&["chat"], "hello there\n\n你好 👋\n").good();
    let (hello, greeting) = (said.find("hello there"), said.find("你好 👋"));
    assert!(hello.is_some() && hello < greeting, "{said}");
}

#[test]
fn agent_without_a_chat_page_gets_one() {
    let bridge = Bridge::start();
    let file = bridge.file("a.yaml", "agents: [{name: Second, protocol: echo}]");
    bridge.tieline(&["apply", "-f", &file]).good();
    for _ in 0..2 {
        let said = bridge.typed(&["chat", "--agent", "Second"], "hi\n").good();
        assert!(said.contains("hi"), "{said}");
    }
    let pages = bridge.tieline(&["get", "integrations"]).good();
    assert_eq!(pages.matches("Terminal: Second").count(), 1, "made once: {pages}");
    // The chat page that was there is still the other agent's.
    let triggers = bridge.tieline(&["get", "triggers"]).good();
    assert!(
        triggers
            .lines()
            .any(|line| line.contains("Playground") && line.contains("Echo")),
        "{triggers}"
    );
}

#[test]
fn commands_work_as_in_any_chat() {
    let bridge = Bridge::start();
    let said = bridge.typed(&["chat"], "/new\n").good();
    assert!(
        !said.contains("/new") && !said.trim().is_empty(),
        "confirmed, not echoed: {said}"
    );
}

#[test]
fn nobody_to_talk_to_is_said() {
    let bridge = Bridge::start();
    let none = bridge.typed(&["chat", "--agent", "Nobody"], "hi\n").bad();
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
