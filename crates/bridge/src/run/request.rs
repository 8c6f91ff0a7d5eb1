//! What an agent is asked: the messages of a run, put together.

use std::time::Duration;

use tieline_core::agent::{
    Agent, AgentChat, AgentMessage, AgentPart, AgentRequest, AgentSession, AgentUser, AskedAgent, ReplyAddress,
    ReplyLimits, Resume, Turn,
};
use tieline_core::event::{Message, Part, PartKind};
use tieline_core::ids::ConversationId;
use tieline_core::session::Session;
use tieline_core::split::TextUnit;
use tieline_store::config::user;
use tieline_store::message::MessageRecord;
use tieline_store::transcript;
use tracing::warn;

use super::{Held, RunError};
use crate::accounts::Bot;
use crate::world::World;
use crate::{deliver, media, operator, quotes};

/// Most earlier turns that are read for a protocol that keeps none.
const MAX_TURNS: usize = 200;
/// How long the agent may call back.
const CALLBACK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Largest picture that is sent along with its bytes.
const MAX_INLINE_BYTES: usize = 8 * 1024 * 1024;

/// A message of a run, with its place in the ledger.
pub(super) struct Asked {
    pub(super) record: MessageRecord,
    pub(super) message: Message,
}

/// Puts the request together.
pub(super) async fn build(
    world: &World,
    held: &Held,
    bot: &Bot,
    agent: &Agent,
    asked: &[Asked],
    abilities: &tieline_agents::protocol::Manifest,
    resume: Option<Resume>,
) -> Result<AgentRequest, RunError> {
    let last = asked.last().expect("a run has at least one message");
    let run = held.run();
    let session = session_of(held);
    let transcript = match abilities.needs_transcript {
        true => transcript::latest(&world.store, &session.id, MAX_TURNS, world.clock.now()).await?,
        false => Vec::<Turn>::new(),
    };
    let platform = bot.connector.manifest().platform;
    let (organization, integration) = (&held.conversation.key.organization, &held.conversation.key.integration);
    Ok(AgentRequest {
        run: run.id.clone(),
        organization: organization.clone(),
        agent: AskedAgent {
            id: agent.id.clone(),
            name: agent.name.clone(),
        },
        session: AgentSession {
            id: session.id.clone(),
            number: session.number,
            is_new: run.first,
            conversation_ref: session.conversation_ref.clone(),
        },
        user: AgentUser {
            id: user::id_of(integration, &last.message.sender.id),
            platform: platform.to_owned(),
            external_id: last.message.sender.id.as_str().to_owned(),
            display_name: last.message.sender.name.clone(),
            locale: bot.account.language,
        },
        chat: AgentChat {
            kind: last.message.target.chat.kind,
            id: last.message.target.chat.id.as_str().to_owned(),
            thread_id: last
                .message
                .target
                .chat
                .thread
                .as_ref()
                .map(|thread| thread.as_str().to_owned()),
        },
        message: message(world, bot, asked, abilities.wants_inline_images).await,
        reply: address(world, held),
        limits: limits(bot),
        transcript,
        resume,
    })
}

/// The session that the run belongs to. An older one than the conversation's newest has lost nothing but its reference.
pub(super) fn session_of(held: &Held) -> Session {
    let (run, id): (_, ConversationId) = (held.run(), held.id());
    match &held.conversation.session {
        Some(session) if session.number == run.session => session.clone(),
        _ => Session::begin(&id, run.session, &run.agent, run.started_at),
    }
}

fn address(world: &World, held: &Held) -> ReplyAddress {
    let run = held.run();
    let expires_at = run.started_at.after(CALLBACK_LIFE);
    let grant = operator::RunGrant {
        run: run.id.clone(),
        conversation: held.id(),
        organization: held.conversation.key.organization.clone(),
        expires_at,
    };
    ReplyAddress {
        events_url: format!("{}/api/runs/{}/events", world.settings.public_url, run.id),
        token: operator::run_token(world, &grant),
        expires_at,
    }
}

fn limits(bot: &Bot) -> ReplyLimits {
    let limit = deliver::mode(bot).budget.text;
    let bytes_per_unit = match limit.unit {
        TextUnit::Bytes => 1,
        TextUnit::Utf16 | TextUnit::Chars => 3,
    };
    ReplyLimits {
        max_text_bytes: limit.max.saturating_mul(bytes_per_unit),
        stream: bot.account.streaming,
    }
}

async fn message(world: &World, bot: &Bot, asked: &[Asked], inline: bool) -> AgentMessage {
    let last = asked.last().expect("a run has at least one message");
    let texts: Vec<&str> = asked
        .iter()
        .map(|it| it.message.text.as_str())
        .filter(|text| !text.is_empty())
        .collect();
    let mut found = Vec::new();
    for it in asked {
        for (at, part) in it.message.parts.iter().enumerate() {
            found.push(agent_part(world, bot, &it.record, part, media::Place::Message(at), inline).await);
        }
    }
    let quoting = asked
        .iter()
        .rev()
        .find_map(|it| it.message.quoted.as_ref().map(|quoted| (it, quoted)));
    let quoted = match quoting {
        Some((it, quoted)) => {
            let mut parts = Vec::new();
            for (at, part) in quoted.parts.iter().enumerate() {
                parts.push(agent_part(world, bot, &it.record, part, media::Place::Quote(at), inline).await);
            }
            Some((quoted.text.clone(), parts))
        }
        None => quotes::newest(world, bot, asked.iter().map(|it| &it.message))
            .await
            .map(|text| (text, Vec::new())),
    };
    AgentMessage {
        id: last.record.id.clone(),
        text: texts.join("\n"),
        parts: found,
        quoted,
    }
}

async fn agent_part(
    world: &World,
    bot: &Bot,
    record: &MessageRecord,
    part: &Part,
    place: media::Place,
    inline: bool,
) -> AgentPart {
    let url = media::link(world, record, place);
    let fetched = match inline && part.kind == PartKind::Image {
        true => media::fetch(world, bot, part, MAX_INLINE_BYTES).await.map(Some).unwrap_or_else(|error| {
            warn!(account.id = %bot.account.integration, event.key = %record.id, error = %error, "picture can't be fetched");
            None
        }),
        false => None,
    };
    AgentPart {
        kind: part.kind,
        url,
        mime: fetched.as_ref().map(|it| it.mime.clone()).or_else(|| part.mime.clone()),
        name: fetched
            .as_ref()
            .and_then(|it| it.name.clone())
            .or_else(|| part.name.clone()),
        inline: fetched.map(|it| it.bytes),
    }
}
