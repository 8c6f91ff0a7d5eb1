//! The card with the button that starts a new session, and its update after a click.
//!
//! See [WeCom Docs/发送应用消息, 模板卡片](https://developer.work.weixin.qq.com/document/path/90236) and
//! [WeCom Docs/更新模版卡片消息](https://developer.work.weixin.qq.com/document/path/94888).

use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::event::{CardAction, NEW_SESSION_KEY};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::ReplyId;
use tieline_core::notice::Notice;

use super::settings::Settings;
use super::verify::Authentic;
use crate::template_card;
use crate::xml::cdata;
use crate::xml_callback::passive;

/// The card. `round` distinguishes a repeated card from the one before: a task id is accepted only once.
pub(super) fn new_session(reply: &ReplyId, round: u32, notice: Notice, cx: &Context<'_>) -> Value {
    let language = cx.account.language;
    json!({
        "card_type": "button_interaction",
        "main_title": { "title": notice.text(language) },
        "button_list": [{ "text": Notice::ButtonNewSession.text(language), "style": 1, "key": NEW_SESSION_KEY }],
        "task_id": task_id(reply, round, cx),
    })
}

/// The card's task id, unique forever.
pub(super) fn task_id(reply: &ReplyId, round: u32, cx: &Context<'_>) -> String {
    cx.account.ids.other("tl_", &format!("{reply}/{round}"))
}

/// Replacement of the clicked button: text that can't be clicked.
pub(super) fn clicked(notice: Notice, cx: &Context<'_>) -> Value {
    json!({ "replace_name": notice.text(cx.account.language) })
}

/// The response to a click that came too late: the button's text says so.
///
/// See [WeCom Docs/被动回复消息格式](https://developer.work.weixin.qq.com/document/path/90241).
pub(super) fn too_late(clicker: &str, callback: &Authentic, cx: &Context<'_>) -> WebhookAnswer {
    said(Notice::Expired.text(cx.account.language), clicker, callback, cx)
}

/// The response to a click on a card's button: the button's text says that it was chosen. `None` for other clicks.
pub(super) fn chosen(action: &CardAction, callback: &Authentic, cx: &Context<'_>) -> Option<WebhookAnswer> {
    let words = template_card::chosen(&action.key)?;
    Some(said(&words, action.sender.id.as_str(), callback, cx))
}

/// Replaces the clicked button by this text.
fn said(words: &str, clicker: &str, callback: &Authentic, cx: &Context<'_>) -> WebhookAnswer {
    let keys = &Settings::of(cx.account).keys;
    let words = cdata(words);
    let button = format!("<Button><ReplaceName>{words}</ReplaceName></Button>");
    let message = passive(clicker, &keys.receiver, "update_button", &button, cx);
    keys.seal(&message, callback.nonce(), cx)
}
