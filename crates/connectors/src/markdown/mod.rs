//! Common Markdown, as agents write it: cutting it into pieces that each stand on their own.

mod cut;

pub(crate) use cut::{Piece, piece, settled};
