//! Dependencies between our crates go one way. The table is the one of `ARCHITECTURE.md`; a new dependency is a change of the design.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// For each crate, the crates of ours that its program code may use.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("embedded", &[]),
    ("server", &[]),
    ("connectors", &["core"]),
    ("agents", &["core"]),
    ("store", &["core"]),
    ("queue", &["core"]),
    ("bridge", &["core", "agents", "store", "queue"]),
    ("admin", &["core", "store", "queue", "bridge"]),
    ("aws", &["core", "store", "queue", "bridge"]),
    (
        "standalone",
        &[
            "core",
            "connectors",
            "agents",
            "store",
            "queue",
            "bridge",
            "admin",
            "embedded",
            "server",
        ],
    ),
    ("fn-webhook", DEPLOYABLE),
    ("fn-dispatcher", DEPLOYABLE),
    ("fn-runner", DEPLOYABLE),
    ("fn-admin", DEPLOYABLE),
    ("relay", DEPLOYABLE),
];

const DEPLOYABLE: &[&str] = &[
    "core",
    "connectors",
    "agents",
    "store",
    "queue",
    "bridge",
    "admin",
    "aws",
    "server",
];

/// Dependencies that core and connectors must not have: runtimes, sockets, clouds.
const IO_CRATES: &[&str] = &["tokio", "reqwest", "hyper", "axum", "tokio-tungstenite", "aws-config"];

#[test]
fn dependencies_follow_the_table() {
    let allowed: BTreeMap<&str, &[&str]> = DEPENDENCIES.iter().copied().collect();
    for package in packages() {
        let name = package.name.strip_prefix("tieline-").unwrap();
        if ["tests", "models", "simulation"].contains(&name) {
            continue;
        }
        let may = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no row in the table of dependencies"));
        for used in program_dependencies(&package) {
            if let Some(ours) = used.strip_prefix("tieline-") {
                assert!(
                    may.contains(&ours),
                    "{name} uses {ours}, which the table of dependencies doesn't allow"
                );
            }
        }
    }
}

#[test]
fn every_row_names_a_crate() {
    let names: BTreeSet<String> = packages().into_iter().map(|package| package.name).collect();
    for (name, _) in DEPENDENCIES {
        assert!(
            names.contains(&format!("tieline-{name}")),
            "the table names {name}, which is no crate"
        );
    }
}

#[test]
fn core_and_connectors_do_no_io() {
    for package in packages() {
        if !["tieline-core", "tieline-connectors"].contains(&package.name.as_str()) {
            continue;
        }
        for used in program_dependencies(&package) {
            let is_io = IO_CRATES.contains(&used) || used.starts_with("aws-sdk-");
            assert!(!is_io, "{} must not use {used}", package.name);
        }
    }
}

#[test]
fn dependency_versions_are_in_the_workspace_manifest_only() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for package in packages() {
        let folder = match package.name.strip_prefix("tieline-").unwrap() {
            "relay" => "relay".to_owned(),
            "tests" => "tests".to_owned(),
            "models" => "tests/models".to_owned(),
            "simulation" => "tests/simulation".to_owned(),
            name => match name.strip_prefix("fn-") {
                Some(function) => format!("functions/{function}"),
                None => format!("crates/{name}"),
            },
        };
        let manifest = std::fs::read_to_string(format!("{root}/{folder}/Cargo.toml")).unwrap();
        let own = manifest.lines().find(|line| {
            let of_the_crate = line.starts_with("version") || line.starts_with("rust-version");
            !of_the_crate
                && (line.contains("version = \"") || line.contains(" = \""))
                && line.chars().any(|c| c.is_ascii_digit())
                && !line.starts_with("path")
                && !line.starts_with("name")
        });
        assert_eq!(own, None, "{folder}: versions belong in the workspace's manifest");
    }
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        metadata.packages.len() >= DEPENDENCIES.len(),
        "found only {} crates",
        metadata.packages.len()
    );
    metadata.packages
}

fn program_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|it| it.kind.as_deref() != Some("dev"))
        .map(|it| it.name.as_str())
}
