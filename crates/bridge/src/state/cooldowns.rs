//! Cooldowns of ways to show replies, and rate limits of bots. In this process's memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::{sync, unsync};
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::timestamp::Timestamp;

/// Most bots that are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// Cooldowns of bots and of their ways. Bounded: after an eviction the platform's next refusal starts one again.
#[derive(Debug)]
pub struct Cooldowns {
    /// Until when the richer way of a bot is closed.
    closed: sync::Cache<IntegrationId, Timestamp>,
    /// Until when ways of a bot cool down, by the connector's name for them.
    resting: Mutex<unsync::Cache<IntegrationId, Vec<(&'static str, Timestamp)>>>,
    /// Until when bots are known to be rate limited.
    limited: Mutex<unsync::Cache<IntegrationId, Timestamp>>,
    /// Until when no call is made for a bot, or for one of its chats, because the platform has asked to slow down.
    held: Mutex<unsync::Cache<(IntegrationId, Option<ChatId>), Timestamp>>,
}

impl Default for Cooldowns {
    fn default() -> Self {
        Self {
            closed: sync::Cache::new(MAX_REMEMBERED),
            resting: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
            limited: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
            held: Mutex::new(unsync::Cache::new(MAX_REMEMBERED)),
        }
    }
}

/// Rate limits whose ends differ by less are the same one, met by several chats.
const SAME_LIMIT: Duration = Duration::from_secs(1);

impl Cooldowns {
    /// Whether the bot's richer way is closed.
    #[must_use]
    pub fn is_closed(&self, id: &IntegrationId, now: Timestamp) -> bool {
        self.closed.get(id).is_some_and(|until| now < until)
    }

    /// The ways of a bot that cool down, and until when.
    #[must_use]
    pub fn resting(&self, id: &IntegrationId, now: Timestamp) -> Vec<(&'static str, Timestamp)> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_bot = resting.get(id).into_iter().flatten().copied();
        of_bot.filter(|(_, until)| now < *until).collect()
    }

    pub(crate) fn close(&self, id: &IntegrationId, until: Timestamp) {
        self.closed.insert(id.clone(), until);
    }

    pub(crate) fn rest(&self, id: &IntegrationId, way: &'static str, until: Timestamp, now: Timestamp) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_bot = resting.remove(id).map(|(_, ways)| ways).unwrap_or_default();
        of_bot.retain(|(other, until)| *other != way && now < *until);
        of_bot.push((way, until));
        resting.insert(id.clone(), of_bot);
    }

    /// Records that the bot is rate limited. Returns whether that is new.
    pub(crate) fn limit(&self, id: &IntegrationId, until: Timestamp) -> bool {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if limited.get(id).is_some_and(|known| until < known.after(SAME_LIMIT)) {
            return false;
        }
        limited.insert(id.clone(), until);
        true
    }

    /// Holds the calls of a bot, or of one of its chats, until then. An earlier hold that lasts longer stays.
    pub(crate) fn hold(&self, id: &IntegrationId, chat: Option<&ChatId>, until: Timestamp) {
        let key = (id.clone(), chat.cloned());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&key).is_none_or(|known| *known < until) {
            held.insert(key, until);
        }
    }

    /// Until when calls to this chat of the bot are held. `None` if they aren't.
    #[must_use]
    pub fn held(&self, id: &IntegrationId, chat: &ChatId, now: Timestamp) -> Option<Timestamp> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = [(id.clone(), None), (id.clone(), Some(chat.clone()))];
        keys.iter()
            .filter_map(|key| held.get(key).copied())
            .filter(|until| now < *until)
            .max()
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
        ways.close(&id, at(1800));
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
    fn a_rate_limit_met_by_several_chats_is_reported_once() {
        let (ways, id, at) = (
            Cooldowns::default(),
            IntegrationId::new("int_1"),
            Timestamp::from_millis,
        );
        assert!(ways.limit(&id, at(20_000)));
        assert!(!ways.limit(&id, at(20_900)));
        assert!(ways.limit(&id, at(21_000)));
        assert!(ways.limit(&IntegrationId::new("int_2"), at(20_000)));
    }

    #[test]
    fn a_bot_or_one_of_its_chats_is_held() {
        let (ways, at) = (Cooldowns::default(), Timestamp::from_secs);
        let (bot, other) = (IntegrationId::new("int_1"), IntegrationId::new("int_2"));
        let (one, two) = (ChatId::new("1"), ChatId::new("2"));
        assert_eq!(ways.held(&bot, &one, at(0)), None);
        ways.hold(&bot, Some(&one), at(20));
        assert_eq!(ways.held(&bot, &one, at(19)), Some(at(20)));
        assert_eq!(
            (ways.held(&bot, &two, at(19)), ways.held(&other, &one, at(19))),
            (None, None)
        );
        ways.hold(&bot, None, at(10));
        ways.hold(&bot, Some(&one), at(5));
        assert_eq!(
            (ways.held(&bot, &one, at(1)), ways.held(&bot, &two, at(1))),
            (Some(at(20)), Some(at(10)))
        );
        assert_eq!(ways.held(&bot, &one, at(20)), None);
    }
}
