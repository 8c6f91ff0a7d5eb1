//! Integrations that need a connection: the lists that relays read, and the counters of their changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::account::ConnectionMode;
use tieline_core::ids::IntegrationId;
use tieline_core::virtual_shard::VirtualShard;
use tieline_store::config::desired_connections::{self, Changes, Compare, Live};
use tieline_store::config::integration::{self, IntegrationError, IntegrationSettings};
use tieline_store::config::trigger::{self, Rival};
use tieline_store::{Store, StoreError};

use crate::tables::{self, Fresh, NOW, fresh, race, settings, trigger};

const CHANGES: (&str, &str) = ("LIVE", "CHANGES");

fn shard(id: &str) -> VirtualShard {
    VirtualShard::of(&IntegrationId::new(id))
}

fn brief(lives: Vec<Live>) -> Vec<(String, u64)> {
    let mut found: Vec<_> = lives
        .into_iter()
        .map(|live| (live.integration.as_str().to_owned(), live.version))
        .collect();
    found.sort();
    found
}

/// Entries of the lists of all virtual shards, which must equal those of the whole list.
async fn listed(store: &Store) -> Vec<(String, u64)> {
    let found = listed_by_shard(store).await;
    assert_eq!(found, brief(desired_connections::whole(store).await.unwrap()));
    found
}

async fn listed_by_shard(store: &Store) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for shard in VirtualShard::all() {
        let lives = desired_connections::of_shard(store, shard).await.unwrap();
        assert!(lives.iter().all(|live| VirtualShard::of(&live.integration) == shard));
        found.extend(lives);
    }
    brief(found)
}

async fn changes(store: &Store) -> Changes {
    desired_connections::changes(store).await.unwrap()
}

#[tokio::test]
async fn started_and_bound_integrations_need_a_connection() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let record = tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    assert_eq!(listed(store).await, []);
    let bound = trigger::create(store, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
        .await
        .unwrap();
    assert_eq!(listed(store).await, [("int_1".to_owned(), 1)]);
    let stopped = integration::set_enabled(store, &record, false, NOW).await.unwrap();
    assert_eq!(listed(store).await, []);
    let started = integration::set_enabled(store, &stopped, true, NOW).await.unwrap();
    assert_eq!(listed(store).await, [("int_1".to_owned(), 3)]);
    let webhook = IntegrationSettings {
        mode: ConnectionMode::Webhook,
        ..settings("int_1")
    };
    let webhook = integration::update(store, &started, webhook, NOW).await.unwrap();
    assert_eq!(listed(store).await, []);
    integration::update(store, &webhook, settings("int_1"), NOW)
        .await
        .unwrap();
    assert_eq!(listed(store).await, [("int_1".to_owned(), 5)]);
    trigger::delete(store, &bound, NOW).await.unwrap();
    assert_eq!(listed(store).await, []);
}

#[tokio::test]
async fn every_change_of_a_list_changes_its_counter_and_no_other() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let mut before = changes(store).await;
    let mut counted = async |what: &str, ids: &[&str]| {
        let now = changes(store).await;
        let ids: Vec<_> = ids.iter().map(|id| shard(id)).collect();
        for one in VirtualShard::all() {
            let n = now.of(one) - before.of(one);
            assert_eq!(n, u64::from(ids.contains(&one)), "{what}: {one:?}");
        }
        assert_eq!(now.total() - before.total(), ids.len() as u64, "{what}");
        assert_eq!(now.totals() == before.totals(), ids.is_empty(), "{what}");
        assert_eq!(
            desired_connections::totals(store).await.unwrap(),
            now.totals(),
            "{what}"
        );
        before = now;
    };
    tables::agent(store, "default", "agt_1").await;
    let record = tables::integration(store, "default", "int_1").await;
    tables::integration(store, "default", "int_2").await;
    counted("nothing is bound", &[]).await;
    let binding = trigger("trg_1", "int_1", "agt_1");
    let bound = trigger::create(store, binding, Rival::Respect, NOW).await.unwrap();
    counted("bound", &["int_1"]).await;
    let greeting = async |id: &str| {
        let lives = desired_connections::of_shard(store, shard(id)).await.unwrap();
        lives[0].greeting.clone()
    };
    let silent = greeting("int_1").await;
    let mut welcoming = bound.trigger.clone();
    welcoming.settings.welcome = Some("您好!".into());
    let bound = trigger::update(store, &bound, welcoming, Rival::Respect, NOW)
        .await
        .unwrap();
    counted("another welcome", &["int_1"]).await;
    assert_ne!(greeting("int_1").await, silent);
    let moved = tieline_core::trigger::Trigger {
        integration: IntegrationId::new("int_2"),
        ..bound.trigger.clone()
    };
    let bound = trigger::update(store, &bound, moved, Rival::Respect, NOW)
        .await
        .unwrap();
    counted("bound to another", &["int_1", "int_2"]).await;
    let stopped = integration::set_enabled(store, &record, false, NOW).await.unwrap();
    counted("stopped", &["int_1"]).await;
    integration::update(store, &stopped, stopped_settings("renamed"), NOW)
        .await
        .unwrap();
    counted("renamed while it is stopped", &[]).await;
    trigger::delete(store, &bound, NOW).await.unwrap();
    counted("unbound", &["int_2"]).await;
}

fn stopped_settings(name: &str) -> IntegrationSettings {
    IntegrationSettings {
        enabled: false,
        ..settings(name)
    }
}

#[tokio::test]
async fn a_read_of_all_counters_costs_one_unit() {
    let fresh = fresh().await;
    let names: Vec<_> = VirtualShard::all().map(|one| format!("s{}", one.number())).collect();
    for names in names.chunks(64) {
        fresh.add(CHANGES, names, u64::from(u32::MAX) * 1000).await;
    }
    fresh
        .add(CHANGES, &["n".to_owned(), "complete".to_owned()], u64::MAX / 2)
        .await;
    assert!(
        changes(&fresh.store).await.of(shard("int_1")) > 0,
        "the attribute names must match those of the store"
    );
    assert!(fresh.read_units(CHANGES).await <= 1.0);
}

/// Writes or deletes an entry as a version without virtual shards does.
async fn write_old(fresh: &Fresh, id: &str, version: Option<u64>) {
    let sk = format!("INT#{id}");
    let text = |value: &str| AttributeValue::S(value.to_owned());
    match version {
        Some(version) => {
            let fields = [
                ("v", text("1")),
                ("integration", text(id)),
                ("organization", text("default")),
                ("version", AttributeValue::N(version.to_string())),
            ];
            fresh.overwrite(("LIVE", &sk), Some(&fields)).await;
        }
        None => fresh.overwrite(("LIVE", &sk), None).await,
    }
}

async fn count_old(fresh: &Fresh) {
    fresh.add(CHANGES, &["n".to_owned()], 1).await;
}

#[tokio::test]
async fn lists_are_complete_once_they_contain_the_entries_of_earlier_versions() {
    let fresh = fresh().await;
    let store = &fresh.store;
    for n in 0..100 {
        write_old(&fresh, &format!("int_{n}"), Some(n)).await;
        count_old(&fresh).await;
    }
    assert!(!changes(store).await.are_lists_complete());
    assert_eq!(listed_by_shard(store).await, []);
    assert_eq!(
        desired_connections::complete(store, Compare::IfChanged).await.unwrap(),
        100
    );
    assert_eq!(listed(store).await.len(), 100);
    let complete = changes(store).await;
    assert!(complete.are_lists_complete());
    assert_eq!(
        desired_connections::complete(store, Compare::IfChanged).await.unwrap(),
        0
    );
    assert_eq!(changes(store).await, complete, "the second call must write nothing");

    // A process of the earlier version still runs, or runs again after a rollback.
    write_old(&fresh, "int_7", Some(1000)).await;
    write_old(&fresh, "int_8", None).await;
    assert!(changes(store).await.are_lists_complete());
    count_old(&fresh).await;
    assert!(!changes(store).await.are_lists_complete());
    assert_eq!(
        desired_connections::complete(store, Compare::IfChanged).await.unwrap(),
        2
    );
    let now = listed(store).await;
    assert!(now.contains(&("int_7".to_owned(), 1000)) && now.len() == 99, "{now:?}");
    let corrected = changes(store).await;
    assert!(corrected.are_lists_complete());
    for id in ["int_7", "int_8"] {
        assert!(
            corrected.of(shard(id)) > complete.of(shard(id)),
            "the counter must change, so that relays read the list again"
        );
    }
}

#[tokio::test]
async fn a_change_that_was_not_counted_is_found_by_comparison() {
    let fresh = fresh().await;
    let store = &fresh.store;
    desired_connections::complete(store, Compare::IfChanged).await.unwrap();
    write_old(&fresh, "int_1", Some(1)).await;
    assert_eq!(
        desired_connections::complete(store, Compare::IfChanged).await.unwrap(),
        0
    );
    assert_eq!(desired_connections::complete(store, Compare::Always).await.unwrap(), 1);
    assert_eq!(listed(store).await, [("int_1".to_owned(), 1)]);
    assert_eq!(changes(store).await.of(shard("int_1")), 1);
    assert_eq!(desired_connections::complete(store, Compare::Always).await.unwrap(), 0);
}

/// A process writes entries that it has read earlier: an operator may have changed them since.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn completion_overwrites_no_concurrent_change() {
    const N: usize = 8;
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::agent(store, "default", "agt_1").await;
    for n in 0..N {
        let id = format!("int_{n}");
        tables::integration(store, "default", &id).await;
        let binding = trigger(&format!("trg_{n}"), &id, "agt_1");
        trigger::create(store, binding, Rival::Respect, NOW).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let (completing, is_done) = (store.clone(), Arc::clone(&done));
    let completing = tokio::spawn(async move {
        while !is_done.load(Ordering::Relaxed) {
            let completed = desired_connections::complete(&completing, Compare::Always).await;
            assert!(matches!(completed, Ok(_) | Err(StoreError::Conflict)), "{completed:?}");
        }
    });
    race((0..N).map(|n| {
        let store = store.clone();
        async move { toggle(&store, &IntegrationId::new(format!("int_{n}"))).await }
    }))
    .await;
    done.store(true, Ordering::Relaxed);
    completing.await.unwrap();
    assert_eq!(listed(store).await.len(), N);
}

/// Stops and starts an integration, and checks that its list keeps each change.
async fn toggle(store: &Store, id: &IntegrationId) {
    for n in 0..20 {
        let enabled = n % 2 == 1;
        while !set_enabled(store, id, enabled).await {}
        for _ in 0..5 {
            let listed = desired_connections::of_shard(store, VirtualShard::of(id))
                .await
                .unwrap();
            let is_listed = listed.iter().any(|live| live.integration == *id);
            assert_eq!(is_listed, enabled, "{id}, change {n}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn set_enabled(store: &Store, id: &IntegrationId, enabled: bool) -> bool {
    let record = integration::get(store, id).await.unwrap().unwrap();
    match integration::set_enabled(store, &record, enabled, NOW).await {
        Ok(_) => true,
        Err(IntegrationError::Store(StoreError::Conflict)) => false,
        Err(error) => panic!("{error}"),
    }
}
