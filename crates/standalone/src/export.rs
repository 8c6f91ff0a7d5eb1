//! `tieline export`: organizations as a file that `apply` accepts.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};
use tieline_admin::apply::json_text;

use crate::args::{Export, Output};
use crate::client::Client;
use crate::terminal;

/// Prints the file.
///
/// # Errors
/// If it can't be fetched.
pub async fn run(args: Export) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let format = match args.output {
        Output::Json => "json",
        Output::Yaml => "yaml",
        Output::Table | Output::Wide | Output::Name => bail!("a file is written as `-o yaml` or `-o json`"),
    };
    if args.all {
        let file = all(&client).await?;
        let text = match args.output {
            Output::Json => json_text(&file)?,
            _ => serde_yaml_ng::to_string(&file)?,
        };
        terminal::piece(&format!("{}\n", text.trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = client.text(&["export"], &[("format", format)]).await?;
    terminal::piece(&format!("{}\n", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

async fn all(client: &Client) -> anyhow::Result<Value> {
    let (organizations, _) = client.list(&["api", "v1", "orgs"], &[], usize::MAX).await?;
    let mut exported = Vec::new();
    for organization in &organizations {
        let id = organization["id"].as_str().unwrap_or_default();
        let file = client.within(id).get(&["export"], &[("format", "json")]).await?;
        exported.extend(file["organizations"].as_array().cloned().unwrap_or_default());
    }
    Ok(json!({ "organizations": exported }))
}
