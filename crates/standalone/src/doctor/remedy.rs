//! The command that fixes a failed check.

use serde_json::Value;

/// The command for the first failed check: it carries out the fix, or shows what is to be changed. `integration` is the integration as the user
/// named it, `organization` its organization.
/// `None` if there is no such command: the problem is at the platform, at the agent, or in how the bridge is started.
pub(super) fn command(found: &Value, integration: &str, organization: &str) -> Option<String> {
    let checks = found["checks"].as_array()?;
    let failed = checks
        .iter()
        .find(|check| check["ok"] == false && check["action"].is_string())?;
    let named = (integration, organization);
    let arguments = arguments(failed["action"].as_str()?, failed["target"].as_str(), named)?;
    Some(within(format!("tieline {}", arguments.join(" ")), organization))
}

/// A command, in an organization.
pub(crate) fn within(mut command: String, organization: &str) -> String {
    if organization != tieline_store::config::organization::DEFAULT {
        command.push_str(" --org ");
        command.push_str(&quoted(organization));
    }
    command
}

/// The arguments after `tieline`, quoted for a shell.
fn arguments(action: &str, target: Option<&str>, (integration, organization): (&str, &str)) -> Option<Vec<String>> {
    let words: &[&str] = match (action, target) {
        ("start", _) => &["start", integration],
        ("restart", _) => &["restart", integration],
        ("login", _) => &["login", integration],
        ("view_log", _) => &["logs", integration],
        ("enable_trigger", Some(trigger)) => &["enable", trigger],
        ("test_agent", Some(agent)) => &["test", "--agent", agent],
        ("redrive", Some(message)) => &["redrive", message],
        ("view_message", Some(message)) => &["describe", "message", message],
        // The fix is an edit of the file, or at the platform, so this only shows the current settings.
        ("edit_settings" | "edit_credentials" | "copy_callback_url", _) => &["describe", "integration", integration],
        ("edit_organization", _) => &["describe", "organization", organization],
        ("edit_agent", Some(agent)) => &["describe", "agent", agent],
        ("edit_trigger" | "edit_access", Some(trigger)) => &["describe", "trigger", trigger],
        _ => return None,
    };
    Some(words.iter().map(|word| quoted(word)).collect())
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(action: &str, target: Option<&str>, integration: &str, organization: &str) -> Option<String> {
        let mut check = json!({ "name": "connection", "ok": false, "action": action });
        if let Some(target) = target {
            check["target"] = json!(target);
        }
        let found = json!({ "checks": [{ "name": "speed", "ok": true, "action": "start" }, check] });
        command(&found, integration, organization)
    }

    #[test]
    fn command_for_a_failed_check_is_quoted_for_the_shell() {
        let first = of("restart", None, "Service desk", "default");
        assert_eq!(first.as_deref(), Some("tieline restart 'Service desk'"));
        let quote = of("logs; rm", None, "x", "default");
        assert_eq!(quote, None, "an action that this version doesn't know");
        let hostile = of("view_log", None, "it's $(me)\n", "acme");
        assert_eq!(hostile.as_deref(), Some("tieline logs 'it'\\''s $(me)\n' --org acme"));
        assert_eq!(
            of("enable_trigger", Some("trg_1"), "x", "default").as_deref(),
            Some("tieline enable trg_1")
        );
        assert_eq!(of("enable_trigger", None, "x", "default"), None);
        assert_eq!(of("create_trigger", None, "x", "default"), None);
        for shown in ["edit_settings", "edit_credentials"] {
            let command = of(shown, None, "Service desk", "default");
            assert_eq!(command.as_deref(), Some("tieline describe integration 'Service desk'"));
        }
        assert_eq!(
            of("copy_callback_url", Some("https://a.example/api"), "x", "acme").as_deref(),
            Some("tieline describe integration x --org acme")
        );
        assert_eq!(
            of("edit_organization", None, "x", "acme").as_deref(),
            Some("tieline describe organization acme --org acme")
        );
        assert_eq!(of("set_public_url", Some("https://a.example"), "x", "default"), None);
    }

    #[test]
    fn no_command_without_a_failed_check() {
        let well = json!({ "checks": [{ "name": "speed", "ok": true, "level": "warning", "action": "restart" }] });
        assert_eq!(command(&well, "x", "default"), None);
        assert_eq!(command(&json!({}), "x", "default"), None);
    }
}
