//! What bots show in chats, and what of it a platform would have refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Something that a bot shows in a chat, as people there see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bubble {
    /// The bot.
    pub bot: String,
    /// The group, or the person in a direct chat.
    pub chat: String,
    /// The message that it answers, where the platform ties it to one.
    pub answers: Option<String>,
    /// By which of the platform's ways it came.
    pub way: &'static str,
    /// Every text that it showed, the oldest first.
    pub states: Vec<String>,
    /// Whether nothing comes after it.
    pub done: bool,
}

impl Bubble {
    /// What it shows now.
    #[must_use]
    pub fn text(&self) -> &str {
        self.states.last().map_or("", String::as_str)
    }
}

/// A button of a card, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownButton {
    /// What it says.
    pub label: String,
    /// The address that it opens. `None`: a click on it is reported to the bot.
    pub url: Option<String>,
}

impl ShownButton {
    /// A button; an empty address is none.
    #[must_use]
    pub fn new(label: &str, url: &str) -> Self {
        Self {
            label: label.to_owned(),
            url: Some(url.to_owned()).filter(|url| !url.is_empty()),
        }
    }
}

/// Who says something, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The person.
    pub user: String,
    /// The group, unless they speak to the bot alone.
    pub group: Option<String>,
}

impl Speaker {
    /// A person alone with the bot.
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

    /// Where an answer belongs.
    #[must_use]
    pub fn chat(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.user)
    }
}

/// What a strict platform found wrong, each kind once with its number.
#[derive(Debug, Clone, Default)]
pub struct Complaints(BTreeMap<String, usize>);

impl Complaints {
    /// Notes one.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.iter().map(|(what, n)| format!("{what} ({n} times)")).collect()
    }
}

/// Asks until there is something, at most for `limit`.
///
/// # Errors
/// If there is nothing by then; the text says what was waited for.
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

/// Asks for the whole of `time` whether it is still so: for what must not happen, and so gives no sign.
///
/// # Errors
/// As soon as it isn't; the text says what should have stayed.
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
