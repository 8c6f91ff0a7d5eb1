//! Reads a card strictly, field by field, so that each mistake is reported with its path.

use serde_json::{Map, Value};
use url::Url;

use super::{Action, Button, Card, Field};

/// Most buttons of a card: as many as each platform with buttons shows in one message.
pub const MAX_BUTTONS: usize = 5;
/// Most fields of a card.
pub const MAX_FIELDS: usize = 10;
/// Longest title, in characters.
const MAX_TITLE: usize = 100;
/// Longest text, in characters.
const MAX_TEXT: usize = 4000;
/// Longest name of a field, in characters.
const MAX_NAME: usize = 50;
/// Longest value of a field, in characters.
const MAX_FIELD_VALUE: usize = 500;
/// Longest text of a button, in characters.
const MAX_LABEL: usize = 40;
/// Longest value of a button, in characters.
const MAX_VALUE: usize = 500;
/// Longest address of a button, in characters: as long as each platform with buttons allows.
const MAX_URL: usize = 500;

/// What is wrong with a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// A field that cards don't have.
    #[error("{0} is not a field of a card")]
    Unknown(String),
    /// A field is missing or invalid.
    #[error("{field} {reason}")]
    Field {
        /// Its path, as in `card.buttons[2].url`.
        field: String,
        /// What is wrong with it, to follow the name in a sentence.
        reason: String,
    },
}

impl Card {
    /// Reads a card. Addresses of buttons must be encrypted, unless `allow_http`.
    ///
    /// # Errors
    /// [`CardError`] with the first mistake.
    pub fn read(value: &Value, allow_http: bool) -> Result<Self, CardError> {
        let mut object = Object::of("card".to_owned(), value)?;
        let card = Self {
            title: object.optional_line("title", MAX_TITLE)?,
            text: object.required("text", MAX_TEXT)?.to_owned(),
            fields: object.list("fields", MAX_FIELDS, field)?,
            buttons: object.list("buttons", MAX_BUTTONS, |path, value| button(path, value, allow_http))?,
        };
        object.end()?;
        Ok(card)
    }
}

fn field(path: String, value: &Value) -> Result<Field, CardError> {
    let mut object = Object::of(path, value)?;
    let field = Field {
        name: object.required_line("name", MAX_NAME)?,
        value: object.required_line("value", MAX_FIELD_VALUE)?,
    };
    object.end()?;
    Ok(field)
}

fn button(path: String, value: &Value, allow_http: bool) -> Result<Button, CardError> {
    let mut object = Object::of(path, value)?;
    let text = object.required_line("text", MAX_LABEL)?;
    let action = match (object.take("url"), object.take("value")) {
        (Some(_), Some(_)) => return Err(object.wrong("value", "can't stand beside url")),
        (None, None) => return Err(object.wrong("url", "or value is required")),
        (Some(url), None) => Action::Url(object.address("url", url, allow_http)?),
        (None, Some(value)) => Action::Value(object.text("value", value, MAX_VALUE)?.to_owned()),
    };
    object.end()?;
    Ok(Button { text, action })
}

/// The button for a choice that an agent offers. `None` if it exceeds the limits of a button.
pub(super) fn choice(choice: &str) -> Option<Button> {
    let text = choice.trim();
    let fits = !text.is_empty() && text.chars().count() <= MAX_LABEL && !text.contains(char::is_control);
    fits.then(|| Button {
        text: text.to_owned(),
        action: Action::Value(text.to_owned()),
    })
}

/// An object whose fields are removed one by one.
struct Object<'a> {
    path: String,
    rest: Map<String, Value>,
    whole: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    fn of(path: String, value: &'a Value) -> Result<Self, CardError> {
        match value {
            Value::Object(whole) => Ok(Self {
                path,
                rest: whole.clone(),
                whole,
            }),
            _ => Err(CardError::Field {
                field: path,
                reason: "must be an object".to_owned(),
            }),
        }
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> CardError {
        CardError::Field {
            field: format!("{}.{name}", self.path),
            reason: reason.into(),
        }
    }

    /// Removes a field. `null` counts as absent.
    fn take(&mut self, name: &str) -> Option<&'a Value> {
        self.rest.remove(name);
        self.whole.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str, value: &'a Value, max: usize) -> Result<&'a str, CardError> {
        let text = value.as_str().ok_or_else(|| self.wrong(name, "must be text"))?;
        if text.trim().is_empty() {
            return Err(self.wrong(name, "must not be empty"));
        }
        if text.chars().count() > max {
            return Err(self.wrong(name, format!("must have at most {max} characters")));
        }
        Ok(text)
    }

    fn required(&mut self, name: &str, max: usize) -> Result<&'a str, CardError> {
        let value = self.take(name).ok_or_else(|| self.wrong(name, "is required"))?;
        self.text(name, value, max)
    }

    fn line(&self, name: &str, text: &str) -> Result<String, CardError> {
        match text.contains(char::is_control) {
            true => Err(self.wrong(name, "must be one line without control characters")),
            false => Ok(text.trim().to_owned()),
        }
    }

    fn required_line(&mut self, name: &str, max: usize) -> Result<String, CardError> {
        let text = self.required(name, max)?;
        self.line(name, text)
    }

    fn optional_line(&mut self, name: &str, max: usize) -> Result<Option<String>, CardError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = self.text(name, value, max)?;
        self.line(name, text).map(Some)
    }

    fn address(&self, name: &str, value: &'a Value, allow_http: bool) -> Result<String, CardError> {
        let text = self.text(name, value, MAX_URL)?;
        let url = Url::parse(text).ok().filter(Url::has_host);
        let url = url.ok_or_else(|| self.wrong(name, "is not a valid address"))?;
        if url.as_str().len() > MAX_URL {
            return Err(self.wrong(name, format!("must have at most {MAX_URL} characters, escaped")));
        }
        match url.scheme() {
            "https" => Ok(url.into()),
            "http" if allow_http => Ok(url.into()),
            _ => Err(self.wrong(name, "must be an https address")),
        }
    }

    fn list<T>(
        &mut self,
        name: &str,
        max: usize,
        read: impl Fn(String, &Value) -> Result<T, CardError>,
    ) -> Result<Vec<T>, CardError> {
        let Some(value) = self.take(name) else {
            return Ok(Vec::new());
        };
        let list = value.as_array().ok_or_else(|| self.wrong(name, "must be a list"))?;
        if list.len() > max {
            return Err(self.wrong(name, format!("must have at most {max} entries")));
        }
        let entries = list.iter().enumerate();
        entries
            .map(|(at, entry)| read(format!("{}.{name}[{at}]", self.path), entry))
            .collect()
    }

    /// Fails if a field is left.
    fn end(self) -> Result<(), CardError> {
        match self.rest.into_iter().next() {
            Some((name, _)) => Err(CardError::Unknown(format!("{}.{name}", self.path))),
            None => Ok(()),
        }
    }
}
