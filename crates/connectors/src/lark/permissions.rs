//! Permissions that an app has been granted.
//!
//! See [Feishu Docs/查询租户授权状态](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/application-v6/scope/list).

use serde::Deserialize;
use tieline_core::connector::{Context, PermissionQuestion};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};

use super::manifest::PERMISSIONS;
use super::{CALL_TIMEOUT, settings, tokens};

/// Scopes that include others: a bot needs only one of each pair. The documentation of single APIs lists them.
const CONTAINS: &[(&str, &str)] = &[
    ("im:message.p2p_msg", "im:message.p2p_msg:readonly"),
    ("im:message.group_at_msg", "im:message.group_at_msg:readonly"),
    ("im:message.group_msg", "im:message.group_at_msg:readonly"),
    ("im:message", "im:message:readonly"),
    ("im:message", "im:message:send_as_bot"),
    ("im:message:send", "im:message:send_as_bot"),
    ("im:message", "im:message.reactions:write_only"),
];
/// State of a granted scope.
const GRANTED: i64 = 1;

#[derive(Deserialize)]
struct Scope {
    scope_name: String,
    grant_status: i64,
}

pub(super) fn question(cx: &Context<'_>) -> PermissionQuestion {
    PermissionQuestion {
        call: HttpCall {
            name: "scopes",
            method: "GET",
            url: settings::address(cx.account, "/open-apis/application/v6/scopes"),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::Bearer,
            timeout: CALL_TIMEOUT,
        },
        read,
    }
}

fn read(answer: &ApiAnswer) -> Option<Vec<&'static str>> {
    let body = tokens::accepted(answer).ok()?;
    let scopes = Vec::<Scope>::deserialize(body.data.get("scopes")?).ok()?;
    let is_granted = |name: &str| {
        scopes
            .iter()
            .any(|scope| scope.scope_name == name && scope.grant_status == GRANTED)
    };
    let has = |needed: &str| {
        let mut wider = CONTAINS.iter().filter(|(_, part)| *part == needed);
        is_granted(needed) || wider.any(|(whole, _)| is_granted(whole))
    };
    Some(PERMISSIONS.iter().copied().filter(|needed| !has(needed)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(scopes: &[(&str, i64)]) -> Option<Vec<&'static str>> {
        let scopes: Vec<_> = scopes
            .iter()
            .map(|(name, status)| json!({ "scope_name": name, "grant_status": status }))
            .collect();
        let body = json!({ "code": 0, "msg": "success", "data": { "scopes": scopes } });
        read(&ApiAnswer::Answered {
            status: 200,
            retry_after_s: None,
            body: body.to_string().into_bytes(),
        })
    }

    #[test]
    fn granted_scopes_and_those_they_contain_are_not_missing() {
        let all: Vec<_> = PERMISSIONS.iter().map(|name| (*name, GRANTED)).collect();
        assert_eq!(missing(&all), Some(Vec::new()));
        assert_eq!(missing(&[]), Some(PERMISSIONS.to_vec()));
        let applied_for: Vec<_> = PERMISSIONS.iter().map(|name| (*name, 2)).collect();
        assert_eq!(missing(&applied_for), Some(PERMISSIONS.to_vec()));
        let wide = [
            ("im:message", 1),
            ("im:message.p2p_msg", 1),
            ("im:message.group_msg", 1),
            ("im:resource", 1),
            ("im:chat.access_event.bot_p2p_chat:read", 1),
        ];
        assert_eq!(missing(&wide), Some(vec!["cardkit:card:write"]));
    }

    #[test]
    fn refused_query_reports_nothing() {
        let body = json!({ "code": 212_100, "msg": "app not install" })
            .to_string()
            .into_bytes();
        let refused = ApiAnswer::Answered {
            status: 400,
            retry_after_s: None,
            body,
        };
        assert_eq!(read(&refused), None);
        assert_eq!(read(&ApiAnswer::Unknown), None);
    }
}
