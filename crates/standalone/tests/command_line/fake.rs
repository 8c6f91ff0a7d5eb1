//! A fake bridge with programmable responses.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crate::bridge::{TOKEN, tieline};

/// A status and a body, or no response at all.
pub(crate) type Answer = Option<(u16, String)>;

/// A fake bridge, which runs until the tests end.
pub(crate) struct Fake {
    url: String,
}

impl Fake {
    /// `answer` receives the method, the path with its query, and the body.
    pub(crate) fn start(answer: impl Fn(&str, &str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(stream, &*answer));
            }
        });
        Self { url }
    }

    /// A command that calls it.
    pub(crate) fn command_of(&self, words: &[&str]) -> Command {
        let mut command = tieline();
        command
            .args(words)
            .env("TIELINE_URL", &self.url)
            .env("TIELINE_ADMIN_TOKEN", TOKEN);
        command
    }
}

/// Handles one request. Errors of a caller that disconnects are ignored.
fn serve(stream: TcpStream, answer: &impl Fn(&str, &str, &str) -> Answer) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(written) = lower.strip_prefix("content-length:") {
            length = written.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    match answer(method, path, &String::from_utf8(body).unwrap()) {
        Some((status, body)) => {
            let length = body.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 {status} It\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
        // Wait until the caller gives up.
        None => drop(from.read_to_end(&mut Vec::new())),
    }
}
