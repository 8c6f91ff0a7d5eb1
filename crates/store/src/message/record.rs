//! What a message's record says about it.

use std::time::Duration;

use tieline_core::account::are_different_accounts;
use tieline_core::ids;
use tieline_core::message_state::MessageState;
use tieline_core::timestamp::Timestamp;

use super::{EMPTY_ANSWER, EXPECTED_REFUSALS, MessageRecord, NOT_ALLOWED, OWN_ID, PROACTIVE, RECALLED, UNKNOWN_PERSON};

impl MessageRecord {
    /// Whether another bot account than this one received it. Only if both are known.
    #[must_use]
    pub fn is_of_other_account(&self, mark: Option<&str>) -> bool {
        are_different_accounts(self.account.as_deref(), mark)
    }

    /// Whether it is an operator's message: see [`PROACTIVE`]. Once it is shown as failed its reason is the failure's, so its id tells.
    #[must_use]
    pub fn is_proactive(&self) -> bool {
        let is_own = || self.sender.is_none() && ids::is_shaped(OWN_ID, self.platform_message.as_str());
        self.reason.as_deref() == Some(PROACTIVE) || is_own()
    }

    /// Whether nothing is known of it but that it was recalled: see [`RECALLED`].
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.conversation.is_none() && self.reason.as_deref() == Some(RECALLED)
    }

    /// Whether it was erased: only the tombstone is left.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.platform_message.as_str().is_empty()
    }

    /// The time of its newest step.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        self.steps.last().map_or(self.received_at, |step| step.at)
    }

    /// Whether its sender or chat was not on the trigger's access list.
    #[must_use]
    pub fn is_turned_away(&self) -> bool {
        self.state == MessageState::Refused && self.reason.as_deref() == Some(NOT_ALLOWED)
    }

    /// Whether it was refused because the organization's mapper doesn't know its sender.
    #[must_use]
    pub fn is_of_unknown_person(&self) -> bool {
        self.state == MessageState::Refused && self.reason.as_deref() == Some(UNKNOWN_PERSON)
    }

    /// The reason of its refusal, if neither its sender nor the operators have caused it deliberately.
    #[must_use]
    pub fn unexpected_refusal(&self) -> Option<&str> {
        let reason = self.reason.as_deref().unwrap_or("unknown");
        (self.state == MessageState::Refused && !EXPECTED_REFUSALS.contains(&reason)).then_some(reason)
    }

    /// Whether the agent ended its answer without text and files.
    #[must_use]
    pub fn has_empty_answer(&self) -> bool {
        self.steps.iter().any(|step| step.code.as_deref() == Some(EMPTY_ANSWER))
    }

    /// Time from the start of its run to the agent's first text. Of a redriven message with several runs: of the last run that had a text,
    /// since the time between the runs isn't the agent's.
    #[must_use]
    pub fn first_text_after(&self) -> Option<Duration> {
        let n_before = self.steps.iter().rposition(|step| step.step == "first_text")?;
        let started = self.steps[..n_before].iter().rfind(|step| step.step == "run_started")?;
        Some(self.steps[n_before].at.since(started.at))
    }
}
