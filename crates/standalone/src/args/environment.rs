//! Treats empty environment variables as absent, because compose files and unit files often set them to nothing.

use clap::builder::Resettable;
use clap::{Arg, Command};

/// The command line in which each empty variable counts as absent, for all commands.
pub(super) fn without_empty(command: Command) -> Command {
    command.mut_args(drop_empty).mut_subcommands(without_empty)
}

fn drop_empty(flag: Arg) -> Arg {
    let is_empty = flag
        .get_env()
        .and_then(std::env::var_os)
        .is_some_and(|value| value.is_empty());
    if is_empty { flag.env(Resettable::Reset) } else { flag }
}
