//! Canary secrets, planted wherever the bridge is given a credential. They must appear nowhere but where they are meant to go.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod operators;
mod places;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::process::ADMIN_TOKEN;
use tieline_tests::telegram;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, figure, until, uuid};
use tieline_tests::wecom_socket;

use operators::Operators;
use places::Places;

const ORG: &str = "/api/v1/orgs/default";

/// Every planted secret, with a description.
#[derive(Default)]
struct Planted(Vec<(&'static str, String)>);

impl Planted {
    /// A new secret of letters and digits only, so that no text encoding changes it.
    fn fresh(&mut self, what: &'static str) -> String {
        let secret = format!("canary{}", uuid());
        self.keep(what, secret)
    }

    fn keep(&mut self, what: &'static str, secret: String) -> String {
        self.0.push((what, secret.clone()));
        secret
    }

    /// Descriptions of the secrets that the bytes contain, plain or in base64.
    fn found_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'static str> + 'a {
        self.0.iter().filter_map(move |(what, secret)| {
            let encoded = STANDARD_NO_PAD.encode(secret);
            // The last character of unpadded base64 depends on what follows.
            let forms = [secret.as_str(), &encoded[..encoded.len() - 2]];
            let holds = |form: &&str| bytes.windows(form.len()).any(|window| window == form.as_bytes());
            forms.iter().any(holds).then_some(*what)
        })
    }
}

/// A server that refuses every request and repeats all of it in the error, as carelessly written servers do.
struct LeakyServer {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl LeakyServer {
    /// All requests that begin with this method and path, with headers and body.
    fn requests_to(&self, path: &str) -> Vec<String> {
        let all = self.heard.lock().unwrap();
        all.iter().filter(|said| said.starts_with(path)).cloned().collect()
    }
}

async fn leaky_server() -> LeakyServer {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let hear = Arc::clone(&heard);
    let repeat = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let said = format!("{method} {uri} {headers:?} {}", String::from_utf8_lossy(&body));
        hear.lock().unwrap().push(said.clone());
        let error = json!({ "error": { "message": said, "code": said }, "message": said, "errmsg": said, "msg": said,
            "errcode": 40001, "code": 99_991_663, "description": said, "ok": false, "error_code": 401 });
        (StatusCode::UNAUTHORIZED, axum::Json(error))
    };
    let router = Router::new().fallback(repeat);
    tokio::spawn(async move { axum::serve(listener, router).await });
    LeakyServer { url, heard }
}

/// Agents of every protocol that call the leaky server, each bound to a chat page. Returns the pages.
async fn careless_agents(bridge: &TestBridge, planted: &mut Planted, leaky_server: &str) -> Vec<String> {
    let key = planted.fresh("key of a chat agent");
    let header = planted.fresh("header of a chat agent");
    let dify = planted.fresh("key of a Dify agent");
    let signed = planted.fresh("secret of a webhook agent");
    let signed = planted.keep("secret of a webhook agent as it is stored", STANDARD.encode(signed));
    let agents = [
        json!({ "protocol": "openai_chat", "config": { "baseUrl": format!("{leaky_server}/v1"), "model": "m", "apiKey": key,
            "headers": { "x-key": header } } }),
        json!({ "protocol": "dify", "config": { "baseUrl": format!("{leaky_server}/v1"), "apiKey": dify } }),
        json!({ "protocol": "webhook", "config": { "url": format!("{leaky_server}/hook"), "secret": format!("whsec_{signed}") } }),
    ];
    let mut pages = Vec::new();
    for agent in agents {
        pages.push(bridge.web(&agent, &json!({})).await);
    }
    pages
}

/// Bots whose platform repeats their credentials when it refuses them. Returns their ids.
async fn careless_platforms(bridge: &TestBridge, planted: &mut Planted, leaky_server: &str) -> Vec<String> {
    let telegram = format!("4712:{}", planted.fresh("token of a Telegram bot"));
    let mut aes_key = planted.fresh("EncodingAESKey");
    aes_key.push_str(&"A".repeat(43 - aes_key.len()));
    let app_key = format!("{}{}", &aes_key[..42], "E");
    let bots = [
        json!({ "platform": "telegram", "connectionMode": "long_connection", "credentials": { "botToken": telegram },
            "endpoints": { "apiBase": leaky_server } }),
        json!({ "platform": "lark", "connectionMode": "webhook", "endpoints": { "apiBase": leaky_server }, "credentials": {
            "appId": "cli_1", "appSecret": planted.fresh("secret of a Lark app"),
            "verificationToken": planted.fresh("verification token"), "encryptKey": planted.fresh("encrypt key") } }),
        json!({ "platform": "wecom_app", "connectionMode": "webhook", "endpoints": { "apiBase": leaky_server }, "credentials": {
            "corpId": "ww1", "agentId": "1000002", "secret": planted.fresh("secret of a WeCom app"),
            "token": planted.fresh("token of a WeCom app"), "encodingAesKey": app_key } }),
        json!({ "platform": "wecom", "connectionMode": "webhook", "endpoints": { "apiBase": leaky_server }, "credentials": {
            "token": planted.fresh("token of a WeCom bot"), "encodingAesKey": aes_key } }),
        json!({ "platform": "dingtalk", "connectionMode": "webhook", "endpoints": { "apiBase": leaky_server, "oapiBase": leaky_server },
            "credentials": { "clientId": "ding1", "clientSecret": planted.fresh("secret of a DingTalk app") } }),
        json!({ "platform": "wechat_mp", "connectionMode": "webhook", "endpoints": { "apiBase": leaky_server }, "credentials": {
            "appId": "wx1", "appSecret": planted.fresh("secret of an official account"),
            "token": planted.fresh("token of an official account"), "encodingAesKey": app_key } }),
    ];
    let mut ids = Vec::new();
    for mut bot in bots {
        bot["name"] = json!(format!("Careless {}", bot["platform"].as_str().unwrap()));
        let made = bridge.post(&format!("{ORG}/integrations"), &bot).await;
        let id = made["id"].as_str().unwrap().to_owned();
        let echo = bridge.console.get(&format!("{ORG}/agents?limit=200")).await.unwrap();
        let echo = echo["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["protocol"] == "echo");
        let trigger = json!({ "integrationId": id, "agentId": echo.unwrap()["id"] });
        bridge.post(&format!("{ORG}/triggers"), &trigger).await;
        ids.push(id);
    }
    ids
}

/// Bots that work: messages and answers pass through every step of the bridge.
async fn working_bots(bridge: &TestBridge, planted: &mut Planted) {
    let platform = wecom_socket::Platform::start().await;
    platform.add_bot("aib-1", &planted.fresh("secret of a WeCom bot"));
    let telegram = telegram::Platform::start().await;
    let token = telegram.add_bot(4711, &planted.fresh("name in a Telegram token"));
    planted.keep("a working Telegram token", token.clone());
    let answer = |_: &str| vec!["it is secret4711answer".to_owned(), " and that is all".to_owned()];
    planted.keep("words of an agent", "secret4711answer".to_owned());
    let agent = FakeAgent::start(Manner {
        answer,
        ..Manner::default()
    })
    .await;
    let masked = json!({ "redaction": { "incoming": "mask" } });
    let words = planted.fresh("words of a person");
    let pasted = planted.keep(
        "a key that a person pasted",
        "sk-c4N4rYp1aCed0nPurp0se9x8W7v6".to_owned(),
    );
    for (bot, name) in [
        (platform.as_integration("aib-1", "Service desk"), "Working 1"),
        (
            telegram.as_integration(&token, "Telegram", "long_connection"),
            "Working 2",
        ),
    ] {
        bridge.console.bind(&bot, &agent.as_chat(name), &masked).await.unwrap();
    }
    platform.connected("aib-1", PATIENCE).await.unwrap();
    until("the Telegram bot polls", || telegram.is_connected(&token)).await;
    let said = format!("{words} and the key is {pasted}");
    platform.say("aib-1", &Speaker::alone("zhangsan"), "m1", &said).unwrap();
    telegram.text(&token, &Speaker::alone("1001"), &said, false);
    let told =
        |bubbles: Vec<tieline_tests::outbound::Bubble>| bubbles.iter().any(|it| it.text().contains("that is all"));
    until("the answers", || told(platform.bubbles()) && told(telegram.bubbles())).await;
    assert!(
        agent
            .asked()
            .iter()
            .all(|text| text.contains(&words) && !text.contains(&pasted))
    );
    platform.kick("aib-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_appear_nowhere() {
    let bridge = TestBridge::start_with(&["--log", "debug"]);
    let careless = leaky_server().await;
    let leaky_server = careless.url.clone();
    let mut planted = Planted::default();
    planted.keep("the root token", ADMIN_TOKEN.to_owned());
    let mut personal = Planted::default();
    let operators = Operators::set_up(&bridge, (&mut planted, &mut personal), &leaky_server).await;
    let token = json!({ "name": "Reader", "role": "viewer" });
    let token = bridge.post(&format!("{ORG}/tokens"), &token).await;
    let token = planted.keep("token of an organization", token["token"].as_str().unwrap().to_owned());
    let custom = planted.fresh("secret of a custom platform");
    let custom = planted.keep("secret of a custom platform as it is stored", STANDARD.encode(custom));
    let custom = json!({ "name": "Custom", "platform": "custom", "connectionMode": "webhook",
        "credentials": { "secret": format!("whsec_{custom}") }, "endpoints": { "sendUrl": format!("{leaky_server}/send") } });
    bridge.post(&format!("{ORG}/integrations"), &custom).await;
    let pages = careless_agents(&bridge, &mut planted, &leaky_server).await;
    careless_platforms(&bridge, &mut planted, &leaky_server).await;
    working_bots(&bridge, &mut planted).await;
    for page in &pages {
        let words = planted.fresh("words to an agent that fails");
        let shown = bridge.ask(page, "lisi", &words).await;
        assert!(shown.contains("(Ref "), "expected `(Ref ` in {shown}");
    }
    operators
        .notified_of_an_incident(&bridge, &mut planted, &careless)
        .await;

    let mut places = Places::new(&bridge);
    places.wrong_requests(&mut planted).await;
    for organization in ["default", operators::ORGANIZATION] {
        places.every_operation(organization).await;
    }
    places.signed_in(&token).await;
    places.keep(operators.sent(&careless));
    places.program_and_tables();
    figure("answers, lines and files that were searched", places.len());
    let mut found = places.search(&planted, |_| true);
    // Personal data is for the console and for agents only.
    found.extend(places.search(&personal, |place| {
        let of_operators = ["log: ", "sent to operators: ", "GET /metrics"];
        of_operators.iter().any(|start| place.starts_with(start))
            || ["/logs", "/export", "/audit?"].iter().any(|part| place.contains(part))
    }));
    assert!(found.is_empty(), "expected none, found {}", found.join("\n"));
    // The search does find what is shown, and the secrets were really used.
    let shown = Planted(vec![("a name", "Careless lark".to_owned())]);
    assert!(!places.search(&shown, |_| true).is_empty());
    assert_eq!(personal.0.len(), 3);
    assert!(places.search(&personal, |place| place.contains("/users")).len() >= 3);
    let heard = careless.heard.lock().unwrap().concat();
    let sent: Vec<_> = planted.found_in(heard.as_bytes()).collect();
    for what in [
        "key of a chat agent",
        "header of a chat agent",
        "key of a Dify agent",
        "token of a Telegram bot",
        "secret of a Lark app",
        "secret of a WeCom app",
        "secret of a DingTalk app",
        "words to an agent that fails",
        "key of an agent of the other organization",
    ] {
        assert!(sent.contains(&what), "{what} was never sent: {sent:?}");
    }
    let failed: Value = bridge.console.get(&format!("{ORG}/deadletters")).await.unwrap();
    assert!(
        failed["items"].as_array().unwrap().len() >= pages.len(),
        "expected a dead letter of each page in {failed}"
    );
}
