//! Names of people and groups, which events don't contain. An app without permission to read them works without names.
//!
//! See [Feishu Docs/获取单个用户信息](https://open.feishu.cn/document/server-docs/contact-v3/user/get) and
//! [获取群信息](https://open.feishu.cn/document/server-docs/group/chat/get-2).

use serde_json::Value;
use tieline_core::connector::{Context, NameQuestion, NameSource};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::ids::{ChatId, SenderId};

use super::compose::segment;
use super::{CALL_TIMEOUT, settings, tokens};

/// Fetches names.
#[derive(Debug)]
pub(super) struct Names;

impl NameSource for Names {
    fn person(&self, id: &SenderId, cx: &Context<'_>) -> Option<NameQuestion> {
        let path = format!(
            "/open-apis/contact/v3/users/{}?user_id_type=open_id",
            segment(id.as_str())
        );
        Some(NameQuestion {
            call: call("read_user", &path, cx),
            read: |answer| name(tokens::accepted(answer).ok()?.data.get("user")?.get("name")),
        })
    }

    fn group(&self, id: &ChatId, cx: &Context<'_>) -> Option<NameQuestion> {
        let path = format!("/open-apis/im/v1/chats/{}", segment(id.as_str()));
        Some(NameQuestion {
            call: call("read_chat", &path, cx),
            read: |answer: &ApiAnswer| name(tokens::accepted(answer).ok()?.data.get("name")),
        })
    }
}

fn call(name: &'static str, path: &str, cx: &Context<'_>) -> HttpCall {
    HttpCall {
        name,
        method: "GET",
        url: settings::address(cx.account, path),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::Bearer,
        timeout: CALL_TIMEOUT,
    }
}

fn name(value: Option<&Value>) -> Option<String> {
    let name = value?.as_str()?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tieline_core::timestamp::Timestamp;

    use super::*;
    use crate::lark::fixture;

    fn answered(body: &Value) -> ApiAnswer {
        ApiAnswer::Answered {
            status: 200,
            retry_after_s: None,
            body: body.to_string().into_bytes(),
        }
    }

    #[test]
    fn names_are_read_if_the_app_has_permission() {
        let account = fixture::account(tieline_core::account::ConnectionMode::Webhook, &[]);
        let cx = fixture::context(&account, Timestamp::from_secs(0));
        let person = Names.person(&SenderId::new("ou_a/b"), &cx).unwrap();
        assert!(
            person
                .call
                .url
                .ends_with("/open-apis/contact/v3/users/ou_a%2Fb?user_id_type=open_id"),
            "{}",
            person.call.url
        );
        let told = json!({ "code": 0, "data": { "user": { "open_id": "ou_a", "name": "李四" } } });
        assert_eq!((person.read)(&answered(&told)).as_deref(), Some("李四"));
        // Without the permission for names, the user has none.
        let untold = json!({ "code": 0, "data": { "user": { "open_id": "ou_a" } } });
        assert_eq!((person.read)(&answered(&untold)), None);
        let refused = json!({ "code": 41_050, "msg": "no user authority error" });
        assert_eq!((person.read)(&answered(&refused)), None);

        let group = Names.group(&ChatId::new("oc_1"), &cx).unwrap();
        let told = json!({ "code": 0, "data": { "name": "Release" } });
        assert_eq!((group.read)(&answered(&told)).as_deref(), Some("Release"));
        assert_eq!((group.read)(&ApiAnswer::Unknown), None);
    }
}
