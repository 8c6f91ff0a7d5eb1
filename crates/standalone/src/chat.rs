//! `tieline chat`: talks to an agent from the terminal, over our own channel, as the console's playground does.
//!
//! A chat page that was created for the talk is deleted when it ends, however it ends.

use std::io::{BufRead as _, IsTerminal as _, stdin, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tieline_bridge::world::random;
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::args::Chat;
use crate::client::{ApiError, Client};
use crate::kind::Kind;
use crate::{seed, terminal};

/// Maximum number of consecutive failed requests, as during a restart of the bridge, and thereby how long an outage is waited out.
const MAX_FAILURES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Timeout for deleting what was created for the talk.
const DELETE_WITHIN: Duration = Duration::from_secs(20);
/// Maximum number of characters of an agent's name used in the name of its chat page, whose length is limited.
const MAX_NAME_CHARS: usize = 60;

/// The platform of our own channel.
fn own_channel() -> &'static str {
    tieline_connectors::registry::own_channel().platform
}

/// Reads lines and prints the agent's answers, until the input ends.
///
/// # Errors
/// If there is no such integration or agent.
pub async fn run(args: Chat) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    // From now on a signal ends the talk, not the process: what is created below is deleted first.
    let mut signals = Signals::listen()?;
    let language = seed::language_of(args.locale.as_deref().unwrap_or_default());
    let channel = channel(&client, args.agent.as_deref(), language).await?;
    let is_person = stdin().is_terminal() && stdout().is_terminal();
    let talk = Talk {
        client,
        integration: channel.integration.clone(),
        chat: format!("terminal-{}", hex::encode(random::<8>())),
    };
    if is_person {
        terminal::line(&format!(
            "Talking to {}. /new starts a new session, Ctrl-C stops an answer, Ctrl-D ends.",
            terminal::one_line(&channel.agent)
        ))?;
    }
    let talked = tokio::select! {
        talked = converse(&talk, is_person) => talked,
        () = signals.received() => Ok(()),
    };
    let deleted = channel.delete_if_made(&talk.client).await;
    talked.and(deleted)?;
    Ok(ExitCode::SUCCESS)
}

/// Sends lines and prints their answers, until the input ends.
async fn converse(talk: &Talk, is_person: bool) -> anyhow::Result<()> {
    let mut lines = lines();
    loop {
        if is_person {
            terminal::piece("> ")?;
        }
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = ctrl_c() => None,
        };
        let Some(line) = line else { break };
        if !line.trim().is_empty() && talk.ask(line.trim_end()).await? == Goes::Away {
            break;
        }
    }
    if is_person {
        terminal::line("")?;
    }
    Ok(())
}

/// Signals that end the talk. Ctrl-C is handled by the talk itself.
struct Signals {
    terminate: Signal,
    hang_up: Signal,
    /// Never awaited: while it exists, Ctrl-C doesn't end the process.
    _interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            _interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Lines as they are typed. Read on a separate thread, because a blocking read of standard input can't be cancelled.
fn lines() -> mpsc::Receiver<String> {
    let (typed, lines) = mpsc::channel(1);
    thread::spawn(move || {
        let mut read = stdin().lock().lines().map_while(Result::ok);
        while read.next().is_some_and(|line| typed.blocking_send(line).is_ok()) {}
    });
    lines
}

struct Channel {
    integration: String,
    agent: String,
    /// Whether it was created for this talk.
    is_made: bool,
}

impl Channel {
    /// Deletes the chat page that was created for this talk, with its trigger and the person who talked.
    async fn delete_if_made(&self, client: &Client) -> anyhow::Result<()> {
        if !self.is_made {
            return Ok(());
        }
        let deleted = timeout(DELETE_WITHIN, delete(client, &self.integration)).await;
        deleted
            .context("no answer in time")
            .and_then(|deleted| deleted)
            .with_context(|| {
                format!(
                    "can't delete the chat page {} that was made for this talk",
                    self.integration
                )
            })
    }
}

async fn delete(client: &Client, page: &str) -> anyhow::Result<()> {
    client.delete(&["integrations", page], &[("force", "true")]).await?;
    for person in client.all(Kind::Users).await? {
        if person["integrationId"] == page {
            client.delete(&["users", text(&person["id"])], &[]).await?;
        }
    }
    Ok(())
}

/// The oldest chat page that is bound to an agent; created in `language` if there is none.
async fn channel(client: &Client, agent: Option<&str>, language: Language) -> anyhow::Result<Channel> {
    let pages = client.all(Kind::Integrations).await?;
    let mut pages: Vec<Value> = pages
        .into_iter()
        .filter(|page| page["platform"] == own_channel() && page["enabled"] == true)
        .collect();
    // Not by id: ids that earlier versions created at the first start don't begin with the time.
    pages.sort_by_key(|page| page["createdAt"].as_str().and_then(Timestamp::parse));
    let triggers = client.all(Kind::Triggers).await?;
    let bound_to = |page: &Value| {
        let mut bound = triggers.iter().filter(|trigger| trigger["enabled"] == true);
        bound
            .find(|trigger| trigger["integrationId"] == page["id"])
            .map(|trigger| &trigger["agentId"])
    };
    let Some(which) = agent else {
        let found = pages.iter().find_map(|page| Some((page, bound_to(page)?)));
        let (page, agent) = found.context("no chat page is bound to an agent: say which agent with --agent")?;
        return opened(page, &client.find(Kind::Agents, text(agent)).await?, false);
    };
    let agent = client.find(Kind::Agents, which).await?;
    match pages.iter().find(|page| bound_to(page) == Some(&agent["id"])) {
        Some(page) => opened(page, &agent, false),
        None => opened(&bind(client, &agent, language).await?, &agent, true),
    }
}

fn opened(page: &Value, agent: &Value, is_made: bool) -> anyhow::Result<Channel> {
    Ok(Channel {
        integration: page["id"].as_str().context("the integration has no id")?.to_owned(),
        agent: text(&agent["name"]).to_owned(),
        is_made,
    })
}

/// Creates a chat page for an agent that has none. It belongs to this talk alone: two concurrent talks have two.
async fn bind(client: &Client, agent: &Value, language: Language) -> anyhow::Result<Value> {
    let name: String = text(&agent["name"]).chars().take(MAX_NAME_CHARS).collect();
    let name = format!("Terminal: {name} {}", hex::encode(random::<4>()));
    let body =
        json!({ "name": name, "platform": own_channel(), "connectionMode": "webhook", "language": language.tag() });
    let made = client.post(&["integrations"], &body).await;
    let page = made.context("can't make a chat page for this agent")?;
    let body = json!({ "integrationId": page["id"], "agentId": agent["id"], "enabled": true });
    if let Err(error) = client.post(&["triggers"], &body).await {
        delete(client, text(&page["id"])).await?;
        return Err(error).context("can't bind a chat page to this agent");
    }
    Ok(page)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

struct Talk {
    client: Client,
    integration: String,
    chat: String,
}

/// How the talk continues after a question.
#[derive(Debug, PartialEq, Eq)]
enum Goes {
    On,
    Away,
}

impl Talk {
    /// Sends a message and prints the answer as it is written. Ctrl-C stops the answer; a second Ctrl-C doesn't even wait for the stop.
    async fn ask(&self, text: &str) -> anyhow::Result<Goes> {
        let mut asked = Asked::default();
        tokio::select! {
            done = self.converse(text, &mut asked) => return done.map(|()| Goes::On),
            _ = ctrl_c() => {}
        }
        tokio::select! {
            done = self.stop(&mut asked) => done.map(|()| Goes::On),
            _ = ctrl_c() => Ok(Goes::Away),
        }
    }

    async fn converse(&self, text: &str, asked: &mut Asked) -> anyhow::Result<()> {
        let reply = asked.reply.insert(self.say(text).await?);
        self.follow(reply, &mut asked.answer).await
    }

    /// Without a reply it is unknown whether the question arrived; if it did, this still stops its answer.
    async fn stop(&self, asked: &mut Asked) -> anyhow::Result<()> {
        self.say("/stop").await?;
        match &asked.reply {
            Some(reply) => self.follow(reply, &mut asked.answer).await,
            None => Ok(terminal::line("")?),
        }
    }

    /// Posts a message and returns its reply. Retries without an answer; the message's id makes the retry idempotent.
    async fn say(&self, text: &str) -> anyhow::Result<String> {
        let id = hex::encode(random::<16>());
        let body = json!({ "text": text, "chatId": self.chat, "senderId": "terminal", "messageId": id });
        let path = ["api", own_channel(), "webhook", &self.integration];
        let said = match patiently(async || self.client.post_root(&path, &body).await).await {
            Err(ApiError::Unauthorized { .. }) => return Err(self.why_unproved().await),
            said => said?,
        };
        Ok(said["replyId"]
            .as_str()
            .context("the bridge gave no reply to follow")?
            .to_owned())
    }

    /// Why a message was rejected. A chat page gives every unauthenticated caller the same answer, but requests with the token show more.
    async fn why_unproved(&self) -> anyhow::Error {
        match self.client.get(&["integrations", &self.integration], &[]).await {
            Ok(_) => anyhow::anyhow!("this token is read-only, or the chat page was stopped"),
            Err(error) => error.into(),
        }
    }

    async fn follow(&self, reply: &str, answer: &mut Answer) -> anyhow::Result<()> {
        let path = ["api", own_channel(), "replies", reply];
        loop {
            let after = answer.version.to_string();
            let state = patiently(async || self.client.get_root(&path, &[("after", &after)]).await).await?;
            answer.version = state["version"].as_u64().unwrap_or(answer.version);
            terminal::piece(&answer.grow(&terminal::printable(self::text(&state["text"]))))?;
            if state["done"] == true {
                return Ok(terminal::line("")?);
            }
        }
    }
}

/// Retries a request while there is no response, or only one from a proxy in front of the bridge.
async fn patiently(ask: impl AsyncFn() -> Result<Value, ApiError>) -> Result<Value, ApiError> {
    let mut n_failures = 0;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && n_failures < MAX_FAILURES => {
                n_failures += 1;
                sleep(PAUSE).await;
            }
            answered => return answered,
        }
    }
}

/// State of a question that was sent.
#[derive(Debug, Default)]
struct Asked {
    /// None until the bridge has accepted it.
    reply: Option<String>,
    answer: Answer,
}

/// The part of an answer that has been printed.
#[derive(Debug, Default)]
struct Answer {
    shown: String,
    version: u64,
}

impl Answer {
    /// What to print so that `text` is shown: its new end, or on a new line all of it if an earlier part changed.
    fn grow(&mut self, text: &str) -> String {
        let piece = match text.strip_prefix(&*self.shown) {
            Some(end) => end.to_owned(),
            None => format!("\n{text}"),
        };
        text.clone_into(&mut self.shown);
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_answer_prints_only_its_new_part() {
        let mut answer = Answer::default();
        assert_eq!(answer.grow("He"), "He");
        assert_eq!(answer.grow("Hello"), "llo");
        assert_eq!(answer.grow("Hello"), "");
        assert_eq!(answer.grow("Bye"), "\nBye");
    }
}
