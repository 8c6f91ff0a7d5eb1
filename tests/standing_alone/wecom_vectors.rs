//! Every published vector of WeCom's cryptography, through the webhook endpoint.

use std::collections::HashMap;

use reqwest::Client;
use serde_json::{Value, json};
use tieline_tests::wecom::{Bot, Cipher};
use url::form_urlencoded;

use tieline_tests::test_bridge::TestBridge;

const VECTORS: &str = include_str!("../../crates/connectors/src/wecom/vectors/crypto.json");

/// Bots by token and key, created when a vector needs them.
struct Bots<'a> {
    bridge: &'a TestBridge,
    http: Client,
    urls: HashMap<(String, String), String>,
}

impl Bots<'_> {
    async fn url(&mut self, vector: &Value) -> String {
        let (token, key) = (field(vector, "token"), field(vector, "encoding_aes_key"));
        if let Some(url) = self.urls.get(&(token.clone(), key.clone())) {
            return url.clone();
        }
        let bot = Bot::new(Cipher::new(&token, &key).unwrap(), String::new());
        let name = format!("Bot {}", self.urls.len());
        let made = self
            .bridge
            .post("/api/v1/orgs/default/integrations", &bot.as_integration(&name))
            .await;
        let url = made["callbackUrl"].as_str().unwrap().to_owned();
        self.urls.insert((token, key), url.clone());
        url
    }

    /// Requests the verification of the callback address, with the vector as its echo string.
    async fn verify(&mut self, vector: &Value) -> (u16, Vec<u8>) {
        let url = format!(
            "{}?{}&echostr={}",
            self.url(vector).await,
            signed(vector),
            escaped(&field(vector, "encrypt"))
        );
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// Sends the vector as a callback.
    async fn call(&mut self, vector: &Value) -> (u16, Vec<u8>) {
        let url = format!("{}?{}", self.url(vector).await, signed(vector));
        let body = json!({ "encrypt": vector["encrypt"] }).to_string();
        let answer = self.http.post(url).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn valid_vectors_are_decrypted_and_invalid_ones_refused() {
    let bridge = TestBridge::start();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut bots = Bots {
        bridge: &bridge,
        http: Client::builder().no_proxy().build().unwrap(),
        urls: HashMap::new(),
    };
    let refused = (401, Vec::new());
    for vector in vectors["valid"].as_array().unwrap() {
        let name = &vector["name"];
        let verified = bots.verify(vector).await;
        if vector["receive_id"] == "" {
            let plain = field(vector, "plaintext").into_bytes();
            assert_eq!(verified, (200, plain), "{name}");
            assert_eq!(bots.call(vector).await.0, 200, "{name}");
        } else {
            // Meant for an application: a bot's receiver is empty.
            assert_eq!(verified, refused, "{name}");
        }
    }
    for vector in vectors["invalid"].as_array().unwrap() {
        let name = &vector["name"];
        if vector["name"] == "missing_receive_id_app" {
            // An application rejects it as foreign; for a bot the empty receiver is its own.
            continue;
        }
        let called = bots.call(vector).await;
        if vector["expect_error"] == "bad_utf8" {
            // Signed, but permanently unreadable: after an error the platform would deliver it again and again.
            assert_eq!(called, (200, Vec::new()), "{name}");
            continue;
        }
        assert_eq!(called, refused, "{name}");
        assert_eq!(bots.verify(vector).await, refused, "{name}");
    }
}

#[tokio::test]
async fn published_requests_are_accepted_unchanged() {
    let bridge = TestBridge::start();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let named = |list: &str, name: &Value| {
        let list = vectors[list].as_array().unwrap();
        list.iter().find(|it| it["name"] == *name).unwrap().clone()
    };
    let mut bots = Bots {
        bridge: &bridge,
        http: Client::builder().no_proxy().build().unwrap(),
        urls: HashMap::new(),
    };
    let post = named("http", &json!("bot_post_request_body"));
    let url = bots.url(&named("valid", &post["valid_vector"])).await;
    let url = format!("{url}?{}", field(&post, "query"));
    let answer = bots
        .http
        .post(url)
        .body(field(&post, "http_body"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    let get = named("http", &json!("bot_url_verification"));
    let url = bots.url(&named("valid", &get["valid_vector"])).await;
    let answer = bots
        .http
        .get(format!("{url}?{}", field(&get, "query")))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), field(&get, "expected_body"));
}

#[tokio::test]
async fn invalid_keys_are_refused_when_saved() {
    let bridge = TestBridge::start();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (at, vector) in vectors["keys"].as_array().unwrap().iter().enumerate() {
        let credentials = json!({ "token": format!("token{at}"), "encodingAesKey": vector["encoding_aes_key"] });
        let integration = json!({ "name": format!("Bot {at}"), "platform": "wecom", "connectionMode": "webhook",
                                  "credentials": credentials });
        let request = bridge
            .console
            .request(reqwest::Method::POST, "/api/v1/orgs/default/integrations");
        let answer = request.json(&integration).send().await.unwrap();
        let expected = if vector["expect_error"].is_null() { 201 } else { 400 };
        assert_eq!(answer.status(), expected, "{}", vector["reason"]);
    }
}

fn signed(vector: &Value) -> String {
    let [signature, timestamp, nonce] =
        ["msg_signature", "timestamp", "nonce"].map(|name| escaped(&field(vector, name)));
    format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}")
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

fn field(vector: &Value, name: &str) -> String {
    vector[name].as_str().unwrap().to_owned()
}
