//! Taking a bot over, from another agent or another organization: the console shows first whom it affects, and it can be undone.

use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, until};
use tieline_tests::wecom_socket;

use crate::chromium::Page;
use crate::journeys::Keyboard;
use crate::{SIGNED_IN, console, open};

async fn agent(words: fn(&str) -> Vec<String>) -> FakeAgent {
    FakeAgent::start(Manner {
        answer: words,
        ..Manner::default()
    })
    .await
}

async fn answers(platform: &wecom_socket::Platform, question: &str, expected: &str) {
    platform
        .say("aib-1", &Speaker::alone("zhangsan"), question, question)
        .unwrap();
    until(expected, || {
        platform.bubbles().iter().any(|bubble| bubble.text() == expected)
    })
    .await;
}

#[tokio::test]
async fn an_account_of_another_organization_is_taken_over_by_keyboard_and_given_back() {
    let bridge = TestBridge::start();
    let platform = wecom_socket::Platform::start().await;
    platform.add_bot("aib-1", "s3cret-s3cret");
    let theirs = agent(|text| vec![format!("theirs: {text}")]).await;
    let ours = agent(|text| vec![format!("ours: {text}")]).await;
    let bot = platform.as_integration("aib-1", "Service desk");
    let bot = bridge
        .console
        .bind(&bot, &theirs.as_chat("Theirs"), &json!({}))
        .await
        .unwrap();
    platform.connected("aib-1", PATIENCE).await.unwrap();
    answers(&platform, "one", "theirs: one").await;
    bridge.post("/api/v1/orgs", &json!({ "id": "acme" })).await;
    bridge.post("/api/v1/orgs/acme/agents", &ours.as_chat("Ours")).await;

    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", bridge.process.url())).await;
    page.until(SIGNED_IN).await;
    let mut keys = Keyboard::new(page);
    keys.choose("#organization", "acme").await;
    keys.go("nav a[href='#/bots']", "#/bots").await;
    keys.go("#add-bot", "#/bots/add").await;
    keys.follow("[data-platform=wecom]").await;
    keys.fill("#name", "Front desk").await;
    let endpoints = platform.as_integration("aib-1", "")["endpoints"].clone();
    keys.fill("[name='credentials.botId']", "aib-1").await;
    keys.fill("[name='credentials.secret']", "s3cret-s3cret").await;
    keys.follow("#new-bot summary").await;
    for field in ["wsUrl", "apiBase"] {
        let url = endpoints[field].as_str().unwrap();
        keys.fill(&format!("[name='endpoints.{field}']"), url).await;
    }
    let named = "[...document.querySelectorAll('#agent option')].find((one) => one.text === 'Ours').value";
    let named = keys.page.look(named).await;
    keys.choose("#agent", named.as_str().unwrap()).await;
    keys.follow("#create-bot").await;

    keys.page.until("document.querySelector('dialog')?.open").await;
    let shown = keys.page.look("document.querySelector('dialog').innerText").await;
    let shown = shown.as_str().unwrap();
    for words in ["Service desk", "default", "Theirs", "active in 7 days: 1"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    keys.page.picture("take over an account").await;
    keys.follow("#dialog-yes").await;
    keys.page.until("!!document.querySelector('#made')").await;
    let path = format!("/api/v1/orgs/default/integrations/{}", bot["id"].as_str().unwrap());
    let before = bridge.console.get(&path).await.unwrap();
    assert_eq!(before["enabled"], false, "{before}");
    keys.page
        .until("document.querySelector('#made .mark').textContent === 'connected'")
        .await;
    answers(&platform, "two", "ours: two").await;

    keys.follow("#undo button").await;
    keys.page
        .until("location.hash === '#/bots' && !document.querySelector('#undo')")
        .await;
    let enabled = async || bridge.console.get(&path).await.unwrap()["enabled"] == true;
    assert!(enabled().await);
    let connected = format!("{path}/status");
    let began = std::time::Instant::now();
    while bridge.console.get(&connected).await.unwrap()["state"] != "connected" {
        assert!(began.elapsed() < PATIENCE, "the bot is not connected again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    answers(&platform, "three", "theirs: three").await;
    let refused = keys
        .page
        .complaints()
        .iter()
        .filter(|it| !it.contains("409 (Conflict)"));
    assert_eq!(refused.count(), 0, "{:?}", keys.page.complaints());
}

#[tokio::test]
async fn a_bot_is_taken_from_its_agent_and_given_back() {
    let bridge = TestBridge::start();
    let bound = bridge
        .web_of("default", &json!({ "protocol": "echo" }), &json!({}))
        .await;
    let bot = bound["integrationId"].as_str().unwrap();
    bridge.ask(bot, "c", "hello").await;
    let other = agent(|text| vec![format!("other: {text}")]).await;
    let other = bridge
        .post("/api/v1/orgs/default/agents", &other.as_chat("Other"))
        .await;
    let mut page = console(&bridge, &format!("agents/{}", other["id"].as_str().unwrap())).await;
    page.until("!!document.querySelector('#bind-bot select')").await;
    page.look(&format!(
        "(() => {{ const form = document.querySelector('#bind-bot'); form.elements.bot.value = '{bot}'; form.requestSubmit(); }})()"
    ))
    .await;
    page.until("document.querySelector('dialog')?.open").await;
    let shown = page.look("document.querySelector('dialog').innerText").await;
    let shown = shown.as_str().unwrap();
    assert!(
        shown.contains("Agent of Web") && shown.contains("active in 7 days: 1"),
        "{shown}"
    );
    page.picture("take over a bot").await;
    page.look("document.querySelector('#dialog-yes').click()").await;
    let listed = format!("!!document.querySelector('main ul a[href=\"#/bots/{bot}\"]')");
    page.until(&format!("!!document.querySelector('#undo') && {listed}"))
        .await;
    assert_eq!(bridge.ask(bot, "d", "two").await, "other: two");
    page.look("document.querySelector('#undo button').click()").await;
    page.until(&format!("!document.querySelector('#undo') && !({listed})"))
        .await;
    assert_eq!(bridge.ask(bot, "e", "three").await, "three");

    open(&mut page, &format!("bots/{bot}/trigger")).await;
    page.until("!!document.querySelector('#unbind')").await;
    let triggers: Value = bridge.console.get("/api/v1/orgs/default/triggers").await.unwrap();
    let enabled = triggers["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["enabled"] == true);
    assert!(enabled.count() >= 1, "expected an enabled trigger in {triggers}");
}

#[tokio::test]
async fn a_bot_is_deleted_and_restored_by_keyboard() {
    let bridge = TestBridge::start();
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    bridge.ask(&bot, "c", "hello").await;
    let page = console(&bridge, &format!("bots/{bot}")).await;
    let mut keys = Keyboard::new(page);
    keys.follow("#delete-bot").await;
    keys.page.until("document.querySelector('dialog')?.open").await;
    let shown = keys.page.look("document.querySelector('dialog').innerText").await;
    assert!(
        shown.as_str().unwrap().contains("active in 7 days: 1"),
        "expected `active in 7 days: 1` in {shown}"
    );
    keys.follow("#dialog-yes").await;
    let listed = format!("!!document.querySelector('#integrations [data-id={bot}]')");
    keys.page
        .until(&format!(
            "!!document.querySelector('#undo') && !!document.querySelector('#integrations') && !({listed})"
        ))
        .await;
    keys.follow("#undo button").await;
    keys.page.until(&listed).await;
    assert_eq!(bridge.ask(&bot, "c", "back?").await, "back?");
    assert_eq!(keys.page.complaints(), [""; 0]);
}
