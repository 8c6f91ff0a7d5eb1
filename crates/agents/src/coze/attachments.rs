//! Converts a question to the messages of a chat. Files are uploaded if their bytes are in the request, else sent as links.

use reqwest::multipart::{Form, Part as FormPart};
use tieline_core::agent::{AgentFailure, AgentPart, AgentRequest};
use tieline_core::event::PartKind;
use tracing::warn;

use super::Coze;
use super::codes;
use super::wire::{Envelope, Message, Part, PartContent, Uploaded};
use crate::api::document;
use crate::env::Env;
use crate::failure;
use crate::prompt;

/// The question as one message. A file that Coze refuses to store becomes a link in the text.
pub(super) async fn message(coze: &Coze, request: &AgentRequest, env: &Env) -> Result<Message, AgentFailure> {
    let mut files = Vec::new();
    let mut carried = Vec::new();
    for part in prompt::parts(&request.message).filter(|part| is_carried(part)) {
        if let Some(content) = content(coze, part, env).await? {
            let kind = kind(part.kind);
            files.push(Part { kind, content });
            carried.push(part.url.as_str());
        }
    }
    let text = prompt::text(&request.message, |part| carried.contains(&part.url.as_str()));
    compose(text, files)
}

/// Coze refuses a list of a single text, and one of files without a text.
fn compose(text: String, files: Vec<Part>) -> Result<Message, AgentFailure> {
    let Some(first) = files.first() else {
        return Ok(question("text", text));
    };
    let text = if text.trim().is_empty() {
        first.kind.to_owned()
    } else {
        text
    };
    let kind = "text";
    let content = PartContent::Text(text);
    let parts: Vec<_> = [Part { kind, content }].into_iter().chain(files).collect();
    let parts = serde_json::to_string(&parts).map_err(|_| failure::bad_request())?;
    Ok(question("object_string", parts))
}

fn question(content_type: &'static str, content: String) -> Message {
    Message {
        role: "user",
        kind: "question",
        content_type,
        content,
    }
}

/// Chat messages can't contain videos.
fn is_carried(part: &AgentPart) -> bool {
    !part.unavailable && part.kind != PartKind::Video
}

const fn kind(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Image => "image",
        PartKind::Audio => "audio",
        PartKind::Video | PartKind::File => "file",
    }
}

async fn content(coze: &Coze, part: &AgentPart, env: &Env) -> Result<Option<PartContent>, AgentFailure> {
    let Some(bytes) = &part.inline else {
        return Ok(Some(PartContent::FileUrl(part.url.clone())));
    };
    let mime = prompt::image_type(part, bytes);
    let name = part.name.clone().unwrap_or_else(|| prompt::file_name(mime));
    let form = || {
        let file = FormPart::stream(bytes.clone()).file_name(name.clone());
        Some(Form::new().part("file", file.mime_str(mime).ok()?))
    };
    let url = coze.api.url(&["v1", "files", "upload"]);
    let response = match coze.api.upload(&url, form, coze.idle, env).await {
        Ok(response) => response,
        Err(fault) if matches!(fault.status, 400 | 413 | 415) => return Ok(unsent(&fault.failure)),
        Err(fault) => return Err(fault.failure),
    };
    let uploaded: Envelope<Uploaded> = document(response, coze.idle).await?;
    match uploaded.error() {
        Some((error, log_id)) if codes::is_bad_request(error.code) => Ok(unsent(&codes::failure_of(&error, log_id))),
        Some((error, log_id)) => Err(codes::failure_of(&error, log_id)),
        None => {
            let uploaded = uploaded
                .data
                .ok_or_else(|| failure::bad_answer("expected an uploaded file, got none"))?;
            Ok(Some(PartContent::FileId(uploaded.id)))
        }
    }
}

fn unsent(failure: &AgentFailure) -> Option<PartContent> {
    warn!(error = %failure.code, "agent refused an uploaded file, sending its link in the text");
    None
}
