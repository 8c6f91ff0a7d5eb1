//! Asks the agent and shows the answer while it grows.

use std::time::Duration;

use futures_util::StreamExt as _;
use tieline_agents::protocol::{Adapter, CancelRequest, Protocol};
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest, Draft, Resume};
use tieline_core::conversation::{RunPhase, StopCause};
use tieline_core::event::Event;
use tieline_core::fate::LedgerStep;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::agent as agents;
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::{StoreError, message};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::keeper::{Heard, Keeper};
use super::request::{self, Asked};
use super::{Held, Left, MAX_ATTEMPTS, RunError, amend, deferred, finish};
use crate::accounts::{self, Bot};
use crate::deliver::{DeliverError, Look, Showing, Shown};
use crate::media;
use crate::metrics::{Metric, Place};
use crate::notices::{self, About};
use crate::world::World;

/// How long before its end a process stops asking and hands over.
const HAND_OVER_MARGIN: Duration = Duration::from_secs(15);

/// Goes on with the run in our hands: asks the agent unless its result is recorded, then brings the chat there.
pub(super) async fn go_on(world: &World, held: &mut Held, until: Option<Instant>) -> Result<Left, RunError> {
    let asked = load(world, held).await?;
    let Some(last) = asked.last() else {
        return Ok(Left::Finished);
    };
    let Some(bot) = open_bot(world, held) else {
        finish::give_up(world, held, &asked, "integration_gone").await?;
        return Ok(Left::Finished);
    };
    let keeper = Keeper::start(world, held);
    // Whoever takes a run for the first time is the first to write its reply, unless an operator sent its message again.
    let found = match held.run().attempt == 1 && last.record.redrives == 0 {
        true => None,
        false => reply::get(&world.store, &last.record.reply, world.clock.now()).await?,
    };
    let mut ledger = vec![LedgerStep::new(world.clock.now(), "run_started").attempt(held.run().attempt)];
    let mut showing = Showing::new(world, &bot, &last.message.target, found, || blank(held, last));
    if held.run().attempt > 1 {
        world.metrics.retry(Place::Run);
    }
    if showing.record.outcome.is_none() {
        finish::close_merged(world, held, &bot, &asked).await?;
        let ended = result(world, held, &bot, &asked, &mut showing, &keeper, until, &mut ledger).await?;
        match ended {
            Ended::Result(outcome, notice) => {
                let took = world.clock.now().since(held.run().started_at);
                world.metrics.time(Metric::RunTime, finish::platform(held), took);
                record_result(world, held, &mut showing, outcome, notice, &asked, &mut ledger).await?;
            }
            Ended::HandOver => return Ok(Left::Parked(Some(Duration::ZERO))),
            Ended::Deferred => {
                amend(world, held, |it| set_phase(it, RunPhase::Deferred)).await?;
                return deferred::park(world, held).await;
            }
            Ended::Lost => return Err(RunError::Lost),
        }
    } else {
        recall(world, held, &asked, &showing.record).await?;
    }
    if keeper.heard() == Heard::Lost {
        return Err(RunError::Lost);
    }
    finish::deliver(world, held, &asked, showing, until, ledger).await
}

/// The messages of the run that are not at their ends yet, with what they say.
pub(super) async fn load(world: &World, held: &Held) -> Result<Vec<Asked>, RunError> {
    let records = message::get_many(&world.store, &held.run().messages, world.clock.now()).await?;
    let mut asked = Vec::with_capacity(records.len());
    for record in records.into_iter().filter(|record| !record.state.is_terminal()) {
        match crate::event_of(world, &record) {
            Some(Event::Message(message)) => asked.push(Asked { record, message }),
            Some(Event::CardAction(_) | Event::Feedback(_)) | None => {
                warn!(event.key = %record.id, "message of a run can't be read");
                finish::park_unreadable(world, &record).await?;
            }
        }
    }
    Ok(asked)
}

pub(super) fn open_bot(world: &World, held: &Held) -> Option<Bot> {
    let bound = held.bound.as_ref()?;
    accounts::open(world, &bound.integration)
        .inspect_err(|error| warn!(account.id = %bound.integration.id, error = %error, "account can't be opened"))
        .ok()
}

pub(super) fn blank(held: &Held, asked: &Asked) -> ReplyRecord {
    let key = &held.conversation.key;
    notices::blank(&About {
        reply: &asked.record.reply,
        organization: &key.organization,
        integration: &key.integration,
        conversation: &held.id(),
        message: &asked.record.id,
        asker: &asked.message.sender.id,
        received_at: asked.record.received_at,
    })
}

pub(super) fn set_phase(conversation: &mut tieline_core::conversation::Conversation, phase: RunPhase) {
    if let Some(run) = &mut conversation.run {
        run.phase = phase;
    }
}

/// How asking ended.
pub(super) enum Ended {
    /// With a result.
    Result(Outcome, Option<Notice>),
    /// Our time is up; the next process goes on at the cursor.
    HandOver,
    /// The agent will call back.
    Deferred,
    /// Somebody else has the conversation.
    Lost,
}

#[expect(clippy::too_many_arguments, reason = "the one place where everything of a run meets")]
async fn result(
    world: &World,
    held: &mut Held,
    bot: &Bot,
    asked: &[Asked],
    showing: &mut Showing<'_>,
    keeper: &Keeper,
    until: Option<Instant>,
    ledger: &mut Vec<LedgerStep>,
) -> Result<Ended, RunError> {
    if held.run().attempt > MAX_ATTEMPTS {
        return Ok(failed("crashed", "every process that worked on it ended"));
    }
    let organization = held.conversation.key.organization.clone();
    let found = agents::get(&world.store, &organization, &held.run().agent).await?;
    let Some(agent) = found.map(|record| record.agent) else {
        return Ok(failed("agent_gone", "the agent was deleted"));
    };
    let adapter = match Protocol::parse(&agent.protocol, &agent.config) {
        Ok(adapter) => adapter,
        Err(error) => return Ok(failed("agent_config", &error.to_string())),
    };
    let abilities = adapter.manifest();
    held.keeps_turns = abilities.needs_transcript;
    let resume = showing.record.resume.clone().filter(|_| abilities.can_resume);
    let request = request::build(world, held, bot, &agent, asked, abilities, resume).await?;
    let start = match &request.resume {
        Some(_) => showing.record.text.clone(),
        None => String::new(),
    };
    let talk = Talk {
        world,
        adapter: &adapter,
        request: &request,
        keeper,
        until,
        started_at: held.run().started_at,
    };
    let (said, shown) = watch::channel(Said {
        draft: Draft {
            text: start,
            ..Draft::default()
        },
        ..Said::default()
    });
    let done = Notify::new();
    let read = async {
        let ended = talk.read(&said).await;
        done.notify_one();
        ended
    };
    let (ended, grown) = tokio::join!(read, grow(showing, bot, shown.clone(), &done));
    grown?;
    let said = shown.borrow().clone();
    if let Some(at) = said.first_text_at {
        ledger.push(LedgerStep::new(at, "first_text"));
    }
    held.conversation_ref.clone_from(&said.conversation_ref);
    talk.conclude(held, showing, said, ended).await
}

pub(super) fn failed(code: &str, message: &str) -> Ended {
    let failure = AgentFailure {
        code: code.into(),
        message: message.into(),
        retryable: false,
    };
    Ended::Result(Outcome::Failed(failure), Some(Notice::AgentFailed))
}

/// What the agent has said so far.
#[derive(Debug, Clone, Default)]
struct Said {
    draft: Draft,
    run_ref: Option<String>,
    conversation_ref: Option<String>,
    cursor: Option<String>,
    first_text_at: Option<Timestamp>,
}

/// How reading ended.
enum Read {
    Completed,
    Failed(AgentFailure),
    Cancelled,
    Deferred,
    Stopped(StopCause),
    TimeUp,
    Lost,
}

/// One conversation with the agent's server.
struct Talk<'a> {
    world: &'a World,
    adapter: &'a Adapter,
    request: &'a AgentRequest,
    keeper: &'a Keeper,
    until: Option<Instant>,
    started_at: Timestamp,
}

impl Talk<'_> {
    /// Reads what the agent says until it ends, somebody stops it, or our time is up.
    async fn read(&self, said: &watch::Sender<Said>) -> Read {
        let agent_world = crate::agents::agent_world(self.world);
        let ran_for = self.world.clock.now().since(self.started_at);
        let mut run = self.adapter.run(self.request, ran_for, &agent_world);
        let time_up = time_up(self.until);
        tokio::pin!(time_up);
        let heard = self.keeper.hear();
        tokio::pin!(heard);
        loop {
            let event = tokio::select! {
                biased;
                heard = &mut heard => return match heard {
                    Heard::Stop(cause) => Read::Stopped(cause),
                    Heard::Lost | Heard::Nothing => Read::Lost,
                },
                () = &mut time_up => return Read::TimeUp,
                event = run.next() => event,
            };
            let Some(event) = event else {
                return Read::Failed(AgentFailure {
                    code: "bad_stream".into(),
                    message: "the stream ended without a last event".into(),
                    retryable: true,
                });
            };
            let event = match media::keep(self.world, event).await {
                Ok(event) => event,
                Err(error) => return Read::Failed(unkept(&error)),
            };
            if let Some(ended) = self.hear(said, event) {
                return ended;
            }
        }
    }

    fn hear(&self, said: &watch::Sender<Said>, event: AgentEvent) -> Option<Read> {
        let now = self.world.clock.now();
        said.send_if_modified(|said| {
            match &event {
                AgentEvent::Started {
                    run_ref,
                    conversation_ref,
                } => {
                    said.run_ref = Some(run_ref.clone());
                    said.conversation_ref.clone_from(conversation_ref);
                }
                AgentEvent::Cursor(cursor) => said.cursor = Some(cursor.clone()),
                _ => {}
            }
            let changed = said.draft.apply(&event);
            if changed && said.first_text_at.is_none() && !said.draft.text.is_empty() {
                said.first_text_at = Some(now);
            }
            changed
        });
        match event {
            AgentEvent::Completed { .. } => Some(Read::Completed),
            AgentEvent::Failed(failure) => Some(Read::Failed(failure)),
            AgentEvent::Cancelled => Some(Read::Cancelled),
            AgentEvent::Deferred => Some(Read::Deferred),
            _ => None,
        }
    }

    /// What the end of reading means for the run.
    async fn conclude(
        &self,
        held: &Held,
        showing: &mut Showing<'_>,
        said: Said,
        ended: Read,
    ) -> Result<Ended, RunError> {
        let Said {
            draft,
            run_ref,
            conversation_ref,
            cursor,
            ..
        } = said;
        let has_text = !draft.text.is_empty();
        let lost = draft.conversation_lost;
        showing.record.text = draft.text;
        showing.record.files = draft.files;
        Ok(match ended {
            Read::Completed => {
                let silent = (!has_text && showing.record.files.is_empty()).then_some(Notice::EmptyAnswer);
                Ended::Result(Outcome::Completed, silent.or(lost.then_some(Notice::ConversationLost)))
            }
            Read::Failed(failure) => Ended::Result(Outcome::Failed(failure.clone()), Some(apology(&failure, has_text))),
            Read::Cancelled => Ended::Result(Outcome::Stopped, Some(Notice::Stopped)),
            Read::Stopped(cause) => {
                info!(run = %held.run().id, cause = ?cause, "run is stopped");
                self.cancel(run_ref, conversation_ref).await;
                Ended::Result(Outcome::Stopped, Some(Notice::Stopped))
            }
            Read::Deferred => {
                showing.record.resume = Some(Resume {
                    run_ref: held.run().id.to_string(),
                    cursor: Some("0".into()),
                });
                self.save(showing).await?;
                Ended::Deferred
            }
            Read::TimeUp => return self.hand_over(held, showing, run_ref, cursor, has_text).await,
            Read::Lost => Ended::Lost,
        })
    }

    /// Text and cursor go into one record, so that they can't disagree.
    async fn hand_over(
        &self,
        held: &Held,
        showing: &mut Showing<'_>,
        run_ref: Option<String>,
        cursor: Option<String>,
        has_text: bool,
    ) -> Result<Ended, RunError> {
        if !self.adapter.manifest().can_resume {
            warn!(run = %held.run().id, "run outlives its process and its agent can't resume");
            let notice = if has_text {
                Notice::Incomplete
            } else {
                Notice::AgentTimedOut
            };
            let failure = AgentFailure {
                code: "process_deadline".into(),
                message: "the protocol can't resume and the process had to end".into(),
                retryable: false,
            };
            return Ok(Ended::Result(Outcome::Failed(failure), Some(notice)));
        }
        let run_ref = run_ref.unwrap_or_else(|| held.run().id.to_string());
        showing.record.resume = Some(Resume { run_ref, cursor });
        showing.record.stage = Stage::Growing;
        self.save(showing).await?;
        info!(run = %held.run().id, "run is handed over");
        Ok(Ended::HandOver)
    }

    async fn save(&self, showing: &mut Showing<'_>) -> Result<(), RunError> {
        showing.save().await.map_err(|DeliverError::Store(error)| error.into())
    }

    async fn cancel(&self, run_ref: Option<String>, conversation_ref: Option<String>) {
        let cancel = CancelRequest {
            run: self.request.run.clone(),
            run_ref,
            conversation_ref,
            organization: self.request.organization.clone(),
            user: self.request.user.id.clone(),
        };
        if let Err(failure) = self
            .adapter
            .cancel(&cancel, &crate::agents::agent_world(self.world))
            .await
        {
            warn!(run = %self.request.run, error = %failure.code, "agent could not be told to stop");
        }
    }
}

fn unkept(error: &StoreError) -> AgentFailure {
    AgentFailure {
        code: "file_not_kept".into(),
        message: error.to_string(),
        retryable: true,
    }
}

pub(super) const fn apology(failure: &AgentFailure, has_text: bool) -> Notice {
    if has_text {
        return Notice::Incomplete;
    }
    match failure.code.as_bytes() {
        b"idle_timeout" | b"max_run" | b"timeout" | b"process_deadline" => Notice::AgentTimedOut,
        _ => Notice::AgentFailed,
    }
}

async fn time_up(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until - HAND_OVER_MARGIN).await,
        None => std::future::pending().await,
    }
}

/// Shows the answer while it grows, as fast as the budget allows, until `done`. A call under way is always finished.
async fn grow(
    showing: &mut Showing<'_>,
    bot: &Bot,
    mut said: watch::Receiver<Said>,
    done: &Notify,
) -> Result<(), RunError> {
    let finished = done.notified();
    tokio::pin!(finished);
    let mut stage = Stage::Thinking;
    loop {
        let now = showing.world.clock.now();
        let pace = &showing.record.pace;
        let wait = pace.next_at(showing.budget(), stage, now);
        // No update is left but the last: wait for the end.
        let Some(at) = wait else {
            finished.await;
            return Ok(());
        };
        tokio::select! {
            biased;
            () = &mut finished => return Ok(()),
            () = sleep(at.since(now)) => {}
        }
        let snapshot = said.borrow_and_update().clone();
        if let Err(error) = show_snapshot(showing, stage, &snapshot).await {
            // Whoever took the conversation over also shows the answer; reading ends when the keeper hears of it.
            return match error {
                RunError::Lost => {
                    finished.await;
                    Ok(())
                }
                error => Err(error),
            };
        }
        if !bot.account.streaming {
            finished.await;
            return Ok(());
        }
        stage = Stage::Growing;
        tokio::select! {
            biased;
            () = &mut finished => return Ok(()),
            changed = said.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

async fn show_snapshot(showing: &mut Showing<'_>, stage: Stage, said: &Said) -> Result<(), RunError> {
    let store = |DeliverError::Store(error)| RunError::from(error);
    if showing.is_pulled() {
        // Nothing to fetch yet is what a missing record says already.
        if said.draft.text.is_empty() && said.draft.reasoning.is_empty() {
            return Ok(());
        }
        showing.record.stage = Stage::Growing;
        showing.record.text.clone_from(&said.draft.text);
        showing.record.reasoning.clone_from(&said.draft.reasoning);
        let resume = said.run_ref.clone().map(|run_ref| Resume {
            run_ref,
            cursor: said.cursor.clone(),
        });
        showing.record.resume = resume.or_else(|| showing.record.resume.take());
        showing.record.pace.sent(showing.world.clock.now());
        showing.save().await.map_err(store)?;
        showing.note_text(&said.draft.text);
        return Ok(());
    }
    let stage = if said.draft.text.is_empty() {
        Stage::Thinking
    } else {
        stage
    };
    let look = Look {
        stage,
        text: &said.draft.text,
        reasoning: &said.draft.reasoning,
        notice: None,
        files: &[],
    };
    match showing.show(look).await.map_err(store)? {
        Shown::Yes => {}
        Shown::NotBefore(at) => {
            let now = showing.world.clock.now();
            showing
                .record
                .pace
                .slowed(Some(at.since(now)), now, Duration::from_secs(1));
        }
        // The final text tries again, and says so if it can't either.
        Shown::Never { code } => warn!(event.key = %showing.record.message, code, "growing answer can't be shown"),
    }
    Ok(())
}

/// Remembers the turn of a result that somebody else has recorded, for they may have died before they remembered it.
async fn recall(world: &World, held: &Held, asked: &[Asked], record: &ReplyRecord) -> Result<(), RunError> {
    let run = held.run();
    // Messages at their ends say that everything before was done; and without them the turn would be another.
    let is_whole = asked.len() == run.messages.len();
    let completed = matches!(record.outcome, Some(Outcome::Completed));
    if !is_whole || !completed || run.phase == RunPhase::Delivering {
        return Ok(());
    }
    let found = agents::get(&world.store, &held.conversation.key.organization, &run.agent).await?;
    let protocol = found.and_then(|record| Protocol::named(&record.agent.protocol));
    if protocol.is_some_and(|it| it.manifest().needs_transcript) {
        finish::remember_turn(world, held, asked, record).await?;
    }
    Ok(())
}

/// Makes the agent's result durable. From here on the agent is never asked again.
async fn record_result(
    world: &World,
    held: &Held,
    showing: &mut Showing<'_>,
    outcome: Outcome,
    notice: Option<Notice>,
    asked: &[Asked],
    ledger: &mut Vec<LedgerStep>,
) -> Result<(), RunError> {
    let now = world.clock.now();
    let mut step = LedgerStep::new(now, "result").attempt(held.run().attempt);
    if let Outcome::Failed(failure) = &outcome {
        warn!(run = %held.run().id, agent.name = %held.run().agent, error = %failure, "agent failed");
        step = step.code(failure.code.clone());
    }
    ledger.push(step);
    let completed = matches!(outcome, Outcome::Completed);
    showing.record.stage = Stage::Final;
    showing.record.reasoning = String::new();
    showing.record.outcome = Some(outcome);
    showing.record.notice = notice;
    showing.record.resume = None;
    showing
        .save()
        .await
        .map_err(|DeliverError::Store(error)| RunError::from(error))?;
    if completed && held.keeps_turns {
        finish::remember_turn(world, held, asked, &showing.record).await?;
    }
    Ok(())
}
