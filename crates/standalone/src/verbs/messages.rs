//! Messages and conversations: send, start a new session, retry.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tieline_core::timestamp::Timestamp;

use super::lifecycle::{left_alone, text};
use crate::args::{Redrive, Reset, Send};
use crate::client::{self, Client};
use crate::confirm::{self, Answer};
use crate::doctor::{integration_id, remedy};
use crate::kind::Kind;
use crate::terminal;

/// Sends a proactive message. Prints its id, because the bridge delivers it after it has accepted it.
///
/// # Errors
/// If the platform can't, or refuses; if there is no terminal to confirm a broadcast.
pub async fn send(args: Send) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = integration_id(&client, &args.integration).await?;
    let mut body = args.audience.body();
    match &args.card {
        Some(file) => body["card"] = card(file)?,
        None => body["text"] = json!(args.text),
    }
    if args.at.is_none() && args.audience.everybody.is_none() {
        let message = client.post(&["integrations", &id, "messages"], &body).await?;
        let id = text(&message["id"]);
        let command = remedy::within(format!("tieline describe message {id}"), client.organization());
        terminal::line(&format!(
            "accepted as message {id}; to see whether it arrived: {command}"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.audience.everybody.is_some() {
        let what = broadcast(n_linked(&client, &id).await?, args.at.as_deref());
        if confirm::ask(&what, args.consent.yes)? == Answer::No {
            return left_alone();
        }
    }
    body["integrationId"] = json!(id);
    body["sendAt"] = json!(args.at);
    let made = client.post(&["scheduled-messages"], &body).await?;
    terminal::line(&format!("{} is sent at {}", text(&made["id"]), text(&made["sendAt"])))?;
    Ok(ExitCode::SUCCESS)
}

/// The number of people whom a broadcast of this integration reaches now.
async fn n_linked(client: &Client, integration: &str) -> anyhow::Result<usize> {
    let users = client.all(Kind::Users).await?;
    let is_meant = |user: &&Value| user["integrationId"] == integration && user["linked"].is_string();
    Ok(users.iter().filter(is_meant).count())
}

fn broadcast(n_people: usize, at: Option<&str>) -> String {
    let people = match n_people {
        1 => "1 linked person".to_owned(),
        n => format!("{n} linked people"),
    };
    match at {
        None => format!("send this message to {people}, to each in a direct chat"),
        // More may be linked until then, or fewer.
        Some(at) => {
            format!("send this message at {at} to everybody linked then, to each in a direct chat; now: {people}")
        }
    }
}

/// The card in a file, parsed as YAML, which includes JSON.
fn card(file: &Path) -> anyhow::Result<Value> {
    let read = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let name = file.display();
    let text = read.with_context(|| format!("{name} can't be read"))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{name} is neither JSON nor YAML"))
}

/// Ends the session of a conversation.
///
/// # Errors
/// If there is none; if there is no terminal to confirm it.
pub async fn reset(args: Reset) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let integration = integration_id(&client, &args.integration).await?;
    let found = conversation(&client, &integration, &args.conversation).await?;
    let what = format!(
        "end the session of {} in the chat {}{}",
        text(&found["senderId"]),
        text(&found["chatId"]),
        pending(&found)
    );
    if confirm::ask(&what, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    let id = text(&found["id"]);
    let path = ["integrations", &integration, "conversations", &id, "reset"];
    client.post(&path, &client::nothing()).await?;
    terminal::line(&format!("conversation {id} starts a new session with its next message"))?;
    Ok(ExitCode::SUCCESS)
}

fn pending(conversation: &Value) -> String {
    let running = if conversation["running"] == true {
        ", an answer is being written"
    } else {
        ""
    };
    match conversation["pendingMessages"].as_u64().unwrap_or_default() {
        0 => running.to_owned(),
        n => format!("{running}, {n} messages are waiting"),
    }
}

/// The conversation with this id, else the one of this chat or person.
async fn conversation(client: &Client, integration: &str, which: &str) -> anyhow::Result<Value> {
    let path = client.own(&["integrations", integration, "conversations"]);
    let (found, _) = client.list(&path, &[("search", which)], usize::MAX).await?;
    if let Some(exact) = found.iter().find(|it| it["id"] == which) {
        return Ok(exact.clone());
    }
    let names = |it: &&Value| it["chatId"] == which || it["senderId"] == which;
    let named: Vec<&Value> = found.iter().filter(names).collect();
    match named.as_slice() {
        [] => bail!("there is no conversation with the id, chat or person {which:?} in this integration"),
        [one] => Ok((*one).clone()),
        several => {
            let ids: Vec<String> = several.iter().map(|it| text(&it["id"])).collect();
            bail!("{which:?} has several conversations; say which: {}", ids.join(", "))
        }
    }
}

/// Retries failed messages.
///
/// # Errors
/// If there is none; if one can't be retried; if there is no terminal to confirm it.
pub async fn redrive(args: Redrive) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let letters = client.all(Kind::DeadLetters).await?;
    if let Some(which) = &args.id {
        let found = letters
            .iter()
            .find(|it| it["id"] == which.as_str() || it["messageId"] == which.as_str());
        let letter =
            found.with_context(|| format!("there is no dead letter with the id, or of the message, {which:?}"))?;
        again(&client, letter, args.ask).await?;
        terminal::line(&format!("message {} is tried again", text(&letter["messageId"])))?;
        return Ok(ExitCode::SUCCESS);
    }
    let integration = match &args.integration {
        Some(which) => Some(integration_id(&client, which).await?),
        None => None,
    };
    let since = args.since.context("say which: an id, or --since")?;
    let wanted: Vec<&Value> = letters
        .iter()
        .filter(|it| is_wanted(it, since, integration.as_deref()))
        .collect();
    if wanted.is_empty() {
        terminal::line(&format!("nothing failed since {since}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let asked = if args.ask {
        "their agents are asked again"
    } else {
        "recorded answers are delivered, for the others the agents are asked"
    };
    let what = format!(
        "try {} messages again that failed since {since}; {asked}; their chats get answers",
        wanted.len()
    );
    if confirm::ask(&what, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    let mut n_refused = 0;
    for letter in &wanted {
        if let Err(error) = again(&client, letter, args.ask).await {
            n_refused += 1;
            terminal::aside(&format!("message {}: {error:#}", text(&letter["messageId"])));
        }
    }
    terminal::line(&format!(
        "{} of {} messages are tried again",
        wanted.len() - n_refused,
        wanted.len()
    ))?;
    Ok(if n_refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn again(client: &Client, letter: &Value, ask: bool) -> anyhow::Result<()> {
    let id = letter["id"].as_str().context("the dead letter has no id")?;
    let query: &[_] = if ask { &[("ask", "true")] } else { &[] };
    let path = ["deadletters", id, "redrive"];
    client.post_with(&path, query, &client::nothing()).await?;
    Ok(())
}

fn is_wanted(letter: &Value, since: Timestamp, integration: Option<&str>) -> bool {
    let failed_at = letter["failedAt"].as_str().and_then(Timestamp::parse);
    failed_at.is_some_and(|at| at >= since) && integration.is_none_or(|id| letter["integrationId"] == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_since_the_time_are_redriven() {
        let since = Timestamp::parse("2026-01-02T00:00:00Z").unwrap();
        let letter = |at: &str| json!({ "failedAt": at, "integrationId": "int_1" });
        assert!(is_wanted(&letter("2026-01-02T00:00:00Z"), since, None));
        assert!(is_wanted(&letter("2026-01-02T00:00:01Z"), since, Some("int_1")));
        assert!(!is_wanted(&letter("2026-01-02T00:00:01Z"), since, Some("int_2")));
        assert!(!is_wanted(&letter("2026-01-01T23:59:59.999Z"), since, None));
    }
}
