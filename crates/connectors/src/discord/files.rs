//! Files in answers: attachments of a separate message. Clients display pictures among them.
//!
//! See [Discord Docs/Uploading Files](https://discord.com/developers/docs/reference#uploading-files).

use serde::{Deserialize, Serialize};
use serde_json::json;
use tieline_core::connector::{
    Context, FileCall, FileLimit, FileSender, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::event::ChatKind;
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::reply::{ComposeError, Progress, ReplyTarget};

use super::api_error::{self, Meaning, Outcome};
use super::compose::{MAX_NONCE, segment};
use super::settings::{Settings, address, is_snowflake};
use super::{call, plan};
use crate::file_upload;

/// File limits for a bot in a server without boosts.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: None,
    file: Some(FileLimit {
        max_bytes: 10 * 1024 * 1024,
        types: &[],
    }),
    source: "https://discord.com/developers/docs/reference#uploading-files",
};

/// Sends files.
#[derive(Debug)]
pub(super) struct Files;

/// Progress of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DiscordFile {
    /// Whether this call uses the interaction's token.
    by_token: bool,
    /// The interaction's token doesn't work any more.
    token_closed: bool,
}

impl FileSender for Files {
    /// The channel of a person who hasn't written yet is known only to the delivery of the text.
    fn reaches(&self, to: &ReplyTarget, _cx: &Context<'_>) -> bool {
        let channel = to.chat.id.as_str();
        is_snowflake(channel) && (to.chat.kind != ChatKind::Direct || channel != to.asker.as_str())
    }

    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        let shown: DiscordFile = progress.read()?;
        let token = plan::interaction_token(file.to, cx).filter(|_| !shown.token_closed);
        let on_success = DiscordFile {
            by_token: token.is_some(),
            ..shown
        };
        Ok(FileCall {
            call: send(file, token, cx),
            on_success: Progress::write(&on_success),
            is_last: true,
        })
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, on_success }: Planned<DiscordFile> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        match api_error::outcome(answer) {
            Outcome::Done(_) => Verdict::Accepted(sent.on_success.clone()),
            // Follow-ups of an interaction have no nonce: a repeated one could appear twice.
            Outcome::Later(Verdict::Retry { code }) if on_success.by_token && *answer != ApiAnswer::NotSent => {
                Verdict::Refused { code }
            }
            Outcome::Later(verdict) => verdict,
            Outcome::Refused {
                meaning: Meaning::TokenGone | Meaning::BadToken,
                code,
            } if on_success.by_token => Verdict::FallBack {
                progress: Progress::write(&DiscordFile {
                    token_closed: true,
                    ..before
                }),
                code,
            },
            Outcome::Refused {
                meaning: Meaning::BadToken,
                code,
            } => Verdict::CredentialsRefused { code },
            Outcome::Refused { code, .. } => Verdict::Refused { code },
        }
    }
}

fn send(file: &OutgoingFile<'_>, token: Option<&str>, cx: &Context<'_>) -> HttpCall {
    let name = file_upload::name(file);
    let mut payload = json!({
        "allowed_mentions": { "parse": [] },
        "attachments": [{ "id": 0, "filename": name }],
    });
    let mut call = match token {
        Some(token) => {
            let application = &Settings::of(cx.account).application;
            let path = format!("/webhooks/{application}/{}", segment(token));
            call::bare("follow_up_file", "POST", address(cx.account, &path), None)
        }
        None => {
            let mut nonce = cx.account.ids.other("t", &file.subject());
            nonce.truncate(MAX_NONCE);
            payload["nonce"] = nonce.into();
            payload["enforce_nonce"] = true.into();
            let path = format!("/channels/{}/messages", file.to.chat.id);
            call::with_token("send_file", "POST", address(cx.account, &path), None, cx)
        }
    };
    let fields = vec![("payload_json".to_owned(), payload.to_string())];
    call.body = file_upload::form(file, "files[0]", fields);
    call.timeout = file_upload::TIMEOUT;
    call
}
