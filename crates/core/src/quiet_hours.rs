//! Quiet hours: a part of each day in which a bot answers no questions.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

const MINUTES_A_DAY: i64 = 24 * 60;
/// The largest offset from UTC in use: 14 hours.
const MAX_OFFSET_MINUTES: i16 = 14 * 60;

/// From one time of day to another, past midnight if the second is earlier. Both are in the given offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuietHours {
    /// The first quiet minute.
    pub from: TimeOfDay,
    /// The first minute that isn't quiet any more.
    pub to: TimeOfDay,
    /// The offset of both from UTC.
    pub utc_offset: UtcOffset,
}

impl QuietHours {
    /// Whether `at` is within the quiet hours. Never, if both ends are the same.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let length = minutes_between(self.from, self.to);
        self.since_begin(at) < length
    }

    /// How long the quiet hours last from `at` on.
    #[must_use]
    pub fn left(&self, at: Timestamp) -> Duration {
        let minutes = minutes_between(self.from, self.to) - self.since_begin(at);
        Duration::from_secs(u64::try_from(minutes * 60).unwrap_or(0))
    }

    /// Minutes since `from` was last passed.
    fn since_begin(&self, at: Timestamp) -> i64 {
        let minute = at.as_secs().div_euclid(60) + i64::from(self.utc_offset.0) - i64::from(self.from.0);
        minute.rem_euclid(MINUTES_A_DAY)
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} (UTC{})", self.from, self.to, self.utc_offset)
    }
}

fn minutes_between(from: TimeOfDay, to: TimeOfDay) -> i64 {
    (i64::from(to.0) - i64::from(from.0)).rem_euclid(MINUTES_A_DAY)
}

/// A minute of the day. Written `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TimeOfDay(u16);

/// Why a text is not a time of day or an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// Not a time of day.
    #[error("must be a time of day such as 22:00")]
    TimeOfDay,
    /// Not an offset.
    #[error("must be an offset from UTC such as +08:00, at most 14 hours")]
    UtcOffset,
}

impl TimeOfDay {
    /// Reads `HH:MM`, from 00:00 to 23:59.
    ///
    /// # Errors
    /// [`InvalidTime`].
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let (hours, minutes) = clock(text).ok_or(InvalidTime::TimeOfDay)?;
        if hours > 23 {
            return Err(InvalidTime::TimeOfDay);
        }
        Ok(Self(hours * 60 + minutes))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(&text)
    }
}

/// Minutes ahead of UTC. Written `+HH:MM` or `-HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// Reads `+HH:MM` or `-HH:MM`.
    ///
    /// # Errors
    /// [`InvalidTime`].
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let (sign, rest) = match text.as_bytes().first() {
            Some(b'+') => (1, &text[1..]),
            Some(b'-') => (-1, &text[1..]),
            _ => return Err(InvalidTime::UtcOffset),
        };
        let minutes = clock(rest).and_then(|(hours, minutes)| i16::try_from(hours * 60 + minutes).ok());
        let minutes = minutes.filter(|minutes| *minutes <= MAX_OFFSET_MINUTES);
        minutes
            .map(|minutes| Self(sign * minutes))
            .ok_or(InvalidTime::UtcOffset)
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let minutes = self.0.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> Self {
        offset.to_string()
    }
}

impl TryFrom<String> for UtcOffset {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(&text)
    }
}

/// Two numbers of two digits: below 100, and below 60.
fn clock(text: &str) -> Option<(u16, u16)> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60).then_some((hours, minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: &str, to: &str, offset: &str) -> QuietHours {
        QuietHours {
            from: TimeOfDay::parse(from).unwrap(),
            to: TimeOfDay::parse(to).unwrap(),
            utc_offset: UtcOffset::parse(offset).unwrap(),
        }
    }

    fn at(time: &str) -> Timestamp {
        Timestamp::parse(&format!("2026-11-22T{time}Z")).unwrap()
    }

    #[test]
    fn quiet_hours_can_span_midnight() {
        let night = hours("22:00", "07:00", "+08:00");
        for quiet in ["14:00:00", "15:59:59", "16:00:00", "22:59:59.999"] {
            assert!(night.contains(at(quiet)), "{quiet}");
        }
        for loud in ["13:59:59.999", "23:00:00", "06:00:00"] {
            assert!(!night.contains(at(loud)), "{loud}");
        }
        assert_eq!(night.left(at("22:30:00")), Duration::from_secs(30 * 60));
        assert_eq!(night.to_string(), "22:00-07:00 (UTC+08:00)");
    }

    #[test]
    fn quiet_hours_within_one_day() {
        let noon = hours("12:00", "13:30", "-03:30");
        assert!(noon.contains(at("15:30:00")) && noon.contains(at("16:59:00")));
        assert!(!noon.contains(at("15:29:59")) && !noon.contains(at("17:00:00")));
    }

    #[test]
    fn same_ends_are_never_quiet() {
        let never = hours("08:00", "08:00", "+00:00");
        assert!(!never.contains(at("08:00:00")) && !never.contains(at("20:00:00")));
    }

    #[test]
    fn invalid_times_are_refused() {
        for wrong in ["", "8:00", "24:00", "08:60", "0800", "08:0a", "+8:00", "08:00:00"] {
            assert_eq!(TimeOfDay::parse(wrong), Err(InvalidTime::TimeOfDay), "{wrong}");
        }
        for wrong in ["", "08:00", "+14:01", "-99:00", "Z", "+8", "＋08:00"] {
            assert_eq!(UtcOffset::parse(wrong), Err(InvalidTime::UtcOffset), "{wrong}");
        }
        assert_eq!(UtcOffset::parse("-00:30").unwrap().to_string(), "-00:30");
    }
}
