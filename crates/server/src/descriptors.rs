//! Limit of the process's open files (`RLIMIT_NOFILE`), raised at the start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Requested limit where the system sets no hard limit.
const ENOUGH: u64 = 65_536;

/// Raises the soft limit of open files to the hard one. The default soft limit is low for the sake of `select`, which is not used here.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(ENOUGH);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(from = current, to = wanted, "limit of open files raised"),
        Err(error) => warn!(%error, limit = current, "limit of open files can't be raised"),
    }
}

/// The soft limit of open files. `None`: unlimited.
pub(crate) fn limit() -> Option<usize> {
    let current = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(current).unwrap_or(usize::MAX))
}
