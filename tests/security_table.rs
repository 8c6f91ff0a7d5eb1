//! The tables of `docs/security.md` are complete, and every file and test that they name exists.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Number of requirements of levels 1 and 2 in each section of ASVS 5.0.0. They are numbered from 1: those of level 3 come last.
///
/// See [OWASP/ASVS 5.0.0](https://github.com/OWASP/ASVS/tree/v5.0.0/5.0/en).
const SECTIONS: &[(&str, usize)] = &[
    ("1.1", 2),
    ("1.2", 9),
    ("1.3", 11),
    ("1.4", 3),
    ("1.5", 2),
    ("2.1", 3),
    ("2.2", 3),
    ("2.3", 4),
    ("2.4", 1),
    ("3.2", 2),
    ("3.3", 4),
    ("3.4", 6),
    ("3.5", 5),
    ("3.7", 2),
    ("4.1", 3),
    ("4.2", 1),
    ("4.3", 2),
    ("4.4", 4),
    ("5.1", 1),
    ("5.2", 3),
    ("5.3", 2),
    ("5.4", 3),
    ("6.1", 3),
    ("6.2", 12),
    ("6.3", 4),
    ("6.4", 4),
    ("6.5", 5),
    ("6.6", 3),
    ("6.8", 4),
    ("7.1", 3),
    ("7.2", 4),
    ("7.3", 2),
    ("7.4", 5),
    ("7.5", 2),
    ("7.6", 2),
    ("8.1", 2),
    ("8.2", 3),
    ("8.3", 1),
    ("8.4", 1),
    ("9.1", 3),
    ("9.2", 4),
    ("10.1", 2),
    ("10.2", 2),
    ("10.3", 4),
    ("10.4", 11),
    ("10.5", 5),
    ("10.6", 2),
    ("10.7", 3),
    ("11.1", 2),
    ("11.2", 3),
    ("11.3", 3),
    ("11.4", 4),
    ("11.5", 1),
    ("11.6", 1),
    ("12.1", 3),
    ("12.2", 2),
    ("12.3", 4),
    ("13.1", 1),
    ("13.2", 5),
    ("13.3", 2),
    ("13.4", 5),
    ("14.1", 2),
    ("14.2", 4),
    ("14.3", 3),
    ("15.1", 3),
    ("15.2", 3),
    ("15.3", 7),
    ("16.1", 1),
    ("16.2", 5),
    ("16.3", 4),
    ("16.4", 3),
    ("16.5", 3),
    ("17.1", 1),
    ("17.2", 4),
    ("17.3", 2),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of every row of all tables of the page.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        cells.collect::<Vec<_>>()
    };
    text.lines().filter(|line| line.starts_with('|')).map(cells).collect()
}

/// The rows that begin with a requirement.
fn of_requirements() -> Vec<Vec<String>> {
    let is_number = |first: char| first.is_ascii_digit();
    rows()
        .into_iter()
        .filter(|cells| cells[0].starts_with(is_number))
        .collect()
}

/// The requirements that the first cell names: single ones, ranges like `1.2.6 to 1.2.8`, sections and chapters.
fn requirements(cell: &str) -> Vec<String> {
    let all = || {
        SECTIONS
            .iter()
            .flat_map(|(section, n)| (1..=*n).map(move |number| format!("{section}.{number}")))
    };
    let each = cell
        .split(',')
        .map(str::trim)
        .flat_map(|name| match name.split_once(" to ") {
            Some((first, last)) => {
                let (section, from) = first.rsplit_once('.').unwrap();
                let to: usize = last.rsplit_once('.').unwrap().1.parse().unwrap();
                let from: usize = from.parse().unwrap();
                (from..=to)
                    .map(|number| format!("{section}.{number}"))
                    .collect::<Vec<_>>()
            }
            None => {
                let inside = format!("{name}.");
                all().filter(|one| *one == name || one.starts_with(&inside)).collect()
            }
        });
    let found: Vec<_> = each.collect();
    assert!(!found.is_empty(), "{cell} names no requirement of levels 1 and 2");
    found
}

/// The texts in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Our own files, by path from the workspace.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "functions", "relay", "infra", "tests", "docs", ".github"]
        .map(|name| root().join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true if ["target", "node_modules", ".tools"].contains(&name) => {}
                true => folders.push(path),
                false => found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.extend(["deny.toml", "Cargo.toml", "Cargo.lock", "ARCHITECTURE.md", "README.md"].map(str::to_owned));
    found
}

/// The only file that a path names: its full path, or the end of it.
fn resolve<'a>(files: &'a [String], path: &str) -> &'a str {
    if let Some(whole) = files
        .iter()
        .find(|file| *file == path || **file == format!("crates/{path}"))
    {
        return whole;
    }
    let end = format!("/{path}");
    let mut found = files.iter().filter(|file| file.ends_with(&end));
    match (found.next(), found.next()) {
        (Some(one), None) => one,
        (Some(one), Some(other)) => panic!("{path} is ambiguous: {one} or {other}"),
        (None, _) => panic!("no file ends with {path}"),
    }
}

fn is_file(name: &str) -> bool {
    let extensions = [".rs", ".py", ".js", ".yaml", ".toml", ".md", ".sh", ".lock"];
    !name.contains(' ') && extensions.iter().any(|extension| name.ends_with(extension))
}

#[test]
fn every_requirement_is_in_one_row() {
    let mut seen = BTreeMap::<String, usize>::new();
    for row in of_requirements() {
        for requirement in requirements(&row[0]) {
            *seen.entry(requirement).or_default() += 1;
        }
    }
    let twice: Vec<_> = seen.iter().filter(|(_, n)| **n > 1).map(|(name, _)| name).collect();
    assert!(twice.is_empty(), "in two rows: {twice:?}");
    let all = SECTIONS
        .iter()
        .flat_map(|(section, n)| (1..=*n).map(move |number| format!("{section}.{number}")));
    let all: BTreeSet<_> = all.collect();
    let listed: BTreeSet<_> = seen.into_keys().collect();
    let missing: Vec<_> = all.difference(&listed).collect();
    assert!(missing.is_empty(), "in no row: {missing:?}");
    let unknown: Vec<_> = listed.difference(&all).collect();
    assert!(unknown.is_empty(), "not of levels 1 and 2: {unknown:?}");
}

#[test]
fn named_files_and_tests_exist() {
    let files = files();
    let mut n_tests = 0;
    for row in rows() {
        for name in row[1..].iter().flat_map(|cell| quoted(cell)) {
            let (file, test) = match name.split_once(": ") {
                Some((file, test)) if is_file(file) => (file, Some(test)),
                _ if is_file(name) => (name, None),
                _ => continue,
            };
            let path = resolve(&files, file);
            let Some(test) = test else { continue };
            let text = fs::read_to_string(root().join(path)).unwrap();
            let is_there = text.contains(&format!("fn {test}(")) || text.contains(&format!("def {test}("));
            assert!(is_there, "{}: {path} has no {test}", row[0]);
            n_tests += 1;
        }
    }
    assert!(n_tests > 60, "{n_tests} tests are named");
}

#[test]
fn every_met_requirement_names_its_test() {
    // Rows of four cells: the requirement, what it asks for, where it is met, the test.
    for row in of_requirements().iter().filter(|row| row.len() == 4) {
        let tests = quoted(&row[3]).filter(|name| name.split_once(": ").is_some_and(|(file, _)| is_file(file)));
        let by_build = row[3].starts_with("the build");
        assert!(by_build || tests.count() > 0, "{} names no test", row[0]);
    }
}
