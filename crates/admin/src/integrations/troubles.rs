//! Problems of a connected bot, as its newest messages and calls show.

use std::time::Duration;

use tieline_bridge::delivery_status::CALLS_FAIL;
use tieline_core::account::ConnectionMode;
use tieline_core::timestamp::Timestamp;
use tieline_store::message::{FailedAnswer, LATELY};
use tieline_store::status::{ConnectionState, Status, StatusError};

use super::facts::Facts;
use super::obstacle::Obstacle;
use crate::texts::Text;

/// An agent whose first text takes longer than this is slow.
pub(super) const SLOW: Duration = Duration::from_secs(20);

/// A problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// `degraded` if answers fail; `connected` if they are late or were refused on purpose.
    pub(super) state: ConnectionState,
    pub(super) reason: &'static str,
    pub(super) next: Text,
}

/// The gravest problem.
pub(super) fn gravest(facts: &Facts<'_>) -> Option<Trouble> {
    failed_answer(facts)
        .or_else(|| failing_calls(facts))
        .or_else(|| empty_answer(facts))
        .or_else(|| refused_message(facts))
        .or_else(|| rate_limit(facts))
        .or_else(|| turned_away(facts))
        .or_else(|| slow_agent(facts))
}

const fn degraded(reason: &'static str, next: Text) -> Option<Trouble> {
    Some(Trouble {
        state: ConnectionState::Degraded,
        reason,
        next,
    })
}

const fn connected(reason: &'static str, next: Text) -> Option<Trouble> {
    Some(Trouble {
        state: ConnectionState::Connected,
        reason,
        next,
    })
}

/// Whether a problem is recent and neither the agent nor the integration was changed since, which would give it another chance.
fn still_counts(facts: &Facts<'_>, at: Timestamp) -> bool {
    let changed_at = facts.agent_changed_at.max(Some(facts.changed_at));
    facts.now.since(at) < LATELY && changed_at.is_none_or(|changed_at| changed_at <= at)
}

fn failed_answer(facts: &Facts<'_>) -> Option<Trouble> {
    let failed = facts.reported.failed_answer.as_ref();
    let failed = failed.filter(|failed| still_counts(facts, failed.at))?;
    if failed.is_agents {
        let words = failed.detail.as_ref();
        let words = words.map(|words| Text::new("words").with("words", words));
        let next = Text::new("status_agent_failed").with_text("words", words);
        return degraded("agent_failed", next.with("code", &failed.code));
    }
    let next = match Obstacle::of(&failed.code) {
        Some(obstacle) => obstacle_text(obstacle, &failed.code),
        None => Text::new("status_delivery_failed").with("code", &failed.code),
    };
    degraded("delivery_failed", next)
}

/// What went wrong with an answer, in one clause.
pub(super) fn explain(failed: &FailedAnswer) -> Text {
    let (code, words) = match failed.is_agents {
        true => {
            let words = failed.detail.as_ref();
            (
                "cause_agent_failed",
                words.map(|words| Text::new("words").with("words", words)),
            )
        }
        false => {
            let why = Obstacle::of(&failed.code).map(Obstacle::explain);
            (
                "cause_delivery_failed",
                why.map(|why| Text::new("words").with_text("words", Some(why))),
            )
        }
    };
    Text::new(code).with("code", &failed.code).with_text("words", words)
}

/// How to remove an obstacle, and what it is.
pub(super) fn obstacle_text(obstacle: Obstacle, code: &str) -> Text {
    let text = Text::new("status_obstacle").with_text("next", Some(obstacle.next()));
    text.with_text("why", Some(obstacle.explain())).with("code", code)
}

/// The newest of several failed calls in a row to the platform, if no reply was accepted since.
pub(super) fn failed_calls(mode: ConnectionMode, reported: &Status) -> Option<&StatusError> {
    let error = reported
        .last_error
        .as_ref()
        .filter(|error| error.message == CALLS_FAIL)?;
    let came_up_at = match mode {
        ConnectionMode::LongConnection => reported.connected_at,
        ConnectionMode::Webhook => None,
    };
    let is_over = reported.last_reply_at.max(came_up_at).is_some_and(|at| at >= error.at);
    (!is_over).then_some(error)
}

fn failing_calls(facts: &Facts<'_>) -> Option<Trouble> {
    let error = failed_calls(facts.mode, facts.reported).filter(|error| still_counts(facts, error.at))?;
    let next = match Obstacle::of(&error.code) {
        Some(obstacle) => obstacle_text(obstacle, &error.code),
        None => Text::new("status_calls_fail").with("code", &error.code),
    };
    degraded("platform_unavailable", next)
}

fn empty_answer(facts: &Facts<'_>) -> Option<Trouble> {
    let at = facts
        .reported
        .troubles
        .empty_answer_at
        .filter(|at| still_counts(facts, *at))?;
    degraded("empty_answer", Text::new("status_empty_answer").with("at", at))
}

fn refused_message(facts: &Facts<'_>) -> Option<Trouble> {
    let (at, reason) = facts.reported.troubles.refused.as_ref()?;
    let next = Text::new("status_refused_message")
        .with("at", at)
        .with("reason", reason);
    still_counts(facts, *at).then(|| connected("message_refused", next))?
}

fn rate_limit(facts: &Facts<'_>) -> Option<Trouble> {
    let until = facts.reported.rate_limited_until.filter(|until| *until > facts.now)?;
    connected("rate_limited", Text::new("status_rate_limited").with("until", until))
}

fn turned_away(facts: &Facts<'_>) -> Option<Trouble> {
    let at = facts
        .reported
        .troubles
        .turned_away_at
        .filter(|_| facts.restricts_access);
    let at = at.filter(|at| still_counts(facts, *at))?;
    connected("not_allowed", Text::new("status_turned_away").with("at", at))
}

fn slow_agent(facts: &Facts<'_>) -> Option<Trouble> {
    let after = facts.reported.troubles.first_text_after.filter(|after| *after > SLOW)?;
    connected("slow", Text::new("status_slow").with("seconds", after.as_secs()))
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::MessageId;
    use tieline_store::message::Troubles;

    use super::*;
    use crate::integrations::effective_status::tests::facts;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[track_caller]
    fn check(reported: &Status, expected: Option<(ConnectionState, &str)>) {
        let found = gravest(&facts(ConnectionMode::Webhook, reported));
        let found = found.as_ref().map(|trouble| (trouble.state, trouble.reason));
        assert_eq!(found, expected);
    }

    fn troubled(troubles: Troubles) -> Status {
        Status {
            troubles,
            ..Status::default()
        }
    }

    #[test]
    fn each_trouble_has_its_reason() {
        use ConnectionState::{Connected, Degraded};
        check(&Status::default(), None);
        let failing = StatusError {
            at: at(50),
            code: "unreachable".into(),
            message: CALLS_FAIL.into(),
        };
        let mut status = Status {
            last_error: Some(failing),
            ..Status::default()
        };
        check(&status, Some((Degraded, "platform_unavailable")));
        status.last_reply_at = Some(at(51));
        check(&status, None);
        check(
            &troubled(Troubles {
                empty_answer_at: Some(at(60)),
                ..Troubles::default()
            }),
            Some((Degraded, "empty_answer")),
        );
        check(
            &troubled(Troubles {
                turned_away_at: Some(at(60)),
                ..Troubles::default()
            }),
            Some((Connected, "not_allowed")),
        );
        check(
            &troubled(Troubles {
                refused: Some((at(60), "stale".into())),
                ..Troubles::default()
            }),
            Some((Connected, "message_refused")),
        );
        let first_text_after = |after| {
            troubled(Troubles {
                first_text_after: Some(after),
                ..Troubles::default()
            })
        };
        check(&first_text_after(SLOW), None);
        check(
            &first_text_after(SLOW + Duration::from_secs(1)),
            Some((Connected, "slow")),
        );
        let limited = Status {
            rate_limited_until: Some(at(101)),
            ..Status::default()
        };
        check(&limited, Some((Connected, "rate_limited")));
    }

    #[test]
    fn refused_delivery_has_a_next_step() {
        let failed = FailedAnswer {
            message: MessageId::new("msg_1"),
            at: at(60),
            is_agents: false,
            code: "window_closed".into(),
            detail: None,
        };
        let status = Status {
            failed_answer: Some(failed),
            ..Status::default()
        };
        let found = gravest(&facts(ConnectionMode::Webhook, &status)).unwrap();
        let next = found.next.render(tieline_core::notice::Language::English);
        assert!(next.contains("write again") && next.contains("window_closed"), "{next}");
    }
}
