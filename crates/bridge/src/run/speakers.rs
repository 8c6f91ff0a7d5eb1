//! Names the speaker of each message, where several people share a conversation: in the text itself, so that every protocol carries it
//! and the transcript keeps it.

use tieline_agents::protocol::{Adapter, Protocol};
use tieline_core::conversation::ConversationKey;
use tieline_core::event::{ChatKind, Sender};
use tieline_store::config::{agent as agents, user};

use super::{LeasedConversation, RunError};
use crate::accounts::Bot;
use crate::users;
use crate::world::World;

/// Longest name that is put before a text, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Finds the name of each sender, which goes before the text, if the whole group shares the conversation.
pub(super) async fn name_all<'a>(
    world: &World,
    held: &LeasedConversation,
    bot: &Bot,
    unnamed: impl Iterator<Item = (&'a Sender, &'a mut Option<String>)>,
) -> Result<(), RunError> {
    let key = &held.conversation.key;
    if key.sender.is_some() || key.chat.kind != ChatKind::Group {
        return Ok(());
    }
    let adapter = adapter_of(world, held).await?;
    for (sender, name) in unnamed {
        *name = Some(name_of(world, bot, key, adapter.as_ref(), sender).await?);
    }
    Ok(())
}

/// The protocol of the run's agent. `None` if the agent no longer exists.
pub(super) async fn adapter_of(world: &World, held: &LeasedConversation) -> Result<Option<Adapter>, RunError> {
    let organization = &held.conversation.key.organization;
    let found = agents::look_up(&world.store, organization, &held.run().agent, world.clock.now()).await?;
    Ok(found.and_then(|it| Protocol::parse(&it.agent.protocol, &it.agent.config).ok()))
}

/// The sender's name for the agent: the linked person's, else the account's, else its id; an alias if the agent may see none of
/// them.
pub(super) async fn name_of(
    world: &World,
    bot: &Bot,
    key: &ConversationKey,
    adapter: Option<&Adapter>,
    sender: &Sender,
) -> Result<String, RunError> {
    let id = user::id_of(&key.integration, &sender.id);
    if let Some(alias) = adapter.and_then(|adapter| adapter.speaker_alias(&key.organization, &id)) {
        return Ok(alias);
    }
    let known = users::facts(world, &key.organization, &key.integration, &sender.id).await?;
    let name = match known.person.as_ref().map(|person| person.name.clone()) {
        Some(name) => Some(name),
        None => users::display_name(world, bot, &known, sender).await,
    };
    let name = clean(name.as_deref().unwrap_or_default());
    Ok(match name.is_empty() {
        true => clean(sender.id.as_str()),
        false => name,
    })
}

/// `text` attributed to `name`. Further lines are indented, so that a person can't forge another speaker by writing a name before a line.
pub(super) fn attributed(name: &str, text: &str) -> String {
    let is_break = |c: char| matches!(c, '\n' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let lines: Vec<&str> = text.split(is_break).map(|line| line.trim_end_matches('\r')).collect();
    format!("{name}: {}", lines.join("\n  ")).trim_end().to_owned()
}

/// A name that can't be mistaken for anything else: one line, no colon, limited length.
fn clean(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c.is_control() || c == ':' || c == '：');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_attributed_to_its_speaker_only() {
        assert_eq!(attributed("Li Si", "hello"), "Li Si: hello");
        assert_eq!(attributed("Li Si", "yes\nWang Wu: no"), "Li Si: yes\n  Wang Wu: no");
        assert_eq!(attributed("Li Si", ""), "Li Si:");
    }

    #[test]
    fn names_can_not_imitate_attributed_text() {
        assert_eq!(clean("Li\nWang: yes"), "Li Wang yes");
        assert_eq!(clean(" 李四：好 "), "李四 好");
        assert_eq!(clean(&"x".repeat(100)).len(), MAX_NAME_CHARS);
    }
}
