//! The command line. Every flag has an environment variable.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use tieline_core::outbound_url::PrivateEndpoints;
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

pub use notify::{Notify, NotifyChat, NotifyEnd, NotifyLanguage, NotifyOf, NotifyWebhook};
pub use recipient::{Audience, Recipient};
pub use verbs::{
    Completion, Consent, Delete, Disable, Doctor, Enable, Export, Keys, KeysOf, KeysRotate, Listing, Organization,
    OrganizationCreate, Redrive, Reset, Role, Send, Shell, Stop, Test, Token, TokenCreate, TokenDelete,
};

/// Connects chat bots to AI agents.
#[derive(Debug, Parser)]
#[command(name = "tieline", version, about)]
pub struct Args {
    /// The command; `serve` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    /// The options of `serve`, if no command is given.
    pub serve: Serve,
    /// Log filter: a level, or directives like `info,tieline_bridge=debug`.
    #[arg(long, env = "TIELINE_LOG", global = true, value_name = "DIRECTIVES", value_parser = directives)]
    pub log: Option<String>,
    /// Format of log lines. Default: human on a terminal, JSON otherwise.
    #[arg(long, env = "TIELINE_LOG_FORMAT", global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Args {
    /// Parses a command line. Flags of a command may also be given before it.
    ///
    /// # Errors
    /// A usage error, or the requested help.
    pub fn read(mut words: Vec<OsString>) -> Result<Self, clap::Error> {
        let tool = environment::without_empty(Self::command());
        separate_switches(&tool, &mut words);
        let matches = tool.clone().try_get_matches_from(&words)?;
        if let Some((_, command)) = matches.subcommand() {
            words.extend(early_flags(&matches, command));
        }
        // Flags that the command doesn't know are rejected here instead of ignored.
        Self::from_arg_matches(&tool.try_get_matches_from(words)?)
    }
}

/// Gives each switch directly before a command the value `true`, because the command's name would count as its value.
fn separate_switches(tool: &clap::Command, words: &mut [OsString]) {
    let is_switch = |word: &OsString| {
        let name = word.to_str().and_then(|word| word.strip_prefix("--"));
        let mut flags = tool.get_arguments();
        let flag = flags.find(|flag| flag.get_long().is_some_and(|long| name == Some(long)));
        flag.and_then(clap::Arg::get_num_args)
            .is_some_and(|n| n.takes_values() && n.min_values() == 0)
    };
    for at in 1..words.len() {
        if tool.find_subcommand(&words[at]).is_some() && is_switch(&words[at - 1]) {
            words[at - 1].push("=true");
        }
    }
}

/// The flags given before the command and not after it.
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

/// Format of log lines.
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
    /// List resources of a kind, or show one of them.
    Get(Get),
    /// Show resources of a kind, or one of them, with everything that belongs to them.
    Describe(Get),
    /// Show the log of an integration.
    Logs(Logs),
    /// Diagnose an integration, or all of them. Fails if something is wrong.
    Doctor(Doctor),
    /// Log a bot in by scanning a QR code.
    Login(Integration),
    /// Talk to an agent.
    Chat(Chat),
    /// Print an organization as a file that `apply` accepts, without secrets.
    Export(Export),
    /// Start an integration.
    Start(Integration),
    /// Stop an integration. It keeps its settings.
    Stop(Stop),
    /// Restart an integration: it connects again, even after the platform has kicked it.
    Restart(Integration),
    /// Test a platform's or an agent's connection. Fails if it doesn't work.
    Test(Test),
    /// Enable a trigger.
    Enable(Enable),
    /// Disable a trigger: its agent stops answering.
    Disable(Disable),
    /// Delete an integration, an agent, a trigger, a user or a token.
    Delete(Delete),
    /// End the session of a conversation: the next message starts a new one.
    Reset(Reset),
    /// Retry a failed message, or all that failed since a time.
    Redrive(Redrive),
    /// Send a message to a chat, or to a person.
    Send(Send),
    /// Set where operators are notified that a bot is down or its answers fail.
    #[command(subcommand)]
    Notify(Notify),
    /// Create, list and delete tokens.
    #[command(subcommand)]
    Token(Token),
    /// Show and rotate the data keys, which encrypt stored data.
    #[command(subcommand)]
    Keys(Keys),
    /// Create and list organizations.
    #[command(subcommand)]
    Organization(Organization),
    /// Print a shell completion script.
    Completion(Completion),
}

/// Options of `serve`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Serve {
    /// Address to listen on.
    #[arg(
        long,
        env = "TIELINE_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Directory for all data.
    #[arg(long, env = "TIELINE_DATA_DIR", default_value = "./tieline-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// URL at which platforms and agents reach this bridge. Default: `http://LISTEN`.
    #[arg(long, env = "TIELINE_PUBLIC_URL", value_name = "URL", value_parser = public_address)]
    pub public_url: Option<String>,
    /// The root token, which may do everything. Default: generated, and stored in the data directory.
    #[arg(long, env = "TIELINE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// A YAML file as in `apply`, applied at every start.
    #[arg(long, env = "TIELINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Allow loopback and private addresses, and plain http and ws, as agent or platform endpoints: all, or those in a list of networks
    /// (`10.0.0.0/8,fd00::/8`).
    #[arg(long, env = "TIELINE_ALLOW_PRIVATE_ENDPOINTS", num_args = 0..=1, default_value = "false", value_name = "BOOL|NETWORKS",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = private_endpoints)]
    pub allow_private_endpoints: PrivateEndpoints,
    /// Survive a power failure too, not only a crash of the process: syncs to disk at each write, several times slower.
    #[arg(long, env = "TIELINE_DURABLE", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub durable: bool,
    /// Maximum number of client connections. Never more than half of the open files that the system allows: the rest is for outgoing calls.
    #[arg(long, env = "TIELINE_MAX_CONNECTIONS", default_value_t = 4096, value_name = "N", value_parser = at_least_one)]
    pub max_connections: usize,
    /// Maximum number of client connections from one address. Loopback addresses and trusted proxies are exempt.
    #[arg(long, env = "TIELINE_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 256, value_name = "N", value_parser = at_least_one)]
    pub max_connections_per_address: usize,
    /// Reverse proxies, separated by commas: addresses or networks like `10.0.0.0/8`. Their `X-Forwarded-For` names the client; the header
    /// is ignored from other peers.
    #[arg(
        long,
        env = "TIELINE_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: Vec<Network>,
    /// Maximum number of concurrent runs that call agents. Organizations share them; each may use what the others don't need.
    #[arg(long, env = "TIELINE_MAX_RUNS", default_value = "4096", value_name = "N")]
    pub max_runs: NonZeroUsize,
    /// Maximum number of replies delivered concurrently.
    #[arg(long, env = "TIELINE_MAX_DELIVERIES", default_value = "1024", value_name = "N")]
    pub max_deliveries: NonZeroUsize,
    /// Locale that selects the language of the chat page created at the first start: Chinese for `zh…`, else English. Default: the system's
    /// locale (`LANG`).
    #[arg(long, env = "TIELINE_LOCALE", value_name = "LOCALE")]
    pub locale: Option<String>,
}

/// The bridge to call, and the credentials.
#[derive(Debug, Clone, ClapArgs)]
pub struct Bridge {
    /// URL of the bridge.
    #[arg(long, env = "TIELINE_URL", default_value = "http://127.0.0.1:8080", value_name = "URL", value_parser = web_address)]
    pub url: String,
    /// The token to authenticate with. Default on this machine: the one stored in the data directory.
    #[arg(long, env = "TIELINE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<String>,
    /// The organization.
    #[arg(long, env = "TIELINE_ORG", default_value = "default", value_name = "ORG")]
    pub org: String,
    /// Data directory of a bridge on this machine, where its token is stored.
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
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub dry_run: bool,
    /// Delete agents, integrations and triggers that the file doesn't name. Shows who is affected, and asks.
    #[arg(long, env = "TIELINE_PRUNE", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
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
    /// The kind, in singular or plural: organizations, integrations, agents, triggers, users, messages, conversations, deadletters, tokens,
    /// platforms.
    pub kind: Kind,
    /// Id of the resource, or its name if it has one.
    pub id: Option<String>,
    /// Output format.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    /// Keep watching for changes, until interrupted.
    #[arg(short, long, env = "TIELINE_WATCH", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub watch: bool,
    /// Only messages since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Only messages or integrations in this state.
    #[arg(long, env = "TIELINE_STATE", value_name = "STATE")]
    pub state: Option<String>,
    /// Only messages of this person: a user's id, or the platform's id of the sender.
    #[arg(long, env = "TIELINE_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Only messages, conversations or integrations that match: a substring of an id, or of an integration's name.
    #[arg(long, env = "TIELINE_SEARCH", value_name = "TEXT")]
    pub search: Option<String>,
    /// Only what belongs to this integration, by id or name: for messages and conversations.
    #[arg(long, env = "TIELINE_INTEGRATION", value_name = "INTEGRATION")]
    pub integration: Option<String>,
    /// Maximum number of items.
    #[arg(long, env = "TIELINE_LIMIT", default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Output format.
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
    /// What commands accept, one per line: names of integrations, agents and tokens, ids of everything else.
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
    /// Keep following new lines, until interrupted.
    #[arg(short, long, env = "TIELINE_FOLLOW", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub follow: bool,
    /// Only lines since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Only lines that contain this text.
    #[arg(long, env = "TIELINE_SEARCH", value_name = "TEXT")]
    pub search: Option<String>,
    /// Minimum level of lines.
    #[arg(long, env = "TIELINE_LEVEL", value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Maximum number of lines, counted from the newest.
    #[arg(short = 'n', long, env = "TIELINE_LIMIT", default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Output format; JSON is one object per line.
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
    /// Needs attention.
    Warn,
    /// An operator must act.
    Error,
}

/// The agent to talk to.
#[derive(Debug, Clone, ClapArgs)]
pub struct Chat {
    /// The agent, by id or name. Default: the one behind the first chat page.
    #[arg(long, env = "TIELINE_AGENT", value_name = "AGENT")]
    pub agent: Option<String>,
    /// Locale that selects the language of a chat page created for the talk, as for `serve`.
    #[arg(long, env = "TIELINE_LOCALE", value_name = "LOCALE")]
    pub locale: Option<String>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Other words for `true`.
const TRUE: [&str; 5] = ["yes", "on", "y", "t", "1"];
/// Other words for `false`.
const FALSE: [&str; 5] = ["no", "off", "n", "f", "0"];

/// Parses a switch's value. Strict: a word such as `none` must not turn a switch on, least of all one that loosens a protection.
fn boolean() -> impl TypedValueParser<Value = bool> {
    let words = [
        PossibleValue::new("true").aliases(TRUE),
        PossibleValue::new("false").aliases(FALSE),
    ];
    PossibleValuesParser::new(words).map(|word| {
        let word = word.to_ascii_lowercase();
        word == "true" || TRUE.contains(&&*word)
    })
}

/// Parses a switch's value, or a list of networks. As strict as [`boolean`].
fn private_endpoints(text: &str) -> Result<PrivateEndpoints, String> {
    let word = text.trim().to_ascii_lowercase();
    if word == "true" || TRUE.contains(&&*word) {
        return Ok(PrivateEndpoints::Allowed);
    }
    if word == "false" || FALSE.contains(&&*word) {
        return Ok(PrivateEndpoints::Refused);
    }
    PrivateEndpoints::within(&word).map_err(|error| format!("expected true, false or networks, but {error}"))
}

/// Validates a log filter: one that `tracing` accepts, or an empty text.
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

/// Validates the bridge's own address: one without a user name and password, because it is shown in callback URLs, links and logs.
fn public_address(text: &str) -> Result<String, String> {
    let address = web_address(text)?;
    let url = url::Url::parse(&address).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected an address without user name and password".to_owned());
    }
    Ok(address)
}

/// Validates an http or https URL, and removes its trailing slash.
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
