//! Strangers who are let in by a code, and people who link themselves.

use serde_json::{Value, json};

use crate::place::{DEFAULT, Place};

/// A place with an English web bot that strangers may ask to use.
async fn guarded_bot() -> (Place, String) {
    let place = Place::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let integration = place.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = place.echo("Echo").await;
    let trigger =
        json!({ "integrationId": integration, "agentId": agent, "access": { "users": ["boss"], "pairing": true } });
    place.create(&format!("{DEFAULT}/triggers"), trigger).await;
    place.work();
    (place, integration)
}

/// The code in the sentence that a stranger is told.
fn code_in(text: &str) -> String {
    let (_, rest) = text
        .split_once("this bot: ")
        .unwrap_or_else(|| panic!("no code: {text}"));
    rest.lines().next().unwrap().to_owned()
}

async fn user(place: &Place, external_id: &str) -> Value {
    let listed = place.get(&format!("{DEFAULT}/users")).await.ok();
    let users = listed["items"].as_array().unwrap().clone();
    users
        .into_iter()
        .find(|user| user["externalId"] == external_id)
        .unwrap()
}

async fn pairings(place: &Place) -> Vec<Value> {
    let listed = place.get(&format!("{DEFAULT}/pairings")).await.ok();
    listed["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn stranger_is_let_in_by_the_code_they_were_shown() {
    let (place, web) = guarded_bot().await;
    let code = code_in(&place.ask_as(&web, "lisi", "hello").await);
    assert_eq!(
        code_in(&place.ask_as(&web, "lisi", "hello?").await),
        code,
        "one code while it is good"
    );
    let waiting = pairings(&place).await;
    assert_eq!((waiting.len(), &waiting[0]["externalId"]), (1, &json!("lisi")));
    assert!(
        !waiting[0].to_string().contains(&code),
        "the code is the stranger's alone"
    );

    let path = format!("{DEFAULT}/pairings/approve");
    let body = json!({ "integrationId": web, "code": format!("{}-{}", &code[..4].to_lowercase(), &code[4..]) });
    assert_eq!(place.post(&path, body.clone()).await.ok()["name"], "lisi");
    place.post(&path, body).await.problem(404, "pairing_not_found");
    assert_eq!(user(&place, "lisi").await["admitted"], true);
    assert!(place.ask_as(&web, "lisi", "here I am").await.contains("here I am"));

    let id = user(&place, "lisi").await["id"].as_str().unwrap().to_owned();
    place
        .patch(&format!("{DEFAULT}/users/{id}"), json!({ "admitted": false }))
        .await
        .ok();
    code_in(&place.ask_as(&web, "lisi", "and now?").await);
}

#[tokio::test]
async fn at_most_three_strangers_wait_and_each_is_decided_by_id() {
    let (place, web) = guarded_bot().await;
    for stranger in ["a", "b", "c"] {
        code_in(&place.ask_as(&web, stranger, "hello").await);
    }
    assert!(place.ask_as(&web, "d", "hello").await.contains("others are waiting"));
    let waiting = pairings(&place).await;
    assert_eq!(waiting.len(), 3);
    let path = |at: usize, verb: &str| format!("{DEFAULT}/pairings/{}/{verb}", waiting[at]["id"].as_str().unwrap());
    place.post(&path(0, "deny"), Value::Null).await.ok();
    place.post(&path(1, "approve"), Value::Null).await.ok();
    place
        .post(&path(1, "approve"), Value::Null)
        .await
        .problem(404, "pairing_not_found");
    assert_eq!(user(&place, "a").await["admitted"], false);
    assert_eq!(user(&place, "b").await["admitted"], true);
    let audit = place.get(&format!("{DEFAULT}/audit")).await.ok();
    let target = |action: &str| {
        let entries = audit["items"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["action"] == action).unwrap();
        entry["target"]["id"].clone()
    };
    assert_eq!(target("pairing.approve"), user(&place, "b").await["id"]);
    assert_eq!(target("pairing.deny"), user(&place, "a").await["id"]);
    code_in(&place.ask_as(&web, "d", "hello").await);
}

#[tokio::test]
async fn wrong_codes_are_slowed() {
    let (place, web) = guarded_bot().await;
    let code = code_in(&place.ask_as(&web, "lisi", "hello").await);
    let path = format!("{DEFAULT}/pairings/approve");
    let guess = |code: &str| json!({ "integrationId": web, "code": code });
    place
        .post(&path, guess("AAAAAAAA"))
        .await
        .problem(404, "pairing_not_found");
    place.post(&path, guess(&code)).await.problem(429, "too_many_guesses");
    let body = json!({ "integrationId": "int_nothing", "code": code });
    place.post(&path, body).await.problem(404, "integration_not_found");
}

#[tokio::test]
async fn linked_person_approves_in_the_chat() {
    let (place, web) = guarded_bot().await;
    let code = code_in(&place.ask_as(&web, "lisi", "hello").await);
    assert!(
        place
            .ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("Only people")
    );
    let link = place
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": "Zhang Wei" }))
        .await
        .ok();
    let link = link["code"].as_str().unwrap();
    assert!(
        place
            .ask_as(&web, "boss", &format!("/link {link}"))
            .await
            .contains("linked to Zhang Wei")
    );
    assert_eq!(user(&place, "boss").await["linked"], "Zhang Wei");
    assert!(
        place
            .ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("lisi may use this bot")
    );
    assert!(place.ask_as(&web, "lisi", "thanks").await.contains("thanks"));
    assert!(
        place
            .ask_as(&web, "boss", &format!("/approve {code}"))
            .await
            .contains("not valid")
    );
}

#[tokio::test]
async fn link_code_is_for_one_person_and_guesses_are_slowed() {
    let (place, web) = guarded_bot().await;
    let made = place
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": "Zhang Wei" }))
        .await
        .ok();
    let link = format!("/link {}", made["code"].as_str().unwrap());
    assert!(place.ask_as(&web, "boss", &link).await.contains("Zhang Wei"));
    let code = code_in(&place.ask_as(&web, "lisi", "hello").await);
    place
        .post(
            &format!("{DEFAULT}/pairings/approve"),
            json!({ "integrationId": web, "code": code }),
        )
        .await
        .ok();
    assert!(
        place.ask_as(&web, "lisi", &link).await.contains("not valid"),
        "taken by another"
    );
    assert!(place.ask_as(&web, "lisi", &link).await.contains("Too many wrong codes"));
    assert_eq!(user(&place, "lisi").await["linked"], Value::Null);
    let problem = place
        .post(&format!("{DEFAULT}/link-codes"), json!({ "linked": " " }))
        .await;
    assert_eq!(problem.problem(400, "invalid_field")["field"], "linked");
}

fn is_audit(item: &str) -> bool {
    item.contains("AUDIT#")
}

/// All items of the tables, as text.
async fn dump(place: &Place) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["test-config", "test-state"] {
        let page = place.dynamo.scan().table_name(table).send().await.unwrap();
        assert!(page.last_evaluated_key().is_none(), "more than one page");
        all.extend(page.items().iter().map(|item| format!("{item:?}")));
    }
    all
}

#[tokio::test]
async fn nothing_of_a_forgotten_person_remains_in_the_tables() {
    let place = Place::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let web = place.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = place.echo("Echo").await;
    let trigger = json!({ "integrationId": web, "agentId": agent, "taskMode": true });
    place.create(&format!("{DEFAULT}/triggers"), trigger).await;
    place.work();
    let (forgotten, other) = ("person-to-forget", "person-who-stays");
    place.ask_as(&web, other, "hello").await;
    place.ask_as(&web, other, "/task Other things").await;
    let before = dump(&place).await.iter().filter(|item| !is_audit(item)).count();
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
        place.ask_as(&web, forgotten, text).await;
    }
    let messages = format!("{DEFAULT}/messages?limit=200");
    let is_done = |list: &Value| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["state"] != "queued" && it["state"] != "running")
    };
    place.wait(&messages, is_done).await;
    assert!(dump(&place).await.iter().any(|item| item.contains(forgotten)));

    let id = user(&place, forgotten).await["id"].as_str().unwrap().to_owned();
    let path = format!("{DEFAULT}/users/{id}");
    place
        .wait(&format!("{DEFAULT}/integrations/{web}/conversations"), |list| {
            list["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["running"] == false)
        })
        .await;
    place.patch(&path, json!({ "name": "Li Si" })).await.ok();
    place.delete(&path).await.ok();
    place.get(&path).await.problem(404, "user_not_found");
    let left = dump(&place).await;
    let theirs: Vec<_> = left
        .iter()
        .filter(|item| item.contains(forgotten) || item.contains(&id))
        .collect();
    assert!(theirs.is_empty(), "{theirs:?}");
    // Only marks of their messages remain, without words: against a platform that delivers them again.
    let n_marks = left.iter().filter(|item| item.contains("\"pm\": S(\"\")")).count();
    let others = left
        .iter()
        .filter(|item| !is_audit(item) && !item.contains("\"pm\": S(\"\")"))
        .count();
    assert_eq!((n_marks, others), (9, before));
    assert!(left.iter().any(|item| item.contains(other)));
    // The audit log has a digest of who was forgotten, and no name.
    let audit = place.get(&format!("{DEFAULT}/audit")).await;
    let entries = audit.ok()["items"].clone();
    let mut entries = entries.as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["action"] == "user.delete").unwrap();
    assert_eq!(entry["target"], json!({ "kind": "user", "id": id, "name": null }));
    assert!(
        !audit.text.contains(forgotten) && !audit.text.contains("Li Si"),
        "{audit:?}"
    );
    place.delete(&path).await.problem(404, "user_not_found");
}
