//! Health of all bots of an organization, for notifications.

use futures_util::{StreamExt as _, stream};
use tieline_core::account::ConnectionMode;
use tieline_core::ids::OrganizationId;
use tieline_core::incident::{Health, IncidentKind};
use tieline_core::notice::Language;
use tieline_store::config::integration::{self, IntegrationRecord};
use tieline_store::status::{ConnectionState, Status};

use super::effective_status::Condition;
use super::status::{self, Seen};
use super::troubles;
use crate::problem::Problem;
use crate::state::AdminState;

/// Integrations whose status is read concurrently.
const CONCURRENCY: usize = 8;
/// Page size of the reads.
const PAGE: usize = 200;

/// The current health of a bot.
#[derive(Debug)]
pub(crate) struct BotHealth {
    pub(crate) record: IntegrationRecord,
    pub(crate) health: Health,
    pub(crate) state: ConnectionState,
    pub(crate) reason: Option<String>,
    /// The operator's next step in one sentence.
    pub(crate) next: Option<String>,
}

/// The health of all bots of an organization.
pub(crate) async fn of_all(
    state: &AdminState,
    organization: &OrganizationId,
    language: Language,
) -> Result<Vec<BotHealth>, Problem> {
    let mut bots = Vec::new();
    let mut cursor = None;
    loop {
        let found = integration::list(&state.world.store, organization, cursor.as_deref(), PAGE).await?;
        // A loop instead of a closure, because the compiler can't prove that a closure's futures are `Send`.
        let mut asked = Vec::with_capacity(found.items.len());
        for record in found.items {
            asked.push(of(state, record, language));
        }
        let page: Vec<_> = stream::iter(asked).buffered(CONCURRENCY).collect().await;
        for bot in page {
            bots.extend(bot?);
        }
        cursor = found.cursor;
        if cursor.is_none() {
            return Ok(bots);
        }
    }
}

/// The current health of a bot. `None`: it was deleted meanwhile.
async fn of(state: &AdminState, record: IntegrationRecord, language: Language) -> Result<Option<BotHealth>, Problem> {
    let seen = match status::look(state, &record).await {
        Err(problem) if problem.code() == "integration_not_found" => return Ok(None),
        seen => seen?,
    };
    let Seen {
        condition, reported, ..
    } = seen;
    Ok(Some(BotHealth {
        health: judge(&condition, record.mode, &reported),
        state: condition.state,
        next: condition.next.map(|next| next.render(language)),
        reason: condition.reason,
        record,
    }))
}

fn judge(condition: &Condition, mode: ConnectionMode, reported: &Status) -> Health {
    let reason = condition.reason.clone().unwrap_or_default();
    let kind = match condition.state {
        _ if reason == "unbound" => return Health::Off,
        ConnectionState::Disabled => return Health::Off,
        // The platform has never called: still being set up.
        ConnectionState::Connecting if mode == ConnectionMode::Webhook => return Health::Off,
        // The account has never logged in: still being set up.
        ConnectionState::NeedsLogin if reported.last_connected_at.is_none() => return Health::Off,
        ConnectionState::Connected if is_unproven(mode, reported) => return Health::Unproven,
        ConnectionState::Connected => return Health::Fine,
        ConnectionState::Degraded => IncidentKind::AnswersFail,
        ConnectionState::NeedsLogin
        | ConnectionState::Connecting
        | ConnectionState::Retrying
        | ConnectionState::Disconnected => IncidentKind::Down,
    };
    Health::Troubled { kind, reason }
}

/// Whether the newest answer or the newest calls failed. Even if that was too long ago for the status, or the agent was changed since, only
/// an answer that arrives shows that the cause is removed.
fn is_unproven(mode: ConnectionMode, reported: &Status) -> bool {
    reported.failed_answer.is_some() || troubles::failed_calls(mode, reported).is_some()
}

#[cfg(test)]
mod tests {
    use tieline_bridge::delivery_status::CALLS_FAIL;
    use tieline_core::ids::MessageId;
    use tieline_core::timestamp::Timestamp;
    use tieline_store::message::FailedAnswer;
    use tieline_store::status::StatusError;

    use super::*;

    #[track_caller]
    fn check(state: ConnectionState, reason: &str, was_up: bool, expected: [Option<IncidentKind>; 2]) {
        let condition = Condition {
            state,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            connected_at: None,
            next: None,
        };
        let reported = Status {
            last_connected_at: was_up.then(|| Timestamp::from_secs(1)),
            ..Status::default()
        };
        let kind = |mode| match judge(&condition, mode, &reported) {
            Health::Troubled { kind, .. } => Some(kind),
            Health::Fine | Health::Unproven | Health::Off => None,
        };
        assert_eq!(
            [kind(ConnectionMode::LongConnection), kind(ConnectionMode::Webhook)],
            expected
        );
    }

    #[test]
    fn stopped_and_unfinished_bots_are_no_incident() {
        let (down, fails) = (Some(IncidentKind::Down), Some(IncidentKind::AnswersFail));
        check(ConnectionState::Connected, "slow", true, [None, None]);
        check(ConnectionState::Disabled, "stopped", true, [None, None]);
        check(ConnectionState::Disconnected, "unbound", true, [None, None]);
        check(ConnectionState::NeedsLogin, "", false, [None, None]);
        check(ConnectionState::NeedsLogin, "login_expired", true, [down, down]);
        check(ConnectionState::Connecting, "not_called", false, [down, None]);
        check(ConnectionState::Retrying, "silent", true, [down, down]);
        check(ConnectionState::Disconnected, "kicked", true, [down, down]);
        check(ConnectionState::Degraded, "agent_failed", true, [fails, fails]);
    }

    #[test]
    fn failures_without_a_later_answer_leave_it_open_whether_answers_arrive() {
        let at = Timestamp::from_secs;
        let condition = |state| Condition {
            state,
            reason: None,
            connected_at: None,
            next: None,
        };
        let failed = Status {
            failed_answer: Some(FailedAnswer {
                message: MessageId::new("msg_1"),
                at: at(10),
                is_agents: true,
                code: "connect".into(),
                detail: None,
            }),
            ..Status::default()
        };
        let calls = Status {
            last_error: Some(StatusError {
                at: at(10),
                code: "unreachable".into(),
                message: CALLS_FAIL.into(),
            }),
            ..Status::default()
        };
        let later = Status {
            last_reply_at: Some(at(11)),
            ..calls.clone()
        };
        let health = |state, reported| judge(&condition(state), ConnectionMode::Webhook, reported);
        assert_eq!(health(ConnectionState::Connected, &failed), Health::Unproven);
        assert_eq!(health(ConnectionState::Connected, &calls), Health::Unproven);
        assert_eq!(health(ConnectionState::Connected, &later), Health::Fine);
        assert_eq!(health(ConnectionState::Disabled, &failed), Health::Off);
    }
}
