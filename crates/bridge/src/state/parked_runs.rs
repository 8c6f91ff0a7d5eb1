//! Runs that this process has parked until their agents call back, their platform is ready, or their tenant has a free slot.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tieline_core::ids::{ConversationId, IntegrationId};
use tieline_core::timestamp::Timestamp;

/// Runs above which those whose time is over are forgotten.
const MANY: usize = 1000;

/// The conversations of parked runs. Another process may have continued a run since, or ended it.
#[derive(Debug, Default)]
pub struct ParkedRuns(Mutex<HashMap<ConversationId, ParkedRun>>);

#[derive(Debug)]
struct ParkedRun {
    integration: IntegrationId,
    until: Timestamp,
}

impl ParkedRuns {
    /// The run of a conversation is parked: it continues before then, unless its agent doesn't call back.
    pub fn add(&self, conversation: ConversationId, integration: IntegrationId, until: Timestamp, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when the map would grow, so that this takes constant time on average.
        if all.len() >= MANY && all.len() == all.capacity() {
            all.retain(|_, run| run.until > now);
        }
        all.insert(conversation, ParkedRun { integration, until });
    }

    /// This process works on the conversation again.
    pub fn remove(&self, conversation: &ConversationId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(conversation);
    }

    /// Whether any parked run of the integration may still continue. Linear in the number of parked runs.
    #[must_use]
    pub fn has_any_of(&self, integration: &IntegrationId, now: Timestamp) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values()
            .any(|run| run.integration == *integration && run.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_known_until_they_go_on_or_their_time_is_over() {
        let at = Timestamp::from_secs;
        let runs = ParkedRuns::default();
        let [one, other] = ["int_1", "int_2"].map(IntegrationId::new);
        for number in 0..2 {
            let id = ConversationId::new(format!("cnv_{number}"));
            runs.add(id, one.clone(), at(10 + number), at(0));
        }
        assert_eq!([&one, &other].map(|it| runs.has_any_of(it, at(9))), [true, false]);
        runs.remove(&ConversationId::new("cnv_1"));
        assert!(runs.has_any_of(&one, at(9)) && !runs.has_any_of(&one, at(10)));
    }

    #[test]
    fn number_of_runs_whose_time_is_over_is_bounded() {
        let runs = ParkedRuns::default();
        for number in 0..20_000 {
            let id = ConversationId::new(format!("cnv_{number}"));
            let now = Timestamp::from_secs(number);
            runs.add(
                id,
                IntegrationId::new("int_1"),
                now.after(std::time::Duration::from_secs(5)),
                now,
            );
        }
        assert!(runs.0.lock().unwrap().len() < 4 * MANY);
    }
}
