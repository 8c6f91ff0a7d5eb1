//! Failures and operators' mistakes, repaired from the console.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::{PATIENCE, TestBridge, figure, until};
use tieline_tests::{wechat, wecom_socket};

use crate::chromium::package;
use crate::{click, console, open};

/// Limit until the console shows that a bot was kicked.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_kicked_bot_is_shown_at_once_and_restarted_from_the_overview() {
    let bridge = TestBridge::start();
    let platform = wecom_socket::Platform::start().await;
    platform.add_bot("aib-1", "s3cret-s3cret");
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = platform.as_integration("aib-1", "Service desk");
    bridge
        .console
        .bind(&bot, &agent.as_chat("Support"), &json!({}))
        .await
        .unwrap();
    platform.connected("aib-1", PATIENCE).await.unwrap();
    let mut page = console(&bridge, "overview").await;
    page.until("document.querySelector('main').innerText.includes('Nothing needs your attention')")
        .await;

    platform.kick("aib-1");
    let began = Instant::now();
    page.until("!!document.querySelector('#attention [data-verb=restart]')")
        .await;
    let shown = page.look("document.querySelector('#attention').innerText").await;
    assert!(
        shown
            .as_str()
            .unwrap()
            .contains("another client has taken the bot over"),
        "{shown}"
    );
    figure("ms from the kick to the overview", began.elapsed().as_millis());
    assert!(
        began.elapsed() < SOON,
        "the kick should be shown within 10 s, took {:?}",
        began.elapsed()
    );
    page.picture("kicked").await;
    click(&mut page, "#attention [data-verb=restart]").await;
    platform.connected("aib-1", PATIENCE).await.unwrap();
    page.until("document.querySelector('main').innerText.includes('Nothing needs your attention')")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_deleted_bot_is_restored_by_undo_and_from_the_list() {
    let bridge = TestBridge::start();
    let bound = bridge
        .web_of("default", &json!({ "protocol": "echo" }), &json!({}))
        .await;
    let bot = bound["integrationId"].as_str().unwrap();
    // Is not deleted with the bot, and so can't be restored.
    let idle = json!({ "integrationId": bot, "agentId": bound["agentId"], "enabled": false });
    bridge.post("/api/v1/orgs/default/triggers", &idle).await;
    let mut page = console(&bridge, &format!("bots/{bot}")).await;
    let listed = format!("!!document.querySelector('#integrations [data-id={bot}]')");
    for way in ["undo", "list"] {
        open(&mut page, &format!("bots/{bot}")).await;
        click(&mut page, "#delete-bot").await;
        page.until("document.querySelector('dialog')?.open").await;
        click(&mut page, "#dialog-yes").await;
        page.until("!!document.querySelector('#undo') && location.hash === '#/bots'")
            .await;
        page.until(&format!("!({listed})")).await;
        if way == "undo" {
            click(&mut page, "#undo button").await;
            page.until(&listed).await;
            assert_eq!(bridge.ask(bot, "c", "back?").await, "back?");
            continue;
        }
        click(&mut page, "#deleted summary").await;
        click(&mut page, &format!("#deleted [data-id={bot}] button")).await;
        // Only the bot is restored: the page leads to its agent, which is restored there.
        page.until(&format!("location.hash === '#/bots/{bot}/trigger'")).await;
        click(&mut page, "#deleted summary").await;
        click(&mut page, "#deleted li button").await;
        page.until("!!document.querySelector('#unbind') && !document.querySelector('#deleted li')")
            .await;
        assert_eq!(bridge.ask(bot, "c", "again?").await, "again?");
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn an_agent_and_a_binding_are_restored_by_undo() {
    let bridge = TestBridge::start();
    let bound = bridge
        .web_of("default", &json!({ "protocol": "echo" }), &json!({}))
        .await;
    let [bot, agent] = ["integrationId", "agentId"].map(|field| bound[field].as_str().unwrap().to_owned());
    let mut page = console(&bridge, &format!("bots/{bot}/trigger")).await;
    click(&mut page, "#unbind").await;
    click(&mut page, "#dialog-yes").await;
    page.until("!!document.querySelector('#undo') && !document.querySelector('#unbind')")
        .await;
    click(&mut page, "#undo button").await;
    page.until("!!document.querySelector('#unbind')").await;
    assert_eq!(bridge.ask(&bot, "c", "bound?").await, "bound?");

    open(&mut page, &format!("agents/{agent}")).await;
    click(&mut page, "#delete-agent").await;
    click(&mut page, "#dialog-yes").await;
    page.until("!!document.querySelector('#undo') && location.hash === '#/agents'")
        .await;
    click(&mut page, "#undo button").await;
    page.until(&format!("!!document.querySelector('#agents [data-id={agent}]')"))
        .await;
    assert_eq!(bridge.ask(&bot, "c", "and now?").await, "and now?");
    assert_eq!(page.complaints(), [""; 0]);
}

/// Decodes the QR code on the page, as a phone's camera does.
const SCANNED: &str = "(async () => {
    const drawn = document.querySelector('#qr');
    const size = drawn.viewBox.baseVal.width * 4;
    const canvas = Object.assign(document.createElement('canvas'), { width: size, height: size });
    const paper = canvas.getContext('2d');
    paper.fillRect(0, 0, size, size);
    for (const path of drawn.querySelectorAll('path')) {
        paper.setTransform(4, 0, 0, 4, 0, 0);
        paper.fillStyle = path.getAttribute('fill');
        paper.fill(new Path2D(path.getAttribute('d')));
    }
    return jsQR(paper.getImageData(0, 0, size, size).data, size, size)?.data ?? null;
})()";

#[tokio::test]
async fn a_bot_logs_in_by_the_qr_code_on_the_page() {
    let bridge = TestBridge::start();
    let platform = wechat::Platform::start().await;
    let made = bridge
        .post(
            "/api/v1/orgs/default/integrations",
            &platform.as_integration("Assistant"),
        )
        .await;
    let bot = made["id"].as_str().unwrap();
    let mut page = console(&bridge, &format!("bots/{bot}/settings")).await;
    page.look(&package("jsqr/dist/jsQR.js")).await;
    click(&mut page, "#scan-login button").await;
    page.until("!!document.querySelector('#qr')").await;
    page.picture("scan code").await;
    let path = format!("/api/v1/orgs/default/integrations/{bot}/login");
    let code = page.resolve(SCANNED).await;
    let code = code.as_str().expect("the picture can be read").to_owned();
    platform.scan(&code, "lisi", None);
    page.until("document.querySelector('#scan-login [role=status]').textContent.includes('phone')")
        .await;
    platform.confirm(&code, &platform.url());
    page.until("document.querySelector('#scan-login [role=status]').textContent === 'Signed in.'")
        .await;
    assert_eq!(bridge.console.get(&path).await.unwrap()["state"], "confirmed");
}

#[tokio::test]
async fn a_lost_answer_is_found_by_person_and_reference_and_retried() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let gone = json!({ "protocol": "openai_chat",
        "config": { "baseUrl": "http://127.0.0.1:9/v1", "model": "m", "apiKey": "k" } });
    let bound = bridge.web_of("default", &gone, &json!({})).await;
    let [bot, asked] = ["integrationId", "agentId"].map(|field| bound[field].as_str().unwrap().to_owned());
    let notice = bridge.ask(&bot, "lisi", "where is it?").await;
    let reference = notice.split("(Ref ").nth(1).unwrap().trim_end_matches(')').to_owned();
    bridge.ask(&bot, "wangwu", "and mine?").await;
    let found = bridge.console.get("/api/v1/orgs/default/messages").await.unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);

    let mut page = console(&bridge, "messages").await;
    page.until("document.querySelectorAll('#messages li').length === 2")
        .await;
    for (field, typed) in [
        ("search", reference.to_lowercase()),
        ("userId", "lisi".to_owned()),
        ("chatId", "lisi".to_owned()),
    ] {
        let search = format!(
            "(() => {{ const form = document.querySelector('#message-search'); form.reset(); \
             form.elements.{field}.value = '{typed}'; form.requestSubmit(); }})()"
        );
        page.look(&search).await;
        page.until("document.querySelectorAll('#messages li').length === 1")
            .await;
    }
    click(&mut page, "#messages a").await;
    page.until(&format!(
        "document.querySelector('main').innerText.includes('{reference}')"
    ))
    .await;
    let repaired = json!({ "config": { "baseUrl": format!("{}/v1", agent.url), "apiKey": "k" } });
    bridge
        .patch(&format!("/api/v1/orgs/default/agents/{asked}"), &repaired)
        .await;
    click(&mut page, "#redrive").await;
    until("the agent is asked", || {
        agent.asked().iter().any(|text| text == "where is it?")
    })
    .await;
    page.until("document.querySelector('main .mark').textContent === 'answered'")
        .await;
    // The second one, with everything that failed in the last hour.
    page.look("location.hash = '#/messages'").await;
    page.until("document.querySelectorAll('#dead-letters li').length === 1")
        .await;
    page.until("!!document.querySelector('#dead-letters time')").await;
    click(&mut page, "#redrive-since button").await;
    click(&mut page, "#dialog-yes").await;
    page.until("document.querySelector('#redriven')?.textContent.startsWith('1 are tried again, 0')")
        .await;
    until("the agent is asked", || {
        agent.asked().iter().any(|text| text == "and mine?")
    })
    .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn an_unknown_person_is_admitted_from_the_people_page() {
    let bridge = TestBridge::start();
    let pairing = json!({ "access": { "pairing": true } });
    let bot = bridge.web(&json!({ "protocol": "echo" }), &pairing).await;
    let code = bridge.ask(&bot, "stranger", "may I?").await;
    assert!(code.contains("code"), "expected `code` in {code}");
    let mut page = console(&bridge, "people").await;
    click(&mut page, "#pairings button").await;
    page.until("!document.querySelector('#pairings')").await;
    let users: Value = bridge.console.get("/api/v1/orgs/default/users").await.unwrap();
    assert_eq!(users["items"][0]["admitted"], true, "{users}");
    assert_eq!(bridge.ask(&bot, "stranger", "and now?").await, "and now?");
    assert_eq!(page.complaints(), [""; 0]);
}
