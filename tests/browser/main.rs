//! The console at `/` in a real browser, as operators use it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod accessibility;
mod chinese;
mod chromium;
mod first_visit;
mod forms;
mod journeys;
mod many_bots;
mod playground;
mod repairs;
mod takeover;

use serde_json::{Value, json};
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::test_bridge::{TestBridge, figure};

use chromium::Page;

const SIGNED_IN: &str = "!!document.querySelector('#signed-in main h2')";
const SIGNED_OUT: &str = "!!document.querySelector('#sign-in-form')";
const READY_TO_TALK: &str = "!!document.querySelector('#talk-to')?.options.length";
const DONE: &str = "document.querySelectorAll('.bubble.theirs[data-done=true]').length ==";

/// Records every state in which the newest answer is shown.
const WATCH: &str = "
    window.states = [];
    new MutationObserver(() => {
        const answers = document.querySelectorAll('.bubble.theirs');
        const shown = answers.length ? answers[answers.length - 1].textContent : '';
        if (shown && shown !== window.states.at(-1)) window.states.push(shown);
    }).observe(document.querySelector('#answers'), { childList: true, subtree: true, characterData: true });
    true";

/// Signs in by the link that the program prints, and opens a page of the console.
async fn console(bridge: &TestBridge, path: &str) -> Page {
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", bridge.process.url())).await;
    page.until(SIGNED_IN).await;
    open(&mut page, path).await;
    page
}

async fn open(page: &mut Page, path: &str) {
    page.look(&format!("location.hash = '#/{path}'; true")).await;
}

/// Clicks an element as soon as it is there.
async fn click(page: &mut Page, selector: &str) {
    page.until(&format!("!!document.querySelector({selector:?})")).await;
    page.look(&format!("document.querySelector({selector:?}).click()"))
        .await;
}

/// Whether the element can be seen without scrolling.
fn in_view(selector: &str) -> String {
    format!(
        "(() => {{ const box = document.querySelector({selector:?})?.getBoundingClientRect(); \
         return !!box && box.width > 1 && box.top >= 0 && box.bottom <= innerHeight; }})()"
    )
}

#[tokio::test]
async fn a_typed_message_is_answered_in_streamed_pieces() {
    let bridge = TestBridge::start();
    let mut page = Page::open(&format!("{}/#token={ADMIN_TOKEN}", bridge.process.url())).await;
    page.until(SIGNED_IN).await;
    assert_eq!(page.look("location.hash").await, "", "the token is left in the address");
    open(&mut page, "playground").await;
    page.until(READY_TO_TALK).await;
    page.look(WATCH).await;

    let words = "Hello, 你好 🚀 — a message that comes back in pieces";
    page.enter("#message", words).await;
    page.until(&format!("{DONE} 1")).await;

    let states: Vec<String> = texts(&page.look("window.states").await);
    figure("states of the answer", states.len());
    assert_eq!(states.last().map(String::as_str), Some(words));
    assert!(states.len() >= 2, "expected several pieces: {states:?}");
    assert!(
        states.is_sorted_by(|a, b| b.starts_with(a.as_str())),
        "the text must only grow: {states:?}"
    );
    assert_eq!(
        page.look("document.querySelector('.bubble.mine').textContent").await,
        words
    );

    page.reload().await;
    page.until(&format!("{DONE} 1")).await;
    assert_eq!(
        page.look("document.querySelector('.bubble.theirs').textContent").await,
        words,
        "the conversation survives a reload"
    );
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn agent_output_is_shown_as_text_and_commands_have_buttons() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "playground").await;
    page.until(READY_TO_TALK).await;

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
    let confirmed = page
        .look("[...document.querySelectorAll('.bubble.theirs')].at(-1).textContent")
        .await;
    assert!(!confirmed.as_str().unwrap().is_empty());
    assert_eq!(page.complaints(), [""; 0]);
}

/// Delays every response about the organization `default` until `release` is called; `late` counts the responses that came after it.
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
    let bridge = TestBridge::start();
    bridge.post("/api/v1/orgs", &json!({ "id": "acme" })).await;
    let theirs = bridge
        .web_of("acme", &json!({ "name": "Echo", "protocol": "echo" }), &json!({}))
        .await;
    let theirs = theirs["integrationId"].as_str().unwrap();
    let mut page = console(&bridge, "bots").await;
    page.until("!!document.querySelector('#integrations li')").await;
    page.look(HOLD_BACK).await;

    page.look("document.querySelector('#refresh').click()").await;
    page.look(CHOOSE_ACME).await;
    let shown = "[...document.querySelectorAll('#integrations li')].map((row) => row.dataset.id).join()";
    page.until(&format!("{shown} === '{theirs}'")).await;
    page.look("window.release()").await;
    page.until("window.late >= 1").await;

    assert_eq!(page.look(shown).await, theirs);
    assert_eq!(page.complaints(), [""; 0]);
}

/// Makes the first request fail as if the server were unreachable.
const UNREACHABLE_ONCE: &str = "(() => {
    const real = window.fetch;
    window.fetch = (...call) => {
        window.fetch = real;
        return Promise.reject(new TypeError('Failed to fetch'));
    };
})()";

#[tokio::test]
async fn a_transient_failure_keeps_the_token() {
    let bridge = TestBridge::start();
    let mut page = Page::open(&bridge.process.url()).await;
    page.until(SIGNED_OUT).await;
    page.look(UNREACHABLE_ONCE).await;
    page.look(&format!("location.hash = 'token={ADMIN_TOKEN}'")).await;
    page.until("!!document.querySelector('#offline')").await;
    page.until(SIGNED_IN).await;
    assert_eq!(page.look("!!document.querySelector('#offline')").await, false);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let bridge = TestBridge::start();
    let mut page = Page::open(&bridge.process.url()).await;
    page.until(SIGNED_OUT).await;
    page.enter("#token", "a wrong token").await;
    page.until("!!document.querySelector('#error')").await;
    assert_eq!(page.look("!!document.querySelector('#signed-in')").await, false);

    page.look("document.querySelector('#token').value = ''").await;
    page.enter("#token", ADMIN_TOKEN).await;
    page.until(SIGNED_IN).await;
    assert_eq!(page.look("!!document.querySelector('#error')").await, false);
}

#[tokio::test]
async fn a_link_with_a_token_replaces_no_session_silently() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "bots").await;
    page.until("!!document.querySelector('#integrations li')").await;
    page.look("location.hash = 'token=another-token'; true").await;
    page.until("!!document.querySelector('#keep-session')").await;
    assert_eq!(
        page.look("!!document.querySelector('#integrations')").await,
        false,
        "data of the previous session is left on the page"
    );
    page.look("document.querySelector('#keep-session').click()").await;
    page.until(SIGNED_IN).await;
    let kept = page
        .look("JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie])")
        .await;
    assert!(
        !kept.as_str().unwrap().contains(ADMIN_TOKEN),
        "a script can read the token: {kept}"
    );
    assert_eq!(page.look("document.cookie").await, "", "a script can read the session");
}

#[tokio::test]
async fn one_sign_in_serves_every_tab_until_the_session_ends() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "bots").await;
    page.until("!!document.querySelector('#integrations li')").await;
    // The reload discards all script state: only the cookie is left, as in a new tab.
    page.look("sessionStorage.clear(); true").await;
    page.reload().await;
    page.until("!!document.querySelector('#integrations li')").await;
    page.look("document.querySelector('#sign-out').click(); true").await;
    page.until(SIGNED_OUT).await;
    page.reload().await;
    page.until(SIGNED_OUT).await;
    page.look("fetch('/api/v1/orgs').then((answer) => (window.seen = answer.status)); true")
        .await;
    page.until("window.seen === 401").await;
}

#[tokio::test]
async fn a_bot_is_added_bound_and_deleted_with_its_impact_shown() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "bots/add").await;
    page.until("!!document.querySelector('[data-platform=wecom]')").await;
    page.look("document.querySelector('[data-platform=wecom]').click()")
        .await;
    page.until("!!document.querySelector('#new-bot')").await;
    let fill = "(() => {
        const fields = document.querySelector('#new-bot').elements;
        fields.name.value = 'Service desk';
        fields['credentials.botId'].value = 'aib-1';
        fields['credentials.secret'].value = 's3cret-s3cret';
        fields.agent.selectedIndex = 1;
        document.querySelector('#new-bot').requestSubmit();
    })()";
    page.look(fill).await;
    page.until("!!document.querySelector('#made')").await;

    open(&mut page, "bots").await;
    page.until("document.querySelectorAll('#integrations li').length === 2")
        .await;
    let row =
        "[...document.querySelectorAll('#integrations li')].find((row) => row.textContent.includes('Service desk'))";
    let shown = page.look(&format!("{row}.textContent")).await;
    assert!(
        shown.as_str().unwrap().contains("Echo"),
        "its agent is not shown: {shown}"
    );
    assert!(!shown.as_str().unwrap().contains("s3cret"));
    page.look(&format!("{row}.querySelector('a.name').click()")).await;
    page.until("!!document.querySelector('#delete-bot')").await;
    page.look("document.querySelector('#delete-bot').click()").await;
    page.until("document.querySelector('dialog')?.open").await;
    let asked = page.look("document.querySelector('dialog').textContent").await;
    assert!(asked.as_str().unwrap().contains("Echo"), "no impact is shown: {asked}");
    page.look("document.querySelector('#dialog-yes').click()").await;
    page.until("document.querySelectorAll('#integrations li').length === 1")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

/// Fields of another mode may be drawn at the place of those before.
#[tokio::test]
async fn a_typed_secret_moves_to_no_other_field() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "bots/add").await;
    page.until("!!document.querySelector('[data-platform=dingtalk]')").await;
    page.look("document.querySelector('[data-platform=dingtalk]').click()")
        .await;
    page.until("!!document.querySelector('#new-bot')").await;
    let mut before = "";
    for mode in ["webhook", "long_connection", "webhook"] {
        let choose = format!("document.querySelector('input[name=mode][value={mode}]').click()");
        page.look(&choose).await;
        page.until(&format!(
            "document.querySelector('input[name=mode][value={mode}]').checked"
        ))
        .await;
        let readable = "[...document.querySelector('#new-bot').elements].filter((one) => one.type === 'text' && one.value.startsWith('s3cret')).length";
        assert_eq!(page.look(readable).await, 0, "a secret is readable in {mode}");
        let kept = page
            .look("document.querySelector('#new-bot').elements['credentials.clientSecret'].value")
            .await;
        assert_eq!(kept, before, "in {mode}");
        page.look("document.querySelector('#new-bot').elements['credentials.clientSecret'].value = 's3cret-s3cret'")
            .await;
        before = "s3cret-s3cret";
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn settings_show_the_version_and_export_the_organization() {
    let bridge = TestBridge::start();
    bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let mut page = console(&bridge, "settings").await;
    let version = format!("Tieline {}", env!("CARGO_PKG_VERSION"));
    page.until(&format!(
        "document.querySelector('#version')?.textContent === '{version}'"
    ))
    .await;
    let catching = "(() => { const make = URL.createObjectURL; URL.createObjectURL = (blob) => { \
         blob.text().then((file) => { window.exported = file; }); return make(blob); }; })()";
    page.look(catching).await;
    page.look("document.querySelector('#export').click()").await;
    page.until("window.exported?.includes('protocol: echo')").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_viewer_sees_no_button_that_would_be_refused() {
    let bridge = TestBridge::start();
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let made = bridge
        .post(
            "/api/v1/orgs/default/tokens",
            &json!({ "name": "Reader", "role": "viewer" }),
        )
        .await;
    let token = made["token"].as_str().unwrap();
    let mut page = Page::open(&format!("{}/#token={token}", bridge.process.url())).await;
    page.until(SIGNED_IN).await;
    for path in ["bots", "people", "settings", "messages"] {
        open(&mut page, path).await;
        page.until(&format!(
            "document.querySelector('nav [aria-current=page]').hash === '#/{path}'"
        ))
        .await;
        let found = page
            .look("[...document.querySelectorAll('main [data-verb], main .danger')].length")
            .await;
        assert_eq!(found, 0, "on {path}");
    }
    open(&mut page, &format!("bots/{bot}")).await;
    page.until("!!document.querySelector('main .facts')").await;
    assert_eq!(page.look("!!document.querySelector('#error')").await, false);
}

#[tokio::test]
async fn every_page_opens_without_a_complaint_in_both_languages() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "overview").await;
    for language in ["en", "zh-CN"] {
        page.look(&format!("localStorage.setItem('tieline.language', '{language}')"))
            .await;
        for path in [
            "overview",
            "bots",
            "bots/add",
            "agents",
            "agents/add",
            "messages",
            "people",
            "playground",
            "settings",
        ] {
            open(&mut page, path).await;
            let ready = format!(
                "document.documentElement.lang === '{language}' && location.hash === '#/{path}' \
                 && !!document.querySelector('main h2') && !document.querySelector('main .empty[role=status]')"
            );
            page.until(&ready).await;
            assert_eq!(page.look("!!document.querySelector('#error')").await, false, "{path}");
        }
    }
    assert_eq!(page.complaints(), [""; 0]);
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|it| it.as_str().unwrap().to_owned()).collect()
}
