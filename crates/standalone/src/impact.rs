//! Describes who is affected by a change.

use serde_json::Value;

use crate::terminal::one_line;

/// One line per affected kind of resource. Empty if nothing is affected.
#[must_use]
pub fn lines(impact: &Value) -> Vec<String> {
    if !impact.is_object() {
        return Vec::new();
    }
    let count = |field: &str| impact[field].as_u64().unwrap_or_default();
    let at_least = if impact["atLeast"] == true { "at least " } else { "" };
    let mut lines = Vec::new();
    let agents = impact["agents"].as_array().into_iter().flatten();
    let agents: Vec<String> = agents
        .filter_map(|agent| Some(one_line(agent["name"].as_str()?)))
        .collect();
    if !agents.is_empty() {
        lines.push(format!("answered by: {}", agents.join(", ")));
    }
    let triggers = impact["triggers"].as_array().into_iter().flatten();
    let n_enabled = triggers.filter(|trigger| trigger["enabled"] == true).count();
    if n_enabled > 0 {
        lines.push(format!("enabled triggers: {n_enabled}"));
    }
    for (field, what) in [
        ("conversations", "conversations active in the last 7 days"),
        ("openRuns", "answers being written"),
        ("pendingMessages", "messages waiting"),
    ] {
        if count(field) > 0 {
            lines.push(format!("{what}: {at_least}{}", count(field)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn affected_resources_are_listed() {
        let impact = json!({ "agents": [{ "name": "Echo" }], "triggers": [{ "enabled": true }, { "enabled": false }],
            "conversations": 3, "openRuns": 0, "pendingMessages": 1, "atLeast": true });
        assert_eq!(
            lines(&impact),
            [
                "answered by: Echo",
                "enabled triggers: 1",
                "conversations active in the last 7 days: at least 3",
                "messages waiting: at least 1"
            ]
        );
        assert!(lines(&Value::Null).is_empty());
    }
}
