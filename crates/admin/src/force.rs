//! `?force=true`: deleting something with what uses it.

use serde::Deserialize;
use utoipa::IntoParams;

/// Whether something goes even if it is in use.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForceQuery {
    /// Whether the enabled triggers that use it go too.
    #[serde(default)]
    pub(crate) force: bool,
}
