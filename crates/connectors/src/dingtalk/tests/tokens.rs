//! Access tokens, the credentials check, and the callback URL for clicks.

use serde_json::{Value, json};
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Connector as _, TokenError};
use tieline_core::http_types::{ApiAnswer, Body, TokenPlace};

use super::{CLIENT, account, at};
use crate::dingtalk::DingTalk;

const NOW: i64 = 1_760_000_000_000;

fn answered(status: u16, body: &Value) -> ApiAnswer {
    ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_string().into_bytes(),
    }
}

#[test]
fn token_is_requested_with_the_keys_and_renewed_early() {
    let account = account(ConnectionMode::Webhook, &CLIENT);
    let cx = at(&account, NOW);
    let tokens = DingTalk.tokens().unwrap();
    let call = tokens.request(&cx);
    assert_eq!(call.url, "https://api.dingtalk.com/v1.0/oauth2/accessToken");
    assert_eq!(call.token, TokenPlace::None);
    let body = json!({ "appKey": "dingtielinedemo01", "appSecret": "s3cret" });
    assert_eq!(call.body, Body::Json(body.to_string()));
    let long = "t".repeat(512);
    let token = tokens.read(&answered(200, &json!({ "accessToken": long, "expireIn": 7200 })), &cx);
    let token = token.unwrap();
    assert!(token.token.matches(&long));
    assert_eq!(token.expires_at.as_millis(), NOW + (7200 - 300) * 1000);
}

#[test]
fn token_errors_name_their_cause() {
    let account = account(ConnectionMode::Webhook, &CLIENT);
    let cx = at(&account, NOW);
    let check = |answer: ApiAnswer, refused: bool, expected: &str| {
        let read = DingTalk.tokens().unwrap().read(&answer, &cx).unwrap_err();
        let code = expected.to_owned();
        let expected = if refused {
            TokenError::Refused { code }
        } else {
            TokenError::Unavailable { code }
        };
        assert_eq!(read, expected);
        assert_eq!((DingTalk.probe(&cx).unwrap().read)(&answer), Err(expected));
    };
    let code = "invalidClientIdOrSecret";
    check(answered(400, &json!({ "code": code })), true, code);
    check(answered(401, &json!({})), true, "unauthorized");
    check(answered(200, &json!({})), false, "no_token");
    check(answered(200, &json!({ "accessToken": "" })), false, "no_token");
    check(answered(503, &Value::Null), false, "503");
    check(answered(500, &json!({ "code": "unknownError" })), false, "unknownError");
    let unlisted = "Forbidden.AccessDenied.IpNotInWhiteList";
    check(answered(403, &json!({ "code": unlisted })), false, unlisted);
    check(ApiAnswer::Unknown, false, "unreachable");
}

#[test]
fn probe_is_the_token_call() {
    let account = account(ConnectionMode::LongConnection, &CLIENT);
    let cx = at(&account, NOW);
    let probe = DingTalk.probe(&cx).unwrap();
    assert_eq!(probe.call, DingTalk.tokens().unwrap().request(&cx));
    let answer = answered(200, &json!({ "accessToken": "t", "expireIn": 7200 }));
    assert!((probe.read)(&answer).is_ok());
}

#[test]
fn click_callback_is_registered_if_clicks_come_over_http() {
    let own = [CLIENT[0], CLIENT[1], ("cardTemplateId", "mine.schema")];
    let calls = |mode, fields: &[_]| {
        let account = account(mode, fields);
        DingTalk.registration("https://bridge.example/api/dingtalk/webhook/int_1", &at(&account, NOW))
    };
    assert!(calls(ConnectionMode::LongConnection, &own).is_empty());
    assert!(calls(ConnectionMode::Webhook, &CLIENT).is_empty());
    let registered = calls(ConnectionMode::Webhook, &own);
    assert_eq!(registered.len(), 1);
    let Body::Json(body) = &registered[0].body else {
        panic!("not JSON")
    };
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["callbackRouteKey"], "tieline-int_1");
    assert_eq!(body["callbackUrl"], "https://bridge.example/api/dingtalk/webhook/int_1");
    assert_eq!(body["forceUpdate"], true);
}
