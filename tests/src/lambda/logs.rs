//! The output of a function, for assertions and for the message of a failed test.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// The source of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The function's standard output.
    Stdout,
    /// The function's standard error.
    Stderr,
    /// Lambda's own lines: timeouts, exits.
    Platform,
}

/// One line of a function's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Process id of the instance.
    pub pid: u32,
    /// Where the line came from.
    pub source: Source,
    /// The line without its end.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Stdout => "out",
            Source::Stderr => "err",
            Source::Platform => "aws",
        };
        write!(f, "[{} {source}] {}", self.pid, self.text)
    }
}

/// The newest lines of one function, over all its instances.
#[derive(Debug)]
pub(super) struct Logs {
    lines: Mutex<VecDeque<LogLine>>,
    capacity: usize,
}

impl Logs {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            lines: Mutex::new(VecDeque::new()),
            capacity,
        }
    }

    pub(super) fn push(&self, pid: u32, source: Source, text: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= self.capacity {
            lines.pop_front();
        }
        lines.push_back(LogLine { pid, source, text });
    }

    /// The newest `limit` lines, oldest first.
    pub(super) fn tail(&self, limit: usize) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(limit)).cloned().collect()
    }
}

/// Reads lines from `pipe` until the instance closes it.
pub(super) async fn follow(logs: Arc<Logs>, pid: u32, source: Source, pipe: impl AsyncRead + Unpin) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(pipe.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&line);
        logs.push(pid, source, text.trim_end_matches(['\r', '\n']).to_owned());
        line.clear();
    }
}
