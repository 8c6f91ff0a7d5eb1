//! Converts events of a response, and whole responses, to agent events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tieline_core::agent::{AgentEvent, AgentFailure};

use super::Dialect;
use super::wire::{Event, Item, Response};
use crate::api;
use crate::error_body::ErrorBody;
use crate::failure;
use crate::run::{End, log_usage};

/// State of reading one response.
#[derive(Debug)]
pub(crate) struct Reading {
    dialect: Dialect,
    /// The response's id, once it is known.
    pub(crate) id: Option<String>,
    /// Sequence number of the latest event.
    pub(crate) sequence_number: Option<u64>,
    /// The message that the latest text belongs to.
    item: Option<String>,
    has_text: bool,
    /// Whether an earlier process has read the beginning of the stream, so that the deltas of a message may be unknown here.
    is_resumed: bool,
    last: Option<Response>,
}

impl Reading {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            id: None,
            sequence_number: None,
            item: None,
            has_text: false,
            is_resumed: false,
            last: None,
        }
    }

    /// Continues where an earlier process ended.
    pub(crate) fn resume(&mut self, id: String, sequence_number: Option<u64>) {
        self.id = Some(id);
        self.sequence_number = sequence_number;
        self.is_resumed = true;
    }

    /// The response of the terminal event.
    pub(crate) fn take_last(&mut self) -> Option<Response> {
        self.last.take()
    }

    /// Whether some text was read.
    pub(crate) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Reads one event of the stream.
    pub(crate) fn event(&mut self, json: &[u8]) -> Result<Vec<AgentEvent>, AgentFailure> {
        let event: Event = api::parse(json)?;
        self.sequence_number = event.sequence_number.or(self.sequence_number);
        if let Some(response) = &event.response {
            self.id = Some(response.id.clone());
        }
        let delta = || {
            event
                .delta
                .as_ref()
                .and_then(|delta| delta.as_str())
                .unwrap_or_default()
        };
        let read = match event.kind.as_str() {
            "response.output_text.delta" | "response.refusal.delta" => self.text(event.item_id.as_deref(), delta()),
            "response.output_text.done" | "response.refusal.done" => {
                let whole = event.text.as_deref().or(event.refusal.as_deref()).unwrap_or_default();
                self.text_without_deltas(event.item_id.as_deref(), whole)
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                vec![AgentEvent::ReasoningDelta(delta().to_owned())]
            }
            "response.output_item.added" => progress(event.item.as_ref(), "started"),
            "response.output_item.done" => done(event.item.as_ref()),
            "response.output_text.annotation.added" => source(event.annotation.and_then(|it| it.label())),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.last = event.response.map(|response| with_status(response, &event.kind));
                Vec::new()
            }
            "error" => return Err(error_of(&ErrorBody::read(json))),
            _ => Vec::new(),
        };
        Ok(read)
    }

    fn text(&mut self, item: Option<&str>, delta: &str) -> Vec<AgentEvent> {
        if delta.is_empty() {
            return Vec::new();
        }
        let is_next = self.has_text && self.item.as_deref() != item;
        self.item = item.map(str::to_owned);
        self.has_text = true;
        let paragraph = if is_next { "\n\n" } else { "" };
        vec![AgentEvent::TextDelta(format!("{paragraph}{delta}"))]
    }

    /// The whole text of a message, if no delta of it came. After a resumption, the end of the response brings it.
    fn text_without_deltas(&mut self, item: Option<&str>, text: &str) -> Vec<AgentEvent> {
        if self.is_resumed || self.has_text && self.item.as_deref() == item {
            return Vec::new();
        }
        self.text(item, text)
    }

    /// The end of the run for a response that is no longer in progress.
    pub(crate) fn end(&self, response: &Response) -> Result<End, AgentFailure> {
        if let Some(usage) = response.usage {
            log_usage(usage.input_tokens, usage.output_tokens);
        }
        match response.status.as_deref() {
            Some("completed") => self.completed(response),
            Some("incomplete") => Err(incomplete(response)),
            Some("failed") => Err(error_of(
                &response.error.as_ref().map(ErrorBody::of).unwrap_or_default(),
            )),
            Some("cancelled") => Ok(End::Cancelled),
            _ => Err(failure::bad_answer(
                "expected a response with a known status, got another",
            )),
        }
    }

    fn completed(&self, response: &Response) -> Result<End, AgentFailure> {
        let text = match self.dialect {
            Dialect::Openai => response.text(),
            // The output contains the whole conversation.
            Dialect::Wegent => response.last_text(),
        };
        let is_call = |item: &Item| matches!(item.kind.as_str(), "function_call" | "mcp_approval_request");
        if text.is_empty()
            && !self.has_text
            && self.dialect == Dialect::Openai
            && let Some(call) = response.items().find(|item| is_call(item))
        {
            let message = format!(
                "the agent asks its caller to execute {}, which is not supported",
                call.kind
            );
            return Err(failure::new("function_call", message, false));
        }
        Ok(End::Completed {
            final_text: Some(text).filter(|text| !text.is_empty()),
        })
    }
}

/// Reads a response that came as one JSON document.
pub(crate) fn response(body: &[u8]) -> Result<Response, AgentFailure> {
    api::parse(body).map_err(|bad| ErrorBody::in_document(body).map_or(bad, |error| error_of(&error)))
}

/// Pictures in an unstreamed response.
pub(crate) fn pictures(response: &Response) -> Vec<AgentEvent> {
    response.items().filter_map(picture).collect()
}

/// Adds the status implied by the event's type if the response has none.
fn with_status(response: Response, kind: &str) -> Response {
    let status = kind.strip_prefix("response.").map(str::to_owned);
    Response {
        status: response.status.or(status),
        ..response
    }
}

fn progress(item: Option<&Item>, state: &str) -> Vec<AgentEvent> {
    let tool = item.and_then(Item::tool).map(|tool| AgentEvent::Progress {
        label: tool.to_owned(),
        state: state.to_owned(),
    });
    tool.into_iter().collect()
}

fn done(item: Option<&Item>) -> Vec<AgentEvent> {
    let mut events = progress(item, "finished");
    events.extend(item.and_then(picture));
    events
}

fn picture(item: &Item) -> Option<AgentEvent> {
    let bytes = STANDARD.decode(item.result.as_ref()?.as_str()?).ok()?;
    let format = item.output_format.as_deref().unwrap_or("png");
    Some(AgentEvent::FileBytes {
        bytes,
        name: format!("{}.{format}", item.id.as_deref().unwrap_or("image")),
        mime: format!("image/{format}"),
    })
}

fn source(label: Option<String>) -> Vec<AgentEvent> {
    let source = label.map(|label| AgentEvent::Progress {
        label,
        state: "source".to_owned(),
    });
    source.into_iter().collect()
}

fn incomplete(response: &Response) -> AgentFailure {
    let reason = response.incomplete_details.as_ref().and_then(|it| it.reason.as_deref());
    match reason {
        Some("content_filter") => failure::new(
            failure::CONTENT_FILTER,
            "the server's content filter stopped the answer",
            false,
        ),
        _ => failure::new(failure::LENGTH, "the model stopped at its own length limit", false),
    }
}

fn error_of(error: &ErrorBody) -> AgentFailure {
    let passing = matches!(error.word(), None | Some("server_error" | "rate_limit_exceeded"));
    let message = format!("the agent sent an error{}", error.describe());
    failure::new(failure::agents_code(error.word()), message, passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[&str]) -> (Reading, Vec<AgentEvent>) {
        let mut reading = Reading::new(Dialect::Openai);
        let read = events.iter().flat_map(|json| reading.event(json.as_bytes()).unwrap());
        let read = read.collect();
        (reading, read)
    }

    fn text(text: &str) -> AgentEvent {
        AgentEvent::TextDelta(text.into())
    }

    fn progress(label: &str, state: &str) -> AgentEvent {
        AgentEvent::Progress {
            label: label.into(),
            state: state.into(),
        }
    }

    #[test]
    fn messages_are_paragraphs_and_done_text_is_not_repeated() {
        let (_, events) = read(&[
            r#"{"type":"response.output_text.delta","item_id":"a","delta":"one","sequence_number":4}"#,
            r#"{"type":"response.output_text.done","item_id":"a","text":"one"}"#,
            r#"{"type":"response.output_text.done","item_id":"b","text":"two"}"#,
            r#"{"type":"response.refusal.delta","item_id":"c","delta":"no"}"#,
        ]);
        assert_eq!(events, [text("one"), text("\n\ntwo"), text("\n\nno")]);
    }

    #[test]
    fn whole_text_after_a_resumption_is_no_further_text() {
        let mut reading = Reading::new(Dialect::Openai);
        reading.resume("resp_1".to_owned(), Some(7));
        let whole = br#"{"type":"response.output_text.done","sequence_number":8,"item_id":"m1","text":"all of it"}"#;
        assert_eq!(reading.event(whole).unwrap(), []);
    }

    #[test]
    fn tools_and_sources_are_progress_and_pictures_are_files() {
        let (_, events) = read(&[
            r#"{"type":"response.output_item.added","item":{"type":"web_search_call","id":"ws"}}"#,
            r#"{"type":"response.output_item.done","item":{"type":"mcp_call","name":"lookup","id":"m"}}"#,
            r#"{"type":"response.output_item.done","item":{"type":"image_generation_call","id":"ig","result":"AQI="}}"#,
            r#"{"type":"response.output_text.annotation.added","annotation":{"type":"url_citation","title":"Docs","url":"https://x"}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"message","role":"assistant","content":[]}}"#,
        ]);
        let file = AgentEvent::FileBytes {
            bytes: vec![1, 2],
            name: "ig.png".into(),
            mime: "image/png".into(),
        };
        let expected = [
            progress("web_search", "started"),
            progress("lookup", "finished"),
            progress("image_generation", "finished"),
            file,
            progress("Docs", "source"),
        ];
        assert_eq!(events, expected);
    }

    #[track_caller]
    fn check_end(dialect: Dialect, response: &str, expected: Result<Option<&str>, &str>) {
        let response: Response = api::parse(response.as_bytes()).unwrap();
        let ended = Reading::new(dialect).end(&response);
        let seen = match &ended {
            Ok(End::Completed { final_text }) => Ok(final_text.as_deref()),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.code.as_str()),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn status_of_a_whole_response_ends_the_run() {
        let whole = r#"{"id":"r","status":"completed","output":[{"type":"reasoning"},
            {"type":"message","role":"user","content":[{"type":"output_text","text":"hello"}]},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"},{"type":"refusal","refusal":"b"}]},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"c"}]}]}"#;
        check_end(Dialect::Openai, whole, Ok(Some("ab\n\nc")));
        check_end(Dialect::Wegent, whole, Ok(Some("c")));
        check_end(Dialect::Openai, r#"{"id":"r","status":"completed"}"#, Ok(None));
        let length = r#"{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#;
        check_end(Dialect::Openai, length, Err("length"));
        let filtered = r#"{"id":"r","status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#;
        check_end(Dialect::Openai, filtered, Err("content_filter"));
        let failed = r#"{"id":"r","status":"failed","error":{"code":"server_error","message":"oh"}}"#;
        check_end(Dialect::Openai, failed, Err("server_error"));
        let call = r#"{"id":"r","status":"completed","output":[{"type":"function_call","name":"f"}]}"#;
        check_end(Dialect::Openai, call, Err("function_call"));
        check_end(Dialect::Openai, r#"{"id":"r"}"#, Err("bad_answer"));
    }
}
