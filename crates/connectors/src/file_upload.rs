//! Files in answers that are uploaded first, and then sent by the key that the platform returned.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::{FileCall, FileForm, OutgoingFile};
use tieline_core::http_types::{Body, FilePart, HttpCall};
use tieline_core::reply::{Progress, UnreadableProgress};

use crate::file_name;

/// Timeout for fetching a file and sending it on, together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(40);

/// Progress of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UploadProgress {
    /// The platform's key of the uploaded file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// The next call: first `upload`, then `send` with the uploaded file's key.
///
/// # Errors
/// [`UnreadableProgress`] if `progress` is malformed.
pub(crate) fn next_call(
    progress: &Progress,
    upload: impl FnOnce() -> HttpCall,
    send: impl FnOnce(&str) -> HttpCall,
) -> Result<FileCall, UnreadableProgress> {
    let shown: UploadProgress = progress.read()?;
    let (call, is_last) = match &shown.key {
        None => (upload(), false),
        Some(key) => (send(key), true),
    };
    Ok(FileCall {
        call,
        on_success: progress.clone(),
        is_last,
    })
}

/// A form whose last part is the file.
pub(crate) fn form(file: &OutgoingFile<'_>, field: &'static str, fields: Vec<(String, String)>) -> Body {
    Body::FileAt {
        url: file.file.url.clone(),
        max_bytes: file.max_bytes,
        form: Some(FilePart {
            fields,
            field,
            name: name(file),
            mime: file.file.mime.clone(),
        }),
    }
}

/// The file's name, without folders and control characters.
pub(crate) fn name(file: &OutgoingFile<'_>) -> String {
    file_name::clean(&file.file.name).unwrap_or_else(|| match file.form {
        FileForm::Picture => "image".to_owned(),
        FileForm::File => "file".to_owned(),
    })
}

/// The part of a name after its last dot, in lower case.
pub(crate) fn extension(name: &str) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    Some(extension.to_ascii_lowercase())
}
