//! Signatures of robot callbacks, card callbacks and custom webhooks.

use serde_json::Value;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;

use super::{account, at, field, rows, vectors};
use crate::dingtalk::verify;

/// The vectors' word for a rejection.
fn word(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Missing(_) => "missing_header",
        Rejection::Malformed(_) => "bad_timestamp",
        Rejection::Stale { .. } => "timestamp_out_of_window",
        Rejection::BadSignature => "bad_signature",
        Rejection::BadCipher(_) | Rejection::WrongReceiver => "another",
    }
}

/// A request in the bridge's form: header names in lower case.
fn request(vector: &Value) -> WebhookRequest {
    let headers = vector["headers"].as_object().unwrap();
    let lower = headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()));
    let body = vector["body"].as_str().unwrap_or("{}");
    WebhookRequest {
        method: "POST".into(),
        headers: lower.collect(),
        body: body.into(),
        ..WebhookRequest::default()
    }
}

fn outcome(vector: &Value) -> Result<(), &'static str> {
    let fields = [("clientId", "ding1"), ("clientSecret", field(vector, "app_secret"))];
    let account = account(ConnectionMode::Webhook, &fields);
    let cx = at(&account, vector["now_ms"].as_i64().unwrap());
    match verify::prove(&request(vector), &cx) {
        Ok(verify::Authentic::Robot(_)) => Ok(()),
        Ok(_) => Err("not a robot callback"),
        Err(rejection) => Err(word(rejection)),
    }
}

#[test]
fn robot_callbacks() {
    let vectors = vectors();
    let valid = rows(&vectors, "http_sign", "valid");
    let invalid = rows(&vectors, "http_sign", "invalid");
    assert_eq!((valid.len(), invalid.len()), (9, 20));
    for vector in valid {
        assert_eq!(outcome(vector), Ok(()), "{}", vector["name"]);
    }
    for vector in invalid {
        let name = field(vector, "name");
        // Without the header it isn't a robot callback at all, and it lacks what the other kinds need.
        assert_eq!(outcome(vector), Err(field(vector, "expect_error")), "{name}");
    }
}

#[test]
fn card_callbacks() {
    let vectors = vectors();
    let check = |vector: &Value| {
        let headers = &vector["headers"];
        let ours = verify::card_sign(
            field(vector, "api_secret"),
            field(headers, "x-ddpaas-signature-timestamp"),
        );
        ours == field(headers, "x-ddpaas-signature")
    };
    assert!(rows(&vectors, "card_http_sign", "valid").iter().all(check));
    assert!(!rows(&vectors, "card_http_sign", "invalid").iter().any(check));
}

/// We never send to custom webhooks; their digest is the same as the robot's.
#[test]
fn custom_webhooks_use_the_same_digest() {
    let vectors = vectors();
    for vector in rows(&vectors, "custom_webhook_sign", "valid") {
        let ours = verify::robot_sign(field(vector, "secret"), field(vector, "timestamp"));
        assert_eq!(ours, field(vector, "sign"));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("timestamp", field(vector, "timestamp"));
        query.append_pair("sign", &ours);
        assert_eq!(query.finish(), field(vector, "query"));
    }
}
