//! Converts a request to the messages of Chat Completions.

use bytes::Bytes;
use tieline_core::agent::{AgentFailure, AgentPart, AgentRequest, Turn};
use tieline_core::event::PartKind;

use super::window::Window;
use super::wire::{Content, ImageUrl, Message, Part, Request, StreamOptions};
use crate::facts::Facts;
use crate::{failure, prompt};

/// Body of the call.
pub(crate) fn body(
    model: &str,
    messages: Vec<Message>,
    user: &str,
    max_tokens: Option<u32>,
) -> Result<Bytes, AgentFailure> {
    let stream_options = StreamOptions { include_usage: true };
    let request = Request {
        model,
        messages,
        stream: true,
        stream_options,
        user,
        max_tokens,
    };
    let body = serde_json::to_vec(&request);
    body.map(Bytes::from)
        .map_err(|_| failure::new(failure::AGENT_ERROR, "the request can't be written as JSON", false))
}

/// The system prompt, the earlier turns that fit, and the question.
pub(crate) fn messages(
    system_prompt: &str,
    window: &Window,
    request: &AgentRequest,
) -> Result<Vec<Message>, AgentFailure> {
    let filled = Facts::of(request).fill(system_prompt)?;
    let system = (!filled.is_empty()).then(|| text("system", &filled));
    let past = window.of(&request.transcript).into_iter().flat_map(turn);
    Ok(system.into_iter().chain(past).chain([asked(request)]).collect())
}

/// Messages of a probe.
pub(crate) fn probe() -> Vec<Message> {
    vec![text("user", "ping")]
}

fn text(role: &'static str, text: &str) -> Message {
    Message {
        role,
        content: Content::Text(text.to_owned()),
    }
}

fn turn(turn: &Turn) -> [Message; 2] {
    [text("user", &turn.user), text("assistant", &turn.assistant)]
}

/// The question as one user message, with its pictures inline.
pub(crate) fn asked(request: &AgentRequest) -> Message {
    let message = &request.message;
    let words = prompt::text(message, is_shown);
    let images: Vec<_> = prompt::parts(message)
        .filter(|part| is_shown(part))
        .map(image)
        .collect();
    if images.is_empty() {
        return text("user", &words);
    }
    let words = (!words.is_empty()).then_some(Part::Text { text: words });
    Message {
        role: "user",
        content: Content::Parts(words.into_iter().chain(images).collect()),
    }
}

/// Whether a part is sent as a picture. A server refuses the whole question for one picture that it can't load.
fn is_shown(part: &AgentPart) -> bool {
    part.kind == PartKind::Image && !part.unavailable
}

fn image(part: &AgentPart) -> Part {
    Part::ImageUrl {
        image_url: ImageUrl {
            url: prompt::image_url(part),
        },
    }
}
