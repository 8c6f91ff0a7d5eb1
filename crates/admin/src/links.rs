//! Signed links: each gives its bearer access to one attachment or one answer.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tieline_bridge::courier::DownloadError;
use tieline_bridge::error_chain::chain;
use tieline_bridge::media::{self, FetchError, Fetched};
use tieline_bridge::reply_links::ReplyPage;
use tieline_bridge::{chunked_file, reply_links};
use tracing::{error, warn};

use crate::path::TokenInPath;
use crate::problem::Problem;
use crate::state::AdminState;

/// Serves a part of a message, decrypted, to the bearer of a signed link: an agent, for one hour.
#[utoipa::path(get, path = "/api/media/{token}", tag = "links", security(()),
    responses((status = 200, description = "the bytes, with their type and name", content_type = "application/octet-stream"),
        (status = 404, body = Problem, description = "`link_not_found`: not ours, too old, or what it names is gone"),
        (status = 413, body = Problem, description = "`media_too_large`: longer than this deployment can pass on"),
        (status = 503, body = Problem, description = "`unavailable`: too many files are being fetched; try again"),
        (status = 502, body = Problem, description = "`media_unavailable`: the platform doesn't deliver the file")))]
pub(crate) async fn part(
    State(state): State<AdminState>,
    TokenInPath(token): TokenInPath,
) -> Result<Response, Problem> {
    let fetched = media::open(&state.world, &token).await.map_err(explain)?;
    Ok(deliver(fetched))
}

/// Longest answer that isn't counted against the memory budget.
const SHORT_BYTES: usize = 16 * 1024;

/// Shown by a link while its answer is still being written. In both languages, because the reader's language isn't known without a record.
const PENDING: &str =
    "回答还在生成中，请稍后刷新本页。\n\nThe answer is still being written. Please reload this page in a moment.";

/// Serves the whole text of an answer that was too long for the platform, for seven days.
#[utoipa::path(get, path = "/api/replies/{token}", tag = "links", security(()),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 404, body = Problem, description = "`link_not_found`"),
        (status = 503, body = Problem, description = "`unavailable`: too many long answers are being read; try again")))]
pub(crate) async fn text(
    State(state): State<AdminState>,
    TokenInPath(token): TokenInPath,
) -> Result<Response, Problem> {
    let world = &state.world;
    let headers = guards("text/plain; charset=utf-8");
    let (organization, text) = match reply_links::page(world, &token).await?.ok_or_else(missing)? {
        ReplyPage::Pending => return Ok((headers, PENDING).into_response()),
        ReplyPage::Text(_, text) if text.len() <= SHORT_BYTES => return Ok((headers, text).into_response()),
        ReplyPage::Text(organization, text) => (organization, text),
    };
    // A reader may take its time, and a link may have many readers.
    let room = world.file_budget.take(&organization, text.len(), Duration::ZERO).await;
    let room = room.ok_or_else(|| Problem::unavailable("too many long answers are being read; try again"))?;
    Ok((headers, streamed(room.fill(text.into_bytes()))).into_response())
}

/// Bytes in chunks, which free their memory budget as soon as they are sent or their reader is too slow.
fn streamed(bytes: Bytes) -> impl IntoResponse {
    let length = [(CONTENT_LENGTH, HeaderValue::from(bytes.len()))];
    (length, Body::from_stream(chunked_file::pieces(bytes)))
}

fn missing() -> Problem {
    Problem::not_found("link_not_found", "link, or it is too old")
}

fn explain(failure: FetchError) -> Problem {
    match failure {
        FetchError::BadLink | FetchError::Gone | FetchError::NoLocator => missing(),
        FetchError::Store(failure) => failure.into(),
        FetchError::Download(DownloadError::TooLong(max)) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "media_too_large",
            format!("the file has more than {max} bytes"),
        ),
        FetchError::NoRoom(_) => Problem::unavailable("too many files are being fetched; try again"),
        FetchError::Late(_) | FetchError::Download(_) | FetchError::Media(_) => {
            warn!(error = %chain(&failure), "attachment can't be fetched from the platform");
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "media_unavailable",
                "the platform doesn't deliver the file",
            )
        }
    }
}

/// Headers for untrusted content served from our origin: no script in it may run.
fn guards(mime: &str) -> [(HeaderName, HeaderValue); 3] {
    let fallback = HeaderValue::from_static("application/octet-stream");
    [
        (CONTENT_TYPE, HeaderValue::from_str(mime).unwrap_or(fallback)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
    ]
}

fn deliver(fetched: Fetched) -> Response {
    let mut response = (guards(&fetched.mime), streamed(fetched.bytes)).into_response();
    let disposition = attachment(fetched.name.as_deref());
    match HeaderValue::from_str(&disposition) {
        Ok(disposition) => drop(response.headers_mut().insert(CONTENT_DISPOSITION, disposition)),
        Err(failure) => error!(error = %failure, "file name can't be sent"),
    }
    response
}

/// `Content-Disposition` for a file name in any script.
///
/// See [RFC 6266/4.3](https://www.rfc-editor.org/rfc/rfc6266#section-4.3).
fn attachment(name: Option<&str>) -> String {
    let Some(name) = name else {
        return "attachment".to_owned();
    };
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || ".-_ ".contains(c) {
            c
        } else {
            '_'
        }
    };
    let ascii: String = name.chars().map(plain).collect();
    format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{}",
        percent_encoded(name)
    )
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_file_and_busy_fetcher_have_different_errors() {
        let code = |failure: FetchError| explain(failure).code();
        assert_eq!(code(DownloadError::TooLong(1).into()), "media_too_large");
        assert_eq!(code(FetchError::NoRoom(Duration::ZERO)), "unavailable");
        assert_eq!(code(FetchError::Late(Duration::ZERO)), "media_unavailable");
    }

    #[test]
    fn names_survive_in_any_script_and_break_no_header() {
        assert_eq!(attachment(None), "attachment");
        let named = attachment(Some("报告 \"1\"\r\n.pdf"));
        assert!(named.starts_with("attachment; filename=\"__ _1___.pdf\""), "{named}");
        assert!(
            named.ends_with("filename*=UTF-8''%E6%8A%A5%E5%91%8A%20%221%22%0D%0A.pdf"),
            "{named}"
        );
        assert!(HeaderValue::from_str(&named).is_ok());
    }
}
