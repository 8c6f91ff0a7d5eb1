//! Converts moves to calls.

use serde_json::{Value, json};
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step};

use super::card_action::Button;
use super::plan::{self, Aim, Hook, Move, Situation};
use super::progress::{Card, Way};
use super::settings::address;
use super::{CALL_TIMEOUT, card};
use crate::text_digest::short_digest;

/// The reaction that means "received". From the platform's list.
///
/// See [Feishu Docs/表情文案说明](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-reaction/emojis-introduce).
const SIGN: &str = "Typing";

/// The next step towards the desired state.
pub(super) fn step(situation: &Situation<'_>, to: &ReplyTarget) -> Result<Step, ComposeError> {
    let Some(next) = situation.next(to) else {
        return Ok(Step::Done);
    };
    if let Some(until) = situation.hold(&next) {
        return Ok(Step::Wait { until });
    }
    if to.chat.id.as_str().is_empty() {
        return Err(ComposeError::Incomplete { field: "chat" });
    }
    let hook = plan::hook(to, situation.shown.gone)?;
    let on_success = Progress::write(&situation.after(&next));
    let write = Write { situation, to, hook };
    Ok(Step::Call {
        call: ApiCall::Http(call(next, &write)),
        on_success,
    })
}

fn call(next: Move, write: &Write<'_>) -> HttpCall {
    match next {
        Move::React => write.react(),
        Move::Unreact(reaction) => write.unreact(&reaction),
        Move::Create(aim) => write.create(&aim),
        Move::SendCard(card) => write.send("send_card", &card_content(&card.id)),
        Move::Write(card, aim) => write.text(&card, &aim),
        Move::Reopen(card) => write.settings("reopen_card", &card, true, &write.thinking()),
        Move::Close(card, aim) => write.settings("close_card", &card, false, &card::summary(&aim.page.text)),
        Move::CloseLeft(card) => write.settings("close_left", &card, false, "…"),
        Move::Replace(card, aim) => write.replace(&card, &aim),
        Move::Send(aim) => write.send("send", &write.content(&aim)),
        Move::Patch(message, aim) => write.patch(&message, &aim),
    }
}

/// A message's type, and its content in the text form that the platform expects.
struct Content {
    msg_type: &'static str,
    content: String,
}

fn card_content(card: &str) -> Content {
    Content {
        msg_type: "interactive",
        content: json!({ "type": "card", "data": { "card_id": card } }).to_string(),
    }
}

struct Write<'a> {
    situation: &'a Situation<'a>,
    to: &'a ReplyTarget,
    hook: Hook<'a>,
}

impl Write<'_> {
    fn http(&self, name: &'static str, method: &'static str, path: &str, body: Option<Value>) -> HttpCall {
        HttpCall {
            name,
            method,
            url: address(self.situation.cx.account, &format!("/open-apis{path}")),
            headers: Vec::new(),
            body: body.map_or(Body::Empty, |body| Body::Json(body.to_string())),
            token: TokenPlace::Bearer,
            timeout: CALL_TIMEOUT,
        }
    }

    fn thinking(&self) -> String {
        Notice::Thinking.text(self.situation.cx.account.language).to_owned()
    }

    /// Idempotency key: the same on every repetition of a call, different for every other call.
    fn uuid(&self, what: &str) -> String {
        let bubble = self.situation.shown.bubble.number;
        let mut subject = format!("{} {bubble} {what}", self.situation.desired.reply);
        let round = self.situation.shown.round;
        if round > 0 {
            subject.push_str(&format!(" round {round}"));
        }
        self.situation.cx.account.ids.other("tlc-", &subject)
    }

    fn react(&self) -> HttpCall {
        let path = format!("/im/v1/messages/{}/reactions", segment(self.to.message.as_str()));
        let body = json!({ "reaction_type": { "emoji_type": SIGN } });
        self.http("react", "POST", &path, Some(body))
    }

    fn unreact(&self, reaction: &str) -> HttpCall {
        let message = segment(self.to.message.as_str());
        let path = format!("/im/v1/messages/{message}/reactions/{}", segment(reaction));
        self.http("unreact", "DELETE", &path, None)
    }

    fn create(&self, aim: &Aim) -> HttpCall {
        let card = card::streaming(&aim.page.text, &self.thinking());
        let body = json!({ "type": "card_json", "data": card.to_string() });
        self.http("create_card", "POST", "/cardkit/v1/cards", Some(body))
    }

    fn text(&self, card: &Card, aim: &Aim) -> HttpCall {
        let path = format!(
            "/cardkit/v1/cards/{}/elements/{}/content",
            segment(&card.id),
            card::TEXT
        );
        self.change("write_card", "PUT", &path, card, json!({ "content": aim.page.text }))
    }

    fn settings(&self, name: &'static str, card: &Card, open: bool, summary: &str) -> HttpCall {
        let path = format!("/cardkit/v1/cards/{}/settings", segment(&card.id));
        let settings = card::settings(open, summary).to_string();
        self.change(name, "PATCH", &path, card, json!({ "settings": settings }))
    }

    fn replace(&self, card: &Card, aim: &Aim) -> HttpCall {
        let path = format!("/cardkit/v1/cards/{}", segment(&card.id));
        let whole = json!({ "type": "card_json", "data": self.still(aim).to_string() });
        self.change("replace_card", "PUT", &path, card, json!({ "card": whole }))
    }

    /// A change of a card entity, with a sequence number and an idempotency key. A change with more text gets a new key: if it were taken
    /// for a repetition of one with less text, it would never be shown.
    fn change(&self, name: &'static str, method: &'static str, path: &str, card: &Card, mut body: Value) -> HttpCall {
        let sequence = card.next_sequence(self.situation.cx.now);
        let mark = short_digest(&[&body.to_string()]);
        body["sequence"] = sequence.into();
        body["uuid"] = self.uuid(&format!("{} {name} {sequence} {mark}", card.id)).into();
        self.http(name, method, path, Some(body))
    }

    fn patch(&self, message: &str, aim: &Aim) -> HttpCall {
        let path = format!("/im/v1/messages/{}", segment(message));
        let body = json!({ "content": self.still(aim).to_string() });
        self.http("patch", "PATCH", &path, Some(body))
    }

    fn still(&self, aim: &Aim) -> Value {
        let label = Notice::ButtonNewSession.text(self.situation.cx.account.language);
        let DesiredReply { reply, buttons, .. } = *self.situation.desired;
        let of_card = buttons.iter().enumerate().filter(|_| aim.has_card);
        let of_card = of_card.map(|(number, button)| Button::of_card(button, number, reply, self.to));
        let new_session = aim.button.then(|| Button::new_session(reply.as_str(), label, self.to));
        card::still(&aim.page.text, of_card.chain(new_session).collect())
    }

    fn content(&self, aim: &Aim) -> Content {
        let text = &aim.page.text;
        let (msg_type, content) = match self.situation.shown.way {
            Way::Stream | Way::Card => ("interactive", self.still(aim)),
            Way::Post => {
                let row = json!([{ "tag": "md", "text": text }]);
                ("post", json!({ "zh_cn": { "title": "", "content": [row] } }))
            }
            Way::Text => ("text", json!({ "text": text })),
        };
        Content {
            msg_type,
            content: content.to_string(),
        }
    }

    /// A new message: a reply if there is a message to reply to, so that it stays in its topic.
    fn send(&self, name: &'static str, content: &Content) -> HttpCall {
        let shown = &self.situation.shown;
        let stage = if name == "send" && self.situation.grows() {
            "grows"
        } else {
            ""
        };
        let mut body = json!({
            "msg_type": content.msg_type,
            "content": content.content,
            // Another way or target makes another message. So does the final text, so that it isn't taken for a repetition of a shorter
            // one.
            "uuid": self.uuid(&format!("{name} {} {} {stage}", shown.way.word(), shown.gone)),
        });
        match self.hook {
            Hook::Message(message) => {
                body["reply_in_thread"] = (self.to.chat.thread.is_some() && !shown.no_topic).into();
                let path = format!("/im/v1/messages/{}/reply", segment(message));
                self.http(name, "POST", &path, Some(body))
            }
            Hook::Chat(chat) => {
                body["receive_id"] = chat.into();
                let path = format!("/im/v1/messages?receive_id_type={}", id_type(chat));
                self.http(name, "POST", &path, Some(body))
            }
        }
    }
}

/// Type of an id, by its prefix. A proactive message may go to a person.
pub(super) fn id_type(id: &str) -> &'static str {
    match id.split_once('_') {
        Some(("oc", _)) => "chat_id",
        Some(("ou", _)) => "open_id",
        Some(("on", _)) => "union_id",
        _ if id.contains('@') => "email",
        _ => "user_id",
    }
}

/// Escapes an id as a path segment.
pub(super) fn segment(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
