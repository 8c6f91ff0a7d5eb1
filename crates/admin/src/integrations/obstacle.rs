//! Obstacles outside this deployment that a code names: only the platform's console, another program or a person in the chat removes them.
//!
//! Connectors put the same words into the codes of different platforms, so no platform is named here.

use super::action::Action;
use crate::texts::Text;

/// Why a platform refuses a bot or its answers, where that is none of the credentials' fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The address from which this deployment calls is not on the platform's list.
    CallerNotTrusted,
    /// The bot's messages go to the webhook of another program.
    WebhookElsewhere,
    /// An address in `endpoints` may not be called from this deployment.
    EndpointForbidden,
    /// The platform lets the bot write for a while after the person's last message only.
    WindowClosed,
    /// The person is outside the range of people who may use the application.
    NotVisible,
    /// The person or group has blocked or removed the bot.
    Removed,
    /// The application is not allowed the kinds of event that it needs.
    IntentsMissing,
    /// The bot may begin no further session for now.
    SessionsUsedUp,
}

/// Parts of codes, in lower case. The first that fits counts.
const CODES: &[(&str, Obstacle)] = &[
    ("ip_not_allowed", Obstacle::CallerNotTrusted),
    ("ipnotinwhitelist", Obstacle::CallerNotTrusted),
    ("webhook_of_another_program", Obstacle::WebhookElsewhere),
    ("address_not_allowed", Obstacle::EndpointForbidden),
    ("window_closed", Obstacle::WindowClosed),
    ("target_expired", Obstacle::WindowClosed),
    ("not_following", Obstacle::Removed),
    ("in_visible_range", Obstacle::NotVisible),
    ("bot_blocked", Obstacle::Removed),
    ("bot_removed", Obstacle::Removed),
    ("not_started", Obstacle::Removed),
    ("not allowed the intents", Obstacle::IntentsMissing),
    ("session_start_limit", Obstacle::SessionsUsedUp),
];

impl Obstacle {
    /// The obstacle that a code of a platform or of ours names.
    pub(super) fn of(code: &str) -> Option<Self> {
        let code = code.to_lowercase();
        let found = CODES.iter().find(|(part, _)| code.contains(part));
        found.map(|(_, obstacle)| *obstacle)
    }

    /// What it is, in a clause.
    pub(super) fn explain(self) -> Text {
        Text::new(self.texts().0)
    }

    /// What removes it, in a sentence.
    pub(super) fn next(self) -> Text {
        Text::new(self.texts().1)
    }

    /// What makes the bot try again once it is removed.
    pub(super) const fn action(self) -> Action {
        match self {
            Self::EndpointForbidden => Action::EditSettings,
            _ => Action::Restart,
        }
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::CallerNotTrusted => ("caller_not_trusted", "caller_not_trusted_next"),
            Self::WebhookElsewhere => ("webhook_elsewhere", "webhook_elsewhere_next"),
            Self::EndpointForbidden => ("endpoint_forbidden", "endpoint_forbidden_next"),
            Self::WindowClosed => ("window_closed", "window_closed_next"),
            Self::NotVisible => ("not_visible", "not_visible_next"),
            Self::Removed => ("bot_removed", "bot_removed_next"),
            Self::IntentsMissing => ("intents_missing", "intents_missing_next"),
            Self::SessionsUsedUp => ("sessions_used_up", "sessions_used_up_next"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::notice::Language;

    use super::*;

    #[test]
    fn codes_of_different_platforms_name_the_same_obstacle() {
        for (code, expected) in [
            ("60020_ip_not_allowed", Some(Obstacle::CallerNotTrusted)),
            (
                "Forbidden.AccessDenied.IpNotInWhiteList",
                Some(Obstacle::CallerNotTrusted),
            ),
            ("invaliduser_not_in_visible_range", Some(Obstacle::NotVisible)),
            ("81013_no_receiver_in_visible_range", Some(Obstacle::NotVisible)),
            ("45015_window_closed", Some(Obstacle::WindowClosed)),
            ("10014", None),
            ("http_500", None),
        ] {
            assert_eq!(Obstacle::of(code), expected, "{code}");
        }
    }

    #[test]
    fn every_obstacle_has_its_words() {
        for (_, obstacle) in CODES {
            for text in [obstacle.explain(), obstacle.next()] {
                assert!(!text.render(Language::English).is_empty());
            }
        }
    }
}
