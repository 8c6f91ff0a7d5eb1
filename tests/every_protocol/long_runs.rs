//! Agents that take longer than any process that reads them: twenty minutes against runner invocations of one, scaled down.
//!
//! `TIELINE_LONG_RUN=1` runs them at full length.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tieline_bridge::world::{Settings, World, random};
use tieline_bridge::{dispatch, run};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::notice::{Language, Notice};
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_embedded::{Embedded, Options};
use tieline_queue::receive::{MAX_BATCH, Received, delete, receive};
use tieline_standalone::{local, webhook_routes};
use tieline_tests::console::Console;
use tieline_tests::process::ADMIN_TOKEN;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::scenarios::read;
use crate::servers::{AgentServer, ROWS, Resume};

/// Words of the answer, a second apart, and the duration of one invocation.
struct Length {
    n_words: usize,
    invocation: Duration,
}

impl Length {
    fn of_this_run() -> Self {
        match std::env::var_os("TIELINE_LONG_RUN") {
            Some(_) => Self {
                n_words: 1200,
                invocation: Duration::from_mins(1),
            },
            // An invocation hands over 15 s before its end.
            None => Self {
                n_words: 30,
                invocation: Duration::from_secs(21),
            },
        }
    }
}

/// A bridge without processes of its own: the test takes the place of the queue's event source mapping, which invokes functions.
struct Invoker {
    world: World,
    invocation: Duration,
    _embedded: Embedded,
}

impl Invoker {
    /// Starts it. Also returns the address of its API.
    async fn start(invocation: Duration) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let embedded = Embedded::in_memory(Options::default()).unwrap();
        let owner = Owner {
            node: "invoker".to_owned(),
            life: hex::encode(random::<8>()),
        };
        let settings = Settings {
            allow_private: PrivateEndpoints::Allowed,
            root_token: Some(Secret::new(ADMIN_TOKEN)),
            ..Settings::new(url.clone(), owner)
        };
        let world = local::world(&embedded, [7; 32], registry::ALL, settings).await.unwrap();
        let router = tieline_admin::router(world.clone()).merge(webhook_routes::router(world.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let invoker = Self {
            world,
            invocation,
            _embedded: embedded,
        };
        (invoker, url)
    }

    /// Invokes the dispatcher and the runner with the messages of the queues, for ever.
    async fn invoke(&self) {
        let mut running = JoinSet::new();
        loop {
            self.dispatch().await;
            let url = &self.world.queues.urls().work;
            let received = receive::<WakeUp>(&self.world.queues, url, MAX_BATCH, Duration::ZERO).await;
            for wake in received.unwrap() {
                running.spawn(run_once(self.world.clone(), wake, Instant::now() + self.invocation));
            }
            while running.try_join_next().is_some() {}
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn dispatch(&self) {
        let (queues, url) = (&self.world.queues, &self.world.queues.urls().inbound);
        let received = receive::<Envelope>(queues, url, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        let failed = dispatch::batch::dispatch_batch(&self.world, received).await;
        assert!(failed.is_empty(), "an event could not be dispatched");
        delete(queues, url, &receipts).await.unwrap();
    }
}

/// One invocation of the runner.
async fn run_once(world: World, wake: Received<WakeUp>, until: Instant) {
    let receipt = wake.receipt.clone();
    if run::batch::run(&world, vec![wake], Some(until)).await.is_empty() {
        delete(&world.queues, &world.queues.urls().work, &[receipt])
            .await
            .unwrap();
    }
    let late = Instant::now().saturating_duration_since(until);
    assert!(late.is_zero(), "the invocation exceeded its deadline by {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answer_survives_many_invocations_where_its_protocol_can_resume() {
    let length = Length::of_this_run();
    let (invoker, url) = Invoker::start(length.invocation).await;
    let console = Console::new(url);
    let question = format!("slow {} 1000", length.n_words);
    let words: Vec<String> = (0..length.n_words).map(|n| format!("w{n}")).collect();
    let (whole, question) = (&words.join(" "), &question);
    let played = ROWS.iter().map(|row| {
        let console = console.clone();
        async move {
            let agent = AgentServer::start(row).await;
            let name = agent.name();
            let integration = json!({"name": name, "platform": "web", "connectionMode": "webhook", "language": "en"});
            let bot = console.bind(&integration, &agent.as_agent(), &json!({})).await.unwrap();
            let bot = bot["id"].as_str().unwrap();
            let (_, reply) = console.say(bot, "chat", question, "m1").await.unwrap();
            let shown = read(&console, &reply).await.unwrap();
            let text = shown.last().unwrap()["text"].as_str().unwrap().trim().to_owned();
            let is_right = match row.resume {
                Resume::GoesOn => text == *whole,
                // The text that was shown is kept, with the notice that it is incomplete.
                Resume::Refused => text.starts_with("w0 ") && text.contains(Notice::Incomplete.text(Language::English)),
            };
            let n_asked = agent.n_asked(question);
            (!is_right || n_asked != 1).then(|| format!("{name}: asked {n_asked} times, shown {text:?}"))
        }
    });
    let failures = tokio::select! {
        failures = join_all(played) => failures,
        () = invoker.invoke() => unreachable!("it goes on for ever"),
    };
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
