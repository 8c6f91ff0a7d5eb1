//! What operators configure: organizations and what they own. In the table `config`.
//!
//! Every rule is a condition of the write that it guards, over several items where it must be: names are unique per kind and
//! organization, a bot account is in one integration, an integration has one enabled trigger, an agent that is in use stays.

pub mod agent;
pub mod integration;
pub mod live;
pub mod organization;
pub mod token;
pub mod trigger;
pub mod user;

mod list;
mod name;
mod recent;
mod transaction;

pub(crate) use recent::Recent;
