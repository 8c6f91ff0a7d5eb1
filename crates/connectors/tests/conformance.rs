//! Conformance of every connector: walks the registry and every vector of each folder. A folder without vectors fails.
//!
//! A vector file is named after what it tests: `receive-*.json` (a webhook request and its result), `compose-*.json` (a dialogue
//! of `deliver` and `classify`, with progress carried from step to step), `classify-*.json` (responses to one call), `stream-*.json` (a
//! session's life). It contains one vector or a list. `conformance/case.rs` has the format; fields that `expect` omits are not checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tieline_connectors::registry;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Connector, Delivery, Proof};

#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/mangled.rs"]
mod mangled;
#[path = "conformance/show.rs"]
mod show;
#[path = "conformance/walk.rs"]
mod walk;

const KINDS: [&str; 4] = ["receive", "compose", "classify", "stream"];

#[test]
fn every_connector_passes_its_vectors() {
    let mut failures = Vec::new();
    for connector in registry::ALL {
        let platform = connector.manifest().platform;
        let mut seen = BTreeSet::new();
        for (kind, path) in vectors(platform) {
            play_file(kind, &path, *connector, &mut seen, &mut failures);
        }
        let missing = must_show(*connector).into_iter().filter(|word| !shown(&seen, word));
        failures.extend(missing.map(|word| format!("{platform}: no vector shows `{word}`")));
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn play_file(
    kind: &str,
    path: &Path,
    connector: &dyn Connector,
    seen: &mut BTreeSet<String>,
    failures: &mut Vec<String>,
) {
    let place = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path).display();
    let text = std::fs::read_to_string(path).expect("a listed file can be read");
    let cases = match walk::read(&text) {
        Ok(cases) => cases,
        Err(error) => return failures.push(format!("{place}: {error}")),
    };
    seen.insert(kind.to_owned());
    for case in cases {
        let name = case.name.clone();
        match walk::play(kind, connector, case) {
            Ok(words) => seen.extend(words),
            Err(error) => failures.push(format!("{place}: {name}: {error}")),
        }
    }
}

fn vectors(platform: &str) -> Vec<(&'static str, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(platform)
        .join("vectors");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    let kind = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
        KINDS.into_iter().find(|kind| name.starts_with(&format!("{kind}-")))
    };
    paths
        .into_iter()
        .filter_map(|path| Some((kind(&path)?, path)))
        .collect()
}

/// What a folder's vectors must cover, by the connector's claims. `a|b`: one of them is enough.
fn must_show(connector: &dyn Connector) -> Vec<&'static str> {
    let manifest = connector.manifest();
    let mut words = vec!["text", "compose"];
    if manifest.mode(ConnectionMode::Webhook).is_some() {
        words.push("receive");
        match manifest.proof {
            Proof::Platform => words.extend(["rejected BadSignature", "rejected Missing", "unreadable", "ignored"]),
            Proof::Operator => words.push("answer"),
        }
    }
    if manifest.proof == Proof::Platform {
        words.push("part|card action");
    }
    if connector.stream().is_some() {
        words.extend(["stream", "effect up", "effect deliver"]);
    }
    let pushes = manifest
        .modes
        .iter()
        .any(|mode| !matches!(mode.delivery, Delivery::Pull { push_after: false, .. }));
    if pushes {
        words.extend(["classify", "accepted", "slowDown|retry", "refused|fallBack"]);
    }
    if connector.tokens().is_some() {
        words.push("tokenExpired");
    }
    words
}

fn shown(seen: &BTreeSet<String>, word: &str) -> bool {
    word.split('|').any(|word| seen.contains(word))
}
