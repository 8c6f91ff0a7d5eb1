use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn patience() -> Patience {
    Patience::default()
}

fn fresh() -> ConnectionLifecycle {
    ConnectionLifecycle::new(None, &patience(), at(0), 0)
}

fn credentials() -> Loss {
    Loss::Failed(Refusal::Credentials { code: "853000".into() })
}

#[test]
fn a_new_connection_is_tried_at_once() {
    assert_eq!(fresh().retry_at(), Some(at(0)));
}

#[test]
fn failures_count_until_a_connection_was_stable() {
    let mut link = fresh();
    for n in 1..=5 {
        link.begin(&patience(), at(0));
        link.lost(&Loss::passing("unreachable"), &patience(), at(0), 0);
        assert_eq!(link.failures, n);
    }
    // A connection that is closed right after it was accepted is not stable.
    link.up(at(100));
    link.lost(&Loss::passing("closed"), &patience(), at(101), 0);
    assert_eq!(link.failures, 6);
    link.up(at(200));
    link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
    assert_eq!(link.failures, 1);
    // One event proves as much as a minute.
    link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
    link.up(at(270));
    link.delivered();
    link.lost(&Loss::passing("closed"), &patience(), at(271), 0);
    assert_eq!(link.failures, 1);
}

#[test]
fn stable_connection_is_replaced_at_once_and_then_with_backoff() {
    let mut link = fresh();
    link.up(at(0));
    link.lost(&Loss::passing("closed"), &patience(), at(100), 0);
    assert_eq!(link.retry_at(), Some(at(100)));
    let mut waits = Vec::new();
    for _ in 0..8 {
        link.begin(&patience(), at(100));
        link.lost(&Loss::passing("unreachable"), &patience(), at(100), 0);
        waits.push(link.retry_at().unwrap().since(at(100)).as_millis());
    }
    // The least of each: minus a fifth.
    assert_eq!(waits, [1600, 3200, 6400, 12_800, 25_600, 48_000, 48_000, 48_000]);
}

#[test]
fn connections_that_are_closed_again_and_again_are_not_replaced_at_once() {
    let mut link = fresh();
    let mut wait = |now| {
        link.begin(&patience(), at(now));
        link.up(at(now));
        link.delivered();
        link.lost(&Loss::passing("closed"), &patience(), at(now), 0);
        link.retry_at().unwrap().since(at(now)).as_millis()
    };
    assert_eq!([wait(0), wait(1), wait(59), wait(60)], [0, 800, 800, 0]);
}

#[test]
fn platform_may_ask_for_a_pause_before_each_replacement() {
    let patience = Patience {
        replacement: Duration::from_secs(1),
        ..patience()
    };
    let mut link = fresh();
    link.up(at(0));
    link.lost(&Loss::passing("closed"), &patience, at(100), 0);
    assert_eq!(link.retry_at(), Some(at(101)));
}

#[test]
fn refused_token_is_renewed_soon_only_once() {
    let stale = Loss::Failed(Refusal::StaleToken { code: "403".into() });
    let mut link = fresh();
    let mut wait = |up: bool| {
        if up {
            link.up(at(0));
        }
        link.lost(&stale, &patience(), at(0), 0);
        link.retry_at().unwrap()
    };
    assert!(wait(false) < at(3));
    assert_eq!([wait(false), wait(false)], [at(60), at(60)]);
    assert!(wait(true) < at(60));
}

#[test]
fn first_refusal_may_be_retried_sooner() {
    let patience = Patience {
        first_refused: Some(Duration::from_secs(60)),
        ..patience()
    };
    let mut link = fresh();
    let mut wait = |up: bool| {
        if up {
            link.up(at(0));
        }
        link.lost(&credentials(), &patience, at(0), 0);
        link.retry_at().unwrap()
    };
    assert_eq!([wait(false), wait(false), wait(false)], [at(60), at(300), at(300)]);
    assert_eq!(wait(true), at(60));
}

#[test]
fn the_platforms_own_wait_is_capped() {
    let asks = |secs| {
        Loss::Failed(Refusal::Passing {
            code: "busy".into(),
            retry_after: Some(Duration::from_secs(secs)),
        })
    };
    let mut link = fresh();
    link.lost(&asks(300), &patience(), at(0), 0);
    assert!(link.retry_at().unwrap() >= at(300));
    link.lost(&asks(u64::MAX), &patience(), at(0), 0);
    assert_eq!(link.retry_at(), Some(at(3600)));
}

#[test]
fn the_first_kick_reconnects_once_and_the_second_does_not() {
    let mut link = fresh();
    link.up(at(0));
    let kick = link.lost(&Loss::Kicked, &patience(), at(100), 7_000);
    assert_eq!(
        kick,
        Some(Kick {
            at: at(100),
            down: false
        })
    );
    assert_eq!(link.retry_at(), Some(at(117)));
    link.begin(&patience(), at(117));
    link.up(at(118));
    let kick = link.lost(&Loss::Kicked, &patience(), at(699), 0);
    assert_eq!(
        kick,
        Some(Kick {
            at: at(699),
            down: true
        })
    );
    assert_eq!(link.retry_at(), None);
}

#[test]
fn kicks_far_apart_each_reconnect() {
    let mut link = fresh();
    link.lost(&Loss::Kicked, &patience(), at(100), 0);
    link.lost(&Loss::Kicked, &patience(), at(700), 0);
    assert_eq!(link.retry_at(), Some(at(710)));
}

#[test]
fn a_new_holder_remembers_kicks() {
    let new = |kick, now| ConnectionLifecycle::new(Some(kick), &patience(), now, 0).retry_at();
    let once = Kick {
        at: at(100),
        down: false,
    };
    assert_eq!(new(once, at(103)), Some(at(110)));
    assert_eq!(new(once, at(115)), Some(at(115)));
    assert_eq!(
        new(
            Kick {
                at: at(100),
                down: true
            },
            at(9_999)
        ),
        None
    );
    let mut link = ConnectionLifecycle::new(Some(once), &patience(), at(115), 0);
    link.up(at(116));
    assert_eq!(
        link.lost(&Loss::Kicked, &patience(), at(120), 0).map(|kick| kick.down),
        Some(true)
    );
}

proptest! {
    #[test]
    fn refused_credentials_are_never_retried_too_soon(failures in 0u32..50, chance: u64) {
        let mut link = fresh();
        link.failures = failures;
        link.lost(&credentials(), &patience(), at(1000), chance);
        let wait = link.retry_at().unwrap().since(at(1000));
        prop_assert!(wait >= Duration::from_secs(300) && wait <= Duration::from_secs(330));
    }

    #[test]
    fn a_kicked_bot_reconnects_after_10_to_30_s(chance: u64) {
        let mut link = fresh();
        link.lost(&Loss::Kicked, &patience(), at(1000), chance);
        let wait = link.retry_at().unwrap().since(at(1000));
        prop_assert!(wait >= Duration::from_secs(10) && wait <= Duration::from_secs(30));
    }

    #[test]
    fn transient_failures_never_make_a_hot_loop(failures in 0u32..50, chance: u64) {
        let mut link = fresh();
        link.failures = failures;
        link.lost(&Loss::passing("closed"), &patience(), at(1000), chance);
        let wait = link.retry_at().unwrap().since(at(1000));
        prop_assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(60));
    }
}
