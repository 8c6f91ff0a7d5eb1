//! Errors of the management API, as the command line reports them.

use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

/// Why a request to a bridge failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No server answered, or not in time.
    #[error("can't reach the bridge at {base}; is it running, and is TIELINE_URL right?")]
    Unreachable {
        /// The URL of the bridge.
        base: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The token is invalid.
    #[error("the bridge at {base} doesn't know this token; set TIELINE_ADMIN_TOKEN")]
    Unauthorized {
        /// The URL of the bridge.
        base: String,
    },
    /// The bridge rejected the request with a problem.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// The problem as a sentence for people.
        sentence: String,
        /// The whole problem.
        problem: Box<Value>,
    },
    /// The bridge, or a proxy in front of it, is temporarily unavailable.
    #[error("{base} answered {status}: the bridge, or a proxy in front of it, is unavailable; try again later")]
    Failing {
        /// The URL of the bridge.
        base: String,
        /// The HTTP status.
        status: u16,
    },
    /// The response isn't one of a bridge.
    #[error("{base} answered {status} with a response that is not a bridge's; is TIELINE_URL right?")]
    Strange {
        /// The URL of the bridge.
        base: String,
        /// The HTTP status.
        status: u16,
    },
}

impl ApiError {
    /// The stable code of a problem.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// An additional member of a problem, such as `impact`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Refused { problem, .. } => problem.get(name),
            _ => None,
        }
    }

    /// Whether the failure is transient, as while a bridge restarts.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Failing { .. } => true,
            Self::Refused { status, code, .. } => *status == 503 && code == "unavailable",
            Self::Unauthorized { .. } | Self::Strange { .. } => false,
        }
    }

    /// Whether the resource doesn't exist.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// The JSON body of a response, if a bridge sent it.
pub(super) fn read(base: &Url, status: StatusCode, body: &[u8]) -> Result<Value, ApiError> {
    let base = base.to_string();
    if status == StatusCode::UNAUTHORIZED {
        return Err(ApiError::Unauthorized { base });
    }
    if status.is_success() && body.is_empty() {
        return Ok(Value::Null);
    }
    let answer = serde_json::from_slice::<Value>(body).ok();
    if status.is_success()
        && let Some(answer) = answer
    {
        return Ok(answer);
    }
    let status = status.as_u16();
    Err(match answer.and_then(|problem| refused(status, &problem)) {
        Some(refused) => refused,
        // Without a problem body: a proxy's page, or our own empty response to a platform.
        None if status >= 500 => ApiError::Failing { base, status },
        None => ApiError::Strange { base, status },
    })
}

/// A problem as one sentence.
fn refused(status: u16, problem: &Value) -> Option<ApiError> {
    let code = problem["code"].as_str()?;
    let said = problem["detail"].as_str().or_else(|| problem["title"].as_str());
    let mut sentence = said.unwrap_or("refused").trim_end_matches('.').to_owned();
    let field = problem["field"].as_str().unwrap_or_default();
    if !sentence.contains(field) {
        sentence = format!("{field}: {sentence}");
    }
    if let Some(rival) = rival(&problem["boundTo"]) {
        sentence = format!("{sentence}; bound to {rival}");
    }
    Some(ApiError::Refused {
        status,
        code: code.to_owned(),
        sentence: format!("{sentence} ({code})"),
        problem: Box::new(problem.clone()),
    })
}

/// Names the integration or trigger that already has what was asked for, by the most telling member.
fn rival(bound_to: &Value) -> Option<String> {
    let of = |kind: &str, field: &str| Some(format!("{kind} {}", bound_to[field].as_str()?));
    let agent = of("agent", "agentName").or_else(|| of("agent", "agentId"));
    let all = [of("trigger", "triggerId"), of("integration", "integrationId"), agent];
    let named: Vec<String> = all.into_iter().flatten().collect();
    (!named.is_empty()).then(|| named.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_read_as_sentences() {
        #[track_caller]
        fn check(problem: Value, expected: &str) {
            assert_eq!(refused(400, &problem).unwrap().to_string(), expected);
        }
        check(
            json!({ "code": "invalid_field", "detail": "name is required", "field": "name" }),
            "name is required (invalid_field)",
        );
        check(
            json!({ "code": "invalid_field", "title": "Can't be used.", "field": "config.baseUrl" }),
            "config.baseUrl: Can't be used (invalid_field)",
        );
        check(
            json!({ "code": "integration_already_bound", "detail": "another trigger has it",
                "boundTo": { "triggerId": "trg_1", "agentId": "agt_1", "agentName": "Echo" } }),
            "another trigger has it; bound to trigger trg_1, agent Echo (integration_already_bound)",
        );
        check(
            json!({ "code": "account_in_use", "detail": "taken", "boundTo": { "integrationId": "int_1" } }),
            "taken; bound to integration int_1 (account_in_use)",
        );
    }

    #[test]
    fn transient_failures_and_foreign_servers_are_distinguished() {
        #[track_caller]
        fn check(status: u16, body: &str, may_pass: bool, expected: &str) {
            let base = Url::parse("https://x.example.com").unwrap();
            let error = read(&base, StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err();
            assert_eq!((error.may_pass(), &*error.to_string()), (may_pass, expected));
        }
        let failing = |status| {
            format!(
                "https://x.example.com/ answered {status}: the bridge, or a proxy in front of it, is unavailable; try again later"
            )
        };
        check(502, "<html>Bad Gateway</html>", true, &failing(502));
        check(503, "", true, &failing(503));
        check(
            504,
            r#"{ "message": "Endpoint request timed out" }"#,
            true,
            &failing(504),
        );
        let busy = r#"{ "code": "unavailable", "detail": "the store can't be reached; try again" }"#;
        check(503, busy, true, "the store can't be reached; try again (unavailable)");
        let broken = r#"{ "code": "internal", "detail": "something stored can't be read" }"#;
        check(500, broken, false, "something stored can't be read (internal)");
        let strange = |status| {
            format!(
                "https://x.example.com/ answered {status} with a response that is not a bridge's; is TIELINE_URL right?"
            )
        };
        check(404, "<html>Not Found</html>", false, &strange(404));
        check(200, "<html>Welcome</html>", false, &strange(200));
    }
}
