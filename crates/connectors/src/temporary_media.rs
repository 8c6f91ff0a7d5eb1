//! Media of WeChat and WeCom: plain bytes behind an id that is valid for three days.

use std::time::Duration;

use tieline_core::connector::{FileForm, Media, MediaError, OutgoingFile};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use url::form_urlencoded::Serializer;

use crate::disposition;
use crate::errcode::Outcome;
use crate::file_upload;

/// How long a download may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The path of the API that serves a part.
pub(crate) fn path(part: &Part) -> Option<String> {
    let id = part.locator.get("media")?.as_str()?;
    let query = Serializer::new(String::new()).append_pair("media_id", id).finish();
    Some(format!("/cgi-bin/media/get?{query}"))
}

/// The platform's word for a form of a file.
pub(crate) const fn kind(form: FileForm) -> &'static str {
    match form {
        FileForm::Picture => "image",
        FileForm::File => "file",
    }
}

/// The path of the API that takes a file.
pub(crate) fn upload_path(form: FileForm) -> String {
    format!("/cgi-bin/media/upload?type={}", kind(form))
}

/// The upload of a file to an address.
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

/// The download of an address.
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

/// The bytes of a part. A refusal comes with status 200 too, as JSON in place of the bytes.
///
/// # Errors
/// [`MediaError`] of the refusal, as `outcome` reads it.
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

/// Why a download was refused, as `outcome` reads the answer.
pub(crate) fn refused(status: u16, body: &[u8], outcome: fn(&ApiAnswer) -> Outcome) -> MediaError {
    error(&outcome(&ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_vec(),
    }))
}

/// What an answer without bytes means for a download.
pub(crate) const fn error(outcome: &Outcome) -> MediaError {
    match outcome {
        Outcome::TokenExpired => MediaError::TokenExpired,
        Outcome::SlowDown { .. } | Outcome::Passing(_) | Outcome::Lost(_) => MediaError::Passing,
        Outcome::Refused { .. } | Outcome::Ok(_) => MediaError::Gone,
    }
}
