//! A headless Chromium, driven over its DevTools protocol as a user would: by keyboard and pointer.
//!
//! See [Chrome DevTools Protocol](https://chromedevtools.github.io/devtools-protocol/).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::test_bridge::PATIENCE;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Flags by which Chromium sends no requests but those of the page that it opens.
const QUIET: &[&str] = &[
    "--headless=new",
    // Chromium's sandbox needs privileges that containers don't have. The only page is ours.
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

/// Path of a script of a package that `tests/install.sh` installs for the browser tests.
pub(crate) fn package(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".tools/browser-node/node_modules")
        .join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "{} can't be read ({error}): run `bash tests/install.sh`",
            file.display()
        )
    })
}

/// One open page. Chromium exits when it is dropped.
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
        // Chromium may have exited by itself; after the wait it is gone in either case.
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
        // CPU time of the page's threads: other work on the machine is not counted.
        page.call("Performance.enable", json!({ "timeDomain": "threadTicks" }))
            .await;
        page.call("Page.navigate", json!({ "url": url })).await;
        page
    }

    /// Reloads the page, and waits until the old document is gone.
    pub(crate) async fn reload(&mut self) {
        self.look("window.beforeReload = true; location.reload(); true").await;
        self.until("!window.beforeReload && document.readyState === 'complete'")
            .await;
    }

    /// Evaluates an expression in the page.
    pub(crate) async fn look(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Evaluates an expression in the page and awaits the promise that it returns.
    pub(crate) async fn resolve(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(
            answer.get("exceptionDetails").is_none(),
            "the promise was rejected: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Seconds of CPU time that the page's main thread has used so far, without our own commands: scripts, layout and painting. `ScriptDuration`
    /// would leave out what scripts do after a response has arrived.
    pub(crate) async fn busy_seconds(&mut self) -> f64 {
        let found = self.call("Performance.getMetrics", json!({})).await;
        let value = |name| {
            let mut metrics = found["metrics"].as_array().unwrap().iter();
            metrics.find(|metric| metric["name"] == name).unwrap()["value"]
                .as_f64()
                .unwrap()
        };
        value("TaskDuration") - value("DevToolsCommandDuration")
    }

    /// Grants the page access to the clipboard.
    pub(crate) async fn allow_clipboard(&mut self) {
        let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        self.call("Browser.grantPermissions", permissions).await;
    }

    /// Sets the window's size in pixels.
    pub(crate) async fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Saves a screenshot of the page in the folder `TIELINE_PICTURES`, if it is set.
    pub(crate) async fn picture(&mut self, name: &str) {
        let Ok(folder) = std::env::var("TIELINE_PICTURES") else {
            return;
        };
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }

    /// Clicks the middle of an element, after scrolling it into view.
    pub(crate) async fn click(&mut self, element: &str) {
        self.until(&format!("!!{element}")).await;
        let found = self
            .look(&format!(
                "(() => {{ const it = {element}; it.scrollIntoView({{ block: 'center' }}); \
                 const box = it.getBoundingClientRect(); const at = [box.x + box.width / 2, box.y + box.height / 2]; \
                 const hit = document.elementFromPoint(...at); return it.contains(hit) ? at : hit.outerHTML; }})()"
            ))
            .await;
        assert!(found.is_array(), "{element} is covered by {found}");
        let at = json!({ "x": found[0], "y": found[1], "button": "left", "clickCount": 1 });
        for kind in ["mousePressed", "mouseReleased"] {
            let mut event = at.clone();
            event["type"] = json!(kind);
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Space` or an arrow.
    pub(crate) async fn press(&mut self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Space" => ("Space", 32, " "),
            "ArrowDown" => ("ArrowDown", 40, ""),
            "ArrowUp" => ("ArrowUp", 38, ""),
            other => panic!("unknown key {other}"),
        };
        let name = if key == "Space" { " " } else { key };
        for (kind, text) in [
            (if text.is_empty() { "rawKeyDown" } else { "keyDown" }, text),
            ("keyUp", ""),
        ] {
            let event =
                json!({ "type": kind, "key": name, "code": code, "windowsVirtualKeyCode": number, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types into the focused element.
    pub(crate) async fn insert(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Waits until an expression is true. While the page loads, the expression may refer to elements that don't exist yet.
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

    /// Types into a field with an input event for each letter, and presses Enter.
    pub(crate) async fn enter(&mut self, field: &str, text: &str) {
        self.look(&format!("document.querySelector({field:?}).focus()")).await;
        self.call("Input.insertText", json!({ "text": text })).await;
        for (kind, text) in [("keyDown", "\r"), ("keyUp", "")] {
            let key =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": text });
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }

    /// Errors in the browser's console.
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

/// Address of the DevTools server: Chromium writes it to a file of its profile.
async fn debugger(profile: &Path) -> String {
    let began = Instant::now();
    loop {
        let told = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        if let Some((port, path)) = told.split_once('\n').filter(|(_, path)| !path.is_empty()) {
            return format!("ws://127.0.0.1:{port}{}", path.trim_end());
        }
        assert!(
            began.elapsed() < PATIENCE,
            "Chromium has not opened its DevTools port in {PATIENCE:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}
