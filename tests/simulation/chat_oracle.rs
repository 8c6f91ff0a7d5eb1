//! The invariants of chats to which answers are pushed.

use std::collections::HashMap;

use tieline_core::message_state::MessageState;
use tieline_store::message::MessageRecord;
use tokio::time::Instant;

use crate::bot::pushed_chat;
use crate::faults::{FAULT_LASTS, FaultPlan};
use crate::operator::is_planned;
use crate::people::Said;
use crate::platform::{Platform, ShownMessage};
use crate::simulation::last_line;

/// Whether a message of the bot has the whole answer to `said` in it, or is one of several answers in it.
fn is_answer(text: &str, said: &Said) -> bool {
    text.lines().any(|line| line.trim() == question(said))
}

/// What the agent was asked, and so what it answers: the first line.
fn question(said: &Said) -> &str {
    let text = said.first_line();
    text.strip_prefix("/new ").unwrap_or(text)
}

/// When a message first had the whole answer.
fn answered_at(message: &ShownMessage, said: &Said) -> Option<Instant> {
    let found = message.versions.iter().find(|(_, text)| is_answer(text, said));
    found.map(|(at, _)| *at)
}

/// Whether the chat shows the whole answer, or has shown it.
pub(crate) fn shows_answer(platform: &Platform, said: &Said) -> bool {
    let chat = pushed_chat(said.chat);
    let messages = platform.messages();
    messages
        .iter()
        .any(|message| message.chat == chat && answered_at(message, said).is_some())
}

/// Checks all chats at rest.
pub(crate) fn check(ended: &[(&Said, MessageRecord)], platform: &Platform, faults: &FaultPlan) -> Result<(), String> {
    let chats = by_chat(platform.messages());
    let mut newest: HashMap<usize, (Instant, &str)> = HashMap::new();
    for (said, record) in ended {
        let chat = chats.get(&pushed_chat(said.chat)).map_or(&[][..], Vec::as_slice);
        if let Some((other, _)) = chats.iter().find(|(other, messages)| {
            **other != pushed_chat(said.chat) && messages.iter().any(|message| is_answer(message.text(), said))
        }) {
            return Err(format!("{:?} is answered in chat {other}", said.first_line()));
        }
        if record.state != MessageState::Answered {
            continue;
        }
        let copies: Vec<Instant> = chat.iter().filter_map(|message| answered_at(message, said)).collect();
        let Some(first) = copies.iter().min() else {
            return Err(format!(
                "{:?} is answered, and its chat doesn't show it",
                said.first_line()
            ));
        };
        check_copies(said, &copies, faults)?;
        check_end(said, chat, faults)?;
        check_fragments(said, chat, faults)?;
        check_kept(said, chat, faults)?;
        // A redriven message is answered after the ones that follow it.
        if record.redrives == 0 {
            let before = newest.insert(said.chat, (*first, said.first_line()));
            if let Some((at, text)) = before.filter(|(at, _)| at > first) {
                return Err(format!("{:?} was answered before {text:?} ({at:?})", said.first_line()));
            }
        }
    }
    check_confirmations(ended, &chats)
}

/// The end of a long answer is in the chat, as often as its beginning.
fn check_end(said: &Said, chat: &[ShownMessage], faults: &FaultPlan) -> Result<(), String> {
    if said.text.lines().count() == 1 {
        return Ok(());
    }
    let end = last_line(question(said));
    let has_end = |text: &str| text.lines().any(|line| line.trim() == end);
    let with_end = chat
        .iter()
        .filter(|message| has_end(message.text()) || is_overwritten_after_freeze(message, has_end, faults));
    let ends: Vec<Instant> = with_end.map(ShownMessage::sent_at).collect();
    if ends.is_empty() {
        return Err(format!(
            "{:?} is answered, and its chat doesn't show the end",
            question(said)
        ));
    }
    check_copies(said, &ends, faults)
}

/// Each further copy of an answer follows a fault.
fn check_copies(said: &Said, copies: &[Instant], faults: &FaultPlan) -> Result<(), String> {
    let mut copies = copies.to_vec();
    copies.sort();
    match copies.windows(2).find(|pair| !faults.has_fault(pair[0], pair[1])) {
        Some(pair) => Err(format!(
            "{:?} is answered twice without a fault: {pair:?}",
            said.first_line()
        )),
        None => Ok(()),
    }
}

/// A growing message stays unfinished only after a fault.
fn check_fragments(said: &Said, chat: &[ShownMessage], faults: &FaultPlan) -> Result<(), String> {
    let whole = question(said);
    let unfinished = chat.iter().find(|message| {
        let text = message.text();
        let is_part = text.len() < whole.len() && text.len() > "c0 n".len() && whole.starts_with(text);
        is_part && !faults.has_fault(message.sent_at(), message.sent_at() + FAULT_LASTS)
    });
    match unfinished {
        Some(message) => Err(format!(
            "the answer to {:?} stays at {:?}",
            said.first_line(),
            message.text()
        )),
        None => Ok(()),
    }
}

/// Whether a message has shown a text with `part` in it, and a process that was frozen has overwritten it: see [`check_kept`].
fn is_overwritten_after_freeze(message: &ShownMessage, part: impl Fn(&str) -> bool, faults: &FaultPlan) -> bool {
    let mut later = message.versions.iter().skip_while(|(_, text)| !part(text));
    later
        .find(|(_, text)| !part(text))
        .is_some_and(|(at, _)| faults.has_freeze_before(*at))
}

/// An answer isn't overwritten. Only a process that was frozen just before a call can do so: nothing holds its call back, and edits have no order.
fn check_kept(said: &Said, chat: &[ShownMessage], faults: &FaultPlan) -> Result<(), String> {
    for message in chat {
        let after = answered_at(message, said).map(|at| message.versions.iter().filter(move |version| version.0 > at));
        let overwriting = after.and_then(|mut after| after.find(|(_, text)| !is_answer(text, said)));
        if let Some((at, text)) = overwriting.filter(|(at, _)| !faults.has_freeze_before(*at)) {
            return Err(format!(
                "the answer to {:?} was overwritten with {text:?} at {at:?}",
                said.first_line()
            ));
        }
    }
    Ok(())
}

/// The messages of each chat.
fn by_chat(messages: Vec<ShownMessage>) -> HashMap<i64, Vec<ShownMessage>> {
    let mut chats: HashMap<i64, Vec<ShownMessage>> = HashMap::new();
    for message in messages {
        chats.entry(message.chat).or_default().push(message);
    }
    chats
}

/// Each command has a confirmation, which has no answer in it.
fn check_confirmations(
    ended: &[(&Said, MessageRecord)],
    chats: &HashMap<i64, Vec<ShownMessage>>,
) -> Result<(), String> {
    let mut n_commands: HashMap<i64, usize> = HashMap::new();
    let commands = ended
        .iter()
        .filter(|(_, record)| record.state == MessageState::Commanded);
    for (said, _) in commands {
        *n_commands.entry(pushed_chat(said.chat)).or_default() += 1;
    }
    for (chat, n_commands) in n_commands {
        let of_chat = chats.get(&chat).map_or(&[][..], Vec::as_slice);
        let confirmations = of_chat.iter().filter(|message| {
            let is_of = |said: &Said| is_answer(message.text(), said) || question(said).starts_with(message.text());
            !is_planned(message) && !ended.iter().any(|(said, _)| is_of(said))
        });
        let n_confirmations = confirmations.count();
        if n_confirmations < n_commands {
            return Err(format!(
                "chat {chat} shows {n_confirmations} confirmations of {n_commands} commands"
            ));
        }
    }
    Ok(())
}
