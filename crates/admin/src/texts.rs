//! Sentences for operators, in English and Simplified Chinese: one table by code, with parameters in braces.
//!
//! A caller chooses with `Accept-Language`; without it the answer is English.

mod doctor;
mod doctor_next;
mod notify;
mod obstacles;
mod problems;
mod status;
mod tested;

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::request::Parts;
use tieline_core::notice::Language;

pub(crate) use self::problems::localize as localize_problem;

/// A sentence in both languages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Phrase {
    /// Its stable code.
    pub(crate) code: &'static str,
    en: &'static str,
    zh: &'static str,
}

/// All tables of sentences.
#[cfg(test)]
const TABLES: [&[Phrase]; 6] = [
    doctor::TABLE,
    doctor_next::TABLE,
    notify::TABLE,
    obstacles::TABLE,
    status::TABLE,
    tested::TABLE,
];

/// The sentence of this code.
///
/// # Panics
/// If no table has it, which a test of every caller would find.
fn phrase(code: &str) -> &'static Phrase {
    let all = doctor::TABLE
        .iter()
        .chain(doctor_next::TABLE)
        .chain(notify::TABLE)
        .chain(obstacles::TABLE)
        .chain(status::TABLE);
    let mut found = all.chain(tested::TABLE).filter(|phrase| phrase.code == code);
    found.next().expect("every code in use is in the table")
}

/// A sentence with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    phrase: &'static Phrase,
    arguments: Vec<(&'static str, Argument)>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    /// The same text in every language.
    Plain(String),
    /// Another sentence.
    Text(Text),
    /// A sentence that a process reported in English, and its translation.
    Reported { english: String, chinese: Text },
}

impl Text {
    /// A sentence without parameters.
    pub(crate) fn new(code: &str) -> Self {
        Self {
            phrase: phrase(code),
            arguments: Vec::new(),
        }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.arguments.push((name, Argument::Plain(value.to_string())));
        self
    }

    /// Adds another sentence as a parameter. `None` renders as an empty text.
    pub(crate) fn with_text(mut self, name: &'static str, text: Option<Self>) -> Self {
        let argument = text.map_or(Argument::Plain(String::new()), Argument::Text);
        self.arguments.push((name, argument));
        self
    }

    /// Adds a sentence that a process reported in English. Without a translation it stays as it is.
    pub(crate) fn with_reported(mut self, name: &'static str, english: &str, chinese: Option<Self>) -> Self {
        let english = english.to_owned();
        let argument = match chinese {
            Some(chinese) => Argument::Reported { english, chinese },
            None => Argument::Plain(english),
        };
        self.arguments.push((name, argument));
        self
    }

    /// The sentence in a language, on one line.
    pub(crate) fn render(&self, language: Language) -> String {
        let template = match language {
            Language::English => self.phrase.en,
            Language::Chinese => self.phrase.zh,
        };
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                break;
            };
            let argument = self.arguments.iter().find(|(known, _)| *known == name);
            match (argument.map(|(_, argument)| argument), language) {
                (Some(Argument::Text(inner)), _)
                | (Some(Argument::Reported { chinese: inner, .. }), Language::Chinese) => {
                    text.push_str(&inner.render(language));
                }
                (Some(Argument::Plain(value)), _)
                | (Some(Argument::Reported { english: value, .. }), Language::English) => {
                    text.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
                }
                (None, _) => {}
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

/// The language of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InLanguage(pub(crate) Language);

impl<S: Sync> FromRequestParts<S> for InLanguage {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(language(&parts.headers)))
    }
}

/// The language in `Accept-Language` with the highest weight, of those supported.
///
/// See [RFC 9110, 12.5.4](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4).
pub(crate) fn language(headers: &HeaderMap) -> Language {
    let value = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let mut best = (0.0, Language::English);
    for range in value.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight: f32 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        let language = match tag.split('-').next() {
            Some("zh") => Language::Chinese,
            Some("en" | "*") => Language::English,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, language);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::HeaderValue;

    use super::*;

    fn parameters(template: &str) -> BTreeSet<&str> {
        let names = template.split('{').skip(1);
        names
            .filter_map(|rest| rest.split_once('}'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn both_languages_have_the_same_parameters_and_codes_are_unique() {
        let mut codes = BTreeSet::new();
        for phrase in TABLES.into_iter().flatten() {
            assert_eq!(parameters(phrase.en), parameters(phrase.zh), "{}", phrase.code);
            assert!(codes.insert(phrase.code), "{} is there twice", phrase.code);
            assert!(!phrase.zh.is_ascii(), "{} is not Chinese", phrase.code);
        }
    }

    #[test]
    fn parameters_are_filled_in_and_stay_in_one_line() {
        let inner = Text::new("last_error")
            .with("at", "T")
            .with("code", "C")
            .with("message", "a\nb");
        let text = Text::new("connection_retrying")
            .with("state", "retrying")
            .with("attempts", 2);
        let text = text.with_text("error", Some(inner));
        assert_eq!(
            text.render(Language::English),
            "the connection is retrying, 2 attempt(s) failed; last error at T: C a b"
        );
        assert!(text.render(Language::Chinese).contains("retrying"));
    }

    #[track_caller]
    fn check(header: &'static str, expected: Language) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(header));
        assert_eq!(language(&headers), expected, "{header}");
    }

    #[test]
    fn language_with_the_highest_weight_is_used() {
        check("zh-CN", Language::Chinese);
        check("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese);
        check("en-US,en;q=0.9,zh-CN;q=0.8", Language::English);
        check("de, zh;q=0.5", Language::Chinese);
        check("zh;q=0, en;q=0.1", Language::English);
        check("*", Language::English);
        assert_eq!(language(&HeaderMap::new()), Language::English);
    }
}
