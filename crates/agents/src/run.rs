//! One run of an agent, as a stream of events.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tieline_core::agent::{AgentEvent, AgentFailure, MAX_ANSWER_BYTES};
use tieline_core::secret::Secret;
use tokio::sync::mpsc;
use tracing::debug;

use crate::answer_memory::AnswerMemory;
use crate::failure;

/// Events of one run. The last event, and only that one, is terminal or [`AgentEvent::Deferred`].
///
/// It does nothing unless it is polled, and dropping it closes the connection to the agent.
#[must_use = "a run does nothing unless it is polled"]
pub struct Run<'a> {
    events: mpsc::Receiver<AgentEvent>,
    work: Option<Pin<Box<dyn Future<Output = AgentEvent> + Send + 'a>>>,
    last: Option<AgentEvent>,
}

impl<'a> Run<'a> {
    /// Starts a run of `work`, which emits events into the sink and returns the last one.
    pub(crate) fn new<F>(memory: AnswerMemory, work: impl FnOnce(EventSink) -> F) -> Self
    where
        F: Future<Output = AgentEvent> + Send + 'a,
    {
        // Backpressure: capacity 1, so the agent is read no faster than its events are consumed.
        let (sender, events) = mpsc::channel(1);
        let sink = EventSink {
            events: sender,
            memory,
            text_bytes: 0,
            other_bytes: 0,
            shown: false,
        };
        Self {
            events,
            work: Some(Box::pin(work(sink))),
            last: None,
        }
    }
}

impl Stream for Run<'_> {
    type Item = AgentEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AgentEvent>> {
        if let Poll::Ready(Some(event)) = self.events.poll_recv(cx) {
            return Poll::Ready(Some(event));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(last) = work.as_mut().poll(cx)
        {
            self.last = Some(last);
            self.work = None;
        }
        // Polled again: `work` may have emitted an event just now.
        match self.events.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(Some(event)),
            _ if self.work.is_none() => Poll::Ready(self.last.take()),
            _ => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Run(..)")
    }
}

/// How a run ended without failing.
#[derive(Debug)]
pub(crate) enum End {
    Completed { final_text: Option<String> },
    Deferred,
    Cancelled,
}

/// Sink of an adapter's events; bounded, and knows whether anything was shown yet.
pub(crate) struct EventSink {
    events: mpsc::Sender<AgentEvent>,
    memory: AnswerMemory,
    text_bytes: usize,
    other_bytes: usize,
    shown: bool,
}

impl EventSink {
    /// Emits an event; waits until the one before it was consumed.
    ///
    /// Fails if the answer exceeds the size limit, or if there is no memory left for it.
    pub(crate) async fn emit(&mut self, event: AgentEvent) -> Result<(), AgentFailure> {
        let n_bytes = self.count(&event)?;
        self.memory.reserve(n_bytes).await?;
        self.shown |= shows(&event);
        // The receiver is dropped only together with this future.
        let _ = self.events.send(event).await;
        Ok(())
    }

    /// The last event for `ended`. Secrets are redacted from a failure's message.
    pub(crate) fn last_event<'a>(
        &self,
        ended: Result<End, AgentFailure>,
        secrets: impl IntoIterator<Item = &'a Secret>,
    ) -> AgentEvent {
        match ended {
            Ok(End::Completed { final_text }) => AgentEvent::Completed { final_text },
            Ok(End::Deferred) => AgentEvent::Deferred,
            Ok(End::Cancelled) => AgentEvent::Cancelled,
            Err(failure) => {
                let retryable = failure.retryable && !self.shown;
                AgentEvent::Failed(AgentFailure {
                    retryable,
                    ..redact(failure, secrets)
                })
            }
        }
    }

    /// The size of the answer with `event`.
    fn count(&mut self, event: &AgentEvent) -> Result<usize, AgentFailure> {
        if longest_ref(event) > MAX_REF_BYTES {
            return Err(failure::too_long("a reference", MAX_REF_BYTES));
        }
        match event {
            AgentEvent::TextDelta(delta) => self.text_bytes += delta.len(),
            AgentEvent::TextSnapshot(text) => self.text_bytes = text.len(),
            AgentEvent::ReasoningDelta(delta) => self.other_bytes += delta.len(),
            AgentEvent::Progress { label, state } => self.other_bytes += label.len() + state.len(),
            AgentEvent::File(file) => self.other_bytes += file.url.len() + file.name.len() + file.mime.len(),
            AgentEvent::FileBytes { bytes, .. } => self.other_bytes += bytes.len(),
            AgentEvent::Card(card) => self.other_bytes += card.n_bytes(),
            AgentEvent::InputRequired { prompt, choices, .. } => {
                self.other_bytes += prompt.len() + choices.iter().map(String::len).sum::<usize>();
            }
            _ => {}
        }
        if self.text_bytes + self.other_bytes > MAX_ANSWER_BYTES {
            return Err(failure::too_long("the answer", MAX_ANSWER_BYTES));
        }
        Ok(self.text_bytes + self.other_bytes)
    }
}

/// Logs the tokens that an answer took, as the agent counts them.
pub(crate) fn log_usage(input_tokens: u64, output_tokens: u64) {
    debug!(input_tokens, output_tokens, "answer took {output_tokens} tokens");
}

/// Longest reference that is stored for an agent, in bytes: it is written with every step of the conversation.
pub(crate) const MAX_REF_BYTES: usize = 2048;

/// Length of the longest stored reference in an event.
fn longest_ref(event: &AgentEvent) -> usize {
    match event {
        AgentEvent::Started {
            run_ref,
            conversation_ref,
        } => run_ref.len().max(conversation_ref.as_ref().map_or(0, String::len)),
        AgentEvent::Cursor(cursor) => cursor.len(),
        _ => 0,
    }
}

/// Whether the event makes a part of the answer visible to the person.
fn shows(event: &AgentEvent) -> bool {
    match event {
        AgentEvent::TextDelta(text) | AgentEvent::TextSnapshot(text) => !text.is_empty(),
        AgentEvent::File(_) | AgentEvent::FileBytes { .. } | AgentEvent::Card(_) | AgentEvent::InputRequired { .. } => {
            true
        }
        _ => false,
    }
}

/// Shorter texts are not treated as secrets: redacting them would leave no readable sentence.
const MIN_SECRET_CHARS: usize = 4;

/// Replaces the question in a failure's message by `***`: an agent may quote it. Its code stays, which decides what the person is told.
pub(crate) fn without_question(failure: AgentFailure, question: &str) -> AgentFailure {
    if question.len() < MIN_SECRET_CHARS {
        return failure;
    }
    AgentFailure {
        message: failure.message.replace(question, "***"),
        ..failure
    }
}

/// Replaces secrets in a failure's text by `***`, and cuts it to [`failure::MAX_MESSAGE_CHARS`].
pub(crate) fn redact<'a>(failure: AgentFailure, secrets: impl IntoIterator<Item = &'a Secret>) -> AgentFailure {
    let secrets = secrets.into_iter().map(Secret::expose);
    let mut secrets: Vec<_> = secrets.filter(|secret| secret.len() >= MIN_SECRET_CHARS).collect();
    // Longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let clean = |text: String| secrets.iter().fold(text, |text, secret| text.replace(secret, "***"));
    AgentFailure {
        code: clean(failure.code),
        message: clean(failure.message)
            .chars()
            .take(failure::MAX_MESSAGE_CHARS)
            .collect(),
        retryable: failure.retryable,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    /// The code decides which notice the person gets, and whether the agent is told to stop.
    #[test]
    fn question_is_masked_only_in_the_message() {
        let failure = AgentFailure {
            code: "idle_timeout".into(),
            message: "silent after \"timeout\"".into(),
            retryable: false,
        };
        let masked = without_question(failure.clone(), "timeout");
        assert_eq!(
            (&*masked.code, &*masked.message),
            ("idle_timeout", "silent after \"***\"")
        );
        assert_eq!(without_question(failure.clone(), "out"), failure);
    }

    fn delta(text: &str) -> AgentEvent {
        AgentEvent::TextDelta(text.into())
    }

    fn run_of(events: Vec<AgentEvent>, end: Result<End, AgentFailure>) -> Run<'static> {
        run_in(AnswerMemory::unlimited(), events, end)
    }

    fn run_in(memory: AnswerMemory, events: Vec<AgentEvent>, end: Result<End, AgentFailure>) -> Run<'static> {
        Run::new(memory, |mut sink| async move {
            for event in events {
                if let Err(failure) = sink.emit(event).await {
                    return sink.last_event(Err(failure), &[]);
                }
            }
            sink.last_event(end, &[Secret::new("sk-secret")])
        })
    }

    #[tokio::test]
    async fn events_come_in_order_and_the_last_one_once() {
        let mut run = run_of(vec![delta("a"), delta("b")], Ok(End::Completed { final_text: None }));
        let seen: Vec<_> = run.by_ref().collect().await;
        assert_eq!(
            seen,
            [delta("a"), delta("b"), AgentEvent::Completed { final_text: None }]
        );
        assert_eq!(run.next().await, None);
        assert_eq!(
            run_of(vec![], Ok(End::Deferred)).collect::<Vec<_>>().await,
            [AgentEvent::Deferred]
        );
    }

    #[tokio::test]
    async fn failure_is_retryable_only_while_nothing_was_shown() {
        for (shown, retryable) in [
            (vec![], true),
            (vec![AgentEvent::ReasoningDelta("hm".into()), delta("")], true),
            (vec![delta("a")], false),
        ] {
            let seen: Vec<_> = run_of(shown, Err(failure::incomplete())).collect().await;
            let Some(AgentEvent::Failed(failure)) = seen.last() else {
                panic!("{seen:?}")
            };
            assert_eq!(failure.retryable, retryable);
        }
    }

    #[tokio::test]
    async fn answer_length_is_bounded_and_snapshots_replace() {
        let big = "x".repeat(MAX_ANSWER_BYTES / 2);
        let snapshots = vec![AgentEvent::TextSnapshot(big.clone()); 4];
        let seen: Vec<_> = run_of(snapshots, Ok(End::Completed { final_text: None }))
            .collect()
            .await;
        assert!(matches!(seen.last(), Some(AgentEvent::Completed { .. })));
        let seen: Vec<_> = run_of(vec![delta(&big), delta(&big), delta("x")], Ok(End::Cancelled))
            .collect()
            .await;
        assert_eq!(seen.len(), 3);
        assert!(matches!(seen.last(), Some(AgentEvent::Failed(failure)) if failure.code == failure::TOO_LONG));
    }

    #[tokio::test]
    async fn answer_without_memory_fails_before_more_of_it_is_held() {
        let left = AtomicUsize::new(1024 * 1024);
        let memory = AnswerMemory::new(move |n_bytes| {
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n_bytes));
            Box::pin(std::future::ready(taken.is_ok()))
        });
        let piece = "x".repeat(100 * 1024);
        let seen: Vec<_> = run_in(memory, vec![delta(&piece); 20], Ok(End::Cancelled))
            .collect()
            .await;
        let Some((AgentEvent::Failed(failure), shown)) = seen.split_last() else {
            panic!("{seen:?}")
        };
        assert_eq!((&*failure.code, failure.retryable), (failure::NO_MEMORY, false));
        // What isn't counted, and the megabyte.
        assert_eq!(shown.len() * piece.len() / 1024, 1000);
    }

    #[tokio::test]
    async fn secrets_are_redacted_and_messages_truncated() {
        let long = failure::new("x", format!("key sk-secret is wrong {}", "字".repeat(900)), true);
        let seen: Vec<_> = run_of(vec![], Err(long)).collect().await;
        let [AgentEvent::Failed(failure)] = seen.as_slice() else {
            panic!("{seen:?}")
        };
        assert!(failure.message.starts_with("key *** is wrong"));
        assert_eq!(failure.message.chars().count(), failure::MAX_MESSAGE_CHARS);
    }

    #[tokio::test]
    async fn reference_length_is_bounded() {
        let started = |length: usize| AgentEvent::Started {
            run_ref: "r".into(),
            conversation_ref: Some("c".repeat(length)),
        };
        let long = [
            started(MAX_REF_BYTES + 1),
            AgentEvent::Cursor("c".repeat(MAX_REF_BYTES + 1)),
        ];
        for event in long {
            let seen: Vec<_> = run_of(vec![event], Ok(End::Cancelled)).collect().await;
            assert!(matches!(seen.as_slice(), [AgentEvent::Failed(failure)] if failure.code == failure::TOO_LONG));
        }
        let seen: Vec<_> = run_of(vec![started(MAX_REF_BYTES)], Ok(End::Cancelled)).collect().await;
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn dropping_the_run_drops_its_work() {
        let alive = std::sync::Arc::new(());
        let held = alive.clone();
        let run = Run::new(AnswerMemory::unlimited(), |sink| async move {
            let _held = held;
            std::future::pending::<()>().await;
            sink.last_event(Ok(End::Cancelled), &[])
        });
        drop(run);
        assert!(std::sync::Arc::into_inner(alive).is_some());
    }
}
