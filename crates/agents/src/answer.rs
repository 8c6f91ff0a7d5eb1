//! Reading of an agent's response: its size is bounded, and so is the time between two reads.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::Response;
use tieline_core::agent::{AgentFailure, MAX_ANSWER_BYTES};
use tokio::time::timeout;

use crate::answer_memory::AnswerMemory;
use crate::failure;
use crate::sse::{Decoder, Event, MAX_EVENT_BYTES};

/// Largest number of bytes that we read of one streamed answer. Text is a small part of its stream: one token takes some 200 bytes.
const MAX_STREAM_BYTES: usize = 16 * MAX_ANSWER_BYTES;

/// Kind of a response, detected by its first character: servers send wrong content types.
pub(crate) enum Answer {
    /// One complete JSON document.
    Json(Vec<u8>),
    /// Server-sent events. An empty body counts as a stream without events.
    Events(Box<Events>),
}

/// Reads as much of the response as is needed to detect its kind; all of it if it is JSON.
pub(crate) async fn open(response: Response, idle: Duration) -> Result<Answer, AgentFailure> {
    let mut body = Body::new(response, idle);
    loop {
        let Some(mut chunk) = body.chunk().await? else {
            return Ok(Answer::Events(Events::new(Bytes::new(), body)));
        };
        let blank = chunk.iter().take_while(|byte| is_blank(**byte)).count();
        chunk.advance(blank);
        match chunk.first() {
            None => {}
            // A whole answer may be a string too; no field of an event begins with a quotation mark.
            Some(b'{' | b'[' | b'"') => return body.rest(chunk, MAX_ANSWER_BYTES).await.map(Answer::Json),
            Some(b'<') => {
                return Err(failure::bad_answer(
                    "expected JSON or server-sent events, got a page of HTML or XML",
                ));
            }
            Some(_) => return Ok(Answer::Events(Events::new(chunk, body))),
        }
    }
}

/// Whitespace, and the bytes of a byte order mark, which may precede JSON and events.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf)
}

/// The events of a streamed answer.
pub(crate) struct Events {
    unread: Bytes,
    body: Body,
    decoder: Decoder,
}

impl Events {
    fn new(unread: Bytes, body: Body) -> Box<Self> {
        Box::new(Self {
            unread,
            body,
            decoder: Decoder::default(),
        })
    }

    /// The next event with data; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, AgentFailure> {
        loop {
            let event = self.decoder.take(&mut self.unread);
            if let Some(event) = event.map_err(|_| failure::too_long("an event", MAX_EVENT_BYTES))? {
                return Ok(Some(event));
            }
            let Some(chunk) = self.body.chunk().await? else {
                return Ok(self.decoder.finish());
            };
            self.body.hold(self.decoder.n_held() + chunk.len()).await?;
            self.unread = chunk;
        }
    }
}

struct Body {
    response: Response,
    idle: Duration,
    read_bytes: usize,
    /// `None` for the body of a refusal, of which only the beginning is read.
    memory: Option<AnswerMemory>,
}

impl Body {
    fn new(response: Response, idle: Duration) -> Self {
        Self {
            memory: response.extensions().get().cloned(),
            response,
            idle,
            read_bytes: 0,
        }
    }

    /// Counts `n_bytes` that are held of the body.
    async fn hold(&self, n_bytes: usize) -> Result<(), AgentFailure> {
        match &self.memory {
            Some(memory) => memory.reserve(n_bytes).await,
            None => Ok(()),
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, AgentFailure> {
        let read = timeout(self.idle, self.response.chunk()).await;
        let chunk = read
            .map_err(|_| failure::idle_timeout(self.idle))?
            .map_err(|_| broken())?;
        self.read_bytes += chunk.as_ref().map_or(0, Bytes::len);
        if self.read_bytes > MAX_STREAM_BYTES {
            return Err(failure::too_long("the stream", MAX_STREAM_BYTES));
        }
        Ok(chunk)
    }

    async fn rest(mut self, start: Bytes, max_bytes: usize) -> Result<Vec<u8>, AgentFailure> {
        let mut whole = start.to_vec();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > max_bytes {
                return Err(failure::too_long("the answer", max_bytes));
            }
            self.hold(whole.len() + chunk.len()).await?;
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

/// Reads a whole response body of at most `max_bytes`.
pub(crate) async fn whole(response: Response, idle: Duration, max_bytes: usize) -> Result<Vec<u8>, AgentFailure> {
    let body = Body::new(response, idle);
    body.rest(Bytes::new(), max_bytes).await
}

/// Reads the beginning of a response of which only a few words matter. Any error ends the reading.
pub(crate) async fn beginning(response: Response, max_bytes: usize, patience: Duration) -> Vec<u8> {
    let mut body = Body::new(response, patience);
    let mut read = Vec::new();
    let all = async {
        while let Ok(Some(chunk)) = body.chunk().await {
            let room = max_bytes - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read.len() == max_bytes {
                break;
            }
        }
    };
    let _ = timeout(patience, all).await;
    read
}

fn broken() -> AgentFailure {
    failure::new(
        failure::BROKEN,
        "the connection broke in the middle of the answer",
        true,
    )
}
