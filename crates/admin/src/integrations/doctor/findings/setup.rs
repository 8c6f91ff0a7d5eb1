//! Checks of what operators configure: is the bot started, and bound to an agent?

use super::{Action, Facts, Finding, Remedy, bad, good, warning};
use crate::texts::Text;

pub(super) fn started(facts: &Facts) -> Finding {
    const NAME: &str = "started";
    if facts.enabled {
        good(NAME, Text::new("started"))
    } else {
        let (detail, next) = (Text::new("stopped"), Text::new("stopped_next"));
        bad(NAME, detail, next, Remedy::new(Action::Start))
    }
}

pub(super) fn settings(facts: &Facts) -> Finding {
    const NAME: &str = "settings";
    match &facts.unusable {
        None => good(NAME, Text::new("settings_ok")),
        Some(why) => {
            let detail = Text::new("settings_bad").with("why", why);
            bad(
                NAME,
                detail,
                Text::new("settings_next"),
                Remedy::new(Action::EditSettings),
            )
        }
    }
}

pub(super) fn trigger_present(facts: &Facts) -> Finding {
    const NAME: &str = "trigger_present";
    match (&facts.bound, facts.disabled_triggers.len()) {
        (Some(trigger), _) => good(NAME, Text::new("trigger_names").with("trigger", trigger)),
        (None, 0) => {
            let (detail, next) = (Text::new("trigger_missing"), Text::new("trigger_missing_next"));
            bad(NAME, detail, next, Remedy::new(Action::CreateTrigger))
        }
        (None, n) => good(NAME, Text::new("triggers_name").with("n", n)),
    }
}

/// `None`: there is no trigger to enable, which the check before reports.
pub(super) fn trigger_enabled(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "trigger_enabled";
    Some(match (&facts.bound, facts.disabled_triggers.first()) {
        (Some(trigger), _) => good(NAME, Text::new("trigger_enabled").with("trigger", trigger)),
        (None, Some(trigger)) => bad(
            NAME,
            Text::new("trigger_disabled").with("trigger", trigger),
            Text::new("trigger_disabled_next").with("trigger", trigger),
            Remedy::on(Action::EnableTrigger, trigger),
        ),
        (None, None) => return None,
    })
}

pub(super) fn right_integration(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "right_integration";
    if facts.bound.is_some() {
        return Some(good(NAME, Text::new("right_integration")));
    }
    let other = facts.elsewhere.as_ref()?;
    let detail = Text::new("wrong_integration")
        .with("trigger", &other.trigger)
        .with("platform", &facts.platform)
        .with("name", &other.integration);
    let next = Text::new("wrong_integration_next").with("trigger", &other.trigger);
    let remedy = Remedy::on(Action::EditTrigger, &other.trigger);
    Some(warning(NAME, detail, next, Some(remedy)))
}
