//! A tiny platform that is polled: WeChat's calls. A cursor is the number of messages before it; later messages are delivered again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// How long a poll is held open.
const HOLD: Duration = Duration::from_millis(700);

/// What happened to one bot.
#[derive(Debug, Clone, Default)]
pub(crate) struct BotBook {
    messages: Vec<Value>,
    /// Polls held open now, and the most that ever were.
    pub(crate) polls: usize,
    pub(crate) most_polls: usize,
    /// Cursors that were presented, the oldest first.
    pub(crate) cursors: Vec<String>,
    pub(crate) starts: usize,
    pub(crate) stops: usize,
}

#[derive(Default)]
struct Book {
    bots: HashMap<String, BotBook>,
    /// The answer to every call, in place of the usual one.
    answer: Option<(u16, Value)>,
}

/// The platform.
#[derive(Clone)]
pub(crate) struct PollPlatform {
    port: u16,
    book: Arc<Mutex<Book>>,
}

impl PollPlatform {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let platform = Self {
            port: listener.local_addr().unwrap().port(),
            book: Arc::default(),
        };
        let serving = platform.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let platform = serving.clone();
                tokio::spawn(async move { platform.serve(stream).await });
            }
        });
        platform
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A person writes to a bot.
    pub(crate) fn say(&self, bot: &str, id: u64) {
        let message = json!({
            "message_id": id, "from_user_id": "o1@im.wechat", "to_user_id": bot, "client_id": format!("c{id}"),
            "create_time_ms": 1_900_000_000_000_u64 + id, "message_type": 1, "message_state": 2, "context_token": "CTX",
            "item_list": [{ "type": 1, "text_item": { "text": "你好" } }],
        });
        self.lock()
            .bots
            .entry(bot.to_owned())
            .or_default()
            .messages
            .push(message);
    }

    /// Sets the answer to every call; `None` for the usual answers.
    pub(crate) fn answer(&self, answer: Option<(u16, Value)>) {
        self.lock().answer = answer;
    }

    pub(crate) fn bot(&self, bot: &str) -> BotBook {
        self.lock().bots.get(bot).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some((head, body)) = read(&mut stream).await {
            let (status, answer) = self.respond(&head, &body, &stream).await;
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
            if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn respond(&self, head: &str, body: &Value, stream: &TcpStream) -> (u16, Value) {
        let bot = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer "));
        let bot = bot.unwrap_or_default().trim().to_owned();
        if let Some(answer) = self.lock().answer.clone() {
            return answer;
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.ends_with("/notifystart") {
            self.lock().bots.entry(bot).or_default().starts += 1;
        } else if path.ends_with("/notifystop") {
            self.lock().bots.entry(bot).or_default().stops += 1;
        } else if path.ends_with("/getupdates") {
            return (200, self.poll(&bot, body, stream).await);
        }
        (200, json!({ "ret": 0 }))
    }

    async fn poll(&self, bot: &str, body: &Value, stream: &TcpStream) -> Value {
        let cursor = body["get_updates_buf"].as_str().unwrap().to_owned();
        let from: usize = cursor.parse().unwrap_or_default();
        {
            let mut book = self.lock();
            let bot = book.bots.entry(bot.to_owned()).or_default();
            bot.polls += 1;
            bot.most_polls = bot.most_polls.max(bot.polls);
            bot.cursors.push(cursor);
        }
        let until = Instant::now() + HOLD;
        let mut byte = [0];
        let answer = loop {
            let messages = self.bot(bot).messages;
            if messages.len() > from || Instant::now() >= until {
                let fresh = messages.get(from..).unwrap_or_default();
                break json!({ "ret": 0, "msgs": fresh, "get_updates_buf": messages.len().to_string() });
            }
            // The client has gone.
            if matches!(stream.try_read(&mut byte), Ok(0)) {
                break Value::Null;
            }
            sleep(Duration::from_millis(10)).await;
        };
        self.lock().bots.entry(bot.to_owned()).or_default().polls -= 1;
        answer
    }
}

/// A request's head, in lower case but for its values, and its body.
async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(n @ 1..) = stream.read(&mut chunk).await else {
            return None;
        };
        request.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return Some((head.to_owned(), body));
        }
    }
}
