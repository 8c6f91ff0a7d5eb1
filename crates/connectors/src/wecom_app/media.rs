//! Pictures, recordings and videos of messages.
//!
//! See [WeCom Docs/获取临时素材](https://developer.work.weixin.qq.com/document/path/90254).

use tieline_core::connector::{Context, Media, MediaError, MediaSource};
use tieline_core::event::Part;
use tieline_core::http_types::{HttpCall, TokenPlace};

use super::api_error::outcome;
use super::settings::address;
use crate::temporary_media;

/// Media of messages.
pub(super) struct TemporaryMedia;

impl MediaSource for TemporaryMedia {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let url = address(cx.account, &temporary_media::path(part)?);
        Some(temporary_media::download(url, TokenPlace::Query("access_token")))
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
