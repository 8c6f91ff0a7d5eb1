//! Converts moves to calls of the Bot API.

use serde_json::{Value, json};
use tieline_core::card::{Action, Button, choice_key};
use tieline_core::event::NEW_SESSION_KEY;
use tieline_core::http_types::{ApiCall, HttpCall};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, Progress, ReplyTarget, Step};

use super::decode::CHOSEN;
use super::full_text::is_accepted;
use super::plan::{Aim, Move, Situation};
use super::progress::{Call, TelegramProgress};
use super::settings;

/// The next step towards the desired state.
pub(super) fn step(situation: &Situation<'_>) -> Result<Step, ComposeError> {
    let Some(next) = situation.next() else {
        return Ok(Step::Done);
    };
    if let Move::Wait(until) = next {
        return Ok(Step::Wait { until });
    }
    if situation.to.chat.id.as_str().is_empty() {
        return Err(ComposeError::Incomplete { field: "chat" });
    }
    let on_success = Progress::write(&after(&next, situation));
    Ok(Step::Call {
        call: ApiCall::Http(call(&next, situation)),
        on_success,
    })
}

/// Progress after the platform accepted the move.
fn after(next: &Move, situation: &Situation<'_>) -> TelegramProgress {
    let now = situation.cx.now;
    let mut shown = situation.shown.clone();
    match next {
        Move::AnswerQuery(_) => {
            shown.call = Some(Call::AnswerQuery);
            shown.query_answered = true;
        }
        Move::Typing => {
            shown.call = Some(Call::Typing);
            shown.typing_at = Some(now);
        }
        Move::Draft(aim) => {
            shown.call = Some(Call::Draft);
            shown.bubble.draft.clone_from(&aim.mark);
            shown
                .bubble
                .shows(&situation.full_text, aim.page.end, aim.page.more, now);
        }
        Move::Send(aim) | Move::Edit(_, aim) => {
            shown.call = Some(if shown.bubble.message.is_some() {
                Call::Edit
            } else {
                Call::Send
            });
            shown.bubble.mark.clone_from(&aim.mark);
            shown
                .bubble
                .shows(&situation.full_text, aim.page.end, aim.page.more, now);
            shown.ending = !situation.grows();
            shown.uncertain = 0;
            shown.retry_at = None;
        }
        Move::Wait(_) => {}
    }
    shown
}

fn call(next: &Move, situation: &Situation<'_>) -> HttpCall {
    let account = situation.cx.account;
    let named = |direct: &'static str, group: &'static str| if situation.is_group() { group } else { direct };
    match next {
        Move::AnswerQuery(query) => {
            let mut parameters = json!({ "callback_query_id": query });
            if let Some(chosen) = situation.to.handle.text(CHOSEN) {
                parameters["text"] = json!(chosen);
            }
            settings::call(account, "answer_query", "answerCallbackQuery", &parameters)
        }
        Move::Typing => {
            let mut parameters = place(situation);
            parameters["action"] = json!("typing");
            settings::call(account, "typing", "sendChatAction", &parameters)
        }
        Move::Draft(aim) => settings::call(account, "draft", "sendMessageDraft", &draft(situation, aim)),
        Move::Send(aim) => {
            let parameters = send(situation, aim);
            settings::call(account, named("send", "group_send"), "sendMessage", &parameters)
        }
        Move::Edit(message, aim) => {
            let name = if situation.grows() { "group_grow" } else { "group_edit" };
            let parameters = edit(situation, *message, aim);
            settings::call(account, named("edit", name), "editMessageText", &parameters)
        }
        Move::Wait(_) => unreachable!("a wait is no call"),
    }
}

/// Parameters for the chat, and the topic in it.
fn place(situation: &Situation<'_>) -> Value {
    let ReplyTarget { chat, .. } = situation.to;
    let mut place = json!({ "chat_id": chat_id(situation) });
    if let Some(thread) = chat
        .thread
        .as_ref()
        .and_then(|thread| thread.as_str().parse::<i64>().ok())
    {
        place["message_thread_id"] = json!(thread);
    }
    place
}

/// A numeric id, or the name of a public group.
fn chat_id(situation: &Situation<'_>) -> Value {
    let id = situation.to.chat.id.as_str();
    match situation.shown.chat.or_else(|| id.parse().ok()) {
        Some(number) => json!(number),
        None => json!(id),
    }
}

/// Adds a text with its formatting.
fn with_text(mut parameters: Value, situation: &Situation<'_>, aim: &Aim) -> Value {
    parameters["text"] = json!(aim.page.shown.text);
    if !situation.shown.plain && !aim.page.shown.entities.is_empty() {
        parameters["entities"] = json!(aim.page.shown.entities);
    }
    parameters
}

/// Adds everything besides the text: reply, buttons. An edit without the button removes it.
fn with_trimmings(mut parameters: Value, situation: &Situation<'_>, aim: &Aim) -> Value {
    parameters["link_preview_options"] = json!({ "is_disabled": true });
    let mut rows = Vec::new();
    if aim.has_card {
        let buttons = situation.desired.buttons.iter().enumerate();
        let accepted = buttons.filter(|(_, button)| is_accepted(button));
        rows.extend(accepted.map(|(at, button)| json!([inline_button(button, at, situation)])));
    }
    if aim.button {
        let label = Notice::ButtonNewSession.text(situation.cx.account.language);
        rows.push(json!([{ "text": label, "callback_data": NEW_SESSION_KEY }]));
    }
    if !rows.is_empty() {
        parameters["reply_markup"] = json!({ "inline_keyboard": rows });
    }
    parameters
}

/// A button of a card. Its `callback_data` has at most 64 bytes.
///
/// See [Telegram Docs/InlineKeyboardButton](https://core.telegram.org/bots/api#inlinekeyboardbutton).
fn inline_button(button: &Button, at: usize, situation: &Situation<'_>) -> Value {
    match &button.action {
        Action::Url(url) => json!({ "text": button.text, "url": url }),
        Action::Value(_) => json!({ "text": button.text, "callback_data": choice_key(situation.desired.reply, at) }),
    }
}

fn send(situation: &Situation<'_>, aim: &Aim) -> Value {
    let mut parameters = with_trimmings(with_text(place(situation), situation, aim), situation, aim);
    if let Some(message) = answered(situation) {
        parameters["reply_parameters"] = json!({ "message_id": message, "allow_sending_without_reply": true });
    }
    parameters
}

/// The message to reply to in a group. In a private chat it is obvious.
fn answered(situation: &Situation<'_>) -> Option<i64> {
    let first = situation.shown.bubble.number == 0 && !situation.shown.unquoted;
    let message = situation.to.message.as_str().parse().ok();
    message.filter(|id| first && situation.is_group() && !situation.desired.proactive && *id != 0)
}

fn edit(situation: &Situation<'_>, message: i64, aim: &Aim) -> Value {
    let parameters = json!({ "chat_id": chat_id(situation), "message_id": message });
    with_trimmings(with_text(parameters, situation, aim), situation, aim)
}

fn draft(situation: &Situation<'_>, aim: &Aim) -> Value {
    let mut parameters = with_text(place(situation), situation, aim);
    parameters["draft_id"] = json!(draft_id(situation));
    parameters["can_stop"] = json!(true);
    parameters
}

/// The same id for every draft of a message, so that changes are animated. Never 0.
fn draft_id(situation: &Situation<'_>) -> u32 {
    let subject = format!("{} {}", situation.desired.reply, situation.shown.bubble.number);
    let id = situation.cx.account.ids.other("draft_", &subject);
    // FNV-1a over an id that is already a keyed hash.
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> 1).max(1)
}
