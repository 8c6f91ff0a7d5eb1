//! Pictures in answers: uploaded as temporary media, then sent as customer-service messages. Other files can't be sent.
//!
//! See [WeChat Docs/新增临时素材](https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/New_temporary_materials.html).

use serde_json::json;
use tieline_core::connector::{
    Context, FileCall, FileLimit, FileSender, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::{ComposeError, Progress, ReplyTarget};

use super::api_error::outcome;
use super::classify;
use super::compose::{most_messages, post};
use super::settings::{ReplyWay, Settings, address};
use crate::file_upload::{self, UploadProgress};
use crate::{errcode, temporary_media};

/// File limits of the platform.
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
    /// A reply in the response to a callback can only be text.
    fn reaches(&self, _to: &ReplyTarget, cx: &Context<'_>) -> bool {
        Settings::of(cx.account).way == ReplyWay::CustomerService
    }

    /// The text needs one of the messages that the person's message allows.
    fn max_files(&self, to: &ReplyTarget) -> Option<usize> {
        usize::try_from(most_messages(to).saturating_sub(1)).ok()
    }

    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        if file.to.expires_at.is_some_and(|end| end <= cx.now) {
            return Err(ComposeError::Expired);
        }
        let upload = || temporary_media::upload(file, address(cx.account, &temporary_media::upload_path(file.form)));
        let send = |key: &str| {
            let body = json!({ "touser": file.to.chat.id, "msgtype": "image", "image": { "media_id": key } });
            post("send_picture", "/cgi-bin/message/custom/send", &body, cx)
        };
        Ok(file_upload::next_call(progress, upload, send)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, .. }: Planned<UploadProgress> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        match before.key {
            None => errcode::uploaded(outcome(answer)),
            Some(_) => classify::message(outcome(answer), sent.on_success),
        }
    }
}
