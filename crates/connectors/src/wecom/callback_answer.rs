//! Answers to callbacks over HTTP: sealed like the callback itself.

use serde::Serialize;
use tieline_core::connector::Context;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::split::{TextLimit, TextUnit, split_first};

use super::settings::WebhookKeys;
use super::verify::BOT;
use super::wire::{Say, SayContent, SealedAnswer};
use crate::callback_cipher;

/// Longest welcome. The vendor gives no number for it; this is the one for the texts of its other products.
pub(super) const MAX_WELCOME: TextLimit = TextLimit {
    max: 2048,
    unit: TextUnit::Bytes,
};

/// Seals an answer. The nonce is the callback's own, the time is ours.
pub(super) fn sealed(body: &impl Serialize, nonce: &str, keys: &WebhookKeys, cx: &Context<'_>) -> WebhookAnswer {
    let message = serde_json::to_vec(body).expect("wire types serialize as JSON");
    let mut random = [0; 16];
    random.copy_from_slice(&cx.random[..16]);
    let encrypt = keys.key.seal(random, &message, BOT);
    let timestamp = cx.now.as_secs();
    let time = timestamp.to_string();
    let values = [keys.token.expose(), &time, nonce, &encrypt].map(str::as_bytes);
    let signature = callback_cipher::signature(values);
    let answer = SealedAnswer {
        encrypt: &encrypt,
        msgsignature: std::str::from_utf8(&signature).expect("hex digits are ASCII"),
        timestamp,
        nonce,
    };
    // The vendor's own sample answers as plain text.
    WebhookAnswer::text(serde_json::to_vec(&answer).expect("wire types serialize as JSON"))
}

/// The welcome of a person who opens the chat, if there is one.
pub(super) fn welcome<'a>(cx: &Context<'a>) -> Option<Say<'a>> {
    let text = cx.welcome.map(str::trim).filter(|text| !text.is_empty())?;
    let (content, _) = split_first(text, MAX_WELCOME);
    Some(Say::Text {
        text: SayContent { content },
    })
}
