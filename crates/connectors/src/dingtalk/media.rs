//! Attachments of messages: a download code leads to a URL, and the URL to the bytes.
//!
//! See [DingTalk Docs/下载机器人接收消息的文件内容](https://open.dingtalk.com/document/development/download-the-file-content-of-the-robot-receiving-message).

use std::time::Duration;

use serde_json::json;
use tieline_core::connector::{Context, Lookup, Media, MediaError, MediaSource};
use tieline_core::event::{Part, PartKind};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};

use super::api_error::Outcome;
use super::call;

/// Timeout of a download.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Attachments of messages, identified by a download code.
#[derive(Debug)]
pub(super) struct MessageFiles;

impl MediaSource for MessageFiles {
    fn locate<'a>(&self, part: &'a Part, cx: &Context<'a>) -> Option<Lookup<'a, Part>> {
        let allow_private = cx.account.allow_private;
        Some(Lookup {
            call: locate(part, cx)?,
            read: Box::new(move |answer| located(part, answer, allow_private)),
        })
    }

    fn download(&self, part: &Part, _cx: &Context<'_>) -> Option<HttpCall> {
        fetch(part)
    }

    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        _disposition: Option<&str>,
        _cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        Ok(open(part, body))
    }
}

/// Requests the download URL. The lifetime of a code isn't documented.
fn locate(part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
    let code = part.locator.get("code")?;
    let robot = part.locator.get("robot")?;
    let body = json!({ "downloadCode": code, "robotCode": robot });
    Some(call::api(
        cx,
        "locate",
        "POST",
        "/v1.0/robot/messageFiles/download",
        &body,
    ))
}

/// Reads the download URL.
fn located(part: &Part, answer: &ApiAnswer, allow_private: bool) -> Result<Part, MediaError> {
    let body = match Outcome::of_api(answer) {
        Outcome::Ok(body) => body,
        Outcome::TokenExpired => return Err(MediaError::TokenExpired),
        Outcome::Refused(_) => return Err(MediaError::Gone),
        Outcome::Throttled { .. } | Outcome::Busy(_) | Outcome::NotSent | Outcome::Lost => {
            return Err(MediaError::Passing);
        }
    };
    let address = body["downloadUrl"]
        .as_str()
        .ok_or(MediaError::Incomplete("downloadUrl"))?;
    Ok(Part {
        locator: json!({ "url": encrypted(address, allow_private) }),
        ..part.clone()
    })
}

/// The URL often has the scheme `http`; the same storage supports `https`.
fn encrypted(address: &str, allow_private: bool) -> String {
    match address.strip_prefix("http://") {
        Some(rest) if !allow_private => format!("https://{rest}"),
        _ => address.to_owned(),
    }
}

/// Downloads the bytes. The URL is signed: an additional header makes the storage refuse it.
fn fetch(part: &Part) -> Option<HttpCall> {
    Some(HttpCall {
        name: "media",
        method: "GET",
        url: part.locator.get("url")?.as_str()?.to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::None,
        timeout: TIMEOUT,
    })
}

/// The bytes are not encrypted. The served name always ends in `.file`, so the name has to be detected.
fn open(part: &Part, bytes: Vec<u8>) -> Media {
    let name = part.name.clone().or_else(|| {
        let stem = match part.kind {
            PartKind::Image => "image",
            PartKind::Audio => "audio",
            PartKind::Video => "video",
            PartKind::File => return None,
        };
        extension(&bytes).map(|extension| format!("{stem}.{extension}"))
    });
    Media { bytes, name }
}

fn extension(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "wav",
        [b'#', b'!', b'A', b'M', b'R', ..] => "amr",
        [b'O', b'g', b'g', b'S', ..] => "ogg",
        [b'I', b'D', b'3', ..] => "mp3",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "mp4",
        _ => return None,
    })
}
