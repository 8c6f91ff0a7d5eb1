//! Causes of silence, each injected through the API: the doctor reports the cause first and nothing else as failed; status and log agree.

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use tieline_bridge::receive;
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::IntegrationId;

use crate::test_api::{DEFAULT, TestApi, answering, dead_address};

/// What an operator should see about a bot.
struct Expected {
    /// The check that is the cause.
    check: &'static str,
    level: &'static str,
    action: &'static str,
    /// Substrings of the cause: a host, a field, a code.
    cause: Vec<String>,
    /// State and reason.
    status: (&'static str, Option<&'static str>),
    /// The code of the line in the log. `None`: no line is written.
    log: Option<&'static str>,
}

impl Expected {
    fn failed(check: &'static str, action: &'static str, cause: &[&str]) -> Self {
        Self {
            check,
            level: "failed",
            action,
            cause: cause.iter().map(|&part| part.to_owned()).collect(),
            status: ("connected", None),
            log: None,
        }
    }

    fn status(self, state: &'static str, reason: Option<&'static str>) -> Self {
        Self {
            status: (state, reason),
            ..self
        }
    }

    fn log(self, code: &'static str) -> Self {
        Self {
            log: Some(code),
            ..self
        }
    }
}

async fn check(api: &TestApi, integration: &str, expected: &Expected) {
    let path = format!("{DEFAULT}/integrations/{integration}");
    let found = api.post(&format!("{path}/doctor"), Value::Null).await.ok();
    let checks = found["checks"].as_array().unwrap();
    let cause = found["cause"].as_str().unwrap_or_else(|| panic!("no cause: {found}"));
    for part in &expected.cause {
        assert!(cause.contains(part.as_str()), "{part} is not in {cause}");
    }
    let first = checks.iter().find(|check| check["detail"] == cause).unwrap();
    assert_eq!(
        (&first["name"], &first["level"], &first["action"]),
        (&json!(expected.check), &json!(expected.level), &json!(expected.action)),
        "{found}"
    );
    for check in checks {
        let is_ok = matches!(check["level"].as_str(), Some("ok" | "warning"));
        assert_eq!(check["ok"], is_ok, "{check}");
        assert!(
            check["level"] != "failed" || check["name"] == expected.check,
            "also failed: {check}"
        );
    }
    let status = api.get(&format!("{path}/status")).await.ok();
    assert_eq!(
        (&status["state"], status["reason"].as_str()),
        (&json!(expected.status.0), expected.status.1),
        "{status}"
    );
    let log = api.get(&format!("{path}/logs?level=warn")).await.ok();
    let codes: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["code"].as_str().unwrap())
        .collect();
    let n_lines = codes.iter().filter(|code| Some(**code) == expected.log).count();
    assert_eq!(n_lines, usize::from(expected.log.is_some()), "{codes:?}");
}

/// A server that answers every request with this status and body.
async fn server(status: u16, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kind = if body.starts_with("data:") {
        "text/event-stream"
    } else {
        "application/json"
    };
    let answer = move || async move {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Response::builder().status(status).header("content-type", kind);
        answer.body(Body::from(body)).unwrap()
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A started web integration with an agent at this address.
async fn with_agent(api: &TestApi, address: &str) -> String {
    let web = api.web("Web").await;
    let config = json!({ "baseUrl": address, "model": "m", "apiKey": "k-secret", "idleTimeoutSeconds": 5 });
    let body = json!({ "name": "Support", "protocol": "openai_chat", "config": config });
    let agent = api.create(&format!("{DEFAULT}/agents"), body).await;
    api.trigger(&web, &agent).await;
    web
}

async fn ended(api: &TestApi, message: &str, state: &str) -> Value {
    let path = format!("{DEFAULT}/messages/{message}");
    api.wait(&path, |shown| shown["state"] == state).await
}

fn host(address: &str) -> &str {
    address.strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn causes_in_the_setup() {
    let api = TestApi::new().await;
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    let missing = Expected::failed("trigger_present", "create_trigger", &["no trigger"]);
    let unbound = |it: Expected| it.status("connected", Some("unbound"));
    check(&api, &web, &unbound(missing)).await;
    let trigger = api.trigger(&web, &agent).await;
    let trigger_path = format!("{DEFAULT}/triggers/{trigger}");
    api.patch(&trigger_path, json!({ "enabled": false })).await.ok();
    let disabled = Expected::failed("trigger_enabled", "enable_trigger", &[&trigger, "disabled"]);
    check(&api, &web, &unbound(disabled)).await;
    api.patch(&trigger_path, json!({ "enabled": true })).await.ok();
    api.post(&format!("{DEFAULT}/integrations/{web}/stop"), Value::Null)
        .await
        .ok();
    let stopped = Expected::failed("started", "start", &["stopped"]);
    check(&api, &web, &stopped.status("disabled", Some("stopped"))).await;
}

#[tokio::test]
async fn causes_in_the_agent() {
    const ERROR: &str = r#"{"error":{"message":"quota of k-secret is used up","code":"no_quota"}}"#;
    for (status, action) in [
        (401, "edit_agent"),
        (404, "edit_agent"),
        (429, "test_agent"),
        (500, "test_agent"),
    ] {
        let api = TestApi::new().await;
        api.work();
        let address = server(status, ERROR).await;
        let web = with_agent(&api, &address).await;
        let message = api.say(&web, "hello").await;
        let shown = ended(&api, &message, "failed").await;
        let result = shown["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "result")
            .unwrap();
        let words = result["detail"].as_str().unwrap();
        assert!(words.contains("is used up") && !words.contains("k-secret"), "{result}");
        let parts = ["no_quota", "is used up", "Support", host(&address)];
        let expected = Expected::failed("agent_reachable", action, &parts)
            .status("degraded", Some("agent_failed"))
            .log("agent_failed");
        check(&api, &web, &expected).await;
        let status = api.get(&format!("{DEFAULT}/integrations/{web}/status")).await.ok();
        assert!(status["next"].as_str().unwrap().contains("is used up"), "{status}");
        let error = status["lastError"]["message"].as_str().unwrap();
        assert!(error.contains("is used up") && !error.contains("k-secret"), "{status}");
    }
}

#[tokio::test]
async fn unreachable_agent_is_named_with_its_host() {
    let api = TestApi::new().await;
    api.work();
    let address = dead_address();
    let web = with_agent(&api, &address).await;
    let message = api.say(&web, "hello").await;
    ended(&api, &message, "failed").await;
    let expected = Expected::failed("agent_reachable", "edit_agent", &["connect", host(&address)])
        .status("degraded", Some("agent_failed"))
        .log("agent_failed");
    check(&api, &web, &expected).await;
}

#[tokio::test]
async fn cause_empty_answer() {
    const DONE: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let api = TestApi::new().await;
    api.work();
    let address = server(200, DONE).await;
    let web = with_agent(&api, &address).await;
    let message = api.say(&web, "hello").await;
    ended(&api, &message, "answered").await;
    let parts = [message.as_str(), "Support", host(&address)];
    let expected = Expected::failed("empty_answers", "test_agent", &parts)
        .status("degraded", Some("empty_answer"))
        .log("empty_answer");
    check(&api, &web, &expected).await;
}

#[tokio::test]
async fn cause_access_list() {
    let api = TestApi::new().await;
    api.work();
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    let body = json!({ "integrationId": web, "agentId": agent, "access": { "users": ["zhangsan"] } });
    let trigger = api.create(&format!("{DEFAULT}/triggers"), body).await;
    let message = api.say_as(&web, "lisi", "hello").await;
    ended(&api, &message, "refused").await;
    let expected = Expected {
        level: "warning",
        ..Expected::failed("access", "edit_access", &[&trigger, "lisi"])
            .status("connected", Some("not_allowed"))
            .log("not_allowed")
    };
    check(&api, &web, &expected).await;
}

async fn wecom(api: &TestApi) -> String {
    let platform = answering(json!({ "errcode": 0 })).await;
    let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    let credentials = json!({ "token": "t", "encodingAesKey": key });
    let body = json!({ "name": "Bot", "platform": "wecom", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": platform } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    api.trigger(&id, &agent).await;
    id
}

#[tokio::test]
async fn causes_platform_never_called_and_wrong_token() {
    let api = TestApi::new().await;
    let id = wecom(&api).await;
    let url = format!("https://bridge.example/api/wecom/webhook/{id}");
    let never = Expected::failed("url_verified", "copy_callback_url", &[&url]);
    check(&api, &id, &never.status("connecting", Some("not_called"))).await;
    let request = WebhookRequest {
        method: "GET".to_owned(),
        query: "msg_signature=0123456789012345678901234567890123456789&timestamp=1790000000&nonce=n&echostr=e"
            .to_owned(),
        ..WebhookRequest::default()
    };
    for _ in 0..3 {
        let answer = receive::receive(&api.world, "wecom", &IntegrationId::new(id.clone()), &request, None).await;
        assert_eq!(answer.status, 401);
    }
    let wrong = Expected::failed(
        "signature",
        "edit_credentials",
        &["signature does not match", "`token`"],
    );
    check(
        &api,
        &id,
        &wrong.status("connecting", Some("signature")).log("unproved"),
    )
    .await;
}

async fn lark(api: &TestApi, address: &str) -> String {
    let credentials = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": address } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    api.trigger(&id, &agent).await;
    // The platform has called before.
    let challenge = json!({ "type": "url_verification", "token": "v", "challenge": "c" });
    let request = WebhookRequest {
        method: "POST".to_owned(),
        body: challenge.to_string().into_bytes(),
        ..WebhookRequest::default()
    };
    let answer = receive::receive(&api.world, "lark", &IntegrationId::new(id.clone()), &request, None).await;
    assert_eq!(answer.status, 200);
    id
}

#[tokio::test]
async fn causes_refused_credentials_and_unreachable_platform() {
    let api = TestApi::new().await;
    let refusing = answering(json!({ "code": 10014, "msg": "app secret invalid" })).await;
    let id = lark(&api, &refusing).await;
    let refused = Expected::failed("credentials", "edit_credentials", &["10014", "appSecret"]);
    let refused = refused.status("disconnected", Some("config_invalid"));
    check(&api, &id, &refused.log("config_invalid")).await;

    let api = TestApi::new().await;
    let address = dead_address();
    let id = lark(&api, &address).await;
    let gone = Expected::failed("platform_reachable", "edit_settings", &[host(&address)]);
    check(&api, &id, &gone).await;
}

#[tokio::test]
async fn doctor_and_next_step_are_chinese_on_request() {
    use axum::http::Request;
    use axum::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION};

    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let ask = async |method: &str, path: String| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", crate::test_api::ROOT))
            .header(ACCEPT_LANGUAGE, "zh-CN,zh;q=0.9,en;q=0.8");
        api.send(request.body(Body::empty()).unwrap()).await
    };
    let found = ask("POST", format!("{DEFAULT}/integrations/{web}/doctor")).await.ok();
    assert_eq!(found["cause"], "没有触发器指向该机器人，因此没有智能体应答");
    let status = ask("GET", format!("{DEFAULT}/integrations/{web}/status")).await.ok();
    assert!(status["next"].as_str().unwrap().contains("触发器"), "{status}");
    let problem = ask("GET", format!("{DEFAULT}/integrations/int_0"))
        .await
        .problem(404, "integration_not_found");
    assert!(
        problem["detail"].as_str().unwrap().starts_with("没有该机器人"),
        "{problem}"
    );
}
