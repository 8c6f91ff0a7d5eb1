//! What goes wrong with an agent's answers.

use crate::server::{Act, SSE, answer, head};

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is an error.
    Status(u16),
    /// The stream breaks off in the middle of its first event.
    Cut,
    /// Nothing comes, and the connection stays open.
    Hang,
    /// It isn't HTTP.
    Garbage,
    /// It is a stream of 100 MiB.
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
    /// What happens in place of an answer. Calls that only prepare the answer go well.
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
