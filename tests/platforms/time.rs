//! Nothing is sent whose result the process could no longer record, or that another process may be sending by now.

use std::sync::Arc;
use std::time::Duration;

use tieline_bridge::run;
use tieline_bridge::world::{Settings, World};
use tieline_core::conversation::Owner;
use tieline_core::envelope::WakeUpV1;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;
use tokio::time::{Instant, sleep};

use crate::lark::{self, APP};
use crate::test_bridge::TestBridge;

async fn bridge() -> (TestBridge, Platform) {
    lark::open(TriggerSettings::default()).await
}

fn shown(platform: &Platform) -> Vec<String> {
    platform.bubbles().iter().map(|it| it.text().to_owned()).collect()
}

#[tokio::test]
async fn answer_at_the_end_of_a_process_is_delivered_by_the_next() {
    let (bridge, platform) = bridge().await;
    let event = platform.text(APP, &Speaker::alone("ou_lisi"), "one");
    bridge.receive(&platform.request(APP, &event)).await;
    bridge.dispatch().await;
    // Enough time to ask the agent, but not for a call that may take 15 s.
    bridge.run(Some(Instant::now() + Duration::from_secs(17))).await;
    assert_eq!((bridge.agent.asked().len(), shown(&platform).len()), (1, 0));
    bridge.work().await;
    assert_eq!(
        (bridge.agent.asked().len(), shown(&platform)),
        (1, vec!["echo: one".to_owned()])
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

/// Another process on the same tables, with leases that expire soon.
fn another(world: &World, name: &str) -> World {
    let owner = Owner {
        node: name.to_owned(),
        life: name.to_owned(),
    };
    let settings = Settings {
        owner,
        lease: Duration::from_secs(1),
        ..(*world.settings).clone()
    };
    World {
        settings: Arc::new(settings),
        tokens: Arc::default(),
        ..world.clone()
    }
}

#[tokio::test]
async fn runner_that_lost_its_lease_while_waiting_for_a_token_sends_nothing() {
    let (bridge, platform) = bridge().await;
    let event = platform.text(APP, &Speaker::alone("ou_lisi"), "/help");
    bridge.receive(&platform.request(APP, &event)).await;
    bridge.dispatch().await;
    let message = bridge.ledger().await.remove(0);
    let conversation = message.conversation.unwrap();
    let wake = WakeUpV1::of_reply(message.organization, conversation, message.reply);
    let (slow, quick) = (another(&bridge.world, "slow"), another(&bridge.world, "quick"));
    platform.misbehave(|faults| faults.token_latencies.push_back(Duration::from_secs(3)));
    let later = async {
        sleep(Duration::from_secs(2)).await;
        run::wake(&quick, &wake, None, None).await.unwrap();
        assert_eq!(platform.bubbles().len(), 1);
    };
    let (first, ()) = tokio::join!(run::wake(&slow, &wake, None, None), later);
    first.unwrap();
    let n_sent = platform.calls().iter().filter(|call| call.name == "reply").count();
    assert_eq!(n_sent, 1);
}
