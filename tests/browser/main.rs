//! The page at `/` in a real browser: what a person sees who has just started Tieline.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chromium;

use serde_json::{Value, json};
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

/// Holds every answer about the organization `default` back until `release` is called; `late` counts those that came after it.
const HOLD_BACK: &str = "
    window.late = 0;
    const gate = new Promise((open) => { window.release = open; });
    const real = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        if (!path.includes('/orgs/default/')) return answer;
        const body = await answer.json();
        await gate;
        window.late += 1;
        return { ok: answer.ok, status: answer.status, json: async () => body };
    };
    true";

const CHOOSE_ACME: &str = "
    document.querySelector('#organization').value = 'acme';
    document.querySelector('#organization').dispatchEvent(new Event('change'))";

#[tokio::test]
async fn a_slow_answer_does_not_cover_the_organization_chosen_since() {
    let stand = Stand::start();
    stand.post("/api/v1/orgs", &json!({ "id": "acme" })).await;
    let theirs = stand
        .web_of("acme", &json!({ "name": "Echo", "protocol": "echo" }), &json!({}))
        .await;
    let theirs = theirs["integrationId"].as_str().unwrap();
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", stand.bridge.url())).await;
    page.until(SIGNED_IN).await;
    let n_own = page.look("document.querySelectorAll('#integrations li').length").await;
    page.look(HOLD_BACK).await;

    page.look("document.querySelector('#refresh').click()").await;
    page.look(CHOOSE_ACME).await;
    let shown = "[...document.querySelectorAll('#integrations li')].map((row) => row.dataset.id).join()";
    page.until(&format!("{shown} === '{theirs}'")).await;
    page.look("window.release()").await;
    // The list, and then each one's status.
    page.until(&format!("window.late === 1 + {n_own}")).await;

    assert_eq!(page.look(shown).await, theirs);
    let offered = "[...document.querySelector('#integration').options].map((it) => it.value).join()";
    assert_eq!(page.look(offered).await, theirs);
    assert_eq!(page.complaints(), [""; 0]);
}

/// The first question finds nobody.
const UNREACHABLE_ONCE: &str = "(() => {
    const real = window.fetch;
    window.fetch = (...call) => {
        window.fetch = real;
        return Promise.reject(new TypeError('Failed to fetch'));
    };
})()";

#[tokio::test]
async fn a_failure_that_passes_keeps_the_token() {
    let stand = Stand::start();
    let mut page = Page::open(&stand.bridge.url()).await;
    page.until("!document.querySelector('#signed-out').hidden").await;
    page.look(UNREACHABLE_ONCE).await;
    page.look(&format!("location.hash = 'token={ADMIN_TOKEN}'")).await;
    page.until("!document.querySelector('#error').hidden").await;
    page.until(SIGNED_IN).await;
    assert_eq!(page.look("document.querySelector('#error').hidden").await, true);
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
