//! The console's page.

use std::collections::BTreeSet;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::test_api::{DEFAULT, TestApi};

#[tokio::test]
async fn page_has_no_inline_or_foreign_content() {
    let api = TestApi::new().await;
    let page = api.get("/").await;
    assert_eq!(page.headers[CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        !policy.contains("unsafe") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    for forbidden in ["<script>", "onclick=", "style=", "http://", "https://", "javascript:"] {
        assert!(!page.text.contains(forbidden), "{forbidden}");
    }
    let files = page.text.split('"').filter(|part| part.starts_with("/console/"));
    let mut seen = 0;
    for file in files {
        let got = api.get(file).await;
        assert!(got.status.is_success() && !got.text.is_empty(), "{file}");
        assert!(!got.text.contains("eval("), "{file}");
        seen += 1;
    }
    assert!(seen >= 3);
}

/// SHA-256 of `lit-html.js` in version 3.3.3 of the package, without the last line, which names a source map.
const LIT_HTML: &str = "22115ca1002e4afc0dd2cb208f28d9c71a577a8989d4185028e26b29676e7842";

/// SHA-256 of `marked.esm.js` in version 18.2.1 of the package `marked`, without the line that names a source map.
const MARKED: &str = "c622dc6824a1c92c2d10ea9ede2fc872e46128afcc34b298e6ddee6f387ace8e";

#[tokio::test]
async fn vendored_libraries_are_the_released_ones() {
    let api = TestApi::new().await;
    for (file, digest, license) in [
        ("lit-html", LIT_HTML, "SPDX-License-Identifier: BSD-3-Clause"),
        ("marked", MARKED, "(MIT License)"),
    ] {
        let script = api.get(&format!("/console/{file}.js")).await;
        assert_eq!(hex::encode(Sha256::digest(script.text.as_bytes())), digest, "{file}");
        assert!(script.text.contains(license), "{file}");
    }
}

#[tokio::test]
async fn scripts_import_only_served_files() {
    let api = TestApi::new().await;
    for file in [
        "actions",
        "app",
        "api",
        "chat",
        "deleted",
        "markdown",
        "qr",
        "takeover",
        "texts",
        "view",
        "pages/add_bot",
        "pages/agents",
        "pages/bot",
        "pages/bots",
        "pages/messages",
        "pages/overview",
        "pages/people",
        "pages/playground",
        "pages/settings",
    ] {
        let script = api.get(&format!("/console/{file}.js")).await;
        assert_eq!(script.headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        let imports = script.text.lines().filter(|line| line.starts_with("import "));
        for line in imports {
            let from = line.split('"').nth(1).unwrap();
            assert!(api.get(from).await.status.is_success(), "{file}: {from}");
        }
    }
}

/// The keys of a table of sentences.
fn names(script: &str) -> BTreeSet<&str> {
    let (_, rest) = script.split_once(" = {\n").unwrap();
    let (rows, _) = rest.split_once("\n};").unwrap();
    rows.lines().map(|row| row.trim().split(':').next().unwrap()).collect()
}

#[tokio::test]
async fn every_sentence_and_check_exists_in_both_languages() {
    let api = TestApi::new().await;
    let english = api.get("/console/texts/english.js").await.text;
    let chinese = api.get("/console/texts/chinese.js").await.text;
    let english = names(&english);
    assert_eq!(english, names(&chinese));
    let web = api.web("Front desk").await;
    let path = format!("{DEFAULT}/integrations/{web}");
    for examination in ["doctor", "test"] {
        let found = api.post(&format!("{path}/{examination}"), Value::Null).await.ok();
        for check in found["checks"].as_array().unwrap() {
            let name = format!("check_{}", check["name"].as_str().unwrap());
            assert!(english.contains(&*name), "{name}");
        }
    }
}

/// The fields of `item` that a script reads.
fn fields_read<'a>(script: &'a str, item: &str) -> BTreeSet<&'a str> {
    let name = |rest: &'a str| rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
    let prefix = format!("{{{item}.");
    script.split(&*prefix).skip(1).filter_map(name).collect()
}

#[track_caller]
fn are_sent(script: &str, item: &str, sent: &Value) {
    for field in fields_read(script, item) {
        assert!(sent.get(field).is_some(), "{item}.{field} is never sent: {sent}");
    }
}

#[tokio::test]
async fn messages_are_shown_with_their_bot_and_chat() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Front desk").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    let message = api.say(&web, "hello").await;
    let shown = api
        .wait(&format!("{DEFAULT}/messages/{message}"), |shown| {
            shown["state"] == "answered"
        })
        .await;
    let script = api.get("/console/pages/messages.js").await.text;
    are_sent(&script, "item", &shown);
    are_sent(&script, "message", &shown);
    for read in [
        "state.names, item.integrationId",
        "state.names, letter.integrationId",
        "bot?.name",
    ] {
        assert!(script.contains(read), "the page doesn't show {read}");
    }
    // The chat of a message is found by the id of its conversation.
    let conversation = shown["conversationId"].as_str().unwrap();
    let found = api
        .get(&format!(
            "{DEFAULT}/integrations/{web}/conversations?limit=1&search={conversation}"
        ))
        .await
        .ok();
    are_sent(&script, "chat", &found["items"][0]);
    assert_eq!(fields_read(&script, "chat"), BTreeSet::from(["chatId", "chatType"]));
}

#[tokio::test]
async fn bots_are_listed_with_their_account() {
    let api = TestApi::new().await;
    api.web("Front desk").await;
    let bot = |name: &str, platform: &str, mode: &str, credentials: Value| {
        json!({ "name": name, "platform": platform,
        "connectionMode": mode, "credentials": credentials, "enabled": false })
    };
    let app = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let token = json!({ "botToken": "123456789:AAHfakefakefakefakefakefakefakefake" });
    for body in [
        bot("App", "lark", "webhook", app),
        bot("Token", "telegram", "long_connection", token),
    ] {
        api.create(&format!("{DEFAULT}/integrations"), body).await;
    }
    let found = api
        .get(&format!("{DEFAULT}/integrations?include=status,agent,counts"))
        .await
        .ok();
    let script = api.get("/console/pages/bots.js").await.text;
    let accounts = found["items"].as_array().unwrap().iter().map(|item| {
        are_sent(&script, "item", item);
        (item["name"].as_str().unwrap(), item["account"].as_str())
    });
    let expected = [
        ("App", Some("cli_1")),
        ("Front desk", None),
        ("Token", Some("123456789")),
    ];
    assert_eq!(accounts.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}
