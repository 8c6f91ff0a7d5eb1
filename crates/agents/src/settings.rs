//! Validation and parsing of an agent's settings.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tieline_core::agent::AgentConfig;
use tieline_core::outbound_url::{self, PrivateEndpoints};
use tieline_core::secret::Secret;
use url::Url;

use crate::call::IDEMPOTENCY_KEY;
use crate::config::{self, Field, FieldKind, InvalidConfig, invalid};

/// Most headers of an agent.
const MAX_HEADERS: usize = 100;

/// Validated settings: only known fields, each of its type.
pub(crate) struct Settings<'a> {
    fields: &'static [Field],
    values: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    /// Validates every field of `config`. An absent field, a null and an empty text are equivalent.
    pub(crate) fn check(fields: &'static [Field], config: &'a AgentConfig) -> Result<Self, InvalidConfig> {
        let settings = Self {
            fields,
            values: config.settings(),
        };
        match settings.mistakes().next() {
            Some(mistake) => Err(mistake),
            None => Ok(settings),
        }
    }

    /// Everything that is wrong with `config`: unknown fields, then the known ones.
    pub(crate) fn mistakes_in(
        fields: &'static [Field],
        config: &'a AgentConfig,
    ) -> impl Iterator<Item = InvalidConfig> {
        let values = config.settings();
        Self { fields, values }.mistakes()
    }

    fn mistakes(&self) -> impl Iterator<Item = InvalidConfig> + use<'a> {
        let Self { fields, values } = *self;
        let is_known = move |name: &str| fields.iter().any(|field| field.name == name);
        let unknown = values.keys().filter(move |name| !is_known(name));
        let unknown = unknown.map(move |name| InvalidConfig::UnknownField {
            field: name.clone(),
            known: fields.iter().map(|field| field.name).collect(),
        });
        let wrong = fields
            .iter()
            .filter_map(move |field| match (Self { fields, values }).value(field) {
                None if field.required => Some(invalid(field.name, "is required")),
                None => None,
                Some(value) => field.kind.check(field.name, value).err(),
            });
        unknown.chain(wrong)
    }

    fn value(&self, field: &Field) -> Option<&'a Value> {
        self.values
            .get(field.name)
            .filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A text; empty if it is absent.
    pub(crate) fn text(&self, field: &Field) -> &'a str {
        self.value(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// One text or several.
    pub(crate) fn texts(&self, field: &Field) -> Vec<&'a str> {
        self.value(field).map(texts_of).unwrap_or_default()
    }

    /// A whole number, or its default.
    pub(crate) fn whole(&self, field: &Field) -> u64 {
        let FieldKind::Whole { default, .. } = field.kind else {
            return 0;
        };
        self.value(field).and_then(Value::as_u64).unwrap_or(default)
    }

    /// A whole number of seconds, or its default.
    pub(crate) fn seconds(&self, field: &Field) -> Duration {
        Duration::from_secs(self.whole(field))
    }

    /// Whether it is set to true.
    pub(crate) fn flag(&self, field: &Field) -> bool {
        self.value(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The word that is chosen.
    pub(crate) fn choice(&self, field: &Field) -> &'a str {
        let FieldKind::Choice(words) = field.kind else {
            return "";
        };
        let chosen = self.value(field).and_then(Value::as_str);
        chosen.or_else(|| words.first().copied()).unwrap_or_default()
    }

    /// An object; empty if it is absent.
    pub(crate) fn object(&self, field: &Field) -> Map<String, Value> {
        self.value(field)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }

    /// A template, if there is one.
    pub(crate) fn template(&self, field: &Field) -> Option<Value> {
        self.value(field).and_then(template)
    }

    /// A URL that is required.
    pub(crate) fn address(&self, field: &Field) -> Result<Url, InvalidConfig> {
        read_address(field.name, self.text(field))
    }

    /// The configured headers, except those of the protocol itself, which are `reserved`.
    pub(crate) fn headers(&self, field: &Field, reserved: &[&str]) -> Result<HeaderMap, InvalidConfig> {
        let entries = self.value(field).and_then(Value::as_object);
        if entries.is_some_and(|entries| entries.len() > MAX_HEADERS) {
            return Err(invalid(field.name, format!("must have at most {MAX_HEADERS} entries")));
        }
        let entries = entries.into_iter().flatten();
        entries
            .map(|(name, value)| read_header(field.name, name, value, reserved))
            .collect()
    }

    /// Headers of every call: `headers`, `Accept`, and `apiKey` as the bearer token.
    pub(crate) fn bearer_headers(&self) -> Result<HeaderMap, InvalidConfig> {
        let key = self.text(&config::API_KEY);
        let reserved: &[&str] = if key.is_empty() { &[] } else { &["authorization"] };
        let mut headers = self.headers(&config::HEADERS, reserved)?;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        if !key.is_empty() {
            let bearer = sensitive(&format!("Bearer {key}"));
            let bearer = bearer.map_err(|_| invalid(config::API_KEY.name, "can't be sent as a header"))?;
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(headers)
    }

    /// All secret values, to be redacted from failures.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let secret = self
            .fields
            .iter()
            .filter(|field| field.secret)
            .filter_map(|field| self.value(field));
        secret.flat_map(texts_of).map(Secret::new).collect()
    }

    /// Every URL, as written.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.fields.iter().filter(|field| field.kind == FieldKind::Address);
        addresses
            .map(|field| self.text(field))
            .filter(|address| !address.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// The texts in a text, a list, or an object.
fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Object(entries) => entries.values().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

impl FieldKind {
    /// Validates the value of `field`. Errors inside it are reported with their path.
    fn check(self, field: &str, value: &Value) -> Result<(), InvalidConfig> {
        match self {
            Self::Text => must(value.is_string(), field, "must be a text"),
            Self::Texts => check_texts(field, value),
            Self::Whole { min, max, .. } => {
                let is_within = value.as_u64().is_some_and(|number| (min..=max).contains(&number));
                let reason = || format!("must be a whole number from {min} to {max}");
                if is_within {
                    Ok(())
                } else {
                    Err(invalid(field, reason()))
                }
            }
            Self::Headers | Self::TextMap => check_text_map(field, value),
            Self::Flag => must(value.is_boolean(), field, "must be true or false"),
            Self::Choice(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => Err(InvalidConfig::Field {
                    field: field.to_owned(),
                    reason: "has an unknown value".into(),
                    allowed: words,
                }),
            },
            Self::Object => must(value.is_object(), field, "must be an object"),
            Self::Template => check_template(field, value),
            Self::Address => read_address(field, value.as_str().unwrap_or_default()).map(|_| ()),
        }
    }
}

fn must(is_good: bool, field: &str, reason: &'static str) -> Result<(), InvalidConfig> {
    if is_good { Ok(()) } else { Err(invalid(field, reason)) }
}

/// Validates one text, or a list of texts.
fn check_texts(field: &str, value: &Value) -> Result<(), InvalidConfig> {
    let is_filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    match value {
        Value::Array(list) if !list.is_empty() => match list.iter().position(|value| !is_filled(value)) {
            Some(at) => Err(invalid(format!("{field}[{at}]"), "must be a text that is not empty")),
            None => Ok(()),
        },
        value => must(
            is_filled(value),
            field,
            "must be a text, or a list of texts that are not empty",
        ),
    }
}

/// Validates an object of texts.
fn check_text_map(field: &str, value: &Value) -> Result<(), InvalidConfig> {
    let Some(entries) = value.as_object() else {
        return Err(invalid(field, "must be an object of texts"));
    };
    match entries.iter().find(|(_, value)| !value.is_string()) {
        Some((name, _)) => Err(invalid(format!("{field}.{name}"), "must be a text")),
        None => Ok(()),
    }
}

/// Validates an object, or a text that contains one as JSON. Parse errors report only the position: the text may contain secrets.
fn check_template(field: &str, value: &Value) -> Result<(), InvalidConfig> {
    if let Value::String(text) = value
        && let Err(error) = serde_json::from_str::<Value>(text)
    {
        let (line, column) = (error.line(), error.column());
        return Err(invalid(field, format!("is not JSON: line {line}, column {column}")));
    }
    must(
        template(value).is_some(),
        field,
        "must be an object, or a text that is an object as JSON",
    )
}

fn template(value: &Value) -> Option<Value> {
    let template = match value {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    Some(template).filter(Value::is_object)
}

/// Parses a URL. Private addresses are for the caller to refuse, which knows whether they are allowed.
fn read_address(field: &str, text: &str) -> Result<Url, InvalidConfig> {
    let reason = match outbound_url::check(text, &PrivateEndpoints::Allowed) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => return Ok(url),
        Err(outbound_url::AddressError::UserInfo) => "must not hold a user name or password",
        Ok(_) | Err(_) => "must be an address that begins with https://",
    };
    Err(invalid(field, reason))
}

/// Headers that belong to HTTP itself or to the body that we send.
const NOT_CONFIGURABLE: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    IDEMPOTENCY_KEY,
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn read_header(
    field: &str,
    name: &str,
    value: &Value,
    reserved: &[&str],
) -> Result<(HeaderName, HeaderValue), InvalidConfig> {
    let wrong = |reason| invalid(format!("{field}.{name}"), reason);
    let parsed = HeaderName::try_from(name).map_err(|_| wrong("is not a header name"))?;
    if NOT_CONFIGURABLE.contains(&parsed.as_str()) || reserved.contains(&parsed.as_str()) {
        return Err(wrong("is set by the protocol itself"));
    }
    let value = value.as_str().and_then(|text| sensitive(text).ok());
    Ok((parsed, value.ok_or_else(|| wrong("can't be sent as a header"))?))
}

/// A header value that is hidden from `Debug` output.
pub(crate) fn sensitive(text: &str) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// URL of a path below `base`. A query stays after the path.
pub(crate) fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // Only a URL without a host has no path, and that was refused before.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tieline_core::bilingual::Bilingual;

    use super::*;
    use crate::config::{API_KEY, BASE_URL, HEADERS, IDLE_TIMEOUT};

    static FIELDS: &[Field] = &[
        BASE_URL,
        API_KEY,
        HEADERS,
        IDLE_TIMEOUT,
        Field {
            name: "secret",
            kind: FieldKind::Texts,
            required: false,
            secret: true,
            help: Bilingual { en: "", zh: "" },
        },
        Field {
            name: "auth",
            kind: FieldKind::Choice(&["none", "bearer"]),
            required: false,
            secret: false,
            help: Bilingual { en: "", zh: "" },
        },
        Field {
            name: "template",
            kind: FieldKind::Template,
            required: false,
            secret: false,
            help: Bilingual { en: "", zh: "" },
        },
    ];

    fn config(value: &Value) -> AgentConfig {
        AgentConfig::new(value.as_object().unwrap().clone())
    }

    #[track_caller]
    fn check(mut changes: Value, expected: Option<(&str, &str)>) {
        let mut value = json!({"baseUrl": "https://agent.example/v1"});
        value.as_object_mut().unwrap().append(changes.as_object_mut().unwrap());
        let config = config(&value);
        let read = Settings::check(FIELDS, &config)
            .and_then(|settings| settings.headers(&HEADERS, &["authorization"]).map(|_| ()));
        let error = read.err();
        let seen = error.as_ref().map(|error| (error.field().unwrap(), error.to_string()));
        assert_eq!(seen.as_ref().map(|(field, _)| *field), expected.map(|(field, _)| field));
        if let (Some((_, text)), Some((_, part))) = (seen, expected) {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn known_fields_of_the_right_kind_pass() {
        check(json!({}), None);
        check(
            json!({"apiKey": "k", "headers": {"x-team": "a"}, "idleTimeoutSeconds": 1, "secret": "s"}),
            None,
        );
        check(json!({"apiKey": null, "secret": ["a", "b"]}), None);
        check(json!({"baseUrl": "http://10.0.0.1:8000/v1?api-version=1"}), None);
    }

    #[test]
    fn errors_name_the_invalid_field() {
        check(
            json!({"baseURL": "https://x"}),
            Some(("baseURL", "not a field of this protocol; its fields: baseUrl, apiKey, ")),
        );
        check(json!({"baseUrl": ""}), Some(("baseUrl", "required")));
        check(json!({"baseUrl": 5}), Some(("baseUrl", "https://")));
        check(json!({"baseUrl": "agent.example"}), Some(("baseUrl", "https://")));
        check(json!({"baseUrl": "wss://agent.example"}), Some(("baseUrl", "https://")));
        check(
            json!({"baseUrl": "https://u:p@agent.example"}),
            Some(("baseUrl", "user name")),
        );
        check(json!({"apiKey": 5}), Some(("apiKey", "text")));
        check(
            json!({"idleTimeoutSeconds": 0}),
            Some(("idleTimeoutSeconds", "from 1 to 3600")),
        );
        check(
            json!({"idleTimeoutSeconds": "5"}),
            Some(("idleTimeoutSeconds", "from 1 to 3600")),
        );
        check(json!({"secret": []}), Some(("secret", "list")));
        check(json!({"secret": 7}), Some(("secret", "list")));
        check(json!({"secret": ["a", ""]}), Some(("secret[1]", "not empty")));
        check(json!({"headers": ["x"]}), Some(("headers", "object")));
        check(json!({"headers": {"a": "b", "x": 1}}), Some(("headers.x", "text")));
        check(json!({"auth": "basic"}), Some(("auth", "allowed: none, bearer")));
        check(json!({"auth": true}), Some(("auth", "allowed: none, bearer")));
        check(
            json!({"template": "{\n\"a\": hunter2}"}),
            Some(("template", "line 2, column 6")),
        );
        check(json!({"template": "[]"}), Some(("template", "object as JSON")));
        check(json!({"template": []}), Some(("template", "object as JSON")));
    }

    #[test]
    fn all_mistakes_are_found() {
        let config = config(&json!({"y": 1, "auth": "basic", "idleTimeoutSeconds": 0, "x": "hunter2"}));
        let found: Vec<InvalidConfig> = Settings::mistakes_in(FIELDS, &config).collect();
        let fields: Vec<&str> = found.iter().filter_map(InvalidConfig::field).collect();
        assert_eq!(fields, ["x", "y", "baseUrl", "idleTimeoutSeconds", "auth"]);
    }

    #[test]
    fn headers_of_the_protocol_can_not_be_set() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
        ] {
            check(
                json!({"headers": {name: "x"}}),
                Some((&format!("headers.{name}"), "itself")),
            );
        }
        check(json!({"headers": {"x y": "x"}}), Some(("headers.x y", "name")));
        let many: serde_json::Map<_, _> = (0..=MAX_HEADERS).map(|n| (format!("x-{n}"), json!("x"))).collect();
        check(json!({ "headers": many }), Some(("headers", "at most")));
        check(json!({"headers": {"x": "a\r\nb: c"}}), Some(("headers.x", "sent")));
    }

    #[test]
    fn address_keeps_its_query_behind_the_path() {
        let below = |text: &str| super::below(&Url::parse(text).unwrap(), &["chat", "completions"]).to_string();
        assert_eq!(below("https://a.example/v1"), "https://a.example/v1/chat/completions");
        assert_eq!(below("https://a.example/v1/"), "https://a.example/v1/chat/completions");
        assert_eq!(below("https://a.example"), "https://a.example/chat/completions");
        assert_eq!(
            below("https://a.example/d?v=1"),
            "https://a.example/d/chat/completions?v=1"
        );
    }

    #[test]
    fn secrets_and_addresses_are_found_by_the_table() {
        let value =
            json!({"baseUrl": "https://x.example", "apiKey": "k1", "headers": {"a": "k2"}, "secret": ["k3", "k4"]});
        let config = config(&value);
        let settings = Settings::check(FIELDS, &config).unwrap();
        let secrets = settings.secrets();
        assert_eq!(
            secrets.iter().map(Secret::expose).collect::<Vec<_>>(),
            ["k1", "k2", "k3", "k4"]
        );
        assert_eq!(settings.addresses(), ["https://x.example"]);
        assert_eq!(settings.seconds(&IDLE_TIMEOUT), Duration::from_secs(120));
    }
}
