//! Models of the road, explored exhaustively: every order of steps, with crashes, pauses, and doubled wake-ups anywhere.
//!
//! A model is a small state with all its successors; the search is breadth-first, so a violation comes with a shortest path to it.
//! What the code does in one conditional write is one step here. Each model is also run with a mistake planted in it, which the
//! oracles must find: else they would prove nothing.

mod conversation;
mod search;
mod shards;
