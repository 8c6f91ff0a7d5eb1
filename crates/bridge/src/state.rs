//! State shared by the tasks of one process. Each file is a leaf: it imports neither [`crate::world::World`] nor another part of the bridge.

pub(crate) mod accounts;
pub(crate) mod cooldowns;
pub(crate) mod guess_limiter;
pub(crate) mod known_names;
pub(crate) mod known_users;
pub(crate) mod log_throttle;
pub(crate) mod long_polls;
pub(crate) mod message_limits;
pub(crate) mod newest_targets;
pub(crate) mod parked_runs;
pub(crate) mod rate_limiter;
pub(crate) mod refusal_log;
pub(crate) mod token_uses;
pub(crate) mod tokens;
