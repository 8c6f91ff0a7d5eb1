//! Files of answers sent as native pictures and files of the platform, one by one, once the text is shown.

use serde::{Deserialize, Serialize};

use super::{Context, SentCall, Verdict};
use crate::http_types::{ApiAnswer, HttpCall};
use crate::ids::ReplyId;
use crate::reply::{ComposeError, Progress, ReplyFile, ReplyTarget};

/// Sends files of answers as native files. A file that isn't sent that way is a link with its name.
pub trait FileSender: Sync {
    /// Whether files can be sent to this target. `false`: all of them are links.
    fn reaches(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        let _ = (to, cx);
        true
    }

    /// Most native files of an answer to this target, where the platform counts its messages: the others are links in the text. `None`: any number.
    fn max_files(&self, to: &ReplyTarget) -> Option<usize> {
        let _ = to;
        None
    }

    /// The next call from `progress` of this file towards the chat showing it.
    ///
    /// # Errors
    /// [`ComposeError`] if no call can show it: the file is then a link.
    fn call(&self, file: &OutgoingFile<'_>, progress: &Progress, cx: &Context<'_>) -> Result<FileCall, ComposeError>;

    /// Classifies the answer to such a call. [`Verdict::Refused`] refuses only this form of the file.
    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict;
}

/// A call for a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileCall {
    /// The call.
    pub call: HttpCall,
    /// The file's progress once the platform has accepted it, without the ids from its answer.
    pub on_success: Progress,
    /// Whether the chat shows the file after this call: then `on_success` is not read again.
    pub is_last: bool,
}

/// A file to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutgoingFile<'a> {
    /// The reply that it belongs to.
    pub reply: &'a ReplyId,
    /// The target.
    pub to: &'a ReplyTarget,
    /// Its number among the reply's files.
    pub number: usize,
    /// The redrive of its message for which the reply is shown: another redrive sends the file again.
    pub redrive: u32,
    /// The file.
    pub file: &'a ReplyFile,
    /// The form in which it is sent.
    pub form: FileForm,
    /// Most bytes allowed in that form.
    pub max_bytes: usize,
}

impl OutgoingFile<'_> {
    /// A text unique to this file and form: idempotency keys are derived from it.
    #[must_use]
    pub fn subject(&self) -> String {
        let Self {
            reply,
            number,
            redrive,
            form,
            ..
        } = self;
        format!("{reply} file {number} {form:?} {redrive}")
    }
}

/// The form in which a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileForm {
    /// A picture, shown in the chat.
    Picture,
    /// A file with its name, for download.
    File,
}

/// Which files a mode sends as native pictures and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentFiles {
    /// Pictures. `None`: they are sent as files.
    pub picture: Option<FileLimit>,
    /// Files. `None`: they are links.
    pub file: Option<FileLimit>,
    /// Source of the numbers. Empty where nothing is sent.
    pub source: &'static str,
}

/// Limits of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// Most bytes.
    pub max_bytes: usize,
    /// MIME types. Empty: all of them.
    pub types: &'static [&'static str],
}

impl SentFiles {
    /// No native files: all files are links.
    pub const NONE: Self = Self {
        picture: None,
        file: None,
        source: "",
    };

    /// The forms in which `file` may be sent, the best one first, with the most bytes allowed in each.
    pub fn forms(&self, file: &ReplyFile) -> impl Iterator<Item = (FileForm, usize)> {
        let mime = mime(file);
        let is_picture = mime.starts_with("image/");
        let picture = self.picture.filter(|_| is_picture).map(|it| (FileForm::Picture, it));
        let file = self.file.map(|it| (FileForm::File, it));
        let fits = move |limit: &FileLimit| limit.types.is_empty() || limit.types.contains(&mime.as_str());
        let forms = [picture, file].into_iter().flatten();
        forms
            .filter(move |(_, limit)| fits(limit))
            .map(|(form, limit)| (form, limit.max_bytes))
    }
}

/// MIME types by file name extension, for files whose agent gives none.
const BY_NAME: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("bmp", "image/bmp"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("rar", "application/vnd.rar"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
];

/// The MIME type of a file, without parameters: as the agent says, else by the extension of its name or address.
fn mime(file: &ReplyFile) -> String {
    let told = file
        .mime
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if !told.is_empty() && told != "application/octet-stream" {
        return told;
    }
    let address = file.url.split(['?', '#']).next().unwrap_or_default();
    let by_end = |of: &str| {
        let (_, end) = of.rsplit_once('.')?;
        let known = BY_NAME.iter().find(|(known, _)| known.eq_ignore_ascii_case(end));
        known.map(|(_, mime)| (*mime).to_owned())
    };
    by_end(&file.name).or_else(|| by_end(address)).unwrap_or(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limits: SentFiles, mime: &str, expected: &[FileForm]) {
        let file = ReplyFile {
            url: "https://a.test/f".into(),
            name: "f".into(),
            mime: mime.into(),
        };
        let forms: Vec<_> = limits.forms(&file).map(|(form, _)| form).collect();
        assert_eq!(forms, expected, "{mime}");
    }

    #[test]
    fn missing_type_is_derived_from_name_or_address() {
        let mime_of = |url: &str, name: &str, told: &str| {
            mime(&ReplyFile {
                url: url.into(),
                name: name.into(),
                mime: told.into(),
            })
        };
        assert_eq!(mime_of("https://a.test/x", "A.PDF", ""), "application/pdf");
        assert_eq!(
            mime_of("https://a.test/x.png?a=b.zip", "image", "application/octet-stream"),
            "image/png"
        );
        assert_eq!(mime_of("https://a.test/x.png", "a.pdf", "text/plain"), "text/plain");
        assert_eq!(mime_of("https://a.test/x", "a", ""), "");
    }

    #[test]
    fn picture_of_an_unsupported_type_is_a_file() {
        let all = SentFiles {
            picture: Some(FileLimit {
                max_bytes: 1,
                types: &["image/png"],
            }),
            file: Some(FileLimit {
                max_bytes: 2,
                types: &[],
            }),
            source: "",
        };
        check(all, "image/png", &[FileForm::Picture, FileForm::File]);
        check(all, "Image/PNG; a=b", &[FileForm::Picture, FileForm::File]);
        check(all, "image/svg+xml", &[FileForm::File]);
        check(all, "", &[FileForm::File]);
        check(SentFiles { file: None, ..all }, "application/pdf", &[]);
        check(SentFiles { file: None, ..all }, "image/png", &[FileForm::Picture]);
        check(SentFiles::NONE, "image/png", &[]);
    }
}
