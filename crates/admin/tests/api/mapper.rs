//! Mapper of an organization, which resolves accounts to known persons.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tieline_core::webhook_signature::SigningKeys;

use crate::test_api::{DEFAULT, TestApi, dead_address};

const SECRET: &str = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw==";
const REFUSED: &str = "This bot answers people whom your organization knows";

/// A mapper with configurable answers, which records what it is asked.
struct FakeMapper {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<(StatusCode, String)>>,
}

impl FakeMapper {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/map", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let answer = Arc::new(Mutex::new((StatusCode::OK, json!({ "unknown": true }).to_string())));
        let (seen, now) = (Arc::clone(&asked), Arc::clone(&answer));
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            let (id, at) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
            let keys = SigningKeys::read(&[SECRET]).unwrap();
            assert!(keys.verify(&id, at, &body, &header("webhook-signature")));
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["id"], id.as_str());
            seen.lock().unwrap().push(body);
            now.lock().unwrap().clone()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked, answer }
    }

    fn answers(&self, status: StatusCode, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn knows(&self, id: &str, name: &str) {
        let person = json!({ "person": { "id": id, "name": name, "email": "li@example.com" } });
        self.answers(StatusCode::OK, person.to_string());
    }

    /// The accounts that it was asked about.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let ids = asked.iter().map(|body| body["user"]["externalId"].as_str().unwrap());
        ids.filter(|id| *id != "tieline-doctor").map(str::to_owned).collect()
    }
}

/// A bridge with an English web bot, whose organization has this mapper.
async fn bridge(mapper: &FakeMapper, unknown: &str) -> (TestApi, String) {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let bot = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    api.trigger(&bot, &agent).await;
    let body = json!({ "url": mapper.url, "secret": SECRET, "unknown": unknown });
    api.patch(&format!("{DEFAULT}/mapper"), body).await.ok();
    api.work();
    (api, bot)
}

async fn user(api: &TestApi, external_id: &str) -> Value {
    let listed = api.get(&format!("{DEFAULT}/users")).await.ok();
    let users = listed["items"].as_array().unwrap().clone();
    users
        .into_iter()
        .find(|user| user["externalId"] == external_id)
        .unwrap()
}

async fn map(api: &TestApi, external_id: &str) -> Value {
    let id = user(api, external_id).await["id"].as_str().unwrap().to_owned();
    api.post(&format!("{DEFAULT}/users/{id}/map"), Value::Null).await.ok()
}

/// Detail and level of the doctor's check of user mapping.
async fn mapping_check(api: &TestApi, bot: &str) -> (String, String) {
    let found = api
        .post(&format!("{DEFAULT}/integrations/{bot}/doctor"), Value::Null)
        .await;
    let found = found.ok();
    let checks = found["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "user_mapping").unwrap();
    let text = |field: &str| check[field].as_str().unwrap().to_owned();
    (text("level"), text("detail"))
}

#[tokio::test]
async fn mapper_names_a_person_on_first_contact_and_is_asked_once() {
    let mapper = FakeMapper::start().await;
    mapper.knows("E-7", "Li Si");
    let (api, bot) = bridge(&mapper, "refuse").await;
    for text in ["hello", "again"] {
        assert!(api.ask_as(&bot, "lisi", text).await.contains(text));
    }
    assert_eq!(mapper.asked(), ["lisi"]);
    let asked = mapper.asked.lock().unwrap()[0].clone();
    assert_eq!(asked["platform"], "web", "{asked}");
    assert_eq!(asked["organization"]["id"], "default", "{asked}");
    assert_eq!(asked["integration"], json!({ "id": bot, "name": "Web" }), "{asked}");
    let user = user(&api, "lisi").await;
    assert_eq!(asked["user"]["id"], user["id"], "{asked}");
    assert_eq!((&user["linked"], &user["linkedBy"]), (&json!("E-7"), &json!("mapper")));
    assert_eq!(
        (&user["name"], &user["email"]),
        (&json!("Li Si"), &json!("li@example.com"))
    );
    assert_eq!(user["mapping"]["answer"], "person");
    assert_eq!(mapping_check(&api, &bot).await.0, "ok");
}

#[tokio::test]
async fn unknown_person_is_refused_only_if_the_organization_wants_that() {
    let mapper = FakeMapper::start().await;
    let (api, bot) = bridge(&mapper, "refuse").await;
    for _ in 0..2 {
        let told = api.ask_as(&bot, "lisi", "hello").await;
        assert!(told.starts_with(REFUSED), "{told}");
    }
    assert_eq!(mapper.asked(), ["lisi"]);
    let refused = api
        .wait(&format!("{DEFAULT}/messages?state=refused"), |page| {
            page["items"].as_array().is_some_and(|items| items.len() == 2)
        })
        .await;
    assert_eq!(refused["items"][0]["reason"], "mapper_unknown_person", "{refused}");
    let (level, detail) = mapping_check(&api, &bot).await;
    assert!(
        level == "warning" && detail.contains("does not know their sender"),
        "{detail}"
    );

    let path = format!("{DEFAULT}/mapper");
    api.patch(&path, json!({ "unknown": "allow" })).await.ok();
    assert!(api.ask_as(&bot, "lisi", "and now?").await.contains("and now?"));
    assert_eq!(user(&api, "lisi").await["linked"], Value::Null);
    let (level, detail) = mapping_check(&api, &bot).await;
    assert!(level == "warning", "{detail}");

    api.patch(&path, json!({ "unknown": "refuse" })).await.ok();
    mapper.knows("E-7", "Li Si");
    let mapped = map(&api, "lisi").await;
    assert_eq!(
        (&mapped["ok"], &mapped["user"]["linked"]),
        (&json!(true), &json!("E-7"))
    );
    assert!(api.ask_as(&bot, "lisi", "known now").await.contains("known now"));
}

#[tokio::test]
async fn failing_mapper_refuses_no_message() {
    let mapper = FakeMapper::start().await;
    let (api, bot) = bridge(&mapper, "refuse").await;
    let bad = [
        (StatusCode::SERVICE_UNAVAILABLE, "{\"unknown\":true}".to_owned()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, format!("{{\"unknown\":true{}}}", " ".repeat(20_000))),
    ];
    for (n, (status, body)) in bad.into_iter().enumerate() {
        mapper.answers(status, body);
        let person = format!("person{n}");
        assert!(api.ask_as(&bot, &person, "hello").await.contains("hello"), "{person}");
        let user = user(&api, &person).await;
        assert!(
            user["mapping"]["error"].is_string() && user["linked"].is_null(),
            "{user}"
        );
    }
    let n_asked = mapper.asked().len();
    assert!(api.ask_as(&bot, "person0", "again").await.contains("again"));
    assert_eq!(mapper.asked().len(), n_asked, "it is left alone for a while");
    let (level, detail) = mapping_check(&api, &bot).await;
    assert!(level == "failed" && detail.contains("can't be asked"), "{detail}");
    let log = api.get(&format!("{DEFAULT}/integrations/{bot}/logs")).await;
    assert!(log.text.contains("mapper_unreachable"), "{}", log.text);

    // Its earlier answer is still valid.
    mapper.knows("E-7", "Li Si");
    map(&api, "person0").await;
    api.patch(
        &format!("{DEFAULT}/mapper"),
        json!({ "url": dead_address(), "secret": SECRET }),
    )
    .await
    .ok();
    let mapped = map(&api, "person0").await;
    assert_eq!(
        (&mapped["ok"], &mapped["user"]["linked"]),
        (&json!(false), &json!("E-7")),
        "{mapped}"
    );
    assert!(!mapped["detail"].as_str().unwrap().contains("127.0.0.1"), "{mapped}");
}

#[tokio::test]
async fn operators_link_overrides_the_mapper() {
    let mapper = FakeMapper::start().await;
    let (api, bot) = bridge(&mapper, "refuse").await;
    api.ask_as(&bot, "lisi", "hello").await;
    let id = user(&api, "lisi").await["id"].as_str().unwrap().to_owned();
    let path = format!("{DEFAULT}/users/{id}");
    api.patch(&path, json!({ "linked": "HR-1", "name": "Li" })).await.ok();
    assert!(api.ask_as(&bot, "lisi", "let me in").await.contains("let me in"));
    mapper.knows("E-7", "Li Si");
    let mapped = map(&api, "lisi").await["user"].clone();
    assert_eq!(
        (&mapped["linked"], &mapped["linkedBy"]),
        (&json!("HR-1"), &json!("operator"))
    );
    assert_eq!(mapped["name"], "Li");
    let n_asked = mapper.asked().len();
    api.patch(&path, json!({ "linked": null })).await.ok();
    assert!(api.ask_as(&bot, "lisi", "and now?").await.contains("and now?"));
    assert_eq!(
        mapper.asked().len(),
        n_asked + 1,
        "without a link the mapper is asked again"
    );
    assert_eq!(user(&api, "lisi").await["linked"], "E-7");
}

#[tokio::test]
async fn settings_are_validated_and_the_secret_is_bound_to_its_origin() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/mapper");
    assert_eq!(api.get(&path).await.ok()["url"], Value::Null);
    for (body, field) in [
        (json!({ "secret": SECRET }), "url"),
        (json!({ "url": "http://a.example" }), "secret"),
        (json!({ "url": "http://a.example", "secret": "short" }), "secret"),
        (json!({ "url": "ftp://a.example", "secret": SECRET }), "url"),
        (
            json!({ "url": "http://a.example", "secret": SECRET, "unknown": "maybe" }),
            "unknown",
        ),
    ] {
        let problem = api.patch(&path, body).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
    api.patch(&path, json!({ "uri": "x" }))
        .await
        .problem(400, "unknown_field");
    let guarded = TestApi::guarded().await;
    let body = json!({ "url": "https://127.0.0.1/map", "secret": SECRET });
    guarded.patch(&path, body).await.problem(400, "private_address");

    let set = api
        .patch(&path, json!({ "url": "https://a.example/map", "secret": SECRET }))
        .await;
    assert_eq!(set.ok()["unknown"], "allow");
    let shown = api.get(&path).await;
    assert!(
        shown.text.contains("\"***\"") && !shown.text.contains(SECRET),
        "{}",
        shown.text
    );
    api.patch(&path, json!({ "url": "https://a.example/v2", "secret": "***" }))
        .await
        .ok();
    let moved = api.patch(&path, json!({ "url": "https://b.example/map" })).await;
    assert_eq!(moved.problem(400, "invalid_field")["field"], "secret");
    // Changing the organization's name keeps the mapper.
    api.patch(DEFAULT, json!({ "name": "Ours" })).await.ok();
    assert_eq!(api.get(&path).await.ok()["url"], "https://a.example/v2");
    let audit = api.get(&format!("{DEFAULT}/audit")).await;
    assert!(
        audit.text.contains("mapper.update") && !audit.text.contains(SECRET),
        "{}",
        audit.text
    );

    let other = api.organization("acme", "admin").await;
    let acme = "/api/v1/orgs/acme/mapper";
    api.ask(
        &other,
        "PATCH",
        acme,
        &json!({ "url": "https://c.example", "secret": SECRET }),
    )
    .await
    .ok();
    api.ask(&other, "GET", &path, &Value::Null)
        .await
        .problem(404, "organization_not_found");
    let viewer = api.organization("acme", "viewer").await;
    api.ask(&viewer, "DELETE", acme, &Value::Null)
        .await
        .problem(403, "forbidden");
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.ok()["url"], Value::Null);
    assert_eq!(api.get(acme).await.ok()["url"], "https://c.example");
}

#[tokio::test]
async fn mapper_is_applied_and_exported() {
    let api = TestApi::new().await;
    let apply = async |file: &str| api.post(&format!("{DEFAULT}/apply"), json!({ "file": file })).await;
    let file = |mapper: &str| format!("organizations: [{{id: default, mapper: {mapper}}}]");
    let given = format!("{{url: 'https://a.example/map', secret: '{SECRET}', unknown: refuse}}");
    let done = apply(&file(&given)).await;
    assert_eq!(done.ok()["updated"], 1, "{}", done.text);
    assert!(!done.text.contains(SECRET), "{}", done.text);
    assert_eq!(apply(&file(&given)).await.ok()["updated"], 0);
    let exported = api.get(&format!("{DEFAULT}/export")).await.text;
    assert!(
        exported.contains("unknown: refuse") && !exported.contains(SECRET),
        "{exported}"
    );
    assert_eq!(apply(&exported).await.ok()["updated"], 0, "{exported}");
    assert_eq!(apply("organizations: [{id: default}]").await.ok()["updated"], 0);
    let wrong = apply(&file("{url: 'https://a.example', unknown: maybe}")).await;
    assert_eq!(
        wrong.problem(400, "invalid_file")["errors"][0]["field"],
        "organizations[0].mapper.unknown"
    );
    let moved = apply(&file("{url: 'https://b.example'}")).await;
    assert_eq!(
        moved.problem(400, "invalid_file")["errors"][0]["field"],
        "organizations[0].mapper.secret"
    );
    assert_eq!(apply(&file("null")).await.ok()["updated"], 1);
    assert_eq!(api.get(&format!("{DEFAULT}/mapper")).await.ok()["url"], Value::Null);
}

#[tokio::test]
async fn hanging_mapper_delays_questions_for_seconds_and_commands_not_at_all() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = FakeMapper {
        url,
        asked: Arc::default(),
        answer: Arc::new(Mutex::new((StatusCode::OK, String::new()))),
    };
    let (api, bot) = bridge(&silent, "refuse").await;
    let begun = std::time::Instant::now();
    let (answer, status) = tokio::join!(api.ask_as(&bot, "lisi", "hello"), async {
        let status = api.ask_as(&bot, "boss", "/status").await;
        (status, begun.elapsed())
    });
    assert!(status.1 < Duration::from_secs(3), "{status:?}");
    assert!(answer.contains("hello"), "{answer}");
    drop(listener);
}
