//! Cost of an answer that is streamed for 20 seconds, on every platform whose simulator implements the common interface.
//!
//! A bot on a long connection is held by a relay that runs its agent. Bytes to the platform are counted on the wire, including headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::operator::Operator;
use tieline_bridge::receive::receive;
use tieline_bridge::world::World;
use tieline_bridge::{accounts, probe, registration};
use tieline_core::account::ConnectionMode;
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::IntegrationId;
use tieline_store::config::integration;
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::PlatformSimulator;
use tieline_tests::rows::ROWS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::Bridge;
use super::streams::{Streamed, compare, set_up, whole};

/// Name of the record, platform, mode. The other platforms are measured in `streams.rs`, or don't stream text.
const MEASURED: [(&str, &str, &str); 5] = [
    ("custom", "custom", "posted replies"),
    ("discord", "discord", "webhook"),
    ("telegram", "telegram", "webhook"),
    ("wecom_socket", "wecom", "long_connection"),
    ("weibo", "weibo", "long_connection"),
];

/// Limit of every wait: for a connection, for an answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// Slack for a busy machine: frames depend on the clock, and on some platforms each of them is recorded.
const SLACK: f64 = 10.0;
/// After this time every watchdog has been received.
const WATCHED: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_a_streamed_answer_is_as_recorded_on_every_platform() {
    let measuring = MEASURED.map(|(name, platform, mode)| async move {
        let streamed = timeout(2 * PATIENCE, Box::pin(measure(platform, mode))).await;
        compare(
            name,
            streamed.unwrap_or_else(|_| panic!("{name} takes too long")),
            SLACK,
        );
    });
    futures_util::future::join_all(measuring).await;
}

async fn measure(platform: &'static str, mode: &'static str) -> Streamed {
    let row = ROWS.iter().find(|row| (row.platform, row.mode) == (platform, mode));
    let simulator = (row.unwrap().start)(mode).await;
    let mut wanted = simulator.integration();
    let sent = behind_meters(&mut wanted).await;
    let connection = match mode {
        "long_connection" => ConnectionMode::LongConnection,
        _ => ConnectionMode::Webhook,
    };
    let is_relayed = connection == ConnectionMode::LongConnection;
    let bridge = Bridge::start_with(usize::from(is_relayed)).await;
    let bot = set_up(&bridge.world, &wanted, true, connection).await;
    let relay = match is_relayed {
        true => Some(Connections::start(bridge.world.clone(), Options::default()).unwrap()),
        false => None,
    };
    if !is_relayed {
        let callback_url = take_callbacks(bridge.world.clone(), platform, bot.clone()).await;
        simulator.created(&callback_url);
        let record = integration::get(&bridge.world.store, &bot).await.unwrap().unwrap();
        let account = accounts::open(&bridge.world, &record).unwrap();
        registration::register(&bridge.world, &account, &callback_url).await;
        probe::probe(&bridge.world, &account, &record).await.unwrap();
    }
    let person = Speaker::alone("1001");
    until(&bridge, platform, || simulator.is_connected()).await;
    let n_words = |simulator: &dyn PlatformSimulator| -> usize {
        let shown = simulator.shown(&person);
        shown
            .iter()
            .map(|bubble| bubble.text().matches(super::streams::PIECE).count())
            .sum()
    };
    simulator.say(&person, "warm up", true);
    until(&bridge, platform, || n_words(&*simulator) >= 1).await;
    pass(&bridge, WATCHED).await;
    bridge.counting.take();
    let n_bytes_before = sent.load(Ordering::SeqCst);
    let n_words_before = n_words(&*simulator);
    simulator.say(&person, "weather", true);
    let n_in_answer = whole().matches(super::streams::PIECE).count();
    until(&bridge, platform, || {
        n_words(&*simulator) >= n_words_before + n_in_answer
    })
    .await;
    pass(&bridge, WATCHED).await;
    let bill = bridge.bill();
    let platform_bytes = sent.load(Ordering::SeqCst) - n_bytes_before;
    if let Some(relay) = relay {
        relay.stop().await;
    }
    Streamed {
        bill,
        relayed: is_relayed,
        platform_calls: 0,
        platform_bytes,
        polls: 0,
        poll_bytes: 0,
    }
}

/// Works until a condition is true.
async fn until(bridge: &Bridge, platform: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "{platform}: the condition is still false after {PATIENCE:?}"
        );
        bridge.work().await;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn pass(bridge: &Bridge, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        bridge.work().await;
        sleep(Duration::from_millis(250)).await;
    }
}

/// Receives the platform's callbacks for the bot. Returns the callback address.
async fn take_callbacks(world: World, platform: &'static str, bot: IntegrationId) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/{platform}/webhook/{bot}", listener.local_addr().unwrap());
    let router = Router::new().fallback(callback).with_state((world, platform, bot));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn callback(
    State((world, platform, bot)): State<(World, &'static str, IntegrationId)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter();
    let request = WebhookRequest {
        method: head.method.to_string(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect(),
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    };
    let answer = receive(&world, platform, &bot, &request, Some(&Operator::Root)).await;
    let response = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type.unwrap_or("text/plain"));
    response.body(answer.body.into()).unwrap()
}

/// Puts a proxy in front of each server that the endpoints name, which counts the bytes sent to it.
async fn behind_meters(integration: &mut Value) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let endpoints = integration["endpoints"].as_object_mut();
    for endpoint in endpoints.into_iter().flat_map(|endpoints| endpoints.values_mut()) {
        let mut url: Url = endpoint.as_str().unwrap().parse().unwrap();
        let server = url.socket_addrs(|| None).unwrap()[0];
        let port = start_meter(server, Arc::clone(&sent)).await;
        url.set_port(Some(port)).unwrap();
        *endpoint = json!(url.as_str().trim_end_matches('/'));
    }
    sent
}

async fn start_meter(server: SocketAddr, sent: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let there = async {
                    let mut bytes = vec![0; 16 * 1024];
                    while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
                        sent.fetch_add(n, Ordering::SeqCst);
                        if to_server.write_all(&bytes[..n]).await.is_err() {
                            break;
                        }
                    }
                    // The other side may have closed the connection already.
                    let _ = to_server.shutdown().await;
                };
                let back = async {
                    // Ends when the connection is cut.
                    let _ = copy(&mut from_server, &mut to_client).await;
                    let _ = to_client.shutdown().await;
                };
                tokio::join!(there, back);
            });
        }
    });
    port
}
