//! What others said in the group since the last question, as context for the agent: see
//! [`tieline_core::trigger::TriggerSettings::group_context`].

use std::collections::HashSet;

use tieline_core::ids::MessageId;
use tieline_store::message;
use tieline_store::overheard::{self, Overheard};

use super::request::Asked;
use super::{LeasedConversation, RunError, speakers};
use crate::accounts::Bot;
use crate::world::World;

/// Precedes what others said. In English, like everything that agents are sent and people don't see.
const BEFORE: &str = "[Said in this group before, not to you:]";
/// Follows it.
const BEHIND: &str = "[End of what was said before. The question:]";

/// Adds the group's context to the run's first message, if the run has one. Every holder of the run adds the same.
pub(super) async fn add(
    world: &World,
    held: &LeasedConversation,
    bot: &Bot,
    asked: &mut [Asked],
) -> Result<(), RunError> {
    let key = &held.conversation.key;
    let trigger = held.bound.as_ref().and_then(|bound| bound.trigger.as_ref());
    let limit = trigger.map_or(0, |trigger| trigger.settings.group_context as usize);
    let (Some(heard), Some(first)) = (held.run().heard, asked.first_mut()) else {
        return Ok(());
    };
    if limit == 0 {
        return Ok(());
    }
    let (store, now) = (&world.store, world.clock.now());
    let mut said = overheard::latest(store, &key.integration, &key.chat, heard, limit, now).await?;
    if key.chat.thread.is_some() {
        remove_recalled(world, &mut said).await?;
    }
    if said.is_empty() {
        return Ok(());
    }
    let adapter = speakers::adapter_of(world, held).await?;
    let mut lines = vec![BEFORE.to_owned()];
    for (_, it) in said {
        let name = speakers::name_of(world, bot, key, adapter.as_ref(), &it.sender).await?;
        lines.push(speakers::attributed(&name, &it.text));
    }
    lines.push(BEHIND.to_owned());
    first.context = lines.join("\n");
    Ok(())
}

/// Platforms don't say in which thread a message was recalled, so a recall erases nothing there, but the ledger knows of it.
async fn remove_recalled(world: &World, said: &mut Vec<(MessageId, Overheard)>) -> Result<(), RunError> {
    let ids: Vec<_> = said.iter().map(|(id, _)| id.clone()).collect();
    let known = message::get_many(&world.store, &ids, world.clock.now()).await?;
    let recalled = known.iter().filter(|record| record.is_unseen());
    let recalled: HashSet<_> = recalled.map(|record| &record.id).collect();
    said.retain(|(id, _)| !recalled.contains(id));
    Ok(())
}
