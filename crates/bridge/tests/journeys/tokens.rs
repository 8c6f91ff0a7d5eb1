//! Access tokens are shared between processes, and only for the same account and credentials.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tieline_bridge::accounts::Bot;
use tieline_bridge::courier;
use tieline_bridge::world::World;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::test_bridge::TestBridge;

/// A platform that issues the secret as token, and answers every other call with the token that it carries.
#[derive(Clone)]
struct Platform {
    url: String,
    /// The secrets with which tokens were requested.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Platform {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let it = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
        };
        let platform = it.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(platform.clone().answer(stream));
            }
        });
        it
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let text = loop {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            // A token request is complete with its body, every other request has none.
            let ends = if text.starts_with("POST") { "}" } else { "\r\n\r\n" };
            if text.ends_with(ends) {
                break text;
            }
        };
        let body = if text.starts_with("POST") {
            let asked: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            let secret = asked["appSecret"].as_str().unwrap().to_owned();
            self.asked.lock().unwrap().push(secret.clone());
            serde_json::json!({ "accessToken": secret, "expireIn": 7200 }).to_string()
        } else {
            let carried = text.lines().find_map(|line| line.strip_prefix("x-token: "));
            carried.unwrap_or_default().to_owned()
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
        let _ = stream
            .write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes())
            .await;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn robot(world: &World, secret: &str, api: &str) -> Bot {
    let connector = world.connector("dingtalk").unwrap();
    let mode = ConnectionMode::LongConnection;
    let credentials = Credentials::from_iter([("clientId", "robot"), ("clientSecret", secret)]);
    let endpoints = Endpoints::from([("apiBase".to_owned(), api.to_owned())]);
    let prepared = connector.prepare(mode, &credentials, &endpoints).unwrap();
    let account = Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        credentials,
        prepared,
        endpoints,
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: true,
    };
    Bot {
        connector,
        account: Arc::new(account),
        account_mark: None,
    }
}

/// The token that a call of the bot carries.
async fn carried(world: &World, bot: &Bot, platform: &Platform) -> String {
    let call = HttpCall {
        name: "send",
        method: "GET",
        url: format!("{}/carried", platform.url),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::Header("x-token"),
        timeout: Duration::from_secs(10),
    };
    match courier::send(world, bot, &call).await.unwrap() {
        ApiAnswer::Answered { body, .. } => String::from_utf8(body).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_by_all_processes() {
    let (bridge, platform) = (TestBridge::new().await, Platform::start().await);
    for _ in 0..2 {
        let world = bridge.world();
        let bot = robot(&world, "secret", &platform.url);
        for _ in 0..2 {
            assert_eq!(carried(&world, &bot, &platform).await, "secret");
        }
    }
    assert_eq!(platform.asked(), ["secret"]);
}

#[tokio::test]
async fn changed_credentials_or_addresses_have_a_token_of_their_own_at_once() {
    let (bridge, platform, other) = (
        TestBridge::new().await,
        Platform::start().await,
        Platform::start().await,
    );
    let (one, two) = (bridge.world(), bridge.world());
    let old = robot(&one, "old", &platform.url);
    assert_eq!(carried(&one, &old, &platform).await, "old");
    assert_eq!(carried(&two, &old, &platform).await, "old");
    let new = robot(&one, "new", &platform.url);
    for world in [&one, &two] {
        assert_eq!(carried(world, &new, &platform).await, "new");
    }
    assert_eq!(platform.asked(), ["old", "new"]);
    let moved = robot(&one, "new", &other.url);
    assert_eq!(carried(&one, &moved, &platform).await, "new");
    assert_eq!(other.asked(), ["new"]);
}
