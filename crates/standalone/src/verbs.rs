//! Commands that do something to one object. Those that take something away from people show whom, and ask.

mod lifecycle;
mod messages;
mod owners;
mod removal;

pub use lifecycle::{disable, enable, restart, start, stop, test};
pub use messages::{redrive, reset, send};
pub use owners::{create_organization, create_token, list_organizations, list_tokens};
pub use removal::{delete, delete_token};
