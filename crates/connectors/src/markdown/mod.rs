//! Common Markdown, as agents write it: splitting into complete pieces, files as links, removal of inline `data:` URLs.

mod blank;
mod cut;
mod data;
mod dropped;
mod files;
mod inline;
mod plain;
mod quotation;

pub(crate) use blank::{answer, is_blank};
pub(crate) use cut::{Cutter, Piece, less_of_piece, less_room, next_visible, piece};
pub(crate) use data::{settled, with_labels, without_data};
pub(crate) use dropped::{excess_cells, with_definitions};
pub(crate) use files::{address, with_files};
pub(crate) use inline::{Inline, Kind, Part, Span};
pub(crate) use plain::{LinkStyle, PlainStyle, plain};
pub(crate) use quotation::quotation;
