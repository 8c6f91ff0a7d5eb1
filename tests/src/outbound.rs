//! The messages of bots as chats show them, and complaints about what a platform would have rejected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

/// A message of a bot in a chat, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bubble {
    /// The bot.
    pub bot: String,
    /// The group, or the person in a direct chat.
    pub chat: String,
    /// The message that it answers, where the platform links it to one.
    pub answers: Option<String>,
    /// The platform's way of sending by which it arrived.
    pub way: &'static str,
    /// Every text that it showed, the oldest first.
    pub states: Vec<String>,
    /// Whether it is final.
    pub done: bool,
}

impl Bubble {
    /// The current text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.states.last().map_or("", String::as_str)
    }
}

/// A button of a card, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownButton {
    /// Its label.
    pub label: String,
    /// The address that it opens. `None`: a click is reported to the bot.
    pub url: Option<String>,
}

impl ShownButton {
    /// A button; an empty address counts as none.
    #[must_use]
    pub fn new(label: &str, url: &str) -> Self {
        Self {
            label: label.to_owned(),
            url: Some(url.to_owned()).filter(|url| !url.is_empty()),
        }
    }
}

/// A sender and the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The person.
    pub user: String,
    /// The group, unless it is a direct chat.
    pub group: Option<String>,
}

impl Speaker {
    /// A person in their direct chat with the bot.
    #[must_use]
    pub fn alone(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            group: None,
        }
    }

    /// A person in a group.
    #[must_use]
    pub fn in_group(user: &str, group: &str) -> Self {
        Self {
            user: user.to_owned(),
            group: Some(group.to_owned()),
        }
    }

    /// The chat in which an answer belongs.
    #[must_use]
    pub fn chat(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.user)
    }
}

/// Protocol violations that a strict platform found, each kind once with its count.
#[derive(Debug, Clone, Default)]
pub struct Complaints(BTreeMap<String, usize>);

impl Complaints {
    /// Adds one.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.iter().map(|(what, n)| format!("{what} ({n} times)")).collect()
    }
}

/// Polls until `ask` returns a value, at most for `limit`.
///
/// # Errors
/// On timeout; the message names what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = ask() {
            return Ok(found);
        }
        if began.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls for the whole of `time` whether a condition still holds: for events that must not happen.
///
/// # Errors
/// As soon as it doesn't; the message names the condition.
pub async fn stays(what: &str, time: Duration, mut ask: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        if !ask() {
            bail!("{what}: not any more after {:?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
