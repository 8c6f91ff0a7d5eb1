//! Positions of the fields of a file.

use std::collections::BTreeMap;

/// Line and column of each field, counted from 1, by the field's path.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<String, (usize, usize)>);

impl Positions {
    pub(super) fn new(places: BTreeMap<String, (usize, usize)>) -> Self {
        Self(places)
    }

    /// The position of a field, or of the nearest enclosing object that has one.
    pub(super) fn of(&self, field: &str) -> (usize, usize) {
        let mut path = field;
        loop {
            if let Some(found) = self.0.get(path) {
                return *found;
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return self.0.get("").copied().unwrap_or((1, 1)),
            }
        }
    }
}

/// The path of a field.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
