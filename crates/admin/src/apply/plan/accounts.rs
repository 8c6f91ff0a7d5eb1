//! Checks that each bot account belongs to one integration.

use std::collections::BTreeMap;

use tieline_store::config::integration as store_integration;

use super::Planner;
use crate::apply::mistakes::Mistakes;
use crate::apply::positions::join;
use crate::integrations::account::settle_rivals;
use crate::problem::Problem;

/// Notes each integration of the file whose bot account belongs to another integration, in the file or outside it.
pub(super) async fn check(planner: &Planner<'_>, mistakes: &mut Mistakes<'_>) -> Result<(), Problem> {
    let store = &planner.state.world.store;
    let mut claimed: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for entry in &planner.wanted.entry.integrations {
        let Some(planned) = planner.integrations.get(&entry.name) else {
            continue;
        };
        let Some(key) = &planned.settings.account_key else {
            continue;
        };
        let field = join(&entry.at, "credentials");
        if let Some(other) = claimed.insert((&planned.platform, key), &entry.name) {
            refuse(&field, other, mistakes);
            continue;
        }
        let (organization, endpoints) = (&planner.wanted.scope.organization, &planned.settings.endpoints);
        settle_rivals(planner.state, organization, &planned.platform, &planned.settings).await?;
        let holder =
            store_integration::account_holder(store, organization, (&planned.platform, key), endpoints).await?;
        let Some((claimant, holder)) = holder.filter(|(_, holder)| *holder != planned.id) else {
            continue;
        };
        if claimant != *organization {
            let problem = Problem::conflict("account_in_use", "this bot account is in another integration");
            mistakes.problem(&field, &problem);
        } else if let Some(other) = planner.keeper(&holder, key) {
            refuse(&field, other, mistakes);
        }
    }
    Ok(())
}

fn refuse(field: &str, other: &str, mistakes: &mut Mistakes<'_>) {
    let detail = format!("this bot account is in the integration `{other}` already");
    mistakes.problem(field, &Problem::conflict("account_in_use", detail));
}

impl Planner<'_> {
    /// The name of the integration that owns a bot account, unless the file gives that integration another account.
    fn keeper(&self, holder: &tieline_core::ids::IntegrationId, key: &str) -> Option<&str> {
        let (name, planned) = self.integrations.iter().find(|(_, planned)| planned.id == *holder)?;
        let is_in_file = self.wanted.entry.integrations.iter().any(|entry| entry.name == *name);
        let moves = is_in_file && planned.settings.account_key.as_deref() != Some(key);
        (!moves).then_some(name)
    }
}
