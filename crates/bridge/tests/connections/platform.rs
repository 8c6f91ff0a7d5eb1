//! A tiny platform: WeCom's frames, where a second connection kicks the first, and DingTalk's, where two are allowed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// How the platform behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// The result code of a subscription; 0 accepts.
    pub(crate) subscribed: i64,
    /// Pings and frames of ours are not answered: the socket only looks open.
    pub(crate) deaf: bool,
    /// The upgrade waits until this is cleared.
    pub(crate) slow: bool,
    /// The upgrade is answered with this status.
    pub(crate) handshake: Option<u16>,
    /// Our frames are not acknowledged.
    pub(crate) no_acks: bool,
    /// The result code of acknowledgements.
    pub(crate) code: i64,
}

/// A frame that came from a bot.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) bot: String,
    pub(crate) connection: usize,
    pub(crate) frame: Value,
}

#[derive(Default)]
struct Book {
    manners: Manners,
    connections: usize,
    /// How many sockets were opened in all.
    dialed: usize,
    /// Open connections by bot, the newest last.
    standing: HashMap<String, Vec<(usize, UnboundedSender<Message>)>>,
    /// How many connection attempts there were by bot.
    attempts: HashMap<String, usize>,
    /// Bots that ever had more than one connection at once.
    doubled: Vec<String>,
    kicked: Vec<String>,
    said: Vec<Said>,
}

/// The platform.
#[derive(Clone)]
pub(crate) struct Platform {
    pub(crate) port: u16,
    book: Arc<Mutex<Book>>,
}

impl Platform {
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

    pub(crate) fn behave(&self, manners: Manners) {
        self.book.lock().unwrap().manners = manners;
    }

    pub(crate) fn standing(&self) -> usize {
        let book = self.book.lock().unwrap();
        book.standing.values().filter(|lines| !lines.is_empty()).count()
    }

    /// The number of the bot's newest connection.
    pub(crate) fn connection_of(&self, bot: &str) -> Option<usize> {
        let book = self.book.lock().unwrap();
        book.standing.get(bot)?.last().map(|(number, _)| *number)
    }

    pub(crate) fn attempts_of(&self, bot: &str) -> usize {
        self.book.lock().unwrap().attempts.get(bot).copied().unwrap_or_default()
    }

    pub(crate) fn dialed(&self) -> usize {
        self.book.lock().unwrap().dialed
    }

    pub(crate) fn kicked(&self) -> Vec<String> {
        self.book.lock().unwrap().kicked.clone()
    }

    pub(crate) fn doubled(&self) -> Vec<String> {
        self.book.lock().unwrap().doubled.clone()
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.book.lock().unwrap().said.clone()
    }

    /// Pushes a frame over the bot's newest connection. Returns whether there was one.
    pub(crate) fn push(&self, bot: &str, frame: &Value) -> bool {
        self.push_raw(bot, Message::text(frame.to_string()))
    }

    fn push_raw(&self, bot: &str, message: Message) -> bool {
        let book = self.book.lock().unwrap();
        let line = book.standing.get(bot).and_then(|lines| lines.last());
        line.is_some_and(|(_, line)| line.send(message).is_ok())
    }

    /// Pushes a person's message to a WeCom bot.
    pub(crate) fn say(&self, bot: &str, msgid: &str, text: &str) -> bool {
        self.push(
            bot,
            &json!({
                "cmd": "aibot_msg_callback",
                "headers": { "req_id": format!("r-{msgid}") },
                "body": {
                    "msgid": msgid, "aibotid": bot, "chattype": "single", "from": { "userid": "lisi" },
                    "msgtype": "text", "text": { "content": text },
                },
            }),
        )
    }

    /// A person opens the chat with a WeCom bot.
    pub(crate) fn enter(&self, bot: &str) -> bool {
        self.push(
            bot,
            &json!({
                "cmd": "aibot_event_callback",
                "headers": { "req_id": "r-enter" },
                "body": {
                    "msgid": "enter-1", "create_time": 1_700_000_000, "aibotid": bot, "chattype": "single",
                    "from": { "userid": "lisi" }, "msgtype": "event", "event": { "eventtype": "enter_chat" },
                },
            }),
        )
    }

    /// Pushes a person's message to a DingTalk robot.
    pub(crate) fn ding(&self, bot: &str, msg_id: &str, text: &str) -> bool {
        let data = json!({
            "conversationId": "cid1", "conversationType": "1", "msgId": msg_id, "msgtype": "text",
            "text": { "content": text }, "senderId": "s1", "senderStaffId": "staff1", "senderNick": "L",
            "robotCode": bot, "createAt": 1_900_000_000_000_u64, "chatbotUserId": "u",
            "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=x",
            "sessionWebhookExpiredTime": 1_900_000_000_000_u64,
        });
        self.push(
            bot,
            &json!({
                "specVersion": "1.0", "type": "CALLBACK",
                "headers": { "topic": "/v1.0/im/bot/messages/get", "messageId": format!("m-{msg_id}"),
                             "contentType": "application/json", "time": "1700000000000" },
                "data": data.to_string(),
            }),
        )
    }

    /// Announces to a DingTalk robot that its connection will be closed.
    pub(crate) fn announce_end(&self, bot: &str) -> bool {
        self.push(
            bot,
            &json!({
                "specVersion": "1.0", "type": "SYSTEM",
                "headers": { "topic": "disconnect", "messageId": "d1", "contentType": "application/json" },
                "data": "{\"reason\":\"connection is expired\"}",
            }),
        )
    }

    /// Cuts the bot's newest connection without a close frame.
    pub(crate) fn drop_connection(&self, bot: &str) {
        let mut book = self.book.lock().unwrap();
        if let Some(lines) = book.standing.get_mut(bot) {
            lines.pop();
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut head = [0; 4];
        if stream.peek(&mut head).await.is_err() {
            return;
        }
        if head.starts_with(b"POST") {
            return self.open_gateway(&mut stream).await;
        }
        let refuse = self.book.lock().unwrap().manners.handshake;
        if let Some(status) = refuse {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        self.book.lock().unwrap().dialed += 1;
        while self.book.lock().unwrap().manners.slow {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut asked = [0; 512];
        let n = stream.peek(&mut asked).await.unwrap_or_default();
        let asked = String::from_utf8_lossy(&asked[..n]).into_owned();
        let ticket = asked
            .split("ticket=")
            .nth(1)
            .and_then(|rest| rest.split([' ', '&']).next());
        let Some(bot) = ticket else {
            let Ok(socket) = accept_async(stream).await else { return };
            return self.greet(socket).await;
        };
        // A connection counts before its client can know of it, so that nothing the client does next overtakes it.
        let (number, lines) = self.open(bot);
        if let Ok(socket) = accept_async(stream).await {
            self.talk(socket, bot, number, lines).await;
        }
        self.close(bot, number);
    }

    /// DingTalk's bootstrap: the ticket is the bot's name.
    async fn open_gateway(&self, stream: &mut TcpStream) {
        let mut request = Vec::new();
        let mut chunk = [0; 2048];
        let body = loop {
            let Ok(n @ 1..) = stream.read(&mut chunk).await else {
                return;
            };
            request.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&request);
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            if let Some(body) = body.and_then(|body| serde_json::from_str::<Value>(&body).ok()) {
                break body;
            }
        };
        let bot = body["clientId"].as_str().unwrap_or_default();
        *self.book.lock().unwrap().attempts.entry(bot.to_owned()).or_default() += 1;
        let endpoint = format!("ws://127.0.0.1:{}/connect", self.port);
        let answer = json!({ "endpoint": endpoint, "ticket": bot }).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
    }

    /// WeCom's subscription.
    async fn greet(&self, mut socket: WebSocketStream<TcpStream>) {
        let Some(Ok(Message::Text(text))) = socket.next().await else {
            return;
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["cmd"], "aibot_subscribe", "nothing comes before the subscription");
        let bot = frame["body"]["bot_id"].as_str().unwrap().to_owned();
        let code = {
            let mut book = self.book.lock().unwrap();
            *book.attempts.entry(bot.clone()).or_default() += 1;
            book.manners.subscribed
        };
        let answer = json!({ "headers": frame["headers"], "errcode": code, "errmsg": "" });
        if code != 0 {
            let _ = socket.send(Message::text(answer.to_string())).await;
            return;
        }
        self.kick(&bot);
        let (number, lines) = self.open(&bot);
        if socket.send(Message::text(answer.to_string())).await.is_ok() {
            self.talk(socket, &bot, number, lines).await;
        }
        self.close(&bot, number);
    }

    fn kick(&self, bot: &str) {
        let mut book = self.book.lock().unwrap();
        let Some(lines) = book.standing.get_mut(bot) else {
            return;
        };
        let before = std::mem::take(lines);
        if !before.is_empty() {
            book.kicked.push(bot.to_owned());
        }
        for (_, line) in before {
            let event = json!({
                "cmd": "aibot_event_callback", "headers": { "req_id": "r9" },
                "body": { "msgid": "m9", "create_time": 1_760_000_600, "aibotid": bot, "msgtype": "event",
                          "event": { "eventtype": "disconnected_event" } },
            });
            let _ = line.send(Message::text(event.to_string()));
        }
    }

    fn open(&self, bot: &str) -> (usize, UnboundedReceiver<Message>) {
        let (line, lines) = unbounded_channel();
        let mut book = self.book.lock().unwrap();
        book.connections += 1;
        let number = book.connections;
        let standing = book.standing.entry(bot.to_owned()).or_default();
        standing.push((number, line));
        if standing.len() > 1 {
            book.doubled.push(bot.to_owned());
        }
        (number, lines)
    }

    fn close(&self, bot: &str, number: usize) {
        let mut book = self.book.lock().unwrap();
        if let Some(lines) = book.standing.get_mut(bot) {
            lines.retain(|(known, _)| *known != number);
        }
    }

    async fn talk(
        &self,
        mut socket: WebSocketStream<TcpStream>,
        bot: &str,
        number: usize,
        mut lines: UnboundedReceiver<Message>,
    ) {
        loop {
            tokio::select! {
                message = lines.recv() => match message {
                    Some(message) => if socket.send(message).await.is_err() { return },
                    None => {
                        // The last frame is in flight; then the connection is cut.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        return;
                    }
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let frame: Value = serde_json::from_str(&text).unwrap();
                        if let Some(answer) = self.receive(bot, number, frame)
                            && socket.send(Message::text(answer.to_string())).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(Message::Close(_))) => { let _ = socket.close(None).await; return }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
        }
    }

    fn receive(&self, bot: &str, connection: usize, frame: Value) -> Option<Value> {
        let mut book = self.book.lock().unwrap();
        let manners = book.manners.clone();
        let cmd = frame["cmd"].as_str().unwrap_or_default().to_owned();
        let code = if cmd == "ping" { 0 } else { manners.code };
        let answer = json!({ "headers": frame["headers"], "errcode": code, "errmsg": "" });
        if cmd != "ping" {
            book.said.push(Said {
                bot: bot.to_owned(),
                connection,
                frame,
            });
        }
        let answers = !manners.deaf && !cmd.is_empty() && (cmd == "ping" || !manners.no_acks);
        answers.then_some(answer)
    }
}
