//! Attachments of messages.

use serde_json::json;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{MediaError, MediaSource as _};
use tieline_core::event::{Part, PartKind};
use tieline_core::http_types::{ApiAnswer, Body, TokenPlace};

use super::{CLIENT, account, at};
use crate::dingtalk::media::MessageFiles;

fn part(kind: PartKind) -> Part {
    Part {
        kind,
        name: None,
        mime: None,
        size: None,
        locator: json!({ "code": "dlPic01", "robot": "dingtielinedemo01" }),
    }
}

fn answered(status: u16, body: &str) -> ApiAnswer {
    ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.into(),
    }
}

#[test]
fn download_code_leads_to_a_url_and_the_url_to_bytes() {
    let account = account(ConnectionMode::LongConnection, &CLIENT);
    let cx = at(&account, 0);
    let part = part(PartKind::Image);
    assert_eq!(MessageFiles.download(&part, &cx), None, "the address isn't known yet");
    let lookup = MessageFiles.locate(&part, &cx).unwrap();
    let asks = &lookup.call;
    assert_eq!(asks.url, "https://api.dingtalk.com/v1.0/robot/messageFiles/download");
    assert_eq!(asks.token, TokenPlace::Header("x-acs-dingtalk-access-token"));
    let body = json!({ "downloadCode": "dlPic01", "robotCode": "dingtielinedemo01" });
    assert_eq!(asks.body, Body::Json(body.to_string()));
    let answer = answered(
        200,
        r#"{"downloadUrl":"http://down.example/x.file?Expires=1&Signature=a%2Bb"}"#,
    );
    let located = (lookup.read)(&answer).unwrap();
    assert!(MessageFiles.locate(&located, &cx).is_none());
    let call = MessageFiles.download(&located, &cx).unwrap();
    assert_eq!(call.url, "https://down.example/x.file?Expires=1&Signature=a%2Bb");
    assert!(call.headers.is_empty() && call.token == TokenPlace::None);
    let media = MessageFiles.open(&located, b"\x89PNG\r\n".to_vec(), None, &cx).unwrap();
    assert_eq!(media.name.as_deref(), Some("image.png"));
}

#[test]
fn given_name_is_kept_and_unknown_bytes_get_none() {
    let account = account(ConnectionMode::LongConnection, &CLIENT);
    let cx = at(&account, 0);
    let named = Part {
        name: Some("值班表 2025.xlsx".into()),
        ..part(PartKind::File)
    };
    let name = |part: &Part, bytes: &[u8]| MessageFiles.open(part, bytes.to_vec(), None, &cx).unwrap().name;
    assert_eq!(name(&named, b"PK").as_deref(), Some("值班表 2025.xlsx"));
    assert_eq!(name(&part(PartKind::Audio), b"#!AMR\n").as_deref(), Some("audio.amr"));
    assert_eq!(
        name(&part(PartKind::Video), b"\0\0\0\x20ftypisom").as_deref(),
        Some("video.mp4")
    );
    assert_eq!(name(&part(PartKind::Image), b"?"), None);
}

#[test]
fn refusals_lead_to_different_actions() {
    let account = account(ConnectionMode::LongConnection, &CLIENT);
    let cx = at(&account, 0);
    let check = |answer: ApiAnswer, expected: MediaError| {
        let part = part(PartKind::Image);
        let lookup = MessageFiles.locate(&part, &cx).unwrap();
        assert_eq!((lookup.read)(&answer), Err(expected));
    };
    check(
        answered(400, r#"{"code":"invalidParameter.robotCode.downloadCode"}"#),
        MediaError::Gone,
    );
    check(
        answered(400, r#"{"code":"InvalidAuthentication"}"#),
        MediaError::TokenExpired,
    );
    check(
        answered(403, r#"{"code":"Forbidden.AccessDenied.QpsLimitForApi"}"#),
        MediaError::Passing,
    );
    check(answered(503, "<html>"), MediaError::Passing);
    check(ApiAnswer::Unknown, MediaError::Passing);
    check(answered(200, "{}"), MediaError::Incomplete("downloadUrl"));
}

#[test]
fn failures_of_the_storage_are_transient_and_its_refusals_are_not() {
    for (status, expected) in [
        (429, MediaError::Passing),
        (500, MediaError::Passing),
        (503, MediaError::Passing),
        (403, MediaError::Gone),
        (404, MediaError::Gone),
    ] {
        assert_eq!(MessageFiles.refused(status, b"<Error/>"), expected, "{status}");
    }
}
