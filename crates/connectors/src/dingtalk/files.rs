//! Files in answers: uploaded with the old API, then sent by the robot with the new one.
//!
//! See [DingTalk Docs/上传媒体文件](https://open.dingtalk.com/document/development/upload-media-files) and
//! [机器人发送消息的消息类型](https://open.dingtalk.com/document/development/robot-message-type).

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::{
    Context, FileCall, FileForm, FileLimit, FileSender, LimitScope, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::http_types::{ApiAnswer, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, Progress, ReplyTarget};

use super::api_error::Outcome;
use super::call::{self, OAPI_BASE};
use super::handle::Handle;
use crate::errcode::{self, Codes};
use crate::file_upload::{self, UploadProgress};

/// File limits of the platform.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: Some(FileLimit {
        max_bytes: 20 * 1024 * 1024,
        types: &["image/jpeg", "image/png", "image/gif", "image/bmp"],
    }),
    // The types of a robot's file message.
    file: Some(FileLimit {
        max_bytes: 20 * 1024 * 1024,
        types: &[
            "application/pdf",
            "application/zip",
            "application/x-zip-compressed",
            "application/vnd.rar",
            "application/x-rar-compressed",
            "application/msword",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ],
    }),
    source: "https://open.dingtalk.com/document/development/upload-media-files",
};
/// Code with which the old API wraps another one, which is in `sub_code`.
///
/// See [DingTalk Docs/全局错误码](https://open.dingtalk.com/document/development/server-api-error-codes-1).
const WRAPPED: i64 = 88;
/// Error codes of the old API. 90002, 90006 and 90018 are exceeded rate limits.
const CODES: Codes = Codes {
    token: &[40001, 40014, 42001],
    limits: &[
        (90002, Duration::from_secs(2)),
        (90018, Duration::from_secs(2)),
        (90006, Duration::from_secs(2)),
    ],
    pause: Duration::from_secs(2),
    may_be_absent: false,
};

/// Uploads and sends files.
#[derive(Debug)]
pub(super) struct Files;

impl FileSender for Files {
    /// A `sessionWebhook` accepts no files.
    fn reaches(&self, to: &ReplyTarget, _cx: &Context<'_>) -> bool {
        Handle::of(to).way_by_api(to).is_some()
    }

    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        let way = Handle::of(file.to).way_by_api(file.to).ok_or(ComposeError::Expired)?;
        let send = |key: &str| {
            let (kind, param) = content(file, key);
            call::by_api(&way, kind, &param, file.to, cx)
        };
        Ok(file_upload::next_call(progress, || upload(file, cx), send)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, .. }: Planned<UploadProgress> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        match before.key {
            None => errcode::uploaded(upload_outcome(answer)),
            Some(_) => was_sent(Outcome::of_api(answer), sent),
        }
    }
}

fn upload(file: &OutgoingFile<'_>, cx: &Context<'_>) -> HttpCall {
    let kind = match file.form {
        FileForm::Picture => "image",
        FileForm::File => "file",
    };
    let base = cx.account.endpoint("oapiBase", OAPI_BASE);
    HttpCall {
        name: "upload_file",
        method: "POST",
        url: format!("{base}/media/upload?type={kind}"),
        headers: Vec::new(),
        body: file_upload::form(file, "media", Vec::new()),
        token: TokenPlace::Query("access_token"),
        timeout: file_upload::TIMEOUT,
    }
}

/// `msgKey` and `msgParam`.
fn content(file: &OutgoingFile<'_>, key: &str) -> (&'static str, Value) {
    match file.form {
        FileForm::Picture => ("sampleImageMsg", json!({ "photoURL": key })),
        FileForm::File => {
            let name = file_upload::name(file);
            let kind = file_upload::extension(&name).unwrap_or_default();
            (
                "sampleFile",
                json!({ "mediaId": key, "fileName": name, "fileType": kind }),
            )
        }
    }
}

/// Meaning of the old API's answer to an upload. It often wraps an error, that of the access token and of rate limits too.
fn upload_outcome(answer: &ApiAnswer) -> errcode::Outcome {
    match wrapped_code(answer) {
        Some(code) => errcode::Outcome::of_code(code, None, &CODES),
        None => errcode::Outcome::of(answer, &CODES),
    }
}

fn wrapped_code(answer: &ApiAnswer) -> Option<i64> {
    let body = answer.json().filter(|body| body["errcode"] == WRAPPED)?;
    let code = &body["sub_code"];
    code.as_i64().or_else(|| code.as_str()?.parse().ok())
}

fn was_sent(outcome: Outcome, sent: &SentCall<'_>) -> Verdict {
    match outcome {
        Outcome::Ok(body) => {
            let has = |list: &str| body[list].as_array().is_some_and(|ids| !ids.is_empty());
            let unreached = ["invalidStaffIdList", "flowControlledStaffIdList"];
            match unreached.into_iter().find(|list| has(list)) {
                Some(list) => Verdict::Refused { code: list.to_owned() },
                None => Verdict::Accepted(sent.on_success.clone()),
            }
        }
        Outcome::Throttled { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::NotSent => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        // Messages aren't idempotent, so one is not repeated if it may have been sent.
        Outcome::Lost => Verdict::Refused {
            code: "no_answer".to_owned(),
        },
        Outcome::Busy(code) | Outcome::Refused(code) => Verdict::Refused { code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploaded(body: &Value) -> errcode::Outcome {
        upload_outcome(&ApiAnswer::Answered {
            status: 200,
            retry_after_s: None,
            body: body.to_string().into_bytes(),
        })
    }

    #[test]
    fn wrapped_code_decides_about_an_upload() {
        let wrapped = |sub_code: Value| uploaded(&json!({ "errcode": 88, "sub_code": sub_code, "errmsg": "x" }));
        assert_eq!(wrapped(json!("40014")), errcode::Outcome::TokenExpired);
        let slow = errcode::Outcome::SlowDown {
            after: Duration::from_secs(2),
            code: "90018".to_owned(),
        };
        assert_eq!(wrapped(json!("90018")), slow);
        assert_eq!(wrapped(json!(90018)), slow);
        assert_eq!(wrapped(json!("60011")), errcode::Outcome::Refused { code: 60011 });
        assert_eq!(wrapped(Value::Null), errcode::Outcome::Refused { code: 88 });
        assert_eq!(uploaded(&json!({ "errcode": 40014 })), errcode::Outcome::TokenExpired);
    }
}
