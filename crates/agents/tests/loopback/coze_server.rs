//! Simulated Coze chat API that refuses what the vendor refuses, with its codes and mostly with status 200.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Act, Call, JSON, SSE, Server, answer, cut_document, head};

pub const KEY: &str = "pat_secret";

/// Optional behaviour of the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// Number of events after which a stream breaks.
    pub cut_after: Option<usize>,
    /// The stream hangs there instead.
    pub hangs: bool,
    /// Number of polls that report a chat without a stream as running.
    pub n_polls: usize,
    /// Number of polls before these that are refused, in turn by a code, by a status and by a document that breaks off: a rate
    /// limit, and servers that restart.
    pub n_refused_polls: usize,
    /// Number of questions that are refused in the stream because a chat is running.
    pub n_occupied: usize,
    /// Coze Studio: its end marker, and a new conversation in place of an unknown one.
    pub studio: bool,
    /// The bot's workflow asks the person a question, which is the last answer.
    pub asks: bool,
    /// Another question than the last answer.
    pub question: Option<&'static str>,
    /// The bot's plug-in must be executed by the caller.
    pub plugin: bool,
}

#[derive(Debug)]
struct Made {
    conversation: String,
    status: &'static str,
    polls_left: usize,
    answers: [String; 2],
}

#[derive(Debug, Default)]
struct State {
    habits: Habits,
    turns: BTreeMap<String, usize>,
    chats: BTreeMap<String, Made>,
    uploads: BTreeMap<String, String>,
}

pub async fn start(habits: Habits) -> Server {
    let state = Arc::new(Mutex::new(State {
        habits,
        ..State::default()
    }));
    Server::answering(move |call| state.lock().unwrap().handle(call)).await
}

fn error(code: i64, msg: &str) -> Vec<Act> {
    ok(&json!({"code": code, "msg": msg, "detail": {"logid": "2024"}}))
}

fn ok(body: &Value) -> Vec<Act> {
    answer(200, JSON, &body.to_string())
}

/// Ids are decimal strings of 19 digits.
fn id(kind: u8, n: usize) -> String {
    format!("73800000000{kind}{n:07}")
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    // The vendor's client sends an empty id for a new conversation.
    value.filter(|value| !value.is_empty())
}

impl State {
    fn handle(&mut self, call: &Call) -> Vec<Act> {
        if call.header("authorization") != Some("Bearer pat_secret") {
            let body = json!({"code": 4100, "msg": "authentication is invalid", "detail": {"logid": "2024"}});
            return answer(401, JSON, &body.to_string());
        }
        let target = call.target().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "POST /v3/chat" => self.ask(query, &call.json()),
            // The documentation says GET, the vendor's clients use POST.
            "GET /v3/chat/retrieve" | "POST /v3/chat/retrieve" => self.retrieve(query),
            "GET /v3/chat/message/list" => self.list(query),
            "POST /v3/chat/cancel" => self.cancel(&call.json()),
            "POST /v1/files/upload" => self.upload(call),
            _ => answer(404, JSON, r#"{"code":4200,"msg":"no such path"}"#),
        }
    }

    fn ask(&mut self, query: &str, body: &Value) -> Vec<Act> {
        let known = [
            "bot_id",
            "user_id",
            "stream",
            "auto_save_history",
            "additional_messages",
            "custom_variables",
            "parameters",
            "meta_data",
        ];
        for name in body.as_object().unwrap().keys() {
            // The conversation id is in the query, not in the body.
            assert!(known.contains(&name.as_str()), "{name}");
        }
        if body["bot_id"] != "bot-1" {
            return error(4200, "Bot not found");
        }
        let facts: Vec<_> = body["meta_data"].as_object().into_iter().flatten().collect();
        let fits = |fact: &Value| fact.as_str().is_some_and(|it| (1..=512).contains(&it.len()));
        assert!(facts.len() <= 16 && facts.iter().all(|(_, fact)| fits(fact)));
        assert!(body["user_id"].as_str().is_some_and(|user| !user.is_empty()));
        assert!(body["stream"] == true && body["auto_save_history"] == true);
        if self.habits.n_occupied > 0 {
            self.habits.n_occupied -= 1;
            return self.send(
                vec![(
                    "error",
                    json!({"code": 4016, "msg": "Conversation occupied by another chat"}),
                )],
                true,
            );
        }
        let conversation = match parameter(query, "conversation_id") {
            Some(known) if self.turns.contains_key(known) => known.to_owned(),
            Some(_) if !self.habits.studio => return error(4200, "Conversation not found"),
            _ => id(1, self.turns.len() + 1),
        };
        let [message] = body["additional_messages"].as_array().unwrap().as_slice() else {
            panic!("{body}")
        };
        let said = match self.said(message) {
            Ok(said) => said,
            Err(reason) => return error(4000, reason),
        };
        let turn = self.turns.entry(conversation.clone()).or_default();
        *turn += 1;
        let answers = [format!("turn {turn}: {said}"), "And more.".to_owned()];
        self.stream(conversation, answers)
    }

    fn said(&self, message: &Value) -> Result<String, &'static str> {
        assert_eq!(
            (&message["role"], &message["type"]),
            (&json!("user"), &json!("question"))
        );
        let content = message["content"].as_str().unwrap();
        if message["content_type"] == "text" {
            return if content.is_empty() {
                Err("content is empty")
            } else {
                Ok(content.to_owned())
            };
        }
        assert_eq!(message["content_type"], "object_string");
        let parts: Vec<Value> = serde_json::from_str(content).unwrap();
        let n_texts = parts.iter().filter(|part| part["type"] == "text").count();
        if n_texts != 1 || parts.len() == 1 {
            return Err("Request parameter error");
        }
        let told = parts.iter().map(|part| match part["type"].as_str().unwrap() {
            "text" => part["text"].as_str().unwrap().to_owned(),
            kind @ ("image" | "file" | "audio") => match part["file_id"].as_str() {
                Some(file) => format!("[{kind} {}]", self.uploads[file]),
                None => format!("[{kind} {}]", part["file_url"].as_str().unwrap()),
            },
            other => panic!("{other}"),
        });
        Ok(told.collect())
    }

    fn upload(&mut self, call: &Call) -> Vec<Act> {
        let form = String::from_utf8_lossy(&call.body).into_owned();
        let name = form
            .split("name=\"file\"; filename=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        if name.ends_with(".exe") {
            return error(4000, "file type is not supported");
        }
        let file = id(3, self.uploads.len() + 1);
        self.uploads.insert(file.clone(), name.to_owned());
        ok(&json!({"code": 0, "msg": "", "data": {"id": file, "file_name": name, "bytes": 4}}))
    }

    fn chat(&self, chat: &str) -> Value {
        let made = &self.chats[chat];
        let question = json!({"question": self.habits.question.unwrap_or(&made.answers[1])}).to_string();
        let calls = match (self.habits.asks, self.habits.plugin) {
            (true, _) => {
                json!([{"id": "1", "type": "reply_message", "function": {"name": "ask", "arguments": question}}])
            }
            (_, true) => json!([{"id": "1", "type": "function", "function": {"name": "open_door", "arguments": "{}"}}]),
            _ => json!([]),
        };
        json!({"id": chat, "conversation_id": made.conversation, "bot_id": "bot-1", "status": made.status,
            "last_error": {"code": 0, "msg": ""}, "usage": {"token_count": 5, "input_count": 3, "output_count": 2},
            "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}})
    }

    fn stream(&mut self, conversation: String, answers: [String; 2]) -> Vec<Act> {
        let chat = id(2, self.chats.len() + 1);
        let status = if self.habits.asks || self.habits.plugin {
            "requires_action"
        } else {
            "completed"
        };
        let made = Made {
            conversation: conversation.clone(),
            status: if self.habits.cut_after.is_some() {
                "in_progress"
            } else {
                status
            },
            polls_left: self.habits.n_polls,
            answers: answers.clone(),
        };
        self.chats.insert(chat.clone(), made);
        let message = |n: usize, kind: &str, content: &str| {
            json!({"id": id(4, n), "chat_id": chat,
            "conversation_id": conversation, "role": "assistant", "type": kind, "content": content, "content_type": "text"})
        };
        let mut running = self.chat(&chat);
        running["status"] = "created".into();
        let mut events = vec![
            ("conversation.chat.created", running.clone()),
            ("conversation.chat.in_progress", running),
            (
                "conversation.message.completed",
                message(9, "function_call", r#"{"name":"search","arguments":{}}"#),
            ),
            ("conversation.message.completed", message(8, "tool_response", "{}")),
        ];
        for (n, answer) in answers.iter().enumerate() {
            let letters: Vec<char> = answer.chars().collect();
            for piece in letters.chunks(4) {
                let mut delta = message(n, "answer", &piece.iter().collect::<String>());
                delta["reasoning_content"] = if n == 0 { "" } else { "hm" }.into();
                events.push(("conversation.message.delta", delta));
            }
            events.push(("conversation.message.completed", message(n, "answer", answer)));
        }
        events.push((
            "conversation.message.completed",
            message(7, "verbose", r#"{"msg_type":"generate_answer_finish","data":""}"#),
        ));
        events.push(("conversation.message.completed", message(6, "follow_up", "What else?")));
        let end = match status {
            "completed" => "conversation.chat.completed",
            _ => "conversation.chat.requires_action",
        };
        let mut ended = self.chat(&chat);
        ended["status"] = status.into();
        events.push((end, ended));
        self.send(events, false)
    }

    fn send(&self, mut events: Vec<(&str, Value)>, whole: bool) -> Vec<Act> {
        let cut = self.habits.cut_after.filter(|_| !whole);
        events.truncate(cut.unwrap_or(events.len()));
        // No space after the colons.
        let mut lines: String = events
            .iter()
            .map(|(name, data)| format!("event:{name}\ndata:{data}\n\n"))
            .collect();
        if cut.is_none() {
            lines.push_str(if self.habits.studio {
                "event: conversation.stream.done\n\n"
            } else {
                "event:done\ndata:\"[DONE]\"\n\n"
            });
            return vec![Act::Say(head(200, SSE)), Act::Say(lines.into_bytes())];
        }
        let headers = format!("{SSE}transfer-encoding: chunked\r\n");
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        let mut script = vec![Act::Say(head(200, &headers)), Act::Say(chunk.into_bytes())];
        script.extend(self.habits.hangs.then_some(Act::Hang));
        script
    }

    /// The chat of a query, if it is in the given conversation.
    fn known(&mut self, query: &str) -> Option<&mut Made> {
        let conversation = parameter(query, "conversation_id")?;
        let made = self.chats.get_mut(parameter(query, "chat_id")?)?;
        (made.conversation == conversation).then_some(made)
    }

    fn retrieve(&mut self, query: &str) -> Vec<Act> {
        if self.habits.n_refused_polls > 0 {
            self.habits.n_refused_polls -= 1;
            return match self.habits.n_refused_polls % 3 {
                0 => error(4013, "slow down"),
                1 => answer(503, JSON, "{}"),
                _ => cut_document(r#"{"code":0,"data":{}}"#),
            };
        }
        let Some(made) = self.known(query) else {
            return error(4200, "Chat not found");
        };
        if made.polls_left == 0 && made.status == "in_progress" {
            made.status = "completed";
        }
        made.polls_left = made.polls_left.saturating_sub(1);
        let chat = parameter(query, "chat_id").unwrap().to_owned();
        ok(&json!({"code": 0, "msg": "", "data": self.chat(&chat)}))
    }

    fn list(&mut self, query: &str) -> Vec<Act> {
        let Some(made) = self.known(query) else {
            return error(4200, "Chat not found");
        };
        let message = |kind: &str, content: &str| {
            json!({"id": "1", "role": "assistant", "type": kind,
            "content": content, "content_type": "text"})
        };
        let messages = [
            message("function_call", "{}"),
            message("answer", &made.answers[0]),
            message("answer", &made.answers[1]),
            message("follow_up", "What else?"),
        ];
        ok(&json!({"code": 0, "msg": "", "data": messages}))
    }

    fn cancel(&mut self, body: &Value) -> Vec<Act> {
        let query = format!(
            "conversation_id={}&chat_id={}",
            body["conversation_id"].as_str().unwrap(),
            body["chat_id"].as_str().unwrap()
        );
        match self.known(&query) {
            None => error(4200, "Chat not found"),
            Some(made) if made.status != "in_progress" => error(4000, "The chat has ended"),
            Some(made) => {
                made.status = "canceled";
                let chat = body["chat_id"].as_str().unwrap().to_owned();
                ok(&json!({"code": 0, "msg": "", "data": self.chat(&chat)}))
            }
        }
    }
}
