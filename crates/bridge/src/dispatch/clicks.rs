//! Events other than messages: clicks, opened chats, ratings.

use tieline_core::card;
use tieline_core::event::{CardAction, ChatKind, Event, Feedback, Message, NEW_SESSION_KEY, WELCOME_KEY};
use tieline_core::ids::ReplyId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_store::reply::{self, ReplyRecord};

use super::{Arrival, DispatchError, Refusal, Wake};
use crate::notices::NoticeReply;

impl Arrival<'_> {
    pub(super) async fn card_action(&self, action: CardAction) -> Result<Option<Wake>, DispatchError> {
        if let Some((reply, button)) = card::read_choice_key(&action.key) {
            return Box::pin(self.choice(action, &reply, button)).await;
        }
        let ours = action.key == NEW_SESSION_KEY;
        let message = message(&action, String::new());
        if action.key == WELCOME_KEY {
            return self.greet(action, &message).await.map(|()| None);
        }
        // A click needs the same access as a message: in a group anyone can click, and a session may be shared.
        let refusal = if ours { self.denial(&message).await? } else { None };
        let key = self.key(&message);
        let id = key.id();
        let Some(turn) = self.claim(Event::CardAction(action), Some(id.clone())).await? else {
            return Ok(None);
        };
        match refusal {
            Some(refusal) => self.refuse(&message, &id, refusal).await?,
            None if ours => return self.start_session(&message, &key, turn).await,
            None => self.end(MessageState::Commanded, Some("unknown_card_action")).await?,
        }
        Ok(None)
    }

    /// A click on a button that sends a text to the agent is a message of the person who clicked. The text is read from the card
    /// that was sent, so a click can only choose among the card's own values.
    async fn choice(&self, action: CardAction, reply: &ReplyId, button: usize) -> Result<Option<Wake>, DispatchError> {
        let found = reply::get(&self.world.store, reply, self.world.clock.now()).await?;
        let found = found.filter(|found| found.integration == self.envelope.integration);
        let value = found.as_ref().and_then(|found| found.buttons().get(button)?.value());
        let refusal = match (&found, value) {
            (Some(found), Some(_)) if !may_press(found, &action) => Refusal(Notice::NotYourButton, "not_your_button"),
            (_, Some(_)) => {
                let text = value.unwrap_or_default().to_owned();
                return self.message(message(&action, text)).await;
            }
            (_, None) => Refusal(Notice::ButtonGone, "unknown_button"),
        };
        let message = message(&action, String::new());
        // A stranger gets the same notice as for a message, and learns nothing about the card.
        let refusal = self.denial(&message).await?.unwrap_or(refusal);
        let id = self.key(&message).id();
        if self.claim(Event::CardAction(action), Some(id.clone())).await?.is_some() {
            self.refuse(&message, &id, refusal).await?;
        }
        Ok(None)
    }

    /// Sends the trigger's welcome text to a person who opened the chat. A person without access gets no notice: they didn't ask.
    async fn greet(&self, opened: CardAction, message: &Message) -> Result<(), DispatchError> {
        let denial = self.denial(message).await?;
        let id = self.key(message).id();
        if self.claim(Event::CardAction(opened), Some(id.clone())).await?.is_none() {
            return Ok(());
        }
        if let Some(Refusal(_, reason)) = denial {
            return self.end(MessageState::Refused, Some(reason)).await;
        }
        let trigger = self.bound.trigger.as_ref();
        let welcome = trigger.and_then(|trigger| trigger.settings.welcome.clone());
        if let Some(text) = welcome {
            self.say(message, &id, NoticeReply::text(text)).await?;
        }
        self.end(MessageState::Commanded, Some("welcome")).await
    }

    pub(super) async fn feedback(&self, feedback: Feedback) -> Result<(), DispatchError> {
        let rating = format!("feedback_{:?}", feedback.rating).to_lowercase();
        if self.claim(Event::Feedback(feedback), None).await?.is_some() {
            self.end(MessageState::Commanded, Some(&rating)).await?;
        }
        Ok(())
    }
}

/// A click as a message of the person who clicked.
fn message(action: &CardAction, text: String) -> Message {
    Message {
        id: action.id.clone(),
        sender: action.sender.clone(),
        sent_at: None,
        text,
        parts: Vec::new(),
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: action.target.clone(),
    }
}

/// In a group only the asker may press an answer's buttons. A proactive message to a group has no asker: everyone may press its buttons.
fn may_press(card: &ReplyRecord, action: &CardAction) -> bool {
    let is_direct = action.target.chat.kind == ChatKind::Direct;
    is_direct || card.asker.as_str().is_empty() || card.asker == action.sender.id
}
