//! Density of one relay: memory of an idle connection, CPU when idle, and under load the time from a frame to the queue, while the relay runs agents.
//!
//!     cargo build --release -p tieline-relay && cargo bench -p tieline-tests --bench relay_density
//!
//! The release binary `relay` runs as a process of its own; tables, queues and the platform are in this process, over the loopback address.
//! Connections are plain WeCom ones. Targets: 12 KiB a connection, 0.5 % of a core when idle, and with 2,000 events/s a p99 under 50 ms. Of the
//! events, 50 a second are dispatched, and the relay runs the agent of each and answers over its connection: more than that this process, with its
//! tables and its dispatcher, can't do beside the relay on two cores.

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials as Keys, SharedCredentialsProvider};
use futures_util::SinkExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::dispatch::batch::dispatch_batch;
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::Owner;
use tieline_core::envelope::Envelope;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_embedded::{ACCESS_KEY_ID, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::receive::{self, Received};
use tieline_queue::{Queues, definitions};
use tieline_store::config::desired_connections::{self, Compare};
use tieline_store::config::integration::{self, IntegrationSettings, NewIntegration};
use tieline_store::config::trigger::{self, Rival, TriggerError};
use tieline_store::config::{agent, organization};
use tieline_store::{Keyring, Store, StoreError, Tables, create_missing};
use tieline_tests::process::binary;
use tieline_tests::reserved_port::free_port;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

const N_CONNECTIONS: usize = 5000;
const N_SHARDS: usize = 16;
/// How long the idle relay is measured: two rounds of pings.
const REST: Duration = Duration::from_secs(60);
const EVENTS_PER_SECOND: usize = 2000;
const N_SECONDS: usize = 10;
/// One of so many events is dispatched and answered.
const ANSWERED_OF: usize = 40;
const PATIENCE: Duration = Duration::from_secs(120);
const KEY: [u8; 32] = [7; 32];
/// Clock ticks of `/proc/*/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let engines = Embedded::open(dir.path(), Options::default())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let cloud = format!("http://{}", listener.local_addr()?);
    let platform = Platform::start().await?;
    let sdk = sdk(&cloud);
    let serving = async {
        engines
            .serve(listener, std::future::pending())
            .await
            .context("tables and queues stopped")
    };
    let measuring = measure(&cloud, &sdk, &platform);
    tokio::select! {
        ended = serving => ended,
        measured = measuring => measured,
    }
}

async fn measure(cloud: &str, sdk: &SdkConfig, platform: &Platform) -> Result<()> {
    let (dynamo, sqs) = (aws_sdk_dynamodb::Client::new(sdk), aws_sdk_sqs::Client::new(sdk));
    let tables = Tables::with_prefix("density-");
    create_missing(&dynamo, &tables).await?;
    let urls = definitions::create_missing(&sqs, "density-", N_SHARDS).await?;
    let store = Store::new(dynamo, tables.clone(), Keyring::new(KEY));
    let queues = Queues::new(sqs, urls);
    let idle = Relay::start(cloud, &tables, &queues)?;
    sleep(Duration::from_secs(5)).await;
    let without = idle.resident_kib()?;
    let before = idle.processor_s()?;
    sleep(REST).await;
    let share = (idle.processor_s()? - before) / REST.as_secs_f64() * 100.0;
    println!("idle without bots: {share:.2} % of one core");
    drop(idle);
    let began = Instant::now();
    configure(&store, platform.port).await?;
    // Until then, relays read the whole list.
    desired_connections::complete(&store, Compare::IfChanged).await?;
    println!(
        "configured {N_CONNECTIONS} bots in {:.0} s",
        began.elapsed().as_secs_f64()
    );

    let relay = Relay::start(cloud, &tables, &queues)?;
    let began = Instant::now();
    while platform.standing() < N_CONNECTIONS {
        ensure!(began.elapsed() < PATIENCE, "only {} connected", platform.standing());
        sleep(Duration::from_millis(20)).await;
    }
    println!("all bots connected after {:.1} s", began.elapsed().as_secs_f64());
    sleep(Duration::from_secs(15)).await;
    let with = relay.resident_kib()?;
    let each = (with - without) / f64::from(u32::try_from(N_CONNECTIONS)?);
    println!("memory: {without:.0} KiB without bots, {with:.0} KiB with {N_CONNECTIONS}: {each:.1} KiB each");
    let before = relay.processor_s()?;
    sleep(REST).await;
    let share = (relay.processor_s()? - before) / REST.as_secs_f64() * 100.0;
    println!("idle: {share:.2} % of one core");
    load(platform, &world(store, queues), &relay).await
}

/// The world of the dispatcher.
fn world(store: Store, queues: Queues) -> World {
    let owner = Owner {
        node: "bench".to_owned(),
        life: "bench".to_owned(),
    };
    let settings = Settings {
        allow_private: PrivateEndpoints::Allowed,
        relays_run: true,
        ..Settings::new("https://bridge.example".to_owned(), owner)
    };
    World::new(store, queues, registry::ALL, Clock::system(), settings)
}

async fn load(platform: &Platform, world: &World, relay: &Relay) -> Result<()> {
    let before = relay.processor_s()?;
    let n = EVENTS_PER_SECOND * N_SECONDS;
    let pushing = async {
        let began = Instant::now();
        for at in 0..n {
            // In steps of ten milliseconds.
            if at % (EVENTS_PER_SECOND / 100) == 0 {
                let due = began + Duration::from_micros((at as u64) * 1_000_000 / EVENTS_PER_SECOND as u64);
                tokio::time::sleep_until(due).await;
            }
            platform.say(at % N_CONNECTIONS, at);
        }
    };
    let taking = take(platform, world, n);
    let ((), taken) = tokio::join!(pushing, timeout(PATIENCE, taking));
    let queued = Spread::of(taken.context("not all events reached the queue")??);
    let share = (relay.processor_s()? - before) / N_SECONDS as f64 * 100.0;
    println!("{n} events at {EVENTS_PER_SECOND}/s, frame to queue: {queued}; {share:.0} % of one core");
    let began = Instant::now();
    while platform.answered().len() < n / ANSWERED_OF {
        let n_answered = platform.answered().len();
        ensure!(began.elapsed() < PATIENCE, "only {n_answered} events were answered");
        sleep(Duration::from_millis(20)).await;
    }
    let answered = Spread::of(platform.answered());
    println!(
        "{} of them at {}/s, frame to the end of the answer by the relay's own run: {answered}",
        n / ANSWERED_OF,
        EVENTS_PER_SECOND / ANSWERED_OF
    );
    Ok(())
}

/// Receives all events from the queue, and dispatches some. Returns how long each took to get there, in milliseconds.
async fn take(platform: &Platform, world: &World, n: usize) -> Result<Vec<i64>> {
    let queues = &world.queues;
    let mut millis = Vec::with_capacity(n);
    let mut dispatches = JoinSet::new();
    while millis.len() < n {
        let url = &queues.urls().inbound;
        let polls = (0..4).map(|_| receive::receive::<Envelope>(queues, url, 10, Duration::from_secs(1)));
        let batches: Vec<Vec<Received<Envelope>>> = futures_util::future::try_join_all(polls).await?;
        let events: Vec<_> = batches.into_iter().flatten().collect();
        let receipts: Vec<_> = events.iter().map(|event| event.receipt.clone()).collect();
        receive::delete(queues, url, &receipts).await?;
        let mut to_answer = Vec::new();
        for event in events {
            let Some(Envelope::V1(envelope)) = &event.message else {
                continue;
            };
            let stored = event.sent_at.context("no time")?;
            let bot = envelope
                .integration
                .as_str()
                .trim_start_matches("int_")
                .parse::<usize>()?;
            let (at, said) = platform
                .next_said(bot)
                .context("the queue has an event that the platform did not send")?;
            millis.push(stored.as_millis() - said);
            if at.is_multiple_of(ANSWERED_OF) {
                to_answer.push(event);
            }
        }
        if !to_answer.is_empty() {
            let world = world.clone();
            dispatches.spawn(async move { dispatch_batch(&world, to_answer).await });
        }
    }
    let failed = dispatches.join_all().await.concat();
    ensure!(failed.is_empty(), "{} events were not dispatched", failed.len());
    Ok(millis)
}

/// Times in milliseconds, sorted.
struct Spread(Vec<i64>);

impl Spread {
    fn of(mut millis: Vec<i64>) -> Self {
        millis.sort_unstable();
        Self(millis)
    }

    fn at(&self, share: f64) -> i64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {} ms, p99 {} ms, most {} ms",
            self.at(0.5),
            self.at(0.99),
            self.at(1.0)
        )
    }
}

/// Creates bots with triggers.
async fn configure(store: &Store, port: u16) -> Result<()> {
    let now = now();
    let default = OrganizationId::new(organization::DEFAULT);
    organization::get(store, &default, now).await?;
    stream::iter(0..N_CONNECTIONS)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(16, |n| async move {
            // A new agent for every few bots, since each agent counts its triggers.
            let agent_id = AgentId::new(format!("agt_{n}"));
            let organization = OrganizationId::new(organization::DEFAULT);
            let echo = Agent {
                id: agent_id.clone(),
                organization: organization.clone(),
                name: format!("echo {n}"),
                protocol: "echo".to_owned(),
                config: AgentConfig::new(serde_json::Map::new()),
            };
            agent::create(store, echo, now).await?;
            let id = IntegrationId::new(format!("int_{n}"));
            let new = NewIntegration {
                id: id.clone(),
                organization: organization.clone(),
                platform: "wecom".to_owned(),
                id_key: KEY,
            };
            let settings = IntegrationSettings {
                name: format!("bot {n}"),
                mode: ConnectionMode::LongConnection,
                credentials: Credentials::from_iter([("botId", n.to_string()), ("secret", "s3cret".to_owned())]),
                endpoints: Endpoints::from([("wsUrl".to_owned(), format!("ws://127.0.0.1:{port}"))]),
                language: Language::Chinese,
                streaming: true,
                thinking: ThinkingDisplay::default(),
                allowed_agents: None,
                enabled: true,
                account_key: Some(n.to_string()),
            };
            integration::create(store, new, settings, now).await?;
            let binding = Trigger {
                id: TriggerId::new(format!("trg_{n}")),
                organization,
                integration: id,
                agent: agent_id,
                enabled: true,
                settings: TriggerSettings::default(),
            };
            loop {
                match trigger::create(store, binding.clone(), Rival::Respect, now).await {
                    Err(TriggerError::Store(StoreError::Conflict)) => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => return Ok(()),
                }
            }
        })
        .await
}

fn now() -> Timestamp {
    Timestamp::default().after(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}

fn sdk(endpoint: &str) -> SdkConfig {
    let keys = Keys::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "bench");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build()
}

/// The relay's process. Killed when dropped.
struct Relay(Child);

impl Relay {
    fn start(cloud: &str, tables: &Tables, queues: &Queues) -> Result<Self> {
        let urls = queues.urls();
        let key: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
        let child = Command::new(binary("relay")?)
            .env("AWS_ENDPOINT_URL", cloud)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .env("TIELINE_CONFIG_TABLE", &tables.config)
            .env("TIELINE_STATE_TABLE", &tables.state)
            .env("TIELINE_LEASES_TABLE", &tables.leases)
            .env("TIELINE_INBOUND_QUEUE_URL", &urls.inbound)
            .env("TIELINE_WORK_QUEUE_URL", &urls.work)
            .env("TIELINE_RELAY_QUEUE_URLS", urls.relay.join(","))
            .env("TIELINE_PUBLIC_URL", "https://bridge.example")
            .env("TIELINE_MASTER_KEY", key)
            .env("TIELINE_RUNS", "container")
            .env("TIELINE_ALLOW_PRIVATE_ENDPOINTS", "true")
            .env("TIELINE_RELAY_LISTEN", format!("127.0.0.1:{}", free_port()?))
            .env("TIELINE_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    fn resident_kib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(number.parse()?)
    }

    fn processor_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        Ok((ticks(11).context("no utime")? + ticks(12).context("no stime")?) / TICKS)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have exited by itself; after the wait it is gone in either case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A platform that accepts every subscription and answers every ping.
struct Platform {
    port: u16,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    lines: HashMap<usize, UnboundedSender<Message>>,
    /// The events sent to each bot, with their times, in order.
    said: HashMap<usize, VecDeque<(usize, i64)>>,
    /// When the events that are to be answered were sent.
    asked: HashMap<String, i64>,
    /// How long each answer took to its end, in milliseconds.
    answered: Vec<i64>,
}

impl Platform {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let book: Arc<Mutex<Book>> = Arc::default();
        let shared = Arc::clone(&book);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { port, book })
    }

    fn standing(&self) -> usize {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    fn say(&self, bot: usize, at: usize) {
        let message = json!({
            "cmd": "aibot_msg_callback", "headers": { "req_id": format!("r{at}") },
            "body": { "msgid": format!("m{at}"), "aibotid": bot.to_string(), "chattype": "single", "from": { "userid": "lisi" },
                      "msgtype": "text", "text": { "content": "你好，请帮我总结一下这份文档。" } },
        });
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let said = now().as_millis();
        book.said.entry(bot).or_default().push_back((at, said));
        if at.is_multiple_of(ANSWERED_OF) {
            book.asked.insert(format!("r{at}"), said);
        }
        if let Some(line) = book.lines.get(&bot) {
            // An event on a closed line is lost: the measurement reports it as missing.
            let _ = line.send(Message::text(message.to_string()));
        }
    }

    fn next_said(&self, bot: usize) -> Option<(usize, i64)> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.said.get_mut(&bot)?.pop_front()
    }

    fn answered(&self) -> Vec<i64> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.answered.clone()
    }
}

async fn serve(stream: TcpStream, book: Arc<Mutex<Book>>) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    let (line, mut lines) = unbounded_channel();
    let mut bot = None;
    loop {
        tokio::select! {
            Some(message) = lines.recv() => socket.send(message).await.ok()?,
            message = socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { break };
                let frame: Value = serde_json::from_str(&text).ok()?;
                if frame["cmd"] == "aibot_subscribe" {
                    let id: usize = frame["body"]["bot_id"].as_str()?.parse().ok()?;
                    bot = Some(id);
                    book.lock().unwrap_or_else(PoisonError::into_inner).lines.insert(id, line.clone());
                }
                if frame["body"]["stream"]["finish"] == true {
                    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                    let asked = frame["headers"]["req_id"].as_str().and_then(|id| book.asked.remove(id));
                    book.answered.extend(asked.map(|at| now().as_millis() - at));
                }
                let answer = json!({ "headers": frame["headers"], "errcode": 0, "errmsg": "ok" });
                socket.send(Message::text(answer.to_string())).await.ok()?;
            }
        }
    }
    book.lock().unwrap_or_else(PoisonError::into_inner).lines.remove(&bot?);
    Some(())
}
