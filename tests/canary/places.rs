//! Everything that the bridge shows or stores: answers of the API, its log, its files.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tieline_tests::console::Console;
use tieline_tests::test_bridge::TestBridge;

use crate::{ORG, Planted};

pub(crate) struct Places<'a> {
    bridge: &'a TestBridge,
    console: &'a Console,
    seen: Vec<(String, Vec<u8>)>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(bridge: &'a TestBridge) -> Self {
        Self {
            bridge,
            console: &bridge.console,
            seen: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Adds what was collected elsewhere to the search.
    pub(crate) fn keep(&mut self, seen: Vec<(String, Vec<u8>)>) {
        self.seen.extend(seen);
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut request = self.console.request(method.clone(), path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), format!("{:?}", response.headers()));
        let body = response.bytes().await.unwrap();
        let answer = serde_json::from_slice(&body).unwrap_or_default();
        assert!(!status.is_server_error(), "{method} {path}: {status} {answer}");
        self.seen.push((format!("{method} {path}"), body.to_vec()));
        self.seen
            .push((format!("headers of {method} {path}"), headers.into_bytes()));
        answer
    }

    /// Sends invalid requests: no error may repeat the secret that was in the request.
    pub(crate) async fn wrong_requests(&mut self, planted: &mut Planted) {
        let secret = planted.fresh("secret in a refused request");
        let wrong = [
            json!({ "name": "X", "platform": "wecom", "connectionMode": "webhook", "credentials": { "secret": secret } }),
            json!({ "name": "X", "platform": "lark", "credentials": { "appSecret": [secret] } }),
            json!({ "name": "X", "platform": "telegram", "credentials": secret }),
        ];
        for body in &wrong {
            self.ask(Method::POST, &format!("{ORG}/integrations"), Some(body)).await;
        }
        let wrong = [
            json!({ "name": "X", "protocol": "openai_chat", "config": { "apiKey": { "is": secret } } }),
            json!({ "name": "X", "protocol": "webhook", "config": { "url": "http://127.0.0.1:9", "secret": format!("whsec_{secret}!") } }),
        ];
        for body in &wrong {
            self.ask(Method::POST, &format!("{ORG}/agents"), Some(body)).await;
        }
        let file = format!(
            "agents:\n- name: X\n  protocol: openai_chat\n  config: {{apiKey: [{secret}]}}\n\
             notify:\n  webhook: {{url: ftp://x, secret: {secret}}}\n"
        );
        let file = json!({ "file": file });
        for query in ["", "?dryRun=true"] {
            self.ask(Method::POST, &format!("{ORG}/apply{query}"), Some(&file))
                .await;
        }
        let session = json!({ "token": secret });
        self.ask(Method::POST, "/api/v1/session", Some(&session)).await;
        let wrong = [
            ("notify", json!({ "webhook": { "url": "ftp://x", "secret": secret } })),
            (
                "notify",
                json!({ "webhook": { "url": "https://ops.example", "secret": [secret] } }),
            ),
            ("mapper", json!({ "url": "ftp://x", "secret": secret })),
            (
                "mapper",
                json!({ "url": "https://people.example", "secret": format!("whsec_{secret}!") }),
            ),
        ];
        for (kind, body) in &wrong {
            self.ask(Method::PATCH, &format!("{ORG}/{kind}"), Some(body)).await;
        }
    }

    /// Calls every operation of the API description that reads or examines, with every id that exists.
    pub(crate) async fn every_operation(&mut self, organization: &str) {
        let description = self.ask(Method::GET, "/api/openapi.json", None).await;
        let paths = description["paths"].as_object().unwrap();
        for path in paths.keys().filter(|path| !path.contains('{')) {
            self.ask(Method::GET, path, None).await;
        }
        self.ask(Method::GET, "/metrics", None).await;
        self.ask(Method::GET, "/", None).await;
        for path in paths.keys().filter(|path| path.starts_with("/api/v1/orgs/{org}")) {
            let operations = &paths[path];
            let path = path.replace("{org}", organization);
            for address in self.addresses(&path).await {
                if operations.get("get").is_some() {
                    self.ask(Method::GET, &address, None).await;
                }
                let examines = ["/test", "/doctor", "/restart", "/redrive", "/login", "/map"];
                if operations.get("post").is_some() && examines.iter().any(|end| path.ends_with(end)) {
                    self.ask(Method::POST, &address, Some(&json!({}))).await;
                }
            }
        }
        let base = format!("/api/v1/orgs/{organization}");
        let include = format!("{base}/integrations?include=status,agent,counts&limit=200");
        self.ask(Method::GET, &include, None).await;
        // Findings that the examinations have stored.
        for path in [
            format!("{base}/audit?limit=200"),
            "/api/v1/audit?limit=200".to_owned(),
            format!("{base}/summary"),
            format!("{base}/notify"),
            format!("{base}/users?limit=200"),
        ] {
            self.ask(Method::GET, &path, None).await;
        }
    }

    /// Expands a path: one address with each id of its list in place of `{id}`.
    async fn addresses(&mut self, path: &str) -> Vec<String> {
        let Some((list, rest)) = path.split_once("/{id}") else {
            return vec![path.to_owned()];
        };
        if rest.contains('{') {
            return Vec::new();
        }
        let items = self.ask(Method::GET, &format!("{list}?limit=200"), None).await;
        let ids = items["items"].as_array().into_iter().flatten();
        ids.filter_map(|item| Some(format!("{list}/{}{rest}", item["id"].as_str()?)))
            .collect()
    }

    /// Everything that a session of the token shows.
    pub(crate) async fn signed_in(&mut self, token: &str) {
        let answer = self
            .console
            .request(Method::POST, "/api/v1/session")
            .json(&json!({ "token": token }))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
        self.seen.push((
            "headers of a sign-in".to_owned(),
            format!("{:?}", answer.headers()).into_bytes(),
        ));
        self.seen
            .push(("answer to a sign-in".to_owned(), answer.bytes().await.unwrap().to_vec()));
    }

    /// The log at debug level, and every file of the data directory: tables and queues.
    pub(crate) fn program_and_tables(&mut self) {
        let log = self.bridge.process.log();
        assert!(log.contains("\"DEBUG\""), "the log is not at debug level");
        for line in log.lines() {
            self.seen.push((format!("log: {line}"), line.as_bytes().to_vec()));
        }
        let n_files = self.files(self.bridge.dir.path());
        assert!(n_files >= 2, "no tables in {:?}", self.bridge.dir.path());
    }

    fn files(&mut self, folder: &Path) -> usize {
        let mut n_files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                n_files += self.files(&path);
            } else if path.extension().is_none_or(|end| end != "log") {
                self.seen
                    .push((format!("file {}", path.display()), fs::read(&path).unwrap()));
                n_files += 1;
            }
        }
        n_files
    }

    /// Each place that contains a planted secret.
    pub(crate) fn search(&self, planted: &Planted, is_searched: impl Fn(&str) -> bool) -> Vec<String> {
        let searched = self.seen.iter().filter(|(place, _)| is_searched(place));
        let found = searched.flat_map(|(place, bytes)| {
            let place: String = place.chars().take(600).collect();
            planted
                .found_in(bytes)
                .map(move |what| format!("{what} is in {place}"))
                .collect::<Vec<_>>()
        });
        found.collect()
    }
}
