//! The example agents of `docs/agents.md`, run as printed there, behind the whole bridge.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::json;
use tieline_tests::reserved_port::free_port;
use tieline_tests::test_bridge::{TestBridge, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The page's code block in that language.
fn example(language: &str) -> String {
    let page = fs::read_to_string(root().join("docs/agents.md")).unwrap();
    let (_, code) = page
        .split_once(&format!("```{language}\n"))
        .expect("the page has an example");
    code.split_once("```").unwrap().0.to_owned()
}

/// A running example; killed when it is dropped.
struct Example {
    child: Child,
    url: String,
}

impl Example {
    async fn start(mut command: Command) -> Self {
        let port = free_port().unwrap();
        let child = command.env("SECRET", SECRET).env("PORT", port.to_string()).spawn();
        let example = Self {
            child: child.expect("the interpreter is installed"),
            url: format!("http://127.0.0.1:{port}"),
        };
        until("the example listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        example
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn check(command: Command) {
    let example = Example::start(command).await;
    let bridge = TestBridge::start();
    let agent = json!({"protocol": "webhook", "config": {"url": example.url, "secret": SECRET}});
    let bot = bridge.web(&agent, &json!({})).await;
    for text in ["at once", "stream it", "later, please"] {
        assert_eq!(bridge.ask(&bot, "chat", text).await, format!("You said: {text}"));
    }
    let forged = reqwest::Client::new()
        .post(&example.url)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", "1")
        .header("webhook-signature", "v1,AAAA")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn example_in_python_answers_in_three_forms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.py");
    fs::write(&path, example("python")).unwrap();
    let mut command = Command::new("python3");
    command.arg(path);
    check(command).await;
}

/// Compiled with type checks, for a Node.js that doesn't run TypeScript itself.
#[tokio::test(flavor = "multi_thread")]
async fn example_in_typescript_answers_in_three_forms() {
    let tools = root().join("tests/.tools/examples-node");
    let dir = tempfile::tempdir_in(&tools).expect("tests/install.sh has installed the compiler");
    fs::write(dir.path().join("package.json"), r#"{"type":"module"}"#).unwrap();
    fs::write(dir.path().join("agent.ts"), example("typescript")).unwrap();
    let compiled = Command::new(tools.join("node_modules/.bin/tsc"))
        .args([
            "--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "agent.ts",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stdout)
    );
    let mut command = Command::new("node");
    command.arg(dir.path().join("agent.js"));
    check(command).await;
}
