//! Converts a question to the input of a response.

use tieline_core::agent::{AgentPart, AgentRequest};
use tieline_core::event::PartKind;

use super::Dialect;
use super::wire::{Input, Message, Part};
use crate::prompt;

/// The question, with the attachments that the dialect supports.
pub(crate) fn input(request: &AgentRequest, dialect: Dialect) -> Input {
    let carried = |part: &AgentPart| dialect == Dialect::Openai && is_carried(part);
    let text = prompt::text(&request.message, carried);
    let parts: Vec<_> = prompt::parts(&request.message)
        .filter(|part| carried(part))
        .map(attachment)
        .collect();
    if parts.is_empty() {
        return Input::Text(text);
    }
    let text = (!text.is_empty()).then_some(Part::Text { text });
    Input::Messages([Message {
        role: "user",
        content: text.into_iter().chain(parts).collect(),
    }])
}

/// Whether an attachment is sent as such. A server refuses the whole question for a picture that it can't load or a file that it can't
/// read: PDF is the only file type that every model with file input reads.
fn is_carried(part: &AgentPart) -> bool {
    let is_pdf = || {
        part.mime.as_deref() == Some("application/pdf")
            || part
                .name
                .as_deref()
                .is_some_and(|name| name.to_lowercase().ends_with(".pdf"))
    };
    !part.unavailable && (part.kind == PartKind::Image || part.kind == PartKind::File && is_pdf())
}

fn attachment(part: &AgentPart) -> Part {
    match part.kind {
        PartKind::Image => Part::Image {
            image_url: prompt::image_url(part),
        },
        _ => Part::File {
            file_url: part.url.clone(),
        },
    }
}
