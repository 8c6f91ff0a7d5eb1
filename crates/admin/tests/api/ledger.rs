//! Messages, dead letters, conversations, people.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId};
use tieline_core::message_state::LedgerStep;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message;

use crate::test_api::{DEFAULT, TestApi, changing, dead_address};

#[tokio::test]
async fn ledger_has_every_step() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    let message = api.say(&web, "hello").await;
    let path = format!("{DEFAULT}/messages/{message}");
    let shown = api.wait(&path, |it| it["state"] == "answered").await;
    let steps: Vec<&str> = shown["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps.first(), Some(&"received"), "{steps:?}");
    assert!(steps.contains(&"dispatched"), "{steps:?}");
    assert!(
        shown["runId"].is_string() && shown["conversationId"].is_string(),
        "{shown}"
    );
    assert!(!shown.to_string().contains("hello"), "{shown}");
    let list = async |filter: &str| {
        let found = api.get(&format!("{DEFAULT}/messages?{filter}")).await.ok();
        found["items"].as_array().unwrap().len()
    };
    assert_eq!(list("state=answered").await, 1);
    assert_eq!(list("state=failed").await, 0);
    assert_eq!(list(&format!("integrationId={web}")).await, 1);
    let conversation = shown["conversationId"].as_str().unwrap();
    assert_eq!(list(&format!("conversationId={conversation}")).await, 1);
    assert_eq!(list("conversationId=cnv_nothing").await, 0);
}

/// An agent that can't be reached, and a message to it.
async fn unanswered(api: &TestApi) -> (String, String) {
    let web = api.web("Web").await;
    let config = json!({ "baseUrl": dead_address(), "model": "m" });
    let body = json!({ "name": "Dead", "protocol": "openai_chat", "config": config });
    let agent = api.create(&format!("{DEFAULT}/agents"), body).await;
    api.trigger(&web, &agent).await;
    let message = api.say(&web, "hello").await;
    (agent, message)
}

#[tokio::test]
async fn redriven_dead_letter_is_answered() {
    let api = TestApi::new().await;
    api.work();
    let (agent, message) = unanswered(&api).await;
    let path = format!("{DEFAULT}/messages/{message}");
    api.wait(&path, |it| it["state"] == "failed").await;
    let letters = api.get(&format!("{DEFAULT}/deadletters")).await.ok();
    assert_eq!(letters["items"][0]["messageId"], message.as_str(), "{letters}");
    let letter = letters["items"][0]["id"].as_str().unwrap();

    api.patch(&format!("{DEFAULT}/agents/{agent}"), json!({ "protocol": "echo" }))
        .await
        .ok();
    let redrive = format!("{DEFAULT}/deadletters/{letter}/redrive");
    let sent = api.post(&redrive, Value::Null).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let shown = api.wait(&path, |it| it["state"] == "answered").await;
    assert_eq!(shown["redrives"], 1);
    let again = api.post(&redrive, Value::Null).await;
    again.problem(404, "deadletter_not_found");
}

#[tokio::test]
async fn letters_that_cannot_be_redriven_do_not_hide_those_that_can() {
    let api = TestApi::new().await;
    api.work();
    let (agent, message) = unanswered(&api).await;
    let path = format!("{DEFAULT}/messages/{message}");
    let shown = api.wait(&path, |it| it["state"] == "failed").await;
    let now = api.world.clock.now();
    for n in 1..=250 {
        let gone = DeadLetter {
            message: MessageId::new(format!("msg_gone{n}")),
            organization: OrganizationId::new("default"),
            integration: Some(IntegrationId::new("int_deleted")),
            conversation: None,
            received_at: now.after(Duration::from_secs(n)),
            failed_at: now.after(Duration::from_secs(n)),
            reason: "connect".into(),
            body: None,
        };
        deadletter::put(&api.world.store, &gone).await.unwrap();
    }
    api.patch(&format!("{DEFAULT}/agents/{agent}"), json!({ "protocol": "echo" }))
        .await
        .ok();

    let redrive = format!("{DEFAULT}/deadletters/redrive");
    let since = &shown["receivedAt"];
    let first = api.post(&redrive, json!({ "since": since })).await.ok();
    assert_eq!((&first["redriven"], &first["hasMore"]), (&json!(0), &json!(true)));
    assert_eq!(first["skipped"].as_array().unwrap().len(), 200);
    assert_eq!(first["skipped"][0]["code"], "message_gone");
    let next = json!({ "since": since, "cursor": first["nextCursor"] });
    let rest = api.post(&redrive, next).await.ok();
    assert_eq!(
        (&rest["redriven"], &rest["hasMore"], &rest["nextCursor"]),
        (&json!(1), &json!(false), &Value::Null)
    );
    assert_eq!(rest["skipped"].as_array().unwrap().len(), 50);
    api.wait(&path, |it| it["state"] == "answered").await;
    let refused = api.post(&redrive, json!({ "since": since, "cursor": "!" })).await;
    assert_eq!(refused.problem(400, "invalid_field")["field"], "cursor");
}

#[tokio::test]
async fn refused_reply_is_sent_again_by_redrive() {
    let api = TestApi::new().await;
    api.work();
    let well = json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" },
        "data": { "message_id": "om_1", "card_id": "card_1" } });
    let (platform, answer) = changing(json!({ "code": 230_002, "msg": "the bot is not in the chat" })).await;
    let credentials = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": platform } });
    let bot = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let say = json!({ "chatId": "oc_somewhere", "text": "The build is green." });
    let said = api
        .post(&format!("{DEFAULT}/integrations/{bot}/messages"), say)
        .await
        .ok();
    let message = said["id"].as_str().unwrap();
    let path = format!("{DEFAULT}/messages/{message}");
    api.wait(&path, |it| it["state"] == "failed").await;
    let failed = api.get(&format!("{DEFAULT}/messages?state=failed")).await.ok();
    assert_eq!(failed["items"][0]["id"], message, "{failed}");
    let status = api.get(&format!("{DEFAULT}/integrations/{bot}/status")).await.ok();
    assert_ne!(status["state"], "connected", "no request has arrived: {status}");

    *answer.lock().unwrap() = well;
    let letters = api.get(&format!("{DEFAULT}/deadletters")).await.ok();
    assert_eq!(letters["items"][0]["messageId"], message, "{letters}");
    // A process that dies before it records the end of a command is replaced by one that does it later.
    let late = LedgerStep::new(api.world.clock.now(), "commanded");
    message::note(&api.world.store, &MessageId::new(message), &[late])
        .await
        .unwrap();
    // The message's id in the ledger is accepted in place of the dead letter's id.
    let redrive = format!("{DEFAULT}/deadletters/{message}/redrive");
    let sent = api.post(&redrive, Value::Null).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let last = |it: &Value| it["steps"].as_array().unwrap().last().unwrap()["step"].clone();
    let shown = api.wait(&path, |it| last(it) == "delivered").await;
    assert_eq!((&shown["state"], &shown["redrives"]), (&json!("commanded"), &json!(1)));
    api.post(&redrive, Value::Null)
        .await
        .problem(404, "deadletter_not_found");
}

#[tokio::test]
async fn search_finds_messages_without_a_conversation() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    let refused = api.say(&web, "hello").await;
    let path = format!("{DEFAULT}/messages/{refused}");
    let shown = api.wait(&path, |it| it["state"] == "refused").await;
    let conversation = shown["conversationId"].as_str().unwrap();
    let filter = format!("{DEFAULT}/messages?conversationId={conversation}");
    let list = async |filter: &str| api.get(filter).await.ok()["items"].as_array().unwrap().len();
    assert_eq!(list(&filter).await, 1);
    api.trigger(&web, &agent).await;
    let of_the_bot = format!("{DEFAULT}/messages?integrationId={web}");
    api.delete(&format!("{DEFAULT}/integrations/{web}?force=true"))
        .await
        .ok();
    assert_eq!(list(&of_the_bot).await, 1, "it was deleted, and its ledger stays");
    let stranger = api.organization("other", "admin").await;
    let theirs = format!("/api/v1/orgs/other/messages?integrationId={web}");
    let found = api.ask(&stranger, "GET", &theirs, &Value::Null).await.ok();
    assert_eq!(found, json!({ "items": [], "nextCursor": null }));
}

#[tokio::test]
async fn a_conversation_is_shown_searched_and_reset() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    let message = api.say(&web, "hello").await;
    api.wait(&format!("{DEFAULT}/messages/{message}"), |it| it["state"] == "answered")
        .await;
    let path = format!("{DEFAULT}/integrations/{web}/conversations");
    let shown = api.wait(&path, |it| it["items"][0]["running"] == false).await;
    let found = &shown["items"][0];
    assert_eq!(
        (&found["chatType"], &found["chatId"], &found["senderId"]),
        (&json!("direct"), &json!("c"), &json!("lisi"))
    );
    assert_eq!(found["agentId"], agent.as_str());
    let none = api.get(&format!("{path}?search=wangwu")).await.ok();
    assert_eq!(none["items"], json!([]));
    let id = found["id"].as_str().unwrap();
    let exact = api.get(&format!("{path}?search={id}&limit=1")).await.ok();
    assert_eq!(
        (&exact["items"][0]["id"], &exact["nextCursor"]),
        (&found["id"], &Value::Null)
    );
    let elsewhere = api.web("Elsewhere").await;
    for (bot, search) in [(&elsewhere, id), (&web, &*"c".repeat(3000))] {
        let none = format!("{DEFAULT}/integrations/{bot}/conversations?search={search}");
        assert_eq!(api.get(&none).await.ok()["items"], json!([]));
    }
    let reset = api.post(&format!("{path}/{id}/reset"), Value::Null).await.ok();
    assert_ne!(reset["sessionId"], found["sessionId"]);
    api.post(&format!("{path}/cnv_nothing/reset"), Value::Null)
        .await
        .problem(404, "conversation_not_found");
}

#[tokio::test]
async fn cursor_of_another_list_is_refused() {
    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let bot = format!("{DEFAULT}/integrations/{web}");
    let timed = [
        format!("{bot}/logs"),
        format!("{DEFAULT}/messages"),
        format!("{DEFAULT}/messages?integrationId={web}"),
        format!("{DEFAULT}/deadletters"),
    ];
    let conversations = format!("{bot}/conversations");
    let kinds = ["integrations", "agents", "triggers", "tokens", "users"];
    let named: Vec<_> = kinds.iter().map(|kind| format!("{DEFAULT}/{kind}")).collect();
    let refused = async |list: &str, cursor: &str| {
        let and = if list.contains('?') { '&' } else { '?' };
        let asked = format!("{list}{and}cursor={}", URL_SAFE_NO_PAD.encode(cursor));
        let problem = api.get(&asked).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], "cursor", "{asked}");
    };
    let long = "1".repeat(2000);
    for list in &timed {
        for cursor in ["!", "x", "CNV#cnv_1", &*long] {
            refused(list, cursor).await;
        }
    }
    for cursor in ["!", "x", "1760000000000#msg_1", &*format!("CNV#{long}")] {
        refused(&conversations, cursor).await;
    }
    for list in named.iter().map(String::as_str).chain(["/api/v1/orgs"]) {
        for cursor in ["\u{10FFFF}x", &*long] {
            refused(list, cursor).await;
        }
    }
}

#[tokio::test]
async fn people_are_recorded_linked_and_erased() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    api.say(&web, "hello").await;
    let users = format!("{DEFAULT}/users");
    let shown = api.wait(&users, |it| !it["items"][0].is_null()).await;
    let person = &shown["items"][0];
    assert_eq!(
        (&person["name"], &person["email"], &person["source"]),
        (&json!("lisi"), &json!("lisi@im-platform.com"), &json!("web"))
    );
    let path = format!("{users}/{}", person["id"].as_str().unwrap());
    let linked = api
        .patch(&path, json!({ "linked": "emp-7", "name": "李四" }))
        .await
        .ok();
    assert_eq!((&linked["linked"], &linked["name"]), (&json!("emp-7"), &json!("李四")));
    api.patch(&path, json!({ "email": "nonsense" }))
        .await
        .problem(400, "invalid_field");
    assert_eq!(api.delete(&path).await.status, 204);
    api.get(&path).await.problem(404, "user_not_found");
}
