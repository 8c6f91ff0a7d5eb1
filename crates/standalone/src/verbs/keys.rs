//! Data keys.

use std::process::ExitCode;

use serde_json::Value;

use super::lifecycle::{left_alone, text};
use crate::args::{KeysOf, KeysRotate};
use crate::client::Client;
use crate::confirm::{self, Answer};
use crate::{table, terminal};

/// Prints the data keys and the progress of their rotation.
///
/// # Errors
/// If the token may not see them.
pub async fn show_keys(args: KeysOf) -> anyhow::Result<ExitCode> {
    let found = Client::new(&args.bridge)?.get_root(&["api", "v1", "keys"], &[]).await?;
    print(&found)
}

/// The impact of deleting older keys early.
const RETIRE_NOW: &str = "create a new data key, and delete the older ones 15 minutes after it is in use
    links in chats, sessions of the console and runs of agents that call back become invalid
    messages that have waited in a queue for longer are lost";

/// Starts to rotate the data key, or prints the rotation in progress.
///
/// # Errors
/// If the token isn't allowed to, or the bridge doesn't manage the data key itself; if there is no terminal to confirm that older keys are
/// deleted early.
pub async fn rotate_keys(args: KeysRotate) -> anyhow::Result<ExitCode> {
    if args.retire_now && confirm::ask(RETIRE_NOW, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    let client = Client::new(&args.bridge)?;
    let retire_now = [("retireNow", "true")];
    let query = if args.retire_now { &retire_now[..] } else { &[] };
    let begun = client.post_root_with(&["api", "v1", "keys", "rotate"], query).await?;
    print(&begun)
}

fn print(keys: &Value) -> anyhow::Result<ExitCode> {
    let cell = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows = keys["keys"].as_array().into_iter().flatten().map(|key| {
        let version = key["version"].to_string();
        vec![version, cell(&key["sealsFrom"]), cell(&key["retiredAt"])]
    });
    terminal::line(&table::draw(
        &["VERSION", "SEALS FROM", "RETIRED"],
        &rows.collect::<Vec<_>>(),
    ))?;
    let n_resealed = &keys["nResealed"];
    terminal::line(&match text(&keys["phase"]).as_str() {
        "announced" => "the newest key begins to seal as soon as every process knows it".to_owned(),
        "resealing" => format!("sealing everything again with the newest key: {n_resealed} values so far"),
        "retiring" => {
            format!("{n_resealed} values were sealed again; older keys still open links and messages in queues")
        }
        _ => "no rotation is under way".to_owned(),
    })?;
    if keys["nUnreadable"].as_u64().is_some_and(|n| n > 0) {
        terminal::line(&format!(
            "{} values are opened by no key; the log names them",
            keys["nUnreadable"]
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
