//! From the first sign-in to the first answer: by keyboard alone, and by a new user on a phone.

use std::time::Instant;

use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, figure, until};
use tieline_tests::{telegram, wecom_socket};

use crate::chromium::Page;
use crate::{SIGNED_IN, SIGNED_OUT};

/// Limit of Tab presses to the end of any form of the console.
const MOST_TABS: usize = 80;

/// A page that is used by keyboard only.
pub(crate) struct Keyboard {
    pub(crate) page: Page,
    presses: usize,
}

impl Keyboard {
    pub(crate) const fn new(page: Page) -> Self {
        Self { page, presses: 0 }
    }

    async fn press(&mut self, key: &str) {
        self.presses += 1;
        self.page.press(key).await;
    }

    /// Presses Tab until the element has the focus.
    async fn reach(&mut self, selector: &str) {
        self.page
            .until(&format!("!!document.querySelector({selector:?})"))
            .await;
        let is_there = format!("document.activeElement === document.querySelector({selector:?})");
        for _ in 0..MOST_TABS {
            if self.page.look(&is_there).await == true {
                return;
            }
            self.press("Tab").await;
        }
        let at = self.page.look("document.activeElement.outerHTML").await;
        panic!("{selector} can't be reached by the Tab key; the focus is on {at}");
    }

    pub(crate) async fn follow(&mut self, selector: &str) {
        self.reach(selector).await;
        self.press("Enter").await;
    }

    /// Follows a link to another page of the console, which takes the focus when it is loaded.
    pub(crate) async fn go(&mut self, selector: &str, address: &str) {
        self.follow(selector).await;
        self.page
            .until(&format!(
                "location.hash.startsWith('{address}') && document.activeElement.matches('main h2')"
            ))
            .await;
    }

    pub(crate) async fn fill(&mut self, selector: &str, text: &str) {
        self.reach(selector).await;
        self.page.insert(text).await;
    }

    /// Presses arrow keys in a list until `value` is chosen.
    pub(crate) async fn choose(&mut self, selector: &str, value: &str) {
        self.reach(selector).await;
        let index = format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             return [...it.options].findIndex((one) => one.value === {value:?}) - it.selectedIndex; }})()"
        );
        let distance = self.page.look(&index).await.as_i64().unwrap();
        let key = if distance < 0 { "ArrowUp" } else { "ArrowDown" };
        for _ in 0..distance.abs() {
            self.press(key).await;
        }
        self.page
            .until(&format!("document.querySelector({selector:?}).value === {value:?}"))
            .await;
    }
}

#[tokio::test]
async fn an_agent_and_a_bot_are_added_by_keyboard_alone() {
    let bridge = TestBridge::start();
    let platform = telegram::Platform::start().await;
    let token = platform.add_bot(4711, "helper_bot");
    let agent = FakeAgent::start(Manner::default()).await;
    let mut page = Page::open(&bridge.process.url()).await;
    page.until(SIGNED_OUT).await;
    let mut keys = Keyboard::new(page);
    keys.fill("#token", ADMIN_TOKEN).await;
    keys.press("Enter").await;
    keys.page.until(SIGNED_IN).await;

    keys.go("nav a[href='#/agents']", "#/agents").await;
    keys.go("#add-agent", "#/agents/add").await;
    keys.fill("#name", "Support").await;
    keys.choose("#protocol", "openai_chat").await;
    keys.fill("[name='config.apiKey']", "k").await;
    keys.fill("[name='config.baseUrl']", &format!("{}/v1", agent.url)).await;
    keys.fill("[name='config.model']", "m").await;
    keys.go("#save-agent", "#/agents/agt_").await;
    keys.follow("#test-agent").await;
    keys.page.until("!!document.querySelector('#tested.good')").await;

    keys.go("#add-bot", "#/bots/add").await;
    keys.follow("[data-platform=telegram]").await;
    keys.reach("[name=mode]:checked").await;
    keys.press("ArrowDown").await;
    keys.page
        .until("document.querySelector('[name=mode]:checked').value === 'long_connection'")
        .await;
    keys.fill("#name", "Helper").await;
    keys.fill("[name='credentials.botToken']", &token).await;
    keys.follow("#new-bot summary").await;
    keys.fill("[name='endpoints.apiBase']", &platform.url()).await;
    keys.follow("#create-bot").await;
    keys.page.until("!!document.querySelector('#made')").await;
    until("the bot polls", || platform.is_connected(&token)).await;
    platform.text(&token, &Speaker::alone("1001"), "hello", false);
    until("the answer", || {
        platform.bubbles().iter().any(|bubble| bubble.text() == "echo: hello")
    })
    .await;
    keys.page
        .until("document.querySelector('#made [role=status]').textContent.includes('arrived')")
        .await;

    keys.go("nav a[href='#/playground']", "#/playground").await;
    keys.page
        .until("document.querySelectorAll('#talk-to option').length === 2")
        .await;
    let support = "[...document.querySelectorAll('#talk-to option')].find((one) => one.text === 'Support').value";
    let support = keys.page.look(support).await;
    keys.choose("#talk-to", support.as_str().unwrap()).await;
    keys.fill("#message", "are you there?").await;
    keys.press("Enter").await;
    keys.page
        .until("document.querySelector('.bubble.theirs[data-done=true]')?.textContent === 'echo: are you there?'")
        .await;
    figure("keys from the sign-in to the answer", keys.presses);
    assert_eq!(keys.page.complaints(), [""; 0]);
}

/// A page that is used by touch only: each tap and each filled field is a step.
struct Phone {
    page: Page,
    steps: usize,
}

impl Phone {
    async fn tap(&mut self, element: &str) {
        self.steps += 1;
        self.page.click(element).await;
    }

    async fn fill(&mut self, selector: &str, text: &str) {
        self.tap(&format!("document.querySelector({selector:?})")).await;
        self.page.insert(text).await;
    }

    /// Taps the link or button with these words.
    async fn tap_on(&mut self, words: &str) {
        let found = format!(
            "[...document.querySelectorAll('a, button, summary')].find((one) => one.textContent.trim() === '{words}')"
        );
        self.tap(&found).await;
    }
}

/// Limit of the steps that a new user has to take: five minutes are 12 s for each.
const MOST_STEPS: usize = 25;

#[tokio::test]
async fn a_new_user_on_a_phone_adds_an_agent_and_a_bot_in_chinese() {
    let bridge = TestBridge::start();
    let platform = wecom_socket::Platform::start().await;
    platform.add_bot("aib-1", "s3cret-s3cret");
    let agent = FakeAgent::start(Manner::default()).await;
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", bridge.process.url())).await;
    page.resize(390, 844).await;
    page.until(SIGNED_IN).await;
    page.look(
        "(() => { const it = document.querySelector('#language'); it.value = 'zh-CN'; it.dispatchEvent(new Event('change')); })()",
    )
    .await;
    let mut phone = Phone { page, steps: 0 };
    let began = Instant::now();

    phone.page.picture("phone 1 overview").await;
    phone.tap_on("添加机器人并绑定智能体").await;
    phone.tap_on("智能体").await;
    phone.tap_on("添加智能体").await;
    phone.fill("#name", "客服").await;
    // The phone draws the open list outside the page.
    phone.steps += 2;
    phone
        .page
        .look("(() => { const it = document.querySelector('#protocol'); it.value = 'openai_chat'; it.dispatchEvent(new Event('change')); })()")
        .await;
    phone.fill("[name='config.apiKey']", "k").await;
    phone
        .fill("[name='config.baseUrl']", &format!("{}/v1", agent.url))
        .await;
    phone.fill("[name='config.model']", "m").await;
    phone.page.picture("phone 2 agent").await;
    phone.tap_on("创建").await;
    phone.tap_on("测试").await;
    phone.page.until("!!document.querySelector('#tested.good')").await;
    phone.page.picture("phone 3 tested").await;

    phone.tap_on("添加机器人").await;
    phone.tap("document.querySelector('[data-platform=wecom]')").await;
    phone.page.picture("phone 4 steps").await;
    let shown = phone.page.look("document.querySelector('main').innerText").await;
    let shown = shown.as_str().unwrap();
    assert!(
        shown.contains("在平台上的步骤") && shown.contains("Bot ID"),
        "expected the steps and the field Bot ID in {shown}"
    );
    phone.fill("#name", "服务台").await;
    phone.fill("[name='credentials.botId']", "aib-1").await;
    phone.fill("[name='credentials.secret']", "s3cret-s3cret").await;
    // The addresses of a simulator, which real users leave empty.
    for (field, url) in [
        ("wsUrl", platform.url()),
        (
            "apiBase",
            platform.as_integration("aib-1", "")["endpoints"]["apiBase"]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
    ] {
        phone
            .page
            .look(&format!(
                "document.querySelector(\"[name='endpoints.{field}']\").value = '{url}'"
            ))
            .await;
    }
    phone.page.picture("phone 5 form").await;
    phone.tap_on("创建").await;
    phone.page.until("!!document.querySelector('#made')").await;
    platform.connected("aib-1", PATIENCE).await.unwrap();
    platform
        .say("aib-1", &Speaker::alone("zhangsan"), "m1", "你好")
        .unwrap();
    phone
        .page
        .until("document.querySelector('#made [role=status]').textContent.includes('已收到')")
        .await;
    until("the answer", || {
        platform.bubbles().iter().any(|bubble| bubble.text() == "echo: 你好")
    })
    .await;
    phone.page.picture("phone 6 made").await;
    phone.tap_on("概览").await;
    phone
        .page
        .until("document.querySelector('main')?.innerText.includes('一切正常')")
        .await;
    phone.page.picture("phone 7 overview").await;

    figure("steps from the link to the answer", phone.steps);
    figure("seconds that the program took of it", began.elapsed().as_secs());
    assert!(
        phone.steps <= MOST_STEPS,
        "took {} steps, limit {MOST_STEPS}",
        phone.steps
    );
    assert_eq!(phone.page.complaints(), [""; 0]);
    let agents = bridge.console.get("/api/v1/orgs/default/agents").await.unwrap();
    let names = agents["items"].as_array().unwrap().iter().map(|one| &one["name"]);
    assert!(
        names.clone().any(|name| *name == json!("客服")),
        "expected an agent named 客服 in {agents}"
    );
}
