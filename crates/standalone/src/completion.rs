//! `tieline completion`: prints a shell completion script.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::{Shell as Generator, generate};

use crate::args::{Args, Completion, Shell};
use crate::terminal;

/// Prints the script.
///
/// # Errors
/// If the reader has closed the pipe.
pub fn run(args: Completion) -> anyhow::Result<ExitCode> {
    let generator = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    generate(generator, &mut Args::command(), "tieline", &mut script);
    terminal::piece(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
