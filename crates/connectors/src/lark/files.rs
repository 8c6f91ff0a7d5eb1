//! Files in answers: uploaded, then sent as a separate message.
//!
//! See [Feishu Docs/上传图片](https://open.feishu.cn/document/server-docs/im-v1/image/create) and
//! [上传文件](https://open.feishu.cn/document/server-docs/im-v1/file/create).

use serde::{Deserialize, Serialize};
use serde_json::json;
use tieline_core::connector::{
    Context, FileCall, FileForm, FileLimit, FileSender, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, Progress};

use super::CALL_TIMEOUT;
use super::api_error::Meaning;
use super::classify::read_answer;
use super::compose::{id_type, segment};
use super::plan::{self, Hook};
use super::settings::address;
use crate::file_upload;

/// File limits of the platform.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: Some(FileLimit {
        max_bytes: 10 * 1024 * 1024,
        types: &[
            "image/jpeg",
            "image/png",
            "image/webp",
            "image/gif",
            "image/bmp",
            "image/x-icon",
            "image/vnd.microsoft.icon",
            "image/tiff",
            "image/heic",
        ],
    }),
    file: Some(FileLimit {
        max_bytes: 30 * 1024 * 1024,
        types: &[],
    }),
    source: "https://open.feishu.cn/document/server-docs/im-v1/file/create",
};
/// The names of the calls.
pub(super) const UPLOAD_PICTURE: &str = "upload_picture";
pub(super) const UPLOAD_FILE: &str = "upload_file";
pub(super) const SEND_FILE: &str = "send_file";

/// Uploads and sends files.
#[derive(Debug)]
pub(super) struct Files;

/// Progress of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LarkFile {
    /// Its key, once it is uploaded.
    key: Option<String>,
    /// Number of messages to reply to that turned out to be gone.
    gone: u32,
    /// Whether the chat doesn't support replies in topics.
    no_topic: bool,
}

impl FileSender for Files {
    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        let shown: LarkFile = progress.read()?;
        let (call, is_last) = match &shown.key {
            None => (upload(file, cx), false),
            Some(key) => (send(file, key, &shown, cx)?, true),
        };
        Ok(FileCall {
            call,
            on_success: progress.clone(),
            is_last,
        })
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, .. }: Planned<LarkFile> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        let read = match read_answer(answer) {
            Ok(read) => read,
            Err(verdict) => return verdict,
        };
        let code = read.code.to_string();
        let another = |progress: LarkFile| Verdict::FallBack {
            progress: Progress::write(&progress),
            code: code.clone(),
        };
        match read.meaning {
            None if before.key.is_some() => Verdict::Accepted(sent.on_success.clone()),
            None => {
                let key = ["image_key", "file_key"].iter().find_map(|name| read.body.text(name));
                match key.map(str::to_owned) {
                    Some(key) => Verdict::Accepted(Progress::write(&LarkFile {
                        key: Some(key),
                        ..before
                    })),
                    None => Verdict::Refused { code },
                }
            }
            Some(Meaning::Token) => Verdict::TokenExpired,
            Some(Meaning::TargetGone) if before.key.is_some() => another(LarkFile {
                gone: before.gone + 1,
                ..before
            }),
            Some(Meaning::NoTopic) if !before.no_topic => another(LarkFile {
                no_topic: true,
                ..before
            }),
            Some(_) => Verdict::Refused { code },
        }
    }
}

fn upload(file: &OutgoingFile<'_>, cx: &Context<'_>) -> HttpCall {
    let (name, path, field, fields) = match file.form {
        FileForm::Picture => {
            let fields = vec![("image_type".to_owned(), "message".to_owned())];
            (UPLOAD_PICTURE, "/open-apis/im/v1/images", "image", fields)
        }
        FileForm::File => {
            let name = file_upload::name(file);
            let kind = file_type(&name).to_owned();
            let fields = vec![("file_type".to_owned(), kind), ("file_name".to_owned(), name)];
            (UPLOAD_FILE, "/open-apis/im/v1/files", "file", fields)
        }
    };
    HttpCall {
        timeout: file_upload::TIMEOUT,
        ..call(name, path, file_upload::form(file, field, fields), cx)
    }
}

/// The platform's type of a file, by its name. Audio and video would need another kind of message.
fn file_type(name: &str) -> &'static str {
    match file_upload::extension(name).as_deref() {
        Some("pdf") => "pdf",
        Some("doc" | "docx") => "doc",
        Some("xls" | "xlsx") => "xls",
        Some("ppt" | "pptx") => "ppt",
        _ => "stream",
    }
}

fn send(file: &OutgoingFile<'_>, key: &str, shown: &LarkFile, cx: &Context<'_>) -> Result<HttpCall, ComposeError> {
    let (kind, content) = match file.form {
        FileForm::Picture => ("image", json!({ "image_key": key })),
        FileForm::File => ("file", json!({ "file_key": key })),
    };
    // Another target makes another message.
    let subject = format!("{} {} {}", file.subject(), shown.gone, shown.no_topic);
    let mut body = json!({
        "msg_type": kind,
        "content": content.to_string(),
        "uuid": cx.account.ids.other("tlc-", &subject),
    });
    let path = match plan::hook(file.to, shown.gone)? {
        Hook::Message(message) => {
            body["reply_in_thread"] = (file.to.chat.thread.is_some() && !shown.no_topic).into();
            format!("/open-apis/im/v1/messages/{}/reply", segment(message))
        }
        Hook::Chat(chat) => {
            body["receive_id"] = chat.into();
            format!("/open-apis/im/v1/messages?receive_id_type={}", id_type(chat))
        }
    };
    Ok(call(SEND_FILE, &path, Body::Json(body.to_string()), cx))
}

fn call(name: &'static str, path: &str, body: Body, cx: &Context<'_>) -> HttpCall {
    HttpCall {
        name,
        method: "POST",
        url: address(cx.account, path),
        headers: Vec::new(),
        body,
        token: TokenPlace::Bearer,
        timeout: CALL_TIMEOUT,
    }
}
