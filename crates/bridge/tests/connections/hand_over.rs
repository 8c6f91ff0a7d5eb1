//! Several processes: one that joins gets a share of the shards, one that leaves hands over, one that dies is replaced.

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

use tieline_bridge::connections::{Connections, Health, Options};
use tieline_bridge::world::World;
use tieline_store::status::{self, ConnectionState};
use tokio::time::Instant;

use crate::test_cluster::{TestCluster, options, until};

/// A process that can be killed: it has a runtime of its own.
pub(crate) struct Mortal {
    runtime: tokio::runtime::Runtime,
    connections: Connections,
}

impl Mortal {
    pub(crate) fn start(world: World, options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (sender, receiver) = mpsc::channel();
        runtime.spawn(async move { sender.send(Connections::start(world, options).unwrap()).unwrap() });
        Self {
            connections: receiver.recv().unwrap(),
            runtime,
        }
    }

    fn health(&self) -> Health {
        self.connections.health()
    }

    /// Like `kill -9`: nothing is finished or reported.
    pub(crate) fn kill(self) {
        drop(self.connections);
        self.runtime.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joining_process_gets_a_share_and_no_bot_is_kicked() {
    let cluster = TestCluster::new().await;
    let a = cluster.process("a");
    for n in 0..24 {
        cluster.wecom(&a.world, &format!("bot{n}")).await;
    }
    let platform = &cluster.platform;
    until("all connect", async || platform.standing() == 24).await;
    let b = cluster.process("b");
    until("both hold half of the shards", async || {
        let (a, b) = (a.connections.health(), b.connections.health());
        (a.shards, b.shards) == (4, 4) && a.connected + b.connected == 24
    })
    .await;
    until("all are connected", async || platform.standing() == 24).await;
    assert_eq!(
        platform.kicked(),
        Vec::<String>::new(),
        "the old connection ends before the new one begins"
    );
    assert_eq!(platform.doubled(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_process_hands_over_within_three_seconds_without_losing_messages() {
    let cluster = TestCluster::new().await;
    let a = cluster.process("a");
    let mut bots = Vec::new();
    for n in 0..12 {
        bots.push((format!("bot{n}"), cluster.wecom(&a.world, &format!("bot{n}")).await));
        bots.push((
            format!("ding{n}"),
            cluster.dingtalk(&a.world, &format!("ding{n}")).await,
        ));
    }
    let platform = cluster.platform.clone();
    until("all connect", async || platform.standing() == 24).await;
    let b = cluster.process("b");
    until("both hold half", async || {
        b.connections.health().shards == 4 && platform.standing() == 24
    })
    .await;
    until("the moves are over", async || {
        a.connections.health().connected + b.connections.health().connected == 24
    })
    .await;

    // People write all the time.
    let (talking, mut said) = (platform.clone(), 0);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let talk = tokio::spawn(async move {
        tokio::pin!(stopped);
        loop {
            for n in 0..12 {
                assert!(
                    talking.ding(&format!("ding{n}"), &format!("d{said}-{n}"), "你好"),
                    "a socket stands all the time"
                );
            }
            said += 1;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                _ = &mut stopped => return said * 12,
            }
        }
    });
    let begun = Instant::now();
    let leaving = a.connections.clone();
    let left = tokio::spawn(async move { leaving.stop().await });
    until("b holds all", async || {
        b.connections.health().connected == 24 && platform.standing() == 24
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    left.await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send(()).unwrap();
    let n_said = talk.await.unwrap();
    assert_eq!(platform.kicked(), Vec::<String>::new());
    let taken = b.take_events(n_said).await;
    let once: HashSet<_> = taken.iter().collect();
    assert_eq!((taken.len(), once.len()), (n_said, n_said), "each once");
    for (name, id) in &bots {
        until(name, async || {
            let status = b.status(id).await;
            status.state == Some(ConnectionState::Connected) && status.owner.as_deref() == Some("b")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_replaced_within_its_lease_and_five_seconds() {
    let cluster = TestCluster::new().await;
    let a = Mortal::start(cluster.world("a"), options());
    let world = cluster.world("setup");
    for n in 0..40 {
        cluster.wecom(&world, &format!("bot{n}")).await;
    }
    let platform = &cluster.platform;
    until("all connect", async || platform.standing() == 40).await;
    let b = cluster.process("b");
    until("both hold half", async || {
        (a.health().shards, b.connections.health().shards) == (4, 4)
    })
    .await;
    until("all connect again", async || {
        a.health().connected + b.connections.health().connected == 40
    })
    .await;
    let begun = Instant::now();
    a.kill();
    until("b holds all", async || {
        b.connections.health().connected == 40 && platform.standing() == 40
    })
    .await;
    let took = begun.elapsed();
    assert!(took < options().lease + Duration::from_secs(5), "{took:?}");
    assert_eq!(platform.kicked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holders_bots_are_not_shown_as_connected() {
    let cluster = TestCluster::new().await;
    let a = Mortal::start(cluster.world("a"), options());
    // An observer that holds nothing.
    let watcher = cluster.world("watcher");
    let id = cluster.wecom(&watcher, "bot1").await;
    let state = async || {
        status::seen(&watcher.store, &id, watcher.shard_of(&id), watcher.clock.now())
            .await
            .unwrap()
            .state
    };
    until("the bot connects", async || {
        state().await == Some(ConnectionState::Connected)
    })
    .await;
    a.kill();
    until("its status says that it isn't any more", async || {
        state().await == Some(ConnectionState::Retrying)
    })
    .await;
}
