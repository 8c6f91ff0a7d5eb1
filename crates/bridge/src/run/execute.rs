//! Executes a run: calls the agent and shows the answer while it grows.

use std::sync::Arc;
use std::time::Duration;

use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::protocol::{Adapter, CancelRequest, Protocol};
use tieline_core::agent::{Agent, AgentFailure, Resume};
use tieline_core::conversation::{RunPhase, StopCause};
use tieline_core::event::Event;
use tieline_core::message_state::LedgerStep;
use tieline_core::notice::Notice;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::agent as agents;
use tieline_store::config::user;
use tieline_store::message::{self, EMPTY_ANSWER};
use tieline_store::reply::{Outcome, ReplyRecord};
use tieline_store::status::{StatusChange, StatusError};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use super::agent_stream::{self, AgentStream, Conclusion, Ended, Read, StreamState};
use super::lease_heartbeat::LeaseHeartbeat;
use super::outgoing_guard::OutgoingGuard;
use super::request::{self, Asked};
use super::stream_reply::stream_reply;
use super::waiting_signs::{Signing, WaitingSigns};
use super::{
    LAST_ATTEMPT, LeasedConversation, Left, MAX_ATTEMPTS, RunError, earlier_answers, finish, follow_up, group_context,
    incoming_guard, other_account, parked, reply_fence, senders, speakers, update,
};
use crate::accounts::{self, Bot};
use crate::deliver::{DeliverError, ReplyDelivery};
use crate::integration_log;
use crate::lease_watch::LeaseWatch;
use crate::metrics::{Metric, RetrySource};
use crate::world::World;

/// What stays constant while this process works on a run.
pub(super) struct RunContext<'a> {
    /// The process's clients, settings and clock.
    pub(super) world: &'a World,
    /// The bot that was spoken to.
    pub(super) bot: &'a Bot,
    /// The messages of the run that have not ended.
    pub(super) asked: &'a [Asked],
    /// The deadline of this process, if it has one.
    pub(super) until: Option<Instant>,
    /// Memory of the answer, until it is delivered.
    pub(super) memory: AnswerMemory,
}

/// The next step after calling the agent.
enum Next {
    /// Deliver the recorded result; meanwhile tell the agent to stop, if it must be told.
    Deliver(Option<CancelRequest>),
    /// None in this process.
    Leave(Left),
}

/// Continues the run that this process holds: calls the agent unless its result is recorded, then delivers the reply.
pub(super) async fn resume(
    world: &World,
    held: &mut LeasedConversation,
    until: Option<Instant>,
) -> Result<Left, RunError> {
    // Before any read, which may take longer than the lease.
    let keeper = LeaseHeartbeat::start(world, held);
    let asked = load(world, held).await?;
    if asked.is_empty() {
        return Ok(Left::Finished);
    }
    if held.run().attempt > LAST_ATTEMPT {
        finish::give_up(world, held, &asked, "crashed").await?;
        return Ok(Left::Finished);
    }
    let Some(bot) = held.open_bot(world)? else {
        finish::give_up(world, held, &asked, "integration_gone").await?;
        return Ok(Left::Finished);
    };
    earlier_answers::deliver(world, held, until).await?;
    let mut asked = senders::refuse_unknown(world, held, &keeper, &bot, asked).await?;
    speakers::name_all(world, held, &bot, asked.iter_mut().map(Asked::unnamed)).await?;
    group_context::add(world, held, &bot, &mut asked).await?;
    follow_up::find(world, held, &mut asked).await?;
    let Some(last) = asked.last() else {
        return Ok(Left::Finished);
    };
    let found = reply_fence::begun_reply(world, held, &bot, last).await?;
    let mut ledger = vec![LedgerStep::new(world.clock.now(), "run_started").attempt(held.run().attempt)];
    let mut showing = ReplyDelivery::new(world, &bot, &last.message.target, found, || last.blank_reply(held))
        .under_lease(keeper.hold().clone(), held.fence)
        .in_process_until(until);
    if held.run().attempt > 1 {
        world.metrics.retry(RetrySource::Run);
    }
    let context = RunContext {
        world,
        bot: &bot,
        asked: &asked,
        until,
        memory: crate::agents::answer_memory(world, &held.conversation.key.organization),
    };
    let (mut cancelling, mut signing) = (None, Signing::none());
    if showing.record.outcome.is_none() {
        let asking = context.ask(held, &mut showing, &keeper, &mut ledger, &mut signing);
        let next = Box::pin(asking).await;
        if !matches!(next, Ok(Next::Deliver(_))) {
            signing.end().await;
        }
        match next? {
            Next::Deliver(cancel) => cancelling = cancel,
            Next::Leave(left) => return Ok(left),
        }
    } else {
        recall(world, held, &asked, &showing.record).await?;
    }
    if keeper.hold().is_lost() {
        signing.end().await;
        return Err(RunError::Lost);
    }
    Box::pin(context.end(held, showing, ledger, cancelling, signing)).await
}

impl<'a> RunContext<'a> {
    /// Calls the agent, and records the result. `signing` goes on after that.
    async fn ask(
        &self,
        held: &mut LeasedConversation,
        showing: &mut ReplyDelivery<'_>,
        keeper: &LeaseHeartbeat,
        ledger: &mut Vec<LedgerStep>,
        signing: &mut Signing<'a>,
    ) -> Result<Next, RunError> {
        let Self { world, bot, asked, .. } = *self;
        let resume = showing.record.resume.clone();
        finish::close_merged(world, held, bot, asked).await?;
        let counted = world.metrics.run();
        held.working.pause();
        let ended = Box::pin(self.call_agent(held, showing, keeper, ledger, signing)).await?;
        drop(counted);
        held.working.resume(world).await;
        match ended {
            Ended::Result(cancel) => {
                if showing.record.outcome != Some(Outcome::Stopped) {
                    let took = world.clock.now().since(held.run().started_at);
                    world.metrics.time(Metric::RunTime, finish::platform(held), took);
                }
                // The chat before an agent that must be told to stop, which may be slow to respond.
                record_result(world, held, showing, ledger).await?;
                remember(world, held, asked, &showing.record).await?;
                Ok(Next::Deliver(cancel))
            }
            Ended::Stopped => {
                showing.conclude(Outcome::Stopped, Some(Notice::Stopped));
                record_result(world, held, showing, ledger).await?;
                remember(world, held, asked, &showing.record).await?;
                // The run's previous holder may have called the agent.
                let before = asked.last().filter(|_| held.run().attempt > 1);
                Ok(Next::Deliver(
                    before.map(|last| cancel_request(held, bot, last, resume)),
                ))
            }
            Ended::HandOver => {
                // A process that ended as planned is no failed attempt. Not reset to zero either: the reply has a record now.
                update(world, held, |it| it.run.iter_mut().for_each(|run| run.attempt = 1)).await?;
                Ok(Next::Leave(Left::Parked(Some(Duration::ZERO))))
            }
            Ended::Deferred => {
                let again = parked::park(world, held, showing).await?;
                Ok(Next::Leave(Left::Parked(again)))
            }
            Ended::Lost => Err(RunError::Lost),
        }
    }

    /// Delivers the recorded result, and meanwhile tells the agent to stop, if it must be told.
    pub(super) async fn end(
        &self,
        held: &mut LeasedConversation,
        showing: ReplyDelivery<'_>,
        ledger: Vec<LedgerStep>,
        cancelling: Option<CancelRequest>,
        signing: Signing<'a>,
    ) -> Result<Left, RunError> {
        let Self {
            world, asked, until, ..
        } = *self;
        let agent = held.run().agent.clone();
        let cancelling = async {
            if let Some(cancel) = &cancelling {
                agent_stream::cancel(world, &agent, cancel).await;
            }
        };
        let delivering = async {
            let left = Box::pin(finish::deliver(world, held, asked, showing, until, ledger, signing)).await;
            // The agent may be slow to respond.
            held.working.pause();
            left
        };
        let ((), left) = tokio::join!(cancelling, delivering);
        held.working.resume(world).await;
        left
    }

    async fn call_agent(
        &self,
        held: &mut LeasedConversation,
        showing: &mut ReplyDelivery<'_>,
        keeper: &LeaseHeartbeat,
        ledger: &mut Vec<LedgerStep>,
        signing: &mut Signing<'a>,
    ) -> Result<Ended, RunError> {
        let Self { world, bot, asked, .. } = *self;
        let hold = keeper.hold();
        if held.run().attempt > MAX_ATTEMPTS {
            return Ok(failed(showing, "crashed", "every process that worked on it ended"));
        }
        let organization = held.conversation.key.organization.clone();
        let found = agents::look_up(&world.store, &organization, &held.run().agent, world.clock.now()).await?;
        let Some(agent) = found.map(|record| record.agent) else {
            return Ok(failed(showing, "agent_gone", "the agent was deleted"));
        };
        let adapter = match Protocol::parse(&agent.protocol, &agent.config) {
            Ok(adapter) => adapter,
            Err(error) => return Ok(failed(showing, "agent_config", &error.to_string())),
        };
        let abilities = adapter.manifest();
        held.keeps_turns = abilities.needs_transcript;
        let resume = showing.record.resume.clone().or_else(|| begun(held));
        let resume = resume.filter(|resume| adapter.can_resume(resume));
        let (said, shown) = watch::channel(match &resume {
            Some(resume) => StreamState::resumed(resume, &showing.record),
            None => StreamState::repeated(showing, held.run().attempt),
        });
        let (done, signs_done) = (Notify::new(), Arc::new(Notify::new()));
        let (concluded, result) = oneshot::channel();
        showing.expect_result(result);
        let signs = WaitingSigns::new(world, bot, held, hold);
        *signing = Signing::new(signs.show(keeper.waiting(), Arc::clone(&signs_done)));
        let asking = Box::pin(async {
            let reading = Box::pin(self.read_stream(held, hold, (&agent, &adapter), resume, &said));
            let read = reading.await;
            // However the stream ended: the delivering task continues until it is notified, and reads no more of what was said.
            done.notify_one();
            signs_done.notify_one();
            let (talk, read) = match read? {
                Ok(read) => read,
                Err(called_away) => return Ok(Err(called_away)),
            };
            let mut said = said.send_replace(StreamState::default());
            if let Some(at) = said.first_text_at {
                ledger.push(LedgerStep::new(at, "first_text"));
            }
            held.conversation_ref.clone_from(&said.conversation_ref);
            if !matches!(read, Read::Completed) {
                said.keep_earlier();
            }
            let ended = match talk.conclude(held, asked, &mut said, read).await {
                Conclusion::Result(result, cancel) => {
                    // A snapshot may be on its way to a platform that doesn't respond: the result is recorded meanwhile.
                    let _ = concluded.send(*result);
                    return Ok(Err(Ended::Result(cancel)));
                }
                ended => ended,
            };
            Ok::<_, RunError>(Ok((talk, said, ended)))
        });
        let streaming = Box::pin(stream_reply(showing, bot, shown, &done));
        // Signs in flight must not hold back the answer.
        let (read, ()) = signing.beside(async { tokio::join!(asking, streaming) }).await;
        showing.take_result();
        let (talk, said, ended) = match read? {
            Ok(goes_on) => goes_on,
            Err(ended) => return Ok(ended),
        };
        match ended {
            Conclusion::TimeUp => talk.hand_over(held, showing, said).await,
            Conclusion::Deferred => talk.defer(held, showing, said).await,
            Conclusion::Result(..) | Conclusion::Lost => Ok(Ended::Lost),
        }
    }

    /// Asks the agent, and reads its stream. `Err`: this process is called away before.
    async fn read_stream<'s>(
        &'s self,
        held: &mut LeasedConversation,
        hold: &'s LeaseWatch,
        (agent, adapter): (&Agent, &'s Adapter),
        resume: Option<Resume>,
        said: &watch::Sender<StreamState>,
    ) -> Result<Result<(AgentStream<'s>, Read), Ended>, RunError> {
        let Self {
            world,
            bot,
            asked,
            until,
            ref memory,
        } = *self;
        let packing = Box::pin(request::build(world, held, bot, adapter, agent, asked, resume));
        let mut request = match agent_stream::or_interrupted(packing, hold, until).await {
            Ok(request) => request?,
            Err(called_away) => return Ok(Err(called_away)),
        };
        incoming_guard::mask_quote(held, &mut request.message).await;
        let talk = AgentStream {
            world,
            adapter,
            request,
            hold,
            guard: OutgoingGuard::of(held),
            until,
            memory: memory.clone(),
            started_at: held.run().started_at,
        };
        let read = talk.read(said, held).await;
        Ok(Ok((talk, read)))
    }
}

/// The cancel request of a run whose agent was called by an earlier process.
pub(super) fn cancel_request(
    held: &LeasedConversation,
    bot: &Bot,
    last: &Asked,
    resume: Option<Resume>,
) -> CancelRequest {
    let run = held.run();
    CancelRequest {
        run: run.id.clone(),
        run_ref: resume.map(|resume| resume.run_ref).or_else(|| run.run_ref.clone()),
        conversation_ref: request::session_of(held).conversation_ref,
        organization: held.conversation.key.organization.clone(),
        user: user::id_of(&bot.account.integration, &last.message.sender.id),
        is_stop: run.stop == Some(StopCause::Stopped),
    }
}

/// The messages of the run that have not ended yet, with their content. Those that another bot account received are ended.
pub(super) async fn load(world: &World, held: &mut LeasedConversation) -> Result<Vec<Asked>, RunError> {
    let (run, now) = (held.run(), world.clock.now());
    // An earlier holder of the run may have ended some of them.
    let records = match run.attempt == 1 && run.phase == RunPhase::Calling {
        true => message::get_waiting(&world.store, &run.messages, now).await?,
        false => message::get_many(&world.store, &run.messages, now).await?,
    };
    if let Some(bound) = held.bound.take() {
        held.bound = accounts::for_answering(world, bound, &records).await?;
    }
    let mut asked = Vec::with_capacity(records.len());
    for record in records {
        if record.state.is_terminal() {
            finish::close_ended(world, held, &record).await?;
            continue;
        }
        match held.open_event(world, &record)? {
            Some(Event::Message(message)) => asked.push(Asked {
                record,
                message,
                speaker: None,
                context: String::new(),
                follows: None,
            }),
            Some(
                Event::Overheard(_)
                | Event::CardAction(_)
                | Event::Feedback(_)
                | Event::Recalled(_)
                | Event::ChatMoved(_),
            )
            | None => {
                warn!(event.key = %record.id, "message of a run can't be read");
                finish::park_unreadable(world, &record).await?;
            }
        }
    }
    other_account::refuse(world, held, asked).await
}

pub(super) fn set_phase(conversation: &mut tieline_core::conversation::Conversation, phase: RunPhase) {
    if let Some(run) = &mut conversation.run {
        run.phase = phase;
    }
}

pub(super) fn rest(conversation: &mut tieline_core::conversation::Conversation, until: Timestamp) {
    if let Some(run) = &mut conversation.run {
        run.rests_until = Some(until);
    }
}

/// The agent's id of the run and its cursor, from a process that died before it recorded any text.
fn begun(held: &LeasedConversation) -> Option<Resume> {
    let run = held.run();
    let run_ref = run.run_ref.clone()?;
    let cursor = run.cursor.clone();
    Some(Resume { run_ref, cursor })
}

fn failed(showing: &mut ReplyDelivery<'_>, code: &str, message: &str) -> Ended {
    let failure = AgentFailure {
        code: code.into(),
        message: message.into(),
        retryable: false,
    };
    let has_text = !showing.record.text.trim().is_empty();
    let notice = agent_stream::apology(&failure, has_text);
    showing.conclude(Outcome::Failed(failure), Some(notice));
    Ended::Result(None)
}

/// Stores the transcript turn of a result recorded by an earlier process, which may have died before storing it.
async fn recall(
    world: &World,
    held: &mut LeasedConversation,
    asked: &[Asked],
    record: &ReplyRecord,
) -> Result<(), RunError> {
    let run = held.run();
    // Ended messages show that everything before was done; and without them the turn would be incomplete.
    if asked.len() != run.messages.len() || run.phase == RunPhase::Delivering {
        return Ok(());
    }
    let found = agents::look_up(
        &world.store,
        &held.conversation.key.organization,
        &run.agent,
        world.clock.now(),
    )
    .await?;
    let protocol = found.and_then(|record| Protocol::named(&record.agent.protocol));
    held.keeps_turns = protocol.is_some_and(|it| it.manifest().needs_transcript);
    remember(world, held, asked, record).await
}

/// Stores the transcript turn for agents that keep none: also one that ended early, for the chat shows it and people refer to it.
async fn remember(
    world: &World,
    held: &LeasedConversation,
    asked: &[Asked],
    record: &ReplyRecord,
) -> Result<(), RunError> {
    // A refusal is a notice, no answer.
    let is_answer = !record.text.is_empty() && record.outcome != Some(Outcome::Refused);
    if held.keeps_turns && is_answer {
        finish::remember_turn(world, held, asked, record).await?;
    }
    Ok(())
}

/// Makes the agent's result durable. From here on the agent is never called again.
async fn record_result(
    world: &World,
    held: &LeasedConversation,
    showing: &mut ReplyDelivery<'_>,
    ledger: &mut Vec<LedgerStep>,
) -> Result<(), RunError> {
    let now = world.clock.now();
    let mut step = LedgerStep::new(now, "result").attempt(held.run().attempt);
    if let Some(Outcome::Failed(failure)) = &showing.record.outcome {
        warn!(run = %held.run().id, agent.name = %held.run().agent, error = %failure, "agent failed");
        log_failure(world, held, failure).await;
        step = step.code(failure.code.clone()).detail(&failure.message);
    } else if showing.record.notice == Some(Notice::EmptyAnswer) {
        let agent = &held.run().agent;
        let message = format!("agent {agent} answered with no text and no file");
        integration_log::warn(world, &held.conversation.key.integration, EMPTY_ANSWER, &message).await;
        step = step.code(EMPTY_ANSWER);
    }
    ledger.push(step);
    record_final(showing).await
}

/// Writes the agent's own error message to the integration's log. It contains neither secrets nor the question.
pub(super) async fn log_failure(world: &World, held: &LeasedConversation, failure: &AgentFailure) {
    let (agent, AgentFailure { code, message, .. }) = (&held.run().agent, failure);
    let integration = &held.conversation.key.integration;
    let error = StatusError {
        at: world.clock.now(),
        code: code.clone(),
        message: format!("agent {agent} failed: {message}"),
    };
    let message = format!("agent {agent} failed: {code}: {message}");
    integration_log::warn(world, integration, "agent_failed", &message).await;
    integration_log::note_often(world, integration, "agent_error", StatusChange::LastError(error)).await;
}

/// Records the result, retrying for as long as the lease is held.
pub(super) async fn record_final(showing: &mut ReplyDelivery<'_>) -> Result<(), RunError> {
    if showing.has_recorded_outcome() {
        return Ok(());
    }
    match showing.save_patiently().await {
        // A result recorded by an earlier holder takes precedence: the chat may show some of it already.
        Err(DeliverError::Store(StoreError::Conflict)) if Box::pin(showing.adopt_outcome()).await? => Ok(()),
        saved => Ok(saved?),
    }
}
