//! Cooldowns of ways to show replies, and rate limits of bots. In this process's memory; a bot's rate limit is
//! also stored in its status, for processes that start later.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::{sync, unsync};
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};

/// Most bots that are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// Cooldowns of bots and of their ways. Bounded: after an eviction the platform's next refusal starts one again.
#[derive(Debug)]
pub struct Cooldowns {
    /// Until when the richer way of a bot is closed.
    closed: sync::Cache<IntegrationId, Cooldown>,
    /// Until when ways of a bot cool down, by the connector's name for them.
    resting: Mutex<unsync::Cache<IntegrationId, Vec<(&'static str, Cooldown)>>>,
    /// Until when bots are known to be rate limited.
    limited: Mutex<unsync::Cache<IntegrationId, Cooldown>>,
    /// Until when no call is made for a bot, or for one of its chats, because the platform has asked to slow down.
    held: Mutex<unsync::Cache<(IntegrationId, Option<ChatId>), Cooldown>>,
    /// Bots whose stored rate limit was read.
    read: sync::Cache<IntegrationId, ()>,
}

/// A cooldown, which ends by itself.
#[derive(Debug, Clone, Copy)]
struct Cooldown {
    since: Timestamp,
    until: Timestamp,
}

impl Cooldown {
    /// Its end, if it is still in effect. One that has not begun yet was noted by a clock that was ahead and has been set back since: its end
    /// may be hours away.
    fn end(self, now: Timestamp) -> Option<Timestamp> {
        let has_begun = self.since.since(now) <= CLOCKS_DIFFER;
        Some(self.until).filter(|until| has_begun && now < *until)
    }
}

impl Default for Cooldowns {
    fn default() -> Self {
        Self {
            closed: sync::Cache::new(MAX_REMEMBERED),
            resting: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
            limited: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
            held: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
            read: sync::Cache::new(MAX_REMEMBERED),
        }
    }
}

/// Rate limits whose ends differ by less are the same one, met by several chats.
const SAME_LIMIT: Duration = Duration::from_secs(1);

impl Cooldowns {
    /// Whether the bot's richer way is closed.
    #[must_use]
    pub fn is_closed(&self, id: &IntegrationId, now: Timestamp) -> bool {
        self.closed.get(id).is_some_and(|known| known.end(now).is_some())
    }

    /// The ways of a bot that cool down, and until when.
    #[must_use]
    pub fn resting(&self, id: &IntegrationId, now: Timestamp) -> Vec<(&'static str, Timestamp)> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_bot = resting.get(id).into_iter().flatten();
        of_bot
            .filter_map(|(way, known)| Some((*way, known.end(now)?)))
            .collect()
    }

    pub(crate) fn close(&self, id: &IntegrationId, until: Timestamp, now: Timestamp) {
        self.closed.insert(id.clone(), Cooldown { since: now, until });
    }

    pub(crate) fn rest(&self, id: &IntegrationId, way: &'static str, until: Timestamp, now: Timestamp) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_bot = resting.remove(id).map(|(_, ways)| ways).unwrap_or_default();
        of_bot.retain(|(other, known)| *other != way && known.end(now).is_some());
        of_bot.push((way, Cooldown { since: now, until }));
        resting.insert(id.clone(), of_bot);
    }

    /// Records that the bot is rate limited. Returns whether that is new.
    pub(crate) fn limit(&self, id: &IntegrationId, until: Timestamp, now: Timestamp) -> bool {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        let known = limited.get(id).and_then(|known| known.end(now));
        if known.is_some_and(|known| until < known.after(SAME_LIMIT)) {
            return false;
        }
        limited.insert(id.clone(), Cooldown { since: now, until });
        true
    }

    /// Holds the calls of a bot, or of one of its chats, until then. An earlier hold that lasts longer stays.
    pub(crate) fn hold(&self, id: &IntegrationId, chat: Option<&ChatId>, until: Timestamp, now: Timestamp) {
        let key = (id.clone(), chat.cloned());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(&key).and_then(|known| known.end(now));
        if known.is_none_or(|known| known < until) {
            held.insert(key, Cooldown { since: now, until });
        }
    }

    /// Forgets the rate limits of a bot and of its chats.
    pub(crate) fn lift(&self, id: &IntegrationId) {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        limited.remove(id);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(of, _), _| of != id);
    }

    /// Whether the bot's stored rate limit was read.
    pub(crate) fn is_stored_limit_read(&self, id: &IntegrationId) -> bool {
        self.read.get(id).is_some()
    }

    /// Holds the bot's calls until its stored rate limit ends, if there is one.
    pub(crate) fn note_stored_limit(&self, id: &IntegrationId, until: Option<Timestamp>, now: Timestamp) {
        self.read.insert(id.clone(), ());
        if let Some(until) = until.filter(|until| now < *until) {
            self.hold(id, None, until, now);
        }
    }

    /// Until when calls to this chat of the bot are held. `None` if they aren't.
    #[must_use]
    pub fn held(&self, id: &IntegrationId, chat: &ChatId, now: Timestamp) -> Option<Timestamp> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = [(id.clone(), None), (id.clone(), Some(chat.clone()))];
        keys.iter().filter_map(|key| held.get(key)?.end(now)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_is_open_again_after_its_cooldown() {
        let ways = Cooldowns::default();
        let (id, at) = (IntegrationId::new("int_1"), Timestamp::from_secs);
        assert!(!ways.is_closed(&id, at(0)));
        ways.close(&id, at(1800), at(0));
        assert!(ways.is_closed(&id, at(1799)));
        assert!(!ways.is_closed(&IntegrationId::new("int_2"), at(1799)));
        assert!(!ways.is_closed(&id, at(1800)));
    }

    #[test]
    fn ways_of_a_bot_cool_down_independently() {
        let (ways, id, at) = (Cooldowns::default(), IntegrationId::new("int_1"), Timestamp::from_secs);
        ways.rest(&id, "webhook", at(600), at(0));
        assert_eq!(ways.resting(&id, at(599)), [("webhook", at(600))]);
        ways.rest(&id, "card", at(900), at(10));
        ways.rest(&id, "card", at(800), at(20));
        assert_eq!(ways.resting(&id, at(599)), [("webhook", at(600)), ("card", at(800))]);
        assert_eq!(ways.resting(&id, at(600)), [("card", at(800))]);
        assert_eq!(ways.resting(&id, at(800)), []);
        assert_eq!(ways.resting(&IntegrationId::new("int_2"), at(1)), []);
        assert!(!ways.is_closed(&id, at(1)));
    }

    #[test]
    fn lifted_limits_hold_back_no_call() {
        let (ways, id, at) = (Cooldowns::default(), IntegrationId::new("int_1"), Timestamp::from_secs);
        let (other, chat) = (IntegrationId::new("int_2"), ChatId::new("c"));
        for id in [&id, &other] {
            assert!(ways.limit(id, at(3600), at(0)));
            ways.hold(id, None, at(3600), at(0));
            ways.hold(id, Some(&chat), at(7200), at(0));
        }
        ways.lift(&id);
        assert_eq!(ways.held(&id, &chat, at(1)), None);
        assert!(ways.limit(&id, at(3600), at(1)), "it is reported again");
        assert_eq!(ways.held(&other, &chat, at(1)), Some(at(7200)));
    }

    #[test]
    fn a_rate_limit_met_by_several_chats_is_reported_once() {
        let (ways, id, at) = (
            Cooldowns::default(),
            IntegrationId::new("int_1"),
            Timestamp::from_millis,
        );
        assert!(ways.limit(&id, at(20_000), at(0)));
        assert!(!ways.limit(&id, at(20_900), at(0)));
        assert!(ways.limit(&id, at(21_000), at(0)));
        assert!(ways.limit(&IntegrationId::new("int_2"), at(20_000), at(0)));
    }

    #[test]
    fn a_bot_or_one_of_its_chats_is_held() {
        let (ways, at) = (Cooldowns::default(), Timestamp::from_secs);
        let (bot, other) = (IntegrationId::new("int_1"), IntegrationId::new("int_2"));
        let (one, two) = (ChatId::new("1"), ChatId::new("2"));
        assert_eq!(ways.held(&bot, &one, at(0)), None);
        ways.hold(&bot, Some(&one), at(20), at(0));
        assert_eq!(ways.held(&bot, &one, at(19)), Some(at(20)));
        assert_eq!(
            (ways.held(&bot, &two, at(19)), ways.held(&other, &one, at(19))),
            (None, None)
        );
        ways.hold(&bot, None, at(10), at(0));
        ways.hold(&bot, Some(&one), at(5), at(0));
        assert_eq!(
            (ways.held(&bot, &one, at(1)), ways.held(&bot, &two, at(1))),
            (Some(at(20)), Some(at(10)))
        );
        assert_eq!(ways.held(&bot, &one, at(20)), None);
    }

    #[test]
    fn cooldown_of_a_clock_that_was_ahead_is_not_kept() {
        let (ways, bot, chat) = (Cooldowns::default(), IntegrationId::new("int_1"), ChatId::new("1"));
        let at = Timestamp::from_secs;
        let hour = 3600;
        ways.close(&bot, at(hour + 60), at(hour));
        ways.rest(&bot, "card", at(hour + 60), at(hour));
        ways.hold(&bot, None, at(hour + 60), at(hour));
        assert!(ways.limit(&bot, at(hour + 60), at(hour)));
        let kept = |now| {
            let is_resting = !ways.resting(&bot, now).is_empty();
            (
                ways.is_closed(&bot, now),
                is_resting,
                ways.held(&bot, &chat, now).is_some(),
            )
        };
        assert_eq!(kept(at(hour)), (true, true, true));
        assert_eq!(kept(at(0)), (false, false, false));
        // What the platform says after the step is believed, though it ends earlier.
        ways.hold(&bot, None, at(60), at(0));
        assert_eq!(ways.held(&bot, &chat, at(1)), Some(at(60)));
        assert!(ways.limit(&bot, at(60), at(0)));
    }
}
