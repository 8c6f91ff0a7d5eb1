//! A scripted server on the loopback address, which can also misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// What a connection does after it has read the request. It is closed at the end of the script.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends bytes.
    Say(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Waits until the client closes the connection.
    Hang,
    /// Resets the connection.
    Reset,
    /// Sends the same bytes repeatedly, up to this many times.
    Flood(Vec<u8>, usize),
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Instant,
    pub head: String,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    /// Method and target with the query: `POST /v1/chat`.
    pub fn target(&self) -> &str {
        let line = self.head.lines().next().unwrap();
        line.strip_suffix(" HTTP/1.1").unwrap()
    }

    /// The method, the path and the query.
    pub fn line(&self) -> (&str, &str, &str) {
        let mut words = self.head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        (method, path, query)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug)]
struct Seen {
    calls: Mutex<Vec<Call>>,
    flooded_bytes: AtomicUsize,
    hung_up: Semaphore,
}

/// A loopback server. Each connection executes one script.
#[derive(Debug)]
pub struct Server {
    pub url: String,
    seen: Arc<Seen>,
}

/// Returns the script for a request.
type Handler = Arc<dyn Fn(&Call) -> Vec<Act> + Send + Sync>;

impl Server {
    /// The nth connection executes the nth script; the last script is for all further connections.
    pub async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let n = AtomicUsize::new(0);
        Self::answering(move |_| scripts[n.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1)].clone()).await
    }

    /// Each connection executes the script that the handler returns for its request.
    pub async fn answering(handler: impl Fn(&Call) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen {
            calls: Mutex::default(),
            flooded_bytes: AtomicUsize::new(0),
            hung_up: Semaphore::new(0),
        });
        tokio::spawn(serve(listener, Arc::new(handler), seen.clone()));
        Self { url, seen }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.seen.calls.lock().unwrap().clone()
    }

    pub fn n_calls(&self) -> usize {
        self.calls().len()
    }

    /// Number of bytes that a flood could send.
    pub fn flooded_bytes(&self) -> usize {
        self.seen.flooded_bytes.load(Ordering::SeqCst)
    }

    /// Waits until the client closes a connection that hangs or floods.
    pub async fn hung_up(&self) {
        let closed = timeout(Duration::from_secs(10), self.seen.hung_up.acquire()).await;
        closed.expect("the client keeps the connection open").unwrap().forget();
    }
}

/// An address without a listener.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn serve(listener: TcpListener, handler: Handler, seen: Arc<Seen>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(play(socket, handler.clone(), seen.clone()));
    }
}

async fn play(mut socket: TcpStream, handler: Handler, seen: Arc<Seen>) {
    let Some(call) = read_call(&mut socket).await else {
        return;
    };
    let script = handler(&call);
    seen.calls.lock().unwrap().push(call);
    for act in script {
        match act {
            Act::Say(bytes) => {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.flush().await;
            }
            Act::Pause(span) => sleep(span).await,
            Act::Hang => {
                while socket.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
                seen.hung_up.add_permits(1);
            }
            Act::Reset => {
                socket.set_zero_linger().unwrap();
                return;
            }
            Act::Flood(bytes, times) => flood(&mut socket, &bytes, times, &seen).await,
        }
    }
}

async fn flood(socket: &mut TcpStream, bytes: &[u8], times: usize, seen: &Seen) {
    for _ in 0..times {
        if socket.write_all(bytes).await.is_err() {
            seen.hung_up.add_permits(1);
            return;
        }
        seen.flooded_bytes.fetch_add(bytes.len(), Ordering::SeqCst);
    }
}

async fn read_call(socket: &mut TcpStream) -> Option<Call> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let mut call = Call {
        at: Instant::now(),
        head: String::from_utf8(read[..end].to_vec()).unwrap(),
        body: read[end + 4..].to_vec(),
    };
    let length: usize = call
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while call.body.len() < length {
        if socket.read_buf(&mut call.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(call)
}

/// A response that ends with the connection.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<Act> {
    vec![Act::Say(head(status, headers)), Act::Say(body.as_bytes().to_vec())]
}

/// A JSON document of which the second half never arrives.
pub fn cut_document(body: &str) -> Vec<Act> {
    let length = format!("{JSON}content-length: {}\r\n", body.len());
    let mut script = answer(200, &length, body);
    script[1] = Act::Say(body.as_bytes()[..body.len() / 2].to_vec());
    script
}

pub fn head(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

pub const SSE: &str = "content-type: text/event-stream\r\n";
pub const JSON: &str = "content-type: application/json\r\n";

pub fn sse(body: &str) -> Vec<Act> {
    answer(200, SSE, body)
}
