//! What can't be taken in comes again soon, with all that waits behind it.

use std::time::{Duration, Instant};

use tieline_bridge::intake::{self, Item};
use tieline_bridge::world::World;
use tieline_core::envelope::Envelope;
use tieline_queue::receive::{MAX_BATCH, MAX_WAIT, Received, receive};

use crate::place::Place;

/// All that is to be seen, waiting for the first.
async fn seen(world: &World, n: usize) -> Vec<Received<Envelope>> {
    let mut all = Vec::new();
    while all.len() < n {
        let url = &world.queues.urls().inbound;
        let received = receive(&world.queues, url, MAX_BATCH, MAX_WAIT).await.unwrap();
        assert!(
            !received.is_empty(),
            "{} of {n} have come within {MAX_WAIT:?}",
            all.len()
        );
        all.extend(received);
    }
    all
}

fn bodies(received: &[Received<Envelope>], group: &str) -> Vec<String> {
    let of_group = received.iter().filter(|it| it.group == group);
    of_group.map(|it| it.unreadable.clone().unwrap()).collect()
}

#[tokio::test]
async fn an_unreadable_event_and_those_behind_it_come_again_soon_and_in_order() {
    let place = Place::new().await;
    let world = place.world();
    for (group, body) in [("a", "first"), ("a", "second"), ("b", "other")] {
        let message = place.sqs.send_message().queue_url(&world.queues.urls().inbound);
        let message = message.message_group_id(group).message_deduplication_id(body);
        message.message_body(body).send().await.unwrap();
    }

    let received = seen(&world, 3).await;
    let ids: Vec<String> = received.iter().map(|it| it.id.clone()).collect();
    let items = received.into_iter().map(|it| Item {
        id: it.id,
        receipt: it.receipt,
        group: it.group,
        attempt: it.attempt,
        envelope: it.message,
    });
    let failed = intake::take_in(&world, items.collect()).await;
    assert_eq!(failed.len(), 3);
    assert!(ids.iter().all(|id| failed.contains(id)), "none of them is done");

    let begun = Instant::now();
    let again = seen(&world, 3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "not after the queue's time-out"
    );
    assert_eq!(bodies(&again, "a"), ["first", "second"]);
    assert_eq!(bodies(&again, "b"), ["other"]);
    assert!(again.iter().all(|it| it.attempt == 2));
}
