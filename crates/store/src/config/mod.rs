//! Configuration by operators: organizations and what they own. In the table `config`.
//!
//! Every rule is a condition of the write that it guards, over several items where necessary: names are unique per kind and
//! organization, a bot account is in one integration, an integration has one enabled trigger, an agent in use can't be deleted.

pub mod agent;
pub mod callback_base;
pub mod desired_connections;
pub mod integration;
pub mod notify;
pub mod organization;
pub mod registration_due;
pub mod token;
pub mod trash;
pub mod trigger;
pub mod user;

mod config_cache;
mod integration_key;
mod list;
mod name;
mod transaction;
mod trigger_item;

use tieline_core::ids::OrganizationId;

use crate::item::{Item, get_text};

pub(crate) use config_cache::Recent;

/// Attribute of an item of this table that holds a sealed value, and what that is bound to. `None`: it has none.
pub(crate) fn sealed(item: &Item, pk: &str, sk: &str) -> Option<(&'static str, String)> {
    let own_id = || get_text(item, "id").map(str::to_owned);
    let organization = || OrganizationId::new(pk.trim_start_matches("ORG#"));
    match sk {
        integration_key::INT => Some(("credentials", own_id()?)),
        "ORG" => Some(("mapper.sealedSecret", organization::bound_to(&organization()))),
        notify::SORT => Some(("channel.sealedSecret", notify::bound_to(pk))),
        _ if sk.starts_with("AGT#") => Some(("config", own_id()?)),
        _ => None,
    }
}
