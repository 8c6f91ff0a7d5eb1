//! Files in answers: pictures as photos, others as documents, each in one call.
//!
//! See [Telegram Docs/sendPhoto](https://core.telegram.org/bots/api#sendphoto) and
//! [sendDocument](https://core.telegram.org/bots/api#senddocument).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::{
    Context, FileCall, FileForm, FileLimit, FileSender, LimitScope, OutgoingFile, Planned, SentCall, SentFiles, Verdict,
};
use tieline_core::event::ChatKind;
use tieline_core::http_types::{ApiAnswer, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, Progress};

use super::api_error::{self, Meaning};
use super::settings;
use crate::file_upload;

/// File limits of the platform.
pub(super) const LIMITS: SentFiles = SentFiles {
    picture: Some(FileLimit {
        max_bytes: 10_000_000,
        types: &["image/jpeg", "image/png", "image/webp"],
    }),
    file: Some(FileLimit {
        max_bytes: 50_000_000,
        types: &[],
    }),
    source: "https://core.telegram.org/bots/api#sending-files",
};

/// Sends files.
#[derive(Debug)]
pub(super) struct Files;

/// Progress of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TelegramFile {
    /// Id of the supergroup that the group has become.
    chat: Option<i64>,
}

impl FileSender for Files {
    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError> {
        let shown: TelegramFile = progress.read()?;
        Ok(FileCall {
            call: send(file, shown.chat, cx),
            on_success: progress.clone(),
            is_last: true,
        })
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        let Planned { before, .. }: Planned<TelegramFile> = match sent.read() {
            Ok(planned) => planned,
            Err(verdict) => return verdict,
        };
        let error = match api_error::result(answer) {
            Ok(_) => return Verdict::Accepted(sent.on_success.clone()),
            Err(error) => error,
        };
        let code = error.code;
        match error.meaning {
            Meaning::TooFast => Verdict::SlowDown {
                retry_after: error.retry_after_s.map(Duration::from_secs),
                code,
                // As for texts.
                scope: LimitScope::Chat,
            },
            Meaning::BadToken | Meaning::UnknownMethod => Verdict::CredentialsRefused { code },
            Meaning::NotDone => Verdict::Retry { code },
            Meaning::Migrated(chat) if before.chat != Some(chat) => Verdict::FallBack {
                progress: Progress::write(&TelegramFile { chat: Some(chat) }),
                code,
            },
            // The platform has no idempotency keys: a repeated file could appear twice.
            _ => Verdict::Refused { code },
        }
    }
}

fn send(file: &OutgoingFile<'_>, migrated: Option<i64>, cx: &Context<'_>) -> HttpCall {
    let (method, field) = match file.form {
        FileForm::Picture => ("sendPhoto", "photo"),
        FileForm::File => ("sendDocument", "document"),
    };
    let to = file.to;
    let chat = migrated.map_or_else(|| to.chat.id.as_str().to_owned(), |chat| chat.to_string());
    let mut fields = vec![("chat_id".to_owned(), chat)];
    if let Some(thread) = to.chat.thread.as_ref().filter(|it| it.as_str().parse::<i64>().is_ok()) {
        fields.push(("message_thread_id".to_owned(), thread.as_str().to_owned()));
    }
    HttpCall {
        name: match to.chat.kind {
            ChatKind::Direct => "file",
            ChatKind::Group => "group_file",
        },
        method: "POST",
        url: settings::url(cx.account, "", method),
        headers: Vec::new(),
        body: file_upload::form(file, field, fields),
        token: TokenPlace::None,
        timeout: file_upload::TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tieline_core::account::{Account, ConnectionMode, Credentials};
    use tieline_core::connector::{Connector as _, Unaddressed};
    use tieline_core::http_types::ApiCall;
    use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
    use tieline_core::notice::Language;
    use tieline_core::thinking_display::ThinkingDisplay;
    use tieline_core::timestamp::Timestamp;

    use super::*;
    use crate::telegram::Telegram;

    #[track_caller]
    fn check(answer: &ApiAnswer, expected: &Verdict) {
        let mode = ConnectionMode::Webhook;
        let credentials: Credentials =
            std::iter::once(("botToken", "7012345678:AAE-demo_token_0123456789abcdefghij")).collect();
        let account = Account {
            integration: IntegrationId::new("int_1"),
            organization: OrganizationId::new("default"),
            mode,
            prepared: Telegram.prepare(mode, &credentials, &BTreeMap::default()).unwrap(),
            credentials,
            endpoints: BTreeMap::default(),
            language: Language::English,
            streaming: true,
            thinking: ThinkingDisplay::default(),
            ids: IdMint::new(&[7; 32]),
            allow_private: false,
        };
        let cx = Context {
            account: &account,
            now: Timestamp::from_secs(0),
            random: [0; 32],
            welcome: None,
            unaddressed: Unaddressed::Ignored,
        };
        let progress = Progress::write(&TelegramFile::default());
        let sent = SentCall {
            call: &ApiCall::Http(settings::call(&account, "file", "sendDocument", &serde_json::json!({}))),
            progress: &progress,
            on_success: &progress,
        };
        assert_eq!(Files.classify(&sent, answer, &cx), *expected, "{answer:?}");
    }

    fn answered(status: u16) -> ApiAnswer {
        ApiAnswer::Answered {
            status,
            retry_after_s: None,
            body: b"<html>".to_vec(),
        }
    }

    #[test]
    fn file_that_may_have_been_sent_is_not_repeated() {
        for status in [500, 502, 503, 504] {
            let code = format!("http_{status}");
            check(&answered(status), &Verdict::Refused { code });
        }
        let code = "unreachable".to_owned();
        check(&ApiAnswer::Unknown, &Verdict::Refused { code: code.clone() });
        check(&ApiAnswer::NotSent, &Verdict::Retry { code });
    }

    #[test]
    fn unknown_token_is_refused_credentials() {
        for (status, code) in [(401, "unauthorized"), (404, "not_found")] {
            let code = code.to_owned();
            check(&answered(status), &Verdict::CredentialsRefused { code });
        }
    }
}
