//! Sessions of the console, wrong tokens, and tokens that expire.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::header::{COOKIE, HOST, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderName, Request};
use serde_json::{Value, json};
use tieline_admin::client_address::ClientAddress;

use crate::test_api::{DEFAULT, ROOT, Reply, TestApi};

const SESSION: &str = "/api/v1/session";
const AGENTS: &str = "/api/v1/orgs/default/agents";
const GUARD: (&str, &str) = ("x-tieline-request", "1");

async fn send(api: &TestApi, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(HeaderName::try_from(*name).unwrap(), *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    api.send(request.body(body).unwrap()).await
}

/// Opens a session and returns the cookie as a browser sends it.
async fn sign_in(api: &TestApi, token: &str) -> String {
    let opened = send(api, "POST", SESSION, &[], &json!({ "token": token })).await;
    let cookie = set_cookie(&opened);
    cookie.split(';').next().unwrap().to_owned()
}

#[track_caller]
fn set_cookie(reply: &Reply) -> String {
    assert!(reply.status.is_success(), "{reply:?}");
    reply.headers[SET_COOKIE].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn session_has_the_rights_of_its_token() {
    let api = TestApi::new().await;
    let opened = send(
        &api,
        "POST",
        SESSION,
        &[(HOST.as_str(), "bridge.example")],
        &json!({ "token": ROOT }),
    )
    .await;
    let cookie = set_cookie(&opened);
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=43"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(ROOT) && !opened.text.contains(ROOT));
    assert_eq!(opened.headers["cache-control"], "no-store");
    assert_eq!(opened.headers["x-content-type-options"], "nosniff");
    let cookie = cookie.split(';').next().unwrap();
    let shown = send(&api, "GET", SESSION, &[(COOKIE.as_str(), cookie)], &Value::Null)
        .await
        .ok();
    assert_eq!((&shown["role"], &shown["tokenId"]), (&json!("root"), &Value::Null));
    assert!(shown["expiresAt"].is_string(), "{shown}");
    let local = send(
        &api,
        "POST",
        SESSION,
        &[("host", "127.0.0.1:8080")],
        &json!({ "token": ROOT }),
    )
    .await;
    assert!(!set_cookie(&local).contains("Secure"));
    send(&api, "POST", SESSION, &[], &json!({ "token": "wrong" }))
        .await
        .problem(401, "unauthorized");
    send(&api, "POST", SESSION, &[], &Value::Null)
        .await
        .problem(401, "unauthorized");
    let made = format!("{cookie}x");
    send(&api, "GET", SESSION, &[("cookie", &made)], &Value::Null)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_change_with_the_cookie_needs_a_header_that_no_form_sends() {
    let api = TestApi::new().await;
    let cookie = sign_in(&api, ROOT).await;
    let agent = json!({ "name": "Echo", "protocol": "echo" });
    send(&api, "POST", AGENTS, &[("cookie", &cookie)], &agent)
        .await
        .problem(403, "request_header_missing");
    send(&api, "DELETE", SESSION, &[("cookie", &cookie)], &Value::Null)
        .await
        .problem(403, "request_header_missing");
    let made = send(&api, "POST", AGENTS, &[("cookie", &cookie), GUARD], &agent).await;
    assert_eq!(made.status, 201, "{made:?}");
    let foreign = [("sec-fetch-site", "cross-site")];
    send(&api, "POST", SESSION, &foreign, &json!({ "token": ROOT }))
        .await
        .problem(403, "cross_site");
    let own = [("sec-fetch-site", "same-origin")];
    send(&api, "POST", SESSION, &own, &json!({ "token": ROOT })).await.ok();
}

#[tokio::test]
async fn session_ends_when_it_is_closed_or_its_token_deleted() {
    let api = TestApi::new().await;
    let token = api.organization("acme", "admin").await;
    let path = "/api/v1/orgs/acme/agents";
    let (first, second) = (sign_in(&api, &token).await, sign_in(&api, &token).await);
    let agents = async |cookie: &str| send(&api, "GET", path, &[("cookie", cookie)], &Value::Null).await;
    agents(&first).await.ok();
    let ended = send(&api, "DELETE", SESSION, &[("cookie", &first), GUARD], &Value::Null).await;
    assert_eq!(ended.status, 204);
    assert!(set_cookie(&ended).contains("Max-Age=0"));
    agents(&first).await.problem(401, "unauthorized");
    agents(&second).await.ok();
    let tokens = api.get("/api/v1/orgs/acme/tokens").await.ok();
    let id = tokens["items"][0]["id"].as_str().unwrap();
    api.delete(&format!("/api/v1/orgs/acme/tokens/{id}")).await.ok();
    agents(&second).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn wrong_tokens_are_rate_limited_by_address_and_right_ones_are_not() {
    let api = TestApi::new().await;
    let ask = async |token: &str, address: &str| {
        let mut request = Request::get(AGENTS)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let address: IpAddr = address.parse().unwrap();
        request.extensions_mut().insert(ClientAddress(address));
        api.send(request).await
    };
    for n in 0..20 {
        ask(&format!("wrong-{n}"), "192.0.2.1")
            .await
            .problem(401, "unauthorized");
    }
    let refused = ask("wrong", "192.0.2.1").await;
    refused.problem(429, "too_many_wrong_tokens");
    let seconds: u64 = refused.headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    ask(ROOT, "192.0.2.1").await.ok();
    ask("wrong", "192.0.2.2").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn tokens_expire_and_show_their_last_use() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/tokens");
    let past = json!({ "name": "ci", "role": "admin", "expiresAt": "2020-01-01T00:00:00Z" });
    assert_eq!(
        api.post(&path, past).await.problem(400, "invalid_field")["field"],
        "expiresAt"
    );
    let body = json!({ "name": "ci", "role": "admin", "expiresAt": "2999-01-01T00:00:00Z" });
    let made = api.post(&path, body).await.ok();
    assert_eq!(
        (&made["expiresAt"], &made["lastUsedAt"]),
        (&json!("2999-01-01T00:00:00Z"), &Value::Null)
    );
    let token = made["token"].as_str().unwrap();
    api.ask(token, "GET", &path, &Value::Null).await.ok();
    let list = api.get(&path).await.ok();
    assert!(list["items"][0]["lastUsedAt"].is_string(), "{list}");
}
