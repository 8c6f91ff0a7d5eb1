//! The words of a bot's last error, in the operator's language.

use tieline_bridge::delivery_status::CALLS_FAIL;
use tieline_core::notice::Language;
use tieline_core::stream::Refusal;
use tieline_store::status::StatusError;

use super::obstacle::Obstacle;
use super::registration::REGISTRATION_FAILS;
use crate::texts::Text;

/// The message of an error. Processes report it in English: a code or sentence of ours is translated, any other message stays as it is.
pub(super) fn words(error: &StatusError, language: Language) -> String {
    let known = match language {
        Language::English => None,
        Language::Chinese => translated(error),
    };
    known.map_or_else(|| error.message.clone(), |text| text.render(language))
}

/// The message in Chinese, if it is a code or sentence of ours.
pub(super) fn translated(error: &StatusError) -> Option<Text> {
    let code = error.code.clone();
    let told = match code.as_str() {
        "kicked" => return Some(Text::new("error_kicked")),
        "login_expired" => return Some(Text::new("error_login_expired")),
        code => Obstacle::of(code),
    };
    if let Some(obstacle) = told {
        return Some(obstacle.explain());
    }
    let text = |name| Some(Text::new(name).with("code", &code));
    if error.message == REGISTRATION_FAILS {
        return text("error_registration");
    }
    if error.message == CALLS_FAIL {
        return text("error_calls_fail");
    }
    let refusals = [
        ("error_credentials", Refusal::Credentials { code: code.clone() }),
        ("error_stale_token", Refusal::StaleToken { code: code.clone() }),
        (
            "error_no_connection",
            Refusal::Passing {
                code: code.clone(),
                retry_after: None,
            },
        ),
    ];
    let found = refusals
        .into_iter()
        .find(|(_, refusal)| refusal.to_string() == error.message);
    text(found?.0)
}

#[cfg(test)]
mod tests {
    use tieline_core::timestamp::Timestamp;

    use super::*;

    #[track_caller]
    fn check(code: &str, message: &str, chinese: &str) {
        let error = StatusError {
            at: Timestamp::from_secs(1),
            code: code.to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(words(&error, Language::English), message);
        assert_eq!(words(&error, Language::Chinese), chinese);
    }

    #[test]
    fn known_errors_are_translated_and_others_stay() {
        check(
            "kicked",
            "another client has taken the bot over",
            "另一个客户端占用了该机器人",
        );
        let refused = Refusal::Credentials { code: "10014".into() };
        check("10014", &refused.to_string(), "平台拒绝了凭据：代码 10014");
        let passing = Refusal::Passing {
            code: "reset".into(),
            retry_after: None,
        };
        check("reset", &passing.to_string(), "没有连接：reset");
        check("99991400", CALLS_FAIL, "对平台的调用失败，正在重试：代码 99991400");
        check(
            "set_webhook: 502",
            REGISTRATION_FAILS,
            "在平台上登记失败，正在重试：set_webhook: 502",
        );
        let own = "agent Support failed: out of memory";
        check("http_500", own, own);
    }
}
