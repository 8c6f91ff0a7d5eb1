//! Compare-and-swap for conversations: read, change in memory, save on the condition that no other writer was faster.
//!
//! All changes go through here, except those of `run/lease.rs` that read other tables to decide: acquiring a conversation's lease, and settling a run.

use tieline_core::conversation::{Closing, Conversation};
use tieline_core::ids::ConversationId;
use tieline_core::message_state::LedgerStep;
use tieline_store::message::{self, Ending};
use tieline_store::{StoreError, conversation};

use crate::world::World;

/// How often a lost race for a conversation is retried at once.
pub const MAX_RACES: u32 = 20;

/// The decision about a conversation.
#[derive(Debug)]
pub enum Change<T> {
    /// Save this conversation.
    Save(Box<Conversation>, T),
    /// Leave the conversation unchanged.
    Leave(T),
}

impl<T> Change<T> {
    /// Saves a conversation.
    pub fn save(after: Conversation, value: T) -> Self {
        Self::Save(Box::new(after), value)
    }
}

/// Too many other writers change the conversation at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("conversation is too busy")]
pub struct Contended;

impl From<Contended> for StoreError {
    fn from(_: Contended) -> Self {
        Self::Conflict
    }
}

/// Changes a conversation. `decide` gets its current state, `None` if there is none, and is called again after a lost race.
///
/// Returns the conversation as saved, or as found if it is unchanged, and the value of `decide`.
///
/// The first attempt decides on an eventually consistent read: a successful save proves that it was current. Before the conversation is left
/// unchanged, it is read again.
///
/// # Errors
/// The table's, or [`Contended`].
pub async fn update<T, E>(
    world: &World,
    id: &ConversationId,
    mut decide: impl FnMut(Option<Conversation>) -> Change<T>,
) -> Result<(Option<Conversation>, T), E>
where
    E: From<StoreError> + From<Contended>,
{
    let recent = Box::new(conversation::load_eventual(&world.store, id, world.clock.now()).await?);
    if let Change::Save(after, value) = decide((*recent).clone()) {
        match Box::pin(save(world, *recent, *after)).await {
            Ok(saved) => return Ok((Some(saved), value)),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = conversation::load(&world.store, id, world.clock.now()).await?;
    // Boxed, as a conversation is large and the future holds more than one.
    Box::pin(update_found(world, id, found, |found| Ok(decide(found)))).await
}

/// Like [`update`], for a conversation that was already read: it is read again only after a lost race.
///
/// # Errors
/// The table's, [`Contended`], or that of `decide`.
pub async fn update_found<T, E>(
    world: &World,
    id: &ConversationId,
    mut found: Option<Conversation>,
    mut decide: impl FnMut(Option<Conversation>) -> Result<Change<T>, E>,
) -> Result<(Option<Conversation>, T), E>
where
    E: From<StoreError> + From<Contended>,
{
    for race in 0..MAX_RACES {
        let change = decide(found.clone())?;
        match try_change(world, found, change).await {
            Ok(done) => return Ok(done),
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            Err(error) => return Err(error.into()),
        }
        found = conversation::load(&world.store, id, world.clock.now()).await?;
    }
    Err(Contended.into())
}

/// Records the end of a message that left the mailbox without a run. `false`: it had ended before.
///
/// # Errors
/// [`StoreError`].
pub async fn finish_closing(world: &World, closing: &Closing) -> Result<bool, StoreError> {
    let ending = Ending {
        state: closing.end,
        reason: None,
        run: None,
        session: None,
        steps: vec![LedgerStep::new(world.clock.now(), closing.end.as_str())],
    };
    message::finish(&world.store, &closing.message, &ending).await
}

/// Removes messages from a conversation whose end is in the ledger.
///
/// # Errors
/// The table's, or [`Contended`].
pub async fn clear_closing<E>(world: &World, id: &ConversationId, ended: &[Closing]) -> Result<(), E>
where
    E: From<StoreError> + From<Contended>,
{
    update::<_, E>(world, id, |found| {
        let to_clear = found.filter(|it| it.closing.iter().any(|it| ended.contains(it)));
        let Some(mut after) = to_clear else {
            return Change::Leave(());
        };
        after.closing.retain(|it| !ended.contains(it));
        Change::save(after, ())
    })
    .await
    .map(drop)
}

/// Makes a change of a conversation as it was read. Returns the conversation as saved, or as found if it is unchanged.
///
/// # Errors
/// [`StoreError::Conflict`] after a lost race, or another one of the table.
pub async fn try_change<T>(
    world: &World,
    found: Option<Conversation>,
    change: Change<T>,
) -> Result<(Option<Conversation>, T), StoreError> {
    match change {
        Change::Leave(value) => Ok((found, value)),
        Change::Save(after, value) => {
            let saved = Box::pin(save(world, found, *after)).await?;
            Ok((Some(saved), value))
        }
    }
}

async fn save(world: &World, found: Option<Conversation>, mut after: Conversation) -> Result<Conversation, StoreError> {
    after.updated_at = world.clock.now();
    let before = found.unwrap_or_else(|| Conversation::new(after.key.clone(), after.updated_at));
    conversation::save(&world.store, &before, &mut after).await?;
    Ok(after)
}
