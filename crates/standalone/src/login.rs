//! `tieline login`: logs a bot in by scanning a code with a phone.

use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::Integration;
use crate::client::{self, ApiError, Client};
use crate::doctor;
use crate::terminal::{self, one_line};

const PAUSE: Duration = Duration::from_secs(1);
/// Timeout from the first code to the login.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Runs the login.
///
/// # Errors
/// If the platform offers no login, or the code is not scanned in time.
pub async fn run(args: Integration) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = doctor::integration_id(&client, &args.integration).await?;
    let path = ["integrations", &id, "login"];
    let mut state = client.post(&path, &client::nothing()).await.map_err(no_login)?;
    let give_up_at = Instant::now() + GIVE_UP_AFTER;
    let mut drawn = String::new();
    let mut said = String::new();
    while Instant::now() < give_up_at {
        let word = state["state"].as_str().unwrap_or_default().to_owned();
        let url = state["qrUrl"].as_str().unwrap_or_default();
        if !url.is_empty() && url != drawn {
            terminal::line(&draw(url)?)?;
            url.clone_into(&mut drawn);
        }
        if word != said {
            terminal::line(sentence(&word))?;
            said.clone_from(&word);
        }
        state = match &*word {
            "confirmed" => return Ok(ExitCode::SUCCESS),
            "refused" => bail!("the login was refused: {}", reason(&state)),
            // Request a new code.
            "expired" => client.post(&path, &client::nothing()).await?,
            "verify_code_needed" => client.post(&path, &json!({ "verifyCode": typed().await? })).await?,
            _ => {
                sleep(PAUSE).await;
                client.get(&path, &[]).await?
            }
        };
        if word == "verify_code_needed" {
            // If it is asked for again, the code was wrong.
            said.clear();
        }
    }
    bail!(
        "the code was not scanned within {} minutes",
        GIVE_UP_AFTER.as_secs() / 60
    )
}

/// What to do instead, if the platform offers no login.
fn no_login(error: ApiError) -> anyhow::Error {
    match error.code() {
        Some("login_not_offered") => anyhow::anyhow!(
            "the platform of this integration offers no scan-code login: set its credentials with `tieline apply`"
        ),
        _ => error.into(),
    }
}

fn sentence(word: &str) -> &'static str {
    match word {
        "waiting" => "Scan the code with the phone app.",
        "scanned" => "Scanned. Confirm on the phone.",
        "verify_code_needed" => "The phone shows a number. Type it here and press Enter:",
        "expired" => "The code has expired. Here is a new one:",
        "confirmed" => "Logged in.",
        "refused" => "The login failed.",
        _ => "Waiting for the platform.",
    }
}

fn reason(state: &Value) -> String {
    one_line(state["code"].as_str().unwrap_or("it gives no reason"))
}

/// The QR code in characters, light on dark as on a dark terminal, and its URL for people who can't scan it.
fn draw(url: &str) -> anyhow::Result<String> {
    let code = QrCode::new(url).context("the login's address is too long for a code")?;
    let image = code
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build();
    Ok(format!("{image}\n{}", one_line(url)))
}

async fn typed() -> anyhow::Result<String> {
    if !stdin().is_terminal() {
        bail!("the phone shows a number that must be typed: run this on a terminal");
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.context("nothing was typed")??;
    Ok(line.trim().to_owned())
}
