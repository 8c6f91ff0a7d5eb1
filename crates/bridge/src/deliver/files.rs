//! Files of a final text that are sent as native files of the platform, one by one, once the chat shows the text.
//!
//! A file that can't be sent is tried in its next form. If none works, it becomes a link with its name, in a message after the others.
//! Each settled file and each accepted call is recorded, so that another process continues with the next one.

use std::borrow::Cow;

use tieline_core::connector::{Context, FileCall, FileForm, FileSender, OutgoingFile, SentCall, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tieline_core::ids::ReplyId;
use tieline_core::reply::{DesiredReply, FilesProgress, Progress, ReplyFile, Stage, Step};
use tracing::info;

use super::{Plan, ReplyDelivery, Snapshot, compose_code, mode};
use crate::{delivery_status, integration_log};

/// Most transient failures in a row before a form of a file is given up.
const MAX_FAILURES: usize = 4;

/// Index past the last form of a file.
const NO_FORM: usize = 9;

/// What a call of a delivery shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The reply's text.
    Text,
    /// A file.
    File {
        /// Whether this is the last call for the file: once it is accepted, the chat shows it.
        is_last: bool,
    },
    /// The message with links to the files that could not be sent.
    Links,
}

/// The part of a snapshot that is shown as text.
pub(super) struct TextPart<'a> {
    /// The text.
    pub(super) text: Cow<'a, str>,
    /// Files that are links below it.
    pub(super) files: Cow<'a, [ReplyFile]>,
    /// Number of files that are sent after it.
    pub(super) n_native_files: usize,
    /// Whether the chat needs no text: the answer consists of files only.
    pub(super) is_needless: bool,
}

impl ReplyDelivery<'_> {
    /// The progress of `subject`.
    pub(super) const fn progress_of(&mut self, subject: Subject) -> &mut Progress {
        match subject {
            Subject::Text => &mut self.record.progress,
            Subject::File { .. } => &mut self.record.sent_files.current,
            Subject::Links => &mut self.record.sent_files.links,
        }
    }

    /// The part of `look` that is shown as text, where the other files are sent after it.
    pub(super) fn text_part<'w>(&self, look: Snapshot<'w>) -> TextPart<'w> {
        let native = match look.stage {
            Stage::Final => self.native_files(look.files),
            Stage::Thinking | Stage::Growing => Vec::new(),
        };
        if native.is_empty() {
            return TextPart {
                text: look.text.into(),
                files: look.files.into(),
                n_native_files: 0,
                is_needless: false,
            };
        }
        let all = look.files.iter().enumerate();
        let links: Vec<_> = all
            .filter(|(at, _)| native.binary_search(at).is_err())
            .map(|(_, file)| file.clone())
            .collect();
        let is_blank = look.text.trim().is_empty() && look.notice.is_none() && links.is_empty();
        // A waiting sign that is shown already must be replaced by some text.
        let text = match is_blank {
            true => {
                let names: Vec<_> = look.files.iter().map(|file| file.name.as_str()).collect();
                names.join("\n").into()
            }
            false => look.text.into(),
        };
        TextPart {
            text,
            files: links.into(),
            n_native_files: native.len(),
            // An answer to a message may have to end a sign that the platform shows by itself.
            is_needless: is_blank && look.buttons.is_empty() && self.target.message.as_str().is_empty(),
        }
    }

    /// The next call for the files after the final text. `None`: the chat shows all of them.
    pub(super) fn plan_file(&mut self, files: &[ReplyFile], cx: &Context<'_>) -> Option<Plan> {
        let sender = self.sender()?;
        let native = self.native_files(files);
        while let Some(file) = files.get(self.record.sent_files.settled) {
            let state = &self.record.sent_files;
            let is_native = native.binary_search(&state.settled).is_ok();
            let Some((form, max_bytes)) = self.forms(file).nth(state.refused).filter(|_| is_native) else {
                // A file that has no form, or for which no message is left, is a link in the text already.
                self.settle(state.refused > 0);
                continue;
            };
            let file = self.outgoing(file, form, max_bytes);
            match sender.call(&file, &state.current, cx) {
                Ok(FileCall {
                    call,
                    on_success,
                    is_last,
                }) => {
                    let call = Box::new(ApiCall::Http(call));
                    return Some(Plan::Call(call, on_success, Subject::File { is_last }));
                }
                Err(error) => self.refuse(compose_code(&error)),
            }
        }
        self.plan_links(files, cx)
    }

    /// The message with links to the files that could not be sent: the connector writes it as a proactive one.
    fn plan_links(&self, files: &[ReplyFile], cx: &Context<'_>) -> Option<Plan> {
        let state = &self.record.sent_files;
        let links: Vec<_> = state.as_links.iter().filter_map(|at| files.get(*at)).cloned().collect();
        if links.is_empty() {
            return None;
        }
        let reply = ReplyId::new(format!("{}-files", self.record.id));
        let desired = DesiredReply {
            files: &links,
            proactive: true,
            ..DesiredReply::new(&reply, Stage::Final, "")
        };
        match self.bot.connector.deliver(&desired, &self.target, &state.links, cx) {
            Ok(Step::Call { call, on_success }) => Some(Plan::Call(Box::new(call), on_success, Subject::Links)),
            Ok(Step::Wait { until }) => Some(Plan::Over(super::DeliveryOutcome::NotBefore(until))),
            Ok(Step::Done) => None,
            Err(error) => {
                info!(account.id = %self.bot.account.integration, code = compose_code(&error), "links to files can't be shown");
                None
            }
        }
    }

    /// Classifies the answer to a call.
    pub(super) fn verdict(
        &self,
        sent: &SentCall<'_>,
        answer: &ApiAnswer,
        cx: &Context<'_>,
        subject: Subject,
    ) -> Verdict {
        match self.sender().filter(|_| matches!(subject, Subject::File { .. })) {
            Some(sender) => sender.classify(sent, answer, cx),
            None => self.bot.connector.classify(sent, answer, cx),
        }
    }

    /// Applies the verdict on a file's call. `None` if this form of the file is given up, which is recorded with the next call.
    pub(super) async fn file_verdict(
        &mut self,
        verdict: Verdict,
        call: &ApiCall,
        answer: &ApiAnswer,
    ) -> Option<Verdict> {
        let state = &mut self.record.sent_files;
        let code = match verdict {
            Verdict::Accepted(_) => {
                state.failures = 0;
                return Some(verdict);
            }
            Verdict::Retry { .. } if state.failures + 1 < MAX_FAILURES => {
                state.failures += 1;
                return Some(verdict);
            }
            Verdict::Retry { code }
            | Verdict::Refused { code }
            | Verdict::Closed { code, .. }
            | Verdict::Resting { code, .. } => code,
            Verdict::FallBack { .. }
            | Verdict::SlowDown { .. }
            | Verdict::TokenExpired
            | Verdict::CredentialsRefused { .. } => return Some(verdict),
        };
        let message = format!("a file of an answer is not sent as one: {}, code {code}", call.name());
        let bot = &self.bot.account.integration;
        integration_log::warn(self.world, bot, "file_not_sent", &message).await;
        self.refuse(&code);
        if is_doubtful(answer) {
            // Sent in another form, it could be there twice.
            self.record.sent_files.refused = NO_FORM;
        }
        None
    }

    /// Applies the verdict on the message with links. The platform may allow no further message: the answer is shown all the same, so
    /// that doesn't make it fail, but the ledger says that files are missing. `None` if the links are given up.
    pub(super) async fn links_verdict(&mut self, verdict: Verdict) -> Option<Verdict> {
        let Verdict::Refused { code } = verdict else {
            return Some(verdict);
        };
        let message = format!("links to files of an answer are not sent: code {code}");
        integration_log::warn(self.world, &self.bot.account.integration, "file_not_sent", &message).await;
        delivery_status::note_lost_files(self.world, &self.record.message, &code).await;
        self.record.sent_files.as_links.clear();
        self.is_ahead = true;
        None
    }

    /// Gives up the form of the current file that is being tried.
    fn refuse(&mut self, code: &str) {
        info!(account.id = %self.bot.account.integration, event.key = %self.record.message, code, "form of a file is given up");
        let state = &mut self.record.sent_files;
        (state.refused, state.failures) = (state.refused + 1, 0);
        state.current = Progress::default();
        self.is_ahead = true;
    }

    /// Settles the current file, which the chat shows or which is given up, and moves on to the next.
    pub(super) fn settle(&mut self, as_link: bool) {
        let state = &mut self.record.sent_files;
        if as_link {
            state.as_links.push(state.settled);
        }
        *state = FilesProgress {
            settled: state.settled + 1,
            as_links: std::mem::take(&mut state.as_links),
            ..FilesProgress::default()
        };
    }

    /// The connector's file sender, if files can be sent into this chat. `None`: all of them are links.
    fn sender(&self) -> Option<&'static dyn FileSender> {
        if self.is_pulled() {
            return None;
        }
        let cx = self.bot.context(self.world, None);
        let connector = self.bot.connector;
        connector.files().filter(|sender| sender.reaches(&self.target, &cx))
    }

    /// Indices of the files that are sent as native files, in order. The others are links in the text.
    fn native_files(&self, files: &[ReplyFile]) -> Vec<usize> {
        let most = self
            .sender()
            .map_or(0, |sender| sender.max_files(&self.target).unwrap_or(usize::MAX));
        let all = files.iter().enumerate();
        let sent = all
            .filter(|(_, file)| self.forms(file).next().is_some())
            .map(|(at, _)| at);
        sent.take(most).collect()
    }

    fn forms(&self, file: &ReplyFile) -> impl Iterator<Item = (FileForm, usize)> {
        let most = self.world.settings.max_file_bytes;
        let forms = mode(self.bot).sent_files.forms(file);
        forms.map(move |(form, max_bytes)| (form, max_bytes.min(most)))
    }

    fn outgoing<'f>(&'f self, file: &'f ReplyFile, form: FileForm, max_bytes: usize) -> OutgoingFile<'f> {
        OutgoingFile {
            reply: &self.record.id,
            to: &self.target,
            number: self.record.sent_files.settled,
            redrive: self.record.redrive,
            file,
            form,
            max_bytes,
        }
    }
}

/// Whether the platform may have acted on a call that it didn't confirm.
pub(super) const fn is_doubtful(answer: &ApiAnswer) -> bool {
    match answer {
        ApiAnswer::Unknown => true,
        ApiAnswer::Answered { status, .. } => *status >= 500,
        ApiAnswer::NotSent => false,
    }
}
