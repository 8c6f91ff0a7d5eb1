//! Clicks on buttons of our cards, and the updates of the clicked cards.

use std::borrow::Cow;

use tieline_core::connector::Context;
use tieline_core::event::NEW_SESSION_KEY;
use tieline_core::notice::Notice;

use super::wire::{CardLink, CardTitle, NoticeCard, UpdateCard};
use crate::template_card;

/// Link of our cards: a card must have one.
const CARD_LINK: CardLink = CardLink {
    kind: 1,
    url: "https://work.weixin.qq.com",
};

/// Update of the card whose button was clicked, if the button is one of ours.
pub(super) fn update<'a>(key: &str, card: &'a str, cx: &Context<'_>) -> Option<UpdateCard<'a>> {
    if let Some(chosen) = template_card::chosen(key) {
        return saying(chosen.into(), card);
    }
    (key == NEW_SESSION_KEY)
        .then(|| saying(words(Notice::NewSession, cx), card))
        .flatten()
}

/// Update of a card whose button was clicked too late.
pub(super) fn stale<'a>(card: &'a str, cx: &Context<'_>) -> Option<UpdateCard<'a>> {
    saying(words(Notice::StaleClick, cx), card)
}

fn words(notice: Notice, cx: &Context<'_>) -> Cow<'static, str> {
    notice.text(cx.account.language).into()
}

/// A card without buttons that replaces the clicked one.
fn saying<'a>(title: Cow<'static, str>, card: &'a str) -> Option<UpdateCard<'a>> {
    (!card.is_empty()).then_some(UpdateCard {
        response_type: "update_template_card",
        template_card: NoticeCard {
            card_type: "text_notice",
            main_title: CardTitle { title },
            card_action: CARD_LINK,
            task_id: card,
        },
    })
}
