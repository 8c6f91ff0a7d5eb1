//! What identifies a run and its conversation at the agent.

use tieline_core::conversation::Conversation;

use super::{LeasedConversation, RunError, update};
use crate::world::World;

/// What identifies a run and its conversation at the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AgentRefs {
    /// The run.
    pub(super) run_ref: Option<String>,
    /// Where to resume reading.
    pub(super) cursor: Option<String>,
    /// The conversation.
    pub(super) conversation_ref: Option<String>,
}

/// Records what identifies the run and its conversation at the agent, if that is news: another process needs it to cancel and to
/// resume, and the session's next run to stay in the conversation.
pub(super) async fn record_refs(
    world: &World,
    held: &mut LeasedConversation,
    refs: &AgentRefs,
) -> Result<(), RunError> {
    let mut known = held.conversation.clone();
    apply_refs(&mut known, refs);
    if known == held.conversation {
        return Ok(());
    }
    update(world, held, |conversation| apply_refs(conversation, refs)).await
}

fn apply_refs(conversation: &mut Conversation, refs: &AgentRefs) {
    let Some(run) = &mut conversation.run else {
        return;
    };
    if refs.run_ref.is_some() {
        run.run_ref.clone_from(&refs.run_ref);
        run.cursor.clone_from(&refs.cursor);
    }
    let number = run.session;
    // A session that began meanwhile has a conversation of its own.
    if let Some(session) = conversation.session_numbered_mut(number)
        && refs.conversation_ref.is_some()
    {
        session.conversation_ref.clone_from(&refs.conversation_ref);
    }
}
