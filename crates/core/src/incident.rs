//! Incidents: when an organization's operators are notified of what.
//!
//! Each check of the bots is compared with the open incidents. Beginnings and ends become events; the same cause of the
//! same bot at most once an hour, so that a flapping bot doesn't flood its operators.

use std::collections::HashMap;
use std::time::Duration;

use crate::ids::IntegrationId;
use crate::timestamp::Timestamp;

/// How long a bot may be down before its operators are notified. Shorter interruptions end by themselves.
pub const DOWN_PATIENCE: Duration = Duration::from_mins(3);
/// Shortest time between two notifications of the same cause.
pub const REPEAT_AFTER: Duration = Duration::from_hours(1);
/// Most incidents stored. Further ones begin when others have ended, so that the record's size is bounded.
pub const MAX_INCIDENTS: usize = 1000;

/// What can be wrong with a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    /// It has no connection, or its login has ended.
    Down,
    /// It is up, but its answers fail.
    AnswersFail,
}

/// Health of a bot in one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Fine,
    /// It is up, but its newest answers failed some time ago, and none has arrived since.
    Unproven,
    /// It is down because an operator stopped it, or was never set up. No event.
    Off,
    /// Something is wrong.
    Troubled {
        /// The kind.
        kind: IncidentKind,
        /// The reason in its status: `kicked`, `agent_failed`. Empty if the status has none.
        reason: String,
    },
}

/// A problem of a bot, from the first check that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The bot.
    pub integration: IntegrationId,
    /// What is wrong.
    pub kind: IncidentKind,
    /// Why.
    pub reason: String,
    /// When a check first found it.
    pub since: Timestamp,
    /// Whether operators have been notified of it, with this reason and this beginning.
    pub is_told: bool,
    /// When operators were last notified of this kind of incident of this bot.
    pub told_at: Option<Timestamp>,
    /// Whether it has ended, and is kept only because of `told_at`.
    pub is_over: bool,
    /// Since when checks have found [`Health::Unproven`], if the last one did.
    pub unproven_since: Option<Timestamp>,
}

/// Dead letters of which operators have not been notified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UntoldLetters {
    /// Their number.
    pub n: u32,
    /// When operators were last notified of dead letters.
    pub told_at: Option<Timestamp>,
}

/// What is stored of an organization's incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncidentBook {
    /// Open incidents, and ended ones of the last hour.
    pub incidents: Vec<Incident>,
    /// Dead letters.
    pub letters: UntoldLetters,
}

/// What operators are notified of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentEvent {
    /// An incident has begun, or its reason has changed.
    Began {
        /// The bot.
        integration: IntegrationId,
        /// What is wrong.
        kind: IncidentKind,
        /// Since when.
        since: Timestamp,
    },
    /// An incident of which operators were notified has ended.
    Ended {
        /// The bot.
        integration: IntegrationId,
        /// What was wrong.
        kind: IncidentKind,
        /// Since when it was.
        since: Timestamp,
    },
    /// Messages ended without an answer.
    DeadLetters {
        /// Their number since the last notification.
        n: u32,
    },
}

impl IncidentBook {
    /// Compares a check of all bots with the open incidents. A bot that is not in `found` counts as [`Health::Off`].
    pub fn look(&mut self, found: &HashMap<IntegrationId, Health>, now: Timestamp) -> Vec<IncidentEvent> {
        let mut events = Vec::new();
        for incident in &mut self.incidents {
            let health = found.get(&incident.integration).unwrap_or(&Health::Off);
            events.extend(incident.compare(health, now));
        }
        self.incidents
            .retain(|incident| !incident.is_over || incident.told_at.is_some_and(|at| now.since(at) < REPEAT_AFTER));
        let mut troubled: Vec<_> = found.iter().collect();
        // The iteration order of a map is random.
        troubled.sort_by_key(|(integration, _)| integration.as_str());
        for (integration, health) in troubled {
            if let Health::Troubled { kind, reason } = health
                && !self.knows(integration, *kind)
                && self.incidents.len() < MAX_INCIDENTS
            {
                let mut incident = Incident {
                    integration: integration.clone(),
                    kind: *kind,
                    reason: reason.clone(),
                    since: now,
                    is_told: false,
                    told_at: None,
                    is_over: false,
                    unproven_since: None,
                };
                events.extend(incident.tell_if_due(now));
                self.incidents.push(incident);
            }
        }
        events
    }

    /// Counts new dead letters. Returns the event if operators are to be notified now.
    pub fn count_letters(&mut self, n: u32, now: Timestamp) -> Option<IncidentEvent> {
        let letters = &mut self.letters;
        letters.n = letters.n.saturating_add(n);
        if letters.n == 0 || !may_repeat(letters.told_at, now) {
            return None;
        }
        letters.told_at = Some(now);
        Some(IncidentEvent::DeadLetters {
            n: std::mem::take(&mut letters.n),
        })
    }

    /// Whether answers of this bot are known to fail, so that its dead letters are no news.
    #[must_use]
    pub fn is_failing(&self, integration: &IntegrationId) -> bool {
        let mut open = self.incidents.iter().filter(|incident| !incident.is_over);
        open.any(|incident| incident.kind == IncidentKind::AnswersFail && incident.integration == *integration)
    }

    fn knows(&self, integration: &IntegrationId, kind: IncidentKind) -> bool {
        let mut incidents = self.incidents.iter();
        incidents.any(|known| known.kind == kind && known.integration == *integration)
    }
}

impl Incident {
    fn compare(&mut self, health: &Health, now: Timestamp) -> Option<IncidentEvent> {
        match health {
            Health::Troubled { kind, reason } if *kind == self.kind => self.goes_on(reason, now),
            // While a bot is down it is unknown whether its answers would fail.
            Health::Troubled { .. } if self.kind == IncidentKind::AnswersFail => None,
            // Nothing shows that they arrive again.
            Health::Unproven if self.kind == IncidentKind::AnswersFail => {
                self.unproven_since.get_or_insert(now);
                None
            }
            Health::Fine | Health::Unproven | Health::Troubled { .. } => self.end(true),
            // The operator who stopped it needs no notification.
            Health::Off => self.end(false),
        }
    }

    fn goes_on(&mut self, reason: &str, now: Timestamp) -> Option<IncidentEvent> {
        let quiet_since = self.unproven_since.take();
        // After a long silence it is another failure as likely as the same one.
        if self.is_over || quiet_since.is_some_and(|at| now.since(at) >= REPEAT_AFTER) {
            self.is_over = false;
            self.is_told = false;
            self.since = now;
        }
        // While a bot tries to connect its reason changes often: that alone is no news.
        if !reason.is_empty() && self.reason != reason {
            self.is_told &= self.reason.is_empty();
            reason.clone_into(&mut self.reason);
        }
        self.tell_if_due(now)
    }

    fn end(&mut self, is_news: bool) -> Option<IncidentEvent> {
        let was_known = !self.is_over && self.is_told && is_news;
        self.is_over = true;
        self.unproven_since = None;
        was_known.then(|| IncidentEvent::Ended {
            integration: self.integration.clone(),
            kind: self.kind,
            since: self.since,
        })
    }

    fn tell_if_due(&mut self, now: Timestamp) -> Option<IncidentEvent> {
        let patience = match self.kind {
            IncidentKind::Down => DOWN_PATIENCE,
            IncidentKind::AnswersFail => Duration::ZERO,
        };
        if self.is_told || now.since(self.since) < patience || !may_repeat(self.told_at, now) {
            return None;
        }
        self.is_told = true;
        self.told_at = Some(now);
        Some(IncidentEvent::Began {
            integration: self.integration.clone(),
            kind: self.kind,
            since: self.since,
        })
    }
}

fn may_repeat(told_at: Option<Timestamp>, now: Timestamp) -> bool {
    told_at.is_none_or(|at| now.since(at) >= REPEAT_AFTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_secs(minute * 60)
    }

    fn bot() -> IntegrationId {
        IntegrationId::new("int_1")
    }

    fn down(reason: &str) -> Health {
        Health::Troubled {
            kind: IncidentKind::Down,
            reason: reason.to_owned(),
        }
    }

    fn failing() -> Health {
        Health::Troubled {
            kind: IncidentKind::AnswersFail,
            reason: "agent_failed".to_owned(),
        }
    }

    /// The minutes at which one check per minute yields an event: `b` and `e` for the beginning and end of an outage, `B` and `E` for
    /// those of failing answers.
    fn play(health: impl Fn(i64) -> Health, minutes: i64) -> String {
        let mut book = IncidentBook::default();
        let mut seen = Vec::new();
        for minute in 0..minutes {
            for event in book.look(&HashMap::from([(bot(), health(minute))]), at(minute)) {
                let letter = match event {
                    IncidentEvent::Began {
                        kind: IncidentKind::Down,
                        ..
                    } => 'b',
                    IncidentEvent::Ended {
                        kind: IncidentKind::Down,
                        ..
                    } => 'e',
                    IncidentEvent::Began { .. } => 'B',
                    IncidentEvent::Ended { .. } => 'E',
                    IncidentEvent::DeadLetters { .. } => 'd',
                };
                seen.push(format!("{letter}{minute}"));
            }
        }
        seen.join(" ")
    }

    #[test]
    fn an_outage_of_three_minutes_is_notified_once_and_so_is_its_end() {
        let health = |minute| if minute < 300 { down("") } else { Health::Fine };
        assert_eq!(play(health, 400), "b3 e300");
        let short = |minute| if minute < 3 { down("") } else { Health::Fine };
        assert_eq!(play(short, 100), "");
    }

    #[test]
    fn a_flapping_bot_is_notified_once_an_hour() {
        let health = |minute: i64| if minute % 10 < 5 { down("") } else { Health::Fine };
        assert_eq!(play(health, 130), "b3 e5 b63 e65 b123 e125");
    }

    #[test]
    fn another_reason_is_news_but_not_within_the_hour() {
        let health = |minute| down(if minute < 10 { "silent" } else { "kicked" });
        assert_eq!(play(health, 200), "b3 b63");
        let coming_and_going = |minute| down(if minute % 2 == 0 { "silent" } else { "" });
        assert_eq!(play(coming_and_going, 200), "b3");
    }

    #[test]
    fn failing_answers_are_notified_at_once() {
        let health = |minute| if minute < 2 { failing() } else { Health::Fine };
        assert_eq!(play(health, 60), "B0 E2");
    }

    #[test]
    fn failing_answers_end_with_an_answer_and_not_with_silence() {
        let health = |minute| match minute {
            0..60 => failing(),
            60..90 => Health::Unproven,
            90..100 => failing(),
            100..200 => Health::Unproven,
            _ => Health::Fine,
        };
        assert_eq!(play(health, 300), "B0 E200");
        let after_days = |minute| match minute {
            0..60 | 4000..4100 => failing(),
            _ => Health::Unproven,
        };
        assert_eq!(play(after_days, 5000), "B0 B4000");
        assert_eq!(play(|_| Health::Unproven, 100), "");
        let outage = |minute| if minute < 10 { down("") } else { Health::Unproven };
        assert_eq!(play(outage, 60), "b3 e10");
    }

    #[test]
    fn an_outage_does_not_end_failing_answers() {
        let health = |minute| match minute {
            0..5 => failing(),
            5..10 => down(""),
            _ => failing(),
        };
        assert_eq!(play(health, 60), "B0 b8 e10");
    }

    #[test]
    fn stopped_or_deleted_bots_are_not_notified_any_more() {
        let health = |minute| if minute < 10 { down("") } else { Health::Off };
        assert_eq!(play(health, 60), "b3");
        let mut book = IncidentBook::default();
        book.look(&HashMap::from([(bot(), failing())]), at(0));
        assert_eq!(book.look(&HashMap::new(), at(1)), []);
        assert!(!book.is_failing(&bot()));
        book.look(&HashMap::new(), at(60));
        assert_eq!(book, IncidentBook::default());
    }

    #[test]
    fn dead_letters_are_counted_until_the_next_notification() {
        let mut book = IncidentBook::default();
        assert_eq!(book.count_letters(0, at(0)), None);
        assert_eq!(book.count_letters(2, at(1)), Some(IncidentEvent::DeadLetters { n: 2 }));
        assert_eq!(book.count_letters(3, at(30)), None);
        assert_eq!(book.count_letters(0, at(61)), Some(IncidentEvent::DeadLetters { n: 3 }));
        assert_eq!(book.count_letters(0, at(200)), None);
    }

    proptest! {
        #[test]
        fn no_kind_of_incident_is_notified_twice_within_an_hour(looks in proptest::collection::vec(0u8..6, 0..300)) {
            let mut book = IncidentBook::default();
            let mut last: HashMap<IncidentKind, i64> = HashMap::new();
            for (minute, look) in (0..).zip(looks) {
                let health = match look {
                    0 => Health::Fine,
                    1 => Health::Off,
                    2 => down("silent"),
                    3 => down("kicked"),
                    4 => Health::Unproven,
                    _ => failing(),
                };
                for event in book.look(&HashMap::from([(bot(), health)]), at(minute)) {
                    if let IncidentEvent::Began { kind, .. } = event {
                        prop_assert!(last.insert(kind, minute).is_none_or(|before| minute - before >= 60));
                    }
                }
                prop_assert!(book.incidents.len() <= 2);
            }
        }
    }
}
