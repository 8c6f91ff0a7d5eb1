//! Weibo's long connection: tokens, closed connections, silence, files both ways, and meaningless frames.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::console::Console;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::platform::PlatformSimulator as _;
use tieline_tests::process::Bridge;
use tieline_tests::weibo::Platform;
use tokio::net::TcpListener;

use crate::test_bridge::SOON;

/// A bridge with one Weibo bot, and an agent that answers with a file.
struct WeiboScenario {
    platform: Platform,
    agent: FileAgent,
    bridge: Bridge,
    console: Console,
    id: String,
    _dir: TempDir,
}

/// An agent that repeats the text, sends a file where the text asks for one, and downloads the files that it is sent.
#[derive(Clone, Default)]
struct FileAgent {
    url: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl FileAgent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let router = Router::new()
            .route("/", post(answer))
            .route("/a.bin", get(|| async { vec![7_u8; 100_000] }))
            .with_state(agent.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        agent
    }

    fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(agent): State<FileAgent>, Json(body): Json<Value>) -> Response {
    let text = body["message"]["text"].as_str().unwrap_or_default().to_owned();
    let file = |name: &str, path: &str| json!({ "type": "file", "url": format!("{}/{path}", agent.url), "name": name, "mime": "application/pdf" });
    let mut events = vec![json!({ "type": "text.delta", "text": format!("echo: {text}") })];
    if text == "file" {
        events.extend([file("报告 1.bin", "a.bin"), file("gone.bin", "nothing")]);
    }
    events.push(json!({ "type": "completed" }));
    agent.seen.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}

fn lisi() -> Speaker {
    Speaker::alone("1001")
}

impl WeiboScenario {
    async fn open() -> Self {
        let test = Self::with(Platform::start().await, json!({})).await;
        test.platform.connected(SOON).await.unwrap();
        test
    }

    async fn with(platform: Platform, credentials: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        let console = Console::new(bridge.url());
        let agent = FileAgent::start().await;
        let mut integration = platform.as_integration("Weibo");
        integration["language"] = json!("en");
        let fields = integration["credentials"].as_object_mut().unwrap();
        fields.extend(credentials.as_object().unwrap().clone());
        let settings = json!({ "name": "Agent", "protocol": "webhook", "config": { "url": agent.url, "secret": "whsec_c2VjcmV0" } });
        let made = console.bind(&integration, &settings, &json!({})).await.unwrap();
        let id = made["id"].as_str().unwrap().to_owned();
        Self {
            platform,
            agent,
            bridge,
            console,
            id,
            _dir: dir,
        }
    }

    fn texts(&self, from: &Speaker) -> Vec<String> {
        self.platform
            .shown(from)
            .iter()
            .map(|bubble| bubble.text().to_owned())
            .collect()
    }

    async fn shows(&self, from: &Speaker, expected: &[&str]) {
        let shown = until("the answer", SOON, || (self.texts(from) == expected).then_some(())).await;
        shown.unwrap_or_else(|error| {
            let (texts, wrong) = (self.texts(from), self.platform.complaints());
            panic!("{error}: {texts:?} {wrong:?}\n{}", self.bridge.log_tail())
        });
        assert_eq!(self.platform.complaints(), Vec::<String>::new());
    }

    async fn status_is(&self, state: &str, limit: Duration) -> Value {
        let path = format!("/api/v1/orgs/default/integrations/{}/status", self.id);
        let began = std::time::Instant::now();
        loop {
            let status = self.console.get(&path).await.unwrap();
            if status["state"] == state {
                return status;
            }
            assert!(began.elapsed() < limit, "{status}\n{}", self.bridge.log_tail());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a connection is open after `n` handshakes.
    async fn reconnected(&self, n: usize, limit: Duration) {
        let again = || (self.platform.counts().0 > 0 && self.platform.counts().2 == n).then_some(());
        let again = until("another connection", limit, again).await;
        again.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.platform.counts(), self.bridge.log_tail()));
    }
}

#[tokio::test]
async fn token_is_cached_until_the_platform_rejects_it() {
    let test = WeiboScenario::open().await;
    let asked = test.platform.counts().1;
    test.platform.close(1001, "going away").unwrap();
    test.reconnected(2, SOON).await;
    assert_eq!(test.platform.counts().1, asked, "the token was still valid");
    test.platform.expire_tokens();
    test.platform.close(4002, "").unwrap();
    test.reconnected(3, SOON).await;
    assert_eq!(test.platform.counts().1, asked + 1);
    // The token is invalid when it is used the next time.
    test.platform.expire_tokens();
    test.platform.cut().unwrap();
    test.reconnected(5, SOON).await;
    assert_eq!(test.platform.counts().1, asked + 2);
    test.platform.say(&lisi(), "still there?", true);
    test.shows(&lisi(), &["echo: still there?"]).await;
}

#[tokio::test]
async fn wrong_credentials_are_reported_and_right_ones_need_no_restart() {
    let test = WeiboScenario::with(Platform::start().await, json!({ "appSecret": "old" })).await;
    let status = test.status_is("disconnected", SOON).await;
    assert_eq!(
        (&status["reason"], &status["lastError"]["code"]),
        (&json!("config_invalid"), &json!("4002")),
        "{status}"
    );
    let asked = test.platform.counts().1;
    stays("no other try", Duration::from_secs(5), || {
        test.platform.counts().1 == asked
    })
    .await
    .unwrap();
    let path = format!("/api/v1/orgs/default/integrations/{}", test.id);
    let change = json!({ "credentials": { "appSecret": "s3cr3t-9f21" } });
    let patched = test
        .console
        .request(Method::PATCH, &path)
        .json(&change)
        .send()
        .await
        .unwrap();
    assert!(
        patched.status().is_success(),
        "the change of the secret was refused: {patched:?}"
    );
    test.platform.connected(Duration::from_secs(10)).await.unwrap();
    test.status_is("connected", SOON).await;
}

#[tokio::test]
async fn busy_token_endpoint_is_retried() {
    let platform = Platform::start().await;
    platform.misbehave(|faults| {
        faults.token_answers = [(503, json!("upstream")), (429, json!({ "code": 42900 }))].into();
    });
    let test = WeiboScenario::with(platform, json!({})).await;
    test.platform.connected(SOON).await.unwrap();
    assert!(
        test.platform.counts().1 >= 3,
        "expected at least 3 token requests, found {:?}",
        test.platform.counts()
    );
}

#[tokio::test]
async fn connection_that_only_looks_open_is_replaced() {
    let test = WeiboScenario::open().await;
    test.platform.misbehave(|faults| faults.no_pongs = true);
    test.platform.go_half_open().unwrap();
    test.reconnected(2, Duration::from_secs(60)).await;
    test.platform.misbehave(|faults| faults.no_pongs = false);
    test.platform.say(&lisi(), "hi", true);
    test.shows(&lisi(), &["echo: hi"]).await;
}

#[tokio::test]
async fn meaningless_frames_are_ignored() {
    let test = WeiboScenario::open().await;
    let vectors = include_str!("../../crates/connectors/src/weibo/vectors/weibo.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    for vector in vectors["hostile"].as_array().unwrap() {
        let body = vector["body_raw"]
            .as_str()
            .map_or_else(|| vector["body"].to_string(), str::to_owned);
        if vector.get("precondition").is_none() && vector.get("repeat").is_none() {
            test.platform.push(&body).unwrap();
        }
    }
    test.platform.push_bytes(b"\xff\x00").unwrap();
    test.platform.say(&lisi(), "real", true);
    test.shows(&lisi(), &["echo: real"]).await;
    assert_eq!(test.platform.counts().2, 1, "the connection must stay open");
    assert_eq!(test.agent.seen().len(), 1);
}

#[tokio::test]
async fn files_inside_a_message_reach_the_agent() {
    let test = WeiboScenario::open().await;
    // Larger than any queue accepts, and larger than the platform allows.
    let (png, huge) = (
        [&b"\x89PNG\r\n\x1a\n"[..], &[9; 6_000_000]].concat(),
        vec![1; 6_000_000],
    );
    let part = |kind: &str, name: &str, mime: &str, bytes: &[u8]| json!({ "type": kind, "filename": name, "source": { "type": "base64", "media_type": mime, "data": STANDARD.encode(bytes) } });
    let mut message = test.platform.text(&lisi(), "look");
    let content = message["payload"]["input"][0]["content"].as_array_mut().unwrap();
    content.push(part("input_image", "../a.png", "image/png", &png));
    content.push(part("input_file", "huge.bin", "application/pdf", &huge));
    content.push(part("input_file", "b.txt", "text/plain", "日志".as_bytes()));
    test.platform.push(&message.to_string()).unwrap();
    test.shows(&lisi(), &["echo: look"]).await;
    let seen = test.agent.seen();
    let parts = seen[0]["message"]["parts"].as_array().unwrap().clone();
    let names: Vec<&Value> = parts.iter().map(|part| &part["name"]).collect();
    assert_eq!(names, ["a.png", "b.txt"], "{parts:?}");
    for (part, bytes) in parts.iter().zip([png.as_slice(), "日志".as_bytes()]) {
        let got = reqwest::get(part["url"].as_str().unwrap()).await.unwrap();
        assert!(got.status().is_success(), "the file's link does not work: {got:?}");
        assert_eq!(got.bytes().await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn only_the_owner_is_sent_files_and_others_get_links() {
    let test = WeiboScenario::with(Platform::start().await, json!({ "ownerUid": "1001" })).await;
    test.platform.connected(SOON).await.unwrap();
    test.platform.misbehave(|faults| {
        let busy = (503, json!({ "code": 50000 }));
        faults.file_answers = [
            busy,
            (401, json!({ "code": 40100, "message": "Invalid or expired token" })),
        ]
        .into();
    });
    test.platform.say(&lisi(), "file", true);
    let gone = format!("[gone.bin]({}/nothing)", test.agent.url);
    test.shows(&lisi(), &["echo: file", "报告 1.bin", &gone]).await;
    let files = test.platform.files();
    assert_eq!((files.len(), files[0].bytes.as_slice()), (1, &[7; 100_000][..]));
    let other = Speaker::alone("1002");
    test.platform.say(&other, "file", true);
    let links = format!(
        "echo: file\n\n[报告 1.bin]({0}/a.bin)\n[gone.bin]({0}/nothing)",
        test.agent.url
    );
    test.shows(&other, &[&links]).await;
    assert_eq!(
        test.platform.files().len(),
        1,
        "a file of another person would go to the owner"
    );
}

#[tokio::test]
async fn servers_with_fewer_confirmations_are_answered_too() {
    let test = WeiboScenario::open().await;
    test.platform.misbehave(|faults| faults.no_acks = true);
    test.platform.say(&lisi(), "one", true);
    test.shows(&lisi(), &["echo: one"]).await;
    test.platform.close(1001, "").unwrap();
    test.reconnected(2, SOON).await;
    test.platform.misbehave(|faults| faults.no_pongs = true);
    test.platform.say(&lisi(), "two", true);
    test.platform.say(&Speaker::alone("1002"), "three", true);
    test.shows(&lisi(), &["echo: one", "echo: two"]).await;
    test.shows(&Speaker::alone("1002"), &["echo: three"]).await;
    assert_eq!(test.platform.counts().2, 2, "the connection must stay open");
}

#[tokio::test]
async fn chunk_lost_with_the_connection_is_sent_again() {
    let test = WeiboScenario::open().await;
    test.platform.say(&lisi(), "one", true);
    test.shows(&lisi(), &["echo: one"]).await;
    // Nothing is read any more, and the end of the connection is noticed later.
    test.platform
        .push(&test.platform.text(&lisi(), "two").to_string())
        .unwrap();
    test.platform.go_half_open().unwrap();
    test.reconnected(2, SOON).await;
    test.shows(&lisi(), &["echo: one", "echo: two"]).await;
    assert_eq!(test.agent.seen().len(), 2);
}
