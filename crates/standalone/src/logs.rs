//! `tieline logs`: the log of an integration, newest line last.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tieline_core::timestamp::Timestamp;
use tokio::time::sleep;

use crate::args::{Level, Logs, Output};
use crate::client::{ApiError, Client};
use crate::color::{self, Color};
use crate::doctor;
use crate::terminal::{self, Unwritable, one_line};

/// Poll interval of a followed log.
const PAUSE: Duration = Duration::from_secs(1);
/// Lines read per poll: more than are written between two polls.
const WINDOW: usize = 200;
/// Maximum number of consecutive failed requests, as during a restart of the bridge.
const MAX_FAILURES: u32 = 30;

/// Shows a log.
///
/// # Errors
/// If it can't be fetched.
pub async fn run(args: Logs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = doctor::integration_id(&client, &args.integration).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let shown = newest(&client, &id, &args, limit).await?;
    show(&shown, args.output)?;
    if args.follow {
        follow(&client, &id, &args, shown).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints new lines, until interrupted.
async fn follow(client: &Client, id: &str, args: &Logs, mut shown: Vec<Value>) -> anyhow::Result<()> {
    let mut n_failures = 0;
    loop {
        sleep(PAUSE).await;
        let seen = match newest(client, id, args, WINDOW).await {
            Err(error) if error.may_pass() && n_failures < MAX_FAILURES => {
                n_failures += 1;
                continue;
            }
            seen => seen?,
        };
        n_failures = 0;
        show(since(&shown, &seen), args.output)?;
        shown = seen;
    }
}

/// The newest lines, newest last.
async fn newest(client: &Client, id: &str, args: &Logs, limit: usize) -> Result<Vec<Value>, ApiError> {
    let level = args.level.map(|level| match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    });
    let query: Vec<_> = level.into_iter().map(|level| ("level", level)).collect();
    let path = client.own(&["integrations", id, "logs"]);
    // Matches may be old, so all lines are read, which a log keeps for 7 days.
    let looked_at = if args.since.is_some() || args.search.is_some() {
        usize::MAX
    } else {
        limit
    };
    let (lines, _) = client.list(&path, &query, looked_at).await?;
    let wanted = lines
        .into_iter()
        .filter(|line| is_wanted(line, args.since, args.search.as_deref()));
    let mut lines: Vec<Value> = wanted.take(limit).collect();
    lines.reverse();
    Ok(lines)
}

fn is_wanted(line: &Value, since: Option<Timestamp>, search: Option<&str>) -> bool {
    let at = line["at"].as_str().and_then(Timestamp::parse);
    let is_late = since.is_none_or(|since| at.is_some_and(|at| at >= since));
    let holds = |search: &str| {
        let search = search.to_lowercase();
        let texts = ["code", "message"].map(|field| line[field].as_str().unwrap_or_default().to_lowercase());
        texts.iter().any(|text| text.contains(&search))
    };
    is_late && search.is_none_or(holds)
}

/// The part of `seen` that follows what was shown: the lines after the last one shown, if that is still there.
fn since<'a>(shown: &[Value], seen: &'a [Value]) -> &'a [Value] {
    let Some(last) = shown.last() else { return seen };
    // Identical lines may follow each other: skip as many as were shown.
    let n_alike = shown.iter().filter(|line| *line == last).count();
    let mut places = seen.iter().enumerate().filter(|(_, line)| *line == last);
    match places.nth(n_alike - 1) {
        Some((at, _)) => &seen[at + 1..],
        None => {
            let at = seen.partition_point(|line| line["at"].as_str() <= last["at"].as_str());
            &seen[at..]
        }
    }
}

/// Levels that are coloured.
const LEVELS: [(&str, Color); 2] = [("  WARN ", Color::Yellow), ("  ERROR", Color::Red)];

fn show(lines: &[Value], output: Output) -> Result<(), Unwritable> {
    let is_on = color::is_on();
    for line in lines {
        match output {
            Output::Json => terminal::line(&line.to_string())?,
            Output::Yaml => terminal::piece(&format!("---\n{}", serde_yaml_ng::to_string(line).unwrap_or_default()))?,
            Output::Name => terminal::line(&one_line(line["code"].as_str().unwrap_or_default()))?,
            Output::Table | Output::Wide => terminal::line(&color::paint(&readable(line), &LEVELS, is_on))?,
        }
    }
    Ok(())
}

fn readable(line: &Value) -> String {
    let text = |field: &str| one_line(line[field].as_str().unwrap_or_default());
    let level = text("level").to_uppercase();
    format!("{}  {level:<5}  {}  {}", text("at"), text("code"), text("message"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Lines with these codes; all except `a` have the same time.
    fn lines(codes: &str) -> Vec<Value> {
        let line = |code: char| json!({ "at": if code == 'a' { "1" } else { "2" }, "code": code.to_string() });
        codes.chars().map(line).collect()
    }

    #[test]
    fn only_new_lines_are_shown() {
        #[track_caller]
        fn check(shown: &str, seen: &str, expected: &str) {
            assert_eq!(since(&lines(shown), &lines(seen)), lines(expected));
        }
        check("", "a", "a");
        check("a", "a", "");
        check("ab", "bc", "c");
        check("b", "bb", "b");
        // The line shown last has been removed from the log.
        check("a", "bc", "bc");
    }

    #[test]
    fn lines_are_found_by_time_and_text() {
        let line = json!({ "at": "2026-01-02T00:00:00Z", "code": "kicked", "message": "Another Client" });
        let time = |text| Timestamp::parse(text);
        assert!(is_wanted(&line, None, None));
        assert!(is_wanted(&line, time("2026-01-02T00:00:00Z"), Some("another")));
        assert!(is_wanted(&line, None, Some("kick")));
        assert!(!is_wanted(&line, time("2026-01-02T00:00:01Z"), None));
        assert!(!is_wanted(&line, None, Some("nothing")));
    }

    #[test]
    fn log_entries_are_printed_on_one_line() {
        let line = json!({ "at": "T", "level": "warn", "code": "c", "message": "a\nb\u{1b}[m" });
        assert_eq!(readable(&line), "T  WARN   c  a b[m");
    }
}
