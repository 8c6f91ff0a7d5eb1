//! Cost of an agent that defers its answer and calls back later.

use std::time::Duration;

use serde_json::json;
use tieline_bridge::callbacks;
use tieline_core::ids::RunId;
use tieline_tests::agents::{FakeAgent, Manner};

use super::{Bridge, POLLING, check_units, note};
use crate::chat::ChatServer;
use crate::counting::Bill;
use crate::test_bot::{Over, set_up};

/// Steps in which the clock is advanced while the agent works.
const STEP: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_a_deferred_answer_is_as_recorded() {
    for (name, after) in [
        ("at_once", Duration::ZERO),
        ("10_min", Duration::from_mins(10)),
        ("1_h", Duration::from_mins(59)),
    ] {
        let bill = answered_after(after).await;
        let value = serde_json::to_value(&bill).unwrap();
        if let Some(noted) = note(&["callback", name], value) {
            check_units(&noted, &bill, 1.0);
        }
    }
}

/// Cost of a message whose agent calls back after this time.
async fn answered_after(after: Duration) -> Bill {
    let agent = FakeAgent::start(Manner {
        defers: |_| true,
        ..Manner::default()
    })
    .await;
    let chat = ChatServer::start().await;
    let mut bridge = Bridge::start().await;
    let ask = agent.as_webhook("Later");
    let bot = set_up(&bridge.world, Over::DingTalk, &ask, &chat, Duration::ZERO).await;
    for round in 0..2 {
        bridge.counting.take();
        let id = format!("msg{round}");
        assert!(bot.receive(&bridge.world, &id, "order one").await);
        bridge.work().await;
        let mut passed = Duration::ZERO;
        while round == 1 && passed < after {
            bridge.pass(STEP);
            bridge.work().await;
            passed += STEP;
        }
        let body = agent.seen().pop().unwrap().body;
        let events_url = body["reply"]["eventsUrl"].as_str().unwrap();
        let run = RunId::new(events_url.rsplit('/').nth(1).unwrap());
        let event = json!({ "seq": 1, "event": { "type": "completed", "finalText": "done" } }).to_string();
        let token = body["reply"]["token"].as_str().unwrap();
        callbacks::accept(&bridge.world, &run, token, event.as_bytes())
            .await
            .unwrap();
        bridge.work().await;
        assert_eq!(chat.said().len(), round + 1);
        // Every watchdog that is still in flight.
        for _ in 0..3 {
            bridge.pass(Duration::from_mins(16));
            bridge.work().await;
        }
    }
    let mut bill = bridge.counting.take();
    for polling in POLLING {
        bill.calls.remove(polling);
    }
    bill
}
