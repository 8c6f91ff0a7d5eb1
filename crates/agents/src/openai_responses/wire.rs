//! Responses API: the fields that we use.
//!
//! See [OpenAI API Reference/Responses](https://platform.openai.com/docs/api-reference/responses/create) and
//! [Streaming events](https://platform.openai.com/docs/api-reference/responses-streaming).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /responses`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: Input,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_response_id: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) instructions: String,
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) background: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) metadata: Map<String, Value>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Messages([Message; 1]),
}

impl Default for Input {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: Vec<Part>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Part {
    #[serde(rename = "input_text")]
    Text { text: String },
    #[serde(rename = "input_image")]
    Image { image_url: String },
    #[serde(rename = "input_file")]
    File { file_url: String },
}

/// One event of a stream. Each type of event has some of the fields.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) sequence_number: Option<u64>,
    pub(crate) response: Option<Response>,
    pub(crate) item: Option<Item>,
    pub(crate) item_id: Option<String>,
    /// A text, except in events that we don't use.
    pub(crate) delta: Option<Value>,
    pub(crate) text: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) annotation: Option<Annotation>,
}

/// A response, finished or in progress.
#[derive(Debug, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: String,
    pub(crate) status: Option<String>,
    pub(crate) output: Option<Vec<Item>>,
    pub(crate) error: Option<Value>,
    pub(crate) incomplete_details: Option<IncompleteDetails>,
    pub(crate) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct IncompleteDetails {
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) input_tokens: u64,
    #[serde(default)]
    pub(crate) output_tokens: u64,
}

/// A message, a tool call, or something else that the model made.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) content: Option<Vec<Content>>,
    /// A picture in base64, of an `image_generation_call`.
    pub(crate) result: Option<Value>,
    pub(crate) output_format: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Content {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) refusal: Option<String>,
}

/// A source of a text.
#[derive(Debug, Deserialize)]
pub(crate) struct Annotation {
    pub(crate) title: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) url: Option<String>,
}

impl Response {
    /// Whether it is still in progress.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status.as_deref(), Some("queued" | "in_progress"))
    }

    /// The model's text: its messages as paragraphs.
    pub(crate) fn text(&self) -> String {
        let texts: Vec<_> = self
            .messages()
            .map(Item::text)
            .filter(|text| !text.is_empty())
            .collect();
        texts.join("\n\n")
    }

    /// The assistant's last message.
    pub(crate) fn last_text(&self) -> String {
        self.messages().last().map(Item::text).unwrap_or_default()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.output.iter().flatten()
    }

    fn messages(&self) -> impl Iterator<Item = &Item> {
        self.items().filter(|item| item.is_answer())
    }
}

impl Item {
    fn is_answer(&self) -> bool {
        // Some servers repeat the user's messages in the output.
        self.kind == "message" && self.role.as_deref().is_none_or(|role| role == "assistant")
    }

    fn text(&self) -> String {
        let parts = self.content.iter().flatten();
        let texts = parts.filter_map(|part| match part.kind.as_str() {
            "refusal" => part.refusal.as_deref(),
            _ => part.text.as_deref(),
        });
        texts.collect()
    }

    /// The name of the called tool, if it is a tool call.
    pub(crate) fn tool(&self) -> Option<&str> {
        let kind = self.kind.strip_suffix("_call")?;
        Some(self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(kind))
    }
}

impl Annotation {
    /// The source's name.
    pub(crate) fn label(self) -> Option<String> {
        let names = [self.title, self.filename, self.url].into_iter().flatten();
        names.into_iter().find(|name| !name.is_empty())
    }
}
