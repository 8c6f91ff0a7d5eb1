//! Telegram's side of bots, by webhook and by long polling, as strict as the Bot API: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod book;
mod messages;
mod simulator;
#[cfg(test)]
mod tests;
mod updates;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tieline_core::http_types::WebhookRequest;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::Upload;
use crate::uploads::SentFile;

pub use book::{Answer, Call, Fault};
use book::{Book, Bot, Chat, Update};
pub use simulator::Simulator;

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    http: Client,
    changes: Arc<Notify>,
}

impl Platform {
    /// Starts the server.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
            http: http.expect("a client can be made"),
            changes: Arc::default(),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a bot. Returns its token.
    ///
    /// # Panics
    /// If it isn't called within a runtime.
    #[must_use]
    pub fn add_bot(&self, id: i64, username: &str) -> String {
        let token = format!("{id}:AAE-token-of-{username}");
        let bot = Bot {
            id,
            username: username.to_owned(),
            webhook: None,
            updates: Default::default(),
            allowed: Vec::new(),
            poll: 0,
            polled_at: None,
            chats: Default::default(),
            queries: Default::default(),
            commands: Default::default(),
            typing: 0,
            is_private: false,
            throttled: Default::default(),
        };
        self.book().bots.insert(token.clone(), bot);
        tokio::spawn(updates::pump(token.clone(), self.clone()));
        token
    }

    /// Request body that creates the integration of a bot.
    #[must_use]
    pub fn as_integration(&self, token: &str, name: &str, mode: &str) -> Value {
        json!({ "name": name, "platform": "telegram", "connectionMode": mode, "credentials": { "botToken": token },
                "endpoints": { "apiBase": self.url() } })
    }

    /// A person's message, in a group with or without a mention of the bot. Returns the update's id.
    pub fn text(&self, token: &str, from: &Speaker, text: &str, mention: bool) -> i64 {
        let username = self.with(token, |bot| bot.username.clone());
        let (mut words, mut entities) = (text.to_owned(), json!([]));
        if from.group.is_some() && mention {
            entities = json!([{ "type": "mention", "offset": 0, "length": username.len() + 1 }]);
            words = format!("@{username} {text}");
        }
        if let Some(command) = text.split_whitespace().next().filter(|word| word.starts_with('/')) {
            // In a group, clients append the bot's name to a command.
            let name = if from.group.is_some() && mention {
                format!("{command}@{username}")
            } else {
                command.to_owned()
            };
            entities = json!([{ "type": "bot_command", "offset": 0, "length": name.len() }]);
            words = text.replacen(command, &name, 1);
        }
        self.say(token, from, json!({ "text": words, "entities": entities }))
    }

    /// A person replies to the bot's newest message in a chat, without a mention. Returns the update's id.
    ///
    /// # Panics
    /// If there is no such message.
    pub fn reply_to_newest(&self, token: &str, from: &Speaker, text: &str) -> i64 {
        let chat = chat_id(from);
        let (bot, username) = (
            token.split(':').next().unwrap_or_default(),
            self.with(token, |bot| bot.username.clone()),
        );
        let newest = self.with(token, |bot| {
            let sent = bot.chats.get(&chat)?.sent.iter().max_by_key(|(id, _)| **id)?;
            Some((*sent.0, sent.1.text.clone()))
        });
        let (id, said) = newest.expect("the bot has said something");
        let author = json!({ "id": bot.parse::<i64>().expect("bots have numbers"), "is_bot": true, "first_name": "Demo", "username": username });
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let replied = json!({ "message_id": id, "date": now(), "chat": { "id": chat, "type": kind }, "from": author, "text": said });
        self.say(token, from, json!({ "text": text, "reply_to_message": replied }))
    }

    /// A person sends a message with these fields. Returns the update's id.
    pub fn say(&self, token: &str, from: &Speaker, fields: Value) -> i64 {
        let message = self.message(token, from, fields);
        self.update(token, "message", &message)
    }

    /// A person sends a picture, which comes in two sizes, or a file. Returns the update's id.
    pub fn upload(&self, token: &str, from: &Speaker, upload: Upload) -> i64 {
        self.say(token, from, self.media(upload))
    }

    /// A person sends an album: a message for each picture or file, the first one with the caption. In a group the caption mentions the bot,
    /// and privacy mode hides the other messages from it. Returns the ids of the updates.
    ///
    /// # Panics
    /// If it doesn't have between 2 and 10 parts. See Bot API/sendMediaGroup.
    pub fn album(&self, token: &str, from: &Speaker, caption: &str, uploads: &[Upload]) -> Vec<i64> {
        assert!((2..=10).contains(&uploads.len()), "an album has 2 to 10 parts");
        let album = format!("139{:014}", self.book().fresh());
        let (username, is_private) = self.with(token, |bot| (bot.username.clone(), bot.is_private));
        let (caption, entities) = match from.group {
            Some(_) => {
                let mention = json!([{ "type": "mention", "offset": 0, "length": username.len() + 1 }]);
                (format!("@{username} {caption}"), mention)
            }
            None => (caption.to_owned(), json!([])),
        };
        let delivered = if from.group.is_some() && is_private {
            1
        } else {
            uploads.len()
        };
        let parts = uploads.iter().take(delivered).enumerate().map(|(at, upload)| {
            let mut fields = self.media(*upload);
            fields["media_group_id"] = json!(album);
            if at == 0 {
                (fields["caption"], fields["caption_entities"]) = (json!(caption), entities.clone());
            }
            self.say(token, from, fields)
        });
        parts.collect()
    }

    /// The field of a message that has the picture or the file.
    fn media(&self, upload: Upload) -> Value {
        let keep = |bytes: &[u8]| {
            let mut book = self.book();
            let id = format!("AgACAgI{}", book.fresh());
            book.files.insert(id.clone(), bytes.to_vec());
            json!({ "file_id": id, "file_unique_id": format!("u{id}"), "file_size": bytes.len() })
        };
        let mut file = keep(upload.bytes);
        let (field, value) = match upload.is_picture {
            true => {
                (file["width"], file["height"]) = (json!(800), json!(800));
                ("photo", json!([keep(b"the same, smaller"), file]))
            }
            false => {
                (file["file_name"], file["mime_type"]) = (json!(upload.name), json!(upload.mime));
                ("document", file)
            }
        };
        json!({ field: value })
    }

    /// Any other update. Returns its id.
    pub fn update(&self, token: &str, kind: &str, body: &Value) -> i64 {
        let id = self.book().push(token, kind, body);
        self.changed();
        id
    }

    fn message(&self, token: &str, from: &Speaker, fields: Value) -> Value {
        let chat = chat_id(from);
        let id = self.book().fresh();
        self.with(token, |bot| bot.chats.entry(chat).or_default().heard.insert(id));
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let user: i64 = from.user.parse().expect("people have numbers");
        let mut message = json!({ "message_id": id, "date": now(), "chat": { "id": chat, "type": kind },
            "from": { "id": user, "is_bot": false, "first_name": "Mia", "language_code": "en" } });
        if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), fields) {
            message.extend(fields);
        }
        message
    }

    /// A person clicks the newest button in a chat. Returns the query's id. `None` if there is no button.
    pub fn press(&self, token: &str, by: &Speaker) -> Option<String> {
        self.press_one(token, by, |button| button["callback_data"].is_string())
    }

    /// A person clicks the newest button in a chat that satisfies `is_it`. Returns the query's id. `None` if there is no such button.
    pub fn press_one(&self, token: &str, by: &Speaker, is_it: impl Fn(&Value) -> bool) -> Option<String> {
        let chat = chat_id(by);
        let (message, data, markup) = self.with(token, |bot| {
            let sent = bot.chats.get(&chat)?.sent.iter();
            let found = sent.filter_map(|(id, sent)| {
                let data = buttons_of(&sent.markup).find(|button| is_it(button))?["callback_data"].as_str()?;
                Some((*id, data.to_owned(), sent.markup.clone()))
            });
            found.max_by_key(|(id, ..)| *id)
        })?;
        let query = format!("query{}", self.book().fresh());
        self.with(token, |bot| bot.queries.insert(query.clone(), book::Query::default()));
        let user: i64 = by.user.parse().expect("people have numbers");
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let press = json!({ "id": query, "from": { "id": user, "is_bot": false, "first_name": "Mia" }, "chat_instance": "1", "data": data,
            "message": { "message_id": message, "date": now(), "chat": { "id": chat, "type": kind }, "reply_markup": markup } });
        self.update(token, "callback_query", &press);
        Some(query)
    }

    /// The buttons below the bot's messages in a chat.
    #[must_use]
    pub fn buttons(&self, token: &str, chat: &Speaker) -> Vec<ShownButton> {
        let chat = chat_id(chat);
        self.with(token, |bot| {
            let sent = bot.chats.get(&chat).map(|chat| chat.sent.values().collect::<Vec<_>>());
            let buttons = sent.iter().flatten().flat_map(|sent| buttons_of(&sent.markup));
            let text = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
            buttons
                .map(|button| ShownButton::new(&text(button, "text"), &text(button, "url")))
                .collect()
        })
    }

    /// Removes the oldest update from the queue and returns the request that delivers it to the webhook.
    #[must_use]
    pub fn next_request(&self, token: &str) -> Option<WebhookRequest> {
        let (update, secret) = self.with(token, |bot| {
            let secret = bot.webhook.as_ref()?.secret.clone();
            Some((bot.updates.pop_front()?, secret))
        })?;
        let secret = secret.map(|secret| ("x-telegram-bot-api-secret-token".to_owned(), secret));
        Some(WebhookRequest {
            method: "POST".to_owned(),
            query: String::new(),
            headers: secret.into_iter().collect(),
            body: update.body.to_string().into_bytes(),
        })
    }

    /// Whether a click was answered, so that the client shows no progress bar any more.
    #[must_use]
    pub fn is_answered(&self, token: &str, query: &str) -> bool {
        self.with(token, |bot| bot.queries.get(query).is_some_and(|query| query.answered))
    }

    /// Delivers a confirmed update again, as if the confirmation had been lost.
    pub fn redeliver(&self, token: &str, id: i64, body: Value) {
        self.with(token, |bot| {
            bot.updates.push_front(Update { id, body, again: true });
        });
        self.changed();
    }

    /// Opens a topic in a group. Returns its thread id.
    pub fn open_topic(&self, token: &str, group: i64) -> i64 {
        let id = self.book().fresh();
        self.with(token, |bot| bot.chats.entry(group).or_default().topics.insert(id));
        id
    }

    /// A group becomes a supergroup with another id: the group tells the bot, and the supergroup too.
    pub fn migrate(&self, token: &str, old: i64, new: i64) {
        self.book().migrated.insert(old, new);
        self.with(token, |bot| bot.chats.insert(new, Chat::default()));
        let person = |chat: i64| Speaker::in_group("1001", &chat.to_string());
        self.say(token, &person(old), json!({ "migrate_to_chat_id": new }));
        self.say(token, &person(new), json!({ "migrate_from_chat_id": old }));
    }

    /// A person blocks the bot.
    pub fn block(&self, token: &str, user: i64) {
        self.with(token, |bot| bot.chats.entry(user).or_default().blocked = true);
    }

    /// Privacy mode is switched on for a bot.
    pub fn switch_privacy_on(&self, token: &str) {
        self.with(token, |bot| bot.is_private = true);
    }

    /// All of a bot's messages in a chat are deleted.
    pub fn delete_messages(&self, token: &str, chat: i64) {
        self.with(token, |bot| {
            let sent = bot.chats.entry(chat).or_default().sent.values_mut();
            sent.for_each(|sent| sent.gone = true);
        });
    }

    /// Another program registers a webhook for the bot.
    pub fn set_foreign_webhook(&self, token: &str, url: &str) {
        self.with(token, |bot| {
            bot.webhook = Some(book::Webhook {
                url: url.to_owned(),
                secret: None,
            });
        });
        self.changed();
    }

    /// The next call of a method gets this faulty response.
    pub fn fail_once(&self, method: &'static str, answer: Answer) {
        self.book().faults.push_back(Fault { method, answer });
    }

    /// The registered webhook's address and secret.
    #[must_use]
    pub fn webhook(&self, token: &str) -> Option<(String, Option<String>)> {
        self.with(token, |bot| {
            bot.webhook.as_ref().map(|it| (it.url.clone(), it.secret.clone()))
        })
    }

    /// Whether updates can reach the bot: a webhook is set, or the bot polls.
    #[must_use]
    pub fn is_connected(&self, token: &str) -> bool {
        self.with(token, |bot| bot.webhook.is_some() || updates::is_polled(bot))
    }

    /// Whether the bot has confirmed all its updates.
    #[must_use]
    pub fn has_delivered_all(&self, token: &str) -> bool {
        self.with(token, |bot| bot.updates.is_empty())
    }

    /// How often the bot showed that it is typing.
    #[must_use]
    pub fn typing(&self, token: &str) -> usize {
        self.with(token, |bot| bot.typing)
    }

    /// The bot's menu in a language; `language` is empty for the default menu.
    #[must_use]
    pub fn commands(&self, token: &str, language: &str) -> Vec<String> {
        self.with(token, |bot| bot.commands.get(language).cloned().unwrap_or_default())
    }

    /// The files that bots have sent into a chat.
    #[must_use]
    pub fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.book().uploads.of_chat(chat.chat())
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// Every authenticated call, the oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    /// Protocol violations of clients, each kind once with its count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, token: &str, read: impl FnOnce(&mut Bot) -> T) -> T {
        let mut book = self.book();
        read(book.bots.get_mut(token).expect("there is such a bot"))
    }

    /// Notifies of the next change. To be created before looking at the state that it may change.
    fn changes(&self) -> OwnedNotified {
        Arc::clone(&self.changes).notified_owned()
    }

    fn changed(&self) {
        self.changes.notify_waiters();
    }
}

/// The id of a chat: a group's, or the person's.
fn chat_id(speaker: &Speaker) -> i64 {
    speaker.chat().parse().expect("chats have numbers")
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}

fn buttons_of(markup: &Value) -> impl Iterator<Item = &Value> {
    let rows = markup["inline_keyboard"].as_array().into_iter().flatten();
    rows.filter_map(Value::as_array).flatten()
}
