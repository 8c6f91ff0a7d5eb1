//! Commands that act on one resource. Those that affect people show whom, and ask.

mod keys;
mod lifecycle;
mod messages;
mod notify;
mod owners;
mod removal;

pub use keys::{rotate_keys, show_keys};
pub use lifecycle::{disable, enable, restart, start, stop, test};
pub use messages::{redrive, reset, send};
pub use notify::{end_notify, notify_chat, notify_webhook, show_notify, test_notify};
pub use owners::{create_organization, create_token, list_organizations, list_tokens};
pub use removal::{delete, delete_token};
