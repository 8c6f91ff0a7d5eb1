//! Fairness of slots: which waiter gets one, and when.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

fn slots(runs: usize) -> Arc<TenantSlots> {
    let limits = SlotLimits {
        runs,
        deliveries: runs,
        working: runs,
    };
    Arc::new(TenantSlots::new(limits))
}

fn organization(id: &str) -> OrganizationId {
    OrganizationId::new(id)
}

fn take_all(slots: &Arc<TenantSlots>, organization: &OrganizationId, kind: SlotKind) -> Vec<Slot> {
    std::iter::from_fn(|| slots.enter(organization, kind)).collect()
}

/// Starts to wait for a slot, in a task that returns it.
fn waiting(slots: &Arc<TenantSlots>, organization: &OrganizationId, id: &str) -> tokio::task::JoinHandle<Option<Slot>> {
    let (slots, organization, id) = (Arc::clone(slots), organization.clone(), id.to_owned());
    tokio::spawn(async move { slots.wait(&organization, SlotKind::Asking, &id).await })
}

async fn n_waiting(slots: &TenantSlots, n: usize) {
    let is_there = async {
        while slots.state().pools[&SlotKind::Asking].n_waiting != n {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), is_there).await.unwrap();
}

#[test]
fn an_organization_uses_all_idle_slots_except_the_reserve() {
    let slots = slots(64);
    let (loud, quiet) = (organization("loud"), organization("quiet"));
    let loud_has = take_all(&slots, &loud, SlotKind::Asking);
    assert_eq!(loud_has.len(), 56);
    let quiet_has = take_all(&slots, &quiet, SlotKind::Asking);
    assert_eq!(quiet_has.len(), 8);
}

#[test]
fn deliveries_and_confirmations_do_not_wait_for_agents() {
    let slots = slots(16);
    let loud = organization("loud");
    let asking = take_all(&slots, &loud, SlotKind::Asking);
    assert_eq!(asking.len(), 14);
    let telling = take_all(&slots, &loud, SlotKind::Telling);
    assert_eq!(telling.len(), 14);
    assert!(slots.enter(&loud, SlotKind::Confirming).is_some());
}

#[tokio::test]
async fn a_freed_slot_goes_to_the_organization_that_holds_the_fewest() {
    let slots = slots(4);
    let (loud, quiet) = (organization("loud"), organization("quiet"));
    let mut taken = take_all(&slots, &loud, SlotKind::Asking);
    assert_eq!(taken.len(), 4);
    let first = waiting(&slots, &loud, "cnv_1");
    n_waiting(&slots, 1).await;
    let second = waiting(&slots, &quiet, "cnv_2");
    n_waiting(&slots, 2).await;
    drop(taken.pop());
    let second = second.await.unwrap();
    assert!(second.is_some() && !first.is_finished());
    drop(taken.pop());
    assert!(first.await.unwrap().is_some());
    drop(second);
}

#[tokio::test]
async fn a_slot_granted_to_an_abandoned_wait_goes_to_the_next() {
    let slots = slots(2);
    let (loud, quiet) = (organization("loud"), organization("quiet"));
    let taken = take_all(&slots, &loud, SlotKind::Asking);
    let gone = waiting(&slots, &quiet, "cnv_1");
    n_waiting(&slots, 1).await;
    let next = waiting(&slots, &quiet, "cnv_2");
    n_waiting(&slots, 2).await;
    gone.abort();
    assert!(gone.await.is_err());
    n_waiting(&slots, 1).await;
    drop(taken);
    assert!(next.await.unwrap().is_some());
    assert_eq!(slots.n_taken(), 0);
}

#[tokio::test]
async fn each_id_waits_once_and_the_number_of_waiters_is_limited() {
    let slots = slots(2);
    let loud = organization("loud");
    let taken = take_all(&slots, &loud, SlotKind::Asking);
    let waiting = [waiting(&slots, &loud, "cnv_1"), waiting(&slots, &loud, "cnv_2")];
    n_waiting(&slots, 2).await;
    assert!(slots.wait(&loud, SlotKind::Asking, "cnv_1").await.is_none());
    slots.state().pools.get_mut(&SlotKind::Asking).unwrap().n_waiting += MAX_WAITING;
    assert!(slots.wait(&loud, SlotKind::Asking, "cnv_3").await.is_none());
    slots.state().pools.get_mut(&SlotKind::Asking).unwrap().n_waiting -= MAX_WAITING;
    drop(taken);
    for it in waiting {
        assert!(it.await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_freed_slot_among_all_processes_wakes_a_waiter_of_this_process() {
    let slots = slots(2);
    let loud = organization("loud");
    let (waits, at) = (Arc::clone(&slots), loud.clone());
    let waiting = tokio::spawn(async move { waits.wait_everywhere(&at, "cnv_1").await });
    while slots.state().everywhere.is_empty() {
        tokio::task::yield_now().await;
    }
    slots.freed_everywhere(&loud);
    assert_eq!(waiting.await.unwrap(), Some(()));
    assert!(slots.state().everywhere.is_empty());
}
