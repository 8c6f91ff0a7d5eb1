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
    ("account_in_use", "该机器人账号已在另一个集成中"),
    ("agent_not_found", "没有该智能体"),
    ("conflict", "他人同时修改了该对象，请重新读取"),
    ("conversation_not_found", "没有该会话"),
    ("deadletter_not_found", "没有该死信"),
    ("forbidden", "没有权限"),
    ("in_use", "正在使用中"),
    ("integration_already_bound", "该机器人已绑定到另一个已启用的触发器"),
    ("integration_not_found", "没有该机器人"),
    ("integration_stopped", "该机器人已停止"),
    ("internal", "内部错误，请查看日志"),
    ("invalid_body", "请求正文无法读取"),
    ("invalid_field", "字段的值无效"),
    ("key_not_rotatable", "数据密钥无法轮换"),
    ("login_not_offered", "该平台不提供扫码登录"),
    ("mapper_not_set", "该组织没有设置用户映射服务"),
    ("message_gone", "该消息已不存在"),
    ("message_not_found", "没有该消息"),
    ("method_not_allowed", "该地址不支持此方法"),
    ("name_taken", "该名称已被使用"),
    ("no_code_asked", "没有要求输入验证码"),
    ("not_failed", "该消息没有失败"),
    ("not_found", "没有该地址"),
    ("not_supported", "平台不支持该操作"),
    ("organization_exists", "该组织 ID 已存在"),
    ("organization_not_found", "没有该组织"),
    ("platform_unavailable", "平台暂时不可用"),
    ("private_address", "不允许使用内网或本机地址"),
    ("run_closed", "该运行已结束"),
    ("still_running", "该消息仍在处理中，请稍后重试"),
    ("token_not_found", "没有该令牌"),
    ("too_large", "内容过大"),
    ("too_many_guesses", "错误的令牌过多，请稍后重试"),
    ("trigger_not_found", "没有该触发器"),
    ("unauthorized", "需要有效的令牌"),
    ("unavailable", "暂时不可用，请稍后重试"),
    ("unknown_field", "未知字段"),
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
    let code = problem.get("code")?.as_str()?;
    let (_, sentence) = TABLE.iter().find(|(known, _)| *known == code)?;
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
    let detail = format!("{sentence}（{detail}）");
    problem.insert("detail".to_owned(), Value::String(detail));
    serde_json::to_vec(&problem).ok()
}

#[cfg(test)]
mod tests {
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
        let unknown = json!({ "code": "something_new", "detail": "x" });
        assert_eq!(translate(unknown.as_object().unwrap().clone()), None);
    }
}
