use serde_json::{Value, json};
use tieline_core::account::Account;

use super::super::tests::{account, answer, context, logged_in, vectors};
use super::*;

fn ticket(account: &Account) -> String {
    let body = json!({ "qrcode": "qr 1", "qrcode_img_content": "https://liteapp.weixin.qq.com/q/A?qrcode=1" });
    let row = json!({ "body": body });
    let code = QrLogin.read_code(&answer(&row), &context(account)).unwrap();
    assert_eq!(code.qr_url, "https://liteapp.weixin.qq.com/q/A?qrcode=1");
    code.ticket
}

fn progress(account: &Account, row: &Value) -> Result<LoginProgress, LoginError> {
    QrLogin.read_progress(&ticket(account), &answer(row), &context(account))
}

#[test]
fn login_statuses_are_classified_as_documented() {
    let account = logged_in();
    for row in vectors()["responses"].as_array().unwrap() {
        if row["call"] != "get_qrcode_status" {
            continue;
        }
        let progress = progress(&account, row).unwrap();
        let expected = match row["expect"]["outcome"].as_str().unwrap() {
            "logged_in" => matches!(progress, LoginProgress::Confirmed(_)),
            "failed" => matches!(progress, LoginProgress::Refused { .. }),
            "ask_code" => progress == LoginProgress::VerifyCodeNeeded,
            "already_bound" => progress == LoginProgress::AlreadyConfirmed,
            _ => matches!(progress, LoginProgress::Moved { .. }),
        };
        assert!(expected, "{}: {progress:?}", row["id"]);
    }
}

#[test]
fn confirmed_login_returns_all_credentials() {
    let row = vectors()["responses"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == "qr-confirmed")
        .cloned()
        .unwrap();
    let LoginProgress::Confirmed(credentials) = progress(&account(&[], &[]), &row).unwrap() else {
        panic!("not confirmed");
    };
    let login = Login::read(&credentials).unwrap();
    assert_eq!(
        (login.bot_token.expose(), &*login.user_id),
        ("BT-demo", "o9cq8demo0001@im.wechat")
    );
    assert_eq!(credentials.get(BOT_ID), Some("9f3c0a77demo@im.bot"));
    assert_eq!(credentials.get(BASE_URL), Some("https://ilinkai.weixin.qq.com"));
}

#[test]
fn moved_code_is_polled_at_its_new_host() {
    let account = account(&[], &[]);
    let row = json!({ "body": { "status": "scaned_but_redirect", "redirect_host": "ilinkai.wechat.com" } });
    let LoginProgress::Moved { ticket } = progress(&account, &row).unwrap() else {
        panic!("not moved");
    };
    let call = QrLogin.poll(&ticket, Some("12 3"), &context(&account));
    let url = "https://ilinkai.wechat.com/ilink/bot/get_qrcode_status?qrcode=qr%201&verify_code=12%203";
    assert_eq!(call.url, url);
    for foreign in [
        "evil.example",
        "evil.example/.wechat.com",
        "ilinkai.wechat.com@evil.example",
        "",
        "127.0.0.1",
    ] {
        let row = json!({ "body": { "status": "scaned_but_redirect", "redirect_host": foreign } });
        let refused = LoginProgress::Refused {
            code: "host_not_allowed".to_owned(),
        };
        assert_eq!(progress(&account, &row), Ok(refused), "{foreign}");
    }
}

#[test]
fn no_response_means_waiting_and_an_unknown_status_is_an_error() {
    let account = account(&[], &[]);
    let ask = |answer: &ApiAnswer| QrLogin.read_progress(&ticket(&account), answer, &context(&account));
    assert_eq!(ask(&ApiAnswer::Unknown), Ok(LoginProgress::Waiting));
    assert_eq!(
        progress(&account, &json!({ "http_status": 524, "body_raw": "<html>" })),
        Ok(LoginProgress::Waiting)
    );
    assert!(ask(&ApiAnswer::NotSent).is_err());
    assert!(progress(&account, &json!({ "body": { "status": "news" } })).is_err());
    let blocked = json!({ "body": { "status": "verify_code_blocked" } });
    assert_eq!(progress(&account, &blocked), Ok(LoginProgress::Expired));
}

#[test]
fn token_is_sent_unless_its_login_has_ended() {
    let account = logged_in();
    let tokens = |signed_out| match QrLogin.start(signed_out, &context(&account)).body {
        Body::Json(text) => serde_json::from_str::<Value>(&text).unwrap()["local_token_list"].clone(),
        _ => panic!("no JSON"),
    };
    assert_eq!(tokens(false), json!(["BT-demo"]));
    assert_eq!(tokens(true), json!([]));
    let call = QrLogin.start(false, &context(&account));
    assert!(call.headers.iter().all(|(name, _)| name != "Authorization"));
}
