//! Common Markdown, as agents write it: cutting it into pieces that each stand on their own, files as links.

mod cut;
mod files;

pub(crate) use cut::{Piece, piece, settled};
pub(crate) use files::with_files;
