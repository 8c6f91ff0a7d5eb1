//! Keepalive below a connection's protocol: Pings that we send and count.

use crate::stream::Keepalive;
use crate::timestamp::Timestamp;

/// The keepalive timer of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepaliveTimer {
    keepalive: Keepalive,
    heard_at: Timestamp,
    ping_at: Timestamp,
    unanswered: u32,
}

/// The action that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepaliveAction {
    /// Nothing yet.
    Wait,
    /// Send a Ping.
    Ping,
    /// The connection is dead, for this reason.
    Dead(&'static str),
}

impl KeepaliveTimer {
    /// The timer of a connection that was opened at `now`.
    #[must_use]
    pub fn new(keepalive: Keepalive, now: Timestamp) -> Self {
        Self {
            keepalive,
            heard_at: now,
            ping_at: now.after(keepalive.every),
            unanswered: 0,
        }
    }

    /// A frame of any kind was received.
    pub fn frame(&mut self, now: Timestamp) {
        self.heard_at = now;
    }

    /// A Pong was received.
    pub fn pong(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.unanswered = 0;
    }

    /// When [`KeepaliveTimer::beat`] must be called next.
    #[must_use]
    pub fn wake_at(&self) -> Timestamp {
        self.ping_at.min(self.heard_at.after(self.keepalive.silence))
    }

    /// The action due at `now`. A Ping counts as sent.
    pub fn beat(&mut self, now: Timestamp) -> KeepaliveAction {
        if now.since(self.heard_at) >= self.keepalive.silence {
            return KeepaliveAction::Dead("nothing came for too long");
        }
        if now < self.ping_at {
            return KeepaliveAction::Wait;
        }
        if self.unanswered >= self.keepalive.missed {
            return KeepaliveAction::Dead("pings were not answered");
        }
        self.unanswered += 1;
        self.ping_at = now.after(self.keepalive.every);
        KeepaliveAction::Ping
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEEPALIVE: Keepalive = Keepalive {
        every: Duration::from_secs(20),
        missed: 2,
        silence: Duration::from_secs(60),
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn after_two_unanswered_pings_the_connection_is_dead() {
        let mut pulse = KeepaliveTimer::new(KEEPALIVE, at(0));
        assert_eq!(pulse.wake_at(), at(20));
        assert_eq!(pulse.beat(at(19)), KeepaliveAction::Wait);
        assert_eq!(pulse.beat(at(20)), KeepaliveAction::Ping);
        assert_eq!(pulse.beat(at(40)), KeepaliveAction::Ping);
        // Frames other than Pongs end the silence, but are no answers to Pings.
        pulse.frame(at(50));
        assert_eq!(pulse.beat(at(60)), KeepaliveAction::Dead("pings were not answered"));
    }

    #[test]
    fn a_pong_answers_all_earlier_pings() {
        let mut pulse = KeepaliveTimer::new(KEEPALIVE, at(0));
        for secs in (20..2000).step_by(20) {
            assert_eq!(pulse.beat(at(secs)), KeepaliveAction::Ping);
            if secs % 40 == 0 {
                pulse.pong(at(secs + 1));
            }
        }
    }

    #[test]
    fn silence_ends_the_connection() {
        let patient = Keepalive { missed: 9, ..KEEPALIVE };
        let mut pulse = KeepaliveTimer::new(patient, at(0));
        assert_eq!(pulse.beat(at(20)), KeepaliveAction::Ping);
        assert_eq!(pulse.beat(at(40)), KeepaliveAction::Ping);
        assert_eq!(pulse.wake_at(), at(60));
        assert_eq!(pulse.beat(at(60)), KeepaliveAction::Dead("nothing came for too long"));
    }
}
