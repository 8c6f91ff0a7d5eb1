//! The log of a deployed program.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Levels by target, if not the default ones.
const LOG: &str = "TIELINE_LOG";

/// Starts the log: JSON lines on standard output, which is where CloudWatch reads.
///
/// # Panics
/// If there is a log already.
pub fn start(get: impl Fn(&str) -> Option<String>) {
    // Not `EnvFilter`: its regular expressions are a tenth of the upload.
    let told = get(LOG).and_then(|text| text.parse().ok());
    let plain = || {
        Targets::new()
            .with_default(Level::INFO)
            .with_target("aws_config", Level::WARN)
    };
    let filter: Targets = told.unwrap_or_else(plain);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
