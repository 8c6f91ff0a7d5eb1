//! Calls of one message to tables and queues, as AWS would bill them. `infra/costs.py` computes prices from the record, so a change that
//! makes more calls fails here first. `TIELINE_UPDATE=1` records what is measured.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../crash_points/chat.rs"]
mod chat;
mod counting;
mod late_answers;
mod rows;
mod streams;
#[path = "../crash_points/test_bot.rs"]
mod test_bot;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::Value;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Settings, World};
use tieline_bridge::{dispatch, run};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::receive::{MAX_BATCH, delete, receive};
use tieline_queue::{Queues, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};
use tieline_tests::agents::{FakeAgent, Manner};

use chat::ChatServer;
use counting::{Bill, Counting};
use test_bot::{Over, set_up};

/// Numbers of messages that arrive together, each for a bot of its own: the messages in a receive batch determine the cost of queues.
const TOGETHER: [usize; 4] = [1, 2, 5, 10];
const N_ROUNDS: usize = 5;
/// After this time every watchdog has been received.
const LATER: Duration = Duration::from_secs(120);
/// On AWS, event source mappings make these calls.
const POLLING: [&str; 2] = ["ReceiveMessage", "DeleteMessageBatch"];

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_a_message_is_as_recorded() {
    // Most agents keep their own history; for others the bridge stores it, at one write unit and a few read units a message.
    let agent = FakeAgent::start(Manner::default()).await;
    for n in TOGETHER {
        let chat = ChatServer::start().await;
        let mut bridge = Bridge::start().await;
        let mut bots = Vec::new();
        for _ in 0..n {
            let ask = agent.as_webhook("Counting");
            bots.push(set_up(&bridge.world, Over::DingTalk, &ask, &chat, Duration::ZERO).await);
        }
        // The first message creates the user, the conversation and the token.
        for round in 0..=N_ROUNDS {
            if round == 1 {
                bridge.counting.take();
            }
            for bot in &bots {
                assert!(
                    bot.receive(&bridge.world, &format!("msg{round}"), "how is the weather?")
                        .await
                );
            }
            bridge.work().await;
            bridge.pass(LATER);
            bridge.work().await;
        }
        let mut all = bridge.counting.take();
        assert_eq!(
            chat.said().len(),
            n * (N_ROUNDS + 1),
            "every message must have one answer"
        );
        for polling in POLLING {
            all.calls.remove(polling);
        }
        compare("push", n, &all.each(n * N_ROUNDS));
    }
}

fn compare(name: &str, n_together: usize, measured: &Bill) {
    let value = serde_json::to_value(measured).unwrap();
    let Some(noted) = note(&[name, &n_together.to_string()], value) else {
        return;
    };
    let sends = measured.calls.get("SendMessageBatch").copied().unwrap_or_default();
    // On a busy machine, a message that misses the batch by some milliseconds has a call of its own.
    assert!(
        sends <= noted["calls"]["SendMessageBatch"].as_f64().unwrap_or_default() + 0.3,
        "more calls to the queue than recorded"
    );
    check_units(&noted, measured, 0.05);
}

/// Prints the measured figures. Returns the recorded ones; with `TIELINE_UPDATE` records the measured ones instead.
#[expect(clippy::print_stdout, reason = "the figures are the result of this test")]
fn note(path: &[&str], measured: Value) -> Option<Value> {
    static FILE: Mutex<()> = Mutex::new(());
    println!("{}: {measured:#}", path.join(" "));
    let _alone = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../infra/measured.json");
    let mut noted: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap_or("{}".into())).unwrap();
    let place = path.iter().fold(&mut noted, |noted, name| &mut noted[*name]);
    if std::env::var_os("TIELINE_UPDATE").is_none() {
        return Some(place.take());
    }
    *place = measured;
    std::fs::write(file, format!("{noted:#}\n")).unwrap();
    None
}

/// Checks that the measured units exceed the recorded ones by at most `slack`.
#[track_caller]
fn check_units(noted: &Value, measured: &Bill, slack: f64) {
    let pairs = [
        ("write_units", measured.write_units),
        ("read_units", measured.read_units),
        ("events", measured.events),
        ("wake_ups", measured.wake_ups),
    ];
    for (field, measured) in pairs {
        let noted = noted[field].as_f64().unwrap_or_default();
        assert!(
            measured <= noted + slack,
            "{field} of a message: measured {measured}, recorded {noted}"
        );
    }
}

/// A bridge whose calls are counted and whose clock the test advances.
struct Bridge {
    /// The world of webhooks and the API. Each function is a process of its own, with caches that are as warm as the others'.
    world: World,
    dispatcher: World,
    runner: World,
    counting: Counting,
    embedded: Embedded,
    ahead_ms: Arc<AtomicI64>,
}

impl Bridge {
    async fn start() -> Self {
        Self::start_with(0).await
    }

    /// A bridge with `n_shards` shards of long connections, whose relays run the agents of their bots.
    async fn start_with(n_shards: usize) -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let ahead = Arc::clone(&ahead_ms);
        let options = Options {
            clock: tieline_embedded::Clock::new(move || machine_ms() + ahead.load(Ordering::SeqCst)),
            ..Options::default()
        };
        let embedded = Embedded::in_memory(options).unwrap();
        let counting = Counting::before(embedded.http_client());
        let sdk = sdk(counting.clone());
        let dynamo = aws_sdk_dynamodb::Client::new(&sdk);
        let sqs = aws_sdk_sqs::Client::new(&sdk);
        let tables = Tables::with_prefix("cost-");
        create_missing(&dynamo, &tables).await.unwrap();
        let urls = definitions::create_missing(&sqs, "cost-", n_shards).await.unwrap();
        let owner = Owner {
            node: "cost".into(),
            life: "cost".into(),
        };
        let settings = Settings {
            allow_private: PrivateEndpoints::Allowed,
            relays_run: n_shards > 0,
            ..Settings::new("http://127.0.0.1:1".to_owned(), owner)
        };
        let world = || {
            let store = Store::new(dynamo.clone(), tables.clone(), Keyring::new([7; 32]));
            let queues = Queues::new(sqs.clone(), urls.clone());
            World::new(store, queues, registry::ALL, Clock::system(), settings.clone())
        };
        Self {
            world: world(),
            dispatcher: world(),
            runner: world(),
            counting,
            embedded,
            ahead_ms,
        }
    }

    fn pass(&mut self, time: Duration) {
        let ahead = self.ahead_ms.fetch_add(millis(time), Ordering::SeqCst) + millis(time);
        for world in [&mut self.world, &mut self.dispatcher, &mut self.runner] {
            world.clock = Clock::starting_at(Timestamp::from_millis(machine_ms() + ahead));
        }
        self.embedded.wake();
    }

    /// Works until both queues have nothing to show.
    async fn work(&self) {
        while self.dispatch().await | self.run().await {}
    }

    async fn dispatch(&self) -> bool {
        let url = &self.world.queues.urls().inbound;
        let received = receive::<Envelope>(&self.world.queues, url, MAX_BATCH, Duration::ZERO).await;
        let received = received.unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        assert!(
            dispatch::batch::dispatch_batch(&self.dispatcher, received)
                .await
                .is_empty()
        );
        delete(&self.world.queues, url, &receipts).await.unwrap();
        !receipts.is_empty()
    }

    async fn run(&self) -> bool {
        let url = &self.world.queues.urls().work;
        let received = receive::<WakeUp>(&self.world.queues, url, MAX_BATCH, Duration::ZERO).await;
        let received = received.unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        assert!(run::batch::run(&self.runner, received, None).await.is_empty());
        delete(&self.world.queues, url, &receipts).await.unwrap();
        !receipts.is_empty()
    }
}

fn sdk(client: Counting) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(SharedHttpClient::new(client))
        .build()
}

fn machine_ms() -> i64 {
    millis(SystemTime::UNIX_EPOCH.elapsed().unwrap())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}
