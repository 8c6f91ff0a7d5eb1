//! A headless Chromium, driven over its DevTools protocol as a person would: by typing and looking.
//!
//! See [Chrome DevTools Protocol](https://chromedevtools.github.io/devtools-protocol/).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::test_bridge::PATIENCE;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Chromium makes no requests but those of the page it is given.
const QUIET: &[&str] = &[
    "--headless=new",
    // Its sandbox wants rights that containers don't give. The only page is ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
    "--remote-debugging-port=0",
];

/// One open page. Chromium ends when it is dropped.
pub(crate) struct Page {
    process: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last_id: u64,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Page {
    fn drop(&mut self) {
        // Either way it is gone after the wait.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Page {
    /// Opens an address.
    pub(crate) async fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let process = Command::new(&program)
            .args(QUIET)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} can't be started ({error}): run `bash tests/install.sh`"));
        let address = debugger(profile.path()).await;
        let (socket, _) = connect_async(address).await.unwrap();
        let mut page = Self {
            process,
            socket,
            session: None,
            last_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", attach).await;
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await;
        }
        page.call("Page.navigate", json!({ "url": url })).await;
        page
    }

    /// Reloads the page, and waits until the old one is gone.
    pub(crate) async fn reload(&mut self) {
        self.look("window.beforeReload = true; location.reload(); true").await;
        self.until("!window.beforeReload && document.readyState === 'complete'")
            .await;
    }

    /// The value of an expression in the page.
    pub(crate) async fn look(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true. As long as the page loads, it may speak of what isn't there yet.
    pub(crate) async fn until(&mut self, expression: &str) {
        let began = Instant::now();
        let checked = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        while self.look(&checked).await != true {
            if began.elapsed() > PATIENCE {
                let shown = self.look("document.body.innerText").await;
                panic!(
                    "never true: {expression}; the page shows: {shown}; {:?}",
                    self.complaints
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types into a field, letter by letter as far as the page can tell, and presses Enter.
    pub(crate) async fn enter(&mut self, field: &str, text: &str) {
        self.look(&format!("document.querySelector({field:?}).focus()")).await;
        self.call("Input.insertText", json!({ "text": text })).await;
        for (kind, text) in [("keyDown", "\r"), ("keyUp", "")] {
            let key =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": text });
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }

    /// Errors that a developer would see in the console.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap();
            let Message::Text(text) = frame else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == id {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
            self.listen(&said);
        }
    }

    fn listen(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => Some(params["entry"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => Some(params["args"].to_string()),
            _ => None,
        };
        self.complaints.extend(complaint);
    }
}

/// Where Chromium listens: it says so in a file of its profile.
async fn debugger(profile: &Path) -> String {
    let began = Instant::now();
    loop {
        let told = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        if let Some((port, path)) = told.split_once('\n').filter(|(_, path)| !path.is_empty()) {
            return format!("ws://127.0.0.1:{port}{}", path.trim_end());
        }
        assert!(began.elapsed() < PATIENCE, "Chromium doesn't listen");
        sleep(Duration::from_millis(20)).await;
    }
}
