//! The READMEs match the command line.

use std::fs;

use clap::{Command, CommandFactory as _};
use tieline_standalone::args::Args;

use crate::bridge::{Bridge, Said};

/// A README, and its headings of the platforms and of the configuration.
const READMES: [(&str, &str, &str); 2] = [
    ("README.md", "### Platforms", "## Configuration"),
    ("README.zh-CN.md", "### 平台", "## 配置"),
];

fn readme(name: &str) -> String {
    fs::read_to_string(format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap();
    below.split("\n#").next().unwrap()
}

#[test]
fn example_can_be_applied() {
    let bridge = Bridge::start();
    let text = readme("README.md");
    let example = text.split("```yaml").nth(1).unwrap().split("```").next().unwrap();
    // Not started, because the test must not call a platform.
    let example = example.replace("platform: wecom", "platform: wecom\n    enabled: false");
    let file = bridge.file("bridge.yaml", &example);
    let apply = || {
        let mut command = bridge.command_of(&["apply", "-f", &file]);
        Said::of(command.envs([("ASSISTANT_KEY", "k"), ("WECOM_BOT_ID", "b"), ("WECOM_SECRET", "s")])).good()
    };
    assert!(apply().ends_with("3 created, 0 updated, 0 unchanged\n"));
    assert_eq!(apply(), "0 created, 0 updated, 3 unchanged\n");
}

#[test]
fn platforms_are_those_of_the_catalogue() {
    let known: Vec<&str> = tieline_connectors::registry::ALL
        .iter()
        .map(|one| one.manifest().platform)
        .collect();
    for (name, heading, _) in READMES {
        let text = readme(name);
        let rows = section(&text, heading)
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut rows: Vec<&str> = rows.collect();
        rows.sort_unstable();
        assert_eq!(rows, known, "{name}");
    }
}

#[test]
fn flags_and_variables_are_those_of_the_program() {
    let tool = Args::command();
    let flags = all_commands(&tool).into_iter().flat_map(Command::get_arguments);
    let mut known: Vec<_> = flags
        .filter_map(|flag| Some((format!("--{}", flag.get_long()?), flag.get_env()?.to_str()?.to_owned())))
        .collect();
    known.sort();
    known.dedup();
    for (name, _, heading) in READMES {
        let text = readme(name);
        let words = |row: &str| -> Option<(String, String)> {
            let mut cells = row.split('`');
            Some((cells.nth(1)?.to_owned(), cells.nth(1)?.to_owned()))
        };
        let rows = section(&text, heading).lines().filter(|line| line.starts_with("| `--"));
        let mut told: Vec<(String, String)> = rows.filter_map(words).collect();
        told.sort();
        assert_eq!(told, known, "{name}");
    }
}

/// A command and all its subcommands.
fn all_commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(all_commands);
    std::iter::once(command).chain(below).collect()
}
