//! Reads an agent's stream until it ends, is stopped, or this process must end.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::failure::may_still_work;
use tieline_agents::protocol::{Adapter, CancelRequest, Protocol};
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest, Draft, Resume};
use tieline_core::conversation::StopCause;
use tieline_core::ids::AgentId;
use tieline_core::notice::Notice;
use tieline_core::reply::{Progress, Stage};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::agent as agents;
use tieline_store::reply::{Outcome, ReplyRecord};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::agent_refs::{AgentRefs, record_refs};
use super::outgoing_guard::{Guarded, OutgoingGuard};
use super::request::Asked;
use super::{LeasedConversation, RunError, incoming_guard};
use crate::deliver::{ReplyDelivery, RunResult};
use crate::lease_watch::{LeaseSignal, LeaseWatch};
use crate::media;
use crate::world::World;

/// How long before its deadline a process stops reading and hands the run over.
const HAND_OVER_MARGIN: Duration = Duration::from_secs(15);
/// Time limit for cancelling a run at its agent, with all attempts. Only the conversation's next run waits for it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// How a call to the agent ended.
pub(super) enum Ended {
    /// The reply's record has the result, possibly not in the table yet. The agent must be told to stop if its answer was given up while
    /// it may still be working on it.
    Result(Option<CancelRequest>),
    /// The run was stopped before this process called the agent.
    Stopped,
    /// This process's time is up; the next process continues at the cursor.
    HandOver,
    /// The agent will call back.
    Deferred,
    /// Another process holds the conversation.
    Lost,
}

/// What was received from the agent so far.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamState {
    pub(super) draft: Draft,
    pub(super) run_ref: Option<String>,
    pub(super) conversation_ref: Option<String>,
    pub(super) cursor: Option<String>,
    pub(super) first_text_at: Option<Timestamp>,
    /// The text that an earlier process was told and has shown, where this one is told everything again.
    pub(super) earlier: String,
    /// A shorter text is not shown while it grows: the chat may show that much already.
    pub(super) shown_before: usize,
}

impl StreamState {
    /// The state at which this process asks the agent once more from the start. Shown text must not shrink meanwhile.
    pub(super) fn repeated(showing: &ReplyDelivery<'_>, attempt: u32) -> Self {
        let record = &showing.record;
        // Only the connector knows how much a pushed message shows: the final text replaces it.
        let may_show_more = !showing.is_pulled() && attempt > 1 && record.progress != Progress::default();
        Self {
            earlier: record.text.clone(),
            shown_before: if may_show_more { usize::MAX } else { record.text.len() },
            ..Self::default()
        }
    }

    /// Keeps what an earlier process has shown, where this one was told less of the answer before it broke off.
    pub(super) fn keep_earlier(&mut self) {
        if self.draft.text.len() < self.earlier.len() {
            self.draft.text = std::mem::take(&mut self.earlier);
        }
    }

    /// The state at which this process continues where an earlier one stopped.
    pub(super) fn resumed(resume: &Resume, record: &ReplyRecord) -> Self {
        // Without a cursor the agent repeats everything.
        let (draft, earlier) = match resume.cursor {
            Some(_) => (
                Draft {
                    text: record.text.clone(),
                    files: record.files.clone(),
                    card: record.card.clone(),
                    question: record.question.clone(),
                    held_back: record.held_back.clone(),
                    ..Draft::default()
                },
                String::new(),
            ),
            None => (Draft::default(), record.text.clone()),
        };
        Self {
            draft,
            shown_before: earlier.len(),
            earlier,
            run_ref: Some(resume.run_ref.clone()),
            cursor: resume.cursor.clone(),
            ..Self::default()
        }
    }
}

/// How reading the stream ended.
pub(super) enum Read {
    Completed,
    Failed(AgentFailure),
    Cancelled,
    Deferred,
    Stopped(StopCause),
    TimeUp,
    Lost,
}

/// What the end of a stream means for the run.
pub(super) enum Conclusion {
    /// Its result, and the request with which the agent must be told to stop, if it must.
    Result(Box<RunResult>, Option<CancelRequest>),
    /// This process's time is up.
    TimeUp,
    /// The agent will call back.
    Deferred,
    /// Another process holds the conversation.
    Lost,
}

/// One call to the agent, and its stream of events.
pub(super) struct AgentStream<'a> {
    pub(super) world: &'a World,
    pub(super) adapter: &'a Adapter,
    pub(super) request: AgentRequest,
    pub(super) hold: &'a LeaseWatch,
    pub(super) guard: OutgoingGuard,
    pub(super) until: Option<Instant>,
    pub(super) memory: AnswerMemory,
    pub(super) started_at: Timestamp,
}

impl AgentStream<'_> {
    /// Reads the agent's stream until it ends, is stopped, or this process's time is up. The agent's ids of run and conversation
    /// are recorded before anything that follows them in the stream is shown.
    pub(super) async fn read(&self, said: &watch::Sender<StreamState>, held: &mut LeasedConversation) -> Read {
        let agent_env = crate::agents::agent_env(self.world, self.memory.clone());
        let ran_for = self.world.clock.now().since(self.started_at);
        let mut run = self.adapter.run(&self.request, ran_for, &agent_env);
        let time_up = time_up(self.until);
        tokio::pin!(time_up);
        let signal = self.hold.next_signal();
        tokio::pin!(signal);
        let mut prefetched = None;
        loop {
            let next = async {
                match prefetched.take() {
                    Some(event) => Some(event),
                    None => run.next().await,
                }
            };
            let event = tokio::select! {
                biased;
                signal = &mut signal => return match signal {
                    LeaseSignal::Stop(cause) => Read::Stopped(cause),
                    LeaseSignal::Lost | LeaseSignal::Nothing => Read::Lost,
                },
                () = &mut time_up => return Read::TimeUp,
                event = next => event,
            };
            let Some(event) = event else {
                return Read::Failed(AgentFailure {
                    code: "bad_stream".into(),
                    message: "the stream ended without a last event".into(),
                    retryable: true,
                });
            };
            let event = match media::keep(self.world, &self.request.organization, event).await {
                Ok(event) => event,
                Err(error) => return Read::Failed(unkept(&error)),
            };
            let is_start = matches!(event, AgentEvent::Started { .. });
            // A cursor covers the text before it. Both are applied together: else a run resumed there would repeat that text.
            let cursor = match unconstrained(run.next()).now_or_never().flatten() {
                Some(AgentEvent::Cursor(cursor)) => Some(cursor),
                event => {
                    prefetched = event;
                    None
                }
            };
            let masking = self.guard.mask_long(&said.borrow().draft.held_back, &event);
            let masked = match masking {
                Some(masking) => Some(masking.await),
                None => None,
            };
            if let Some(ended) = self.take_event(said, event, masked, cursor) {
                return ended;
            }
            if is_start && let Err(lost) = self.record_start(said, held).await {
                return lost;
            }
        }
    }

    async fn record_start(&self, said: &watch::Sender<StreamState>, held: &mut LeasedConversation) -> Result<(), Read> {
        let start = {
            let said = said.borrow();
            AgentRefs {
                run_ref: said.run_ref.clone(),
                cursor: said.cursor.clone(),
                conversation_ref: said.conversation_ref.clone(),
            }
        };
        match record_refs(self.world, held, &start).await {
            Ok(()) => Ok(()),
            Err(RunError::Lost) => Err(Read::Lost),
            Err(error) => {
                // The answer matters more: the end of the run records them again.
                warn!(run = %self.request.run, error = %error, "references of the agent's run can't be recorded");
                Ok(())
            }
        }
    }

    fn take_event(
        &self,
        said: &watch::Sender<StreamState>,
        event: AgentEvent,
        masked: Option<Guarded>,
        cursor: Option<String>,
    ) -> Option<Read> {
        let now = self.world.clock.now();
        said.send_if_modified(|said| {
            match &event {
                AgentEvent::Started {
                    run_ref,
                    conversation_ref,
                } => {
                    said.run_ref = Some(run_ref.clone());
                    if conversation_ref.is_some() {
                        said.conversation_ref.clone_from(conversation_ref);
                    }
                }
                AgentEvent::Cursor(cursor) => said.cursor = Some(cursor.clone()),
                _ => {}
            }
            said.cursor = cursor.or_else(|| said.cursor.take());
            let changed = match masked {
                Some(masked) => masked.apply_to(&mut said.draft),
                None => self.guard.apply(&mut said.draft, &event),
            };
            if changed && said.first_text_at.is_none() && !said.draft.text.is_empty() {
                said.first_text_at = Some(now);
            }
            changed
        });
        match event {
            AgentEvent::Completed { .. } => Some(Read::Completed),
            AgentEvent::Failed(failure) => Some(Read::Failed(self.guard.failure(failure))),
            AgentEvent::Cancelled => Some(Read::Cancelled),
            AgentEvent::Deferred => Some(Read::Deferred),
            _ => None,
        }
    }

    /// What the end of reading means for the run: its result, with the answer moved out of `said`, or why it goes on.
    pub(super) async fn conclude(
        &self,
        held: &LeasedConversation,
        asked: &[Asked],
        said: &mut StreamState,
        ended: Read,
    ) -> Conclusion {
        let is_stop = matches!(ended, Read::Stopped(StopCause::Stopped));
        let (outcome, cancel) = match ended {
            Read::Completed => (Outcome::Completed, false),
            Read::Failed(failure) => {
                let cancel = may_still_work(&failure);
                (Outcome::Failed(failure), cancel)
            }
            Read::Cancelled => (Outcome::Stopped, false),
            Read::Stopped(cause) => {
                info!(run = %held.run().id, cause = ?cause, "run is stopped");
                (Outcome::Stopped, true)
            }
            // The run continues in another process, or by callbacks, which may still complete the text that is held back.
            Read::Deferred => return Conclusion::Deferred,
            Read::TimeUp => return Conclusion::TimeUp,
            Read::Lost => return Conclusion::Lost,
        };
        let draft = &mut said.draft;
        self.guard.finish(draft).await;
        self.guard
            .log(self.world, held, &self.request.agent.id, &draft.held_back)
            .await;
        let notice = match &outcome {
            Outcome::Stopped => Some(Notice::Stopped),
            Outcome::Failed(failure) => Some(apology(failure, !draft.text.trim().is_empty())),
            _ if draft.is_blank() => Some(Notice::EmptyAnswer),
            _ => draft.conversation_lost.then_some(Notice::ConversationLost),
        };
        let notice = incoming_guard::notice(held, asked, &outcome, notice).await;
        let result = RunResult {
            text: std::mem::take(&mut draft.text),
            files: std::mem::take(&mut draft.files),
            card: draft.card.take(),
            outcome,
            notice,
        };
        Conclusion::Result(Box::new(result), cancel.then(|| self.cancel_request(said, is_stop)))
    }

    fn cancel_request(&self, said: &StreamState, is_stop: bool) -> CancelRequest {
        let request = &self.request;
        let conversation_ref = said.conversation_ref.as_ref();
        CancelRequest {
            run: request.run.clone(),
            run_ref: said.run_ref.clone(),
            conversation_ref: conversation_ref.or(request.session.conversation_ref.as_ref()).cloned(),
            organization: request.organization.clone(),
            user: request.user.id.clone(),
            is_stop,
        }
    }

    /// Leaves the run to the agent's callbacks.
    pub(super) async fn defer(
        &self,
        held: &LeasedConversation,
        showing: &mut ReplyDelivery<'_>,
        said: StreamState,
    ) -> Result<Ended, RunError> {
        showing.set_draft(said.draft);
        showing.record.resume = Some(Resume {
            run_ref: held.run().id.to_string(),
            cursor: Some("0".into()),
        });
        showing.save().await?;
        Ok(Ended::Deferred)
    }

    /// Text and cursor are stored in one record, so that they can't disagree. A run that no other process can continue is given up.
    pub(super) async fn hand_over(
        &self,
        held: &LeasedConversation,
        showing: &mut ReplyDelivery<'_>,
        said: StreamState,
    ) -> Result<Ended, RunError> {
        let cancel = self.cancel_request(&said, false);
        let has_text = !said.draft.text.trim().is_empty();
        showing.set_draft(said.draft);
        let cursor = said.cursor;
        let resume = said.run_ref.map(|run_ref| Resume { run_ref, cursor });
        // A run that the agent has not started is requested again.
        let has_begun = resume.is_some() || has_text;
        let goes_on = match &resume {
            Some(resume) => self.adapter.can_resume(resume),
            None => self.adapter.manifest().can_resume && !has_begun,
        };
        if !goes_on {
            warn!(run = %held.run().id, "run outlives its process and its agent can't resume");
            self.guard.finish_reply(&mut showing.record).await;
            self.guard
                .log(self.world, held, &self.request.agent.id, &showing.record.held_back)
                .await;
            let notice = if !showing.record.text.trim().is_empty() {
                Notice::Incomplete
            } else {
                Notice::AgentTimedOut
            };
            let failure = AgentFailure {
                code: "process_deadline".into(),
                message: "the protocol can't resume and the process had to end".into(),
                retryable: false,
            };
            showing.conclude(Outcome::Failed(failure), Some(notice));
            return Ok(Ended::Result(Some(cancel)));
        }
        showing.record.resume = resume;
        showing.record.stage = Stage::Growing;
        showing.save().await?;
        info!(run = %held.run().id, "handed the run over to the next process");
        Ok(Ended::HandOver)
    }
}

/// Tells the agent to stop, within a time limit.
pub(super) async fn cancel(world: &World, agent: &AgentId, cancel: &CancelRequest) {
    let Ok(Some(found)) = agents::look_up(&world.store, &cancel.organization, agent, world.clock.now()).await else {
        return;
    };
    let Ok(adapter) = Protocol::parse(&found.agent.protocol, &found.agent.config) else {
        return;
    };
    let memory = crate::agents::answer_memory(world, &cancel.organization);
    let agent_env = crate::agents::agent_env(world, memory);
    match timeout(CANCEL_PATIENCE, adapter.cancel(cancel, &agent_env)).await {
        Ok(Ok(())) => info!(run = %cancel.run, "agent was told to stop"),
        Ok(Err(failure)) => warn!(run = %cancel.run, error = %failure.code, "agent could not be told to stop"),
        Err(_) => warn!(run = %cancel.run, "agent could not be told to stop in time"),
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

/// The future's output, unless the run is stopped, this process's time is up, or the lease is lost before the agent was called.
pub(super) async fn or_interrupted<T>(
    preparing: impl Future<Output = T>,
    hold: &LeaseWatch,
    until: Option<Instant>,
) -> Result<T, Ended> {
    tokio::select! {
        biased;
        signal = hold.next_signal() => Err(match signal {
            LeaseSignal::Stop(_) => Ended::Stopped,
            LeaseSignal::Lost | LeaseSignal::Nothing => Ended::Lost,
        }),
        () = time_up(until) => Err(Ended::HandOver),
        prepared = preparing => Ok(prepared),
    }
}

async fn time_up(until: Option<Instant>) {
    match until {
        Some(until) => {
            // At most a quarter: with a short deadline there must be time to work.
            let left = until.saturating_duration_since(Instant::now());
            sleep_until(until - HAND_OVER_MARGIN.min(left / 4)).await;
        }
        None => std::future::pending().await,
    }
}
