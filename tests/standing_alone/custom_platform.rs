//! The `custom` platform: what its program may send and poll, and the example in its document.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::custom::{Platform, SECRET, with_signature};
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::PlatformSimulator as _;
use tieline_tests::reserved_port::free_port;
use tieline_tests::test_bridge::{TestBridge, until};

fn lisi() -> Speaker {
    Speaker::alone("1001")
}

struct Scenario {
    bridge: TestBridge,
    platform: Platform,
    agent: FakeAgent,
    id: String,
}

async fn scenario(polls: bool) -> Scenario {
    let bridge = TestBridge::start();
    let platform = Platform::start(polls).await;
    let agent = FakeAgent::start(Manner::default()).await;
    let id = add(&bridge, &platform, &agent, "Custom").await;
    Scenario {
        bridge,
        platform,
        agent,
        id,
    }
}

async fn add(bridge: &TestBridge, platform: &Platform, agent: &FakeAgent, name: &str) -> String {
    let mut integration = platform.as_integration(name);
    integration["language"] = json!("en");
    let agent = agent.as_webhook(&format!("Agent of {name}"));
    let made = bridge.console.bind(&integration, &agent, &json!({})).await.unwrap();
    platform.created(made["callbackUrl"].as_str().unwrap());
    made["id"].as_str().unwrap().to_owned()
}

async fn shows(it: &Scenario, expected: &[&str]) {
    let texts = || {
        it.platform
            .shown(&lisi())
            .iter()
            .map(|bubble| bubble.text().to_owned())
            .collect::<Vec<_>>()
    };
    until(&format!("{expected:?}"), || texts() == expected).await;
    assert_eq!(it.platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn attachments_reach_the_agent_inline_and_by_link() {
    let it = scenario(false).await;
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &[3; 700_000]].concat();
    let mut message = it.platform.text(&lisi(), "look", true);
    message["parts"] = json!([
        { "kind": "image", "data": STANDARD.encode(&png), "name": "a.png" },
        { "kind": "file", "url": "http://127.0.0.1:9/b.pdf", "name": "b.pdf" },
    ]);
    message["quoted"] =
        json!({ "text": "earlier", "parts": [{ "kind": "audio", "data": "aGVsbG8=", "name": "c.ogg" }] });
    message["surprise"] = json!(1);
    let answer = it.platform.post(&message).await.unwrap();
    assert_eq!(
        (&answer["accepted"], &answer["ignored"]),
        (&json!(true), &json!(["surprise"]))
    );
    shows(&it, &["echo: look"]).await;
    let asked = it.agent.seen()[0].body["message"].clone();
    let parts = asked["parts"].as_array().unwrap();
    assert_eq!((parts.len(), &parts[1]["name"]), (2, &json!("b.pdf")), "{asked}");
    assert_eq!(
        (&parts[0]["name"], &parts[0]["mime"]),
        (&json!("a.png"), &json!("image/png"))
    );
    for (part, bytes) in [(&parts[0], png.as_slice()), (&asked["quoted"]["parts"][0], b"hello")] {
        let got = reqwest::get(part["url"].as_str().unwrap()).await.unwrap();
        assert_eq!(got.bytes().await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn sender_and_chat_reach_the_agent() {
    let it = scenario(false).await;
    let ask = async |text: &str| {
        let mut message = it.platform.text(&lisi(), text, true);
        message["chat"]["name"] = json!("Support");
        it.platform.post(&message).await.unwrap();
    };
    ask("hello").await;
    shows(&it, &["echo: hello"]).await;
    let told = it.agent.seen()[0].body.clone();
    assert_eq!(told["integration"], json!({ "id": it.id, "name": "Custom" }));
    assert_eq!(
        (&told["user"]["displayName"], &told["chat"]["name"]),
        (&json!("Ann"), &json!("Support")),
        "{told}"
    );
    assert_eq!(told["user"].get("person"), None, "nobody is linked yet: {told}");

    // A link that an operator creates is sent to the agent with the next question.
    let user = format!("/api/v1/orgs/default/users/{}", told["user"]["id"].as_str().unwrap());
    let link = json!({ "linked": "E-17", "name": "Ann Wong", "email": "ann@example.com" });
    it.bridge.patch(&user, &link).await;
    ask("again").await;
    shows(&it, &["echo: hello", "echo: again"]).await;
    let told = it.agent.seen()[1].body.clone();
    let person = json!({ "id": "E-17", "name": "Ann Wong", "email": "ann@example.com" });
    assert_eq!(told["user"]["person"], person, "{told}");
    assert_eq!(told["user"]["displayName"], "Ann Wong");
}

#[tokio::test]
async fn unsigned_requests_get_one_response_and_signed_mistakes_are_explained() {
    let it = scenario(false).await;
    let body = it.platform.text(&lisi(), "hi", true).to_string();
    let url = it.platform.signed(&body).unwrap().build().unwrap().url().to_string();
    let http = reqwest::Client::new();
    let unknown = url.replace(&it.id, &format!("int_{}", "0".repeat(24)));
    for request in [
        http.post(&url).body(body.clone()),
        with_signature(http.post(&url), "whsec_d3Jvbmc=", body.as_bytes()).body(body.clone()),
        with_signature(http.post(unknown), SECRET, body.as_bytes()).body(body.clone()),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (401, String::new())
        );
    }
    let mistaken = it
        .platform
        .signed(r#"{"id":"m","text":"x","chat":{}}"#)
        .unwrap()
        .send()
        .await
        .unwrap();
    assert_eq!(mistaken.status().as_u16(), 200);
    let told: Value = mistaken.json().await.unwrap();
    assert_eq!(
        (&told["accepted"], &told["field"]),
        (&json!(false), &json!("sender")),
        "{told}"
    );
    assert!(it.agent.seen().is_empty());
    let logs = format!("/api/v1/orgs/default/integrations/{}/logs", it.id);
    let logs = it.bridge.console.get(&logs).await.unwrap().to_string();
    for code in ["unproved", "unreadable"] {
        assert!(logs.contains(code), "{code}: {logs}");
    }
}

#[tokio::test]
async fn busy_program_is_retried_and_gone_program_is_not() {
    let it = scenario(false).await;
    it.platform.fail([(500, None), (503, Some(1)), (429, Some(1))]);
    it.platform.say(&lisi(), "one", true);
    shows(&it, &["echo: one"]).await;
    it.platform.fail([(410, None)]);
    let answer = it.platform.post(&it.platform.text(&lisi(), "two", true)).await.unwrap();
    let path = format!(
        "/api/v1/orgs/default/messages/{}",
        answer["messageId"].as_str().unwrap()
    );
    let give_up_at = std::time::Instant::now() + tieline_tests::test_bridge::PATIENCE;
    loop {
        let message = it.bridge.console.get(&path).await.unwrap_or_default();
        if message.to_string().contains("gone") {
            break;
        }
        assert!(
            std::time::Instant::now() < give_up_at,
            "the message has not failed in time: {message}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    it.platform.say(&lisi(), "three", true);
    shows(&it, &["echo: one", "echo: three"]).await;
    let versions: Vec<Value> = it.platform.posts().iter().map(|post| post["done"].clone()).collect();
    assert_eq!(versions.iter().filter(|done| **done == true).count(), 2);
}

#[tokio::test]
async fn replies_are_polled_by_their_own_integration_only() {
    let it = scenario(true).await;
    let other = Platform::start(true).await;
    add(&it.bridge, &other, &it.agent, "Other").await;
    let answer = it.platform.post(&it.platform.text(&lisi(), "one", true)).await.unwrap();
    shows(&it, &["echo: one"]).await;
    let reply = answer["replyId"].as_str().unwrap();
    let again = it.platform.poll(reply, 0).await.unwrap();
    assert_eq!((&again["text"], &again["done"]), (&json!("echo: one"), &json!(true)));
    for after in [0, 1] {
        let refused = other.poll(reply, after).await.unwrap_err().to_string();
        assert!(refused.contains("404"), "expected `404` in {refused}");
    }
}

/// The example program of the document, as a process. Killed when dropped.
struct Example(Child);

impl Example {
    fn start(url: &str, port: Option<u16>) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/platforms/custom_example.py");
        let mut command = Command::new("python3");
        command.arg(program).env("CALLBACK_URL", url).env("SECRET", SECRET);
        if let Some(port) = port {
            command.env("PORT", port.to_string());
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self(child.expect("there is a Python 3"))
    }

    /// Types a line and returns the line that is printed for it.
    async fn say(&mut self, line: &str) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut printed = BufReader::new(self.0.stdout.take().unwrap());
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            printed.read_line(&mut line).unwrap();
            (line, printed.into_inner())
        });
        let (line, stdout) = tokio::time::timeout(tieline_tests::test_bridge::PATIENCE, reading)
            .await
            .unwrap()
            .unwrap();
        self.0.stdout = Some(stdout);
        line.trim_end().to_owned()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn example_program_holds_a_conversation() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    for port in [None, Some(free_port().unwrap())] {
        let name = format!("Example {port:?}");
        let mut integration = json!({ "name": name, "platform": "custom", "connectionMode": "webhook", "language": "en",
                                      "credentials": { "secret": SECRET } });
        if let Some(port) = port {
            integration["endpoints"] = json!({ "sendUrl": format!("http://127.0.0.1:{port}/") });
        }
        let agent = agent.as_webhook(&format!("Agent of {name}"));
        let made = bridge.console.bind(&integration, &agent, &json!({})).await.unwrap();
        let mut example = Example::start(made["callbackUrl"].as_str().unwrap(), port);
        assert_eq!(example.say("你好").await, "bot: echo: 你好");
        assert_eq!(example.say("/new").await, "bot: A new session has begun.");
        assert_eq!(example.say("again").await, "bot: echo: again");
    }
}
