//! Content blocks of a chat message (text, reasoning and files), in the formats that agents use.
//!
//! See [LangChain Docs/Messages, standard content blocks](https://docs.langchain.com/oss/python/langchain/messages).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tieline_core::agent::AgentEvent;
use tieline_core::reply::ReplyFile;

/// A part of a message's content.
#[derive(Debug, PartialEq)]
pub(crate) enum Block {
    Text(String),
    Reasoning(String),
    File(FileBlock),
}

/// A file, by URL or by content.
#[derive(Debug, PartialEq)]
pub(crate) struct FileBlock {
    pub(crate) source: String,
    pub(crate) is_base64: bool,
    pub(crate) name: String,
    pub(crate) mime: String,
}

impl FileBlock {
    /// A file at a URL, which may be a `data:` URL.
    pub(crate) fn from_url(url: &str, name: &str, mime: &str) -> Self {
        let inline = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
        let (source, is_base64, mime) = match inline {
            Some((data_type, data)) => (data, true, if mime.is_empty() { data_type } else { mime }),
            None => (url, false, mime),
        };
        Self {
            source: source.to_owned(),
            is_base64,
            name: name.to_owned(),
            mime: mime.to_owned(),
        }
    }

    /// Converts it to an event; `None` if the content is not base64 or the URL can't be fetched.
    pub(crate) fn into_event(self) -> Option<AgentEvent> {
        let name = match self.name.is_empty() {
            true => default_name(&self.mime).to_owned(),
            false => self.name,
        };
        if self.is_base64 {
            let bytes = STANDARD.decode(self.source).ok()?;
            let mime = self.mime;
            return Some(AgentEvent::FileBytes { bytes, name, mime });
        }
        let is_link = self.source.starts_with("https://") || self.source.starts_with("http://");
        is_link.then_some(AgentEvent::File(ReplyFile {
            url: self.source,
            name,
            mime: self.mime,
        }))
    }
}

fn default_name(mime: &str) -> &'static str {
    match mime {
        "image/png" => "image.png",
        "image/jpeg" => "image.jpg",
        "image/gif" => "image.gif",
        "image/webp" => "image.webp",
        mime if mime.starts_with("image/") => "image",
        "application/pdf" => "file.pdf",
        _ => "file",
    }
}

/// Splits a content, which is a text or a list of blocks, into blocks.
pub(crate) fn blocks(content: &Value) -> Vec<Block> {
    match content {
        Value::String(text) => vec![Block::Text(text.clone())],
        Value::Array(list) => list.iter().filter_map(block).collect(),
        Value::Object(_) => block(content).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The text of a content.
pub(crate) fn text(content: &Value) -> String {
    let texts = blocks(content).into_iter().filter_map(|block| match block {
        Block::Text(text) => Some(text),
        Block::Reasoning(_) | Block::File(_) => None,
    });
    texts.collect()
}

fn block(block: &Value) -> Option<Block> {
    let text = |field: &str| block.get(field).and_then(Value::as_str);
    if let Some(text) = block.as_str() {
        return Some(Block::Text(text.to_owned()));
    }
    match text("type")? {
        "text" | "output_text" => Some(Block::Text(text("text")?.to_owned())),
        "reasoning" | "thinking" => {
            let said = text("reasoning")
                .or_else(|| text("thinking"))
                .or_else(|| text("text"))?;
            (!said.is_empty()).then(|| Block::Reasoning(said.to_owned()))
        }
        "image_url" => {
            let image = block.get("image_url")?;
            let url = image.as_str().or_else(|| image.get("url")?.as_str())?;
            Some(Block::File(FileBlock::from_url(url, "", "")))
        }
        "image" | "file" | "audio" | "video" => file(block).map(Block::File),
        _ => None,
    }
}

fn file(block: &Value) -> Option<FileBlock> {
    let text = |fields: &[&str]| {
        fields
            .iter()
            .find_map(|field| block.get(field)?.as_str())
            .unwrap_or_default()
    };
    let (name, mime) = (text(&["filename", "name"]), text(&["mime_type", "mimeType"]));
    let url = text(&["url"]);
    if !url.is_empty() {
        return Some(FileBlock::from_url(url, name, mime));
    }
    let data = text(&["base64", "data"]);
    (!data.is_empty()).then(|| FileBlock {
        source: data.to_owned(),
        is_base64: true,
        name: name.to_owned(),
        mime: mime.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_reasoning_are_distinguished() {
        let content =
            json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, "b", {"type": "x"}, 5]);
        let expected = [
            Block::Reasoning("hm".into()),
            Block::Text("a".into()),
            Block::Text("b".into()),
        ];
        assert_eq!(blocks(&content), expected);
        assert_eq!(text(&content), "ab");
        assert_eq!(text(&json!("plain")), "plain");
        assert!(blocks(&json!(null)).is_empty());
    }

    #[test]
    fn files_come_by_url_or_by_content() {
        let event = |block: Value| match blocks(&json!([block])).pop() {
            Some(Block::File(file)) => file.into_event(),
            _ => None,
        };
        let bytes = |name: &str, mime: &str| {
            let (name, mime) = (name.to_owned(), mime.to_owned());
            Some(AgentEvent::FileBytes {
                bytes: b"hi".to_vec(),
                name,
                mime,
            })
        };
        assert_eq!(
            event(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}})),
            bytes("image.png", "image/png")
        );
        assert_eq!(
            event(json!({"type": "file", "base64": "aGk=", "mime_type": "text/plain", "filename": "a.txt"})),
            bytes("a.txt", "text/plain")
        );
        let link = ReplyFile {
            url: "https://a.example/x".into(),
            name: "image".into(),
            mime: "image/bmp".into(),
        };
        assert_eq!(
            event(json!({"type": "image", "url": "https://a.example/x", "mime_type": "image/bmp"})),
            Some(AgentEvent::File(link))
        );
        assert_eq!(event(json!({"type": "image", "url": "file:///etc/passwd"})), None);
        assert_eq!(event(json!({"type": "image", "base64": "!"})), None);
    }
}
