//! What the environment says.

use tieline_bridge::deployment::{self, ConfigError, Deployment};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Reads every variable before failing.
pub(crate) fn load(get: impl Fn(&str) -> Option<String>) -> Result<Deployment, ConfigError> {
    deployment::load(get)
}

/// JSON lines on standard output, which is where CloudWatch reads.
pub(crate) fn start_logging() {
    // Not `EnvFilter`: its regular expressions are a tenth of the upload.
    let told = std::env::var("TIELINE_LOG").ok().and_then(|text| text.parse().ok());
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
