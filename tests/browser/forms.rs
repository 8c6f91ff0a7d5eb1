//! What the console's forms and buttons say: saved, failed, unreachable, copied.

use serde_json::json;
use tieline_tests::test_bridge::TestBridge;

use crate::{click, console, in_view, open};

const SAVE_LIMITS: &str = "(() => {
    const form = document.querySelector('[aria-labelledby=limits-title] form');
    form.scrollIntoView();
    form.elements.runs.value = '3';
    form.requestSubmit();
})()";

/// From here on changes fail, as the server refuses them.
const REFUSE_CHANGES: &str = "(() => {
    const real = window.fetch;
    window.fetch = (path, options) => options.method === 'PATCH'
        ? Promise.resolve(new Response(JSON.stringify({ code: 'invalid', detail: 'No such limit.' }), { status: 400 }))
        : real(path, options);
})()";

#[tokio::test]
async fn a_save_and_its_failure_are_shown_in_view() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "settings").await;
    page.resize(800, 400).await;
    page.until("!!document.querySelector('[aria-labelledby=limits-title] form')")
        .await;
    page.look(SAVE_LIMITS).await;
    page.until("document.querySelector('#saved').textContent === 'Saved.'")
        .await;
    assert_eq!(page.look(&in_view("#saved")).await, true);
    let kept = bridge.console.get("/api/v1/orgs/default").await.unwrap();
    assert_eq!(kept["limits"]["maxConcurrentRuns"], 3);

    page.look(REFUSE_CHANGES).await;
    // A submission is ignored while the one before is still being shown.
    page.until(&format!("({SAVE_LIMITS}, document.activeElement.id === 'error')"))
        .await;
    page.until(&in_view("#error")).await;
}

#[tokio::test]
async fn the_mapper_is_removed_after_a_confirmation() {
    let bridge = TestBridge::start();
    let path = "/api/v1/orgs/default/mapper";
    let mapper = json!({ "url": "https://people.example.com/map", "secret": "0123456789abcdef" });
    bridge.patch(path, &mapper).await;
    let mut page = console(&bridge, "settings").await;
    click(&mut page, "#mapper-end").await;
    click(&mut page, "#dialog-no").await;
    assert_eq!(bridge.console.get(path).await.unwrap()["url"], mapper["url"]);
    click(&mut page, "#mapper-end").await;
    click(&mut page, "#dialog-yes").await;
    page.until("!document.querySelector('#mapper-end')").await;
    assert_eq!(page.complaints(), [""; 0]);
}

/// From here on no request is answered, and the limit of the wait is short, until `window.back()`.
const HANG: &str = "(() => {
    const [real, limit] = [window.fetch, AbortSignal.timeout];
    AbortSignal.timeout = () => limit.call(AbortSignal, 100);
    window.fetch = (path, { signal }) => new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason)));
    window.back = () => ((window.fetch = real), (AbortSignal.timeout = limit));
})()";

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "bots").await;
    page.until("!!document.querySelector('#integrations')").await;
    page.look(HANG).await;
    click(&mut page, "#refresh").await;
    page.until("!!document.querySelector('#offline')").await;
    page.resize(800, 200).await;
    page.look("scrollBy(0, 10000)").await;
    page.until(&format!("scrollY > 100 && {}", in_view("#offline"))).await;
    page.look("window.back(); true").await;
    page.until("!document.querySelector('#offline')").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn without_a_clipboard_the_value_is_selected_and_nothing_claimed() {
    let bridge = TestBridge::start();
    let mut page = console(&bridge, "settings").await;
    page.until("!!document.querySelector('#token-form')").await;
    page.look("Object.defineProperty(navigator, 'clipboard', { value: undefined }); true")
        .await;
    page.look("document.querySelector('#token-form').elements.name.value = 'CI'; document.querySelector('#token-form').requestSubmit()")
        .await;
    click(&mut page, "#new-token .copy button").await;
    page.until("getSelection().toString() === document.querySelector('#new-token code').textContent")
        .await;
    let label = page
        .look("document.querySelector('#new-token .copy button').textContent")
        .await;
    assert_eq!(label, "Copy");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn another_organization_is_opened_at_its_list() {
    let bridge = TestBridge::start();
    bridge
        .post("/api/v1/orgs", &json!({ "id": "acme", "name": "Acme" }))
        .await;
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let mut page = console(&bridge, &format!("bots/{bot}")).await;
    page.until("!!document.querySelector('#diagnosis')").await;
    page.look(
        "(() => { const list = document.querySelector('#organization'); list.value = 'acme'; list.dispatchEvent(new Event('change')); })()",
    )
    .await;
    page.until("location.hash === '#/bots' && !!document.querySelector('main .empty')")
        .await;
    assert_eq!(page.look("!!document.querySelector('#error')").await, false);
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_diagnosis_is_made_anew_when_the_tab_is_entered_and_after_an_action() {
    let bridge = TestBridge::start();
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let mut page = console(&bridge, &format!("bots/{bot}")).await;
    page.until("!!document.querySelector('#diagnosis')").await;
    page.look(
        "(() => { const real = window.fetch; window.examined = 0; \
         window.fetch = (path, options) => { if (path.endsWith('/doctor')) window.examined += 1; return real(path, options); }; })()",
    )
    .await;
    open(&mut page, &format!("bots/{bot}/log")).await;
    page.until("!document.querySelector('#diagnosis')").await;
    open(&mut page, &format!("bots/{bot}/health")).await;
    // A change of the state in the meantime counts too.
    page.until("window.examined >= 1 && !!document.querySelector('#diagnosis')")
        .await;
    page.look("window.before = window.examined").await;
    click(&mut page, "[data-verb=stop]").await;
    page.until("window.examined > window.before && document.querySelector('#cause')?.className === 'bad'")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn an_emptied_field_loses_its_value_and_a_secret_keeps_it() {
    let bridge = TestBridge::start();
    let made = bridge
        .post(
            "/api/v1/orgs/default/agents",
            &json!({ "name": "Support", "protocol": "openai_chat",
                "config": { "baseUrl": "http://127.0.0.1:9/v1", "model": "m", "apiKey": "k", "systemPrompt": "Be brief." } }),
        )
        .await;
    let id = made["id"].as_str().unwrap();
    let mut page = console(&bridge, &format!("agents/{id}")).await;
    page.until("!!document.querySelector('#agent-form')").await;
    page.look("document.querySelector('#agent-form').elements['config.systemPrompt'].value = ''; document.querySelector('#agent-form').requestSubmit()")
        .await;
    page.until("document.querySelector('#saved').textContent === 'Saved.'")
        .await;
    let kept = bridge
        .console
        .get(&format!("/api/v1/orgs/default/agents/{id}"))
        .await
        .unwrap();
    assert!(kept["config"]["systemPrompt"].is_null(), "{kept}");
    assert_eq!(kept["config"]["apiKey"], made["config"]["apiKey"]);
    assert_eq!(page.complaints(), [""; 0]);
}

/// From here on each of these lists has two pages. `window.asked` has the lists and cursors that were asked for.
const TWO_PAGES: &str = "(() => {
    const real = window.fetch;
    window.asked = [];
    window.fetch = (path, options) => {
        const kind = /\\/(messages|logs|conversations|deadletters)\\?/.exec(path)?.[1];
        if (!kind) return real(path, options);
        const cursor = new URLSearchParams(path.split('?')[1]).get('cursor');
        window.asked.push(`${kind} ${cursor}`);
        const nextCursor = cursor === null ? 'second' : null;
        return Promise.resolve(new Response(JSON.stringify({ items: [], nextCursor })));
    };
})()";

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let bridge = TestBridge::start();
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let mut page = console(&bridge, "bots").await;
    page.look(TWO_PAGES).await;
    for (address, list) in [
        ("messages", "messages"),
        (&format!("bots/{bot}/messages"), "messages"),
        (&format!("bots/{bot}/conversations"), "conversations"),
        (&format!("bots/{bot}/log"), "logs"),
    ] {
        page.look("window.asked = []; true").await;
        open(&mut page, address).await;
        let [previous, next] =
            [1, 2].map(|nth| format!("main section .bar:not(form) button:nth-of-type({nth}):not(:disabled)"));
        let last = |cursor: &str| {
            format!("window.asked.filter((one) => one.startsWith('{list} ')).at(-1) === '{list} {cursor}'")
        };
        page.until(&last("null")).await;
        click(&mut page, &next).await;
        page.until(&last("second")).await;
        click(&mut page, &previous).await;
        page.until(&last("null")).await;
    }
    open(&mut page, "messages").await;
    click(
        &mut page,
        "[aria-labelledby=letters] .bar button:nth-of-type(2):not(:disabled)",
    )
    .await;
    page.until("window.asked.includes('deadletters second')").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn agents_that_may_answer_are_ticked() {
    let bridge = TestBridge::start();
    let bound = bridge
        .web_of("default", &json!({ "protocol": "echo" }), &json!({}))
        .await;
    let [bot, agent] = ["integrationId", "agentId"].map(|field| bound[field].as_str().unwrap().to_owned());
    let mut page = console(&bridge, &format!("bots/{bot}/settings")).await;
    page.until("document.querySelector('#allowed-agents')?.hidden === true")
        .await;
    click(&mut page, "[name=limitsAgents]").await;
    page.until("!document.querySelector('#allowed-agents').hidden").await;
    click(&mut page, &format!("[name=allowedAgent][value={agent}]")).await;
    click(&mut page, "#bot-settings [type=submit]").await;
    page.until("document.querySelector('#saved').textContent === 'Saved.'")
        .await;
    let path = format!("/api/v1/orgs/default/integrations/{bot}");
    let kept = bridge.console.get(&path).await.unwrap();
    assert_eq!(kept["allowedAgents"], json!([agent]));
    assert_eq!(page.complaints(), [""; 0]);
}

/// From here on `window.sent` is the body of the last change.
const KEEP_CHANGES: &str = "(() => {
    const real = window.fetch;
    window.fetch = (path, options) => {
        if (options?.method === 'PATCH') window.sent = options.body;
        return real(path, options);
    };
})()";

#[tokio::test]
async fn a_person_whose_platform_id_looks_like_an_address_is_linked() {
    let bridge = TestBridge::start();
    let bot = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    bridge.ask(&bot, "o9cq:1@im.example", "hello").await;
    let mut page = console(&bridge, "people").await;
    page.look(KEEP_CHANGES).await;
    click(&mut page, "#people .bar button").await;
    page.until("!!document.querySelector('#people form')").await;
    page.look("(() => { const form = document.querySelector('#people form'); form.elements.linked.value = 'Ann'; form.requestSubmit(); })()")
        .await;
    page.until("document.querySelector('#saved').textContent === 'Saved.'")
        .await;
    assert_eq!(page.look("window.sent").await, r#"{"linked":"Ann"}"#);
    let users = bridge.console.get("/api/v1/orgs/default/users").await.unwrap();
    assert_eq!(users["items"][0]["linked"], "Ann", "{users}");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn all_of_many_organizations_are_offered() {
    let bridge = TestBridge::start();
    for n in 0..60 {
        bridge
            .post("/api/v1/orgs", &json!({ "id": format!("org-{n:02}") }))
            .await;
    }
    let mut page = console(&bridge, "settings").await;
    page.until("document.querySelectorAll('#organization option').length === 61")
        .await;
    page.until("document.querySelectorAll('#organizations li').length === 61")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}
