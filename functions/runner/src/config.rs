//! What the environment says.

use tieline_bridge::deployment::{self, ConfigError, Deployment};
use tracing_subscriber::EnvFilter;

/// Reads every variable before failing.
pub(crate) fn load(get: impl Fn(&str) -> Option<String>) -> Result<Deployment, ConfigError> {
    deployment::load(get)
}

/// JSON lines on standard output, which is where CloudWatch reads.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_env("TIELINE_LOG").unwrap_or_else(|_| EnvFilter::new("info,aws_config=warn"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}
