//! Converts chunks of Chat Completions to agent events.

use tieline_core::agent::{AgentEvent, AgentFailure};

use super::wire::{Choice, Chunk, Delta, Usage};
use crate::error_body::ErrorBody;
use crate::failure;
use crate::json;

/// State of reading one answer.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    finish_reason: Option<String>,
    is_over: bool,
    goes_on: bool,
    has_spoken: bool,
    has_text: bool,
    has_reasoned: bool,
    done: bool,
    usage: Option<Usage>,
}

/// Whether this is the end marker of the stream.
pub(crate) fn is_done(data: &str) -> bool {
    data.trim() == "[DONE]"
}

impl Reading {
    /// Whether the answer is complete. Its usage may still follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.done || self.is_over
    }

    /// Whether the answer is complete if nothing follows.
    pub(crate) fn may_be_finished(&self) -> bool {
        self.done || self.finish_reason.is_some()
    }

    /// Whether the answer was complete at some point and no text came since: later errors don't change it.
    pub(crate) fn was_whole(&self) -> bool {
        self.finish_reason.is_some() && self.has_spoken && !self.goes_on
    }

    /// Whether any text came.
    pub(crate) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Whether nothing will follow.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The token usage, if the server sent it.
    pub(crate) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Reads one event of the stream.
    pub(crate) fn chunk(&mut self, data: &str) -> Result<Vec<AgentEvent>, AgentFailure> {
        if is_done(data) {
            self.done = true;
            return Ok(Vec::new());
        }
        if data.trim().is_empty() {
            return Ok(Vec::new());
        }
        self.read(data.as_bytes())
    }

    /// Reads an unstreamed answer.
    pub(crate) fn whole(&mut self, body: &[u8]) -> Result<Vec<AgentEvent>, AgentFailure> {
        let events = self.read(body)?;
        if self.finish_reason.is_none() && events.is_empty() {
            return Err(failure::bad_answer(
                "expected a chat completion, got JSON without choices",
            ));
        }
        self.done = true;
        Ok(events)
    }

    /// How the answer ended, once it is complete.
    pub(crate) fn end(&self) -> Result<(), AgentFailure> {
        match self.finish_reason.as_deref() {
            Some("length") => Err(failure::new(
                failure::LENGTH,
                "the model stopped at its own length limit",
                false,
            )),
            // What DeepSeek, Zhipu and OpenRouter send when their own side cut the answer off.
            Some(reason @ ("insufficient_system_resource" | "network_error" | "error")) => {
                Err(failure::new(reason, "the server cut the answer off", true))
            }
            Some(reason @ "model_context_window_exceeded") => Err(failure::new(
                reason,
                "the conversation is longer than the model's context window",
                false,
            )),
            Some("content_filter" | "sensitive") => Err(failure::new(
                failure::CONTENT_FILTER,
                "the server's content filter stopped the answer",
                false,
            )),
            // No tools were offered, but a server may add its own and leave their execution to the caller.
            Some(reason @ ("tool_calls" | "function_call")) if !self.has_text => {
                let message = format!("the agent asks its caller to execute {reason}, which is not supported");
                Err(failure::new("function_call", message, false))
            }
            // `stop`, tool calls besides a text, and values that a server invents.
            Some(_) | None => Ok(()),
        }
    }

    fn read(&mut self, json: &[u8]) -> Result<Vec<AgentEvent>, AgentFailure> {
        // The parser's message may quote the answer.
        let chunk: Chunk = json::read(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            failure::bad_answer(format!(
                "expected a chat completion chunk, got something else at line {line}, column {column}"
            ))
        })?;
        if let Some(error) = error_of(&chunk, json) {
            return Err(error);
        }
        self.usage = chunk.usage.as_ref().map(Usage::of).or(self.usage);
        let ours = chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0);
        Ok(ours.flat_map(|choice| self.choice(choice)).collect())
    }

    fn choice(&mut self, choice: Choice) -> Vec<AgentEvent> {
        let said = self.words(choice.delta, choice.message);
        self.goes_on |= self.finish_reason.is_some() && !said.is_empty();
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            // Some gateways send `stop` with every chunk: only the first finish reason counts as the end, and only if it comes after text
            // in a chunk without text.
            self.is_over |= said.is_empty() && self.has_spoken && self.finish_reason.is_none();
            self.finish_reason = Some(reason);
        }
        self.has_spoken |= !said.is_empty();
        self.has_text |= said.iter().any(|said| !matches!(said, AgentEvent::ReasoningDelta(_)));
        said
    }

    /// A full message replaces all text before it, unless the chunk has a delta too.
    fn words(&mut self, delta: Option<Delta>, message: Option<Delta>) -> Vec<AgentEvent> {
        let (reasoning, text) = match delta.map(Delta::into_words).unwrap_or_default() {
            (None, None) => {
                let (reasoning, text) = message.map(Delta::into_words).unwrap_or_default();
                let new_reasoning = reasoning.filter(|_| !self.has_reasoned);
                (new_reasoning, text.map(AgentEvent::TextSnapshot))
            }
            (reasoning, text) => (reasoning, text.map(AgentEvent::TextDelta)),
        };
        self.has_reasoned |= reasoning.is_some();
        reasoning
            .map(AgentEvent::ReasoningDelta)
            .into_iter()
            .chain(text)
            .collect()
    }
}

fn error_of(chunk: &Chunk, json: &[u8]) -> Option<AgentFailure> {
    if chunk.error.is_none() && chunk.object.as_deref() != Some("error") {
        return None;
    }
    let error = ErrorBody::read(json);
    let message = format!("the agent sent an error{}", error.describe());
    Some(failure::new(failure::agents_code(error.word()), message, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AgentEvent {
        AgentEvent::TextDelta(text.into())
    }

    fn all(text: &str) -> AgentEvent {
        AgentEvent::TextSnapshot(text.into())
    }

    #[track_caller]
    fn check(chunk: &str, expected: &[AgentEvent]) -> Reading {
        let mut reading = Reading::default();
        assert_eq!(reading.chunk(chunk).unwrap(), expected);
        reading
    }

    #[track_caller]
    fn check_failure(chunk: &str, code: &str) {
        let failure = Reading::default().chunk(chunk).unwrap_err();
        assert_eq!(failure.code, code);
        assert!(!failure.message.contains("hello"), "{failure}");
    }

    #[test]
    fn deltas_are_text_and_reasoning() {
        check(
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            &[],
        );
        check(
            r#"{"choices":[{"index":0,"delta":{"content":"你"},"finish_reason":null}]}"#,
            &[text("你")],
        );
        let reasoning = AgentEvent::ReasoningDelta("hm".into());
        check(
            r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#,
            std::slice::from_ref(&reasoning),
        );
        for named in [
            r#"{"reasoning":"hm"}"#,
            r#"{"reasoning":"hm","reasoning_content":"hm"}"#,
            r#"{"reasoning":"hm","reasoning_content":""}"#,
        ] {
            let chunk = format!(r#"{{"choices":[{{"delta":{named}}}]}}"#);
            check(&chunk, std::slice::from_ref(&reasoning));
        }
        check(
            r#"{"choices":[{"delta":{"content":"a","reasoning":{"effort":"low"}}}]}"#,
            &[text("a")],
        );
        check(
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"image"}]}}]}"#,
            &[text("a")],
        );
        check(
            r#"{"choices":[{"index":1,"delta":{"content":"other"}},{"index":0,"delta":{"content":"a"}}]}"#,
            &[text("a")],
        );
    }

    #[test]
    fn refusal_is_text() {
        let refused = r#"{"choices":[{"delta":{"role":"assistant","content":null,"refusal":"I can't"}}]}"#;
        check(refused, &[text("I can't")]);
        check(
            r#"{"choices":[{"message":{"content":null,"refusal":"I can't."},"finish_reason":"stop"}]}"#,
            &[all("I can't.")],
        );
        check(r#"{"choices":[{"delta":{"content":"a","refusal":""}}]}"#, &[text("a")]);
    }

    #[test]
    fn answer_that_the_server_cut_off_is_not_complete() {
        for (reason, code) in [
            ("insufficient_system_resource", "insufficient_system_resource"),
            ("network_error", "network_error"),
            ("model_context_window_exceeded", "model_context_window_exceeded"),
            ("sensitive", failure::CONTENT_FILTER),
        ] {
            let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"a"}},"finish_reason":"{reason}"}}]}}"#);
            assert_eq!(check(&chunk, &[text("a")]).end().unwrap_err().code, code);
        }
        let invented = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"eos"}]}"#;
        assert_eq!(check(invented, &[text("a")]).end(), Ok(()));
    }

    #[test]
    fn tool_call_without_text_is_a_failure_that_names_it() {
        for reason in ["tool_calls", "function_call"] {
            let chunk = format!(r#"{{"choices":[{{"delta":{{"content":null}},"finish_reason":"{reason}"}}]}}"#);
            let failure = check(&chunk, &[]).end().unwrap_err();
            assert_eq!((failure.code.as_str(), failure.retryable), ("function_call", false));
            assert!(failure.message.contains(reason), "{}", failure.message);
            let mut reading = check(r#"{"choices":[{"delta":{"content":"a"}}]}"#, &[text("a")]);
            reading.chunk(&chunk).unwrap();
            assert_eq!(reading.end(), Ok(()));
        }
    }

    #[test]
    fn unused_fields_and_empty_chunks_are_no_error() {
        for chunk in [
            "",
            " ",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":null,"error":null}"#,
            r#"{"choices":[{"index":0}]}"#,
        ] {
            assert!(!check(chunk, &[]).may_be_finished());
        }
    }

    #[test]
    fn finish_reason_and_done_end_the_answer() {
        assert!(check(" [DONE]", &[]).is_done());
        for (reason, code) in [
            ("stop", None),
            ("length", Some("length")),
            ("content_filter", Some("content_filter")),
        ] {
            let mut reading = check(r#"{"choices":[{"delta":{"content":"a"}}]}"#, &[text("a")]);
            let chunk = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
            assert_eq!(reading.chunk(&chunk), Ok(vec![]));
            assert!(reading.is_finished() && !reading.is_done());
            assert_eq!(reading.end().err().map(|failure| failure.code).as_deref(), code);
        }
        assert!(!check(r#"{"choices":[{"delta":{},"finish_reason":""}]}"#, &[]).may_be_finished());
    }

    #[test]
    fn finish_reason_with_or_before_text_does_not_end_the_answer() {
        for (chunk, said) in [
            (
                r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
                text("a"),
            ),
            (
                r#"{"choices":[{"delta":{},"message":{"content":"a"},"finish_reason":"stop"}]}"#,
                all("a"),
            ),
        ] {
            let mut reading = check(
                r#"{"choices":[{"delta":{"role":"assistant"},"finish_reason":"stop"}]}"#,
                &[],
            );
            for _ in 0..2 {
                assert_eq!(reading.chunk(chunk).unwrap(), std::slice::from_ref(&said));
                assert!(reading.may_be_finished() && !reading.is_finished());
            }
        }
    }

    #[test]
    fn full_message_replaces_the_deltas_before_it() {
        let mut reading = check(
            r#"{"choices":[{"delta":{"content":"a","reasoning_content":"hm"},"message":null}]}"#,
            &[AgentEvent::ReasoningDelta("hm".into()), text("a")],
        );
        let closing =
            r#"{"object":"chat.completion","choices":[{"message":{"content":"ab","reasoning_content":"hm"}}]}"#;
        assert_eq!(reading.chunk(closing).unwrap(), [all("ab")]);
        let both = r#"{"choices":[{"delta":{"content":"c"},"message":{"content":"abc"}}]}"#;
        assert_eq!(reading.chunk(both).unwrap(), [text("c")]);
        let empty = r#"{"choices":[{"delta":{"content":""},"message":{"content":""}}]}"#;
        assert_eq!(reading.chunk(empty).unwrap(), []);
    }

    #[test]
    fn half_an_emoji_is_replaced_and_the_rest_is_kept() {
        check(r#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#, &[text("a\u{fffd}")]);
    }

    #[test]
    fn usage_is_kept() {
        let mut reading = check(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#,
            &[],
        );
        reading.chunk(r#"{"choices":[]}"#).unwrap();
        assert_eq!(
            reading.usage(),
            Some(&Usage {
                prompt_tokens: 3,
                completion_tokens: 5
            })
        );
    }

    #[test]
    fn usage_of_another_shape_is_no_error() {
        for (usage, prompt_tokens) in [
            (r#"{"prompt_tokens":null,"completion_tokens":3}"#, 0),
            (r#"{"prompt_tokens":"2","completion_tokens":3}"#, 0),
            (r#"{"prompt_tokens":2,"completion_tokens":3}"#, 2),
        ] {
            let reading = check(&format!(r#"{{"choices":[],"usage":{usage}}}"#), &[]);
            let expected = Usage {
                prompt_tokens,
                completion_tokens: 3,
            };
            assert_eq!(reading.usage(), Some(&expected));
        }
        check(r#"{"choices":[],"usage":"none"}"#, &[]);
    }

    #[test]
    fn errors_in_the_stream_keep_their_code_and_message() {
        for (error, code) in [
            (
                r#"{"error":{"message":"too busy","type":"server_error","code":null}}"#,
                "server_error",
            ),
            (r#"{"error":{"message":"too busy","code":"overloaded"}}"#, "overloaded"),
            (r#"{"error":"too busy"}"#, failure::AGENT_ERROR),
            (r#"{"object":"error","message":"too busy","code":400}"#, "400"),
        ] {
            let failure = Reading::default().chunk(error).unwrap_err();
            assert_eq!(failure.code, code);
            assert!(failure.message.ends_with(", message too busy"), "{}", failure.message);
        }
    }

    #[test]
    fn invalid_chunk_is_not_quoted() {
        check_failure("hello", failure::BAD_ANSWER);
        check_failure(r#"{"choices":"hello"}"#, failure::BAD_ANSWER);
    }

    #[test]
    fn unstreamed_answer_gives_the_same_events() {
        let mut reading = Reading::default();
        let body = br#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#;
        assert_eq!(reading.whole(body).unwrap(), [all("a")]);
        assert!(reading.is_done());
        assert_eq!(Reading::default().whole(b"{}").unwrap_err().code, failure::BAD_ANSWER);
        assert_eq!(
            Reading::default().whole(br#"{"error":{"code":"x"}}"#).unwrap_err().code,
            "x"
        );
    }
}
