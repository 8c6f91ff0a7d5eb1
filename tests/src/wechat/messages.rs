//! What a bot polls, and what it sends.

use serde_json::{Value, json};

use crate::outbound::Bubble;

use super::book::{Book, WINDOW};

/// Limit of a text in characters, and in bytes: longer texts may be cut on the phone.
const MOST_CHARS: usize = 1800;
const MOST_BYTES: usize = 8 * 1024;

impl Book {
    /// Begins a poll.
    pub(super) fn begin_poll(&mut self, token: &str, cursor: Option<&str>) {
        let Some(bot) = self.bots.get_mut(token) else { return };
        bot.polls += 1;
        bot.n_polls += 1;
        if bot.polls > 1 {
            self.complaints.add("getupdates: two polls at once");
        }
        match cursor {
            None => self.complaints.add("getupdates: get_updates_buf is no text"),
            Some("") if !bot.has_cursor => {}
            Some(cursor) if bot.cursors.contains(cursor) => bot.has_cursor = true,
            Some(_) => self
                .complaints
                .add("getupdates: the cursor is not one that was handed out"),
        }
    }

    /// The result of a poll. Delivered messages are not delivered again.
    pub(super) fn updates(&mut self, token: &str, is_over: bool) -> Option<Value> {
        let bot = self.bots.get_mut(token)?;
        if bot.ended {
            return Some(json!({ "ret": -14 }));
        }
        if bot.waiting.is_empty() {
            return is_over.then(|| json!({ "ret": 0, "msgs": [], "get_updates_buf": "" }));
        }
        let messages: Vec<Value> = bot.waiting.drain(..).collect();
        let cursor = format!("cursor {}", bot.cursors.len());
        bot.cursors.insert(cursor.clone());
        Some(json!({ "ret": 0, "msgs": messages, "get_updates_buf": cursor, "longpolling_timeout_ms": 35_000 }))
    }

    /// Handles a message of the bot.
    pub(super) fn send(&mut self, token: &str, body: &Value) -> Value {
        let Some(bot) = self.bots.get_mut(token) else {
            return json!({ "ret": -14 });
        };
        let message = &body["msg"];
        let mut wrong = Vec::new();
        for (field, expected) in [
            ("from_user_id", json!("")),
            ("to_user_id", json!(bot.person)),
            ("message_type", json!(2)),
            ("message_state", json!(2)),
        ] {
            if message[field] != expected {
                wrong.push(format!("sendmessage: {field}"));
            }
        }
        let items = message["item_list"].as_array().map_or(0, Vec::len);
        let item = &message["item_list"][0];
        let text = item["text_item"]["text"].as_str().unwrap_or_default();
        if items != 1 || item["type"] != 1 || text.trim().is_empty() {
            wrong.push("sendmessage: not one item of text".to_owned());
        }
        if text.chars().count() > MOST_CHARS || text.len() > MOST_BYTES {
            wrong.push("sendmessage: text is too long".to_owned());
        }
        let client = message["client_id"].as_str().unwrap_or_default();
        if client.is_empty() || bot.sent.get(client).is_some_and(|before| before != text) {
            wrong.push("sendmessage: client_id".to_owned());
        }
        let context = message["context_token"].as_str().unwrap_or_default();
        if !bot.contexts.contains_key(context) {
            wrong.push("sendmessage: context_token".to_owned());
        }
        for what in wrong {
            self.complaints.add(what);
        }
        if let Some(code) = self.faults.refuse_messages.pop_front() {
            self.n_refused += 1;
            return json!({ "ret": code, "errmsg": "prepare failed" });
        }
        // A repetition.
        if bot.sent.insert(client.to_owned(), text.to_owned()).is_some() {
            return json!({ "ret": 0 });
        }
        let newest = bot.context.clone();
        let used = bot.contexts.entry(newest).or_default();
        *used += 1;
        if *used > WINDOW {
            self.n_refused += 1;
            self.complaints.add("sendmessage: more than ten answers to a message");
            return json!({ "ret": -2 });
        }
        self.bubbles.push(Bubble {
            bot: bot.id.clone(),
            chat: bot.person.clone(),
            answers: Some(context.to_owned()),
            way: "message",
            states: vec![text.to_owned()],
            done: true,
        });
        json!({ "ret": 0, "message_id": 7_480_000_000_000_000_999_u64 })
    }

    /// Returns the ticket of the typing indicator.
    pub(super) fn config(&mut self, token: &str, body: &Value) -> Value {
        let no_typing = self.faults.no_typing;
        let Some(bot) = self.bots.get_mut(token) else {
            return json!({ "ret": -14 });
        };
        if body["ilink_user_id"] != bot.person {
            self.complaints.add("getconfig: ilink_user_id");
        }
        if no_typing {
            return json!({ "ret": 0, "typing_ticket": "" });
        }
        let ticket = format!("ticket of {}", bot.person);
        bot.ticket = Some(ticket.clone());
        json!({ "ret": 0, "typing_ticket": ticket })
    }

    /// Shows or hides the typing indicator.
    pub(super) fn show_typing(&mut self, token: &str, body: &Value) -> Value {
        let Some(bot) = self.bots.get_mut(token) else {
            return json!({ "ret": -14 });
        };
        let has_ticket = bot.ticket.as_deref() == body["typing_ticket"].as_str();
        if body["ilink_user_id"] != bot.person || bot.ticket.is_none() || !has_ticket {
            self.complaints.add("sendtyping: ticket");
        }
        match body["status"].as_u64() {
            Some(1) => bot.typing = (true, bot.typing.1 + 1),
            Some(2) => bot.typing.0 = false,
            _ => self.complaints.add("sendtyping: status"),
        }
        json!({ "ret": 0 })
    }
}
