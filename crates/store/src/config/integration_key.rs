//! Keys of the items of one integration.

use tieline_core::ids::IntegrationId;

/// Sort key of the integration.
pub(super) const INT: &str = "INT";
/// Sort key of the copy of its enabled trigger.
pub(super) const BOUND: &str = "BOUND";

pub(super) fn pk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}
