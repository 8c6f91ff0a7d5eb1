//! Cost of a refresh in an organization with hundreds of bots.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tieline_tests::test_bridge::{TestBridge, figure};

use crate::chromium::Page;
use crate::{console, open};

const N_BOTS: usize = 500;

/// Limit of the time that the page may be busy with one refresh, in milliseconds.
const MOST_MS: f64 = 200.0;

/// From here on the page refreshes itself only between `window.hiddenNow = false` and the next request; `window.asked` records the requests.
const HOLD_REFRESH: &str = "
    window.hiddenNow = true;
    Object.defineProperty(document, 'hidden', { get: () => window.hiddenNow });
    window.asked = [];
    const real = window.fetch;
    window.fetch = (path, options) => {
        window.asked.push(path);
        window.hiddenNow = true;
        return real(path, options);
    };
    true";

/// Creates the bots. Half of them have an agent; no platform has called any of them yet.
async fn create_bots(bridge: &TestBridge) {
    let mut file = "agents:\n- {name: Echo 2, protocol: echo}\nintegrations:\n".to_owned();
    for n in 0..N_BOTS {
        writeln!(
            file,
            "- {{name: Bot {n:03}, platform: custom, connectionMode: webhook, language: en, credentials: {{secret: whsec_{n:032}}}}}"
        )
        .unwrap();
    }
    file.push_str("triggers:\n");
    for n in (0..N_BOTS).step_by(2) {
        writeln!(file, "- {{integration: Bot {n:03}, agent: Echo 2}}").unwrap();
    }
    bridge
        .post("/api/v1/orgs/default/apply", &json!({ "file": file }))
        .await;
}

/// Lets the page refresh once, and waits until it shows `words`. Returns the requests, and how many milliseconds the page was busy.
async fn refresh(page: &mut Page, words: &str) -> (Vec<Value>, f64) {
    let shown = format!("document.querySelector('main').textContent.includes('{words}')");
    assert_eq!(page.look(&shown).await, false, "{words} is shown already");
    let before = page.busy_seconds().await;
    page.look("window.asked = []; window.hiddenNow = false; true").await;
    page.until(&shown).await;
    let took = (page.busy_seconds().await - before) * 1000.0;
    let asked = page.look("window.asked").await;
    (asked.as_array().unwrap().clone(), took)
}

#[tokio::test]
async fn a_refresh_of_five_hundred_bots_is_one_request_and_little_work() {
    let bridge = TestBridge::start();
    create_bots(&bridge).await;
    let mut page = console(&bridge, "bots").await;
    page.until("document.querySelectorAll('#integrations li').length === 200")
        .await;
    page.look(HOLD_REFRESH).await;
    for (address, list) in [("bots", "#integrations"), ("overview", "#attention")] {
        open(&mut page, address).await;
        page.until(&format!("!!document.querySelector('{list} li')")).await;
        let bot = page
            .look(&format!("document.querySelector('{list} li').dataset.id"))
            .await;
        let path = format!("/api/v1/orgs/default/integrations/{}", bot.as_str().unwrap());
        for round in 1..=3 {
            // A change that the page has to draw.
            let name = format!("Renamed on {address} {round}");
            bridge.patch(&path, &json!({ "name": name })).await;
            let (asked, took) = refresh(&mut page, &name).await;
            assert_eq!(asked.len(), 1, "{address}: {asked:?}");
            figure(
                &format!("ms that the page is busy with a refresh of {address}"),
                took.round(),
            );
            assert!(took < MOST_MS, "{address}: busy for {took} ms, limit {MOST_MS} ms");
        }
    }
    assert_eq!(page.complaints(), [""; 0]);
    the_last_bot_is_shown_with_its_agent(&bridge).await;
}

#[tokio::test]
async fn a_refresh_of_the_settings_reads_lists_once_a_minute() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "settings").await;
    page.until("!!document.querySelector('#version')").await;
    page.look(HOLD_REFRESH).await;
    page.look("window.hiddenNow = false; true").await;
    page.until("window.asked.length > 0").await;
    let asked = page.look("window.asked").await;
    assert_eq!(asked, json!(["/api/v1/orgs/default/notify"]));
    // A minute later.
    page.look(
        "const now = Date.now; Date.now = () => now() + 60000; window.asked = []; window.hiddenNow = false; true",
    )
    .await;
    page.until("window.asked.some((path) => path.includes('/tokens'))")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

/// Its trigger is on a later page of the list.
async fn the_last_bot_is_shown_with_its_agent(bridge: &TestBridge) {
    let path = "/api/v1/orgs/default/integrations?search=Bot%20498&limit=1";
    let last = bridge.console.get(path).await.unwrap();
    let id = last["items"][0]["id"].as_str().unwrap().to_owned();
    let mut page = console(bridge, &format!("bots/{id}/trigger")).await;
    let agents = "[...document.querySelectorAll('main form select')]";
    page.until(&format!(
        "{agents}.some((one) => one.selectedOptions[0]?.textContent.includes('Echo 2'))"
    ))
    .await;
    assert_eq!(page.complaints(), [""; 0]);
}
