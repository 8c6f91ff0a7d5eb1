//! Logging of a deployed program.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Log levels by target, instead of the default ones.
const LOG: &str = "TIELINE_LOG";

/// Starts logging: JSON lines on standard output, which CloudWatch collects.
///
/// # Panics
/// If logging was started before.
pub fn start(get: impl Fn(&str) -> Option<String>) {
    // Not `EnvFilter`: its regular expressions take up a tenth of the upload.
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
