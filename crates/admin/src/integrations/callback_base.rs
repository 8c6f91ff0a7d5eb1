//! Registration of all bots after a change of the base of callback addresses: until then, platforms call the old ones.

use tieline_bridge::world::World;
use tieline_core::ids::OrganizationId;
use tieline_store::StoreError;
use tieline_store::config::callback_base::{self, CallbackBase};
use tieline_store::config::{integration, organization, registration_due};
use tracing::warn;

use super::view;

/// Entries per read.
const PAGE: usize = 100;

/// Makes the registrations of all bots due if this program was started with another base than the one before it. Operators of bots whose
/// address is entered by hand see in the status that it has to be.
///
/// Idempotent. For a program that runs alone: of two with different bases, each would take the bots from the other.
///
/// # Errors
/// [`StoreError`]: some may be due, and the next call continues.
pub(crate) async fn register_after_change(world: &World) -> Result<(), StoreError> {
    let (store, base) = (&world.store, world.settings.callback_base());
    // Started for a try on this machine only: platforms can't be told such an address, and may reach us by the old one.
    if !view::is_callable(base) {
        return Ok(());
    }
    let before = callback_base::get(store).await?;
    if before.as_ref().is_some_and(|before| before.base == base) {
        return Ok(());
    }
    // If none is known, bots may have been added while there was no public address.
    mark_all(world).await?;
    let since = before.as_ref().map(|_| world.clock.now());
    if let Some(before) = &before {
        warn!(
            before.base,
            base, "the address of callbacks has changed: all bots are registered at their platforms again"
        );
    }
    let after = CallbackBase {
        base: base.to_owned(),
        since,
    };
    // Only now: if this process dies before, the next one registers them.
    match callback_base::set(store, before.as_ref(), after).await {
        // Applied by an earlier attempt of the same write.
        Err(StoreError::Conflict) if callback_base::get(store).await?.is_some_and(|it| it.base == base) => Ok(()),
        set => set,
    }
}

async fn mark_all(world: &World) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let page = organization::list(&world.store, cursor.as_deref(), PAGE, world.clock.now()).await?;
        for organization in &page.items {
            mark_all_of(world, &organization.id).await?;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn mark_all_of(world: &World, organization: &OrganizationId) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let page = integration::list(&world.store, organization, cursor.as_deref(), PAGE).await?;
        for record in page.items.iter().filter(|record| record.enabled) {
            registration_due::mark(&world.store, &record.id, record.version, world.clock.now()).await?;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
