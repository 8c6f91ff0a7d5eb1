//! Scheduled messages and broadcasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::forget::{self, Forgotten};
use tieline_bridge::world::World;
use tieline_core::conversation::{Conversation, ConversationKey};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{ChatId, IntegrationId, OrganizationId, SenderId};
use tieline_store::config::user::{self, User, UserChange};
use tieline_store::{conversation, scheduled};

use crate::people::{dump, is_audit};
use crate::test_api::{self, DEFAULT, TestApi};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The requests that the program behind a bot received: path and body.
type Sent = Arc<Mutex<Vec<(String, String)>>>;

/// A bridge with a bot that can send proactive messages.
async fn speaking() -> (TestApi, String, Sent) {
    let api = TestApi::new().await;
    api.work();
    let (url, sent) = test_api::recording(json!({})).await;
    let body = json!({ "name": "Ops", "platform": "custom", "credentials": { "secret": SECRET }, "endpoints": { "sendUrl": url } });
    let bot = api.create(&format!("{DEFAULT}/integrations"), body).await;
    (api, bot, sent)
}

/// Runs a pass as a process whose clock is this much later.
async fn look(api: &TestApi, later: Duration) {
    let world = World {
        clock: Clock::starting_at(api.world.clock.now().after(later)),
        ..api.world.clone()
    };
    tieline_bridge::scheduled::say_due(&world).await;
}

async fn schedule(api: &TestApi, body: Value) -> Value {
    let made = api.post(&format!("{DEFAULT}/scheduled-messages"), body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()
}

async fn shown(api: &TestApi, id: &Value) -> Value {
    let path = format!("{DEFAULT}/scheduled-messages/{}", id.as_str().unwrap());
    api.get(&path).await.ok()
}

async fn n_messages(api: &TestApi) -> usize {
    let listed = api.get(&format!("{DEFAULT}/messages")).await.ok();
    listed["items"].as_array().unwrap().len()
}

/// Creates a person who has written to the bot.
async fn person(api: &TestApi, bot: &str, name: &str, linked: bool) {
    let (integration, organization) = (IntegrationId::new(bot), OrganizationId::new("default"));
    let (sender, now) = (SenderId::new(name), api.world.clock.now());
    let user = User::first_contact(&organization, &integration, "custom", &sender, now);
    let user = user::ensure(&api.world.store, &user).await.unwrap();
    if linked {
        let change = UserChange {
            linked: Some(Some(format!("known {name}"))),
            ..UserChange::default()
        };
        user::change(&api.world.store, &user, change).await.unwrap();
    }
}

fn in_an_hour(api: &TestApi) -> String {
    api.world.clock.now().after(Duration::from_hours(1)).to_string()
}

#[tokio::test]
async fn scheduled_message_is_sent_on_time_and_once() {
    let (api, bot, sent) = speaking().await;
    let made = schedule(
        &api,
        json!({ "integrationId": bot, "chatId": "ops", "text": "stand-up", "sendAt": in_an_hour(&api) }),
    )
    .await;
    assert_eq!(
        (&made["state"], &made["saidTo"]),
        (&json!("waiting"), &json!(0)),
        "{made}"
    );
    look(&api, Duration::ZERO).await;
    assert_eq!(n_messages(&api).await, 0, "too early");
    let due = Duration::from_secs(3601);
    tokio::join!(look(&api, due), look(&api, due), look(&api, due));
    look(&api, due).await;
    let after = shown(&api, &made["id"]).await;
    assert_eq!(
        (&after["state"], &after["saidTo"]),
        (&json!("said"), &json!(1)),
        "{after}"
    );
    assert_eq!(n_messages(&api).await, 1);
    let listed = api.get(&format!("{DEFAULT}/messages")).await.ok();
    let id = listed["items"][0]["id"].as_str().unwrap();
    api.wait(&format!("{DEFAULT}/messages/{id}"), |_| {
        sent.lock().unwrap().iter().any(|(_, body)| body.contains("stand-up"))
    })
    .await;
}

#[tokio::test]
async fn broadcast_reaches_every_linked_person_once() {
    let (api, bot, _) = speaking().await;
    let other = api.web("Other").await;
    for n in 0..60 {
        person(&api, &bot, &format!("p{n}"), n % 2 == 0).await;
    }
    person(&api, &other, "elsewhere", true).await;
    let made = schedule(
        &api,
        json!({ "integrationId": bot, "everybody": "linked", "card": { "title": "News", "text": "all" } }),
    )
    .await;
    tokio::join!(look(&api, Duration::ZERO), look(&api, Duration::ZERO));
    for _ in 0..3 {
        look(&api, Duration::ZERO).await;
    }
    assert_eq!(shown(&api, &made["id"]).await["state"], "said");
    assert_eq!(shown(&api, &made["id"]).await["saidTo"], 30);
    assert_eq!(n_messages(&api).await, 30);
}

#[tokio::test]
async fn cancelled_message_is_not_sent() {
    let (api, bot, _) = speaking().await;
    let body = json!({ "integrationId": bot, "userId": "lisi", "text": "no", "sendAt": in_an_hour(&api) });
    let made = schedule(&api, body).await;
    let path = format!("{DEFAULT}/scheduled-messages/{}", made["id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 204);
    api.delete(&path).await.problem(409, "already_ended");
    look(&api, Duration::from_hours(2)).await;
    assert_eq!(n_messages(&api).await, 0);
    assert_eq!(shown(&api, &made["id"]).await["state"], "cancelled");
    let listed = api.get(&format!("{DEFAULT}/scheduled-messages")).await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn unsendable_message_has_a_reason() {
    let (api, bot, _) = speaking().await;
    let body = json!({ "integrationId": bot, "chatId": "ops", "text": "x", "sendAt": in_an_hour(&api) });
    let late = schedule(&api, body.clone()).await;
    look(&api, Duration::from_hours(26)).await;
    let after = shown(&api, &late["id"]).await;
    assert_eq!(
        (&after["state"], &after["reason"]),
        (&json!("failed"), &json!("too_late"))
    );

    let path = format!("{DEFAULT}/integrations/{bot}");
    let stopped = schedule(&api, body.clone()).await;
    api.post(&format!("{path}/stop"), Value::Null).await.ok();
    look(&api, Duration::from_hours(2)).await;
    assert_eq!(shown(&api, &stopped["id"]).await["reason"], "integration_stopped");
    let log = api.get(&format!("{path}/logs")).await.ok();
    assert!(log.to_string().contains("schedule_failed"), "{log}");

    api.post(&format!("{path}/start"), Value::Null).await.ok();
    let silent = schedule(&api, body).await;
    let polled = json!({ "endpoints": { "sendUrl": "" }, "credentials": { "secret": SECRET } });
    api.patch(&path, polled).await.ok();
    look(&api, Duration::from_hours(2)).await;
    assert_eq!(shown(&api, &silent["id"]).await["reason"], "not_supported");
}

#[tokio::test]
async fn files_are_sent_by_url_or_by_content() {
    let (api, bot, sent) = speaking().await;
    let path = format!("{DEFAULT}/integrations/{bot}/messages");
    let files = json!([{ "url": "https://files.example/a.pdf", "name": "a.pdf", "mime": "application/pdf" },
        { "bytes": "aGVsbG8=", "name": "note.txt", "mime": "text/plain" }]);
    let said = api
        .post(&path, json!({ "chatId": "ops", "text": "the report", "files": files }))
        .await;
    assert_eq!(said.status, 202, "{}", said.text);
    let id = said.json()["id"].as_str().unwrap().to_owned();
    let is_sent = |part: &str| sent.lock().unwrap().iter().any(|(_, body)| body.contains(part));
    api.wait(&format!("{DEFAULT}/messages/{id}"), |_| {
        is_sent("the report") && is_sent("https://files.example/a.pdf") && is_sent("note.txt")
    })
    .await;
    let alone = api
        .post(
            &path,
            json!({ "chatId": "ops", "files": [{ "bytes": "aGVsbG8=", "name": "b.txt" }] }),
        )
        .await;
    assert_eq!(alone.status, 202, "{}", alone.text);

    let refused = async |files: Value, field: &str| {
        let problem = api
            .post(&path, json!({ "chatId": "ops", "files": files }))
            .await
            .problem(400, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    };
    refused(json!([{ "bytes": "*", "name": "n" }]), "files[0].bytes").await;
    refused(json!([{ "url": "file:///etc/passwd", "name": "n" }]), "files[0].url").await;
    refused(
        json!([{ "url": "https://a.example", "bytes": "AA==", "name": "n" }]),
        "files[0].url",
    )
    .await;
    refused(json!([{ "url": "https://a.example", "name": " " }]), "files[0].name").await;
    refused(
        json!(vec![json!({ "url": "https://a.example", "name": "n" }); 11]),
        "files",
    )
    .await;
}

#[tokio::test]
async fn addresses_of_files_follow_the_rules_of_all_addresses() {
    let api = TestApi::guarded().await;
    let path = format!("{DEFAULT}/integrations/{}/messages", api.web("Bot").await);
    let long = format!("https://files.example/{}", "a".repeat(2048));
    for (url, code) in [
        ("https://127.0.0.1/a.pdf", "private_address"),
        ("http://10.0.0.1/a.pdf", "private_address"),
        ("http://files.example/a.pdf", "invalid_field"),
        ("wss://files.example/a.pdf", "invalid_field"),
        (&long, "invalid_field"),
    ] {
        let file = json!({ "url": url, "name": "a.pdf" });
        let said = api.post(&path, json!({ "chatId": "ops", "files": [file] })).await;
        assert_eq!(said.problem(400, code)["field"], "files[0].url", "{url}");
    }
}

#[tokio::test]
async fn all_mistakes_are_reported_at_once() {
    let (api, bot, _) = speaking().await;
    let path = format!("{DEFAULT}/scheduled-messages");
    let body = json!({ "integrationId": bot, "chatId": "a", "userId": "b", "sendAt": "2001-01-01T00:00:00Z" });
    let problem = api.post(&path, body).await.problem(400, "invalid_field");
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["sendAt", "chatId", "text"], "{problem}");
    let web = api.web("Web").await;
    let silent = json!({ "integrationId": web, "chatId": "a", "text": "x" });
    api.post(&path, silent).await.problem(409, "not_supported");
    let polled = json!({ "name": "Polled", "platform": "custom", "credentials": { "secret": SECRET } });
    let polled = api.create(&format!("{DEFAULT}/integrations"), polled).await;
    let silent = json!({ "integrationId": polled, "chatId": "a", "text": "x" });
    let problem = api.post(&path, silent).await.problem(409, "not_supported");
    assert_eq!(problem["detail"], "without endpoints.sendUrl the bot can only answer");
    let unknown = json!({ "integrationId": "int_none", "chatId": "a", "text": "x" });
    api.post(&path, unknown).await.problem(404, "integration_not_found");
}

/// Creates the conversation of a person in a direct chat whose id is not the person's.
async fn direct_chat(api: &TestApi, bot: &str, chat: &str, person: &str) {
    let key = ConversationKey {
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new(bot),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(chat),
            thread: None,
        },
        sender: Some(SenderId::new(person)),
    };
    let before = Conversation::new(key, api.world.clock.now());
    let mut after = before.clone();
    conversation::save(&api.world.store, &before, &mut after).await.unwrap();
}

#[tokio::test]
async fn messages_to_an_erased_person_are_erased_and_scheduled_ones_not_sent() {
    let (api, bot, sent) = speaking().await;
    for (name, chat) in [
        ("person-to-forget", "room-to-forget"),
        ("person-who-stays", "other-room"),
    ] {
        person(&api, &bot, name, false).await;
        direct_chat(&api, &bot, chat, name).await;
        for to in [json!({ "userId": name }), json!({ "chatId": chat })] {
            let path = format!("{DEFAULT}/integrations/{bot}/messages");
            let mut body = to.clone();
            body["text"] = json!(format!("now to {to}"));
            assert_eq!(api.post(&path, body).await.status, 202);
            let mut body = to.clone();
            body["text"] = json!(format!("later to {to}"));
            body["integrationId"] = json!(bot);
            body["sendAt"] = json!(in_an_hour(&api));
            schedule(&api, body).await;
        }
    }
    let n_sent = || sent.lock().unwrap().len();
    api.wait(&format!("{DEFAULT}/messages"), |_| n_sent() == 4).await;
    let users = api.get(&format!("{DEFAULT}/users")).await.ok();
    let mut users = users["items"].as_array().unwrap().iter();
    let forgotten = users.find(|user| user["externalId"] == "person-to-forget").unwrap();
    let path = format!("{DEFAULT}/users/{}", forgotten["id"].as_str().unwrap());
    api.delete(&path).await.ok();
    let noted = api.get(&format!("{DEFAULT}/audit")).await.ok();
    let actions: Vec<_> = noted["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    let n_of = |action: &str| actions.iter().filter(|it| **it == action).count();
    assert_eq!((n_of("message.send"), n_of("message.schedule")), (4, 4));
    assert!(!noted.to_string().contains("to-forget"), "{noted}");
    let id = forgotten["id"].as_str().unwrap();
    assert_eq!(
        noted.to_string().matches(id).count(),
        3,
        "sent, scheduled and erased: {noted}"
    );

    look(&api, Duration::from_hours(2)).await;
    api.wait(&format!("{DEFAULT}/messages"), |_| n_sent() == 6).await;
    api.get(&path).await.problem(404, "user_not_found");
    let left = api.get(&format!("{DEFAULT}/scheduled-messages")).await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 2, "{left}");
    let left: Vec<_> = dump(&api).await.into_iter().filter(|item| !is_audit(item)).collect();
    let is_any = |part: &str| left.iter().any(|item| item.contains(part));
    assert!(is_any("person-who-stays"));
    let theirs: Vec<_> = left.iter().filter(|item| item.contains("to-forget")).collect();
    assert!(theirs.is_empty(), "{theirs:?}");
    let n_marks = left
        .iter()
        .filter(|item| item.contains("own_000000000000000000000000"))
        .count();
    assert_eq!(n_marks, 2, "markers without the text");
}

/// Replaces the version of the key that has sealed a scheduled message by one that no process has, and makes the message this old.
async fn lose_key(api: &TestApi, id: &Value, age: Duration) {
    let key = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
    let key = HashMap::from([key("pk", "SCHED#default"), key("sk", id.as_str().unwrap())]);
    let found = api
        .dynamo
        .get_item()
        .table_name("test-state")
        .set_key(Some(key.clone()));
    let sealed = found.send().await.unwrap().item.unwrap()["b"].as_b().unwrap().clone();
    let mut sealed = sealed.into_inner();
    sealed[0] = 5;
    let change = api.dynamo.update_item().table_name("test-state").set_key(Some(key));
    let sealed = AttributeValue::B(Blob::new(sealed));
    let made = api.world.clock.now().before(age).as_millis();
    let change = change
        .update_expression("SET b = :b, made = :made")
        .expression_attribute_values(":b", sealed)
        .expression_attribute_values(":made", AttributeValue::N(made.to_string()));
    change.send().await.unwrap();
}

#[tokio::test]
async fn scheduled_message_whose_key_is_lost_does_not_prevent_erasing_a_person() {
    let (api, bot, _) = speaking().await;
    let now = api.world.clock.now();
    let mut users = Vec::new();
    for name in ["forgotten", "staying"] {
        person(&api, &bot, name, false).await;
        direct_chat(&api, &bot, &format!("room-of-{name}"), name).await;
        let id = user::id_of(&IntegrationId::new(&*bot), &SenderId::new(name));
        let found = user::get(&api.world.store, &OrganizationId::new("default"), &id).await;
        users.push(found.unwrap().unwrap());
        for to in [
            json!({ "userId": name }),
            json!({ "chatId": format!("room-of-{name}") }),
        ] {
            let mut body = json!({ "integrationId": bot, "text": "later", "sendAt": in_an_hour(&api) });
            body.as_object_mut().unwrap().extend(to.as_object().unwrap().clone());
            lose_key(&api, &schedule(&api, body).await["id"], Duration::ZERO).await;
        }
    }
    let world = World {
        clock: Clock::starting_at(now.after(Duration::from_hours(2))),
        ..api.world.clone()
    };
    let done = forget::forget(&world, &world.store, &users[0]).await.unwrap();
    assert_eq!(done, Forgotten::Done);
    let left = dump(&api)
        .await
        .into_iter()
        .filter(|item| item.contains("SCHED#"))
        .count();
    assert_eq!(left, 2, "those to the other person");
}

#[tokio::test]
async fn scheduled_message_whose_key_is_lost_is_listed_and_can_be_cancelled() {
    let (api, bot, sent) = speaking().await;
    let body = json!({ "integrationId": bot, "chatId": "ops", "text": "later", "sendAt": in_an_hour(&api) });
    let [readable, cancelled, failing] = [(); 3].map(|()| schedule(&api, body.clone()));
    let (readable, cancelled, failing) = (readable.await, cancelled.await, failing.await);
    let list = format!("{DEFAULT}/scheduled-messages");
    // Another process may just have created the key.
    lose_key(&api, &cancelled["id"], Duration::from_mins(59)).await;
    api.get(&list).await.problem(503, "unavailable");
    for lost in [&cancelled, &failing] {
        lose_key(&api, &lost["id"], Duration::from_mins(61)).await;
    }
    let listed = api.get(&list).await.ok();
    let of = |made: &Value| {
        let mut items = listed["items"].as_array().unwrap().iter();
        items.find(|item| item["id"] == made["id"]).unwrap().clone()
    };
    assert_eq!(
        (&of(&readable)["chatId"], &of(&readable)["reason"]),
        (&json!("ops"), &Value::Null)
    );
    for lost in [&cancelled, &failing] {
        let shown = of(lost);
        assert_eq!(
            [&shown["state"], &shown["reason"], &shown["chatId"], &shown["sendAt"]],
            [&json!("waiting"), &json!("unreadable"), &Value::Null, &lost["sendAt"]]
        );
    }
    let path = format!("{list}/{}", cancelled["id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 204);
    api.delete(&path).await.problem(409, "already_ended");

    look(&api, Duration::from_mins(121)).await;
    for (made, state, reason) in [
        (&readable, "said", Value::Null),
        (&cancelled, "cancelled", json!("unreadable")),
        (&failing, "failed", json!("unreadable")),
    ] {
        let shown = shown(&api, &made["id"]).await;
        assert_eq!((&shown["state"], &shown["reason"]), (&json!(state), &reason), "{shown}");
    }
    // The runner sends it after it is handed over.
    let is_sent = |_: &Value| sent.lock().unwrap().len() == 1;
    let listed = api.wait(&format!("{DEFAULT}/messages"), is_sent).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let left = dump(&api)
        .await
        .into_iter()
        .filter(|item| item.contains("\"DUE\""))
        .count();
    assert_eq!(left, 0, "no pass tries the unreadable one again");
}

#[tokio::test]
async fn message_is_not_cancelled_nor_its_recipient_erased_once_its_sending_has_begun() {
    let (api, bot, _) = speaking().await;
    person(&api, &bot, "lisi", true).await;
    let begun = async |to: Value| {
        let mut body = json!({ "integrationId": bot, "text": "yes", "sendAt": in_an_hour(&api) });
        body.as_object_mut().unwrap().extend(to.as_object().unwrap().clone());
        let id = schedule(&api, body).await["id"].as_str().unwrap().to_owned();
        let (store, organization) = (&api.world.store, OrganizationId::new("default"));
        let found = scheduled::get(store, &organization, &id, api.world.clock.now()).await;
        let mut message = found.unwrap().unwrap().open(store, Duration::ZERO).unwrap().unwrap();
        message.begun = true;
        scheduled::save(store, &mut message).await.unwrap();
        format!("{DEFAULT}/scheduled-messages/{id}")
    };
    let one = begun(json!({ "userId": "lisi" })).await;
    api.delete(&one).await.problem(409, "already_ended");
    let users = api.get(&format!("{DEFAULT}/users")).await.ok();
    let lisi = format!("{DEFAULT}/users/{}", users["items"][0]["id"].as_str().unwrap());
    api.delete(&lisi).await.problem(409, "user_busy");
    let many = begun(json!({ "everybody": "linked" })).await;
    assert_eq!(api.delete(&many).await.status, 204, "the following pages are not sent");

    look(&api, Duration::from_hours(2)).await;
    assert_eq!(
        (
            shown(&api, &json!(one.rsplit('/').next())).await["state"].clone(),
            n_messages(&api).await
        ),
        (json!("said"), 1)
    );
    api.delete(&lisi).await.ok();
}
