//! Converts a question to the parameters of a call, in either version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tieline_core::agent::{AgentPart, AgentRequest};

use super::card::Endpoint;
use super::refs::ContextRef;
use super::wire::Version;
use crate::{derived_id, facts, prompt};

/// MIME types of output that the bridge can show.
const OUTPUT_MODES: &[&str] = &[
    "text/plain",
    "text/markdown",
    "application/json",
    "image/png",
    "image/jpeg",
    "application/pdf",
    "application/octet-stream",
];

/// The parameters of a call that sends the question.
pub(crate) fn params(request: &AgentRequest, to: &ContextRef, endpoint: &Endpoint) -> Value {
    let version = endpoint.version;
    let mut message = Map::new();
    message.insert("messageId".into(), message_id(request).into());
    message.insert("parts".into(), parts(request, version).into());
    message.insert("metadata".into(), facts::object(request).into());
    let (role, kind) = match version {
        Version::V1 => ("ROLE_USER", None),
        Version::V03 => ("user", Some("message")),
    };
    message.insert("role".into(), role.into());
    let optional = [
        ("kind", kind),
        ("contextId", to.context.as_deref()),
        ("taskId", to.waiting_task.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            message.insert(name.into(), value.into());
        }
    }
    // A server that can't stream is polled: a blocking call that lasts as long as the task would be cut off by proxies in between.
    let waiting = match version {
        Version::V1 => ("returnImmediately", !endpoint.streams),
        Version::V03 => ("blocking", endpoint.streams),
    };
    let mut params = json!({
        "message": message,
        "configuration": {"acceptedOutputModes": OUTPUT_MODES, "historyLength": 0},
    });
    params["configuration"][waiting.0] = waiting.1.into();
    with_tenant(params, endpoint)
}

/// The parameters of a call about a task.
pub(crate) fn task_params(task: &str, endpoint: &Endpoint) -> Value {
    with_tenant(json!({"id": task}), endpoint)
}

fn with_tenant(mut params: Value, endpoint: &Endpoint) -> Value {
    if let Some(tenant) = &endpoint.tenant {
        params["tenant"] = tenant.as_str().into();
    }
    params
}

/// The message id: the same on every attempt; a new one for a message that an operator redrives.
fn message_id(request: &AgentRequest) -> String {
    let redrives = request.message.redrives.to_string();
    derived_id::uuid(&[
        "a2a message",
        request.organization.as_str(),
        request.message.id.as_str(),
        &redrives,
    ])
}

fn parts(request: &AgentRequest, version: Version) -> Vec<Value> {
    let message = &request.message;
    let files = prompt::parts(message).filter(|part| !part.unavailable);
    let text = prompt::text(message, |part| !part.unavailable);
    let text = (!text.is_empty()).then(|| match version {
        Version::V1 => json!({"text": text}),
        Version::V03 => json!({"kind": "text", "text": text}),
    });
    text.into_iter().chain(files.map(|part| file(part, version))).collect()
}

fn file(part: &AgentPart, version: Version) -> Value {
    let (source, value) = match (&part.inline, version) {
        (Some(bytes), Version::V1) => ("raw", STANDARD.encode(bytes)),
        (Some(bytes), Version::V03) => ("bytes", STANDARD.encode(bytes)),
        (None, Version::V1) => ("url", part.url.clone()),
        (None, Version::V03) => ("uri", part.url.clone()),
    };
    let (name, mime) = match version {
        Version::V1 => ("filename", "mediaType"),
        Version::V03 => ("name", "mimeType"),
    };
    let mut file = json!({});
    file[source] = value.into();
    for (field, value) in [(name, &part.name), (mime, &part.mime)] {
        if let Some(value) = value {
            file[field] = value.as_str().into();
        }
    }
    match version {
        Version::V1 => file,
        Version::V03 => json!({"kind": "file", "file": file}),
    }
}
