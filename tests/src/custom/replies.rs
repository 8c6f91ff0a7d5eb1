//! Replies as the program shows them, and violations of the interface by the posts of the bridge.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Complaints};

/// Minimum interval between two posts of a growing reply.
const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// A response in place of the right one: status, and `Retry-After`.
pub type Fault = (u16, Option<u64>);

/// The program's state.
#[derive(Default)]
pub(super) struct Book {
    pub(super) faults: VecDeque<Fault>,
    pub(super) complaints: Complaints,
    /// Sent messages, by id.
    pub(super) said: BTreeMap<String, Value>,
    /// Every post that was accepted.
    pub(super) posts: Vec<Value>,
    /// Files by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Buttons by chat.
    pub(super) buttons: Vec<(String, Value)>,
    replies: Vec<Reply>,
    by_id: BTreeMap<String, usize>,
}

struct Reply {
    bubble: Bubble,
    /// The posts' bodies by version.
    versions: BTreeMap<u64, Vec<u8>>,
    shown_at: Instant,
}

impl Book {
    /// Processes a signed post. Responds with 409 to a known version.
    pub(super) fn take(&mut self, id: &str, body: &[u8]) -> u16 {
        let Ok(post) = serde_json::from_slice::<Value>(body) else {
            self.complaints.add("a post is not JSON");
            return 400;
        };
        self.check(&post, id);
        let version = post["version"].as_u64().unwrap_or_default();
        let at = self.reply(
            post["replyId"].as_str().unwrap_or_default(),
            &post["chat"]["id"],
            &post["inReplyTo"],
        );
        let reply = &mut self.replies[at];
        if let Some(same) = reply.versions.get(&version) {
            if same != body {
                self.complaints.add("a version has two contents");
            }
            return 409;
        }
        let newest = reply.versions.last_key_value().map_or(0, |(version, _)| *version);
        if version < newest || reply.bubble.done {
            self.complaints.add("a version comes after a newer one");
            return 409;
        }
        let done = post["done"] == true;
        if newest > 0 && !done && reply.shown_at.elapsed() < MIN_INTERVAL {
            self.complaints.add("posts come too fast");
        }
        reply.versions.insert(version, body.to_vec());
        reply.shown_at = Instant::now();
        reply.bubble.states.push(shown(&post));
        reply.bubble.done = done;
        let chat = reply.bubble.chat.clone();
        let buttons = post["buttons"].as_array().into_iter().flatten();
        self.buttons
            .extend(buttons.map(|button| (chat.clone(), button.clone())));
        self.posts.push(post);
        204
    }

    fn check(&mut self, post: &Value, id: &str) {
        let wrong = &mut self.complaints;
        let known = [
            "type",
            "replyId",
            "version",
            "text",
            "done",
            "chat",
            "thread",
            "asker",
            "inReplyTo",
            "replyHandle",
            "files",
            "notice",
            "reasoning",
            "buttons",
        ];
        let fields = post.as_object().cloned().unwrap_or_default();
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            wrong.add(format!("unknown field {name}"));
        }
        for name in known
            .iter()
            .filter(|name| !["notice", "reasoning", "buttons"].contains(*name) && !fields.contains_key(**name))
        {
            wrong.add(format!("no field {name}"));
        }
        if format!("{}.{}", post["replyId"].as_str().unwrap_or_default(), post["version"]) != id {
            wrong.add("webhook-id is not replyId and version");
        }
        if post["version"].as_u64().is_none_or(|version| version == 0)
            || !post["done"].is_boolean()
            || !post["files"].is_array()
        {
            wrong.add("a field has another type");
        }
        let is_blank = |field: &str| post[field].as_str().is_none_or(str::is_empty);
        if !is_blank("text") && !is_blank("reasoning") {
            wrong.add("reasoning beside text");
        }
        if is_blank("text") && is_blank("reasoning") && post["files"].as_array().is_none_or(Vec::is_empty) {
            wrong.add("a post shows nothing");
        }
        for button in post["buttons"].as_array().into_iter().flatten() {
            let does_one_thing = button["url"].is_string() != button["value"].is_string();
            if !button["text"].is_string() || !does_one_thing {
                wrong.add("a button has not the documented fields");
            }
        }
        if post["type"] == "message" {
            return;
        }
        let message = post["inReplyTo"].as_str().and_then(|id| self.said.get(id));
        let Some(message) = message.filter(|_| post["type"] == "reply") else {
            return wrong.add("a reply to no message");
        };
        let is_same = post["chat"]["id"] == message["chat"]["id"]
            && post["chat"]["kind"] == message["chat"]["kind"]
            && post["thread"] == message["chat"]["thread"]
            && post["asker"] == message["sender"]["id"]
            && post["replyHandle"] == message["replyHandle"];
        if !is_same {
            wrong.add("a reply for another chat");
        }
    }

    /// The index of a reply, which is created if it is new.
    pub(super) fn reply(&mut self, id: &str, chat: &Value, answers: &Value) -> usize {
        *self.by_id.entry(id.to_owned()).or_insert_with(|| {
            self.replies.push(Reply {
                bubble: Bubble {
                    bot: "custom".to_owned(),
                    chat: chat.as_str().unwrap_or_default().to_owned(),
                    answers: answers.as_str().map(str::to_owned),
                    way: "reply",
                    states: Vec::new(),
                    done: false,
                },
                versions: BTreeMap::new(),
                shown_at: Instant::now(),
            });
            self.replies.len() - 1
        })
    }

    /// Shows a state that a poll returned.
    pub(super) fn show(&mut self, at: usize, state: &Value) {
        let bubble = &mut self.replies[at].bubble;
        let text = shown(state);
        if !text.is_empty() && bubble.text() != text {
            bubble.states.push(text);
        }
        bubble.done = state["done"] == true;
    }

    /// The visible bubbles, in the order of the messages that they answer.
    pub(super) fn bubbles(&self) -> Vec<Bubble> {
        let shown = self.replies.iter().map(|reply| reply.bubble.clone());
        shown.filter(|bubble| !bubble.states.is_empty()).collect()
    }
}

/// What a client shows of a state: the text with links to its files.
fn shown(state: &Value) -> String {
    let text = state["text"].as_str().unwrap_or_default().to_owned();
    let files = state["files"].as_array().into_iter().flatten();
    let word = |file: &Value, name: &str| file[name].as_str().unwrap_or_default().to_owned();
    files.fold(text, |text, file| {
        format!("{text}\n[{}]({})", word(file, "name"), word(file, "url"))
    })
}
