//! Arguments of the commands that do something to one object.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use tieline_core::timestamp::Timestamp;

use super::{Audience, Bridge, Output};
use crate::kind::Kind;
use crate::since;

/// Whether dangerous things are done without asking.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Consent {
    /// Do dangerous things without asking.
    #[arg(short, long, env = "TIELINE_YES", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub yes: bool,
}

/// An integration, and whether to ask.
#[derive(Debug, Clone, ClapArgs)]
pub struct Stop {
    /// The integration: its id or its name.
    pub integration: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to test.
#[derive(Debug, Clone, ClapArgs)]
pub struct Test {
    /// The integration: its id or its name.
    #[arg(required_unless_present = "agent")]
    pub integration: Option<String>,
    /// The agent, by id or name, instead of an integration.
    #[arg(long, env = "TIELINE_AGENT", value_name = "AGENT")]
    pub agent: Option<String>,
    /// How it is shown.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A trigger to switch on.
#[derive(Debug, Clone, ClapArgs)]
pub struct Enable {
    /// The trigger: its id, `INTEGRATION -> AGENT`, or its integration, if that has no other trigger.
    pub trigger: String,
    /// Take the integration from the trigger that has it. Shows whom this affects, and asks.
    #[arg(long, env = "TIELINE_TAKEOVER", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub takeover: bool,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A trigger to switch off.
#[derive(Debug, Clone, ClapArgs)]
pub struct Disable {
    /// The trigger: its id, `INTEGRATION -> AGENT`, or its integration, if that has no other trigger.
    pub trigger: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to delete.
#[derive(Debug, Clone, ClapArgs)]
pub struct Delete {
    /// What kind: integration, agent, trigger, user, token.
    pub kind: Kind,
    /// Which one: its id, or its name where it has one.
    pub id: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// The conversation to reset.
#[derive(Debug, Clone, ClapArgs)]
pub struct Reset {
    /// The integration: its id or its name.
    pub integration: String,
    /// The conversation: its id, or the id of its chat or person, if only one has it.
    pub conversation: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Which failed messages to try again.
#[derive(Debug, Clone, ClapArgs)]
pub struct Redrive {
    /// The dead letter: its id, or its message's.
    #[arg(required_unless_present = "since", conflicts_with = "since")]
    pub id: Option<String>,
    /// All that failed since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Only those of this integration, by id or name.
    #[arg(long, env = "TIELINE_INTEGRATION", value_name = "INTEGRATION")]
    pub integration: Option<String>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to say, and to whom.
#[derive(Debug, Clone, ClapArgs)]
pub struct Send {
    /// The integration: its id or its name.
    pub integration: String,
    /// What to say.
    #[arg(required_unless_present = "card", conflicts_with = "card")]
    pub text: Option<String>,
    /// A card in place of the text: a JSON or YAML file, or `-` for standard input.
    #[arg(long, env = "TIELINE_CARD", value_name = "FILE")]
    pub card: Option<std::path::PathBuf>,
    /// When, as `2026-11-23T09:00:00Z`. At once, if absent.
    #[arg(long, env = "TIELINE_AT", value_name = "TIME")]
    pub at: Option<String>,
    #[command(flatten)]
    /// To whom.
    pub audience: Audience,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Tokens of an organization.
#[derive(Debug, Clone, Subcommand)]
pub enum Token {
    /// Make a token. It is shown this once.
    Create(TokenCreate),
    /// List the tokens of the organization.
    List(Listing),
    /// Delete a token.
    Delete(TokenDelete),
}

/// A new token.
#[derive(Debug, Clone, ClapArgs)]
pub struct TokenCreate {
    /// What it is called.
    pub name: String,
    /// What its owner may do.
    #[arg(long, env = "TIELINE_ROLE", value_name = "ROLE", default_value = "viewer")]
    pub role: Role,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What the owner of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// All within the organization.
    Admin,
    /// Look.
    Viewer,
}

/// A token to delete.
#[derive(Debug, Clone, ClapArgs)]
pub struct TokenDelete {
    /// The token: its id or its name.
    pub id: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// How a list is shown.
#[derive(Debug, Clone, ClapArgs)]
pub struct Listing {
    /// How it is shown.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Organizations.
#[derive(Debug, Clone, Subcommand)]
pub enum Organization {
    /// Create an organization.
    Create(OrganizationCreate),
    /// List the organizations that the token sees.
    List(Listing),
}

/// Data keys.
#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Show the data keys, and how far their rotation is.
    Show(KeysOf),
    /// Make another data key and seal everything stored again with it. The bridge goes on with it by itself, also after a restart.
    Rotate(KeysRotate),
}

/// Whose data keys.
#[derive(Debug, Clone, ClapArgs)]
pub struct KeysOf {
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// How the data key is rotated.
#[derive(Debug, Clone, ClapArgs)]
pub struct KeysRotate {
    /// Delete older keys 15 minutes after the new one seals, instead of 45 days: for a key in wrong hands. Links and sessions end then, and what
    /// has waited in a queue for longer is lost.
    #[arg(long, env = "TIELINE_RETIRE_NOW")]
    pub retire_now: bool,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A new organization.
#[derive(Debug, Clone, ClapArgs)]
pub struct OrganizationCreate {
    /// Its id: 1 to 63 characters of a-z, 0-9, - and _.
    pub id: String,
    /// Its name. The id, if it isn't given.
    pub name: Option<String>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to export.
#[derive(Debug, Clone, ClapArgs)]
pub struct Export {
    /// All organizations that the token sees, in one file.
    #[arg(long, env = "TIELINE_ALL", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,
    /// How the file is written: YAML, or `json`.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "yaml", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to examine.
#[derive(Debug, Clone, ClapArgs)]
pub struct Doctor {
    /// The integration: its id or its name.
    #[arg(required_unless_present = "all")]
    pub integration: Option<String>,
    /// All integrations of the organization.
    #[arg(long, env = "TIELINE_ALL", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,
    /// How it is shown.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Which shell.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
}

/// A shell that can complete commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}
