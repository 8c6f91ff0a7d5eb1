//! Lists and figures for the operators' pages: filters, what a list includes, the summary, the session.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

/// A web integration with an echo agent, to which three people have written.
async fn talked(api: &TestApi) -> String {
    api.work();
    let (web, agent) = (api.web("Front desk").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    api.web("Unbound").await;
    for (person, text) in [("anna", "one"), ("bo", "two"), ("anna", "three")] {
        let id = api.say_as(&web, person, text).await;
        api.wait(&format!("{DEFAULT}/messages/{id}"), |shown| {
            shown["state"] == "answered"
        })
        .await;
    }
    web
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_includes_only_what_is_requested() {
    let api = TestApi::new().await;
    let web = talked(&api).await;
    let plain = api.get(&format!("{DEFAULT}/integrations")).await.ok();
    for field in ["status", "agent", "counts"] {
        assert!(plain["items"][0].get(field).is_none(), "{field}");
    }
    let full = api
        .get(&format!(
            "{DEFAULT}/integrations?include=status,agent,counts&search=FRONT"
        ))
        .await
        .ok();
    assert_eq!(ids(&full), [web.as_str()]);
    let item = &full["items"][0];
    assert_eq!(item["status"]["state"], "connected");
    assert_eq!(item["agent"]["name"], "Echo");
    assert_eq!(item["counts"]["answered"], 3);
    let unbound = api
        .get(&format!("{DEFAULT}/integrations?include=agent&search=unbound"))
        .await
        .ok();
    assert_eq!(unbound["items"][0]["agent"], Value::Null);
    let problem = api
        .get(&format!("{DEFAULT}/integrations?include=everything"))
        .await
        .problem(400, "invalid_field");
    assert_eq!(problem["field"], "include");
}

#[tokio::test]
async fn filtered_list_has_full_pages() {
    let api = TestApi::new().await;
    for n in 0..6 {
        api.web(&format!("{} {n}", if n % 2 == 0 { "Even" } else { "Odd" }))
            .await;
    }
    let first = api
        .get(&format!("{DEFAULT}/integrations?search=odd&limit=2"))
        .await
        .ok();
    assert_eq!(ids(&first).len(), 2);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = api
        .get(&format!("{DEFAULT}/integrations?search=odd&limit=2&cursor={cursor}"))
        .await
        .ok();
    assert_eq!(ids(&second).len(), 1);
}

#[tokio::test]
async fn messages_are_found_by_person_chat_time_and_id() {
    let api = TestApi::new().await;
    let web = talked(&api).await;
    let find = async |query: &str| api.get(&format!("{DEFAULT}/messages?{query}")).await.ok();
    let of_anna = find("userId=anna").await;
    assert_eq!(ids(&of_anna).len(), 2);
    assert_eq!(of_anna["items"][0]["senderId"], "anna");
    let users = api.get(&format!("{DEFAULT}/users")).await.ok();
    let bo = users["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["externalId"] == "bo");
    let id = bo.unwrap()["id"].as_str().unwrap();
    assert_eq!(ids(&find(&format!("userId={id}")).await).len(), 1);

    let chat = api
        .get(&format!("{DEFAULT}/integrations/{web}/conversations"))
        .await
        .ok()["items"][0]["chatId"]
        .clone();
    let chat = chat.as_str().unwrap();
    assert_eq!(ids(&find(&format!("chatId={chat}")).await).len(), 3);
    assert_eq!(ids(&find(&format!("chatId={chat}&userId=anna")).await).len(), 2);
    assert_eq!(ids(&find(&format!("chatId={chat}x")).await), [""; 0]);

    let page = find("userId=anna&limit=1").await;
    let next = page["nextCursor"].as_str().unwrap();
    let rest = find(&format!("userId=anna&limit=1&cursor={next}")).await;
    assert_eq!(
        [ids(&page), ids(&rest)].concat(),
        ids(&of_anna),
        "pages follow each other"
    );

    let all = find("").await;
    let middle = &all["items"][1];
    let at = middle["receivedAt"].as_str().unwrap();
    let young = find(&format!("since={at}")).await;
    let old = find(&format!("until={at}")).await;
    assert!(ids(&young).contains(&middle["id"].as_str().unwrap()));
    assert!(!ids(&old).contains(&middle["id"].as_str().unwrap()));
    assert_eq!(ids(&young).len() + ids(&old).len(), 3);
    for far in ["until=2300-01-01T00:00:00Z", "since=0001-01-01T00:00:00Z"] {
        assert_eq!(ids(&find(far).await).len(), 3, "{far}");
    }
    assert_eq!(ids(&find("since=2300-01-01T00:00:00Z").await), [""; 0]);

    let reply = middle["replyId"].as_str().unwrap();
    assert_eq!(
        ids(&find(&format!("search={reply}")).await),
        [middle["id"].as_str().unwrap()]
    );
    assert_eq!(ids(&find("search=no-such-id").await), [""; 0]);
}

#[tokio::test]
async fn empty_parameters_of_lists_count_as_absent() {
    let api = TestApi::new().await;
    let web = talked(&api).await;
    for (list, parameters) in [
        ("integrations", "state=&search=&include=&deleted=&cursor=&limit="),
        (&format!("integrations/{web}/logs"), "level=&cursor=&limit="),
        (&format!("integrations/{web}/conversations"), "search=&cursor=&limit="),
        (
            "messages",
            "integrationId=&conversationId=&state=&userId=&chatId=&since=&until=&search=&cursor=&limit=",
        ),
        ("scheduled-messages", "cursor=&limit="),
        ("deadletters", "cursor=&limit="),
        ("audit", "since=&until=&cursor=&limit="),
    ] {
        let path = format!("{DEFAULT}/{list}");
        let all = api.get(&path).await.ok();
        assert_eq!(api.get(&format!("{path}?{parameters}")).await.ok(), all, "{list}");
        let unknown = api.get(&format!("{path}?serch=")).await.problem(400, "unknown_field");
        assert_eq!(unknown["field"], "serch", "{list}");
    }
}

#[tokio::test]
async fn summary_lists_what_needs_attention() {
    let api = TestApi::new().await;
    talked(&api).await;
    let summary = api.get(&format!("{DEFAULT}/summary")).await.ok();
    assert_eq!(summary["counts"]["integrations"], 2);
    assert_eq!(summary["counts"]["agents"], 1);
    assert_eq!(summary["lastDay"]["answered"], 3);
    assert!(summary["lastDay"]["firstTextMillis"].is_u64());
    let attention = summary["attention"].as_array().unwrap();
    assert_eq!(attention.len(), 1);
    assert_eq!(attention[0]["name"], "Unbound");
    assert!(attention[0]["next"].as_str().unwrap().contains("trigger"));
}

#[tokio::test]
async fn time_to_first_text_is_that_of_answers() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Front desk").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    let has_talked = async || api.get(&format!("{DEFAULT}/summary")).await.ok()["counts"]["talked"].clone();
    assert_eq!(has_talked().await, false);
    let shown = api.ask_as(&web, "anna", "/help").await;
    assert!(!shown.is_empty());
    let is_delivered = |list: &Value| list["items"][0]["steps"].to_string().contains("delivered");
    api.wait(&format!("{DEFAULT}/messages"), is_delivered).await;
    let summary = api.get(&format!("{DEFAULT}/summary")).await.ok();
    assert_eq!(
        summary["lastDay"]["firstTextMillis"],
        Value::Null,
        "a command is no answer"
    );
    assert_eq!(has_talked().await, true);
    api.ask_as(&web, "anna", "hello").await;
    let is_answered = |list: &Value| list["items"][0]["state"] == "answered";
    api.wait(&format!("{DEFAULT}/messages"), is_answered).await;
    let summary = api.get(&format!("{DEFAULT}/summary")).await.ok();
    assert!(summary["lastDay"]["firstTextMillis"].is_u64());
}

/// Replaces the version of the key that has sealed an integration's credentials by one that no process has, and makes the change this old.
async fn lose_key(api: &TestApi, integration: &str, age: Duration) {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let table = "test-config";
    let get = api.dynamo.get_item().table_name(table);
    let get = get
        .key("pk", text(&format!("INT#{integration}")))
        .key("sk", text("INT"));
    let mut item = get.send().await.unwrap().item.unwrap();
    let sealed = item["credentials"].as_s().unwrap();
    let sealed = text(&format!("B{}", &sealed[1..]));
    item.insert("credentials".to_owned(), sealed);
    let at = api.world.clock.now().before(age).as_millis();
    item.insert("updatedAt".to_owned(), AttributeValue::N(at.to_string()));
    let put = api.dynamo.put_item().table_name(table).set_item(Some(item));
    put.send().await.unwrap();
}

#[tokio::test]
async fn bot_whose_data_key_is_lost_is_listed() {
    let api = TestApi::new().await;
    let lost = api.web("Lost").await;
    api.web("Fine").await;
    let list = format!("{DEFAULT}/integrations?include=status");
    // Another process may just have created the key.
    lose_key(&api, &lost, Duration::from_mins(59)).await;
    api.get(&list).await.problem(503, "unavailable");
    lose_key(&api, &lost, Duration::from_mins(61)).await;
    let listed = api.get(&list).await.ok();
    assert_eq!(ids(&listed).len(), 2);
    let shown = &listed["items"][0];
    assert_eq!((&shown["name"], &shown["credentials"]), (&json!("Lost"), &json!({})));
    assert_eq!(shown["status"]["reason"], "config_invalid", "{shown}");
    api.get(&format!("{DEFAULT}/summary")).await.ok();
}

#[tokio::test]
async fn a_session_knows_its_role_and_organization() {
    let api = TestApi::new().await;
    let root = api.get("/api/v1/session").await.ok();
    let nothing =
        json!({ "role": "root", "organization": null, "tokenId": null, "tokenName": null, "expiresAt": null });
    assert_eq!(root, nothing);
    let made = api
        .post(
            &format!("{DEFAULT}/tokens"),
            json!({ "name": "Reader", "role": "viewer" }),
        )
        .await
        .ok();
    let token = made["token"].as_str().unwrap();
    let viewer = api.ask(token, "GET", "/api/v1/session", &Value::Null).await.ok();
    let expected = json!({ "role": "viewer", "organization": "default", "tokenId": made["id"], "tokenName": "Reader",
        "expiresAt": null });
    assert_eq!(viewer, expected);
    let stranger = api.ask("no-such-token", "GET", "/api/v1/session", &Value::Null).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}
