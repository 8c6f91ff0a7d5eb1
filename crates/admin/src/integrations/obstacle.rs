//! Obstacles outside this deployment that an error code indicates. Only the platform's console, another program or a person in the chat can
//! remove them.
//!
//! Connectors use the same words in the codes of different platforms, so no platform is named here.

use tieline_store::message::ACCOUNT_CHANGED;

use super::action::Action;
use crate::texts::Text;

/// Why a platform refuses a bot or its replies, or the bridge does, although the credentials are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The IP address of this deployment is not on the platform's allowlist.
    CallerNotTrusted,
    /// The bot's messages are delivered to the webhook of another program.
    WebhookElsewhere,
    /// An address in `endpoints` may not be called from this deployment (SSRF guard).
    EndpointForbidden,
    /// The platform only lets the bot write for some time after the person's last message.
    WindowClosed,
    /// The person is outside the range of people who may use the application.
    NotVisible,
    /// The person or group has blocked or removed the bot.
    Removed,
    /// The application isn't allowed to receive the kinds of events that it needs.
    IntentsMissing,
    /// Another bot account received the message: the integration has been changed since.
    AccountChanged,
    /// The bot may not start another session for now.
    SessionsUsedUp,
}

/// Substrings of codes, in lower case. The first match counts.
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
    (ACCOUNT_CHANGED, Obstacle::AccountChanged),
    ("session_start_limit", Obstacle::SessionsUsedUp),
];

impl Obstacle {
    /// The obstacle that an error code of a platform or of ours indicates.
    pub(super) fn of(code: &str) -> Option<Self> {
        let code = code.to_lowercase();
        let found = CODES.iter().find(|(part, _)| code.contains(part));
        found.map(|(_, obstacle)| *obstacle)
    }

    /// A clause that explains the obstacle.
    pub(super) fn explain(self) -> Text {
        Text::new(self.texts().0)
    }

    /// A sentence that says how to remove it.
    pub(super) fn next(self) -> Text {
        Text::new(self.texts().1)
    }

    /// The action that makes the bot try again once it is removed.
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
            Self::AccountChanged => ("account_changed", "account_changed_next"),
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
    fn every_obstacle_has_its_sentences() {
        for (_, obstacle) in CODES {
            for text in [obstacle.explain(), obstacle.next()] {
                assert!(!text.render(Language::English).is_empty());
            }
        }
    }
}
