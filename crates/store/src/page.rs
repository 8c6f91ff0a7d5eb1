//! Paged lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::StoreError;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// Its items. There may be fewer than requested, even none, on a page that is not the last.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last page. Opaque, URL-safe.
    pub cursor: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            cursor: None,
        }
    }
}

/// A cursor for a position within a list. It never contains the list itself, so a cursor can't lead out of its list.
pub(crate) fn cursor(position: &str) -> String {
    URL_SAFE_NO_PAD.encode(position)
}

/// The lowest and the highest position of a list whose positions start with a time.
pub(crate) const TIMED: (&str, &str) = ("0", ":");

/// Longest position, in bytes. Ours are a fraction of it, and a table refuses a key of more than 1024.
const MAX_POSITION_BYTES: usize = 512;

/// The position of a cursor, which is between the list's lowest and highest: a table refuses to continue from anywhere else.
pub(crate) fn position(cursor: Option<&str>, (least, greatest): (&str, &str)) -> Result<Option<String>, StoreError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let position = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let is_in_list =
        |position: &String| position.len() <= MAX_POSITION_BYTES && (least..=greatest).contains(&position.as_str());
    position
        .filter(|position| !position.is_empty() && is_in_list(position))
        .map(Some)
        .ok_or(StoreError::Unreadable { what: "cursor" })
}
