//! Answers to callbacks over HTTP: sealed like the callback itself.

use serde::Serialize;
use tieline_core::connector::{Context, PollRequest};
use tieline_core::event::NEW_SESSION_KEY;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::notice::Notice;
use tieline_core::reply::ReplyView;
use tieline_core::split::{TextLimit, TextUnit, split_first};

use super::credentials::WebhookKeys;
use super::pulled;
use super::text::DOTS;
use super::verify::BOT;
use super::wire::{CardLink, CardTitle, NoticeCard, Say, SayContent, SayFeedback, SayStream, SealedAnswer, UpdateCard};
use crate::callback_cipher;

/// Longest welcome. The vendor gives no number for it; this is the one for the texts of its other products.
pub(super) const MAX_WELCOME: TextLimit = TextLimit {
    max: 2048,
    unit: TextUnit::Bytes,
};
/// Where a click on a card of ours leads: a card must lead somewhere.
const CARD_LINK: CardLink = CardLink {
    kind: 1,
    url: "https://work.weixin.qq.com",
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

/// The state of a stream, for the callback that began it or one that asks for it.
pub(super) fn newest(
    asked: &PollRequest,
    reply: Option<&ReplyView>,
    keys: &WebhookKeys,
    cx: &Context<'_>,
) -> WebhookAnswer {
    let language = cx.account.language;
    let closed = reply.and_then(|reply| reply.closed.clone().or_else(|| ends(asked, reply, cx)));
    let gone = || (Notice::Expired.text(language).to_owned(), true);
    let (content, finish) = match (reply, closed) {
        (Some(reply), _) if reply.asker != asked.asker => gone(),
        (Some(reply), Some(closed)) => (pulled::ended(reply, &closed, language), true),
        (Some(reply), None) => (pulled::growing(reply, cx.account.streaming), false),
        (None, _) if asked.first || cx.account.ids.made("tl-", asked.reply.as_str()) => (DOTS.to_owned(), false),
        (None, _) => gone(),
    };
    let stream = SayStream {
        id: asked.reply.as_str(),
        finish,
        content: &content,
        feedback: asked.first.then_some(SayFeedback {
            id: asked.reply.as_str(),
        }),
    };
    sealed(&Say::Stream { stream }, &asked.note, keys, cx)
}

/// What the stream ends with, if it ends with this answer.
pub(super) fn ends(asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<tieline_core::reply::Progress> {
    if reply.asker != asked.asker {
        return None;
    }
    pulled::ends(reply, cx.account.streaming, cx.account.language, cx.now)
}

/// What somebody who opens the chat is told, if anything.
pub(super) fn welcome<'a>(cx: &Context<'a>) -> Option<Say<'a>> {
    let text = cx.welcome.map(str::trim).filter(|text| !text.is_empty())?;
    let (content, _) = split_first(text, MAX_WELCOME);
    Some(Say::Text {
        text: SayContent { content },
    })
}

/// What the card becomes whose button was clicked, if the button is one of ours.
pub(super) fn clicked<'a>(key: &str, card: &'a str, cx: &Context<'_>) -> Option<UpdateCard<'a>> {
    (key == NEW_SESSION_KEY)
        .then(|| saying(Notice::NewSession, card, cx))
        .flatten()
}

/// What the card becomes whose button was clicked too long ago.
pub(super) fn clicked_long_ago<'a>(card: &'a str, cx: &Context<'_>) -> Option<UpdateCard<'a>> {
    saying(Notice::StaleClick, card, cx)
}

/// A card without a button, in place of the one that was clicked.
fn saying<'a>(notice: Notice, card: &'a str, cx: &Context<'_>) -> Option<UpdateCard<'a>> {
    (!card.is_empty()).then(|| UpdateCard {
        response_type: "update_template_card",
        template_card: NoticeCard {
            card_type: "text_notice",
            main_title: CardTitle {
                title: notice.text(cx.account.language),
            },
            card_action: CARD_LINK,
            task_id: card,
        },
    })
}
