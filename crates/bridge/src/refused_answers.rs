//! Answers that the platform refuses until the person writes again: they are delivered when that happens.

use tieline_core::conversation::Conversation;
use tieline_core::envelope::WakeUpV1;
use tieline_core::ids::{ConversationId, MessageId};
use tieline_store::StoreError;
use tieline_store::reply::ReplyRecord;
use tracing::warn;

use crate::accounts::Bot;
use crate::conversation::{Change, update};
use crate::redrive::{self, RedriveError};
use crate::world::World;

/// How often an answer is delivered again by itself.
const MAX_REDRIVES: u32 = 3;

/// Whether this reply, which was refused with this code, is delivered once the person writes again.
pub(crate) fn may_be_delivered_later(bot: &Bot, reply: &ReplyRecord, code: &str) -> bool {
    reply.redrive < MAX_REDRIVES && bot.connector.manifest().refused_until_next.contains(&code)
}

/// Remembers such an answer in its conversation. Until the person writes again, it is a dead letter like any other.
pub(crate) async fn keep(world: &World, id: &ConversationId, message: &MessageId) -> Result<(), StoreError> {
    let keeping = update::<_, StoreError>(world, id, |found| match found {
        Some(mut conversation) => {
            conversation.keep_refused_answer(message);
            Change::save(conversation, ())
        }
        None => Change::Leave(()),
    });
    Box::pin(keeping).await.map(drop)
}

/// What became of the refused answers of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Redelivery {
    /// The messages whose answers wait no longer.
    pub(crate) done: Vec<MessageId>,
    /// The wake-ups that were sent for those that are being delivered.
    pub(crate) wakes: Vec<WakeUpV1>,
}

/// Continues the delivery of the answers that were refused, after the person has written again. It must not fail the person's message: what can't
/// be delivered now stays for the next one.
pub(crate) async fn deliver(world: &World, conversation: &Conversation) -> Redelivery {
    let Redelivery { mut done, mut wakes } = Redelivery::default();
    for message in &conversation.refused_answers {
        // An operator has redriven it: it is asked again.
        if conversation.holds(message) {
            done.push(message.clone());
            continue;
        }
        match Box::pin(redrive::deliver_rest(world, message)).await {
            Ok(wake) => {
                done.push(message.clone());
                wakes.push(wake);
            }
            // An operator was faster, or it is no longer there.
            Err(
                RedriveError::Gone
                | RedriveError::AccountChanged
                | RedriveError::NotFailed(_)
                | RedriveError::UnreadableProgress,
            ) => {
                done.push(message.clone());
            }
            Err(error @ (RedriveError::InHand | RedriveError::Store(_) | RedriveError::Queue(_))) => {
                warn!(account.id = %conversation.key.integration, event.key = %message, error = %error, "refused answer can't be delivered yet");
            }
        }
    }
    Redelivery { done, wakes }
}

#[cfg(test)]
mod tests;
