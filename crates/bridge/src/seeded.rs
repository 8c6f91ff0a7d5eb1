//! Random bytes from a seed, and platforms in the process, for reproducible simulations. Only with the feature `seeded`, which no program enables.

use std::cell::Cell;
use std::fmt::Debug;
use std::pin::Pin;

use tieline_core::http_types::{ApiAnswer, HttpCall};

/// A platform that is simulated in this process: it answers calls instead of the network.
pub trait SimulatedPlatform: Debug + Send + Sync {
    /// The answer to a call.
    fn answer(&self, call: &HttpCall) -> Pin<Box<dyn Future<Output = ApiAnswer> + Send>>;
}

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Seeds the random bytes of this thread; `None` returns to the system's.
pub fn seed(seed: Option<u64>) {
    STATE.set(seed);
}

/// Fills `bytes`, if this thread has a seed.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    let Some(mut state) = STATE.get() else {
        return false;
    };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    true
}

/// SplitMix64. See Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
