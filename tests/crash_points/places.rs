//! A tenant that may have so many runs at a time, in whatever processes they are.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_store::config::organization::{self, DEFAULT, Limits};
use tieline_store::place;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::scene::{Over, set_up};

/// Longer than a wake-up would live if each look for a place counted as a failure.
const N_LOOKS: usize = 220;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let mut life = Life::begin(dir.path(), Fate::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&life.world, Over::Web, &settings, &chat, Duration::ZERO).await;
    limit_to_one(&life).await;
    // A run in another process has the only place, for long.
    let (organization, now) = (OrganizationId::new(DEFAULT), life.world.clock.now());
    let until = now.after(Duration::from_hours(24));
    let place = place::take(&life.world.store, &organization, 1, 7, now, until).await;
    let place = place.unwrap().unwrap();

    assert!(bot.hear(&life.world, "m1", "one").await);
    life.work().await;
    for _ in 0..N_LOOKS {
        life.pass(Duration::from_secs(15));
        life.run().await;
    }
    assert_eq!(agent.asked().len(), 0, "the tenant is full");
    place::give_back(&life.world.store, &place).await.unwrap();
    life.pass(Duration::from_secs(15));
    life.work().await;
    assert_eq!(agent.asked(), ["one"]);
    let again = place::take(&life.world.store, &organization, 1, 8, life.world.clock.now(), until).await;
    assert!(again.unwrap().is_some(), "the place was given back");
}

async fn limit_to_one(life: &Life) {
    let (store, now) = (&life.world.store, life.world.clock.now());
    let limits = Limits {
        max_concurrent_runs: Some(1),
    };
    let before = organization::get(store, &OrganizationId::new(DEFAULT), now).await;
    let before = before.unwrap().unwrap();
    organization::update(store, &before, "Default", limits).await.unwrap();
}
