//! What the documents name exists, and what an operator encounters is documented: links, Chinese twins, pages of platforms, commands and flags,
//! alarms, checks of the doctor.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tieline_connectors::registry;
use tieline_standalone::args::Args;

/// File name suffix of a Chinese page.
const CHINESE: &str = ".zh-CN.md";
/// The words before the command in a line that runs the bridge from its sources.
const FROM_SOURCES: [&str; 4] = ["cargo", "run", "--release", "--"];

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for page in pages(root()) {
        for link in links(&read(&page)) {
            if !leads_somewhere(&page, &link) {
                broken.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}

#[test]
fn pages_have_chinese_twins_with_the_same_headings() {
    let mut faults = Vec::new();
    for page in documents() {
        let twin = twin(&page);
        if !twin.exists() {
            faults.push(format!("{} has no twin {}", shown(&page), shown(&twin)));
            continue;
        }
        let (here, there) = (read(&page), read(&twin));
        if levels(&here) != levels(&there) {
            faults.push(format!("{} and {} have other headings", shown(&page), shown(&twin)));
        }
        if !begins_with_link(&here, &twin) {
            faults.push(format!("{} doesn't begin with a link to its twin", shown(&page)));
        }
    }
    assert!(faults.is_empty(), "expected none, found {}", faults.join("\n"));
}

#[test]
fn each_platform_has_a_page() {
    for connector in registry::ALL {
        let name = connector.manifest().platform;
        let page = root().join(format!("docs/platforms/{name}.md"));
        assert!(page.exists(), "{name} has no page in docs/platforms");
    }
}

#[test]
fn each_alarm_has_a_row() {
    let alarms = read(&root().join("infra/watch.yaml"));
    let names = alarms.lines();
    let names = names.filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ${Name}-"));
    assert_explained(&names.collect(), "infra/README.md");
}

/// The checks are those that the tests of `tests/causes` expect.
#[test]
fn each_check_of_the_doctor_has_a_row() {
    let mut names = BTreeSet::new();
    let mut causes = Vec::new();
    for entry in fs::read_dir(root().join("tests/causes")).unwrap() {
        causes.push(read(&entry.unwrap().path()));
    }
    for text in &causes {
        let expected = text.split("Expected::failed(").chain(text.split("Expected::warning("));
        let first_words = expected.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
        names.extend(first_words);
    }
    for page in ["docs/on-call.md", "docs/on-call.zh-CN.md"] {
        assert_explained(&names, page);
    }
}

/// Checks that each name is in the first column of a table.
#[track_caller]
fn assert_explained(names: &BTreeSet<&str>, page: &str) {
    let text = read(&root().join(page));
    let first_cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let explained: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let missing: Vec<&&str> = names.difference(&explained).collect();
    assert!(names.len() > 10, "expected more than 10 names, found {names:?}");
    assert!(missing.is_empty(), "{page} doesn't explain {missing:?}");
}

#[test]
fn commands_and_flags_in_documents_exist() {
    let known = verbs();
    let all = all_flags(&known);
    assert!(all.contains("--public-url"), "expected `--public-url` in {all:?}");
    let mut faults = Vec::new();
    let deployment = root().join("infra/README.md");
    for page in documents().iter().chain([&deployment]) {
        // In the deployment guide, flags without a command belong to other programs.
        let is_ours = |code: &String| page != &deployment || !code.starts_with("--");
        for code in code(&read(page)).into_iter().filter(is_ours) {
            let unknown = unknown(&code, &known, &all);
            faults.extend(unknown.map(|word| format!("{}: {word} in `{code}`", shown(page))));
        }
    }
    assert!(faults.is_empty(), "not on the command line:\n{}", faults.join("\n"));
}

#[test]
fn faults_are_recognized() {
    assert_eq!(
        links("[a](b.md) `[c](d)` [`e`](f.md#g)\n```\n[h](i)\n```\n"),
        ["b.md", "f.md#g"]
    );
    assert!(!leads_somewhere(&root().join("README.md"), "docs/nothing.md"));
    assert!(!leads_somewhere(&root().join("README.md"), "docs/agents.md#nothing"));
    assert_eq!(slug("## `openai_chat`, 第二节 (2)"), "openai_chat-第二节-2");
    assert_eq!(levels("# a\n```\n# b\n```\n### c\n"), [1, 3]);
    let (known, all) = (verbs(), BTreeSet::from(["--all".to_owned()]));
    for (code, expected) in [
        ("tieline doctor --all", None),
        ("docker compose up --detach", None),
        ("cargo run --release -- chat --agent x", None),
        ("A=b sudo tieline token create x --role admin", None),
        ("doctor --al", Some("--al")),
        ("tieline token create x --rule admin", Some("--rule")),
        ("tieline doctor x && tieline cure x", Some("cure")),
        ("--everything", Some("--everything")),
    ] {
        assert_eq!(unknown(code, &known, &all).next().as_deref(), expected, "{code}");
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap()
}

fn shown(page: &Path) -> String {
    page.strip_prefix(root()).unwrap().display().to_string()
}

/// The Markdown files below a folder, without those of installed tools and builds.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "tieline-data") {
                found.extend(pages(&entry.path()));
            }
        } else if name.ends_with(".md") {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Pages for users, in both languages.
fn documents() -> Vec<PathBuf> {
    let mut found = pages(&root().join("docs"));
    found.extend([root().join("README.md"), root().join("README.zh-CN.md")]);
    found
}

/// The same page in the other language.
fn twin(page: &Path) -> PathBuf {
    let name = page.file_name().unwrap().to_str().unwrap();
    page.with_file_name(match name.strip_suffix(CHINESE) {
        Some(stem) => format!("{stem}.md"),
        None => format!("{}{CHINESE}", name.strip_suffix(".md").unwrap()),
    })
}

fn begins_with_link(text: &str, twin: &Path) -> bool {
    let name = twin.file_name().unwrap().to_str().unwrap();
    let beginning: Vec<&str> = text.lines().take(4).collect();
    links(&beginning.join("\n")).iter().any(|link| link == name)
}

/// Lines, each with whether it is in a fenced code block.
fn lines(text: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut in_code = false;
    text.lines().filter_map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!is_fence).then_some((in_code, line))
    })
}

/// Targets of links in prose that have no scheme.
fn links(text: &str) -> Vec<String> {
    let prose = lines(text).filter(|(in_code, _)| !in_code);
    let without_code = prose.map(|(_, line)| line.split('`').step_by(2).collect::<String>());
    let all = without_code.flat_map(|line| {
        let addresses = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        addresses.map(|(address, _)| address.to_owned()).collect::<Vec<_>>()
    });
    all.filter(|address| !address.contains(':')).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.to_owned(),
        path => page.with_file_name(path),
    };
    target.exists() && (anchor.is_empty() || headings(&read(&target)).any(|heading| slug(heading) == anchor))
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let prose = lines(text).filter(|(in_code, _)| !in_code);
    prose.map(|(_, line)| line).filter(|line| line.starts_with('#'))
}

fn levels(text: &str) -> Vec<usize> {
    headings(text)
        .map(|line| line.len() - line.trim_start_matches('#').len())
        .collect()
}

/// The anchor that Markdown renderers generate for a heading.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Lines of code blocks, and inline code.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (in_code, line) in lines(text) {
        if in_code || line.starts_with("    ") {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Words of a piece of code that look like our commands or flags but don't exist.
fn unknown(code: &str, known: &[String], all: &BTreeSet<String>) -> impl Iterator<Item = String> {
    // In a table a pipe character is escaped with a backslash.
    let plain = code
        .replace("\\|", "/")
        .replace(['[', ']', '(', ')', ',', '"', '\''], " ");
    let mut faults = Vec::new();
    for part in plain.split("&&").flat_map(|part| part.split([';', '|', '#', '>'])) {
        let words: Vec<&str> = part.split_whitespace().collect();
        match command(&words, known) {
            Some([verb, ..]) if verb.starts_with(char::is_lowercase) && !known.iter().any(|it| it == verb) => {
                faults.push((*verb).to_owned());
            }
            Some(command) if command.first().is_some_and(|verb| !verb.starts_with('-')) => {
                let allowed = flags_of(command);
                faults.extend(flags(command).filter(|flag| !allowed.contains(flag)));
            }
            Some(command) => faults.extend(flags(command).filter(|flag| !all.contains(flag))),
            None => {}
        }
    }
    faults.into_iter()
}

/// Our command in a line: its verb and what follows, or flags alone.
fn command<'a>(words: &'a [&'a str], known: &[String]) -> Option<&'a [&'a str]> {
    if words.first()?.starts_with("--") || words.len() > 1 && known.iter().any(|verb| verb == words[0]) {
        return Some(words);
    }
    if let Some(rest) = words.strip_prefix(&FROM_SOURCES) {
        return Some(rest);
    }
    let at = words.iter().position(|word| *word == "/tieline").or_else(|| {
        let first = words.iter().position(|word| *word != "sudo" && !word.contains('='))?;
        (words[first] == "tieline").then_some(first)
    })?;
    Some(&words[at + 1..]).filter(|rest| !rest.is_empty())
}

fn flags<'a>(words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    flags.map(|word| word.split('=').next().unwrap_or_default().to_owned())
}

/// The flags that the help of a command lists.
fn flags_of(command: &[&str]) -> BTreeSet<String> {
    let text = help(&command[..1]);
    let nested = subcommands(&text);
    let text = match command.get(1) {
        Some(second) if nested.iter().any(|it| it == second) => help(&[command[0], second]),
        _ => text,
    };
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let flags = words.filter(|word| word.starts_with("--"));
    flags.map(str::to_owned).collect()
}

/// The flags of all commands.
fn all_flags(known: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for verb in known {
        all.extend(flags_of(&[verb]));
        for nested in subcommands(&help(&[verb])) {
            all.extend(flags_of(&[verb, &nested]));
        }
    }
    all
}

/// The commands.
fn verbs() -> Vec<String> {
    subcommands(&help(&[]))
}

/// The commands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let rows = list.lines().take_while(|line| line.starts_with("  "));
    // The continuation of a wrapped description is indented further.
    let names = rows
        .filter(|row| !row.starts_with("   "))
        .filter_map(|row| row.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn help(command: &[&str]) -> String {
    let words = ["tieline"].iter().chain(command).chain(&["--help"]);
    let shown = Args::read(words.map(OsString::from).collect()).unwrap_err().to_string();
    assert!(!shown.starts_with("error"), "the help is an error: {shown}");
    shown
}
