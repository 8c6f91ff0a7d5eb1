//! Pairing: strangers who are admitted by a code, and people who link themselves.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

/// A bridge with an English web bot with pairing enabled.
async fn guarded_bot() -> (TestApi, String) {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let integration = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    let trigger =
        json!({ "integrationId": integration, "agentId": agent, "access": { "users": ["boss"], "pairing": true } });
    api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    (api, integration)
}

/// The code in the sentence shown to a stranger.
fn code_in(text: &str) -> String {
    let (_, rest) = text
        .split_once("this bot: ")
        .unwrap_or_else(|| panic!("no code: {text}"));
    rest.lines().next().unwrap().to_owned()
}

async fn user(api: &TestApi, external_id: &str) -> Value {
    let listed = api.get(&format!("{DEFAULT}/users")).await.ok();
    let users = listed["items"].as_array().unwrap().clone();
    users
        .into_iter()
        .find(|user| user["externalId"] == external_id)
        .unwrap()
}

async fn pairings(api: &TestApi) -> Vec<Value> {
    let listed = api.get(&format!("{DEFAULT}/pairings")).await.ok();
    listed["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn stranger_is_admitted_by_pairing_code() {
    let (api, web) = guarded_bot().await;
    let code = code_in(&api.ask_as(&web, "lisi", "hello").await);
    assert_eq!(
        code_in(&api.ask_as(&web, "lisi", "hello?").await),
        code,
        "one code while it is good"
    );
    let waiting = pairings(&api).await;
    assert_eq!((waiting.len(), &waiting[0]["externalId"]), (1, &json!("lisi")));
    assert!(
        !waiting[0].to_string().contains(&code),
        "the code is the stranger's alone"
    );

    let path = format!("{DEFAULT}/pairings/approve");
    let body = json!({ "integrationId": web, "code": format!("{}-{}", &code[..4].to_lowercase(), &code[4..]) });
    assert_eq!(api.post(&path, body.clone()).await.ok()["name"], "lisi");
    api.post(&path, body).await.problem(404, "pairing_not_found");
    assert_eq!(user(&api, "lisi").await["admitted"], true);
    assert!(api.ask_as(&web, "lisi", "here I am").await.contains("here I am"));

    let id = user(&api, "lisi").await["id"].as_str().unwrap().to_owned();
    api.patch(&format!("{DEFAULT}/users/{id}"), json!({ "admitted": false }))
        .await
        .ok();
    code_in(&api.ask_as(&web, "lisi", "and now?").await);
}

#[tokio::test]
async fn at_most_three_pairing_requests_wait_and_each_is_decided_by_id() {
    let (api, web) = guarded_bot().await;
    for stranger in ["a", "b", "c"] {
        code_in(&api.ask_as(&web, stranger, "hello").await);
    }
    assert!(api.ask_as(&web, "d", "hello").await.contains("others are waiting"));
    let waiting = pairings(&api).await;
    assert_eq!(waiting.len(), 3);
    let path = |at: usize, verb: &str| format!("{DEFAULT}/pairings/{}/{verb}", waiting[at]["id"].as_str().unwrap());
    api.post(&path(0, "deny"), Value::Null).await.ok();
    api.post(&path(1, "approve"), Value::Null).await.ok();
    api.post(&path(1, "approve"), Value::Null)
        .await
        .problem(404, "pairing_not_found");
    assert_eq!(user(&api, "a").await["admitted"], false);
    assert_eq!(user(&api, "b").await["admitted"], true);
    let audit = api.get(&format!("{DEFAULT}/audit")).await.ok();
    let target = |action: &str| {
        let entries = audit["items"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["action"] == action).unwrap();
        entry["target"]["id"].clone()
    };
    assert_eq!(target("pairing.approve"), user(&api, "b").await["id"]);
    assert_eq!(target("pairing.deny"), user(&api, "a").await["id"]);
    code_in(&api.ask_as(&web, "d", "hello").await);
}

#[tokio::test]
async fn wrong_pairing_codes_are_rate_limited() {
    let (api, web) = guarded_bot().await;
    let code = code_in(&api.ask_as(&web, "lisi", "hello").await);
    let path = format!("{DEFAULT}/pairings/approve");
    let guess = |code: &str| json!({ "integrationId": web, "code": code });
    api.post(&path, guess("AAAAAAAA"))
        .await
        .problem(404, "pairing_not_found");
    api.post(&path, guess(&code)).await.problem(429, "too_many_guesses");
    let body = json!({ "integrationId": "int_nothing", "code": code });
    api.post(&path, body).await.problem(404, "integration_not_found");
}

#[tokio::test]
async fn linked_person_approves_in_the_chat() {
    let (api, web) = guarded_bot().await;
    let code = code_in(&api.ask_as(&web, "lisi", "hello").await);
    assert!(
        api.ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("Only people")
    );
    let link = api
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": "Zhang Wei" }))
        .await
        .ok();
    let link = link["code"].as_str().unwrap();
    assert!(
        api.ask_as(&web, "boss", &format!("/link {link}"))
            .await
            .contains("linked to Zhang Wei")
    );
    assert_eq!(user(&api, "boss").await["linked"], "Zhang Wei");
    assert!(
        api.ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("lisi may use this bot")
    );
    assert!(api.ask_as(&web, "lisi", "thanks").await.contains("thanks"));
    assert!(
        api.ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("not valid")
    );
}

#[tokio::test]
async fn link_code_is_for_one_person_and_guesses_are_rate_limited() {
    let (api, web) = guarded_bot().await;
    let made = api
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": "Zhang Wei" }))
        .await
        .ok();
    let link = format!("/link {}", made["code"].as_str().unwrap());
    assert!(api.ask_as(&web, "boss", &link).await.contains("Zhang Wei"));
    let code = code_in(&api.ask_as(&web, "lisi", "hello").await);
    api.post(
        &format!("{DEFAULT}/pairings/approve"),
        json!({ "integrationId": web, "code": code }),
    )
    .await
    .ok();
    assert!(
        api.ask_as(&web, "lisi", &link).await.contains("not valid"),
        "taken by another"
    );
    assert!(api.ask_as(&web, "lisi", &link).await.contains("Too many wrong codes"));
    assert_eq!(user(&api, "lisi").await["linked"], Value::Null);
    let problem = api
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": " " }))
        .await;
    assert_eq!(problem.problem(400, "invalid_field")["field"], "linked");
}

pub(crate) fn is_audit(item: &str) -> bool {
    item.contains("AUDIT#")
}

/// All items of the tables, as text.
pub(crate) async fn dump(api: &TestApi) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["test-config", "test-state"] {
        let page = api.dynamo.scan().table_name(table).send().await.unwrap();
        assert!(page.last_evaluated_key().is_none(), "more than one page");
        all.extend(page.items().iter().map(|item| format!("{item:?}")));
    }
    all
}

#[tokio::test]
async fn erased_person_leaves_no_data_in_the_tables() {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let web = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    let trigger = json!({ "integrationId": web, "agentId": agent, "taskMode": true });
    api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    let (forgotten, other) = ("person-to-forget", "person-who-stays");
    api.ask_as(&web, other, "hello").await;
    api.ask_as(&web, other, "/task Other things").await;
    let before = dump(&api).await.iter().filter(|item| !is_audit(item)).count();
    let long = "长".repeat(70_000);
    for text in [
        "hello",
        &long,
        "/new",
        "2",
        "My secret project",
        "step one",
        "/bind",
        "/cancel",
        "/link AAAA",
    ] {
        api.ask_as(&web, forgotten, text).await;
    }
    let messages = format!("{DEFAULT}/messages?limit=200");
    let is_done = |list: &Value| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["state"] != "queued" && it["state"] != "running")
    };
    api.wait(&messages, is_done).await;
    assert!(dump(&api).await.iter().any(|item| item.contains(forgotten)));

    let id = user(&api, forgotten).await["id"].as_str().unwrap().to_owned();
    let path = format!("{DEFAULT}/users/{id}");
    api.wait(&format!("{DEFAULT}/integrations/{web}/conversations"), |list| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["running"] == false)
    })
    .await;
    api.patch(&path, json!({ "name": "Li Si" })).await.ok();
    api.delete(&path).await.ok();
    api.get(&path).await.problem(404, "user_not_found");
    let left = dump(&api).await;
    let theirs: Vec<_> = left
        .iter()
        .filter(|item| item.contains(forgotten) || item.contains(&id))
        .collect();
    assert!(theirs.is_empty(), "{theirs:?}");
    // Only markers of the deleted messages remain, without text: they deduplicate if a platform delivers one again. And of their replies: a
    // process that was frozen meanwhile can't write them.
    let is_mark = |item: &&String| item.contains("\"pm\": S(\"\")") || item.contains("\"by\": S(\"\")");
    let n_marks = left.iter().filter(is_mark).count();
    // And of the conversation, expired: a write that created it isn't repeated.
    let is_tombstone = |item: &&String| item.contains("CNV#") && !item.contains("\"key\"");
    let n_tombstones = left.iter().filter(is_tombstone).count();
    let is_other = |item: &&String| !is_audit(item) && !is_mark(item) && !is_tombstone(item);
    assert_eq!((n_marks, n_tombstones), (18, 1));
    assert_eq!(left.iter().filter(is_other).count(), before);
    assert!(left.iter().any(|item| item.contains(other)));
    // The audit log has a digest of the erased person, and no name.
    let audit = api.get(&format!("{DEFAULT}/audit")).await;
    let entries = audit.ok()["items"].clone();
    let mut entries = entries.as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["action"] == "user.delete").unwrap();
    assert_eq!(entry["target"], json!({ "kind": "user", "id": id, "name": null }));
    assert!(
        !audit.text.contains(forgotten) && !audit.text.contains("Li Si"),
        "{audit:?}"
    );
    api.delete(&path).await.problem(404, "user_not_found");
}

#[tokio::test]
async fn person_who_returns_after_being_erased_gets_a_session_that_agents_do_not_know() {
    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let agent = api.echo("Echo").await;
    api.trigger(&web, &agent).await;
    api.work();
    let session_of_an_answer = async || {
        let message = api.say_as(&web, "lisi", "hello").await;
        let path = format!("{DEFAULT}/messages/{message}");
        let answered = api.wait(&path, |it| it["state"] == "answered").await;
        answered["sessionId"].as_str().unwrap().to_owned()
    };
    let known = session_of_an_answer().await;
    assert_eq!(session_of_an_answer().await, known);
    let id = user(&api, "lisi").await["id"].as_str().unwrap().to_owned();
    api.delete(&format!("{DEFAULT}/users/{id}")).await.ok();
    assert_ne!(session_of_an_answer().await, known);
}

#[tokio::test]
async fn link_has_a_bounded_name_without_control_characters() {
    let (api, web) = guarded_bot().await;
    api.ask_as(&web, "lisi", "hello").await;
    let path = format!("{DEFAULT}/users/{}", user(&api, "lisi").await["id"].as_str().unwrap());
    for bad in ["x".repeat(201), "Li\nSi".to_owned()] {
        let refused = api.patch(&path, json!({ "linked": bad })).await;
        assert_eq!(refused.problem(400, "invalid_field")["field"], "linked");
    }
    for (linked, shown) in [
        (json!("四".repeat(200)), json!("四".repeat(200))),
        (json!("  "), Value::Null),
    ] {
        let after = api.patch(&path, json!({ "linked": linked })).await.ok();
        assert_eq!(after["linked"], shown);
    }
}
