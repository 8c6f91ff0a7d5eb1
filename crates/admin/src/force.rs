//! `?force=true`: deletes a resource together with what uses it.

use serde::Deserialize;
use utoipa::IntoParams;

/// Whether to delete a resource that is in use.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForceQuery {
    /// Whether enabled triggers that use it are deleted too.
    #[serde(default)]
    pub(crate) force: bool,
}
