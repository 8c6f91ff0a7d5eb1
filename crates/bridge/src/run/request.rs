//! Builds the request for an agent from the messages of a run.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use tieline_agents::protocol::Adapter;
use tieline_core::agent::{
    Agent, AgentChat, AgentMessage, AgentRequest, AgentSession, AgentUser, AskedAgent, AskedIntegration, ReplyAddress,
    ReplyLimits, Resume, Turn,
};
use tieline_core::event::{ChatKind, Message, Part, Quoted, Sender};
use tieline_core::ids::ReplyId;
use tieline_core::session::Session;
use tieline_core::split::{TextLimit, TextUnit, split_first};
use tieline_store::config::user;
use tieline_store::message::MessageRecord;
use tieline_store::reply::{About, ReplyRecord};
use tieline_store::transcript;
use tokio::time::Instant;

use super::attachments::Attachments;
use super::{LeasedConversation, RunError, speakers};
use crate::accounts::Bot;
use crate::media::PartRef;
use crate::world::World;
use crate::{deliver, names, operator, quotes, users};

/// Most earlier turns read for a protocol that keeps no transcript.
const MAX_TURNS: usize = 200;
/// Most bytes of them.
const MAX_TRANSCRIPT_BYTES: usize = 4 * 1024 * 1024;
/// How long the token of a run is known. The run itself ends after the agent's `maxRunSeconds`, which the agent is told.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A message of a run, with its ledger record.
pub(super) struct Asked {
    pub(super) record: MessageRecord,
    pub(super) message: Message,
    /// The sender's name, where several people share the conversation: it goes before the text.
    pub(super) speaker: Option<String>,
    /// What others said in the group before: sent with the run's first message, and not stored with the question.
    pub(super) context: String,
    /// The proactive message that it follows.
    pub(super) follows: Option<Followed>,
}

/// The proactive message that a question follows.
pub(super) struct Followed {
    /// Its reply.
    pub(super) reply: ReplyId,
    /// What it said. `None`: it was never shown in the chat, or is no longer stored.
    pub(super) quoted: Option<Quoted>,
}

impl Asked {
    /// The sender, and the place of the name.
    pub(super) const fn unnamed(&mut self) -> (&Sender, &mut Option<String>) {
        (&self.message.sender, &mut self.speaker)
    }

    /// The text, attributed to its speaker where several people share the conversation.
    fn text(&self) -> Cow<'_, str> {
        match &self.speaker {
            Some(name) => speakers::attributed(name, &self.message.text).into(),
            None => self.message.text.as_str().into(),
        }
    }

    /// The message's reply before anything is shown.
    pub(super) fn blank_reply(&self, held: &LeasedConversation) -> ReplyRecord {
        let key = &held.conversation.key;
        ReplyRecord::blank(&About {
            reply: &self.record.reply,
            organization: &key.organization,
            integration: &key.integration,
            conversation: &held.id(),
            message: &self.record.id,
            asker: &self.message.sender.id,
            received_at: self.record.received_at,
        })
    }
}

/// Builds the request.
pub(super) async fn build(
    world: &World,
    held: &LeasedConversation,
    bot: &Bot,
    adapter: &Adapter,
    agent: &Agent,
    asked: &[Asked],
    resume: Option<Resume>,
) -> Result<AgentRequest, RunError> {
    let last = asked.last().expect("a run has at least one message");
    let run = held.run();
    let session = session_of(held);
    let abilities = adapter.manifest();
    let transcript = match abilities.needs_transcript {
        true => past(world, adapter, &session).await?,
        false => Vec::<Turn>::new(),
    };
    let platform = bot.connector.manifest().platform;
    let (organization, integration) = (&held.conversation.key.organization, &held.conversation.key.integration);
    let sender = &last.message.sender;
    let known = users::facts(world, organization, integration, &sender.id).await?;
    Ok(AgentRequest {
        run: run.id.clone(),
        organization: organization.clone(),
        agent: AskedAgent {
            id: agent.id.clone(),
            name: agent.name.clone(),
        },
        integration: AskedIntegration {
            id: integration.clone(),
            name: name_of(held),
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
            display_name: users::display_name(world, bot, &known, sender).await,
            person: known.person,
            locale: bot.account.language,
        },
        chat: AgentChat {
            kind: last.message.target.chat.kind,
            id: last.message.target.chat.id.as_str().to_owned(),
            name: chat_name(world, bot, &last.message).await,
            thread_id: last
                .message
                .target
                .chat
                .thread
                .as_ref()
                .map(|thread| thread.as_str().to_owned()),
        },
        message: message(world, bot, asked, (run.first, abilities.wants_inline_images)).await,
        reply: address(world, held, adapter.max_run()),
        limits: limits(bot),
        transcript,
        resume,
    })
}

/// The chat's name, if the platform sends it with the message or returns it on request.
async fn chat_name(world: &World, bot: &Bot, message: &Message) -> Option<String> {
    let chat = &message.target.chat;
    match &message.chat_name {
        None if chat.kind == ChatKind::Group => names::group(world, bot, &chat.id).await,
        told => told.clone(),
    }
}

/// The integration's name; empty if it was deleted meanwhile.
fn name_of(held: &LeasedConversation) -> String {
    let bound = held.bound.as_ref();
    bound.map(|bound| bound.integration.name.clone()).unwrap_or_default()
}

/// The earlier turns that the agent can use, within the size limits.
async fn past(world: &World, adapter: &Adapter, session: &Session) -> Result<Vec<Turn>, RunError> {
    let history = adapter.history();
    let max_turns = history.max_turns.min(MAX_TURNS);
    let max_bytes = history.max_bytes.min(MAX_TRANSCRIPT_BYTES);
    let now = world.clock.now();
    Ok(transcript::latest(&world.store, &session.id, max_turns, max_bytes, now).await?)
}

/// The session of the run. Of a session older than the conversation's newest only the agent's reference is lost.
pub(super) fn session_of(held: &LeasedConversation) -> Session {
    let (run, conversation) = (held.run(), &held.conversation);
    match conversation.session_numbered(run.session) {
        Some(session) => session.clone(),
        None => Session::begin(
            conversation.session_id(run.session),
            run.session,
            &run.agent,
            run.started_at,
        ),
    }
}

fn address(world: &World, held: &LeasedConversation, max_run: Duration) -> ReplyAddress {
    let run = held.run();
    let grant = operator::RunGrant {
        run: run.id.clone(),
        conversation: held.id(),
        organization: held.conversation.key.organization.clone(),
        expires_at: run.started_at.after(TOKEN_LIFE),
    };
    ReplyAddress {
        events_url: format!("{}/api/runs/{}/events", world.settings.public_url, run.id),
        token: operator::run_token(world, &grant),
        expires_at: run.started_at.after(max_run.min(TOKEN_LIFE)),
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

async fn message(world: &World, bot: &Bot, asked: &[Asked], (is_first, inline): (bool, bool)) -> AgentMessage {
    let last = asked.last().expect("a run has at least one message");
    let mut attachments = Attachments::new(world, bot, inline);
    let mut parts = Vec::new();
    for it in asked {
        for (at, part) in it.message.parts.iter().enumerate() {
            parts.push(attachments.part(&it.record, part, PartRef::Message(at)).await);
        }
    }
    let quotes = quotes_of(world, bot, asked, is_first).await;
    let mut quoted_parts = Vec::new();
    for (it, quoted) in &quotes {
        for (at, part) in quoted.parts.iter().enumerate() {
            quoted_parts.push(attachments.part(&it.record, part, PartRef::Quote(at)).await);
        }
    }
    let quoted = (!quotes.is_empty()).then(|| (joined_quotes(&quotes), quoted_parts));
    AgentMessage {
        id: last.record.id.clone(),
        redrives: last.record.redrives,
        text: with_context(asked),
        answer: answer_of(asked),
        parts,
        quoted,
    }
}

/// The question as stored for an agent that keeps no transcript: the quote, the text, and a mark for each attachment.
///
/// Never empty for messages with any content.
pub(super) fn words_of(asked: &[Asked]) -> String {
    let quotes = match quoting(asked) {
        quotes if quotes.is_empty() => following(asked).into_iter().collect(),
        quotes => quotes,
    };
    let lines = quotes.iter().flat_map(|(_, quoted)| quoted.text.lines());
    let quote: String = lines.map(|line| format!("> {line}\n")).collect();
    let quoted_parts = quotes.iter().flat_map(|(_, quoted)| &quoted.parts);
    let own_parts = asked.iter().flat_map(|it| &it.message.parts);
    let marks = quoted_parts.chain(own_parts).map(Part::mark);
    let text = Some(text_of(asked)).filter(|text| !text.is_empty());
    // A message that is referred to is fetched for the question and not stored.
    let refers = quotes.is_empty() && asked.iter().any(|it| it.message.refers_to.is_some());
    let reference = refers.then(|| "[quoted message]".to_owned());
    let lines: Vec<String> = reference.into_iter().chain(text).chain(marks).collect();
    let gap = if quote.is_empty() || lines.is_empty() { "" } else { "\n" };
    format!("{quote}{gap}{}", lines.join("\n"))
}

/// The text for the agent, with what others said before.
fn with_context(asked: &[Asked]) -> String {
    let contexts = asked.iter().map(|it| it.context.clone());
    let all = contexts.chain([text_of(asked)]).filter(|text| !text.is_empty());
    all.collect::<Vec<_>>().join("\n\n")
}

fn text_of(asked: &[Asked]) -> String {
    joined(asked.iter().map(Asked::text))
}

/// The words as they were written, for an agent that waits for an answer.
fn answer_of(asked: &[Asked]) -> String {
    joined(asked.iter().map(|it| it.message.text.as_str().into()))
}

fn joined<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> String {
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What the messages quote, each quote once: the parts of an album quote the same message.
fn quoting(asked: &[Asked]) -> Vec<(&Asked, &Quoted)> {
    let mut quotes: Vec<(&Asked, &Quoted)> = Vec::new();
    for (it, quoted) in asked.iter().filter_map(|it| Some((it, it.message.quoted.as_ref()?))) {
        if quotes.iter().all(|(_, known)| *known != quoted) {
            quotes.push((it, quoted));
        }
    }
    quotes
}

/// The proactive message that the question follows, used if no message has a quote.
fn following(asked: &[Asked]) -> Option<(&Asked, &Quoted)> {
    let mut follows = asked.iter();
    follows.find_map(|it| Some((it, it.follows.as_ref()?.quoted.as_ref()?)))
}

/// What the messages quote, forward or follow: as they say, else as the platform returns the messages that they refer to. `is_first`: the
/// session knows nothing yet of the topic that it is in.
async fn quotes_of<'a>(world: &World, bot: &Bot, asked: &'a [Asked], is_first: bool) -> Vec<(&'a Asked, Quoted)> {
    let mut quotes: Vec<_> = quoting(asked).into_iter().map(owned).collect();
    let (until, mut known) = (Instant::now() + quotes::PATIENCE, HashSet::new());
    for it in asked.iter().filter(|it| it.message.quoted.is_none()) {
        if let Some(id) = it.message.refers_to.as_ref().filter(|id| known.insert(*id))
            && let Some(quoted) = quotes::read_until(world, bot, id, until).await
        {
            quotes.push((it, quoted));
        }
    }
    if quotes.is_empty() {
        quotes.extend(following(asked).map(owned));
    }
    let mut topics = asked
        .iter()
        .filter_map(|it| Some((it, it.message.topic_root.as_ref()?)));
    if quotes.is_empty()
        && is_first
        && let Some((it, root)) = topics.next()
        && let Some(quoted) = quotes::read_until(world, bot, root, until).await
    {
        quotes.push((it, quoted));
    }
    quotes
}

fn owned<'a>((it, quoted): (&'a Asked, &Quoted)) -> (&'a Asked, Quoted) {
    (it, quoted.clone())
}

/// The texts of all quotes. Together they have the size of one: each gets an equal share.
fn joined_quotes(quotes: &[(&Asked, Quoted)]) -> String {
    let share = TextLimit {
        max: quotes::LIMIT.max / quotes.len().max(1),
        ..quotes::LIMIT
    };
    joined(
        quotes
            .iter()
            .map(|(_, quoted)| split_first(&quoted.text, share).0.into()),
    )
}

#[cfg(test)]
mod tests {
    use tieline_core::account::ConnectionMode;
    use tieline_core::event::{Chat, PartKind};
    use tieline_core::ids::{ChatId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, SenderId};
    use tieline_core::message_state::MessageState;
    use tieline_core::reply::{ReplyHandle, ReplyTarget};
    use tieline_core::timestamp::Timestamp;

    use super::*;
    use crate::test_support::{self, FakeConnector};

    fn part(kind: PartKind, name: Option<&str>) -> Part {
        Part {
            kind,
            name: name.map(str::to_owned),
            mime: None,
            size: None,
            locator: serde_json::Value::Null,
        }
    }

    fn asked(text: &str, parts: Vec<Part>, quoted: Option<(&str, Vec<Part>)>) -> Asked {
        let (integration, sender) = (IntegrationId::new("int_1"), SenderId::new("lisi"));
        let message = Message {
            id: PlatformMessageId::new("1"),
            sender: Sender {
                id: sender.clone(),
                name: None,
            },
            sent_at: None,
            text: text.to_owned(),
            parts,
            quoted: quoted.map(|(text, parts)| Quoted {
                text: text.to_owned(),
                parts,
            }),
            chat_name: None,
            refers_to: None,
            topic_root: None,
            album: None,
            target: ReplyTarget {
                integration: integration.clone(),
                chat: Chat {
                    kind: ChatKind::Direct,
                    id: ChatId::new("c"),
                    thread: None,
                },
                asker: sender,
                message: PlatformMessageId::new("1"),
                handle: ReplyHandle::default(),
                expires_at: None,
            },
        };
        let record = MessageRecord {
            id: MessageId::new("msg_1"),
            reply: ReplyId::new("tl-1"),
            organization: OrganizationId::new("default"),
            integration,
            account: None,
            platform_message: PlatformMessageId::new("1"),
            conversation: None,
            session: None,
            sender: None,
            received_at: Timestamp::from_secs(0),
            state: MessageState::Queued,
            event: String::new(),
            run: None,
            run_messages: Vec::new(),
            reason: None,
            steps: Vec::new(),
            redrives: 0,
            version: 1,
        };
        Asked {
            record,
            message,
            speaker: None,
            context: String::new(),
            follows: None,
        }
    }

    #[test]
    fn words_are_never_empty_for_a_message_with_parts() {
        let picture = || vec![part(PartKind::Image, None)];
        let file = || vec![part(PartKind::File, Some("a.pdf"))];
        assert_eq!(words_of(&[asked("", picture(), None)]), "[image]");
        assert_eq!(words_of(&[asked("", vec![], Some(("", file())))]), "[file: a.pdf]");
        assert_eq!(words_of(&[asked("", vec![], Some(("a\nb", vec![])))]), "> a\n> b\n");
        let merged = [asked("one", picture(), None), asked("two", file(), Some(("q", vec![])))];
        assert_eq!(words_of(&merged), "> q\n\none\ntwo\n[image]\n[file: a.pdf]");
        let quotes = [
            asked("one", vec![], Some(("q1", file()))),
            asked("two", vec![], Some(("q2", vec![]))),
        ];
        assert_eq!(words_of(&quotes), "> q1\n> q2\n\none\ntwo\n[file: a.pdf]");
        assert_eq!(words_of(&[asked("hello", vec![], None)]), "hello");
    }

    #[tokio::test]
    async fn all_quotes_of_merged_messages_reach_the_agent_once() {
        let (_engine, world) = test_support::world(&[]).await;
        let bot = test_support::bot(&FakeConnector::LASTING, ConnectionMode::Webhook, true);
        let files = |name| vec![part(PartKind::File, Some(name))];
        let merged = [
            asked("one", vec![], Some(("q1", files("a.pdf")))),
            asked("two", vec![], Some(("q2", files("b.pdf")))),
            asked("three", vec![], Some(("q2", files("b.pdf")))),
        ];
        let (text, parts) = message(&world, &bot, &merged, (false, false)).await.quoted.unwrap();
        assert_eq!(text, "q1\nq2");
        let names: Vec<_> = parts.iter().map(|part| part.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["a.pdf", "b.pdf"]);
        let long = "word ".repeat(quotes::LIMIT.max / 5);
        let merged = [
            asked("one", vec![], Some((long.as_str(), vec![]))),
            asked("two", vec![], Some(("the latest", vec![]))),
        ];
        let (text, _) = message(&world, &bot, &merged, (false, false)).await.quoted.unwrap();
        assert!(text.len() <= quotes::LIMIT.max && text.ends_with("the latest"));
        assert!(
            message(&world, &bot, &[asked("one", vec![], None)], (false, false))
                .await
                .quoted
                .is_none()
        );
    }

    #[test]
    fn answer_has_neither_the_speakers_name_nor_the_groups_context() {
        let said_by = |name: &str, text: &str| Asked {
            speaker: Some(name.to_owned()),
            ..asked(text, vec![], None)
        };
        let mut merged = [
            said_by("Li Si", "yes"),
            said_by("Wang Wu", "but\nlater"),
            asked("", vec![], None),
        ];
        merged[0].context = "[before]".to_owned();
        assert_eq!(with_context(&merged), "[before]\n\nLi Si: yes\nWang Wu: but\n  later");
        assert_eq!(words_of(&merged), "Li Si: yes\nWang Wu: but\n  later");
        assert_eq!(answer_of(&merged), "yes\nbut\nlater");
    }
}
