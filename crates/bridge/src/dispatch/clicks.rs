//! Events that are no messages: clicks, opened chats, ratings.

use tieline_core::event::{CardAction, Event, Feedback, Message, NEW_SESSION_KEY, WELCOME_KEY};
use tieline_core::message_state::MessageState;

use super::{Arrival, DispatchError, Refusal, Wake};
use crate::notices::NoticeReply;

impl Arrival<'_> {
    pub(super) async fn card_action(&self, action: CardAction) -> Result<Option<Wake>, DispatchError> {
        let ours = action.key == NEW_SESSION_KEY;
        let message = Message {
            id: action.id.clone(),
            sender: action.sender.clone(),
            sent_at: None,
            text: String::new(),
            parts: Vec::new(),
            quoted: None,
            chat_name: None,
            refers_to: None,
            target: action.target.clone(),
        };
        if action.key == WELCOME_KEY {
            return self.greet(action, &message).await.map(|()| None);
        }
        // A click is worth as much as a word: in a group anyone can click, and a session may be shared.
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

    /// Sends the trigger's welcome text to a person who opened the chat. A person without access is told nothing: they didn't ask.
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
