//! `tieline logs`: the log of an integration, the newest line last.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::args::{Level, Logs, Output};
use crate::client::{ApiError, Client};
use crate::doctor;
use crate::terminal::{self, Unwritable, one_line};

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How many lines are looked at each time: more than come within a pause.
const WINDOW: usize = 200;
/// How often in a row a bridge may not answer, as while it restarts.
const MAX_FAILURES: u32 = 30;

/// Shows a log.
///
/// # Errors
/// If it can't be had.
pub async fn run(args: Logs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = doctor::integration_id(&client, &args.integration).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let shown = newest(&client, &id, args.level, limit).await?;
    show(&shown, args.output)?;
    if args.follow {
        follow(&client, &id, &args, shown).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what comes, until interrupted.
async fn follow(client: &Client, id: &str, args: &Logs, mut shown: Vec<Value>) -> anyhow::Result<()> {
    let mut n_failures = 0;
    loop {
        sleep(PAUSE).await;
        let seen = match newest(client, id, args.level, WINDOW).await {
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

/// The newest lines, the newest last.
async fn newest(client: &Client, id: &str, level: Option<Level>, limit: usize) -> Result<Vec<Value>, ApiError> {
    let level = level.map(|level| match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    });
    let query: Vec<_> = level.into_iter().map(|level| ("level", level)).collect();
    let path = client.own(&["integrations", id, "logs"]);
    let (mut lines, _) = client.list(&path, &query, limit).await?;
    lines.reverse();
    Ok(lines)
}

/// What of `seen` comes after what was shown: after its last line, if that is still there.
fn since<'a>(shown: &[Value], seen: &'a [Value]) -> &'a [Value] {
    let Some(last) = shown.last() else { return seen };
    // Lines that are alike to the letter may follow each other: as many as were shown are skipped.
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

fn show(lines: &[Value], output: Output) -> Result<(), Unwritable> {
    for line in lines {
        match output {
            Output::Json => terminal::line(&line.to_string())?,
            Output::Table => terminal::line(&readable(line))?,
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

    /// Lines of these codes; all but `a` have come at the same time.
    fn lines(codes: &str) -> Vec<Value> {
        let line = |code: char| json!({ "at": if code == 'a' { "1" } else { "2" }, "code": code.to_string() });
        codes.chars().map(line).collect()
    }

    #[test]
    fn only_what_is_new_is_shown() {
        #[track_caller]
        fn check(shown: &str, seen: &str, expected: &str) {
            assert_eq!(since(&lines(shown), &lines(seen)), lines(expected));
        }
        check("", "a", "a");
        check("a", "a", "");
        check("ab", "bc", "c");
        check("b", "bb", "b");
        // What was shown last has gone from the log.
        check("a", "bc", "bc");
    }

    #[test]
    fn lines_stay_lines() {
        let line = json!({ "at": "T", "level": "warn", "code": "c", "message": "a\nb\u{1b}[m" });
        assert_eq!(readable(&line), "T  WARN   c  a b[m");
    }
}
