//! Fields of an agent's `config`: one table that drives validation, masking and the catalogue.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use tieline_core::bilingual::Bilingual;
use tieline_core::notice::Language;

/// A field of an agent's `config`.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it contains.
    pub kind: FieldKind,
    /// Whether it must be present and not empty.
    pub required: bool,
    /// Whether it is masked in every API response.
    pub secret: bool,
    /// One sentence for the operator.
    pub help: Bilingual,
}

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text.
    Text,
    /// One text, or a list of texts.
    Texts,
    /// A URL, `http` or `https`.
    Address,
    /// A whole number.
    Whole {
        /// Value if absent.
        default: u64,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// HTTP headers: an object of texts.
    Headers,
    /// A boolean; false if absent.
    Flag,
    /// One of several words; the first if absent.
    Choice(&'static [&'static str]),
    /// An object of any shape.
    Object,
    /// An object of any shape, or a text that contains one as JSON.
    Template,
    /// An object of texts.
    TextMap,
}

/// `baseUrl`
pub const BASE_URL: Field = Field {
    name: "baseUrl",
    kind: FieldKind::Address,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Address of the agent's API, up to the version.",
        zh: "智能体 API 的地址，写到版本号为止。",
    },
};
/// `apiKey`
pub const API_KEY: Field = Field {
    name: "apiKey",
    kind: FieldKind::Text,
    required: false,
    secret: true,
    help: Bilingual {
        en: "Key of the agent's API.",
        zh: "智能体 API 的密钥。",
    },
};
/// `headers`. Secret as a whole: an API key in a header is usual.
pub const HEADERS: Field = Field {
    name: "headers",
    kind: FieldKind::Headers,
    required: false,
    secret: true,
    help: Bilingual {
        en: "More HTTP headers for every call.",
        zh: "每次调用附加的 HTTP 请求头。",
    },
};
/// `idleTimeoutSeconds`
pub const IDLE_TIMEOUT: Field = Field {
    name: "idleTimeoutSeconds",
    kind: FieldKind::Whole {
        default: 120,
        min: 1,
        max: 3600,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "A silence of the agent that is longer ends the run as failed.",
        zh: "智能体沉默超过该时间时，本次运行以失败结束。",
    },
};
/// `maxRunSeconds`
pub const MAX_RUN: Field = Field {
    name: "maxRunSeconds",
    kind: FieldKind::Whole {
        default: 3600,
        min: 1,
        max: 86_400,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "A run that takes longer fails.",
        zh: "运行超过该时间即失败。",
    },
};
/// `identity`
pub const IDENTITY: Field = Field {
    name: "identity",
    kind: FieldKind::Choice(&["full", "pseudonym"]),
    required: false,
    secret: false,
    help: Bilingual {
        en: "`full`: the agent is told names, mail addresses and the platform's own ids. `pseudonym`: digests of the ids alone.",
        zh: "`full`：告诉智能体姓名、邮箱和平台自己的 ID；`pseudonym`：只告诉这些 ID 的摘要。",
    },
};
/// `systemPrompt`
pub const SYSTEM_PROMPT: Field = Field {
    name: "systemPrompt",
    kind: FieldKind::Text,
    required: false,
    secret: false,
    help: Bilingual {
        en: "What the model is told before every conversation. `{{displayName}}` and the other facts are filled in.",
        zh: "每次对话之前告诉模型的内容。其中的 `{{displayName}}` 等占位符会替换为实际信息。",
    },
};

/// Why an agent's settings can't be used. Never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Unknown protocol.
    #[error(transparent)]
    UnknownProtocol(UnknownProtocol),
    /// The protocol has no such field.
    #[error("{field} is not a field of this protocol; its fields: {}", .known.join(", "))]
    UnknownField {
        /// Its name.
        field: String,
        /// The fields of the protocol.
        known: Vec<&'static str>,
    },
    /// A field is missing or has an invalid value.
    #[error("{field} {reason}{}", listed(.allowed))]
    Field {
        /// Path of the field, for example `headers.NAME` or `secret[1]`.
        field: String,
        /// What is wrong with it, to follow the path in a sentence.
        reason: Cow<'static, str>,
        /// The allowed words, if it is a choice.
        allowed: &'static [&'static str],
    },
}

/// The list of allowed words, to follow the reason.
fn listed(allowed: &[&str]) -> String {
    match allowed {
        [] => String::new(),
        words => format!("; allowed: {}", words.join(", ")),
    }
}

impl InvalidConfig {
    /// The field that the error is about, if any.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::UnknownProtocol(_) => None,
            Self::UnknownField { field, .. } | Self::Field { field, .. } => Some(field),
        }
    }
}

/// A word that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol `{word}`; known protocols: {}", known.join(", "))]
pub struct UnknownProtocol {
    /// The word.
    pub word: String,
    /// Words of the known protocols.
    pub known: Vec<&'static str>,
}

pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> InvalidConfig {
    InvalidConfig::Field {
        field: field.into(),
        reason: reason.into(),
        allowed: &[],
    }
}

/// The settings of a protocol as JSON Schema, described in `language`; secret ones are `writeOnly`.
pub(crate) fn schema(fields: &[Field], language: Language) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), field.schema(language)))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

impl Field {
    fn schema(&self, language: Language) -> Value {
        let mut schema = self.kind.schema();
        schema["description"] = self.help.in_language(language).into();
        if self.secret {
            schema["writeOnly"] = true.into();
        }
        schema
    }
}

impl FieldKind {
    /// Whether it is a number or a boolean.
    #[must_use]
    pub const fn is_typed(self) -> bool {
        matches!(self, Self::Whole { .. } | Self::Flag)
    }

    /// JSON Schema of this type.
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Texts => json!({"anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]}),
            Self::Address => json!({"type": "string", "format": "uri"}),
            Self::Whole { default, min, max } => {
                json!({"type": "integer", "default": default, "minimum": min, "maximum": max})
            }
            Self::Headers | Self::TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            Self::Flag => json!({"type": "boolean", "default": false}),
            Self::Choice(words) => json!({"type": "string", "enum": words, "default": words.first()}),
            Self::Object => json!({"type": "object"}),
            Self::Template => json!({"type": ["object", "string"]}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_matches_the_table_of_fields() {
        let schema = schema(&[BASE_URL, API_KEY, IDLE_TIMEOUT], Language::Chinese);
        assert_eq!(schema["required"], json!(["baseUrl"]));
        assert_eq!(schema["properties"]["apiKey"]["writeOnly"], true);
        assert_eq!(schema["properties"]["baseUrl"]["writeOnly"], Value::Null);
        assert_eq!(schema["properties"]["idleTimeoutSeconds"]["default"], 120);
        assert_eq!(schema["properties"]["baseUrl"]["description"], BASE_URL.help.zh);
    }
}
