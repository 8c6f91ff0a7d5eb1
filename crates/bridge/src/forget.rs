//! Erases a person: everything that the tables keep of them, their own record last, so that an interrupted call can be repeated.

use std::collections::HashSet;
use std::time::Duration;

use tieline_core::conversation::{Closing, Conversation, StopCause};
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::{ChatKind, Event};
use tieline_core::ids::{ChatId, ConversationId, MessageId, RunId, SenderId};
use tieline_core::message_state::MessageState;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::user::{self, User};
use tieline_store::data_keys::unless_key_is_lost;
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_store::scheduled::{self, Audience, Kept};
use tieline_store::{Store, StoreError, conversation, erase};
use tokio::time::Instant;
use tracing::warn;

use crate::conversation::{Change, clear_closing, finish_closing, update};
use crate::error_chain::chain;
use crate::media::{self, PartRef};
use crate::pairing;
use crate::proactive;
use crate::state::known_names::Named;
use crate::wakeups;
use crate::world::World;

/// Messages or conversations per read.
const PAGE: usize = 100;
/// Time limit for a run to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Between two checks whether it has stopped.
const STOP_POLL: Duration = Duration::from_millis(100);
/// Between two reads of all messages, while one that was received since may be about to be answered.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// A message that is pending for longer, in no conversation's mailbox, is lost and never answered.
const LOST_AFTER: Duration = Duration::from_hours(24);

/// Outcome of erasing a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// Nothing of theirs is left.
    Done,
    /// An answer to the person is still being written, though its run was asked to stop, or a scheduled message is being sent to them.
    Busy,
}

/// Erases everything stored about a person. Files that agents gave by content expire within 7 days. The record itself, as it was
/// read, is deleted last, in a transaction of `store`.
///
/// # Errors
/// [`StoreError::Conflict`] if the record has changed since it was read. After any error, calling it again continues.
pub async fn forget(world: &World, store: &Store, person: &User) -> Result<Forgotten, StoreError> {
    let give_up_at = Instant::now() + STOP_LIMIT;
    loop {
        match try_to_forget(world, store, person).await? {
            Some(outcome) => return Ok(outcome),
            None if Instant::now() >= give_up_at => return Ok(Forgotten::Busy),
            None => tokio::time::sleep(BETWEEN_READS).await,
        }
    }
}

/// `None`: a message was received meanwhile, and a run may be about to answer it.
async fn try_to_forget(world: &World, store: &Store, person: &User) -> Result<Option<Forgotten>, StoreError> {
    let sender = SenderId::new(person.external_id.as_str());
    let messages = messages_of(world, person, &HashSet::new()).await?;
    let mut conversations = Vec::new();
    for id in conversations_of(world, person, &sender, &messages).await? {
        match stop_and_clear(world, &id, &sender, &messages).await? {
            Quiet::Yes(conversation) => conversations.push(*conversation),
            Quiet::Gone => {}
            Quiet::Never => return Ok(Some(Forgotten::Busy)),
        }
    }
    let chats = direct_chats(&conversations, &sender);
    if !forget_scheduled(world, person, &chats).await? {
        return Ok(Some(Forgotten::Busy));
    }
    // Read again: runs that have ended since have written their messages.
    let messages = messages_of(world, person, &proactive::conversations_with(person, &chats)).await?;
    let (said, messages): (Vec<_>, Vec<_>) = messages.into_iter().partition(MessageRecord::is_proactive);
    // Received since the first read: the transcript turn of its answer may be written later.
    let now = world.clock.now();
    let is_pending = |record: &MessageRecord| is_about_to_be_answered(record.state, record.received_at, now);
    if messages.iter().any(is_pending) {
        return Ok(None);
    }
    // Before the conversations, which name the chats that they were sent to.
    erase_messages(world, person, &said).await?;
    let runs: HashSet<RunId> = messages.iter().filter_map(|record| record.run.clone()).collect();
    // Sessions of any ids: a group's conversation goes on with that under the group's old id.
    let sessions = messages.iter().filter_map(|record| record.session.as_ref());
    for session in sessions.map(|(id, _)| id).collect::<HashSet<_>>() {
        erase::turns(&world.store, session, Some(&runs)).await?;
    }
    for conversation in &conversations {
        match forget_conversation(world, conversation, &sender, &runs).await {
            // It has changed since it was read: a message was received.
            Err(StoreError::Conflict) => return Ok(Some(Forgotten::Busy)),
            done => done?,
        }
    }
    erase_messages(world, person, &messages).await?;
    erase::overheard(&world.store, &person.integration, &person.id).await?;
    pairing::forget(world, &person.integration, &sender).await?;
    erase::guesses(&world.store, &person.id).await?;
    // Again, as late as possible: one to all linked people may have begun since.
    if !forget_scheduled(world, person, &chats).await? {
        return Ok(Some(Forgotten::Busy));
    }
    user::delete(store, person).await?;
    // After the table: a reader in between finds no record.
    world.known_users.forget(&person.id);
    world
        .known_names
        .forget(&Named::Person(person.integration.clone(), person.external_id.clone()));
    world
        .newest_targets
        .forget(&person.integration, &ChatId::new(person.external_id.as_str()));
    Ok(Some(Forgotten::Done))
}

/// Whether a run answers a message, or may begin to.
fn is_about_to_be_answered(state: MessageState, received_at: Timestamp, now: Timestamp) -> bool {
    state == MessageState::Running || (!state.is_terminal() && now.since(received_at) < LOST_AFTER)
}

async fn erase_messages(world: &World, person: &User, messages: &[MessageRecord]) -> Result<(), StoreError> {
    for record in messages {
        let files = files_of(world, record)?;
        erase::message(&world.store, &person.organization, record, &files, world.clock.now()).await?;
    }
    Ok(())
}

/// The chats in which the person is alone with the bot.
fn direct_chats(conversations: &[Conversation], sender: &SenderId) -> HashSet<ChatId> {
    let chats = conversations.iter().map(|it| &it.key.chat);
    let direct = chats
        .filter(|chat| chat.kind == ChatKind::Direct)
        .map(|chat| chat.id.clone());
    direct.chain([ChatId::new(sender.as_str())]).collect()
}

/// Deletes the scheduled messages to the person. One that isn't sent yet never is. `false`: one is just being sent.
async fn forget_scheduled(world: &World, person: &User, chats: &HashSet<ChatId>) -> Result<bool, StoreError> {
    let mut cursor = None::<String>;
    loop {
        let (store, after, now) = (&world.store, cursor.as_deref(), world.clock.now());
        let page = scheduled::list(store, &person.organization, after, PAGE, now).await?;
        for it in page.items.iter().filter(|it| *it.integration() == person.integration) {
            match meant_for(world, it, person, chats)? {
                Meant::Others => {}
                Meant::BeingSent => return Ok(false),
                Meant::ForThem => scheduled::delete(store, it).await?,
            }
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(true);
        }
    }
}

/// The recipient of a scheduled message, as far as it concerns a person.
enum Meant {
    ForThem,
    /// For them, and it is too late to stop it.
    BeingSent,
    Others,
}

/// A message that can't be opened is never sent; whom it is for is told by what is stored in the clear.
fn meant_for(world: &World, it: &Kept, person: &User, chats: &HashSet<ChatId>) -> Result<Meant, StoreError> {
    let age = world.clock.now().since(it.created_at());
    let Some(message) = it.open(&world.store, age)? else {
        let mut ids = chats.iter().map(ChatId::as_str).chain([&*person.external_id]);
        if ids.any(|id| it.is_to(id) == Some(true)) {
            return Ok(Meant::ForThem);
        }
        warn!(organization.id = %person.organization, scheduled = it.id(), "scheduled message can't be opened; it is not erased with a person");
        return Ok(Meant::Others);
    };
    let is_to_them = match &message.to {
        Audience::Person(to) => to.as_str() == &*person.external_id,
        Audience::Chat(chat) => chats.contains(chat),
        Audience::Linked => false,
    };
    // One to all linked people may have read this one already, and stores them again when it is sent to them.
    let may_be_to_them = is_to_them || (message.to == Audience::Linked && person.linked_to().is_some());
    let is_being_sent = message.begun && message.state == scheduled::State::Waiting;
    Ok(match is_to_them {
        _ if may_be_to_them && is_being_sent => Meant::BeingSent,
        true => Meant::ForThem,
        false => Meant::Others,
    })
}

/// The messages that the person has sent, and those that operators have sent in these conversations.
async fn messages_of(
    world: &World,
    person: &User,
    addressed: &HashSet<ConversationId>,
) -> Result<Vec<MessageRecord>, StoreError> {
    let sender = SenderId::new(person.external_id.as_str());
    let filter = Filter {
        integration: Some(person.integration.clone()),
        ..Filter::default()
    };
    let is_to_them = |record: &MessageRecord| record.conversation.as_ref().is_some_and(|id| addressed.contains(id));
    let is_theirs = |record: &MessageRecord| {
        record.sender.as_ref() == Some(&sender) || (record.is_proactive() && is_to_them(record))
    };
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (store, after, now) = (&world.store, cursor.as_deref(), world.clock.now());
        let page = message::list_matching(store, &person.organization, &filter, &is_theirs, after, PAGE, now).await?;
        found.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// The conversations that the person has taken part in, shared ones too.
async fn conversations_of(
    world: &World,
    person: &User,
    sender: &SenderId,
    messages: &[MessageRecord],
) -> Result<HashSet<ConversationId>, StoreError> {
    let mut ids: HashSet<ConversationId> = messages
        .iter()
        .filter_map(|record| record.conversation.clone())
        .collect();
    let mut cursor = None::<String>;
    loop {
        let (store, after, now) = (&world.store, cursor.as_deref(), world.clock.now());
        let page = conversation::list(store, &person.integration, Some(sender.as_str()), after, PAGE, now).await?;
        ids.extend(page.items.iter().filter(|it| is_own(it, sender)).map(|it| it.key.id()));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(ids);
        }
    }
}

/// A conversation without pending messages and runs of the person.
enum Quiet {
    /// This one.
    Yes(Box<Conversation>),
    /// No conversation has that id.
    Gone,
    /// A run has not stopped in time.
    Never,
}

/// Drops the person's pending messages of a conversation, stops a run that answers them, and waits until it has ended.
async fn stop_and_clear(
    world: &World,
    id: &ConversationId,
    sender: &SenderId,
    messages: &[MessageRecord],
) -> Result<Quiet, StoreError> {
    let give_up_at = Instant::now() + STOP_LIMIT;
    let mut is_woken = false;
    while Instant::now() < give_up_at {
        let (found, (is_running, closing)) = update::<_, StoreError>(world, id, |found| {
            let Some(before) = found else {
                return Change::Leave((false, Vec::new()));
            };
            let alone = is_theirs_alone(&before, sender);
            let is_theirs = |id: &MessageId| alone || messages.iter().any(|record| record.id == *id);
            let mut after = before.clone();
            let theirs = after
                .pending
                .extract_if(.., |waiting| is_theirs(&waiting.message))
                .collect();
            after.close(theirs, MessageState::Dropped);
            let run = after.run.as_mut().filter(|run| run.messages.iter().any(is_theirs));
            let is_running = run.is_some();
            if let Some(run) = run {
                run.stop = run.stop.or(Some(StopCause::Stopped));
            }
            let closing = after
                .closing
                .iter()
                .filter(|it| is_theirs(&it.message))
                .cloned()
                .collect();
            match after == before {
                true => Change::Leave((is_running, closing)),
                false => Change::save(after, (is_running, closing)),
            }
        })
        .await?;
        let Some(found) = found else {
            return Ok(Quiet::Gone);
        };
        if !closing.is_empty() {
            end(world, id, &closing).await?;
            continue;
        }
        if !is_running {
            return Ok(Quiet::Yes(Box::new(found)));
        }
        world.local_stops.notify(&found);
        if !is_woken {
            wake(world, &found).await;
            is_woken = true;
        }
        tokio::time::sleep(STOP_POLL).await;
    }
    Ok(Quiet::Never)
}

/// Ends messages that have left the mailbox, so that each has an end in the ledger even if erasing is never completed.
async fn end(world: &World, id: &ConversationId, closing: &[Closing]) -> Result<(), StoreError> {
    for it in closing {
        finish_closing(world, it).await?;
    }
    clear_closing(world, id, closing).await
}

/// Wakes a run that waits for its agent's callbacks: no process looks at it before that.
async fn wake(world: &World, conversation: &Conversation) {
    let key = &conversation.key;
    let wake = WakeUpV1::new(key.organization.clone(), key.id());
    if let Err(error) = wakeups::send_watched(world, [(wake, Duration::ZERO)]).await {
        warn!(conversation.id = %key.id(), error = %chain(&error), "run of a person who is erased can't be woken");
    }
}

/// Whether the person is alone with the bot in a conversation that names them.
fn is_own(conversation: &Conversation, sender: &SenderId) -> bool {
    let key = &conversation.key;
    let named = key.chat.kind == ChatKind::Direct && key.chat.id.as_str() == sender.as_str();
    named || key.sender.as_ref() == Some(sender)
}

/// Whether only the person takes part in a conversation.
fn is_theirs_alone(conversation: &Conversation, sender: &SenderId) -> bool {
    conversation.key.chat.kind == ChatKind::Direct || is_own(conversation, sender)
}

async fn forget_conversation(
    world: &World,
    conversation: &Conversation,
    sender: &SenderId,
    runs: &HashSet<RunId>,
) -> Result<(), StoreError> {
    let is_alone = is_theirs_alone(conversation, sender);
    // Also while none is current: a task has taken the chat's along, for instance. The current one may have the id of another conversation's.
    let numbered = (1..=conversation.highest_session()).map(|number| conversation.session_id(number));
    let current = conversation.session.iter().map(|session| session.id.clone());
    for session in numbered.chain(current).collect::<HashSet<_>>() {
        erase::turns(&world.store, &session, (!is_alone).then_some(runs)).await?;
    }
    match is_alone {
        // After the turns, whose sessions the conversation names.
        true => erase::conversation(&world.store, conversation, world.clock.now()).await,
        false => Ok(()),
    }
}

/// The stored files of a message: its attachments, and the event itself if it was too long for the queue.
fn files_of(world: &World, record: &MessageRecord) -> Result<Vec<String>, StoreError> {
    let mut files = vec![format!("event {}", record.id)];
    let age = world.clock.now().since(record.received_at);
    if let Some(Event::Message(message)) = unless_key_is_lost(crate::event_of(world, record), age)? {
        let own = (0..message.parts.len()).map(PartRef::Message);
        let n_quoted = message.quoted.as_ref().map_or(0, |quoted| quoted.parts.len());
        let all = own.chain((0..n_quoted).map(PartRef::Quote));
        files.extend(all.map(|part| media::kept_id(&record.id, part)));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
