//! Answers to proactive messages: the person's first message after one in a direct chat goes to the agent with that message as its quote.

use tieline_core::event::{ChatKind, Quoted};
use tieline_core::message_state::MessageState;
use tieline_core::split::split_first;
use tieline_store::config::user;
use tieline_store::{message, reply};

use super::request::{Asked, Followed};
use super::{LeasedConversation, RunError};
use crate::quotes;
use crate::users;
use crate::world::World;

/// Adds to the run's first message the proactive message that it follows, if there is one. Every holder of the run finds the same, since
/// the link is removed only when the run has ended.
pub(super) async fn find(world: &World, held: &LeasedConversation, asked: &mut [Asked]) -> Result<(), RunError> {
    let key = &held.conversation.key;
    let Some(first) = asked.first_mut().filter(|_| key.chat.kind == ChatKind::Direct) else {
        return Ok(());
    };
    let sender = &first.message.sender.id;
    let known = users::facts(world, &key.organization, &key.integration, sender).await?;
    let said = known.unanswered.filter(|said| said.at <= first.record.received_at);
    let Some(said) = said else {
        return Ok(());
    };
    let now = world.clock.now();
    let found = reply::get(&world.store, &said.reply, now).await?;
    let text = match &found {
        Some(found) if !is_refused(world, found).await? => found.whole_text().into_owned(),
        _ => String::new(),
    };
    let text = split_first(&text, quotes::LIMIT).0.to_owned();
    first.follows = Some(Followed {
        reply: said.reply,
        quoted: (!text.is_empty()).then_some(Quoted {
            text,
            parts: Vec::new(),
        }),
    });
    Ok(())
}

/// Whether the platform refused the proactive message.
async fn is_refused(world: &World, said: &reply::ReplyRecord) -> Result<bool, RunError> {
    let found = message::get(&world.store, &said.message, world.clock.now()).await?;
    Ok(found.is_some_and(|found| found.state == MessageState::Failed))
}

/// Removes the link when the run has ended: the next message follows the run's answer.
pub(super) async fn forget(world: &World, asked: &[Asked]) -> Result<(), RunError> {
    for (it, followed) in asked.iter().filter_map(|it| Some((it, it.follows.as_ref()?))) {
        let id = user::id_of(&it.record.integration, &it.message.sender.id);
        user::record_answered(&world.store, &it.record.organization, &id, &followed.reply).await?;
        world.known_users.evict_facts(&id);
    }
    Ok(())
}
