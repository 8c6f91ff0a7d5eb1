//! Facts that agents get with a question, in every protocol in its own way.

use serde_json::{Value, json};
use tieline_core::agent::{AgentRequest, KnownPerson};

use crate::ask::{adapter, ask, env, request};
use crate::server::{Act, Call, JSON, Server, answer};

const ARN: &str = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/agent-a1";

/// A question of a linked person in a named group.
fn question() -> AgentRequest {
    let mut asked = request("hello");
    asked.user.display_name = Some("Ann".into());
    asked.user.person = Some(KnownPerson {
        id: "E-17".into(),
        name: "Ann Wong".into(),
        email: Some("ann@example.com".into()),
    });
    asked.chat.name = Some("Release".into());
    asked
}

/// A server that accepts every call before the question of any protocol, and refuses the question.
fn lenient(call: &Call) -> Vec<Act> {
    let (method, path, _) = call.line();
    let host = call.header("host").unwrap();
    let card = json!({"name": "a", "capabilities": {"streaming": true},
        "supportedInterfaces": [{"url": format!("http://{host}/rpc"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]});
    match (method, path) {
        ("GET", _) => answer(200, JSON, &card.to_string()),
        (_, path) if path.ends_with("/threads") => {
            let thread = json!({"thread_id": call.json()["thread_id"]});
            answer(200, JSON, &thread.to_string())
        }
        _ => answer(400, JSON, "{}"),
    }
}

/// The last request that an agent of the protocol gets for the question.
async fn sent(protocol: &str, mut config: Value, asked: &AgentRequest) -> Value {
    let server = Server::answering(lenient).await;
    let field = if protocol == "webhook" { "url" } else { "baseUrl" };
    config[field] = server.url.as_str().into();
    ask(&adapter(protocol, config), asked, &env()).await;
    let calls = server.calls();
    let question = calls.iter().rev().find(|call| call.line().0 == "POST");
    question.unwrap().json()
}

fn people(of: &Value) -> Value {
    let names = [
        "personId",
        "personName",
        "personEmail",
        "displayName",
        "externalId",
        "chatName",
        "chatId",
    ];
    names.iter().map(|name| of[*name].clone()).collect()
}

fn told() -> Value {
    json!([
        "E-17",
        "Ann Wong",
        "ann@example.com",
        "Ann",
        "zhangsan",
        "Release",
        "zhangsan"
    ])
}

#[tokio::test]
async fn metadata_contains_who_asks_and_where() {
    for (protocol, config, at) in [
        ("openai_responses", json!({"model": "m"}), "/metadata"),
        ("coze", json!({"apiKey": "k", "botId": "b"}), "/meta_data"),
        ("langgraph", json!({"assistantId": "a"}), "/metadata"),
        ("a2a", json!({}), "/params/message/metadata"),
        ("xpert", json!({"apiKey": "k", "assistantId": "a"}), "/input/state"),
    ] {
        let asked = question();
        let body = sent(protocol, config, &asked).await;
        let facts = body.pointer(at).unwrap_or_else(|| panic!("{protocol}: {body}"));
        assert_eq!(people(facts), told(), "{protocol}");
        // The vendors refuse more than sixteen pairs, and there are seventeen.
        let is_limited = ["openai_responses", "coze"].contains(&protocol);
        let number = if is_limited { Value::Null } else { json!("3") };
        let session = (&facts["sessionId"], &facts["sessionNumber"], &facts["locale"]);
        assert_eq!(session, (&json!("ses_1"), &number, &json!("zh-CN")), "{protocol}");
        assert_eq!(facts["runId"], asked.run.as_str(), "{protocol}");
        let bot = (
            &facts["organization"],
            &facts["integrationId"],
            &facts["integrationName"],
        );
        assert_eq!(
            bot,
            (&json!("default"), &json!("int_1"), &json!("Help desk")),
            "{protocol}"
        );
        assert!(facts.as_object().unwrap().len() <= 18, "{protocol}");
        if is_limited {
            assert!(facts.as_object().unwrap().len() <= 16, "{protocol}");
        }
    }
}

/// In a thread of a named group there are eighteen facts.
#[tokio::test]
async fn limited_metadata_leaves_out_only_what_an_id_says_too() {
    let mut asked = question();
    asked.chat.thread_id = Some("t1".into());
    for (protocol, config, at) in [
        ("openai_responses", json!({"model": "m"}), "/metadata"),
        ("coze", json!({"apiKey": "k", "botId": "b"}), "/meta_data"),
    ] {
        let body = sent(protocol, config, &asked).await;
        let facts = body.pointer(at).unwrap_or_else(|| panic!("{protocol}: {body}"));
        assert_eq!(people(facts), told(), "{protocol}");
        let position = (&facts["threadId"], &facts["runId"], &facts["messageId"]);
        let expected = (
            &json!("t1"),
            &json!(asked.run.as_str()),
            &json!(asked.message.id.as_str()),
        );
        assert_eq!(position, expected, "{protocol}");
        let left_out = (&facts["integrationName"], &facts["sessionNumber"]);
        assert_eq!(left_out, (&Value::Null, &Value::Null), "{protocol}");
        assert_eq!(facts.as_object().unwrap().len(), 16, "{protocol}");
    }
}

#[tokio::test]
async fn webhook_contains_the_facts_in_fields() {
    let body = sent("webhook", json!({"secret": "s3cret"}), &question()).await;
    assert_eq!(body["integration"], json!({"id": "int_1", "name": "Help desk"}));
    assert_eq!(
        body["user"]["person"],
        json!({"id": "E-17", "name": "Ann Wong", "email": "ann@example.com"})
    );
    assert_eq!(body["chat"]["name"], "Release");
    let body = sent("webhook", json!({"secret": "s3cret"}), &request("hello")).await;
    assert_eq!(
        (&body["user"]["person"], &body["chat"]["name"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn placeholders_in_settings_are_filled_with_facts() {
    let template = "{{personName}} <{{personEmail}}> in {{chatName}}{{threadId}}, {{other}}";
    let filled = "Ann Wong <ann@example.com> in Release, {{other}}";
    for (protocol, config, at) in [
        (
            "openai_chat",
            json!({"model": "m", "systemPrompt": template}),
            "/messages/0/content",
        ),
        (
            "openai_responses",
            json!({"model": "m", "systemPrompt": template}),
            "/instructions",
        ),
        (
            "dify",
            json!({"apiKey": "k", "inputs": {"who": template}}),
            "/inputs/who",
        ),
        (
            "coze",
            json!({"apiKey": "k", "botId": "b", "customVariables": {"who": template}}),
            "/custom_variables/who",
        ),
        (
            "coze",
            json!({"apiKey": "k", "botId": "b", "parameters": {"who": [template]}}),
            "/parameters/who/0",
        ),
        (
            "agentcore",
            json!({"runtimeArn": ARN, "auth": "bearer", "apiKey": "k", "payloadTemplate": {"who": template}}),
            "/who",
        ),
    ] {
        let body = sent(protocol, config, &question()).await;
        assert_eq!(body.pointer(at), Some(&json!(filled)), "{protocol}: {body}");
    }
}

#[tokio::test]
async fn pseudonym_reveals_no_name_and_no_platform_id() {
    let asked = AgentRequest {
        chat: tieline_core::agent::AgentChat {
            thread_id: Some("thread-of-ann".into()),
            ..question().chat
        },
        ..question()
    };
    for (protocol, config) in [
        (
            "openai_chat",
            json!({"model": "m", "systemPrompt": "{{displayName}} {{chatId}}"}),
        ),
        ("openai_responses", json!({"model": "m"})),
        ("dify", json!({"apiKey": "k", "inputs": {"who": "{{externalId}}"}})),
        ("coze", json!({"apiKey": "k", "botId": "b"})),
        ("langgraph", json!({"assistantId": "a"})),
        ("a2a", json!({})),
        ("xpert", json!({"apiKey": "k", "assistantId": "a"})),
        ("webhook", json!({"secret": "s3cret"})),
    ] {
        let mut hidden = config.clone();
        hidden["identity"] = "pseudonym".into();
        let shown = sent(protocol, config, &asked).await.to_string();
        let hidden = sent(protocol, hidden, &asked).await.to_string();
        for word in ["Ann", "E-17", "ann@example.com", "zhangsan", "Release", "thread-of-ann"] {
            assert!(!hidden.contains(word), "{protocol} tells {word}: {hidden}");
        }
        assert!(
            shown.contains("zhangsan") || shown.contains("Ann"),
            "{protocol}: {shown}"
        );
        assert!(hidden.contains("hello"), "{protocol}");
    }
}
