//! Checks of reachability between platform, relay and agent.

use tieline_core::account::ConnectionMode;
use tieline_core::connector::Withheld;
use tieline_store::message::LATELY;
use tieline_store::status::ConnectionState;

use super::{Action, AgentAnswer, Credentials, Facts, Finding, Level, Remedy, bad, good, unknown, warning};
use crate::integrations::obstacle::Obstacle;
use crate::integrations::registration::Registration;
use crate::integrations::remedy::SET_PUBLIC_URL;
use crate::integrations::troubles::SLOW;
use crate::integrations::{effective_status, last_error, probe};
use crate::texts::Text;

pub(super) fn platform(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "platform_reachable";
    let unreached = facts.hosts.iter().find_map(|host| Some((host, host.failure.clone()?)));
    if let Some((host, why)) = unreached {
        let detail = Text::new("platform_unreachable")
            .with("host", &host.host)
            .with_text("why", Some(why));
        let next = Text::new("platform_unreachable_next")
            .with("field", host.field)
            .with("host", &host.host);
        return Some(bad(NAME, detail, next, Remedy::new(Action::EditSettings)));
    }
    let hosts: Vec<&str> = facts.hosts.iter().map(|host| host.host.as_str()).collect();
    (!hosts.is_empty()).then(|| good(NAME, Text::new("platform_ok").with("hosts", hosts.join(", "))))
}

pub(super) fn credentials(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "credentials";
    let fields = || match facts.credential_fields.as_str() {
        "" => Text::new("default_fields"),
        fields => Text::new("field").with("field", fields),
    };
    Some(match facts.credentials.as_ref()? {
        // The credentials aren't at fault: see [`platform_setup`].
        Credentials::Refused { code } | Credentials::Unavailable { code } if Obstacle::of(code).is_some() => {
            return None;
        }
        Credentials::Accepted => good(NAME, Text::new("credentials_ok")),
        Credentials::Refused { code } => bad(
            NAME,
            Text::new("credentials_refused")
                .with("code", code)
                .with_text("fields", Some(fields())),
            Text::new("credentials_next").with_text("fields", Some(fields())),
            Remedy::new(Action::EditCredentials),
        ),
        Credentials::Unavailable { code } => unknown(
            NAME,
            Text::new("credentials_unavailable").with("code", code),
            Text::new("credentials_unavailable_next"),
            Action::ViewLog,
        ),
        Credentials::Untold if is_proved(facts) => good(NAME, Text::new("credentials_proved")),
        Credentials::Untold => unknown(
            NAME,
            Text::new("credentials_unknown"),
            Text::new("credentials_unknown_next"),
            Action::CopyCallbackUrl,
        ),
    })
}

/// What blocks the bot at the platform although its credentials are right. `None`: nothing known.
pub(super) fn platform_setup(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "platform_setup";
    let told = match facts.credentials.as_ref()? {
        Credentials::Refused { code } | Credentials::Unavailable { code } => Some(code),
        Credentials::Accepted | Credentials::Untold => None,
    };
    let is_down = matches!(
        facts.condition.state,
        ConnectionState::Disconnected | ConnectionState::Retrying
    );
    let last = facts.reported.last_error.as_ref().filter(|_| is_down);
    let code = told.or(last.map(|error| &error.code))?;
    let obstacle = Obstacle::of(code)?;
    let detail = Text::new("obstacle").with_text("why", Some(obstacle.explain()));
    let remedy = Remedy::new(obstacle.action());
    Some(bad(NAME, detail.with("code", code), obstacle.next(), remedy))
}

/// Whether the platform delivers to this deployment. `None`: the platform can't be asked.
pub(super) fn delivery_address(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "delivery_address";
    let (actual, url) = (facts.delivers_to.as_ref()?, &facts.callback_url);
    if actual == url || facts.public_callback_url.as_ref() == Some(actual) {
        return Some(good(NAME, Text::new("delivers_here").with("url", actual)));
    }
    // The platform did not accept our address, for a reason that the next check names.
    if actual.is_empty() && !facts.is_public {
        return None;
    }
    let detail = match actual.as_str() {
        "" => Text::new("delivers_nowhere"),
        _ => Text::new("delivers_elsewhere").with("host", probe::host_of(actual)),
    };
    let next = match (&facts.registration, actual.as_str()) {
        (Registration::Due(_), _) => facts.registration.next(url),
        (_, "") => Text::new("delivers_nowhere_next").with("url", url),
        _ => Text::new("delivers_next").with("url", url),
    };
    Some(bad(NAME, detail.with("url", url), next, Remedy::new(Action::Restart)))
}

/// What the platform withholds from the bot. `None`: nothing known.
pub(super) fn withheld(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "withheld";
    let (detail, next) = match facts.withheld? {
        Withheld::GroupMessages => ("withheld_groups", "withheld_groups_next"),
        Withheld::UnmentionedText => ("withheld_text", "withheld_text_next"),
    };
    let detail = Text::new(detail);
    // Platforms withhold these messages by default, and mentions of the bot arrive: only some triggers need more.
    if !facts.needs_unaddressed {
        return Some(Finding {
            level: Level::Warning,
            ..good(NAME, detail)
        });
    }
    let remedy = match facts.withheld? {
        // The platform has to add the bot to its groups again, which no action here does.
        Withheld::GroupMessages => facts
            .bound
            .as_ref()
            .map(|trigger| Remedy::on(Action::EditTrigger, trigger)),
        // The connection asks for the text when it is opened.
        Withheld::UnmentionedText => Some(Remedy::new(Action::Restart)),
    };
    Some(warning(NAME, detail, Text::new(next), remedy))
}

/// Whether the platform's behaviour proves that the credentials work.
fn is_proved(facts: &Facts) -> bool {
    match facts.mode {
        ConnectionMode::LongConnection => {
            matches!(
                facts.condition.state,
                ConnectionState::Connected | ConnectionState::Degraded
            )
        }
        ConnectionMode::Webhook => facts.reported.verified_at.max(facts.reported.last_event_at).is_some(),
    }
}

pub(super) fn address_verified(facts: &Facts) -> Finding {
    const NAME: &str = "url_verified";
    let url = &facts.callback_url;
    if let Some(at) = facts.called_at {
        return good(NAME, Text::new("url_verified").with("at", at));
    }
    if !facts.is_public {
        return bad(
            NAME,
            Text::new("url_not_public").with("url", url),
            Text::new(match facts.has_long_connection {
                true => "url_not_public_or_connect_next",
                false => "url_not_public_next",
            }),
            Remedy::on(Action::SetPublicUrl, SET_PUBLIC_URL),
        );
    }
    let (next, remedy) = match facts.registration {
        Registration::ByHand => (
            Text::new("url_never_called_next").with("url", url),
            Remedy::on(Action::CopyCallbackUrl, url),
        ),
        _ => (facts.registration.next(url), Remedy::new(Action::Restart)),
    };
    bad(NAME, Text::new("url_never_called").with("url", url), next, remedy)
}

pub(super) fn signature(facts: &Facts) -> Finding {
    const NAME: &str = "signature";
    let proved_at = facts.reported.verified_at.max(facts.reported.last_event_at);
    match facts.reported.last_signature_failure_at {
        None => good(NAME, Text::new("signature_ok")),
        Some(failed_at) if proved_at.is_some_and(|at| at >= failed_at) => {
            good(NAME, Text::new("signature_old").with("at", failed_at))
        }
        Some(failed_at) => {
            let field = effective_status::signed_with(&facts.reported);
            let failure = facts.reported.signature_failure.as_ref();
            let reason = failure.map_or("its signature or encryption doesn't match", |it| &it.reason);
            let refused = |code| {
                Text::new(code)
                    .with("at", failed_at)
                    .with("reason", reason)
                    .with_text("field", Some(field.clone()))
            };
            // Everyone can call the address. Where the same credentials have authenticated requests, a stranger's request must not hide what
            // is really wrong.
            if let Some(proved_at) = proved_at.filter(|at| *at >= facts.changed_at) {
                return Finding {
                    level: Level::Warning,
                    ..good(NAME, refused("signature_refused_one").with("proved", proved_at))
                };
            }
            bad(
                NAME,
                refused("signature_bad"),
                Text::new("signature_next").with_text("field", Some(field.clone())),
                Remedy::new(Action::EditCredentials),
            )
        }
    }
}

pub(super) fn relay(facts: &Facts) -> Finding {
    const NAME: &str = "relay";
    let Some(held) = &facts.relay else {
        return good(NAME, Text::new("relay_not_needed"));
    };
    let wanted = facts.enabled && facts.bound.is_some() && facts.unusable.is_none();
    match (&held.holder, held.lease_left) {
        (Some(holder), Some(left)) => good(
            NAME,
            Text::new("relay_holds")
                .with("holder", holder)
                .with("seconds", left.as_secs()),
        ),
        _ if held.n_alive == 0 => bad(
            NAME,
            Text::new("relay_none"),
            Text::new("relay_none_next"),
            Remedy::new(Action::ViewLog),
        ),
        _ if wanted => bad(
            NAME,
            Text::new("relay_pending").with("n", held.n_alive),
            Text::new("relay_pending_next"),
            Remedy::new(Action::Restart),
        ),
        _ => good(NAME, Text::new("relay_alive").with("n", held.n_alive)),
    }
}

pub(super) fn connection(facts: &Facts) -> Finding {
    const NAME: &str = "connection";
    let condition = &facts.condition;
    let next = || condition.next.clone().unwrap_or_else(|| Text::new("connection_next"));
    let state = condition.state.as_str();
    let remedy = |reason: Option<&str>| match (condition.state, reason) {
        (ConnectionState::NeedsLogin, _) | (_, Some("login_expired")) => Remedy::new(Action::Login),
        (_, Some("config_invalid")) => Remedy::new(Action::EditCredentials),
        _ => Remedy::new(Action::Restart),
    };
    match (condition.state, condition.reason.as_deref()) {
        (ConnectionState::Connected | ConnectionState::Degraded, _) => match condition.connected_at {
            Some(at) => good(NAME, Text::new("connection_since").with("at", at)),
            None => good(NAME, Text::new("connection_up")),
        },
        (ConnectionState::NeedsLogin, None) => {
            let login = Remedy::new(Action::Login);
            bad(NAME, Text::new("connection_login"), next(), login)
        }
        // Already reported by earlier checks.
        (_, Some(reason @ ("stopped" | "unbound"))) => {
            good(NAME, Text::new("connection_on_purpose").with("reason", reason))
        }
        (_, Some(reason)) => {
            let detail = Text::new("connection_down").with("state", state).with("reason", reason);
            bad(
                NAME,
                detail.with_text("error", newest_error(facts)),
                next(),
                remedy(Some(reason)),
            )
        }
        (_, None) => {
            let detail = Text::new("connection_retrying")
                .with("state", state)
                .with("attempts", facts.reported.reconnect_attempts);
            bad(
                NAME,
                detail.with_text("error", newest_error(facts)),
                next(),
                remedy(None),
            )
        }
    }
}

fn newest_error(facts: &Facts) -> Option<Text> {
    let error = facts.reported.last_error.as_ref()?;
    let text = Text::new("last_error").with("at", error.at).with("code", &error.code);
    Some(text.with_reported("message", &error.message, last_error::translated(error)))
}

/// The finding for the agents behind the bot: the first that failed, else the first that is slow, else the trigger's own.
pub(super) fn agents(facts: &Facts) -> Option<Finding> {
    let findings = || facts.agents.iter().map(agent);
    let worst = |level| findings().find(|finding| finding.level == level);
    worst(Level::Failed)
        .or_else(|| worst(Level::Warning))
        .or_else(|| findings().next())
}

fn agent(agent: &AgentAnswer) -> Finding {
    const NAME: &str = "agent_reachable";
    let named = |code: &str| Text::new(code).with("agent", &agent.name).with("host", &agent.host);
    if agent.is_gone {
        let (detail, next) = (named("agent_gone"), Text::new("agent_gone_next"));
        return bad(NAME, detail, next, Remedy::new(Action::EditTrigger));
    }
    match &agent.failure {
        None if u128::from(agent.millis) > SLOW.as_millis() => slow(NAME, agent),
        None => good(NAME, named("agent_ok").with("millis", agent.millis)),
        // The agent may just be thinking: only a failed answer shows that it hangs.
        Some((code, _)) if code == "idle_timeout" => slow(NAME, agent),
        Some((code, why)) => {
            let (next, action) = match refusal(code, why) {
                Some(Refusal::Key) if !agent.secrets.is_empty() => ("agent_key_next", Action::EditAgent),
                Some(Refusal::Limit) => ("agent_limit_next", Action::TestAgent),
                Some(Refusal::NotFound) => ("agent_not_found_next", Action::EditAgent),
                Some(Refusal::Fault) => ("agent_fault_next", Action::TestAgent),
                Some(Refusal::Key) | None => ("agent_failed_next", Action::EditAgent),
            };
            let next = named(next).with("fields", &agent.secrets);
            let detail = named("agent_failed").with("code", code).with("why", why);
            bad(NAME, detail, next, Remedy::on(action, &agent.id))
        }
    }
}

/// What an agent's server, which is reachable, objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Key,
    /// A quota or a rate limit.
    Limit,
    /// The path, the model, or another resource.
    NotFound,
    /// An error of the server itself.
    Fault,
}

/// The objection that code and message of an agent's failure indicate. The HTTP status counts first: agents choose their codes freely.
fn refusal(code: &str, why: &str) -> Option<Refusal> {
    let number = code
        .strip_prefix("http_")
        .or_else(|| why.split_once("HTTP ")?.1.get(..3));
    match number.and_then(|number| number.parse().ok()) {
        Some(401 | 403) => Some(Refusal::Key),
        Some(402 | 429) => Some(Refusal::Limit),
        Some(404) => Some(Refusal::NotFound),
        Some(500..=599_u16) => Some(Refusal::Fault),
        _ if code == "invalid_api_key" => Some(Refusal::Key),
        _ if code.contains("rate_limit") || code.contains("quota") => Some(Refusal::Limit),
        _ if code == "model_not_found" => Some(Refusal::NotFound),
        _ => None,
    }
}

fn slow(name: &'static str, agent: &AgentAnswer) -> Finding {
    let detail = Text::new("agent_slow")
        .with("agent", &agent.name)
        .with("host", &agent.host)
        .with("seconds", SLOW.as_secs());
    let remedy = Remedy::on(Action::TestAgent, &agent.id);
    warning(name, detail, Text::new("agent_slow_next"), Some(remedy))
}

pub(super) fn rate_limits(facts: &Facts) -> Finding {
    const NAME: &str = "rate_limits";
    let next = || Text::new("rate_limited_next");
    let entry = facts.log.iter().find(|entry| entry.code == "rate_limited");
    if let Some(until) = facts.reported.rate_limited_until.filter(|until| *until > facts.now) {
        let error = entry.map(|entry| Text::new("words").with("words", &entry.message));
        let detail = Text::new("rate_limited").with("until", until).with_text("error", error);
        return warning(NAME, detail, next(), Some(Remedy::new(Action::ViewLog)));
    }
    match entry.filter(|entry| facts.now.since(entry.at) < LATELY) {
        Some(entry) => Finding {
            level: Level::Warning,
            ..good(NAME, Text::new("rate_limited_before").with("message", &entry.message))
        },
        None => good(NAME, Text::new("rate_ok")),
    }
}
