//! Mapper of an organization: an endpoint of its own that maps an account of a platform to a known person.
//!
//! Its answers are cached with the person's record. The last answer counts until there is a newer one: a mapper that can't be reached
//! changes nothing for the people whom it knows, and refuses no message of those about whom it was never asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::timestamp::{Timestamp, millis};

/// How long an answer that names a person is cached.
const KNOWN_LIFE: Duration = Duration::from_hours(6);
/// How long an answer that the person is unknown is cached. Shorter: new people are often added on the day they ask.
const UNKNOWN_LIFE: Duration = Duration::from_mins(10);
/// Backoff between two attempts to ask about a person, while the mapper fails.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_mins(1),
    cap: Duration::from_hours(1),
};
/// Longest failure text that is stored, in characters.
const MAX_ERROR_CHARS: usize = 300;
/// Longest id, name and mail address of a person, in bytes.
const MAX_TEXT_BYTES: usize = 254;

/// How to handle the messages of a person whom the mapper doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// They are answered, like those of anyone who isn't linked.
    #[default]
    Allow,
    /// They are refused, with a notice.
    Refuse,
}

/// A person as the mapper knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedPerson {
    /// The id in the organization's own system.
    pub id: String,
    /// The name.
    pub name: String,
    /// The mail address, if the mapper returned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// The answer of a mapper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapperAnswer {
    /// The account belongs to this person.
    Person(MappedPerson),
    /// The mapper doesn't know the account.
    Unknown,
}

/// Why an answer is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// It is not a JSON object of the documented shape.
    #[error("the answer is not {{\"person\":{{\"id\",\"name\",\"email\"?}}}} or {{\"unknown\":true}}")]
    Shape,
    /// A field is empty or too long.
    #[error("`person.{0}` must have 1 to 254 bytes")]
    Length(&'static str),
    /// It is not a mail address.
    #[error("`person.email` must be a mail address")]
    Email,
}

#[derive(Deserialize)]
struct AnswerBody {
    person: Option<MappedPerson>,
    #[serde(default)]
    unknown: bool,
}

impl MapperAnswer {
    /// Reads the body of an answer. Fields that are not documented are ignored.
    ///
    /// # Errors
    /// [`InvalidAnswer`].
    pub fn read(body: &[u8]) -> Result<Self, InvalidAnswer> {
        let read: AnswerBody = serde_json::from_slice(body).map_err(|_| InvalidAnswer::Shape)?;
        let person = match (read.person, read.unknown) {
            (None, true) => return Ok(Self::Unknown),
            (Some(person), false) => person,
            (None, false) | (Some(_), true) => return Err(InvalidAnswer::Shape),
        };
        let text = |field, text: String| {
            let text = text.trim().to_owned();
            let fits = (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.contains(char::is_control);
            if fits {
                Ok(text)
            } else {
                Err(InvalidAnswer::Length(field))
            }
        };
        let email = person.email.map(|email| text("email", email)).transpose()?;
        let is_address = |email: &String| {
            let (name, host) = email.split_once('@').unwrap_or_default();
            !name.is_empty() && !host.is_empty() && !email.contains(char::is_whitespace)
        };
        if email.as_ref().is_some_and(|email| !is_address(email)) {
            return Err(InvalidAnswer::Email);
        }
        Ok(Self::Person(MappedPerson {
            id: text("id", person.id)?,
            name: text("name", person.name)?,
            email,
        }))
    }
}

/// What is cached of a mapper's answers about a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mapping {
    /// The last answer. `None`: there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<MapperAnswer>,
    /// When it was received.
    #[serde(with = "millis::option", default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// Attempts that have failed since.
    #[serde(default)]
    pub failures: u32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the mapper is asked again.
    #[serde(with = "millis")]
    pub next_at: Timestamp,
    /// The version of the mapper's settings used: after a change the mapper is asked at once.
    pub mapper: u64,
}

impl Mapping {
    /// The state after an answer.
    #[must_use]
    pub fn answered(answer: MapperAnswer, mapper: u64, now: Timestamp) -> Self {
        let life = match answer {
            MapperAnswer::Person(_) => KNOWN_LIFE,
            MapperAnswer::Unknown => UNKNOWN_LIFE,
        };
        Self {
            answer: Some(answer),
            answered_at: Some(now),
            failures: 0,
            error: None,
            next_at: now.after(life),
            mapper,
        }
    }

    /// The state after a failed attempt. The last answer still counts.
    #[must_use]
    pub fn failed(before: Option<&Self>, error: &str, mapper: u64, (now, chance): (Timestamp, u64)) -> Self {
        let same = before.filter(|before| before.mapper == mapper);
        let failures = same.map_or(0, |before| before.failures).saturating_add(1);
        Self {
            answer: before.and_then(|before| before.answer.clone()),
            answered_at: before.and_then(|before| before.answered_at),
            failures,
            error: Some(error.chars().take(MAX_ERROR_CHARS).collect()),
            next_at: now.after(BACKOFF.wait(failures, chance)),
            mapper,
        }
    }

    /// The known person, if the last answer named one.
    #[must_use]
    pub fn person(&self) -> Option<&MappedPerson> {
        match &self.answer {
            Some(MapperAnswer::Person(person)) => Some(person),
            Some(MapperAnswer::Unknown) | None => None,
        }
    }

    /// Whether the last answer was that the person is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.answer == Some(MapperAnswer::Unknown)
    }

    /// Whether the mapper, with settings of this version, is to be asked again.
    #[must_use]
    pub fn is_due(&self, mapper: u64, now: Timestamp) -> bool {
        self.mapper != mapper || self.next_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> MapperAnswer {
        MapperAnswer::Person(MappedPerson {
            id: "E-7".into(),
            name: "Li Si".into(),
            email: None,
        })
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(0).after(Duration::from_secs(secs))
    }

    #[track_caller]
    fn check(body: &str, expected: Result<MapperAnswer, InvalidAnswer>) {
        assert_eq!(MapperAnswer::read(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn answer_names_a_person_or_says_unknown() {
        check(r#"{"person":{"id":" E-7 ","name":"Li Si"}}"#, Ok(person()));
        check(
            r#"{"unknown":false,"person":{"id":"E-7","name":"Li Si","dept":"x"}}"#,
            Ok(person()),
        );
        check(r#"{"unknown":true}"#, Ok(MapperAnswer::Unknown));
        check(r#"{"person":null,"unknown":true}"#, Ok(MapperAnswer::Unknown));
        for garbage in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            r#"{"unknown":false}"#,
            r#"{"unknown":"yes"}"#,
            r#"{"person":{"id":"E-7"}}"#,
            r#"{"unknown":true,"person":{"id":"E-7","name":"Li Si"}}"#,
        ] {
            check(garbage, Err(InvalidAnswer::Shape));
        }
        check(
            r#"{"person":{"id":" ","name":"Li Si"}}"#,
            Err(InvalidAnswer::Length("id")),
        );
        check(
            r#"{"person":{"id":"E-7","name":"a\nb"}}"#,
            Err(InvalidAnswer::Length("name")),
        );
        check(
            r#"{"person":{"id":"E-7","name":"Li","email":"li"}}"#,
            Err(InvalidAnswer::Email),
        );
        let long = format!(r#"{{"person":{{"id":"{}","name":"Li"}}}}"#, "x".repeat(255));
        check(&long, Err(InvalidAnswer::Length("id")));
    }

    #[test]
    fn answer_is_cached_for_hours_and_unknown_for_minutes() {
        let known = Mapping::answered(person(), 1, at(0));
        assert!(!known.is_due(1, at(6 * 3600 - 1)) && known.is_due(1, at(6 * 3600)));
        assert!(known.is_due(2, at(0)), "another mapper is asked at once");
        let unknown = Mapping::answered(MapperAnswer::Unknown, 1, at(0));
        assert!(!unknown.is_due(1, at(599)) && unknown.is_due(1, at(600)));
    }

    #[test]
    fn last_answer_counts_while_the_mapper_is_down_and_retries_back_off() {
        let mut mapping = Mapping::answered(person(), 1, at(0));
        let mut waits = Vec::new();
        for _ in 0..12 {
            mapping = Mapping::failed(Some(&mapping), "timeout", 1, (at(0), 0));
            assert_eq!(mapping.person().map(|person| &*person.id), Some("E-7"));
            waits.push(mapping.next_at.since(at(0)).as_secs());
        }
        assert_eq!(waits[..3], [30, 60, 120]);
        assert_eq!(*waits.last().unwrap(), 1800);
        let other = Mapping::failed(Some(&mapping), "timeout", 2, (at(0), 0));
        assert_eq!(other.failures, 1);
        let never = Mapping::failed(None, &"x".repeat(1000), 1, (at(0), 0));
        assert!(!never.is_unknown() && never.person().is_none());
        assert_eq!(never.error.unwrap().len(), MAX_ERROR_CHARS);
    }
}
