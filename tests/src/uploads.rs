//! Files that bots upload and send: multipart forms as the platforms parse them, and the files in the chats.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use axum::http::{HeaderMap, header};

/// A multipart form with one file, as its last part.
#[derive(Debug)]
pub struct Form {
    /// Plain fields.
    pub fields: HashMap<String, String>,
    /// The name of the file's field.
    pub field: String,
    /// The file's name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A file that a bot has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// The group, or the person in a direct chat.
    pub chat: String,
    /// Whether it is shown as a picture.
    pub is_picture: bool,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Files of all bots of a platform.
#[derive(Debug, Default)]
pub struct Uploads {
    /// By key: the bot that uploaded it, and the file.
    uploaded: HashMap<String, (String, SentFile)>,
    sent: Vec<SentFile>,
}

impl Form {
    /// Parses a body of `multipart/form-data`.
    ///
    /// # Errors
    /// If it isn't one with exactly one file, as its last part.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Self> {
        let kind = headers.get(header::CONTENT_TYPE).context("no content type")?.to_str()?;
        let boundary = kind
            .strip_prefix("multipart/form-data; boundary=")
            .with_context(|| format!("the content type is {kind}"))?;
        ensure!(headers.contains_key(header::CONTENT_LENGTH), "no content length");
        let (delimiter, mut rest) = (format!("\r\n--{boundary}").into_bytes(), body);
        rest = rest.strip_prefix(&delimiter[2..]).context("no first boundary")?;
        let mut form = Self {
            fields: HashMap::new(),
            field: String::new(),
            name: String::new(),
            bytes: Vec::new(),
        };
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            ensure!(form.field.is_empty(), "a part behind the file");
            let end = find(part, &delimiter).context("a part without an end")?;
            let head_end = find(part, b"\r\n\r\n").context("a part without a head")?;
            let (head, bytes) = (std::str::from_utf8(&part[..head_end])?, &part[head_end + 4..end]);
            let name = attribute(head, "name").context("a part without a name")?;
            match attribute(head, "filename") {
                Some(file) => {
                    ensure!(head.to_lowercase().contains("content-type:"), "a file without a type");
                    (form.field, form.name, form.bytes) = (name, file, bytes.to_vec());
                }
                None => {
                    form.fields.insert(name, String::from_utf8(bytes.to_vec())?);
                }
            }
            rest = &part[end + delimiter.len()..];
        }
        ensure!(rest.starts_with(b"--"), "no last boundary");
        ensure!(!form.field.is_empty(), "no file");
        Ok(form)
    }

    /// Whether its plain fields are exactly these.
    #[must_use]
    pub fn has_fields(&self, names: &[&str]) -> bool {
        self.fields.len() == names.len() && names.iter().all(|name| self.fields.contains_key(*name))
    }
}

impl Uploads {
    /// Stores a file that a bot has uploaded.
    pub fn keep(&mut self, bot: &str, key: &str, is_picture: bool, form: Form) {
        let file = SentFile {
            chat: String::new(),
            is_picture,
            name: form.name,
            bytes: form.bytes,
        };
        self.uploaded.insert(key.to_owned(), (bot.to_owned(), file));
    }

    /// Sends a file that a bot has uploaded as a picture or a file. `false` if there is none.
    pub fn send(&mut self, bot: &str, key: &str, is_picture: bool, chat: &str) -> bool {
        let found = self.uploaded.get(key);
        let found = found.filter(|(of, file)| of == bot && file.is_picture == is_picture);
        let file = found.map(|(_, file)| SentFile {
            chat: chat.to_owned(),
            ..file.clone()
        });
        self.sent.extend(file.clone());
        file.is_some()
    }

    /// Shows a file in a chat that was uploaded with the call that sends it.
    pub fn show(&mut self, chat: &str, is_picture: bool, form: Form) {
        self.sent.push(SentFile {
            chat: chat.to_owned(),
            is_picture,
            name: form.name,
            bytes: form.bytes,
        });
    }

    /// The files in a chat, the oldest first.
    #[must_use]
    pub fn of_chat(&self, chat: &str) -> Vec<SentFile> {
        self.sent.iter().filter(|file| file.chat == chat).cloned().collect()
    }
}

/// Whether the bytes begin like a picture.
#[must_use]
pub fn is_picture(bytes: &[u8]) -> bool {
    [&b"\x89PNG"[..], b"\xff\xd8\xff", b"GIF8"]
        .iter()
        .any(|magic| bytes.starts_with(magic))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// `name="value"` of a part's head.
fn attribute(head: &str, name: &str) -> Option<String> {
    let (_, rest) = head.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}
