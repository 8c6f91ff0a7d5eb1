//! Files of answers: uploaded as temporary media, then sent as a message.
//!
//! See [WeCom Docs/上传临时素材](https://developer.work.weixin.qq.com/document/path/90253).

use serde_json::json;
use tieline_core::connector::{
    Context, FileLimit, FileSender, LimitScope, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, Progress, ReplyTarget, Step};

use super::api_error::{Outcome, named, outcome};
use super::classify::unreached;
use super::compose::{SEND_FILE, TIMEOUT, member};
use super::settings::{Settings, address};
use crate::file_upload::{self, UploadProgress};
use crate::{errcode, temporary_media};

/// What the platform takes.
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
/// How far back a message that is sent again is recognized, in seconds: the platform's longest.
const CHECK_S: u32 = 4 * 60 * 60;

/// Uploads and sends files.
#[derive(Debug)]
pub(super) struct Files;

impl FileSender for Files {
    fn deliver(
        &self,
        file: &OutgoingFile<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        let member = member(to)?;
        let kind = temporary_media::kind(file.form);
        let upload = || temporary_media::upload(file, address(cx.account, &temporary_media::upload_path(file.form)));
        let send = |key: &str| {
            let mut body = json!({
                "touser": member,
                "msgtype": kind,
                "agentid": Settings::of(cx.account).agent_id,
                // Each upload has a key of its own, so only a repetition of this very call is dropped.
                "enable_duplicate_check": 1,
                "duplicate_check_interval": CHECK_S,
            });
            body[kind] = json!({ "media_id": key });
            HttpCall {
                name: SEND_FILE,
                method: "POST",
                url: address(cx.account, "/cgi-bin/message/send"),
                headers: Vec::new(),
                body: Body::Json(body.to_string()),
                token: TokenPlace::Query("access_token"),
                timeout: TIMEOUT,
            }
        };
        Ok(file_upload::step(progress, upload, send)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { on_success, .. }: Planned<UploadProgress> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        if !on_success.sent {
            return errcode::uploaded(outcome(answer), on_success);
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
            // The check against duplicates makes a repetition harmless.
            Outcome::Passing(code) | Outcome::Lost(code) => Verdict::Retry { code },
            Outcome::Refused { code } => Verdict::Refused { code: named(code) },
        }
    }
}
