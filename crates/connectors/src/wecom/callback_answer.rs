//! Responses to callbacks over HTTP: encrypted like the callbacks themselves.

use serde::Serialize;
use tieline_core::connector::Context;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::split::{TextLimit, TextUnit, split_first};

use super::settings::WebhookKeys;
use super::verify::BOT;
use super::wire::{Say, SayContent, SealedAnswer};
use crate::callback_cipher;

/// Longest welcome. The vendor specifies no limit; this is the limit of texts in its other products.
pub(super) const MAX_WELCOME: TextLimit = TextLimit {
    max: 2048,
    unit: TextUnit::Bytes,
};

/// Encrypts a response, with the callback's nonce and the current time.
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
    // The vendor's own sample responds with the content type of plain text.
    WebhookAnswer::text(serde_json::to_vec(&answer).expect("wire types serialize as JSON"))
}

/// The welcome for a person who opens the chat, if one is configured.
pub(super) fn welcome<'a>(cx: &Context<'a>) -> Option<Say<'a>> {
    let text = cx.welcome.map(str::trim).filter(|text| !text.is_empty())?;
    let (content, _) = split_first(text, MAX_WELCOME);
    Some(Say::Text {
        text: SayContent { content },
    })
}
