//! A platform's name appears in its own folder, in the registry and in documents; everything else asks the manifest.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

/// Program code that is searched for platform names.
const PLACES: [&str; 3] = ["crates", "functions", "relay"];
/// The folders of the platforms.
const CONNECTORS: &str = "crates/connectors/src";
/// Names that are common words too: they count only as a whole string or as a segment of a path.
const COMMON_WORDS: [&str; 2] = ["custom", "web"];

#[test]
fn platform_names_appear_only_in_their_folders_and_the_registry() {
    let platforms = platforms();
    assert!(
        platforms.len() > 5,
        "expected more than 5 platforms, found {platforms:?}"
    );
    let mut found = Vec::new();
    for file in program_files() {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        for (line, code) in code_lines(&text) {
            let named = platforms.iter().filter(|platform| names(code, platform));
            found.extend(named.map(|platform| format!("{}:{line}: {platform}", file.display())));
        }
    }
    assert!(found.is_empty(), "use the manifest instead:\n{}", found.join("\n"));
}

#[test]
fn names_are_found_in_code_and_not_in_prose() {
    assert!(names("if platform == \"telegram\" {", "telegram"));
    assert!(names("use tieline_connectors::wecom::WeCom;", "wecom"));
    assert!(names("[\"api\", \"web\", \"replies\"]", "web"));
    assert!(names("\"/api/web/replies\"", "web"));
    assert!(!names("let web_address = web_address(text);", "web"));
    let text = "a();\n// telegram\n#[cfg(test)]\nmod tests {\n    telegram();\n}\n";
    assert_eq!(code_lines(text).collect::<Vec<_>>(), [(1, "a();")]);
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The platforms: the folders that have a manifest.
fn platforms() -> Vec<String> {
    let entries = std::fs::read_dir(root().join(CONNECTORS)).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    let platforms = folders.filter(|folder| folder.join("manifest.rs").exists());
    platforms
        .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Our program files outside the platforms' folders, without the list of connectors and the registry.
fn program_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if !is_elsewhere(&path, &name) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !is_test_file(&name) && !is_registry(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Whether a folder belongs to a platform, or has no program code.
fn is_elsewhere(path: &Path, name: &str) -> bool {
    let is_platform = path.parent() == Some(Path::new(CONNECTORS)) && root().join(path).join("manifest.rs").exists();
    is_platform || matches!(name, "tests" | "test_support" | "benches" | "target" | "node_modules")
}

fn is_test_file(name: &str) -> bool {
    matches!(name, "tests.rs" | "test_support.rs" | "fixture.rs")
}

/// The two lists that name every platform.
fn is_registry(path: &Path) -> bool {
    ["lib.rs", "registry.rs"]
        .iter()
        .any(|name| path == Path::new(CONNECTORS).join(name))
}

/// Lines with their number, without comments, documentation of the API and the tests at the end of a file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..tests].lines().enumerate();
    let code = lines.map(|(at, line)| (at + 1, without_comment(line)));
    code.filter(|(_, code)| !code.trim().is_empty() && !code.trim_start().starts_with("#[utoipa::path("))
}

/// The `//` of a URL begins no comment.
fn without_comment(line: &str) -> &str {
    match line.trim_start().starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or_default(),
    }
}

fn names(code: &str, platform: &str) -> bool {
    if COMMON_WORDS.contains(&platform) {
        let whole = [
            format!("\"{platform}\""),
            format!("/{platform}/"),
            format!("::{platform}::"),
        ];
        return whole.iter().any(|name| code.contains(name));
    }
    code.to_ascii_lowercase().contains(platform)
}
