//! Conversations with agents in the playground.

use std::time::Duration;

use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::TestBridge;

use crate::chromium::Page;
use crate::{DONE, READY_TO_TALK, click, console, in_view, open};

/// Chooses the agent whose name begins with these words.
async fn talk_to(page: &mut Page, name: &str) {
    page.until(READY_TO_TALK).await;
    let chosen = page
        .look(&format!(
            "(() => {{ const select = document.querySelector('#talk-to'); \
             select.value = [...select.options].find((one) => one.text.startsWith('{name}')).value; \
             select.dispatchEvent(new Event('change')); return select.value; }})()"
        ))
        .await;
    assert_ne!(chosen, "");
}

/// The playground, in a conversation with an agent of this manner that speaks Chat Completions.
async fn talk(manner: Manner) -> (TestBridge, FakeAgent, Page) {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(manner).await;
    bridge.web(&agent.as_chat("Asked"), &json!({})).await;
    let mut page = console(&bridge, "playground").await;
    talk_to(&mut page, "Agent of Web").await;
    (bridge, agent, page)
}

const ANSWER: &str = "document.querySelector('.bubble.theirs')";

#[tokio::test]
async fn an_answer_that_is_written_during_a_reload_is_shown_to_its_end() {
    let (_bridge, agent, mut page) = talk(Manner {
        answer: |_| vec!["half of it, ".to_owned(), "and the rest".to_owned()],
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    page.enter("#message", "are you there?").await;
    page.until(&format!("{ANSWER}?.textContent.startsWith('half')")).await;

    page.reload().await;
    talk_to(&mut page, "Agent of Web").await;
    page.until(&format!(
        "{ANSWER}?.ariaBusy === 'true' && !document.querySelector('#stop').disabled"
    ))
    .await;
    agent.open_gate();
    page.until(&format!("{DONE} 1")).await;
    assert_eq!(
        page.look(&format!("{ANSWER}.textContent")).await,
        "half of it, and the rest"
    );
    assert_eq!(agent.asked().len(), 1, "asked again after the reload");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_failed_answer_looks_like_one_and_leads_to_its_message() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        events: |_| Some(vec![json!({ "type": "failed", "message": "no model" })]),
        ..Manner::default()
    })
    .await;
    bridge.web(&agent.as_webhook("Broken"), &json!({})).await;
    let mut page = console(&bridge, "playground").await;
    talk_to(&mut page, "Agent of Web").await;
    page.enter("#message", "are you there?").await;
    click(&mut page, ".bubble.theirs.failed + a").await;
    page.until("document.querySelector('main .mark.bad')?.textContent === 'failed'")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn each_agent_has_its_own_conversation() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    bridge.web(&agent.as_chat("Support"), &json!({})).await;
    let mut page = console(&bridge, "playground").await;
    for (name, words) in [("Agent of Web", "to the first"), ("Echo", "to the second")] {
        talk_to(&mut page, name).await;
        assert_eq!(
            page.look("document.querySelectorAll('.bubble').length").await,
            0,
            "{name}"
        );
        page.enter("#message", words).await;
        page.until(&format!("{DONE} 1")).await;
    }
    talk_to(&mut page, "Agent of Web").await;
    assert_eq!(page.look(&format!("{ANSWER}.textContent")).await, "echo: to the first");
}

/// An agent gets a chat page at its first message, and another one if that page has been stopped since.
#[tokio::test]
async fn an_agent_with_a_long_name_is_reached_again_after_its_chat_page_was_stopped() {
    let bridge = TestBridge::start();
    let name = format!("Long {}", "n".repeat(95));
    let agent = json!({ "name": name, "protocol": "echo" });
    let agent = bridge.post("/api/v1/orgs/default/agents", &agent).await;
    let mut page = console(&bridge, "playground").await;
    talk_to(&mut page, "Long").await;
    page.enter("#message", "first").await;
    page.until(&format!("{DONE} 1")).await;
    let triggers = bridge.console.get("/api/v1/orgs/default/triggers").await.unwrap();
    let triggers = triggers["items"].as_array().unwrap();
    let made = triggers.iter().find(|it| it["agentId"] == agent["id"]).unwrap();
    let stop = format!(
        "/api/v1/orgs/default/integrations/{}/stop",
        made["integrationId"].as_str().unwrap()
    );
    bridge.post(&stop, &json!(null)).await;

    page.reload().await;
    talk_to(&mut page, "Long").await;
    page.enter("#message", "second").await;
    page.until(&format!("{DONE} 2")).await;
    let answers = "[...document.querySelectorAll('.bubble.theirs')].map((one) => one.textContent).join('; ')";
    assert_eq!(page.look(answers).await, "first; second");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_long_conversation_scrolls_in_its_box() {
    let (_bridge, _agent, mut page) = talk(Manner {
        answer: |_| (0..200).map(|n| format!("line {n}\n")).collect(),
        between: Duration::from_millis(2),
        ..Manner::default()
    })
    .await;
    page.resize(1000, 700).await;
    page.enter("#message", "tell me").await;
    page.until(&format!("{DONE} 1")).await;
    let at_end = "(() => { const box = document.querySelector('#answers'); \
        return box.scrollHeight > box.clientHeight && box.scrollHeight - box.scrollTop - box.clientHeight < 5; })()";
    page.until(at_end).await;
    assert_eq!(
        page.look(&in_view("#message")).await,
        true,
        "the page itself is scrolled"
    );
    page.picture("playground").await;

    open(&mut page, "overview").await;
    page.until("!!document.querySelector('#attention, main .empty')").await;
    open(&mut page, "playground").await;
    page.until(READY_TO_TALK).await;
    talk_to(&mut page, "Agent of Web").await;
    page.until(at_end).await;
}

#[tokio::test]
async fn answers_in_markdown_are_formatted() {
    const TEXT: &str = "# Plan\n\nFirst **build**, then\nsee [docs](https://e.com/a) or [this](javascript:alert(1)).\n\n\
        - [x] one\n- two `code`\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n```sh\nmake  all\n```\n\n![p](https://e.com/p.png)";
    let (_bridge, _agent, mut page) = talk(Manner {
        answer: |_| vec![TEXT.to_owned()],
        ..Manner::default()
    })
    .await;
    page.enter("#message", "plan **it**").await;
    page.until(&format!("{DONE} 1")).await;
    let texts = |selector: &str| {
        format!(
            "[...document.querySelectorAll('#answers .bubble {selector}')].map((one) => one.textContent).join('; ')"
        )
    };
    for (selector, expected) in [
        (".title", "Plan"),
        ("strong", "build"),
        ("li", "☑ one; two code"),
        ("code", "code; make  all"),
        ("th", "a; b"),
        ("td", "1; <b>2</b>"),
        ("a", "docs; p"),
        ("img, b", ""),
    ] {
        assert_eq!(page.look(&texts(selector)).await, expected, "{selector}");
    }
    let links = "[...document.querySelectorAll('#answers a')].map((one) => one.href).join('; ')";
    assert_eq!(page.look(links).await, "https://e.com/a; https://e.com/p.png");
    let asked = "document.querySelector('.bubble.mine').textContent";
    assert_eq!(page.look(asked).await, "plan **it**");
    assert_eq!(page.complaints(), [""; 0]);
}
