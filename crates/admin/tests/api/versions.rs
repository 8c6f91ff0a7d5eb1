//! `ETag` and `If-Match`: a change is made of the version that its author has seen, or not at all.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::ETAG;
use serde_json::{Value, json};

use crate::place::{DEFAULT, Place, ROOT, Reply};

async fn send(place: &Place, method: &str, path: &str, etag: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {ROOT}"))
        .header("if-match", etag);
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    place.send(request.body(body).unwrap()).await
}

#[track_caller]
fn etag(reply: &Reply) -> String {
    assert!(reply.status.is_success(), "{reply:?}");
    let header = reply.headers[ETAG].to_str().unwrap().to_owned();
    assert_eq!(reply.json()["etag"], header, "{reply:?}");
    header
}

/// A resource's address, and two changes of it.
async fn resources(place: &Place) -> Vec<(String, Value, Value)> {
    let (bot, agent) = (place.web("Bot").await, place.echo("Echo").await);
    let trigger = place.trigger(&bot, &agent).await;
    place.organization("acme", "admin").await;
    let names = (json!({ "name": "A" }), json!({ "name": "B" }));
    vec![
        (
            format!("{DEFAULT}/triggers/{trigger}"),
            json!({ "enabled": false }),
            json!({ "sessionTimeoutSeconds": 60 }),
        ),
        (
            format!("{DEFAULT}/integrations/{bot}"),
            names.0.clone(),
            names.1.clone(),
        ),
        (format!("{DEFAULT}/agents/{agent}"), names.0.clone(), names.1.clone()),
        ("/api/v1/orgs/acme".to_owned(), names.0, names.1),
    ]
}

#[tokio::test]
async fn a_change_of_an_old_version_is_refused() {
    let place = Place::new().await;
    for (path, first, second) in resources(&place).await {
        let old = etag(&place.get(&path).await);
        let new = etag(&send(&place, "PATCH", &path, &old, &first).await);
        assert_ne!(old, new, "{path}");
        assert_eq!(etag(&place.get(&path).await), new, "{path}");
        let late = send(&place, "PATCH", &path, &old, &second).await;
        assert_eq!(late.problem(412, "precondition_failed")["etag"], new, "{path}");
        assert_eq!(etag(&place.get(&path).await), new, "{path}");
        if path.contains("/default/") {
            let late = send(&place, "DELETE", &path, &old, &Value::Null).await;
            late.problem(412, "precondition_failed");
            let deleted = send(&place, "DELETE", &path, &format!("{old}, {new}"), &Value::Null).await;
            assert_eq!(deleted.status, 204, "{path}");
        } else {
            send(&place, "PATCH", &path, "*", &second).await.ok();
        }
    }
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_made() {
    let place = Place::new().await;
    let agent = place.echo("Echo").await;
    let path = format!("{DEFAULT}/agents/{agent}");
    let seen = etag(&place.get(&path).await);
    let names: Vec<Value> = (0..8).map(|n| json!({ "name": format!("N{n}") })).collect();
    let changes = names.iter().map(|name| send(&place, "PATCH", &path, &seen, name));
    let answers = futures_util::future::join_all(changes).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 412).count();
    assert_eq!((made, refused), (1, 7), "{answers:?}");
}

#[tokio::test]
async fn lists_show_the_versions_that_the_resources_have() {
    let place = Place::new().await;
    let agent = place.echo("Echo").await;
    let list = place.get(&format!("{DEFAULT}/agents")).await.ok();
    let shown = etag(&place.get(&format!("{DEFAULT}/agents/{agent}")).await);
    assert_eq!(list["items"][0]["etag"], shown);
}
