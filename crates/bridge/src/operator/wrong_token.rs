//! Counts a wrong token, and writes it into the audit log.

use std::net::IpAddr;

use tieline_core::timestamp::Timestamp;
use tieline_store::audit::{self, Actor, AuditEntry, Trail};
use tracing::warn;

use super::Denied;
use crate::state::guess_limiter::Guess;
use crate::world::World;

const WRONG: &str = "session.wrong_token";
const TOO_MANY: &str = "session.too_many_wrong_tokens";

/// Counts a wrong token against its address. The audit log gets only the first one of an address per minute, and the first one over the
/// limit: logging every guess would let an attacker fill the table.
///
/// All routes share the counter, so its one caller authenticates the tokens of all of them: a route that counted without writing would hide
/// the guesses at the others.
pub(super) async fn refuse(world: &World, address: Option<IpAddr>) -> Denied {
    let now = world.clock.now();
    let (denied, action, is_first) = match world.guesses.count(address, now) {
        Guess::Counted { is_first } => (Denied::WrongToken, WRONG, is_first),
        Guess::Refused {
            retry_after_seconds,
            is_first,
        } => (Denied::TooManyGuesses { retry_after_seconds }, TOO_MANY, is_first),
    };
    if is_first && let Err(error) = audit::append(&world.store, &trail(action, address, now)).await {
        warn!(error = %error, "audit entry of a wrong token can't be written");
    }
    denied
}

fn trail(action: &str, address: Option<IpAddr>, at: Timestamp) -> Trail {
    let entry = AuditEntry {
        id: audit::fresh_id(),
        at,
        organization: None,
        actor: Actor {
            role: "unknown".to_owned(),
            token_id: None,
            token_name: None,
        },
        address: address.map(|address| address.to_string()),
        action: action.to_owned(),
        target: None,
        before: None,
        after: None,
    };
    Trail {
        entry,
        lines: Vec::new(),
    }
}
