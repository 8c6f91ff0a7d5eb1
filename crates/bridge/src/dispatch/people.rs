//! Pairing: strangers who ask to use a bot, and people who approve them or link themselves.

use tieline_core::event::{ChatKind, Message};
use tieline_core::ids::ConversationId;
use tieline_core::message_state::MessageState;
use tieline_core::people_texts::PeopleReply;
use tieline_store::config::user;

use super::{Arrival, DispatchError};
use crate::notices::NoticeReply;
use crate::pairing::{self, Redeemed};

impl Arrival<'_> {
    /// Whether a stranger in this chat is shown a pairing code: never in a group, where others would read it.
    pub(super) fn offers_pairing(&self, message: &Message) -> bool {
        let trigger = self.bound.trigger.as_ref();
        let direct = message.target.chat.kind == ChatKind::Direct && !message.sender.id.as_str().is_empty();
        direct && trigger.is_some_and(|trigger| trigger.settings.access.pairing)
    }

    /// Whether the message's sender was let in by pairing.
    pub(super) async fn is_admitted(&self, message: &Message) -> Result<bool, DispatchError> {
        let trigger = self.bound.trigger.as_ref();
        if !trigger.is_some_and(|trigger| trigger.settings.access.pairing) {
            return Ok(false);
        }
        let record = &self.bound.integration;
        Ok(pairing::is_admitted(self.world, &record.organization, &record.id, &message.sender.id).await?)
    }

    /// Shows a stranger their pairing code.
    pub(super) async fn offer_pairing(&self, message: &Message, id: &ConversationId) -> Result<(), DispatchError> {
        let (record, sender) = (&self.bound.integration, &message.sender);
        let code = pairing::request(self.world, &record.id, &sender.id, sender.name.as_deref()).await?;
        let (reply, reason) = match code {
            Some(code) => (PeopleReply::PairingCode(code.expose().to_owned()), "pairing_required"),
            None => (PeopleReply::PairingFull, "pairing_full"),
        };
        self.say(message, id, NoticeReply::refused_text(reply.text(record.language)))
            .await?;
        self.end(MessageState::Refused, Some(reason)).await
    }

    /// `/approve CODE`, for people who are linked.
    pub(super) async fn approve(&self, message: &Message, code: &str) -> Result<String, DispatchError> {
        let record = &self.bound.integration;
        let me = user::id_of(&record.id, &message.sender.id);
        let me = user::get(&self.world.store, &record.organization, &me).await?;
        if me.is_none_or(|me| me.linked_to().is_none()) {
            return Ok(PeopleReply::OnlyLinked.text(record.language));
        }
        if code.is_empty() {
            return Ok(PeopleReply::CodeMissing.text(record.language));
        }
        let (message, store) = (Some(&self.envelope.message), &self.world.store);
        let redeemed = pairing::approve_code(self.world, record, code, message, |_| store.clone()).await?;
        Ok(self.redeemed(redeemed, PeopleReply::Approved, PeopleReply::WrongCode))
    }

    /// `/link CODE`.
    pub(super) async fn link(&self, message: &Message, code: &str) -> Result<String, DispatchError> {
        let record = &self.bound.integration;
        if code.is_empty() {
            return Ok(PeopleReply::LinkCodeMissing.text(record.language));
        }
        let me = user::id_of(&record.id, &message.sender.id);
        let redeemed = pairing::link(self.world, &record.organization, &me, code).await?;
        Ok(self.redeemed(redeemed, PeopleReply::Linked, PeopleReply::WrongLinkCode))
    }

    fn redeemed(&self, redeemed: Redeemed, done: fn(String) -> PeopleReply, wrong: PeopleReply) -> String {
        let reply = match redeemed {
            Redeemed::Done(name) => done(name),
            Redeemed::Wrong => wrong,
            Redeemed::Wait(time) => PeopleReply::GuessLater(time.as_secs().max(1)),
        };
        reply.text(self.bound.integration.language)
    }
}
