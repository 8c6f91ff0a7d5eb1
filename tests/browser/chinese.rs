//! Texts of the server are Chinese where the console is Chinese.

use serde_json::{Value, json};
use tieline_tests::test_bridge::TestBridge;

use crate::chromium::Page;
use crate::{SIGNED_IN, console, open};

/// Waits for lines, and checks that the name and the sentence of each are Chinese.
async fn is_chinese(page: &mut Page, lines: &str) {
    page.until(&format!("!!document.querySelector({lines:?})")).await;
    let shown = format!(
        "[...document.querySelectorAll({lines:?})].flatMap((line) => [...line.querySelectorAll('strong'), line]).map((one) => one.innerText)"
    );
    let shown: Vec<Value> = page.look(&shown).await.as_array().unwrap().clone();
    let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    for text in shown {
        assert!(text.as_str().unwrap().contains(is_han), "{lines}: {text}");
    }
}

#[tokio::test]
async fn examinations_and_tests_answer_in_chinese() {
    let bridge = TestBridge::start();
    let gone = json!({ "protocol": "openai_chat",
        "config": { "baseUrl": "http://127.0.0.1:9/v1", "model": "m", "apiKey": "k" } });
    let bound = bridge.web_of("default", &gone, &json!({})).await;
    let [bot, agent] = ["integrationId", "agentId"].map(|field| bound[field].as_str().unwrap().to_owned());
    let mut page = console(&bridge, "overview").await;
    page.look("localStorage.setItem('tieline.language', 'zh-CN')").await;
    page.reload().await;
    page.until(SIGNED_IN).await;
    open(&mut page, &format!("bots/{bot}/health")).await;
    is_chinese(&mut page, "#checks li").await;
    open(&mut page, &format!("bots/{bot}/settings")).await;
    page.until("!!document.querySelector('#bot-settings [type=submit] + button')")
        .await;
    page.look("document.querySelector('#bot-settings [type=submit] + button').click()")
        .await;
    is_chinese(&mut page, "#tested li").await;
    open(&mut page, &format!("agents/{agent}")).await;
    page.until("!!document.querySelector('#test-agent')").await;
    page.look("document.querySelector('#test-agent').click()").await;
    is_chinese(&mut page, "#tested.bad").await;
    page.picture("agent in Chinese").await;
    assert_eq!(page.complaints(), [""; 0]);
}
