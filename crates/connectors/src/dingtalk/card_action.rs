//! Clicks on our cards, and the immediate response to the platform.
//!
//! See [DingTalk Docs/事件回调](https://open.dingtalk.com/document/development/event-callback-card).

use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{CardAction, Chat, ChatKind, Event, Feedback, Rating, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId, digest};
use tieline_core::reply::ReplyTarget;

use super::card::CardId;
use super::handle::Handle;
use super::wire::{CardCallback, CardContent, CardPrivateData};

/// The click doesn't have the documented format.
const UNREADABLE: Remark = Remark::Unreadable("the card action does not have the documented shape");

/// A click, and the change of the card.
pub(super) struct Click {
    pub(super) event: Event,
    /// Body of the response: an empty object changes nothing.
    pub(super) answer: Value,
}

/// Period in which clicks of a person on a button count once.
const ONE_CLICK_MS: i64 = 10_000;

/// The period of a click at `pushed_at`, in milliseconds.
fn period(pushed_at: &str) -> Option<String> {
    let pushed_at: i64 = pushed_at.parse().ok()?;
    Some(pushed_at.div_euclid(ONE_CLICK_MS).to_string())
}

/// Parses a click. The platform gives it no id: `push` is the id of the push, and `pushed_at` its time, by which a double click is
/// recognized.
pub(super) fn read(data: &[u8], push: &str, pushed_at: Option<&str>, cx: &Context<'_>) -> Result<Click, Remark> {
    let wire: CardCallback = serde_json::from_slice(data).map_err(|_| UNREADABLE)?;
    let (Some(card), Some(user)) = (&wire.out_track_id, &wire.user_id) else {
        return Err(UNREADABLE);
    };
    let said = private_data(wire.content.as_ref()).ok_or(UNREADABLE)?;
    let keys = said.action_ids.unwrap_or_default();
    let key = keys.first().ok_or(Remark::Ignored("the card action names no button"))?;
    let rating = rating(key);
    // A rating may be changed back at once, so each of its clicks counts.
    let occasion = pushed_at.filter(|_| rating.is_none()).and_then(period);
    let occasion = occasion.as_deref().unwrap_or(push);
    let id = PlatformMessageId::new(digest(&["card", card, user, &keys.join(","), occasion]));
    let card = CardId::parse(card);
    let sender = SenderId::new(user.as_str());
    let chat = chat(&wire, &card, user);
    let Some(rating) = rating else {
        return Ok(Click {
            event: Event::CardAction(CardAction {
                sender: Sender {
                    id: sender.clone(),
                    name: None,
                },
                key: key.clone(),
                card: card.reply,
                target: target(&wire, &id, chat, sender, cx),
                id,
            }),
            answer: json!({}),
        });
    };
    Ok(Click {
        event: Event::Feedback(Feedback {
            id,
            chat,
            sender,
            subject: card.reply,
            rating,
            comment: comment(said.params.as_ref()),
        }),
        answer: rated(rating),
    })
}

/// `content` is JSON in a string.
fn private_data(content: Option<&Value>) -> Option<CardPrivateData> {
    let content = match content? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        object => CardContent::deserialize(object).ok()?,
    };
    content.card_private_data
}

/// Maps button ids of a template to ratings: our setup notes name the first of each, public templates use the others.
fn rating(key: &str) -> Option<Rating> {
    match key {
        "like" | "feedback_up" => Some(Rating::Up),
        "dislike" | "feedback_down" => Some(Rating::Down),
        "unlike" | "feedback_cancel" => Some(Rating::Cleared),
        _ => None,
    }
}

fn comment(params: Option<&Map<String, Value>>) -> String {
    let texts = ["comment", "reason", "feedback"];
    let found = texts.into_iter().find_map(|name| params?.get(name)?.as_str());
    found.unwrap_or_default().to_owned()
}

/// The variables of a rated card: `likeState` is shown to everyone, `mine` to the person who rated. Variables are always strings.
fn rated(rating: Rating) -> Value {
    let (state, mine) = match rating {
        Rating::Up => ("1", "true"),
        Rating::Down => ("-1", "true"),
        Rating::Cleared => ("0", "false"),
    };
    json!({
        "cardUpdateOptions": { "updateCardDataByKey": true, "updatePrivateDataByKey": true },
        "cardData": { "cardParamMap": { "likeState": state } },
        "userPrivateData": { "cardParamMap": { "mine": mine } },
    })
}

/// The values of `spaceType` aren't documented, so the kind in our card id takes precedence.
fn chat(wire: &CardCallback, card: &CardId, user: &str) -> Chat {
    let kind = card.kind.unwrap_or(match wire.space_type.as_deref() {
        Some("IM_ROBOT" | "IM_SINGLE") => ChatKind::Direct,
        _ => ChatKind::Group,
    });
    Chat {
        kind,
        id: ChatId::new(wire.space_id.as_deref().unwrap_or(user)),
        thread: None,
    }
}

fn target(wire: &CardCallback, id: &PlatformMessageId, chat: Chat, asker: SenderId, cx: &Context<'_>) -> ReplyTarget {
    let callable = wire.user_id_type.is_none_or(|kind| kind == 1);
    let handle = Handle {
        staff: wire.user_id.clone().filter(|_| callable),
        ..Handle::default()
    };
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat,
        asker,
        message: id.clone(),
        handle: handle.write(),
        expires_at: None,
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::account::ConnectionMode;

    use super::*;
    use crate::dingtalk::tests::{CLIENT, account, at};

    fn id(key: &str, push: &str, pushed_at: Option<&str>) -> PlatformMessageId {
        let account = account(ConnectionMode::LongConnection, &CLIENT);
        let content = json!({ "cardPrivateData": { "actionIds": [key] } }).to_string();
        let data = json!({ "outTrackId": "tl-1-g", "userId": "manager0123", "content": content }).to_string();
        match read(data.as_bytes(), push, pushed_at, &at(&account, 0)).unwrap().event {
            Event::CardAction(action) => action.id,
            Event::Feedback(feedback) => feedback.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn double_click_is_one_event() {
        let first = id("new_session", "push1", Some("1760000001000"));
        assert_eq!(id("new_session", "push2", Some("1760000001400")), first);
        assert_ne!(id("new_session", "push3", Some("1760000031000")), first);
        assert_ne!(id("stop", "push4", Some("1760000001400")), first);
        assert_ne!(id("new_session", "push1", None), id("new_session", "push2", None));
    }

    #[test]
    fn changed_ratings_all_count() {
        let first = id("like", "push1", Some("1760000001000"));
        assert_ne!(id("like", "push3", Some("1760000001400")), first);
    }
}
