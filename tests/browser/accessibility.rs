//! Every page of the console is checked by axe, in both themes and languages, at phone and desktop width.

use serde_json::{Value, json};
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::test_bridge::{TestBridge, figure};

use crate::chromium::{Page, package};
use crate::{SIGNED_IN, SIGNED_OUT, open};

/// Violations that axe rates serious or critical, with the elements that they are about.
const SERIOUS: &str = "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}: ${help}: ` + nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')))";

/// True when the page has drawn the data that it loaded.
const READY: &str = "!!document.querySelector('main h2') && !document.querySelector('main .empty[role=status]')";

const WIDE: &str = "document.documentElement.scrollWidth > document.documentElement.clientWidth";

struct Checked<'a> {
    page: &'a mut Page,
    setting: String,
    findings: Vec<String>,
    n_pages: usize,
}

impl Checked<'_> {
    async fn check(&mut self, what: &str) {
        self.n_pages += 1;
        let found = self.page.resolve(SERIOUS).await;
        let found = found.as_array().unwrap().iter();
        self.findings
            .extend(found.map(|it| format!("{what}, {}: {}", self.setting, it.as_str().unwrap())));
        if self.page.look(WIDE).await == true {
            self.findings
                .push(format!("{what}, {}: the page scrolls sideways", self.setting));
        }
        let name = format!("{} {what}", self.setting).replace(['/', ' '], "-");
        self.page.picture(&name).await;
    }

    async fn open(&mut self, path: &str) {
        open(self.page, path).await;
        let ready = format!("location.hash === '#/{path}' && {READY}");
        self.page.until(&ready).await;
        assert_eq!(
            self.page.look("!!document.querySelector('#error')").await,
            false,
            "{path}"
        );
    }
}

/// Creates an organization where every page has something to show. Returns a bot, an agent and a message.
async fn create_content(bridge: &TestBridge) -> [String; 3] {
    let base = "/api/v1/orgs/default";
    let unreachable = json!({ "protocol": "openai_chat",
        "config": { "baseUrl": "http://127.0.0.1:9/v1", "model": "m", "apiKey": "k" } });
    let bound = bridge.web_of("default", &unreachable, &json!({})).await;
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let (bot, agent) = (id(&bound["integrationId"]), id(&bound["agentId"]));
    bridge.ask(&bot, "c", "hello").await;
    let listed = bridge.console.get(&format!("{base}/messages")).await.unwrap();
    let message = id(&listed["items"][0]["id"]);
    let pairing = json!({ "access": { "pairing": true } });
    let stranger = bridge.web_of("default", &json!({ "protocol": "echo" }), &pairing).await;
    bridge.ask(&id(&stranger["integrationId"]), "c", "may I?").await;
    let wecom = json!({ "name": "Service desk", "platform": "wecom", "connectionMode": "webhook",
        "credentials": { "token": "token", "encodingAesKey": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C" } });
    bridge.post(&format!("{base}/integrations"), &wecom).await;
    let token = json!({ "name": "Reader", "role": "viewer" });
    bridge.post(&format!("{base}/tokens"), &token).await;
    let webhook = json!({ "url": "https://ops.example/hook", "secret": "0123456789abcdef" });
    let notify = json!({ "webhook": webhook, "language": "en" });
    bridge.patch(&format!("{base}/notify"), &notify).await;
    let gone = json!({ "name": "Gone", "protocol": "echo" });
    let gone = bridge.post(&format!("{base}/agents"), &gone).await;
    let path = format!("{base}/agents/{}", gone["id"].as_str().unwrap());
    let deleted = bridge.console.request(reqwest::Method::DELETE, &path).send().await;
    assert!(deleted.unwrap().status().is_success());
    [bot, agent, message]
}

async fn switch(page: &mut Page, control: &str, value: &str) {
    let change = format!(
        "(() => {{ const it = document.querySelector('#{control}'); it.value = '{value}'; it.dispatchEvent(new Event('change')); }})()"
    );
    page.look(&change).await;
}

#[tokio::test]
async fn axe_finds_nothing_serious_on_any_page() {
    let bridge = TestBridge::start();
    let [bot, agent, message] = create_content(&bridge).await;
    let mut page = Page::open(&bridge.process.url()).await;
    page.until(SIGNED_OUT).await;
    page.look(&package("axe-core/axe.min.js")).await;
    let mut checked = Checked {
        page: &mut page,
        setting: String::new(),
        findings: Vec::new(),
        n_pages: 0,
    };
    let settings = [
        ("en", "light", 390),
        ("zh-CN", "dark", 390),
        ("zh-CN", "light", 1280),
        ("en", "dark", 1280),
    ];
    for (language, theme, width) in settings {
        checked.setting = format!("{language} {theme} {width}");
        checked.page.resize(width, 900).await;
        checked.page.until(SIGNED_OUT).await;
        switch(checked.page, "language", language).await;
        switch(checked.page, "theme", theme).await;
        checked.check("sign-in").await;
        checked.page.enter("#token", ADMIN_TOKEN).await;
        checked.page.until(SIGNED_IN).await;
        let of_the_bot = ["health", "settings", "trigger", "log", "conversations", "messages"];
        let of_the_bot = of_the_bot.map(|tab| format!("bots/{bot}/{tab}"));
        let lists = [
            "overview",
            "bots",
            "agents",
            "messages",
            "people",
            "playground",
            "settings",
        ];
        let others = [
            "agents/add".to_owned(),
            format!("agents/{agent}"),
            format!("messages/{message}"),
        ];
        let paths = lists.into_iter().map(str::to_owned).chain(of_the_bot).chain(others);
        for path in paths {
            checked.open(&path).await;
            checked.check(&path).await;
        }
        checked.open("agents").await;
        checked
            .page
            .look("document.querySelector('#deleted').open = true")
            .await;
        checked.page.until("!!document.querySelector('#deleted li')").await;
        checked.check("deleted agents").await;
        add_and_delete(&mut checked, &bot).await;
        checked.page.look("document.querySelector('#sign-out').click()").await;
    }
    let (findings, n_pages) = (checked.findings, checked.n_pages);
    figure("pages that axe has seen", n_pages);
    assert!(findings.is_empty(), "expected none, found {}", findings.join("\n\n"));
    // A refresh that is sent after the session ended is refused.
    let mut complaints = page.complaints().to_vec();
    complaints.retain(|complaint| !complaint.contains("401 (Unauthorized)"));
    assert_eq!(complaints, [""; 0]);
}

/// Checks the steps that have no address of their own: the form of a platform, and a confirmation dialog.
async fn add_and_delete(checked: &mut Checked<'_>, bot: &str) {
    checked.open("bots/add").await;
    checked.check("bots/add").await;
    checked
        .page
        .look("document.querySelector('[data-platform=wecom]').click()")
        .await;
    checked.page.until("!!document.querySelector('#new-bot')").await;
    checked.check("bots/add wecom").await;
    checked.open(&format!("bots/{bot}")).await;
    checked.page.look("document.querySelector('#delete-bot').click()").await;
    checked.page.until("document.querySelector('dialog')?.open").await;
    checked.check("delete").await;
    checked.page.look("document.querySelector('#dialog-no').click()").await;
    checked.page.until("!document.querySelector('dialog')").await;
}
