//! Pictures of answers: uploaded as temporary media, then sent as customer-service messages. There is no message for other files.
//!
//! See [WeChat Docs/新增临时素材](https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/New_temporary_materials.html).

use serde_json::json;
use tieline_core::connector::{Context, FileLimit, FileSender, OutgoingFile, Planned, SentCall, SentFiles, Verdict};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, Progress, ReplyTarget, Step};

use super::api_error::outcome;
use super::classify;
use super::compose::TIMEOUT;
use super::settings::{ReplyWay, Settings, address};
use crate::file_upload::{self, UploadProgress};
use crate::{errcode, temporary_media};

/// What the platform takes.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: Some(FileLimit {
        max_bytes: 10 * 1024 * 1024,
        types: &["image/jpeg", "image/png", "image/gif", "image/bmp"],
    }),
    file: None,
    source: "https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/New_temporary_materials.html",
};

/// Uploads and sends pictures.
#[derive(Debug)]
pub(super) struct Pictures;

impl FileSender for Pictures {
    /// What answers a callback is text.
    fn reaches(&self, _to: &ReplyTarget, cx: &Context<'_>) -> bool {
        Settings::of(cx.account).way == ReplyWay::CustomerService
    }

    fn deliver(
        &self,
        file: &OutgoingFile<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        if to.expires_at.is_some_and(|end| end <= cx.now) {
            return Err(ComposeError::Expired);
        }
        let upload = || temporary_media::upload(file, address(cx.account, &temporary_media::upload_path(file.form)));
        let send = |key: &str| HttpCall {
            name: "send_picture",
            method: "POST",
            url: address(cx.account, "/cgi-bin/message/custom/send"),
            headers: Vec::new(),
            body: Body::Json(
                json!({ "touser": to.chat.id, "msgtype": "image", "image": { "media_id": key } }).to_string(),
            ),
            token: TokenPlace::Query("access_token"),
            timeout: TIMEOUT,
        };
        Ok(file_upload::step(progress, upload, send)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { on_success, .. }: Planned<UploadProgress> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        match on_success.sent {
            true => classify::message(outcome(answer), sent.on_success),
            false => errcode::uploaded(outcome(answer), on_success),
        }
    }
}
