//! Models of the message path, checked exhaustively: every order of steps, with crashes, pauses and duplicate wake-ups anywhere.
//!
//! A model is a small state with all its successors; the search is breadth-first, so a violation comes with a shortest path to it.
//! A conditional write of the code is one step here. Each model is also run with planted mistakes (mutation testing), which the
//! oracles must find: otherwise they would prove nothing.

mod conversation;
mod search;
mod shards;
