use serde_json::json;

use super::Platform;
use crate::outbound::Speaker;
use crate::platform::PlatformSimulator as _;

async fn call(platform: &Platform, path: &str, body: Option<serde_json::Value>) -> serde_json::Value {
    let base = platform.integration()["endpoints"]["apiBase"]
        .as_str()
        .unwrap()
        .to_owned();
    let url = format!("{base}{path}");
    let request = match body {
        Some(body) => platform.http.post(url).json(&body),
        None => platform.http.get(url),
    };
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn invalid_calls_are_refused_as_by_the_platform() {
    let platform = Platform::start().await;
    let path = format!("/cgi-bin/gettoken?corpid={}&corpsecret=", platform.corp);
    assert_eq!(call(&platform, &format!("{path}wrong"), None).await["errcode"], 40001);
    let token = call(&platform, &format!("{path}{}", platform.secret), None).await["access_token"].clone();
    let send = format!("/cgi-bin/message/send?access_token={}", token.as_str().unwrap());
    let text = |to: &str, content: &str| json!({ "touser": to, "msgtype": "text", "agentid": 1_000_002, "text": { "content": content } });
    let code = async |body: serde_json::Value| call(&platform, &send, Some(body)).await["errcode"].clone();
    assert_eq!(code(text("lisi", "a")).await, 0);
    assert_eq!(code(text("lisi|tom", "a")).await, 40031);
    assert_eq!(code(text("lisi", " ")).await, 44004);
    assert_eq!(
        code(json!({ "touser": "lisi", "msgtype": "news", "agentid": 1_000_002 })).await,
        40008
    );
    platform.hide("lisi");
    assert_eq!(code(text("lisi", "a")).await, 81013);
    platform.trust_caller(false);
    assert_eq!(code(text("tom", "a")).await, 60020);
    platform.expire_tokens();
    assert_eq!(code(text("tom", "a")).await, 42001);
    assert_eq!(platform.shown(&Speaker::alone("lisi")).len(), 1);
    // Malformed requests are complaints; a hidden member, an untrusted address or an expired token are not.
    let complaints = platform.complaints();
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    for (complaint, code) in complaints.iter().zip(["40008", "40031", "44004"]) {
        assert!(complaint.contains(code), "expected the code {code} in {complaint}");
    }
}

#[tokio::test]
async fn duplicates_are_dropped_only_if_the_check_is_requested() {
    let platform = Platform::start().await;
    let path = format!(
        "/cgi-bin/gettoken?corpid={}&corpsecret={}",
        platform.corp, platform.secret
    );
    let token = call(&platform, &path, None).await["access_token"].clone();
    let send = format!("/cgi-bin/message/send?access_token={}", token.as_str().unwrap());
    let mut body = json!({ "touser": "lisi", "msgtype": "text", "agentid": 1_000_002, "text": { "content": "a" } });
    for expected in [1, 2] {
        assert_eq!(call(&platform, &send, Some(body.clone())).await["errcode"], 0);
        assert_eq!(platform.bubbles().len(), expected);
    }
    body["enable_duplicate_check"] = json!(1);
    assert_eq!(call(&platform, &send, Some(body)).await["errcode"], 0);
    assert_eq!(platform.bubbles().len(), 2);
}
