//! The effective status of an integration, derived from its configuration and from what processes have reported.

use tieline_core::account::ConnectionMode;
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};
use tieline_store::status::{ConnectionState, Status};

use super::facts::Facts;
use super::obstacle::Obstacle;
use super::registration::Registration;
use super::troubles;
use crate::texts::Text;

/// The effective status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) state: ConnectionState,
    pub(super) reason: Option<String>,
    pub(super) connected_at: Option<Timestamp>,
    /// The operator's next step in one sentence. `None` if there is nothing to do.
    pub(super) next: Option<Text>,
}

/// Derives the effective status. Configuration takes precedence: an older report doesn't override it.
pub(super) fn decide(facts: &Facts<'_>) -> Condition {
    if !facts.enabled {
        return down(ConnectionState::Disabled, "stopped", Text::new("status_stopped"));
    }
    if let Some(unusable) = &facts.unusable {
        let next = Text::new("status_unusable").with("why", unusable);
        return down(ConnectionState::Disconnected, "config_invalid", next);
    }
    let condition = match facts.mode {
        ConnectionMode::LongConnection if !facts.bound => {
            down(ConnectionState::Disconnected, "unbound", Text::new(BIND))
        }
        ConnectionMode::LongConnection => long_connection(facts),
        ConnectionMode::Webhook => webhook(facts),
    };
    if !facts.bound && condition.next.is_none() {
        return Condition {
            reason: Some("unbound".to_owned()),
            next: Some(Text::new(BIND)),
            ..condition
        };
    }
    match condition.state {
        ConnectionState::Connected => troubled(facts, condition),
        _ => condition,
    }
}

const BIND: &str = "status_bind";
const LOG_IN: &str = "status_login";

/// Adds the troubles that the newest messages of a connected bot show. Failing answers are graver than requests whose signature is invalid.
fn troubled(facts: &Facts<'_>, condition: Condition) -> Condition {
    let Some(trouble) = troubles::gravest(facts) else {
        return condition;
    };
    if condition.next.is_some() && trouble.state == ConnectionState::Connected {
        return condition;
    }
    Condition {
        state: trouble.state,
        reason: Some(trouble.reason.to_owned()),
        next: Some(trouble.next),
        ..condition
    }
}

fn long_connection(facts: &Facts<'_>) -> Condition {
    let reported = facts.reported;
    if facts.logged_out {
        return up(ConnectionState::NeedsLogin, Some(Text::new(LOG_IN)));
    }
    if is_refused(facts) && !refused_before(facts) {
        return refused(reported);
    }
    let Some(state) = reported.state.filter(|_| !is_outdated(facts)) else {
        return up(ConnectionState::Connecting, Some(Text::new("status_relay")));
    };
    Condition {
        state,
        reason: reported.reason.clone(),
        connected_at: reported.connected_at.filter(|_| state == ConnectionState::Connected),
        next: next_of(state, reported),
    }
}

/// Whether the report is outdated: it dates from when the integration was stopped, unbound, a webhook or otherwise configured differently.
fn is_outdated(facts: &Facts<'_>) -> bool {
    let reported = facts.reported;
    // The holder of a connection names itself in its report. A state without an owner is a webhook's: its credentials work.
    let nobodys = reported.state == Some(ConnectionState::Connected) && reported.owner.is_none();
    // After a login, until the holder has reported, an earlier `needs_login` is outdated.
    let logged_in = reported.state == Some(ConnectionState::NeedsLogin) && reported.reason.is_none();
    nobodys
        || logged_in
        || matches!(reported.reason.as_deref(), Some("config_invalid" | "login_expired")) && refused_before(facts)
        || reported.state == Some(ConnectionState::Disabled)
        || matches!(reported.reason.as_deref(), Some("stopped" | "unbound"))
}

fn next_of(state: ConnectionState, reported: &Status) -> Option<Text> {
    let next = match (state, reported.reason.as_deref()) {
        (ConnectionState::Connected | ConnectionState::Degraded, _) => return None,
        (ConnectionState::NeedsLogin, _) | (_, Some("login_expired")) => Text::new(LOG_IN),
        (_, Some("kicked")) => Text::new("status_kicked"),
        _ if obstacle(reported).is_some() => return obstacle(reported),
        (_, Some("config_invalid")) => Text::new("status_refused").with_text("code", code_of(reported)),
        (ConnectionState::Connecting, _) => Text::new("status_connecting"),
        (ConnectionState::Retrying, Some("silent")) => Text::new("status_silent").with_text("code", code_of(reported)),
        (ConnectionState::Retrying, _) => Text::new("status_retrying").with_text("code", code_of(reported)),
        (ConnectionState::Disconnected | ConnectionState::Disabled, _) => {
            Text::new("status_restart").with_text("code", code_of(reported))
        }
    };
    Some(next)
}

/// How to remove the obstacle that the last error names, if any.
fn obstacle(reported: &Status) -> Option<Text> {
    let code = &reported.last_error.as_ref()?.code;
    Some(troubles::obstacle_text(Obstacle::of(code)?, code))
}

fn code_of(reported: &Status) -> Option<Text> {
    let error = reported.last_error.as_ref();
    error.map(|error| Text::new("status_last_error").with("code", &error.code))
}

/// Whether the integration was changed after the platform refused it: a relay is about to try again.
fn refused_before(facts: &Facts<'_>) -> bool {
    refused_at(facts.reported).is_some_and(|at| at.after(CLOCKS_DIFFER) < facts.changed_at)
}

fn webhook(facts: &Facts<'_>) -> Condition {
    let reported = facts.reported;
    if is_refused(facts) {
        return refused(reported);
    }
    if facts.own_channel {
        return Condition {
            connected_at: Some(facts.created_at),
            ..up(ConnectionState::Connected, None)
        };
    }
    if let Some(verified_at) = facts.called_at() {
        let trouble = if failed_since(reported, verified_at) {
            let next = Text::new("status_signature").with_text("field", Some(signed_with(reported)));
            Some((SIGNATURE, next))
        } else if let Registration::Due(Some(_)) = facts.registration {
            Some(("not_registered", facts.registration.next(facts.callback_url)))
        } else {
            None
        };
        let (reason, next) = trouble.unzip();
        return Condition {
            reason: reason.map(str::to_owned),
            connected_at: Some(verified_at),
            ..up(ConnectionState::Connected, next)
        };
    }
    let (reason, next) = match facts.at_this_address(reported.last_signature_failure_at) {
        Some(at) => {
            let next = Text::new("status_first_signature").with("at", at);
            (SIGNATURE, next.with_text("field", Some(signed_with(reported))))
        }
        None if !facts.is_callable => {
            let next = match facts.has_long_connection {
                true => "status_not_public_or_connect",
                false => "status_not_public",
            };
            ("not_public", Text::new(next).with("url", facts.callback_url))
        }
        None => ("not_called", facts.registration.next(facts.callback_url)),
    };
    Condition {
        reason: Some(reason.to_owned()),
        ..up(ConnectionState::Connecting, Some(next))
    }
}

/// Reason of a webhook whose requests have an invalid signature.
const SIGNATURE: &str = "signature";

/// The credential that requests are signed with, as far as the last failure shows.
pub(super) fn signed_with(reported: &Status) -> Text {
    let failure = reported.signature_failure.as_ref();
    match failure.and_then(|failure| failure.field.as_ref()) {
        Some(field) => Text::new("field").with("field", field),
        None => Text::new("default_field"),
    }
}

/// When the platform last refused the credentials, if nothing newer is known about them.
fn refused_at(reported: &Status) -> Option<Timestamp> {
    let of_holder = reported.last_error.as_ref();
    let of_holder =
        of_holder.filter(|_| matches!(reported.reason.as_deref(), Some("config_invalid" | "login_expired")));
    let refusal = reported.credentials_refused.as_ref().or(of_holder);
    refusal.map(|error| error.at)
}

/// Whether a delivery or a probe was refused because of the credentials, and no reply was accepted since.
fn is_refused(facts: &Facts<'_>) -> bool {
    let reported = facts.reported;
    let is_known = reported.credentials_refused.is_some()
        // Earlier versions stored the refusal as a webhook's state.
        || facts.mode == ConnectionMode::Webhook && reported.reason.as_deref() == Some("config_invalid");
    is_known && (reported.last_reply_at.is_none() || reported.last_reply_at <= refused_at(reported))
}

fn refused(reported: &Status) -> Condition {
    let code = reported.credentials_refused.as_ref();
    let code = code.map_or_else(
        || code_of(reported),
        |error| Some(Text::new("status_code").with("code", &error.code)),
    );
    let refusal = reported.credentials_refused.as_ref().or(reported.last_error.as_ref());
    let obstacle = refusal.and_then(|error| Some((Obstacle::of(&error.code)?, &error.code)));
    let next = match obstacle {
        Some((obstacle, code)) => troubles::obstacle_text(obstacle, code),
        None => Text::new("status_refused").with_text("code", code),
    };
    down(ConnectionState::Disconnected, "config_invalid", next)
}

fn failed_since(reported: &Status, verified_at: Timestamp) -> bool {
    reported
        .last_signature_failure_at
        .is_some_and(|failed_at| failed_at > verified_at)
}

fn down(state: ConnectionState, reason: &str, next: Text) -> Condition {
    Condition {
        state,
        reason: Some(reason.to_owned()),
        connected_at: None,
        next: Some(next),
    }
}

fn up(state: ConnectionState, next: Option<Text>) -> Condition {
    Condition {
        state,
        reason: None,
        connected_at: None,
        next,
    }
}

#[cfg(test)]
pub(super) mod tests;
