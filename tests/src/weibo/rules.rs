//! The platform's checks of a client's frames, and what people see of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Complaints};

/// Limit of the text of a frame, and of a message, in UTF-16 code units.
const MAX_FRAME: usize = 2000;
const MAX_MESSAGE: usize = 4100;
/// A frame with at least this much text counts as full, and may follow the previous one at once.
const FULL_FRAME: usize = 1500;
/// Minimum interval between two frames of a message that are not full.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// Minimum interval between two pings.
const MIN_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Messages of clients, by app and the clients' own ids.
#[derive(Default)]
pub(super) struct Messages {
    all: Vec<Written>,
    by_key: BTreeMap<(String, String), usize>,
}

/// A message that is being written.
struct Written {
    to: String,
    chunks: Vec<Chunk>,
    bubble: Bubble,
    written_at: Instant,
}

#[derive(Clone, PartialEq)]
struct Chunk {
    text: String,
    done: bool,
    connection: u64,
}

/// The client of a frame.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) app: &'a str,
    pub(super) connection: u64,
}

impl Messages {
    /// Handles a `send_message`. The error is returned to the client.
    pub(super) fn write(
        &mut self,
        by: Writer<'_>,
        payload: &Value,
        wrong: &mut Complaints,
    ) -> Result<(), &'static str> {
        let known = ["toUserId", "text", "messageId", "chunkId", "done"];
        let fields = payload.as_object().ok_or("payload is required")?;
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            wrong.add(format!("send_message: unknown field {name}"));
        }
        let text = |name| payload[name].as_str();
        let to = text("toUserId").filter(|to| is_uid(to)).ok_or("toUserId is required")?;
        let message = text("messageId").filter(|id| !id.is_empty() && id.len() <= 128);
        let message = message.ok_or("messageId is required")?;
        let number = payload["chunkId"].as_u64().ok_or("chunkId is required")?;
        let chunk = Chunk {
            text: text("text").ok_or("text is required")?.to_owned(),
            done: payload["done"].as_bool().ok_or("done is required")?,
            connection: by.connection,
        };
        if units(&chunk.text) > MAX_FRAME {
            wrong.add("send_message: text of a frame is too long");
        }
        let key = (by.app.to_owned(), message.to_owned());
        let at = *self.by_key.entry(key).or_insert_with(|| {
            self.all.push(Written::new(by.app, to));
            self.all.len() - 1
        });
        self.all[at].add(to, number, chunk, wrong);
        Ok(())
    }

    /// The visible bubbles, the oldest first.
    pub(super) fn bubbles(&self) -> Vec<Bubble> {
        self.all.iter().map(|it| it.bubble.clone()).collect()
    }

    /// Adds a message that isn't written in chunks: a file.
    pub(super) fn add_file(&mut self, app: &str, to: &str, name: &str) {
        let mut file = Written::new(app, to);
        file.bubble.way = "file";
        file.bubble.states = vec![name.to_owned()];
        file.bubble.done = true;
        self.all.push(file);
    }
}

impl Written {
    fn new(app: &str, to: &str) -> Self {
        Self {
            to: to.to_owned(),
            chunks: Vec::new(),
            bubble: Bubble {
                bot: app.to_owned(),
                chat: to.to_owned(),
                answers: None,
                way: "message",
                states: Vec::new(),
                done: false,
            },
            written_at: Instant::now(),
        }
    }

    fn add(&mut self, to: &str, number: u64, chunk: Chunk, wrong: &mut Complaints) {
        if to != self.to {
            return wrong.add("send_message: one message for two people");
        }
        let next = self.chunks.len() as u64;
        if let Some(same) = self.chunks.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            // A repeated chunk. Within the same connection it is a mistake, and with another text it always is.
            if same.connection == chunk.connection
                || (same.text.as_str(), same.done) != (chunk.text.as_str(), chunk.done)
            {
                wrong.add("send_message: a number is used twice");
            }
            return;
        }
        if number != next {
            return wrong.add(format!("send_message: chunk {number} instead of {next}"));
        }
        if self.bubble.done {
            return wrong.add("send_message: a chunk after the end");
        }
        if next == 0 && chunk.text.trim().is_empty() {
            wrong.add("send_message: an empty message begins");
        }
        if next > 0 && !chunk.done && chunk.text.is_empty() {
            wrong.add("send_message: an empty chunk");
        }
        // A text that exceeds a frame may be sent in several at once.
        let is_small = |chunk: &Chunk| !chunk.done && units(&chunk.text) < FULL_FRAME;
        let are_small = is_small(&chunk) && self.chunks.last().is_some_and(is_small);
        if are_small && self.written_at.elapsed() < MIN_INTERVAL {
            wrong.add("send_message: small chunks come too fast");
        }
        let shown = format!("{}{}", self.bubble.text(), chunk.text);
        if units(&shown) > MAX_MESSAGE {
            wrong.add("send_message: a message is too long");
        }
        self.bubble.states.push(shown);
        self.bubble.done = chunk.done;
        self.written_at = Instant::now();
        self.chunks.push(chunk);
    }
}

/// The pings of a connection.
#[derive(Default)]
pub(super) struct Pings {
    last: Option<Instant>,
    /// Whether a frame was written since, which a ping may confirm.
    has_written: bool,
}

impl Pings {
    pub(super) fn written(&mut self) {
        self.has_written = true;
    }

    pub(super) fn add(&mut self, wrong: &mut Complaints) {
        let has_written = std::mem::take(&mut self.has_written);
        if !has_written && self.last.is_some_and(|last| last.elapsed() < MIN_PING_INTERVAL) {
            wrong.add("ping: too often");
        }
        self.last = Some(Instant::now());
    }
}

/// Whether a text is a user id.
pub(super) fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
