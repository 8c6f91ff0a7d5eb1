//! What operators have set up: is the bot started, and bound to an agent?

use super::{Facts, Finding, bad, good};

pub(super) fn started(facts: &Facts) -> Finding {
    const NAME: &str = "started";
    if facts.enabled {
        good(NAME, "the integration is started")
    } else {
        bad(NAME, "the integration is stopped", "Start the integration.")
    }
}

pub(super) fn settings(facts: &Facts) -> Finding {
    const NAME: &str = "settings";
    match &facts.unusable {
        None => good(NAME, "the settings can be used"),
        Some(why) => bad(
            NAME,
            format!("the settings can't be used: {why}"),
            "Correct the settings of the integration.",
        ),
    }
}

pub(super) fn trigger_present(facts: &Facts) -> Finding {
    const NAME: &str = "trigger_present";
    match (&facts.bound, facts.disabled_triggers.len()) {
        (Some(trigger), _) => good(NAME, format!("trigger {trigger} names the integration")),
        (None, 0) => bad(
            NAME,
            "no trigger names the integration, so no agent answers",
            "Create a trigger that binds the integration to an agent.",
        ),
        (None, n) => good(NAME, format!("{n} trigger(s) name the integration")),
    }
}

pub(super) fn trigger_enabled(facts: &Facts) -> Finding {
    const NAME: &str = "trigger_enabled";
    match (&facts.bound, facts.disabled_triggers.first()) {
        (Some(trigger), _) => good(NAME, format!("trigger {trigger} is enabled")),
        (None, Some(trigger)) => bad(
            NAME,
            format!("trigger {trigger} is disabled, so no agent answers"),
            format!("Enable trigger {trigger}."),
        ),
        (None, None) => bad(NAME, "there is no trigger to be enabled", "Create a trigger."),
    }
}

pub(super) fn right_integration(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "right_integration";
    if facts.bound.is_some() {
        return Some(good(NAME, "the enabled trigger names this integration"));
    }
    let other = facts.elsewhere.as_ref()?;
    Some(bad(
        NAME,
        format!(
            "trigger {} is bound to another {} integration, \"{}\"",
            other.trigger, facts.platform, other.integration
        ),
        format!(
            "If trigger {} was meant for this one, change its integration.",
            other.trigger
        ),
    ))
}
