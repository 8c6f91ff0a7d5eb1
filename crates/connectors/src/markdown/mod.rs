//! Common Markdown, as agents write it: cutting it into pieces that are each complete Markdown, files as links, nothing that carries its bytes itself.

mod cut;
mod data;
mod files;
mod plain;

pub(crate) use cut::{Piece, piece};
pub(crate) use data::without_data;
pub(crate) use files::{address, with_files};
pub(crate) use plain::{LinkStyle, PlainStyle, plain};
