//! A whole organization as one file.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::test_api::{DEFAULT, ROOT, Reply, TestApi};

const FILE: &str = "
agents:
  - name: Helper
    protocol: openai_chat
    config: {baseUrl: 'https://agent.example/v1', apiKey: '${KEY}', model: m1}
integrations:
  - name: Page
    platform: web
  - name: 客服
    platform: wecom
    connectionMode: webhook
    enabled: false
    credentials: {token: '${TOKEN}', encodingAesKey: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG}
triggers:
  - {integration: Page, agent: Helper, summaryWindowSeconds: 2}
";

async fn apply(api: &TestApi, file: &str, query: &str) -> Reply {
    let body = json!({ "file": file, "variables": { "KEY": "k3y-value", "TOKEN": "t0ken-value" } });
    api.post(&format!("{DEFAULT}/apply{query}"), body).await
}

async fn apply_text(api: &TestApi, token: &str, organization: &str, file: &str) -> Reply {
    let request = Request::builder()
        .method("POST")
        .uri(format!("/api/v1/orgs/{organization}/apply"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/yaml");
    api.send(request.body(Body::from(file.to_owned())).unwrap()).await
}

fn counts(applied: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "deleted"].map(|field| applied[field].as_u64().unwrap())
}

/// Everything that an organization owns, as the API returns it.
async fn owned(api: &TestApi) -> Vec<Value> {
    let mut lists = Vec::new();
    for list in ["agents", "integrations", "triggers"] {
        lists.push(api.get(&format!("{DEFAULT}/{list}")).await.ok());
    }
    lists
}

#[tokio::test]
async fn applying_twice_changes_once_and_shows_no_secrets() {
    let api = TestApi::new().await;
    let before = owned(&api).await;
    let dry = apply(&api, FILE, "?dryRun=true").await.ok();
    assert_eq!((counts(&dry), &dry["dryRun"]), ([4, 0, 0, 0], &json!(true)));
    assert_eq!(owned(&api).await, before, "a dry run changes nothing");
    let first = apply(&api, FILE, "").await;
    assert_eq!(counts(&first.ok()), [4, 0, 0, 0]);
    assert_eq!(
        first.ok()["changes"][0]["fields"][0],
        json!({"field": "config.apiKey", "before": null, "after": "${KEY}"})
    );
    let after = owned(&api).await;
    let again = apply(&api, FILE, "").await;
    assert_eq!(counts(&again.ok()), [0, 0, 4, 0]);
    assert_eq!(owned(&api).await, after, "what is as it was stays untouched");
    for shown in [first, again] {
        assert!(!shown.text.contains("-value"), "{shown:?}");
    }
}

#[tokio::test]
async fn changed_secrets_are_detected() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    let file = FILE
        .replace("m1", "m2")
        .replace("'${TOKEN}'", "another-t0ken")
        .replace("Seconds: 2", "Seconds: 0");
    for query in ["?dryRun=true", ""] {
        let reply = apply(&api, &file, query).await;
        let applied = reply.ok();
        assert_eq!(counts(&applied), [0, 3, 1, 0], "{applied}");
        let fields: Vec<&Value> = applied["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["fields"])
            .collect();
        assert_eq!(
            fields,
            [
                &json!([{"field": "config.model", "before": "m1", "after": "m2"}]),
                &json!([{"field": "credentials.token", "before": "***", "after": "***"}]),
                &json!([{"field": "summaryWindowSeconds", "before": 2, "after": 0}]),
            ]
        );
        assert!(!reply.text.contains("t0ken"), "{reply:?}");
    }
    assert_eq!(counts(&apply(&api, &file, "").await.ok()), [0, 0, 4, 0]);
}

#[tokio::test]
async fn applying_an_export_changes_nothing() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    // Texts that look like variables, and a trigger with every field set.
    let prompt = "Say ${NAME} and $${NAME}.\n\u{85}\u{2028}\u{2029}\u{FEFF}\u{FFFE}\u{FFFF}\u{7F}\u{80}\u{9F}\u{0}\u{1B}\u{A0}\u{202E}\t\r\n😀";
    let agent = json!({ "config": { "systemPrompt": prompt, "headers": { "X-Key": "s3cret" } } });
    let agents = api.get(&format!("{DEFAULT}/agents")).await.ok();
    let id = agents["items"][0]["id"].as_str().unwrap();
    api.patch(&format!("{DEFAULT}/agents/{id}"), agent).await.ok();
    let triggers = api.get(&format!("{DEFAULT}/triggers")).await.ok();
    let id = triggers["items"][0]["id"].as_str().unwrap();
    let trigger = json!({ "access": { "users": ["lisi", "007"], "chats": ["c"], "pairing": true }, "sessionScope": "chat",
        "busyPolicy": "interrupt", "sessionTimeoutSeconds": 60, "welcome": "Hi: {", "taskMode": true,
        "quietHours": { "from": "22:00", "to": "07:00", "utcOffset": "+08:00" },
        "redaction": { "incoming": "mask", "outgoing": "mask", "patterns": ["a: \\d+"] }, "maxMessagesPerPersonPerMinute": 3 });
    api.patch(&format!("{DEFAULT}/triggers/{id}"), trigger).await.ok();
    let limits = json!({ "name": "Acme: the first", "limits": { "maxConcurrentRuns": 4, "maxMessagesPerMinute": 90 } });
    api.patch(DEFAULT, limits).await.ok();
    let bots = api.get(&format!("{DEFAULT}/integrations")).await.ok();
    let mut bots = bots["items"].as_array().unwrap().iter();
    let id = bots.find(|it| it["platform"] == "wecom").unwrap()["id"]
        .as_str()
        .unwrap();
    let bot = json!({ "language": "en", "streaming": false, "endpoints": { "apiBase": "https://proxy.example" },
        "credentials": { "token": "t0ken-value", "encodingAesKey": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG" } });
    api.patch(&format!("{DEFAULT}/integrations/{id}"), bot).await.ok();
    let webhook = json!({ "url": "https://ops.example/hook", "secret": "notify-s3cret-of-16" });
    let notify = json!({ "webhook": webhook, "language": "en" });
    api.patch(&format!("{DEFAULT}/notify"), notify).await.ok();
    let before = owned(&api).await;
    for format in ["yaml", "json"] {
        let exported = api.get(&format!("{DEFAULT}/export?format={format}")).await;
        assert_eq!(exported.headers[CONTENT_TYPE], format!("application/{format}"));
        for secret in ["k3y-value", "t0ken-value", "s3cret", "abcdefghijklmnop"] {
            assert!(!exported.text.contains(secret), "{}", exported.text);
        }
        for query in ["?dryRun=true&prune=true", "?prune=true"] {
            let applied = apply(&api, &exported.text, query).await.ok();
            assert_eq!(counts(&applied), [0, 0, 6, 0], "{applied}\n{}", exported.text);
        }
        assert_eq!(owned(&api).await, before);
    }
}

/// The secrets aren't in an export, so what it creates elsewhere would not have them.
#[tokio::test]
async fn masked_secrets_of_something_new_are_refused_with_their_lines() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    let exported = api.get(&format!("{DEFAULT}/export?format=yaml")).await.text;
    let line = |text: &str| 1 + exported.lines().position(|line| line.contains(text)).unwrap();
    let elsewhere = exported.replace("id: default", "id: acme");
    for query in ["", "?dryRun=true"] {
        let refused = api
            .post(&format!("/api/v1/orgs/acme/apply{query}"), json!({ "file": elsewhere }))
            .await
            .problem(400, "invalid_file");
        let errors = refused["errors"].as_array().unwrap();
        let found: Vec<_> = errors
            .iter()
            .map(|it| {
                (
                    it["field"].as_str().unwrap().rsplit('.').next().unwrap(),
                    it["line"].as_u64().unwrap(),
                )
            })
            .collect();
        let expected = ["apiKey", "encodingAesKey", "token"].map(|name| (name, line(&format!("{name}: '***'")) as u64));
        assert_eq!(found, expected, "{refused}\n{elsewhere}");
        for error in errors {
            assert_eq!(error["code"], "invalid_field");
            assert!(
                error["detail"].as_str().unwrap().contains("give the secret itself"),
                "{error}"
            );
        }
    }
    api.get("/api/v1/orgs/acme")
        .await
        .problem(404, "organization_not_found");
}

const NOTIFY: &str = "
agents: [{name: Helper, protocol: echo}]
integrations:
  - {name: Desk, platform: telegram, enabled: false, credentials: {botToken: '4711:${TOKEN}'}}
notify:
  chat: {integration: Desk, chatId: '-100'}
  language: en
";

#[tokio::test]
async fn notifications_are_applied_changed_and_exported() {
    let api = TestApi::new().await;
    let applied = apply(&api, NOTIFY, "").await.ok();
    assert_eq!(counts(&applied), [3, 0, 0, 0], "{applied}");
    assert_eq!(counts(&apply(&api, NOTIFY, "").await.ok()), [0, 0, 3, 0]);
    let set = api.get(&format!("{DEFAULT}/notify")).await.ok();
    assert_eq!(
        (&set["chat"]["chatId"], &set["language"]),
        (&json!("-100"), &json!("en"))
    );
    let exported = api.get(&format!("{DEFAULT}/export?format=json")).await.ok();
    let chat = json!({ "chat": { "integration": "Desk", "chatId": "-100" }, "language": "en" });
    assert_eq!(exported["organizations"][0]["notify"], chat);

    let webhook = "notify: {webhook: {url: 'https://ops.example/hook', secret: '${TOKEN}-of-sixteen'}}\n";
    let changed = apply(&api, webhook, "").await.ok();
    assert_eq!(counts(&changed), [0, 1, 0, 0], "{changed}");
    assert!(!changed.to_string().contains("t0ken"), "{changed}");
    let set = api.get(&format!("{DEFAULT}/notify")).await.ok();
    assert_eq!(
        set["webhook"],
        json!({ "url": "https://ops.example/hook", "secret": "***" })
    );
    assert_eq!((&set["chat"], &set["language"]), (&Value::Null, &json!("en")));
    let kept = webhook.replace("${TOKEN}-of-sixteen", "***");
    assert_eq!(counts(&apply(&api, &kept, "").await.ok()), [0, 0, 1, 0]);
    let actions = actions(&api).await;
    assert_eq!(actions.iter().filter(|action| *action == "notify.update").count(), 2);
}

#[tokio::test]
async fn a_refused_file_leaves_notifications_as_they_were() {
    let api = TestApi::new().await;
    apply(&api, NOTIFY, "").await.ok();
    let before = api.get(&format!("{DEFAULT}/notify")).await.ok();
    let id = undeletable(&api).await;
    let file = "notify: {chat: {integration: Desk, userId: lisi}, language: zh-CN}\nagents: [{name: Helper, protocol: echo}]\n\
                integrations: [{name: Desk, platform: telegram}]\n";
    let refused = apply(&api, file, "?prune=true").await;
    assert!(!refused.status.is_success(), "{id}: {refused:?}");
    let mut after = api.get(&format!("{DEFAULT}/notify")).await.ok();
    after["etag"] = before["etag"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn unnamed_resources_are_deleted_only_with_prune() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    let (page, agent) = (api.web("Old page").await, api.echo("Old agent").await);
    api.trigger(&page, &agent).await;
    assert_eq!(counts(&apply(&api, FILE, "").await.ok()), [0, 0, 4, 0]);
    let dry = apply(&api, FILE, "?dryRun=true&prune=true").await.ok();
    let names: Vec<&Value> = dry["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["Old page -> Old agent", "Old agent", "Old page"]);
    assert_eq!(dry["changes"][2]["impact"]["agents"][0]["name"], "Old agent");
    assert_eq!(counts(&apply(&api, FILE, "?prune=true").await.ok()), [0, 0, 4, 3]);
    api.get(&format!("{DEFAULT}/integrations/{page}"))
        .await
        .problem(404, "integration_not_found");
    api.get(&format!("{DEFAULT}/agents/{agent}"))
        .await
        .problem(404, "agent_not_found");
    assert_eq!(counts(&apply(&api, FILE, "?prune=true").await.ok()), [0, 0, 4, 0]);
}

/// A trigger that passes validation and is too large to be stored.
fn too_large(agent: &str) -> String {
    let ids = |prefix: &str| -> Vec<String> { (0..1000).map(|n| format!("{prefix}{n:0>250}")).collect() };
    let access = json!({ "users": ids("u"), "chats": ids("c") });
    format!("  - {{integration: Mine, agent: {agent}, access: {access}}}\n")
}

#[tokio::test]
async fn refused_write_rolls_back_the_others() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    let before = owned(&api).await;
    let changed = FILE
        .replace("m1", "m2")
        .replace("enabled: false", "enabled: false\n    language: en")
        .replace("${TOKEN}", "another-t0ken")
        .replace("Seconds: 2", "Seconds: 5")
        .replace("agents:\n", "agents:\n  - {name: Fresh, protocol: echo}\n")
        .replace("integrations:\n", "integrations:\n  - {name: Mine, platform: web}\n");
    let refused = apply(&api, &format!("{changed}{}", too_large("Fresh")), "").await;
    let problem = refused.problem(413, "too_large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("trigger Mine -> Fresh: ") && detail.ends_with("; nothing was changed"),
        "{problem}"
    );
    assert_eq!(without_versions(owned(&api).await), without_versions(before));
    for list in ["agents", "integrations", "triggers"] {
        let kept = api.get(&format!("{DEFAULT}/{list}?deleted=true")).await.ok();
        assert_eq!(kept["items"], json!([]), "what was taken back can't be restored");
    }
    let actions = actions(&api).await;
    assert!(actions.contains(&"agent.delete".to_owned()), "{actions:?}");
    // Secrets were restored too: applying the old file finds no difference.
    assert_eq!(counts(&apply(&api, FILE, "").await.ok()), [0, 0, 4, 0]);
    assert_eq!(counts(&apply(&api, &changed, "").await.ok()), [2, 3, 1, 0]);
}

fn without_versions(mut lists: Vec<Value>) -> Vec<Value> {
    for list in &mut lists {
        for item in list["items"].as_array_mut().unwrap() {
            item["updatedAt"] = Value::Null;
            item["etag"] = Value::Null;
        }
    }
    lists
}

/// The actions of the organization's audit log, oldest first.
async fn actions(api: &TestApi) -> Vec<String> {
    let entries = api.get(&format!("{DEFAULT}/audit")).await.ok()["items"].clone();
    let entries = entries.as_array().unwrap().iter().rev();
    entries
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_write_of_a_file_is_in_the_audit_log() {
    let api = TestApi::new().await;
    apply(&api, FILE, "?dryRun=true").await.ok();
    assert_eq!(actions(&api).await, [""; 0]);
    apply(&api, FILE, "").await.ok();
    apply(&api, &FILE.replace("m1", "m2"), "").await.ok();
    apply(&api, "agents: []", "?prune=true").await.ok();
    let mut found = actions(&api).await;
    // Entries of the same millisecond have no defined order.
    found.sort();
    let expected = [
        "agent.create",
        "agent.delete",
        "agent.update",
        "integration.create",
        "integration.create",
        "integration.delete",
        "integration.delete",
        "trigger.create",
        "trigger.delete",
    ];
    assert_eq!(found, expected);
    let log = api.get(&format!("{DEFAULT}/audit")).await;
    assert!(!log.text.contains("-value"), "{log:?}");
}

/// An integration whose item is nearly as large as the store allows: its deleted copy, which has a deletion time too, is too large.
async fn undeletable(api: &TestApi) -> String {
    let create = async |n_bytes: usize| {
        let credentials =
            json!({ "token": "t".repeat(n_bytes), "encodingAesKey": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG" });
        let new = json!({ "name": "Big", "platform": "wecom", "connectionMode": "webhook", "enabled": false,
            "credentials": credentials });
        api.post(&format!("{DEFAULT}/integrations"), new).await
    };
    let (mut fits, mut refused) = (1, 500_000);
    while refused - fits > 1 {
        let middle = usize::midpoint(fits, refused);
        let reply = create(middle).await;
        if reply.status != 201 {
            reply.problem(413, "too_large");
            refused = middle;
            continue;
        }
        let id = reply.ok()["id"].as_str().unwrap().to_owned();
        let deleted = api.delete(&format!("{DEFAULT}/integrations/{id}")).await;
        if deleted.status != 204 {
            deleted.problem(413, "too_large");
            return id;
        }
        fits = middle;
    }
    panic!("no item is stored whose copy is too large");
}

/// The only allowed agent is replaced in two changes of the integration, before and after that of the trigger: all three are undone.
#[tokio::test]
async fn refused_deletion_takes_back_a_replaced_agent() {
    let api = TestApi::new().await;
    let file = |agent: &str| {
        format!(
            "agents: [{{name: A, protocol: echo}}, {{name: B, protocol: echo}}]\n\
             integrations: [{{name: P, platform: web, allowedAgents: [{agent}]}}]\ntriggers: [{{integration: P, agent: {agent}}}]"
        )
    };
    apply(&api, &file("A"), "").await.ok();
    undeletable(&api).await;
    let before = owned(&api).await;
    let refused = apply(&api, &file("B"), "?prune=true").await;
    let problem = refused.problem(413, "too_large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("; nothing was changed"), "{problem}");
    assert_eq!(without_versions(owned(&api).await), without_versions(before));
    assert_eq!(counts(&apply(&api, &file("A"), "").await.ok()), [0, 0, 4, 0]);
}

#[tokio::test]
async fn refused_deletion_restores_earlier_deletions() {
    let api = TestApi::new().await;
    apply(&api, FILE, "").await.ok();
    let id = undeletable(&api).await;
    let before = owned(&api).await;
    let refused = apply(&api, "agents: []", "?prune=true").await;
    let problem = refused.problem(413, "too_large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("; nothing was changed"), "{problem}");
    assert_eq!(without_versions(owned(&api).await), without_versions(before));
    api.patch(
        &format!("{DEFAULT}/integrations/{id}"),
        json!({ "credentials": { "token": "t" } }),
    )
    .await
    .ok();
    assert_eq!(counts(&apply(&api, FILE, "?prune=true").await.ok()), [0, 0, 4, 1]);
}

#[tokio::test]
async fn a_file_under_the_same_idempotency_key_is_applied_once() {
    let api = TestApi::new().await;
    let post = async || {
        let request = Request::post(format!("{DEFAULT}/apply"))
            .header(AUTHORIZATION, format!("Bearer {ROOT}"))
            .header("idempotency-key", "k1");
        let file = "agents: [{name: Echo, protocol: echo}]";
        api.send(request.body(Body::from(file)).unwrap()).await
    };
    let (first, again) = (post().await, post().await);
    assert_eq!(counts(&first.ok()), [1, 0, 0, 0]);
    assert_eq!(again.text, first.text);
}

#[tokio::test]
async fn refused_organization_is_rolled_back() {
    let api = TestApi::new().await;
    let file = |trigger: &str| {
        format!(
            "organizations:\n- id: acme\n  name: Acme\n  limits: {{maxConcurrentRuns: 3}}\n  agents: [{{name: Echo, protocol: echo}}]\n\
             \x20 integrations: [{{name: Mine, platform: web}}]\n  triggers:\n{trigger}"
        )
    };
    let refused = apply_text(&api, ROOT, "acme", &file(&too_large("Echo"))).await;
    refused.problem(413, "too_large");
    api.get("/api/v1/orgs/acme")
        .await
        .problem(404, "organization_not_found");
    let small = file("  - {integration: Mine, agent: Echo}\n");
    assert_eq!(counts(&apply_text(&api, ROOT, "acme", &small).await.ok()), [4, 0, 0, 0]);
    assert_eq!(counts(&apply_text(&api, ROOT, "acme", &small).await.ok()), [0, 0, 4, 0]);
    assert_eq!(
        api.get("/api/v1/orgs/acme").await.ok()["limits"]["maxConcurrentRuns"],
        3
    );
}

#[tokio::test]
async fn organization_token_applies_to_its_own_organization_only() {
    let api = TestApi::new().await;
    let admin = api.organization("acme", "admin").await;
    let viewer = api.organization("acme", "viewer").await;
    let file = "organizations: [{id: acme, agents: [{name: Echo, protocol: echo}]}, {id: other}]";
    apply_text(&api, &viewer, "acme", file).await.problem(403, "forbidden");
    apply_text(&api, &admin, "default", file)
        .await
        .problem(404, "organization_not_found");
    apply_text(&api, &admin, "other", file)
        .await
        .problem(404, "organization_not_found");
    apply_text(&api, ROOT, "nowhere", "agents: []")
        .await
        .problem(404, "organization_not_found");
    assert_eq!(counts(&apply_text(&api, &admin, "acme", file).await.ok()), [1, 0, 1, 0]);
    let renamed = "organizations: [{id: acme, name: Best}]";
    let problem = apply_text(&api, &admin, "acme", renamed)
        .await
        .problem(400, "invalid_file");
    assert!(
        problem["errors"][0]["detail"].as_str().unwrap().contains("root token"),
        "{problem}"
    );
    let exported = api.ask(&viewer, "GET", "/api/v1/orgs/acme/export", &Value::Null).await;
    assert!(
        exported.text.contains("id: acme") && exported.text.contains("name: Echo"),
        "{exported:?}"
    );
    api.ask(&viewer, "GET", &format!("{DEFAULT}/export"), &Value::Null)
        .await
        .problem(404, "organization_not_found");
}

#[tokio::test]
async fn another_agent_in_the_file_rebinds_the_trigger() {
    let api = TestApi::new().await;
    let file = |agent: &str| {
        format!(
            "agents: [{{name: A, protocol: echo}}, {{name: B, protocol: echo}}]\nintegrations: [{{name: P, platform: web}}]\n\
                 triggers: [{{integration: P, agent: {agent}}}]"
        )
    };
    assert_eq!(counts(&apply(&api, &file("A"), "").await.ok()), [4, 0, 0, 0]);
    let moved = apply(&api, &file("B"), "").await.ok();
    assert_eq!(counts(&moved), [0, 1, 3, 0]);
    assert_eq!(
        moved["changes"][0]["fields"],
        json!([{"field": "agent", "before": "A", "after": "B"}])
    );
    let triggers = api.get(&format!("{DEFAULT}/triggers")).await.ok();
    assert_eq!(triggers["items"].as_array().unwrap().len(), 1);
}
