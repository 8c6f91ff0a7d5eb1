//! Pictures, recordings and videos of messages, behind an id that is valid for three days.
//!
//! See [WeChat Docs/获取临时素材](https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/Get_temporary_materials.html).

use serde_json::json;
use tieline_core::connector::{Context, Lookup, Media, MediaError, MediaSource};
use tieline_core::event::{Part, PartKind};
use tieline_core::http_types::{ApiAnswer, HttpCall, TokenPlace};

use super::api_error::{Outcome, outcome};
use super::settings::{ReplyWay, Settings, address};
use crate::temporary_media;

/// Media of messages.
pub(super) struct TemporaryMedia;

impl MediaSource for TemporaryMedia {
    /// For a video the API returns a URL.
    fn locate<'a>(&self, part: &'a Part, cx: &Context<'a>) -> Option<Lookup<'a, Part>> {
        if part.kind != PartKind::Video {
            return None;
        }
        let allow_private = cx.account.allow_private;
        Some(Lookup {
            call: by_id(part, cx)?,
            read: Box::new(move |answer| located(part, answer, allow_private)),
        })
    }

    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let public = |url: &str| temporary_media::download(secure(url, cx.account.allow_private), TokenPlace::None);
        if let Some(url) = part.locator["url"].as_str() {
            return Some(public(url));
        }
        // Accounts without the reply API lack the media API too, but a picture is also at a public URL.
        match (Settings::of(cx.account).way, part.locator["picture"].as_str()) {
            (ReplyWay::Passive, Some(picture)) => Some(public(picture)),
            _ => by_id(part, cx),
        }
    }

    fn refused(&self, status: u16, body: &[u8]) -> MediaError {
        temporary_media::refused(status, body, outcome)
    }

    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        _cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        temporary_media::open(part, body, disposition, outcome)
    }
}

fn by_id(part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
    let url = address(cx.account, &temporary_media::path(part)?);
    Some(temporary_media::download(url, TokenPlace::Query("access_token")))
}

/// The platform writes URLs with `http`; the same servers support `https`.
fn secure(url: &str, allow_private: bool) -> String {
    match url.strip_prefix("http://") {
        Some(rest) if !allow_private => format!("https://{rest}"),
        _ => url.to_owned(),
    }
}

fn located(part: &Part, answer: &ApiAnswer, allow_private: bool) -> Result<Part, MediaError> {
    let body = match outcome(answer) {
        Outcome::Ok(body) => body,
        other => return Err(temporary_media::error(&other)),
    };
    let url = body["video_url"].as_str().ok_or(MediaError::Incomplete("video_url"))?;
    Ok(Part {
        locator: json!({ "url": secure(url, allow_private) }),
        ..part.clone()
    })
}
