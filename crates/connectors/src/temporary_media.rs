//! Temporary media of WeChat and WeCom: unencrypted bytes behind an id that is valid for three days.

use std::time::Duration;

use tieline_core::connector::{FileForm, Media, MediaError, OutgoingFile};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use url::form_urlencoded::Serializer;

use crate::disposition;
use crate::errcode::Outcome;
use crate::file_upload;

/// Timeout of a download.
const TIMEOUT: Duration = Duration::from_secs(60);

/// API path for downloading a part.
pub(crate) fn path(part: &Part) -> Option<String> {
    let id = part.locator.get("media")?.as_str()?;
    let query = Serializer::new(String::new()).append_pair("media_id", id).finish();
    Some(format!("/cgi-bin/media/get?{query}"))
}

/// The platform's name for a form of a file.
pub(crate) const fn kind(form: FileForm) -> &'static str {
    match form {
        FileForm::Picture => "image",
        FileForm::File => "file",
    }
}

/// API path for uploading a file.
pub(crate) fn upload_path(form: FileForm) -> String {
    format!("/cgi-bin/media/upload?type={}", kind(form))
}

/// Uploads a file to a URL.
pub(crate) fn upload(file: &OutgoingFile<'_>, url: String) -> HttpCall {
    HttpCall {
        name: "upload_file",
        method: "POST",
        url,
        headers: Vec::new(),
        body: file_upload::form(file, "media", Vec::new()),
        token: TokenPlace::Query("access_token"),
        timeout: file_upload::TIMEOUT,
    }
}

/// Downloads a URL.
pub(crate) fn download(url: String, token: TokenPlace) -> HttpCall {
    HttpCall {
        name: "media",
        method: "GET",
        url,
        headers: Vec::new(),
        body: Body::Empty,
        token,
        timeout: TIMEOUT,
    }
}

/// The bytes of a part. Refusals have status 200 too, with JSON in place of the bytes.
///
/// # Errors
/// [`MediaError`] of the refusal, as classified by `outcome`.
pub(crate) fn open(
    part: &Part,
    body: Vec<u8>,
    disposition: Option<&str>,
    outcome: fn(&ApiAnswer) -> Outcome,
) -> Result<Media, MediaError> {
    if body.starts_with(b"{") && disposition.is_none() {
        return Err(refused(200, &body, outcome));
    }
    let name = part.name.clone();
    Ok(Media {
        bytes: body,
        name: name.or_else(|| disposition.and_then(disposition::file_name)),
    })
}

/// Why a download was refused, as classified by `outcome`.
pub(crate) fn refused(status: u16, body: &[u8], outcome: fn(&ApiAnswer) -> Outcome) -> MediaError {
    error(&outcome(&ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_vec(),
    }))
}

/// Converts a response without bytes to the error of a download.
pub(crate) const fn error(outcome: &Outcome) -> MediaError {
    match outcome {
        Outcome::TokenExpired => MediaError::TokenExpired,
        Outcome::SlowDown { .. } | Outcome::Passing(_) | Outcome::Lost(_) => MediaError::Passing,
        Outcome::Refused { .. } | Outcome::Ok(_) => MediaError::Gone,
    }
}
