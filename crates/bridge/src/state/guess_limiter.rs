//! Rate limiter for wrong tokens, per address and in total.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::timestamp::Timestamp;

/// Window in which wrong tokens are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Most wrong tokens of one address per window.
const MAX_PER_ADDRESS: u32 = 20;
/// Most wrong tokens of all addresses per window.
const MAX_IN_ALL: u32 = 1000;
/// Most addresses that are counted separately; further ones share one counter.
const MAX_ADDRESSES: usize = 10_000;

/// Counts wrong tokens. Right ones are never counted, and are accepted at any count.
#[derive(Debug, Default)]
pub struct GuessLimiter {
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    in_all: Option<Counter>,
    /// `None` is the counter of unknown addresses and of those beyond [`MAX_ADDRESSES`].
    by_address: HashMap<Option<IpAddr>, Counter>,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    begun: Timestamp,
    n: u32,
}

/// How a wrong token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    /// Like any wrong token.
    Counted {
        /// Whether it is the first one of its address in a window.
        is_first: bool,
    },
    /// As one above the limit.
    Refused {
        /// When the window ends.
        retry_after_seconds: u64,
        /// Whether it is the first one above the limit in this window.
        is_first: bool,
    },
}

impl GuessLimiter {
    /// Counts a wrong token of this address.
    pub(crate) fn count(&self, address: Option<IpAddr>, now: Timestamp) -> Guess {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all = counters.in_all.get_or_insert(Counter::new(now)).count(now, MAX_IN_ALL);
        let of_one = counters.of(address.map(network), now).count(now, MAX_PER_ADDRESS);
        match (of_one, in_all) {
            (counted @ Guess::Counted { .. }, Guess::Counted { .. }) => counted,
            (Guess::Counted { .. }, refused) | (refused, _) => refused,
        }
    }
}

impl Counters {
    fn of(&mut self, address: Option<IpAddr>, now: Timestamp) -> &mut Counter {
        let mut key = address;
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&key) {
            self.by_address.retain(|_, counter| !counter.is_over(now));
            if self.by_address.len() >= MAX_ADDRESSES {
                key = None;
            }
        }
        self.by_address.entry(key).or_insert_with(|| Counter::new(now))
    }
}

impl Counter {
    const fn new(now: Timestamp) -> Self {
        Self { begun: now, n: 0 }
    }

    /// Whether its window has ended, or the clock was set back.
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.begun || now.since(self.begun) >= WINDOW
    }

    fn count(&mut self, now: Timestamp, max: u32) -> Guess {
        if self.is_over(now) {
            *self = Self::new(now);
        }
        self.n = self.n.saturating_add(1);
        if self.n <= max {
            return Guess::Counted { is_first: self.n == 1 };
        }
        let left = WINDOW.saturating_sub(now.since(self.begun));
        Guess::Refused {
            retry_after_seconds: left.as_secs().max(1),
            is_first: self.n == max + 1,
        }
    }
}

/// The network from which one client can choose addresses: a /64 for IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Guess = Guess::Counted { is_first: true };

    fn guess(limiter: &GuessLimiter, address: &str, at: i64) -> Guess {
        limiter.count(Some(address.parse().unwrap()), Timestamp::from_secs(at))
    }

    #[test]
    fn an_address_has_twenty_wrong_tokens_a_minute() {
        let limiter = GuessLimiter::default();
        for n in 0..20 {
            let counted = Guess::Counted { is_first: n == 0 };
            assert_eq!(guess(&limiter, "192.0.2.1", 100), counted);
        }
        let refused = |is_first| Guess::Refused {
            retry_after_seconds: 50,
            is_first,
        };
        assert_eq!(guess(&limiter, "192.0.2.1", 110), refused(true));
        assert_eq!(guess(&limiter, "::ffff:192.0.2.1", 110), refused(false));
        assert_eq!(guess(&limiter, "192.0.2.2", 110), FIRST);
        assert_eq!(guess(&limiter, "192.0.2.1", 160), FIRST);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limiter = GuessLimiter::default();
        for n in 0..20 {
            let counted = guess(&limiter, &format!("2001:db8::{n}"), 0);
            assert!(matches!(counted, Guess::Counted { .. }));
        }
        assert!(matches!(guess(&limiter, "2001:db8::ffff", 0), Guess::Refused { .. }));
        assert_eq!(guess(&limiter, "2001:db8:0:1::1", 0), FIRST);
    }

    #[test]
    fn many_addresses_share_a_limit() {
        let limiter = GuessLimiter::default();
        for n in 0..1000_u32 {
            assert_eq!(guess(&limiter, &format!("10.0.{}.{}", n / 250, n % 250), 0), FIRST);
        }
        assert!(matches!(guess(&limiter, "192.0.2.9", 0), Guess::Refused { .. }));
        assert_eq!(guess(&limiter, "192.0.2.9", 60), FIRST);
    }
}
