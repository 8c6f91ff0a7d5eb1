//! Resource exhaustion: unauthenticated clients hold connections open and send unsigned bodies while other people are served.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tieline_tests::test_bridge::{TestBridge, figure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Requests that are sent half and held open; each is opened again when the bridge closes it.
const N_HALF_OPEN: usize = 2000;
/// Senders of unsigned bodies, and their pause between two: enough to use up the memory budget many times, but not the machine's CPU.
/// `TIELINE_FLOOD_PAUSE_MS` sets another pause: with 0 and release binaries they send as much as the machine can.
const N_FLOODING: usize = 64;
const FLOOD_PAUSE: Duration = Duration::from_millis(500);
const BODY_BYTES: usize = 1024 * 1024;
/// Limit of `/healthz` under attack for the 90th percentile: the machine may be busy with other tests, which the slowest tenth shows.
const HEALTH_LIMIT: Duration = Duration::from_millis(100);
const SLOWEST_LIMIT: Duration = Duration::from_secs(2);
/// How long the attack lasts.
const ATTACK: Duration = Duration::from_secs(15);
/// Limit of the bridge's peak memory: its idle memory, the budget of all bodies, and the connections.
const MAX_PEAK_BYTES: u64 = 320 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_requests_and_unsigned_bodies_delay_no_other_client() {
    let bridge = TestBridge::start();
    let integration = bridge.web(&json!({ "protocol": "echo" }), &json!({})).await;
    let address = bridge.process.url().strip_prefix("http://").unwrap().to_owned();
    let mut attack = Attack::start(&address).await;

    let begun = Instant::now();
    let mut replies = Vec::new();
    let probes = {
        let address = address.clone();
        // A thread of its own: the attackers' tasks must not delay it.
        std::thread::spawn(move || probe(&address))
    };
    while begun.elapsed() < ATTACK {
        let n = replies.len();
        let message = json!({ "text": format!("hello {n}"), "chatId": format!("c{n}"), "senderId": "s" });
        let path = format!("/api/web/webhook/{integration}");
        replies.push((
            n,
            bridge.post(&path, &message).await["replyId"]
                .as_str()
                .unwrap()
                .to_owned(),
        ));
        sleep(Duration::from_millis(100)).await;
    }
    let (n_held, n_bodies) = (attack.n_held(), attack.n_bodies());
    let mib = attack.n_bytes.load(Ordering::Relaxed) / 1024 / 1024;
    attack.stop().await;
    let mut probes = probes.join().unwrap();
    probes.sort_unstable();
    let (nine_of_ten, slowest) = (probes[probes.len() * 9 / 10], probes[probes.len() - 1]);

    for (n, reply) in &replies {
        let shown = bridge.console.read(reply).await.unwrap();
        let answer = shown.last().unwrap();
        assert!(
            answer.to_string().contains(&format!("hello {n}")),
            "expected the echo of `hello {n}` in {answer}"
        );
    }
    let peak = bridge.process.peak_memory().unwrap();
    figure("/healthz, nine of ten within", format!("{nine_of_ten:?}"));
    figure("/healthz, slowest", format!("{slowest:?}"));
    figure("messages answered", replies.len());
    figure("connections opened", n_held);
    figure("bodies answered", n_bodies);
    figure("MiB of bodies a second", mib as u64 / ATTACK.as_secs());
    figure("peak MiB", peak / 1024 / 1024);
    assert!(
        n_held >= N_HALF_OPEN,
        "{n_held} connections were held open, expected {N_HALF_OPEN}"
    );
    assert!(n_bodies > 100, "only {n_bodies} bodies were answered");
    assert!(
        nine_of_ten < HEALTH_LIMIT,
        "90th percentile is {nine_of_ten:?}, limit {HEALTH_LIMIT:?}"
    );
    assert!(
        slowest < SLOWEST_LIMIT,
        "slowest is {slowest:?}, limit {SLOWEST_LIMIT:?}"
    );
    assert!(peak < MAX_PEAK_BYTES, "peak memory is {} MiB", peak / 1024 / 1024);
    let log = bridge.process.log();
    assert!(
        !log.contains("Too many open files"),
        "the bridge ran out of file descriptors"
    );
}

/// Latencies of `/healthz` during the attack, each measured on a new connection.
fn probe(address: &str) -> Vec<Duration> {
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < ATTACK {
        let begun = Instant::now();
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\n\r\n";
        socket.write_all(request).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200"),
            "expected a text that begins with `HTTP/1.1 200`, found {answer}"
        );
        took.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    took
}

/// The attackers: half-open requests and unsigned bodies.
struct Attack {
    tasks: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    n_held: Arc<AtomicUsize>,
    n_bodies: Arc<AtomicUsize>,
    n_bytes: Arc<AtomicUsize>,
}

impl Attack {
    /// Starts the attack, and waits until every half-open connection was opened once.
    async fn start(address: &str) -> Self {
        let mut attack = Self {
            tasks: JoinSet::new(),
            is_over: Arc::default(),
            n_held: Arc::default(),
            n_bodies: Arc::default(),
            n_bytes: Arc::default(),
        };
        let pause = std::env::var("TIELINE_FLOOD_PAUSE_MS")
            .ok()
            .and_then(|ms| ms.parse().ok());
        let pause = pause.map_or(FLOOD_PAUSE, Duration::from_millis);
        for nth in 0..N_HALF_OPEN {
            let (address, is_over, n_held) = (address.to_owned(), attack.is_over.clone(), attack.n_held.clone());
            attack.tasks.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    hold(&address, nth, &n_held).await;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        for _ in 0..N_FLOODING {
            let (address, is_over) = (address.to_owned(), attack.is_over.clone());
            let (n_bodies, n_bytes) = (attack.n_bodies.clone(), attack.n_bytes.clone());
            attack.tasks.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    flood(&address, &n_bodies, &n_bytes).await;
                    sleep(pause).await;
                }
            });
        }
        let begun = Instant::now();
        while attack.n_held() < N_HALF_OPEN && begun.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(20)).await;
        }
        attack
    }

    fn n_held(&self) -> usize {
        self.n_held.load(Ordering::Relaxed)
    }

    fn n_bodies(&self) -> usize {
        self.n_bodies.load(Ordering::Relaxed)
    }

    async fn stop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.shutdown().await;
    }
}

/// Sends part of a request and waits until the bridge closes the connection: half of them stop in the head, half in the body.
async fn hold(address: &str, nth: usize, n_held: &AtomicUsize) {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return;
    };
    let part = match nth % 2 {
        0 => "POST /api/wecom/webhook/int_a7a7a7a7a7a7a7a7a7a7a7a7 HTTP/1.1\r\nhost: br".to_owned(),
        _ => format!(
            "{}{{\"encrypt\":\"",
            head("/api/wecom/webhook/int_a7a7a7a7a7a7a7a7a7a7a7a7")
        ),
    };
    if socket.write_all(part.as_bytes()).await.is_ok() {
        n_held.fetch_add(1, Ordering::Relaxed);
        // Returns when the bridge closes the connection.
        let _ = socket.read(&mut [0; 1]).await;
    }
}

/// Sends a whole body without a valid signature.
async fn flood(address: &str, n_bodies: &AtomicUsize, n_bytes: &AtomicUsize) {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return;
    };
    let head = head("/api/lark/webhook/int_a7a7a7a7a7a7a7a7a7a7a7a7");
    let body = vec![b'x'; BODY_BYTES];
    let sent = async {
        socket.write_all(head.as_bytes()).await?;
        for part in body.chunks(64 * 1024) {
            socket.write_all(part).await?;
            n_bytes.fetch_add(part.len(), Ordering::Relaxed);
        }
        socket.read(&mut [0; 1]).await
    };
    if matches!(timeout(Duration::from_secs(10), sent).await, Ok(Ok(_))) {
        n_bodies.fetch_add(1, Ordering::Relaxed);
    }
}

fn head(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bridge\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
    )
}
