//! Parsing of JSON from operators' programs: errors name their field, and unknown fields are reported.

use serde_json::{Map, Value};

/// Largest number of unknown fields that are reported.
const MAX_REPORTED: usize = 20;

/// Longest id, and longest short text, in bytes.
pub(super) const MAX_ID: usize = 256;

/// A mistake of the sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The path of the field; empty for the whole body.
    pub(super) field: String,
    /// What the field must be, to follow its name in a sentence.
    pub(super) rule: &'static str,
}

/// An object whose fields are removed as they are read.
pub(super) struct Object {
    /// Its path: empty, or ending with a dot.
    path: String,
    fields: Map<String, Value>,
}

impl Object {
    /// The body of a request.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, Mistake> {
        let value = serde_json::from_slice(body).ok();
        Self::of(value.unwrap_or_default(), String::new()).map_err(|_| Mistake {
            field: String::new(),
            rule: "must be a JSON object",
        })
    }

    fn of(value: Value, path: String) -> Result<Self, Mistake> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            _ => Err(Mistake {
                field: path.trim_end_matches('.').to_owned(),
                rule: "must be an object",
            }),
        }
    }

    /// An error about a field.
    pub(super) fn mistake(&self, name: &str, rule: &'static str) -> Mistake {
        Mistake {
            field: format!("{}{name}", self.path),
            rule,
        }
    }

    /// Any value but null.
    pub(super) fn any(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Text of at most `max` bytes.
    pub(super) fn text(&mut self, name: &str, max: usize) -> Result<Option<String>, Mistake> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() > max => Err(self.mistake(name, "is too long")),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.mistake(name, "must be text")),
        }
    }

    /// An id, which is required.
    pub(super) fn id(&mut self, name: &str) -> Result<String, Mistake> {
        match self.optional_id(name)? {
            None => Err(self.mistake(name, "is required")),
            Some(id) if id.trim().is_empty() => Err(self.mistake(name, "must not be empty")),
            Some(id) => Ok(id),
        }
    }

    /// An id, which may be absent or empty.
    pub(super) fn optional_id(&mut self, name: &str) -> Result<Option<String>, Mistake> {
        match self.text(name, MAX_ID)? {
            Some(id) if id.contains(char::is_control) => Err(self.mistake(name, "must not contain control characters")),
            id => Ok(id),
        }
    }

    /// A whole number that isn't negative.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Mistake> {
        let number = |value: Value| {
            value
                .as_u64()
                .ok_or_else(|| self.mistake(name, "must be a whole number"))
        };
        self.fields
            .get(name)
            .filter(|value| !value.is_null())
            .cloned()
            .map(number)
            .transpose()
            .inspect(|_| {
                self.fields.remove(name);
            })
    }

    /// A boolean.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Mistake> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.mistake(name, "must be true or false")),
        }
    }

    /// A nested object.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Mistake> {
        let path = format!("{}{name}.", self.path);
        self.any(name).map(|value| Self::of(value, path)).transpose()
    }

    /// A nested object that is required.
    pub(super) fn required_object(&mut self, name: &str) -> Result<Self, Mistake> {
        self.object(name)?.ok_or_else(|| self.mistake(name, "is required"))
    }

    /// A list of at most `max` objects.
    pub(super) fn objects(&mut self, name: &str, max: usize) -> Result<Vec<Self>, Mistake> {
        let items = match self.any(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.mistake(name, "must be a list")),
        };
        if items.len() > max {
            return Err(self.mistake(name, "has too many items"));
        }
        let item = |(at, item)| Self::of(item, format!("{}{name}[{at}].", self.path));
        items.into_iter().enumerate().map(item).collect()
    }

    /// Adds the fields that were not read, which are unknown ones, to `unread`.
    pub(super) fn report_rest(self, unread: &mut Vec<String>) {
        let names = self.fields.keys().map(|name| format!("{}{name}", self.path));
        unread.extend(names.take(MAX_REPORTED.saturating_sub(unread.len())));
    }
}
