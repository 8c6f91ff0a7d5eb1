//! Messages of a run that another bot account of the integration received, before an operator changed it.

use tieline_store::message::ACCOUNT_CHANGED;

use super::request::Asked;
use super::{LeasedConversation, RunError, finish};
use crate::integration_log;
use crate::world::World;

/// Ends the messages that another bot account than the present one received: this one would answer in a chat of its own that has the same id.
pub(super) async fn refuse(
    world: &World,
    held: &LeasedConversation,
    asked: Vec<Asked>,
) -> Result<Vec<Asked>, RunError> {
    let mark = held.bound.as_ref().and_then(|bound| bound.integration.account_mark());
    let is_other = |it: &Asked| it.record.is_of_other_account(mark);
    let (others, asked): (Vec<_>, Vec<_>) = asked.into_iter().partition(is_other);
    if !others.is_empty() {
        let integration = &held.conversation.key.integration;
        integration_log::warn(world, integration, "delivery_refused", ACCOUNT_CHANGED).await;
        finish::give_up(world, held, &others, ACCOUNT_CHANGED).await?;
    }
    Ok(asked)
}

#[cfg(test)]
mod tests;
