//! What operators configure: organizations and what they own. In the table `config`.
//!
//! Every rule is a condition of the write that it guards, over several items where it must be: names are unique per kind and
//! organization, a bot account is in one integration, an integration has one enabled trigger, an agent that is in use stays.

pub mod agent;
pub mod desired_connections;
pub mod integration;
pub mod notify;
pub mod organization;
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

pub(crate) use config_cache::Recent;
