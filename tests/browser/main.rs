//! The page at `/` in a real browser: what a person sees who has just started Tieline.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chromium;

use serde_json::Value;
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::stand::{Stand, figure};

use chromium::Page;

/// Keeps every state that the newest answer is ever shown in.
const WATCH: &str = "
    window.states = [];
    new MutationObserver(() => {
        const answers = document.querySelectorAll('.bubble.theirs');
        const shown = answers.length ? answers[answers.length - 1].textContent : '';
        if (shown && shown !== window.states.at(-1)) window.states.push(shown);
    }).observe(document.querySelector('#answers'), { childList: true, subtree: true, characterData: true });
    true";
const SIGNED_IN: &str =
    "!document.querySelector('#signed-in').hidden && document.querySelector('#integration').options.length";
const DONE: &str = "document.querySelectorAll('.bubble.theirs[data-done=true]').length ==";

#[tokio::test]
async fn a_typed_message_is_answered_in_streamed_pieces() {
    let stand = Stand::start();
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", stand.bridge.url())).await;
    page.until(SIGNED_IN).await;
    assert_eq!(
        page.look("location.hash").await,
        "",
        "the token stays in nobody's history"
    );
    page.look(WATCH).await;

    let words = "Hello, 你好 🚀 — a message that comes back in pieces";
    page.enter("#message", words).await;
    page.until(&format!("{DONE} 1")).await;

    let states: Vec<String> = texts(&page.look("window.states").await);
    figure("states of the answer", states.len());
    assert_eq!(states.last().map(String::as_str), Some(words));
    assert!(states.len() >= 2, "it came in one piece: {states:?}");
    assert!(
        states.is_sorted_by(|a, b| b.starts_with(a.as_str())),
        "it doesn't only grow: {states:?}"
    );
    assert_eq!(
        page.look("document.querySelector('.bubble.mine').textContent").await,
        words
    );
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn what_an_agent_says_is_text_and_commands_have_buttons() {
    let stand = Stand::start();
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", stand.bridge.url())).await;
    page.until(SIGNED_IN).await;

    let words = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    page.enter("#message", words).await;
    page.until(&format!("{DONE} 1")).await;
    assert_eq!(
        page.look("document.querySelector('.bubble.theirs').textContent").await,
        words
    );
    assert_eq!(
        page.look("document.querySelectorAll('#answers img, #answers script').length")
            .await,
        0
    );

    page.look("document.querySelector('#new-session').click()").await;
    page.until(&format!("{DONE} 2")).await;
    let told = page
        .look("[...document.querySelectorAll('.bubble.theirs')].at(-1).textContent")
        .await;
    assert_eq!(told, "已开始新会话。");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn without_the_token_nobody_gets_in() {
    let stand = Stand::start();
    let mut page = Page::open(&stand.bridge.url()).await;
    page.until("!document.querySelector('#signed-out').hidden").await;
    page.enter("#token", "a wrong token").await;
    page.until("!document.querySelector('#error').hidden").await;
    assert_eq!(page.look("document.querySelector('#signed-in').hidden").await, true);

    page.look("document.querySelector('#token').value = ''").await;
    page.enter("#token", ADMIN_TOKEN).await;
    page.until(SIGNED_IN).await;
    assert_eq!(page.look("document.querySelector('#error').hidden").await, true);
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|it| it.as_str().unwrap().to_owned()).collect()
}
