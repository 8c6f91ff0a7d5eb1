//! Faults of agents' answers.

use crate::server::{Act, SSE, answer, head};

/// A fault of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer is an HTTP error.
    Status(u16),
    /// The stream ends in the middle of its first event.
    Cut,
    /// Nothing is sent, and the connection stays open.
    Hang,
    /// The answer is not HTTP.
    Garbage,
    /// The answer is a stream of 100 MiB.
    Flood,
}

pub(crate) const ALL: &[Fault] = &[
    Fault::Status(401),
    Fault::Status(404),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Cut,
    Fault::Hang,
    Fault::Garbage,
    Fault::Flood,
];

const CHUNK: usize = 64 * 1024;
const N_CHUNKS: usize = 100 * 1024 * 1024 / CHUNK;

impl Fault {
    /// The script of a faulty answer. Calls that only prepare the answer succeed.
    pub(crate) fn instead_of(self, script: Vec<Act>) -> Vec<Act> {
        let is_answer = script.iter().any(|act| match act {
            Act::Say(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                text.contains("text/event-stream") || text.starts_with("HTTP/1.1 202")
            }
            _ => false,
        });
        if !is_answer {
            return script;
        }
        match self {
            Self::Status(status) => answer(status, "retry-after: 1\r\n", ""),
            Self::Cut => {
                let headers = format!("{SSE}transfer-encoding: chunked\r\n");
                vec![Act::Say(head(200, &headers)), Act::Say(b"40\r\ndata: {\"".to_vec())]
            }
            Self::Hang => vec![Act::Hang],
            Self::Garbage => vec![Act::Say(b"\x00\xff\xfe\x01nonsense\r\n".repeat(64))],
            Self::Flood => vec![Act::Say(head(200, SSE)), Act::Flood(vec![b'x'; CHUNK], N_CHUNKS)],
        }
    }
}
