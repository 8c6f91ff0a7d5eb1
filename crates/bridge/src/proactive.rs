//! Proactive messages: sent by an operator, not in answer to a message.

use std::collections::HashSet;
use std::time::Duration;

use tieline_core::card::Card;
use tieline_core::conversation::ConversationKey;
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::{Chat, ChatKind, Event, Message, Sender};
use tieline_core::ids::{ChatId, ConversationId, IntegrationId, OrganizationId, PlatformMessageId, SenderId, fresh};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::reply::{ReplyFile, ReplyHandle, ReplyTarget, Stage};
use tieline_core::trigger::SessionScope;
use tieline_queue::QueueError;
use tieline_store::config::user::{self, Unanswered, User};
use tieline_store::message::{self, Claim, MessageRecord};
use tieline_store::reply::{self, About, Outcome, ReplyRecord};
use tieline_store::{StoreError, conversation};
use tracing::info;

use crate::accounts::Bot;
use crate::reply_writes;
use crate::wakeups;
use crate::world::World;

/// Most pages of conversations searched for a chat. A group in which the bot was never spoken to is in none of them.
const MAX_PAGES: usize = 5;
/// Conversations of a page: several times as many are scanned.
const PAGE: usize = 500;

/// The recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A chat, by the platform's id.
    Chat(ChatId),
    /// A person, by the platform's id.
    Person(SenderId),
}

/// The content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Markdown.
    Text(String),
    /// A card.
    Card(Card),
    /// Files, shown like those of an answer, below a text that may be empty.
    Files(String, Vec<ReplyFile>),
}

/// Why a proactive message is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
}

/// Sends a proactive message. When this returns it is stored; a runner delivers it, and its outcome is in the ledger. The message's id
/// is derived from `random`: sent again with the same value it is the same message.
///
/// # Errors
/// [`SpeakError`].
pub async fn speak(
    world: &World,
    bot: &Bot,
    to: Recipient,
    content: Content,
    random: [u8; 12],
) -> Result<MessageRecord, SpeakError> {
    let (message, listener) = message(world, bot, to, random).await?;
    let record = record(world, bot, message);
    let Some(asker) = crate::event_of(world, &record)?.map(|event| event.sender().clone()) else {
        return Err(StoreError::Unsealable.into());
    };
    let Some(conversation) = record.conversation.clone() else {
        return Err(StoreError::Conflict.into());
    };
    let about = About {
        reply: &record.reply,
        organization: &record.organization,
        integration: &record.integration,
        conversation: &conversation,
        message: &record.id,
        asker: &asker,
        received_at: record.received_at,
    };
    let (text, card, files) = match content {
        Content::Text(text) => (text, None, Vec::new()),
        Content::Card(card) => (String::new(), Some(card), Vec::new()),
        Content::Files(text, files) => (text, None, files),
    };
    let mut said = ReplyRecord {
        stage: Stage::Final,
        text,
        card,
        files,
        outcome: Some(Outcome::Completed),
        ..ReplyRecord::blank(&about)
    };
    // The ledger first: the runner reads the reply's target from it.
    let seen = match message::claim(&world.store, &record).await? {
        Claim::New => None,
        Claim::Seen(seen) => Some(*seen),
    };
    // Before it is recorded, and so before it is shown and an answer can follow it: the process that claimed it may have died before this.
    if let Some(person) = listener
        && (seen.is_none() || reply::get(&world.store, &said.id, world.clock.now()).await?.is_none())
    {
        expect_answer(world, bot, &person, &record).await?;
    }
    match reply_writes::save(world, None, &mut said, world.clock.now()).await {
        // It was recorded before; the process that recorded it may have died before it sent the wake-up.
        Err(StoreError::Conflict) if seen.is_some() => {}
        saved => saved?,
    }
    wake(world, &record, &said).await?;
    info!(account.id = %record.integration, event.key = %record.id, "accepted a proactive message");
    Ok(seen.unwrap_or(record))
}

async fn wake(world: &World, record: &MessageRecord, said: &ReplyRecord) -> Result<(), QueueError> {
    let (organization, conversation) = (record.organization.clone(), said.conversation.clone());
    let wake = WakeUpV1::of_reply(organization, conversation, said.id.clone()).after_redrives(said.redrive);
    wakeups::send_watched(world, [(wake, Duration::ZERO)]).await
}

/// Records that the person's next message in their direct chat follows this one.
async fn expect_answer(world: &World, bot: &Bot, person: &SenderId, record: &MessageRecord) -> Result<(), StoreError> {
    let (organization, integration) = (&bot.account.organization, &bot.account.integration);
    let platform = bot.connector.manifest().platform;
    let user = User::first_contact(organization, integration, platform, person, record.received_at);
    let said = Unanswered {
        reply: record.reply.clone(),
        at: record.received_at,
    };
    user::record_unanswered(&world.store, &user, &said).await?;
    world.known_users.evict_facts(&user.id);
    Ok(())
}

/// A message without a sender that only holds the reply's target, and the person who reads it in a direct chat, if known.
async fn message(
    world: &World,
    bot: &Bot,
    to: Recipient,
    random: [u8; 12],
) -> Result<(Message, Option<SenderId>), StoreError> {
    let (chat, asker, listener) = match to {
        Recipient::Person(person) => {
            let chat = direct(ChatId::new(person.as_str()));
            (chat, person.clone(), Some(person))
        }
        Recipient::Chat(id) => {
            let (chat, listener) = known_chat(world, bot, id).await?;
            // Some platforms reach a direct chat by its person, not by its id.
            let asker = listener.clone().unwrap_or_else(unknown_asker);
            (chat, asker, listener)
        }
    };
    let message = Message {
        id: PlatformMessageId::new(fresh(message::OWN_ID, random)),
        sender: Sender {
            id: asker.clone(),
            name: None,
        },
        sent_at: None,
        text: String::new(),
        parts: Vec::new(),
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: ReplyTarget {
            integration: bot.account.integration.clone(),
            chat,
            asker,
            // It answers no message.
            message: PlatformMessageId::new(""),
            handle: ReplyHandle::default(),
            expires_at: None,
        },
    };
    Ok((message, listener))
}

/// A chat as recorded in its conversations, and its person if it is a direct one; assumed to be a group if there are none.
async fn known_chat(world: &World, bot: &Bot, id: ChatId) -> Result<(Chat, Option<SenderId>), StoreError> {
    let integration = &bot.account.integration;
    let now = world.clock.now();
    let mut known = None;
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = conversation::list(
            &world.store,
            integration,
            Some(id.as_str()),
            cursor.as_deref(),
            PAGE,
            now,
        )
        .await?;
        known = page.items.into_iter().find(|known| known.key.chat.id == id);
        cursor = page.cursor;
        if known.is_some() || cursor.is_none() {
            break;
        }
    }
    let kind = known.as_ref().map_or(ChatKind::Group, |known| known.key.chat.kind);
    let listener = known.and_then(|known| known.key.sender);
    let chat = Chat { kind, id, thread: None };
    Ok((chat, listener.filter(|_| kind == ChatKind::Direct)))
}

/// The conversations to which messages to a person belong: those sent to the person, and those to one of their direct chats.
pub(crate) fn conversations_with(person: &User, chats: &HashSet<ChatId>) -> HashSet<ConversationId> {
    let sender = SenderId::new(person.external_id.as_str());
    let own = (ChatId::new(sender.as_str()), sender.clone());
    let to_chats = chats
        .iter()
        .flat_map(|chat| [unknown_asker(), sender.clone()].map(|asker| (chat.clone(), asker)));
    let id = |(chat, asker)| conversation_of(&person.organization, &person.integration, &direct(chat), &asker);
    to_chats.chain([own]).map(id).collect()
}

fn conversation_of(
    organization: &OrganizationId,
    integration: &IntegrationId,
    chat: &Chat,
    asker: &SenderId,
) -> ConversationId {
    ConversationKey::of(organization, integration, chat, asker, SessionScope::Sender).id()
}

fn direct(id: ChatId) -> Chat {
    Chat {
        kind: ChatKind::Direct,
        id,
        thread: None,
    }
}

/// The asker of a message to a chat whose person is unknown, if it is a person's.
fn unknown_asker() -> SenderId {
    SenderId::new("")
}

fn record(world: &World, bot: &Bot, message: Message) -> MessageRecord {
    let now = world.clock.now();
    let (account, platform_message) = (&bot.account, message.id.clone());
    let (organization, integration) = (&account.organization, &account.integration);
    let conversation = conversation_of(organization, integration, &message.target.chat, &message.sender.id);
    let id = account.ids.message(&platform_message);
    MessageRecord {
        reply: account.ids.reply(&platform_message),
        organization: account.organization.clone(),
        integration: account.integration.clone(),
        account: bot.account_mark.clone(),
        conversation: Some(conversation),
        session: None,
        received_at: now,
        state: MessageState::Commanded,
        event: crate::sealed_event(world, &id, Event::Message(message)),
        run: None,
        run_messages: Vec::new(),
        reason: Some(message::PROACTIVE.to_owned()),
        steps: vec![LedgerStep::new(now, "received")],
        redrives: 0,
        version: 0,
        platform_message,
        id,
        sender: None,
    }
}

#[cfg(test)]
mod tests;
