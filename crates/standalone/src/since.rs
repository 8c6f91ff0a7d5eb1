//! Times on the command line: a point in time, or how long ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tieline_core::timestamp::Timestamp;

/// The present time.
#[must_use]
pub fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// Reads `2026-01-02T03:04:05Z`, or `90s`, `30m`, `2h`, `7d` ago.
///
/// # Errors
/// The accepted formats, if it is neither.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let expected = || "expected a time like 2026-01-02T03:04:05Z, or how long ago: 90s, 30m, 2h, 7d".to_owned();
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let unit = text.chars().next_back().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    let span = count
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(expected)?;
    Ok(now.before(span))
}

/// Like [`parse`], relative to the current time, for an argument.
///
/// # Errors
/// As [`parse`].
pub fn argument(text: &str) -> Result<Timestamp, String> {
    parse(text, now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_parsed() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        for (text, time) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("5s", "2026-01-02T03:04:00Z"),
            ("4m", "2026-01-02T03:00:05Z"),
            ("3h", "2026-01-02T00:04:05Z"),
            ("1d", "2026-01-01T03:04:05Z"),
        ] {
            assert_eq!(parse(text, now), Ok(Timestamp::parse(time).unwrap()), "{text}");
        }
        for wrong in [
            "",
            "h",
            "2",
            "2w",
            "-1h",
            "1 h",
            "yesterday",
            "99999999999999999999h",
            "2好",
        ] {
            assert!(parse(wrong, now).unwrap_err().starts_with("expected"), "{wrong}");
        }
    }
}
