//! Who reaches whom: platform, relay, agent.

use tieline_store::status::ConnectionState;

use super::{Facts, Finding, bad, good};

pub(super) fn credentials(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "credentials";
    let (ok, detail) = facts.credentials.as_ref()?;
    Some(if *ok {
        good(NAME, detail)
    } else {
        let next = "Compare the credentials with those on the platform; if they are right, see whether its address can be reached.";
        bad(NAME, detail, next)
    })
}

pub(super) fn address_verified(facts: &Facts) -> Finding {
    const NAME: &str = "url_verified";
    let url = &facts.callback_url;
    if let Some(at) = facts.reported.verified_at.max(facts.reported.last_event_at) {
        return good(NAME, format!("the platform last proved a request at {at}"));
    }
    if !facts.is_callable {
        return bad(
            NAME,
            format!("{url} is not a public https address, so the platform can't call it"),
            "Give this deployment a public https address (--public-url), or use a long connection.",
        );
    }
    bad(
        NAME,
        "the platform has never called us with a proof",
        format!("Enter {url} as the callback address on the platform, save it there, and send the bot a message."),
    )
}

pub(super) fn signature(facts: &Facts) -> Finding {
    const NAME: &str = "signature";
    let proved_at = facts.reported.verified_at.max(facts.reported.last_event_at);
    match facts.reported.last_signature_failure_at {
        None => good(NAME, "no request had a wrong signature"),
        Some(failed_at) if proved_at.is_some_and(|at| at >= failed_at) => good(
            NAME,
            format!("the last wrong signature was at {failed_at}; requests were proved since"),
        ),
        Some(failed_at) => bad(
            NAME,
            format!("a request at {failed_at} could not be proved: its signature or encryption doesn't match"),
            "Compare the token and keys here with those on the platform; see the integration's log.",
        ),
    }
}

pub(super) fn relay(facts: &Facts) -> Finding {
    const NAME: &str = "relay";
    let Some(held) = &facts.relay else {
        return good(NAME, "no connection is needed");
    };
    let wanted = facts.enabled && facts.bound.is_some() && facts.unusable.is_none();
    match (&held.holder, held.lease_left) {
        (Some(holder), Some(left)) => good(
            NAME,
            format!(
                "{holder} holds the connection; its lease counts {} s more",
                left.as_secs()
            ),
        ),
        _ if held.n_alive == 0 => bad(
            NAME,
            "no relay process is alive, so nobody holds the connection",
            "Start the relay, or see why it doesn't run.",
        ),
        _ if wanted => bad(
            NAME,
            format!(
                "{} relay process(es) are alive, but none holds this connection yet",
                held.n_alive
            ),
            "Wait 15 s; if it stays so, see the relay's log.",
        ),
        _ => good(NAME, format!("{} relay process(es) are alive", held.n_alive)),
    }
}

pub(super) fn connection(facts: &Facts) -> Finding {
    const NAME: &str = "connection";
    let condition = &facts.condition;
    let next = condition
        .next
        .clone()
        .unwrap_or_else(|| "See the integration's log.".to_owned());
    let attempts = facts.reported.reconnect_attempts;
    match (condition.state, &condition.reason) {
        (ConnectionState::Connected, _) => match condition.connected_at {
            Some(at) => good(NAME, format!("it is connected since {at}")),
            None => good(NAME, "it is connected"),
        },
        // Said already, by the questions before.
        (_, Some(reason)) if reason == "stopped" || reason == "unbound" => {
            good(NAME, format!("there is none on purpose: {reason}"))
        }
        (state, Some(reason)) => bad(
            NAME,
            format!("it is {}: {reason}{}", state.as_str(), last_error(facts)),
            next,
        ),
        (state, None) => bad(
            NAME,
            format!(
                "it is {}, {attempts} attempt(s) failed{}",
                state.as_str(),
                last_error(facts)
            ),
            next,
        ),
    }
}

fn last_error(facts: &Facts) -> String {
    let error = facts.reported.last_error.as_ref();
    error.map_or_else(String::new, |error| {
        format!("; last error at {}: {} {}", error.at, error.code, error.message)
    })
}

pub(super) fn agent(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "agent_reachable";
    let agent = facts.agent.as_ref()?;
    Some(match &agent.failure {
        None => good(
            NAME,
            format!("agent \"{}\" answers within {} ms", agent.name, agent.millis),
        ),
        Some((code, why)) => bad(
            NAME,
            format!("agent \"{}\" does not answer as it should: {code}: {why}", agent.name),
            "See whether the agent runs, and whether its address and key are right; then test the agent.",
        ),
    })
}

pub(super) fn rate_limits(facts: &Facts) -> Finding {
    const NAME: &str = "rate_limits";
    match facts.reported.rate_limited_until.filter(|until| *until > facts.now) {
        None => good(NAME, "the platform takes what we send"),
        Some(until) => bad(
            NAME,
            format!("the platform wants us to be quiet until {until}"),
            "Wait: answers are held back, not lost. If it comes often, ask the platform for more.",
        ),
    }
}
