//! The command line. Every flag has an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Connects chat bots to AI agents.
#[derive(Debug, Parser)]
#[command(name = "tieline", version, about)]
pub struct Args {
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    /// How to serve, where no command is given.
    pub serve: Serve,
    /// Which log lines: a level, or `tracing` directives.
    #[arg(long, env = "TIELINE_LOG", global = true)]
    pub log: Option<String>,
    /// How log lines look. Without it: human on a terminal, JSON otherwise.
    #[arg(long, env = "TIELINE_LOG_FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole bridge on this machine.
    Serve(Serve),
}

/// How to serve.
#[derive(Debug, Clone, ClapArgs)]
pub struct Serve {
    /// Where to listen.
    #[arg(long, env = "TIELINE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where everything is kept.
    #[arg(long, env = "TIELINE_DATA_DIR", default_value = "./tieline-data")]
    pub data_dir: PathBuf,
    /// The address under which platforms and agents reach this bridge. Without it: `http://LISTEN`.
    #[arg(long, env = "TIELINE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// The token that sees all. Without it: made, and kept in the data directory.
    #[arg(long, env = "TIELINE_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// Allow loopback and private addresses, and plain http and ws, as agent or platform endpoints.
    #[arg(long, env = "TIELINE_ALLOW_PRIVATE_ENDPOINTS", num_args = 0..=1, default_value_t = false,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_private_endpoints: bool,
    /// Survive a power cut too, not only the death of the process: a sync for each write, several times slower.
    #[arg(long, env = "TIELINE_DURABLE", num_args = 0..=1, default_value_t = false,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub durable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(words: &[&str]) -> Serve {
        let args = Args::parse_from(words);
        match args.command {
            Some(Command::Serve(serve)) => serve,
            None => args.serve,
        }
    }

    #[test]
    fn serve_is_the_default_command() {
        for words in [
            &["tieline", "--listen", "127.0.0.1:9"][..],
            &["tieline", "serve", "--listen", "127.0.0.1:9"],
        ] {
            assert_eq!(serve(words).listen.port(), 9);
        }
    }

    #[test]
    fn switches_work_with_and_without_a_value() {
        assert!(serve(&["tieline", "serve", "--allow-private-endpoints"]).allow_private_endpoints);
        assert!(!serve(&["tieline", "serve", "--allow-private-endpoints=false"]).allow_private_endpoints);
        assert!(!serve(&["tieline"]).allow_private_endpoints);
    }
}
