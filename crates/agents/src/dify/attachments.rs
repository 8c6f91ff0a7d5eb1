//! Attachments of a question: uploaded if their bytes are in the request, else sent as links.

use reqwest::multipart::{Form, Part};
use tieline_core::agent::{AgentFailure, AgentPart, AgentRequest};
use tieline_core::event::PartKind;
use tracing::warn;

use super::Dify;
use super::wire::{File, Source, Uploaded};
use crate::api::document;
use crate::env::Env;
use crate::prompt;

/// A question that is ready to be sent.
pub(super) struct Question {
    pub(super) query: String,
    pub(super) files: Vec<File>,
}

/// Uploads attachments that have bytes, and writes the text. A file that the app refuses to store becomes a link in the text.
pub(super) async fn prepare(
    dify: &Dify,
    request: &AgentRequest,
    user: &str,
    env: &Env,
) -> Result<Question, AgentFailure> {
    let mut files = Vec::new();
    let mut carried = Vec::new();
    for part in prompt::parts(&request.message).filter(|part| !part.unavailable) {
        if let Some(source) = source(dify, part, user, env).await? {
            let kind = kind(part.kind);
            files.push(File { kind, source });
            carried.push(part.url.as_str());
        }
    }
    let mut query = prompt::text(&request.message, |part| carried.contains(&part.url.as_str()));
    // The app refuses a question without text.
    if query.trim().is_empty() {
        query = files.first().map_or("…", |file| file.kind).to_owned();
    }
    Ok(Question { query, files })
}

async fn source(dify: &Dify, part: &AgentPart, user: &str, env: &Env) -> Result<Option<Source>, AgentFailure> {
    let Some(bytes) = &part.inline else {
        let url = part.url.clone();
        return Ok(Some(Source::RemoteUrl { url }));
    };
    let mime = prompt::image_type(part, bytes);
    let name = part.name.clone().unwrap_or_else(|| prompt::file_name(mime));
    let form = || {
        let file = Part::stream(bytes.clone())
            .file_name(name.clone())
            .mime_str(mime)
            .ok()?;
        Some(Form::new().part("file", file).text("user", user.to_owned()))
    };
    match dify
        .api
        .upload(&dify.api.url(&["files", "upload"]), form, dify.idle, env)
        .await
    {
        Ok(response) => {
            let uploaded: Uploaded = document(response, dify.idle).await?;
            let upload_file_id = uploaded.id;
            Ok(Some(Source::LocalFile { upload_file_id }))
        }
        Err(fault) if matches!(fault.status, 400 | 413 | 415) => {
            warn!(error = %fault.failure.code, "agent refused an uploaded file, sending its link in the text");
            Ok(None)
        }
        Err(fault) => Err(fault.failure),
    }
}

const fn kind(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Image => "image",
        PartKind::Audio => "audio",
        PartKind::Video => "video",
        PartKind::File => "document",
    }
}
