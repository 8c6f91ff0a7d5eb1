//! Parses a file as YAML (a superset of JSON) and records the line of each field.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScanError};
use serde_json::{Map, Value};

use super::mistakes::{MAX_MISTAKES, Mistake};
use super::positions::{Positions, join};

/// Maximum nesting depth.
const MAX_DEPTH: usize = 32;
/// Maximum length of a key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// Maximum size of all values with their aliases expanded, in bytes: aliases can repeat a large value (the "billion laughs" attack).
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that each value counts in addition to its text.
const VALUE_BYTES: usize = 16;
/// Maximum size of the paths of all fields together, in bytes: each value of a long list below long keys has a long path.
const MAX_PATH_BYTES: usize = 32 * 1024 * 1024;

/// A parsed file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its value: an object, unless the file holds another type. Empty object for an empty file.
    pub(super) value: Value,
    pub(super) positions: Positions,
}

/// Reads a file.
///
/// # Errors
/// One syntax error, or the duplicate keys.
pub(super) fn read(text: &str) -> Result<Source, Vec<Mistake>> {
    let mut walk = Walk::default();
    for event in Parser::new_from_str(text) {
        let taken = event
            .map_err(|error| syntax(&error))
            .and_then(|(event, span)| walk.take(&event, span.start));
        taken.map_err(|mistake| vec![mistake])?;
    }
    if !walk.mistakes.is_empty() {
        return Err(walk.mistakes);
    }
    let value = values(text).map_err(|mistake| vec![mistake])?;
    Ok(Source {
        value,
        positions: Positions::new(walk.positions),
    })
}

fn values(text: &str) -> Result<Value, Mistake> {
    let read = serde_yaml_ng::from_str(text).and_then(|mut yaml: serde_yaml_ng::Value| {
        yaml.apply_merge()?;
        serde_yaml_ng::from_value::<Value>(yaml)
    });
    let value = read.map_err(|error| {
        let at = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // The library's error text may quote a value, which may be a secret.
        let detail =
            "the file is not readable as one YAML document of texts, numbers, switches, lists and keys with values";
        unreadable(at, detail.to_owned())
    })?;
    // A file with only comments is treated as an empty object.
    Ok(if value.is_null() {
        Value::Object(Map::new())
    } else {
        value
    })
}

fn syntax(error: &ScanError) -> Mistake {
    let detail = format!("the file is not readable as YAML: {}", error.info());
    unreadable(place(*error.marker()), detail)
}

fn unreadable((line, column): (usize, usize), detail: String) -> Mistake {
    Mistake {
        line,
        column,
        field: String::new(),
        code: "invalid_yaml",
        detail,
        allowed: Vec::new(),
    }
}

fn place(marker: Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

/// Builds the value from the parser's events and records the position of each field.
#[derive(Default)]
struct Walk {
    open: Vec<Open>,
    positions: BTreeMap<String, (usize, usize)>,
    /// Bytes of the paths in `positions`.
    n_path_bytes: usize,
    /// Duplicate keys. At most one more than is reported.
    mistakes: Vec<Mistake>,
    /// Bytes of all values so far, with aliases expanded.
    n_bytes: usize,
    /// Bytes of each anchored value, by anchor.
    anchored: BTreeMap<usize, usize>,
}

/// A list or an object that isn't closed yet.
struct Open {
    path: String,
    holds: Holds,
    anchor: usize,
    n_bytes_before: usize,
}

enum Holds {
    Items(usize),
    Fields {
        known: BTreeSet<String>,
        /// The key whose value comes next.
        key: Option<String>,
    },
}

impl Walk {
    fn take(&mut self, event: &Event<'_>, at: Marker) -> Result<(), Mistake> {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                self.count(text.len(), at)?;
                if *anchor > 0 {
                    self.anchored.insert(*anchor, text.len() + VALUE_BYTES);
                }
                self.scalar(text, at)
            }
            Event::Alias(anchor) => {
                self.count(self.anchored.get(anchor).copied().unwrap_or_default(), at)?;
                self.begin(at).map(drop)
            }
            Event::SequenceStart(anchor, _) => self.open(Holds::Items(0), *anchor, at),
            Event::MappingStart(anchor, _) => {
                let fields = Holds::Fields {
                    known: BTreeSet::new(),
                    key: None,
                };
                self.open(fields, *anchor, at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(closed) = self.open.pop().filter(|closed| closed.anchor > 0) {
                    let n_bytes = self.n_bytes - closed.n_bytes_before;
                    self.anchored.insert(closed.anchor, n_bytes);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, n_bytes: usize, at: Marker) -> Result<(), Mistake> {
        self.n_bytes = self.n_bytes.saturating_add(n_bytes).saturating_add(VALUE_BYTES);
        if self.n_bytes > MAX_BYTES {
            let detail = format!("the file has more than {MAX_BYTES} bytes of values with its aliases written out");
            return Err(unreadable(place(at), detail));
        }
        Ok(())
    }

    fn open(&mut self, holds: Holds, anchor: usize, at: Marker) -> Result<(), Mistake> {
        if self.open.len() >= MAX_DEPTH {
            let detail = format!("the file is nested deeper than {MAX_DEPTH} levels");
            return Err(unreadable(place(at), detail));
        }
        let n_bytes_before = self.n_bytes;
        self.count(0, at)?;
        let path = self.begin(at)?;
        self.open.push(Open {
            path,
            holds,
            anchor,
            n_bytes_before,
        });
        Ok(())
    }

    /// Handles a scalar: a key where one is expected, else a value.
    fn scalar(&mut self, text: &str, at: Marker) -> Result<(), Mistake> {
        let Some(Open {
            path,
            holds: Holds::Fields { known, key: key @ None },
            ..
        }) = self.open.last_mut()
        else {
            return self.begin(at).map(drop);
        };
        if text.len() > MAX_KEY_BYTES {
            let detail = format!("a key is longer than {MAX_KEY_BYTES} bytes");
            return Err(unreadable(place(at), detail));
        }
        *key = Some(text.to_owned());
        let path = join(path, text);
        let (line, column) = place(at);
        if !known.insert(text.to_owned()) {
            if self.mistakes.len() > MAX_MISTAKES {
                return Ok(());
            }
            let first = self.positions.get(&path).map_or(1, |(line, _)| *line);
            self.mistakes.push(Mistake {
                line,
                column,
                code: "duplicate_field",
                detail: format!("{path} is a duplicate; it stands on line {first} already"),
                field: path,
                allowed: Vec::new(),
            });
            return Ok(());
        }
        self.record(path, at)
    }

    /// Records the position of a value that begins and returns its path. A field has the position of its key.
    fn begin(&mut self, at: Marker) -> Result<String, Mistake> {
        let Some(open) = self.open.last_mut() else {
            self.positions.entry(String::new()).or_insert(place(at));
            return Ok(String::new());
        };
        match &mut open.holds {
            Holds::Items(n) => {
                let path = format!("{}[{n}]", open.path);
                *n += 1;
                self.record(path.clone(), at)?;
                Ok(path)
            }
            Holds::Fields { key, .. } => match key.take() {
                Some(key) => Ok(join(&open.path, &key)),
                None => Err(unreadable(place(at), "a key must be a text".to_owned())),
            },
        }
    }

    fn record(&mut self, path: String, at: Marker) -> Result<(), Mistake> {
        self.n_path_bytes = self.n_path_bytes.saturating_add(path.len());
        if self.n_path_bytes > MAX_PATH_BYTES {
            let detail =
                format!("the paths of the fields up to here have more than {MAX_PATH_BYTES} bytes: shorten the keys");
            return Err(unreadable(place(at), detail));
        }
        self.positions.insert(path, place(at));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_lines() {
        let source =
            read("# hello\nagents:\n  - name: A\n    config:\n      model: m\n  - {name: B, protocol: echo}\n")
                .unwrap();
        assert_eq!(source.value["agents"][1]["name"], "B");
        for (field, place) in [
            ("agents", (2, 1)),
            ("agents[0]", (3, 5)),
            ("agents[0].config.model", (5, 7)),
            ("agents[0].config.apiKey", (4, 5)),
            ("agents[1].protocol", (6, 15)),
            ("agents[7].name", (2, 1)),
            ("nothing", (2, 1)),
        ] {
            assert_eq!(source.positions.of(field), place, "{field}");
        }
        assert_eq!(read("# nothing\n").unwrap().value, json!({}));
    }

    #[test]
    fn aliases_and_merged_keys_have_the_position_of_their_use() {
        let text = "a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\nc: *a\n";
        let source = read(text).unwrap();
        assert_eq!(
            source.value,
            json!({"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}})
        );
        assert_eq!(source.positions.of("b.x"), (2, 1));
        assert_eq!(source.positions.of("c.x"), (5, 1));
    }

    #[track_caller]
    fn check_refused(text: &str, line: usize, detail: &str) {
        let mistakes = read(text).unwrap_err();
        assert_eq!(mistakes[0].line, line, "{mistakes:?}");
        assert!(mistakes[0].detail.contains(detail), "{mistakes:?}");
    }

    #[test]
    fn number_of_reported_duplicates_is_bounded() {
        let mistakes = read(&"a: 1\n".repeat(20_000)).unwrap_err();
        assert_eq!(mistakes.len(), MAX_MISTAKES + 1);
    }

    #[test]
    fn closing_brackets_need_no_indentation() {
        let source = read("agents: [\n  {name: A}\n]\nb: {\n  c: 1\n}\n").unwrap();
        assert_eq!(source.value["b"]["c"], 1);
        let source = read("{\n\"agents\": [\n{\"name\":\n\"A\"}]\n}").unwrap();
        assert_eq!(source.value["agents"][0]["name"], "A");
        assert_eq!(source.positions.of("agents[0].name").0, 3);
    }

    #[test]
    fn yaml_syntax_errors_have_a_line() {
        check_refused("a: 1\nb: [1, 2\n", 3, "not readable as YAML");
        check_refused("a: 1\nb: 'x\n", 2, "not readable as YAML");
        check_refused("a: 1\nb: !secret x\n", 1, "not readable as one YAML document");
        check_refused("a: 1\n---\nb: 2\n", 1, "not readable as one YAML document");
        check_refused("a: 1\n? [b]\n: 2\n", 2, "a key must be a text");
        check_refused("a: 1\nb: 2\na: 3\n", 3, "a is a duplicate; it stands on line 1 already");
    }

    #[test]
    fn unbounded_nesting_aliases_and_keys_are_refused() {
        check_refused(&"[".repeat(100), 1, "nested deeper");
        let mut bomb = "a0: &a0 [xxxxxxxxxx, xxxxxxxxxx]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        let mistakes = read(&bomb).unwrap_err();
        assert!(mistakes[0].detail.contains("aliases written out"), "{mistakes:?}");
        check_refused(&format!("{}: 1", "k".repeat(300)), 1, "");
        let key = "k".repeat(250);
        let long = format!("{}[{}]", format!("{{{key}: ").repeat(30), "1,".repeat(100_000));
        check_refused(&long, 1, "shorten the keys");
    }
}
