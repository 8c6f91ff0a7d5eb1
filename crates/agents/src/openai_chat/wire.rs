//! Chat Completions: the fields that we use.
//!
//! See [OpenAI API Reference/Chat Completions](https://platform.openai.com/docs/api-reference/chat/create) and
//! [Streaming](https://platform.openai.com/docs/api-reference/chat-streaming). `reasoning_content` and `reasoning` are extensions:
//! see [DeepSeek API Docs/Reasoning Model](https://api-docs.deepseek.com/guides/reasoning_model) and
//! [vLLM Docs/Reasoning Outputs](https://docs.vllm.ai/en/latest/features/reasoning_outputs/).

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Vec<Message>,
    pub(crate) stream: bool,
    pub(crate) stream_options: StreamOptions,
    pub(crate) user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: Content,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ImageUrl {
    pub(crate) url: String,
}

/// A chunk of the stream, or a whole answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Chunk {
    /// `error` if a server sends its errors without an envelope.
    pub(crate) object: Option<String>,
    #[serde(default)]
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) usage: Option<Value>,
    pub(crate) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    pub(crate) index: u64,
    /// The next text, in a chunk.
    pub(crate) delta: Option<Delta>,
    /// The whole text, in a whole answer. Some servers end their stream with one.
    pub(crate) message: Option<Delta>,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Delta {
    pub(crate) content: Option<Said>,
    /// The model's words in place of `content` when it refuses to answer.
    pub(crate) refusal: Option<String>,
    pub(crate) reasoning_content: Option<String>,
    /// The newer name of the same. A server may send both; elsewhere it is something other than a text.
    pub(crate) reasoning: Option<Value>,
}

impl Delta {
    /// Its reasoning and its text, if not empty.
    pub(crate) fn into_words(self) -> (Option<String>, Option<String>) {
        let content = self.content.map(Said::into_text).unwrap_or_default();
        let text = content + &self.refusal.unwrap_or_default();
        let told = |words: &String| !words.is_empty();
        let newer = || Some(self.reasoning?.as_str()?.to_owned());
        let reasoning = self.reasoning_content.filter(told).or_else(newer);
        (reasoning.filter(told), Some(text).filter(told))
    }
}

/// A text, or a list of parts, of which those with a `text` count.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Said {
    Text(String),
    Parts(Vec<SaidPart>),
}

#[derive(Debug, Deserialize)]
pub(crate) struct SaidPart {
    #[serde(default)]
    pub(crate) text: String,
}

impl Said {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Usage {
    /// Reads a usage leniently: it is only logged, so an unknown shape must not fail the answer. A count that is no number is 0.
    pub(crate) fn of(usage: &Value) -> Self {
        let count = |name: &str| usage[name].as_u64().unwrap_or_default();
        Self {
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
        }
    }
}
