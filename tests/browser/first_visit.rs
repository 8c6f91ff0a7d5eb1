//! The setup of a first visit: an agent and a bot on each of two platforms, one with callbacks and one with long polling.

use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::telegram;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, until};
use tieline_tests::wecom::{Bot, Cipher, ResponseServer};

use crate::chromium::Page;
use crate::{SIGNED_IN, SIGNED_OUT};

async fn click(page: &mut Page, selector: &str) {
    page.click(&format!("document.querySelector({selector:?})")).await;
}

async fn fill(page: &mut Page, selector: &str, text: &str) {
    click(page, selector).await;
    page.insert(text).await;
}

/// Chooses the option `name` of a list. The browser draws the open list outside the page.
async fn choose(page: &mut Page, selector: &str, name: &str) {
    let chosen = page
        .look(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             const one = [...it.options].find((one) => one.text === {name:?}); it.value = one.value; \
             it.dispatchEvent(new Event('change', {{ bubbles: true }})); return one.text; }})()"
        ))
        .await;
    assert_eq!(chosen, json!(name));
}

/// Number of completed steps of the checklist.
const DONE_STEPS: &str = "document.querySelectorAll('#first-steps li.done').length";

#[tokio::test]
async fn two_bots_are_set_up_from_the_checklist_in_one_visit() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (responses, cipher) = (ResponseServer::start().await, Cipher::fresh());
    let telegram = telegram::Platform::start().await;
    let token = telegram.add_bot(4711, "helper_bot");
    let mut page = Page::open(&bridge.process.url()).await;
    page.allow_clipboard().await;
    page.until(SIGNED_OUT).await;
    fill(&mut page, "#token", ADMIN_TOKEN).await;
    click(&mut page, "#sign-in").await;
    page.until(SIGNED_IN).await;

    click(&mut page, "#first-steps a[href='#/agents/add']").await;
    fill(&mut page, "#name", "Support").await;
    choose(&mut page, "#protocol", "openai_chat").await;
    fill(&mut page, "[name='config.apiKey']", "k").await;
    fill(&mut page, "[name='config.baseUrl']", &format!("{}/v1", agent.url)).await;
    fill(&mut page, "[name='config.model']", "m").await;
    click(&mut page, "#save-agent").await;
    click(&mut page, "#test-agent").await;
    page.until("!!document.querySelector('#tested.good')").await;

    // A webhook bot: its callback address is copied into the platform's console.
    click(&mut page, "nav a[href='#/overview']").await;
    page.until(&format!("{DONE_STEPS} === 1")).await;
    click(&mut page, "#first-steps a[href='#/bots/add']").await;
    click(&mut page, "[data-platform=wecom]").await;
    click(&mut page, "[name=mode][value=webhook]").await;
    fill(&mut page, "#name", "Service desk").await;
    fill(&mut page, "[name='credentials.token']", &cipher.token).await;
    fill(
        &mut page,
        "[name='credentials.encodingAesKey']",
        &cipher.encoding_aes_key,
    )
    .await;
    click(&mut page, "#new-bot summary").await;
    fill(&mut page, "[name='endpoints.apiBase']", &responses.url).await;
    choose(&mut page, "#agent", "Support").await;
    click(&mut page, "#create-bot").await;
    click(&mut page, "#made .copy button").await;
    page.until("document.querySelector('#made .copy button').textContent === 'Copied'")
        .await;
    let copied = page.resolve("navigator.clipboard.readText()").await;
    let copied = copied.as_str().unwrap().to_owned();
    assert!(
        copied.starts_with(&format!("{}/api/wecom/webhook/int_", bridge.process.url())),
        "{copied}"
    );
    page.picture("callback address").await;
    let wecom = Bot::new(cipher, copied);
    let asked = wecom.text(&Speaker::alone("zhangsan"), "m1", "hello", &responses.url_for("m1"));
    let shown = wecom
        .converse(&Speaker::alone("zhangsan"), &asked, PATIENCE)
        .await
        .unwrap();
    assert_eq!(shown.last().unwrap().content, "echo: hello");
    page.until("document.querySelector('#made [role=status]').textContent.includes('arrived')")
        .await;

    // A polling bot.
    click(&mut page, "nav a[href='#/bots']").await;
    click(&mut page, "#add-bot").await;
    click(&mut page, "[data-platform=telegram]").await;
    click(&mut page, "[name=mode][value=long_connection]").await;
    fill(&mut page, "#name", "Helper").await;
    fill(&mut page, "[name='credentials.botToken']", &token).await;
    click(&mut page, "#new-bot summary").await;
    fill(&mut page, "[name='endpoints.apiBase']", &telegram.url()).await;
    choose(&mut page, "#agent", "Support").await;
    click(&mut page, "#create-bot").await;
    until("the bot polls", || telegram.is_connected(&token)).await;
    telegram.text(&token, &Speaker::alone("1001"), "hi", false);
    until("the answer", || {
        telegram.bubbles().iter().any(|bubble| bubble.text() == "echo: hi")
    })
    .await;
    page.until("document.querySelector('#made [role=status]').textContent.includes('arrived')")
        .await;

    click(&mut page, "nav a[href='#/overview']").await;
    page.until(
        "!!document.querySelector('.figures') && document.querySelector('.figures').innerText.includes('3 / 3')",
    )
    .await;
    page.until("!document.querySelector('#first-steps') || document.querySelectorAll('#first-steps li:not(.done)').length === 0")
        .await;
    page.picture("two bots").await;
    assert_eq!(page.complaints(), [""; 0]);
}
