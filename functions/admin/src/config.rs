//! What the environment says.

use tieline_bridge::deployment::{self, ConfigError, Deployment};

/// Reads every variable before failing.
pub(crate) fn load(get: impl Fn(&str) -> Option<String>) -> Result<Deployment, ConfigError> {
    deployment::load(get)
}
