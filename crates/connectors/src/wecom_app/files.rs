//! Files in answers: uploaded as temporary media, then sent as a message.
//!
//! See [WeCom Docs/上传临时素材](https://developer.work.weixin.qq.com/document/path/90253).

use serde_json::json;
use tieline_core::connector::{
    Context, FileCall, FileLimit, FileSender, LimitScope, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::{ComposeError, Progress};

use super::api_error::{Outcome, named, outcome};
use super::classify::unreached;
use super::compose::{SEND_FILE, member, post};
use super::settings::{Settings, address};
use crate::file_upload::{self, UploadProgress};
use crate::{errcode, temporary_media};

/// File limits of the platform.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: Some(FileLimit {
        max_bytes: 10 * 1024 * 1024,
        types: &["image/jpeg", "image/png"],
    }),
    file: Some(FileLimit {
        max_bytes: 20 * 1024 * 1024,
        types: &[],
    }),
    source: "https://developer.work.weixin.qq.com/document/path/90253",
};
/// Interval of the duplicate check for repeated messages, in seconds: the platform's maximum.
const CHECK_S: u32 = 4 * 60 * 60;

/// Uploads and sends files.
#[derive(Debug)]
pub(super) struct Files;

impl FileSender for Files {
    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        let member = member(file.to)?;
        let kind = temporary_media::kind(file.form);
        let upload = || temporary_media::upload(file, address(cx.account, &temporary_media::upload_path(file.form)));
        let send = |key: &str| {
            let mut body = json!({
                "touser": member,
                "msgtype": kind,
                "agentid": Settings::of(cx.account).agent_id,
                // Each upload has a key of its own, so only a repetition of this call is dropped.
                "enable_duplicate_check": 1,
                "duplicate_check_interval": CHECK_S,
            });
            body[kind] = json!({ "media_id": key });
            post(SEND_FILE, "/cgi-bin/message/send", &body, cx)
        };
        Ok(file_upload::next_call(progress, upload, send)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, .. }: Planned<UploadProgress> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        if before.key.is_none() {
            return errcode::uploaded(outcome(answer));
        }
        match outcome(answer) {
            Outcome::Ok(body) => match unreached(&body) {
                Some(code) => Verdict::Refused { code: code.to_owned() },
                None => Verdict::Accepted(sent.on_success.clone()),
            },
            Outcome::TokenExpired => Verdict::TokenExpired,
            Outcome::SlowDown { after, code } => Verdict::SlowDown {
                retry_after: Some(after),
                code,
                scope: LimitScope::Bot,
            },
            // Safe to retry because of the duplicate check.
            Outcome::Passing(code) | Outcome::Lost(code) => Verdict::Retry { code },
            Outcome::Refused { code } => Verdict::Refused { code: named(code) },
        }
    }
}
