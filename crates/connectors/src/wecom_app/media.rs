//! Pictures, recordings and films of messages: plain bytes behind an id that is valid for three days.
//!
//! See [WeCom Docs/获取临时素材](https://developer.work.weixin.qq.com/document/path/90254).

use std::time::Duration;

use tieline_core::connector::{Context, Media, MediaError, MediaSource};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use url::form_urlencoded::Serializer;

use super::api_error::{Outcome, outcome};
use super::settings::address;
use crate::disposition;

/// How long a download may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Media of messages.
pub(super) struct TemporaryMedia;

impl MediaSource for TemporaryMedia {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let id = part.locator.get("media")?.as_str()?;
        let query = Serializer::new(String::new()).append_pair("media_id", id).finish();
        Some(HttpCall {
            name: "media",
            method: "GET",
            url: address(cx.account, &format!("/cgi-bin/media/get?{query}")),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::Query("access_token"),
            timeout: TIMEOUT,
        })
    }

    fn refused(&self, status: u16, body: &[u8]) -> MediaError {
        why(status, body)
    }

    /// A refusal comes with status 200 too, as JSON in place of the bytes.
    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        _cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        if body.starts_with(b"{") && disposition.is_none() {
            return Err(why(200, &body));
        }
        Ok(Media {
            bytes: body,
            name: part
                .name
                .clone()
                .or_else(|| disposition.and_then(disposition::file_name)),
        })
    }
}

fn why(status: u16, body: &[u8]) -> MediaError {
    let answer = ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_vec(),
    };
    match outcome(&answer) {
        Outcome::TokenExpired => MediaError::TokenExpired,
        Outcome::SlowDown { .. } | Outcome::Passing(_) | Outcome::Lost(_) => MediaError::Passing,
        Outcome::Refused { .. } | Outcome::Ok(_) => MediaError::Gone,
    }
}
