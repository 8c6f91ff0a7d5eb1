//! The agent's own ids of a run and its conversation.

use tieline_core::conversation::Conversation;

use super::{LeasedConversation, RunError, update};
use crate::world::World;

/// The agent's own ids of a run and its conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AgentRefs {
    /// Id of the run at the agent.
    pub(super) run_ref: Option<String>,
    /// Where to resume reading.
    pub(super) cursor: Option<String>,
    /// Id of the conversation at the agent.
    pub(super) conversation_ref: Option<String>,
}

/// Records the agent's ids of the run and its conversation, if they are new: another process needs them to cancel and to
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
    // A session that was started meanwhile has a conversation of its own.
    if let Some(session) = conversation.session_numbered_mut(number)
        && refs.conversation_ref.is_some()
    {
        session.conversation_ref.clone_from(&refs.conversation_ref);
    }
}
