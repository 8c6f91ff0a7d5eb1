//! The command line. Every flag has an environment variable.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use tieline_core::timestamp::Timestamp;
use tieline_server::Network;
use tracing_subscriber::EnvFilter;

use crate::kind::Kind;
use crate::since;

mod environment;
mod notify;
mod recipient;
#[cfg(test)]
mod tests;
mod verbs;

pub use notify::{Notify, NotifyChat, NotifyLanguage, NotifyOf, NotifyWebhook};
pub use recipient::{Audience, Recipient};
pub use verbs::{
    Completion, Consent, Delete, Disable, Doctor, Enable, Export, Keys, KeysOf, KeysRotate, Listing, Organization,
    OrganizationCreate, Redrive, Reset, Role, Send, Shell, Stop, Test, Token, TokenCreate, TokenDelete,
};

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
    /// Which log lines: a level, or directives like `info,tieline_bridge=debug`.
    #[arg(long, env = "TIELINE_LOG", global = true, value_name = "DIRECTIVES", value_parser = directives)]
    pub log: Option<String>,
    /// How log lines look. Without it: human on a terminal, JSON otherwise.
    #[arg(long, env = "TIELINE_LOG_FORMAT", global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Args {
    /// Reads a command line. A flag may stand before the command that it belongs to.
    ///
    /// # Errors
    /// What is wrong with it, or the help that was asked for.
    pub fn read(mut words: Vec<OsString>) -> Result<Self, clap::Error> {
        let tool = environment::without_empty(Self::command());
        let matches = tool.clone().try_get_matches_from(&words)?;
        if let Some((_, command)) = matches.subcommand() {
            words.extend(early_flags(&matches, command));
        }
        // Those that the command doesn't know are refused here, rather than passed over.
        Self::from_arg_matches(&tool.try_get_matches_from(words)?)
    }
}

/// The flags that were given before the command and not after it.
fn early_flags(before: &ArgMatches, after: &ArgMatches) -> Vec<OsString> {
    let serve = Serve::augment_args(clap::Command::new("serve"));
    let given = |matches: &ArgMatches, id: &str| {
        matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let early = serve.get_arguments().filter(|flag| {
        let id = flag.get_id().as_str();
        given(before, id) && !given(after, id)
    });
    let written = early.filter_map(|flag| {
        let value = before.get_raw(flag.get_id().as_str())?.next_back()?;
        let mut word = OsString::from(format!("--{}=", flag.get_long()?));
        word.push(value);
        Some(word)
    });
    written.collect()
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
    /// Create or update organizations, agents, integrations and triggers from a YAML file.
    Apply(Apply),
    /// List things of a kind, or one of them.
    Get(Get),
    /// Show things of a kind, or one of them, with all that belongs to them.
    Describe(Get),
    /// Show the log of an integration.
    Logs(Logs),
    /// Find out what is wrong with an integration, or with all. Fails if something is.
    Doctor(Doctor),
    /// Log a bot in by a QR code.
    Login(Integration),
    /// Talk to an agent.
    Chat(Chat),
    /// Print an organization as a file that `apply` accepts, without secrets.
    Export(Export),
    /// Start an integration.
    Start(Integration),
    /// Stop an integration. It keeps its settings.
    Stop(Stop),
    /// Start an integration again: it connects again, even after the platform has kicked it.
    Restart(Integration),
    /// Ask a platform, or an agent, whether it works. Fails if it doesn't.
    Test(Test),
    /// Switch a trigger on.
    Enable(Enable),
    /// Switch a trigger off: its agent answers no more.
    Disable(Disable),
    /// Delete an integration, an agent, a trigger, a user or a token.
    Delete(Delete),
    /// End the session of a conversation: the next message begins a new one.
    Reset(Reset),
    /// Try a failed message again, or all that failed since a time.
    Redrive(Redrive),
    /// Send a message into a chat, or to a person.
    Send(Send),
    /// Say where operators are told that a bot is down or its answers fail.
    #[command(subcommand)]
    Notify(Notify),
    /// Make, list and delete tokens.
    #[command(subcommand)]
    Token(Token),
    /// Show and rotate the data keys, which seal what is stored.
    #[command(subcommand)]
    Keys(Keys),
    /// Create and list organizations.
    #[command(subcommand)]
    Organization(Organization),
    /// Print a script with which a shell completes these commands.
    Completion(Completion),
}

/// How to serve.
#[derive(Debug, Clone, ClapArgs)]
pub struct Serve {
    /// Where to listen.
    #[arg(
        long,
        env = "TIELINE_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Where everything is kept.
    #[arg(long, env = "TIELINE_DATA_DIR", default_value = "./tieline-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address under which platforms and agents reach this bridge. Without it: `http://LISTEN`.
    #[arg(long, env = "TIELINE_PUBLIC_URL", value_name = "URL", value_parser = web_address)]
    pub public_url: Option<String>,
    /// The token that sees all. Without it: made, and kept in the data directory.
    #[arg(long, env = "TIELINE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// A YAML file as in `apply`, applied at the start.
    #[arg(long, env = "TIELINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Allow loopback and private addresses, and plain http and ws, as agent or platform endpoints.
    #[arg(long, env = "TIELINE_ALLOW_PRIVATE_ENDPOINTS", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_private_endpoints: bool,
    /// Survive a power cut too, not only the death of the process: a sync for each write, several times slower.
    #[arg(long, env = "TIELINE_DURABLE", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub durable: bool,
    /// Most client connections at a time. Never more than half of the open files that the system allows: the rest is for outgoing calls.
    #[arg(long, env = "TIELINE_MAX_CONNECTIONS", default_value_t = 4096, value_name = "N", value_parser = at_least_one)]
    pub max_connections: usize,
    /// Most client connections of one address at a time. Loopback addresses and trusted proxies are exempt.
    #[arg(long, env = "TIELINE_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 256, value_name = "N", value_parser = at_least_one)]
    pub max_connections_per_address: usize,
    /// Reverse proxies, separated by commas: addresses or networks like `10.0.0.0/8`. Their `X-Forwarded-For` names the client; that of
    /// others is ignored.
    #[arg(
        long,
        env = "TIELINE_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: Vec<Network>,
    /// Most runs that call agents at the same time. Organizations share them; each may use what the others don't need.
    #[arg(long, env = "TIELINE_MAX_RUNS", default_value = "4096", value_name = "N")]
    pub max_runs: NonZeroUsize,
    /// Most answers that are delivered at the same time.
    #[arg(long, env = "TIELINE_MAX_DELIVERIES", default_value = "1024", value_name = "N")]
    pub max_deliveries: NonZeroUsize,
    /// Locale that decides the language of the chat page of the first start: Chinese for `zh…`, else English. By default that of the
    /// system (`LANG`).
    #[arg(long, env = "TIELINE_LOCALE", value_name = "LOCALE")]
    pub locale: Option<String>,
}

/// Which bridge to speak to, and as whom.
#[derive(Debug, Clone, ClapArgs)]
pub struct Bridge {
    /// The address of the bridge.
    #[arg(long, env = "TIELINE_URL", default_value = "http://127.0.0.1:8080", value_name = "URL", value_parser = web_address)]
    pub url: String,
    /// The token to sign in with. Without it, and on this machine: the one kept in the data directory.
    #[arg(long, env = "TIELINE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// The organization.
    #[arg(long, env = "TIELINE_ORG", default_value = "default", value_name = "ORG")]
    pub org: String,
    /// Where a bridge on this machine keeps its token.
    #[arg(long, env = "TIELINE_DATA_DIR", default_value = "./tieline-data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// What to apply.
#[derive(Debug, Clone, ClapArgs)]
pub struct Apply {
    /// The YAML file; `-` is standard input.
    #[arg(short, long, env = "TIELINE_FILE", value_name = "FILE")]
    pub file: PathBuf,
    /// Only show what would change.
    #[arg(long, env = "TIELINE_DRY_RUN", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// Delete agents, integrations and triggers that the file doesn't name. Shows whom this affects, and asks.
    #[arg(long, env = "TIELINE_PRUNE", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub prune: bool,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to list or show.
#[derive(Debug, Clone, ClapArgs)]
pub struct Get {
    /// What kind, in singular or plural: organizations, integrations, agents, triggers, users, messages, conversations,
    /// deadletters, tokens, platforms.
    pub kind: Kind,
    /// Which one: its id, or its name where it has one.
    pub id: Option<String>,
    /// How it is shown.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    /// Go on with what changes, until interrupted.
    #[arg(short, long, env = "TIELINE_WATCH", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub watch: bool,
    /// Messages since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Messages or integrations in this state.
    #[arg(long, env = "TIELINE_STATE", value_name = "STATE")]
    pub state: Option<String>,
    /// Messages of this person: a user's id, or the platform's id of the sender.
    #[arg(long, env = "TIELINE_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Messages, conversations or integrations of which this is a part: of an id, of an integration's name.
    #[arg(long, env = "TIELINE_SEARCH", value_name = "TEXT")]
    pub search: Option<String>,
    /// Only what belongs to this integration, by id or name: for messages and conversations.
    #[arg(long, env = "TIELINE_INTEGRATION", value_name = "INTEGRATION")]
    pub integration: Option<String>,
    /// Most things of a list.
    #[arg(long, env = "TIELINE_LIMIT", default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// How things are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// Only the names, or ids of what has no name: a line each.
    Name,
}

impl Get {
    /// All of a kind.
    #[must_use]
    pub fn all_of(kind: Kind, listing: Listing) -> Self {
        Self {
            kind,
            id: None,
            output: listing.output,
            watch: false,
            since: None,
            state: None,
            user: None,
            search: None,
            integration: None,
            limit: u32::MAX,
            bridge: listing.bridge,
        }
    }
}

/// An integration.
#[derive(Debug, Clone, ClapArgs)]
pub struct Integration {
    /// The integration: its id or its name.
    pub integration: String,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Which log, and how much of it.
#[derive(Debug, Clone, ClapArgs)]
pub struct Logs {
    /// The integration: its id or its name.
    pub integration: String,
    /// Go on with what comes, until interrupted.
    #[arg(short, long, env = "TIELINE_FOLLOW", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub follow: bool,
    /// Lines since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Lines that hold this text.
    #[arg(long, env = "TIELINE_SEARCH", value_name = "TEXT")]
    pub search: Option<String>,
    /// The lowest level of lines to show.
    #[arg(long, env = "TIELINE_LEVEL", value_name = "LEVEL")]
    pub level: Option<Level>,
    /// How many of the newest lines.
    #[arg(short = 'n', long, env = "TIELINE_LIMIT", default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// How it is shown: JSON is one object a line.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// A step.
    Info,
    /// Worth a look.
    Warn,
    /// An operator must act.
    Error,
}

/// Whom to talk to.
#[derive(Debug, Clone, ClapArgs)]
pub struct Chat {
    /// The agent, by id or name. Without it: the one behind the first chat page.
    #[arg(long, env = "TIELINE_AGENT", value_name = "AGENT")]
    pub agent: Option<String>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A filter that `tracing` understands, or nothing at all.
fn directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number above zero.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "expected a number".to_owned())?;
    if number == 0 {
        return Err("must be at least 1".to_owned());
    }
    Ok(number)
}

/// An http or https address, without a slash at its end.
fn web_address(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("expected an http or https address".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without query and fragment".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}
