//! Attachments of messages: behind a link that is valid for 5 minutes, encrypted with the callback's key or with one of their own.
//!
//! See [WeCom Docs/接收消息](https://developer.work.weixin.qq.com/document/path/100719).

use std::time::Duration;

use tieline_core::connector::{Context, Media, MediaError, MediaSource};
use tieline_core::event::Part;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};

use super::settings::Settings;
use crate::callback_cipher::CallbackKey;
use crate::disposition;

/// Timeout. Files have at most 100 MB; the link is valid for 5 minutes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Files of messages, behind a signed link.
#[derive(Debug)]
pub(super) struct MessageFiles;

impl MediaSource for MessageFiles {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        download(part, cx)
    }

    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        open(part, body, disposition, cx)
    }
}

/// The download call. The link is signed: it needs no token, and its host can be any object storage.
fn download(part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
    let url = part.locator.get("url")?.as_str()?;
    let secure = url.starts_with("https://") || (cx.account.allow_private && url.starts_with("http://"));
    secure.then(|| HttpCall {
        name: "media",
        method: "GET",
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::None,
        timeout: PATIENCE,
    })
}

/// Decrypts a downloaded file.
fn open(part: &Part, body: Vec<u8>, disposition: Option<&str>, cx: &Context<'_>) -> Result<Media, MediaError> {
    let own = match part.locator.get("key").and_then(|key| key.as_str()) {
        Some(key) => Some(CallbackKey::parse_file_key(key).ok_or(MediaError::Incomplete("a key of 32 bytes"))?),
        None => None,
    };
    let callback = || Some(&Settings::of(cx)?.webhook.as_ref()?.key);
    // Without a key the agent would get encrypted bytes, which is worse than no file.
    let key = own
        .as_ref()
        .or_else(callback)
        .ok_or(MediaError::Incomplete("its key"))?;
    let bytes = key
        .open_file(body)
        .map_err(|error| MediaError::BadCipher(error.reason()))?;
    Ok(Media {
        bytes,
        name: part
            .name
            .clone()
            .or_else(|| disposition.and_then(disposition::file_name)),
    })
}
