//! Chinese texts of API errors, by code. The English sentence, which has the values and limits, follows the Chinese one.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Map, Value};
use tieline_core::notice::Language;

/// Maximum size of a problem that is translated. Ours are smaller.
const MAX_BYTES: usize = 1024 * 1024;

/// Codes and their sentences.
const TABLE: &[(&str, &str)] = &[
    (
        "account_changed",
        "该消息由另一个机器人账号收到，而集成已改用新的账号；改回原账号后才能送达",
    ),
    ("account_in_use", "该机器人账号已在另一个集成中"),
    ("agent_not_allowed", "该机器人不允许使用此智能体"),
    ("agent_not_found", "没有该智能体"),
    ("already_ended", "该消息已发送、正在发送、已失败或已取消"),
    ("applied_in_part", "文件只应用了一部分，原因消除后请重新应用"),
    ("config_invalid", "该机器人的配置无效"),
    ("conflict", "他人同时修改了该对象，请重新读取"),
    ("conversation_not_found", "没有该会话"),
    ("cross_site", "只能从控制台自己的页面登录"),
    ("deadletter_not_found", "没有该死信"),
    ("duplicate_field", "字段重复"),
    ("events_too_large", "该运行的事件总量过大"),
    ("forbidden", "没有权限"),
    (
        "idempotency_key_in_use",
        "使用该 Idempotency-Key 的请求仍在处理中，请稍后重试",
    ),
    (
        "idempotency_key_reused",
        "该 Idempotency-Key 已用于另一个请求，请换一个",
    ),
    ("in_use", "正在使用中"),
    ("integration_already_bound", "该机器人已绑定到另一个已启用的触发器"),
    ("integration_not_found", "没有该机器人"),
    ("integration_stopped", "该机器人已停止"),
    ("internal", "内部错误，请查看日志"),
    ("invalid_body", "请求正文无法读取"),
    ("invalid_field", "字段的值无效"),
    ("invalid_file", "文件有误，未作任何更改"),
    ("invalid_yaml", "YAML 无法读取"),
    ("key_not_rotatable", "数据密钥无法轮换"),
    ("link_not_found", "没有该链接，或链接已失效"),
    ("login_not_offered", "该平台不提供扫码登录"),
    ("mapper_not_set", "该组织没有设置用户映射服务"),
    ("media_too_large", "文件过大"),
    ("media_unavailable", "平台没有提供该文件"),
    ("message_gone", "该消息已不存在"),
    ("message_not_found", "没有该消息"),
    ("method_not_allowed", "该地址不支持此方法"),
    ("name_taken", "该名称已被使用"),
    ("no_code_asked", "没有要求输入验证码"),
    ("not_direct", "任务只用于单聊，该会话是群聊"),
    ("not_failed", "该消息没有失败"),
    ("not_found", "没有该地址"),
    ("not_supported", "平台不支持该操作"),
    ("notify_not_set", "该组织没有设置通知"),
    ("organization_exists", "该组织 ID 已存在"),
    ("organization_not_found", "没有该组织"),
    ("pairing_not_found", "没有该配对请求：可能已处理或已过期"),
    ("platform_unavailable", "平台暂时不可用"),
    ("precondition_failed", "该对象已被修改，请重新读取"),
    ("private_address", "不允许使用内网或本机地址"),
    ("reply_not_found", "没有该回复"),
    ("request_header_missing", "缺少必需的请求头"),
    ("run_closed", "该运行已结束"),
    ("scheduled_message_not_found", "没有该定时消息"),
    ("seq_too_far_ahead", "事件序号过于超前"),
    ("still_running", "该消息仍在处理中，请稍后重试"),
    ("task_mode_off", "该机器人没有启用任务模式"),
    ("token_not_found", "没有该令牌"),
    ("too_large", "内容过大"),
    ("too_many_events", "该运行的事件过多"),
    ("too_many_guesses", "错误的配对码过多，请稍后重试"),
    (
        "too_many_long_polls",
        "该操作员同时等待的长轮询过多，请在部分结束后重试",
    ),
    ("too_many_wrong_tokens", "错误的令牌过多，请稍后重试"),
    ("trigger_not_found", "没有该触发器"),
    ("unauthorized", "需要有效的令牌"),
    ("unavailable", "暂时不可用，请稍后重试"),
    ("unknown_field", "未知字段"),
    ("unreadable_progress", "无法读取该消息的处理进度"),
    ("user_busy", "该用户还有消息在处理中，请稍后重试"),
    ("user_not_found", "没有该用户"),
];

/// Middleware that translates error responses if the request asks for Chinese.
pub(crate) async fn localize(request: Request, next: Next) -> Response {
    let language = super::language(request.headers());
    let response = next.run(request).await;
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|it| it == "application/problem+json");
    if language == Language::English || !is_problem {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_BYTES).await else {
        return Response::from_parts(head, Body::empty());
    };
    let translated = serde_json::from_slice(&bytes).ok().and_then(translate);
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(VARY, HeaderValue::from_static("accept-language"));
    Response::from_parts(head, Body::from(translated.unwrap_or_else(|| bytes.into())))
}

fn translate(mut problem: Map<String, Value>) -> Option<Vec<u8>> {
    explain(&mut problem)?;
    let errors = problem.get_mut("errors").and_then(Value::as_array_mut);
    for error in errors.into_iter().flatten().filter_map(Value::as_object_mut) {
        explain(error);
    }
    serde_json::to_vec(&problem).ok()
}

/// Puts the Chinese sentence of the code before the detail.
fn explain(problem: &mut Map<String, Value>) -> Option<()> {
    let code = problem.get("code")?.as_str()?;
    let (_, sentence) = TABLE.iter().find(|(known, _)| *known == code)?;
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
    let detail = format!("{sentence}（{detail}）");
    problem.insert("detail".to_owned(), Value::String(detail));
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn known_codes_are_translated_and_keep_the_english_detail() {
        let problem = json!({ "code": "name_taken", "detail": "another agent has this name", "field": "name" });
        let translated = translate(problem.as_object().unwrap().clone()).unwrap();
        let translated: Value = serde_json::from_slice(&translated).unwrap();
        assert_eq!(translated["detail"], "该名称已被使用（another agent has this name）");
        assert_eq!(
            (&translated["code"], &translated["field"]),
            (&json!("name_taken"), &json!("name"))
        );
        let file = json!({ "code": "invalid_file", "detail": "the file has 2 mistakes", "errors": [
            { "line": 3, "code": "unknown_field", "detail": "x is not a known field" }, { "line": 4, "code": "new", "detail": "y" }] });
        let translated: Value = serde_json::from_slice(&translate(file.as_object().unwrap().clone()).unwrap()).unwrap();
        assert_eq!(
            translated["detail"],
            "文件有误，未作任何更改（the file has 2 mistakes）"
        );
        assert_eq!(translated["errors"][0]["detail"], "未知字段（x is not a known field）");
        assert_eq!(translated["errors"][1]["detail"], "y");
        let unknown = json!({ "code": "something_new", "detail": "x" });
        assert_eq!(translate(unknown.as_object().unwrap().clone()), None);
    }

    /// Calls that make a problem, each with the number of arguments before the code.
    const CONSTRUCTORS: [(&str, usize); 8] = [
        ("Problem::new(", 1),
        ("Problem::conflict(", 0),
        ("Problem::not_found(", 0),
        ("Problem::too_many(", 0),
        ("Self::new(", 1),
        ("Self::conflict(", 0),
        ("Self::not_found(", 0),
        ("Self::too_many(", 0),
    ];

    /// Codes that no constructor names: of what an agent sends too much, of mistakes in a file, and of our own channel, which another crate
    /// answers.
    const INDIRECT: [&str; 7] = [
        "duplicate_field",
        "events_too_large",
        "invalid_yaml",
        "reply_not_found",
        "seq_too_far_ahead",
        "too_many_events",
        "too_many_long_polls",
    ];

    /// The codes of the problems that a source file makes, outside its tests.
    fn codes_in(source: &str) -> Vec<&str> {
        let (code, _) = source.split_once("#[cfg(test)]\nmod tests").unwrap_or((source, ""));
        let made = CONSTRUCTORS
            .into_iter()
            .flat_map(|(call, before)| code.split(call).skip(1).map(move |rest| (rest, before)));
        let arguments = made.filter_map(|(rest, before)| rest.splitn(before + 1, ',').nth(before));
        let literals = arguments.filter_map(|argument| argument.trim_start().strip_prefix('"'));
        literals.filter_map(|literal| literal.split('"').next()).collect()
    }

    /// Adds the codes of all sources below a directory.
    fn collect(directory: &Path, codes: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("texts") {
                // Codes of sentences, which no problem has.
            } else if path.is_dir() {
                collect(&path, codes);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
                let source = fs::read_to_string(&path).unwrap();
                codes.extend(codes_in(&source).into_iter().map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_code_that_is_answered_is_in_the_table() {
        let mut codes = BTreeSet::from(INDIRECT.map(str::to_owned));
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut codes);
        let known: BTreeSet<String> = TABLE.iter().map(|(code, _)| (*code).to_owned()).collect();
        assert_eq!(known.len(), TABLE.len(), "a code is there twice");
        assert_eq!(codes, known);
    }
}
