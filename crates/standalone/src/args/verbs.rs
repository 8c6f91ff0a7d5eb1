//! Arguments of the commands that act on one resource.

use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueEnum};
use tieline_core::timestamp::Timestamp;

use super::{Audience, Bridge, Output, boolean};
use crate::kind::Kind;
use crate::since;

/// Whether destructive commands need confirmation.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Consent {
    /// Don't ask for confirmation.
    #[arg(short, long, env = "TIELINE_YES", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub yes: bool,
}

/// A required choice between arguments. The usage line shows all of them.
fn one_of(arguments: &'static [&'static str]) -> ArgGroup {
    ArgGroup::new("which").required(true).multiple(true).args(arguments)
}

/// An integration, and the confirmation.
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
#[command(group = one_of(&["integration", "agent"]))]
pub struct Test {
    /// The integration: its id or its name.
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

/// A trigger to enable.
#[derive(Debug, Clone, ClapArgs)]
pub struct Enable {
    /// The trigger: its id, `INTEGRATION -> AGENT`, or its integration, if that has no other trigger.
    pub trigger: String,
    /// Take the integration over from the trigger that binds it now. Shows who is affected, and asks.
    #[arg(long, env = "TIELINE_TAKEOVER", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub takeover: bool,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A trigger to disable.
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
    /// The kind: integration, agent, trigger, user, token.
    #[arg(value_parser = Kind::deletable)]
    pub kind: Kind,
    /// Id of the resource, or its name if it has one.
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
    /// The conversation: its id, or the id of its chat or person, if that identifies only one.
    pub conversation: String,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Which failed messages to retry.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = one_of(&["id", "since"]))]
pub struct Redrive {
    /// The dead letter: its id, or the id of its message.
    #[arg(conflicts_with = "since")]
    pub id: Option<String>,
    /// All that failed since then: a time, or how long ago (`2h`).
    #[arg(long, env = "TIELINE_SINCE", value_name = "TIME", value_parser = since::argument)]
    pub since: Option<Timestamp>,
    /// Only those of this integration, by id or name.
    #[arg(long, env = "TIELINE_INTEGRATION", value_name = "INTEGRATION")]
    pub integration: Option<String>,
    /// Ask the agent again, also if its answer is recorded. Without it such an answer is delivered again.
    #[arg(long, env = "TIELINE_ASK", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub ask: bool,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// The content and the recipients.
#[derive(Debug, Clone, ClapArgs)]
pub struct Send {
    /// The integration: its id or its name.
    pub integration: String,
    /// The text.
    #[arg(required_unless_present = "card", conflicts_with = "card")]
    pub text: Option<String>,
    /// A card instead of the text: a JSON or YAML file, or `-` for standard input.
    #[arg(long, env = "TIELINE_CARD", value_name = "FILE")]
    pub card: Option<std::path::PathBuf>,
    /// When to send, such as `2026-11-23T09:00:00Z`. Default: now.
    #[arg(long, env = "TIELINE_AT", value_name = "TIME")]
    pub at: Option<String>,
    #[command(flatten)]
    /// The recipients.
    pub audience: Audience,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Tokens of an organization.
#[derive(Debug, Clone, Subcommand)]
pub enum Token {
    /// Create a token. It is shown only once.
    Create(TokenCreate),
    /// List the tokens of the organization.
    List(Listing),
    /// Delete a token.
    Delete(TokenDelete),
}

/// A new token.
#[derive(Debug, Clone, ClapArgs)]
pub struct TokenCreate {
    /// The token's name.
    pub name: String,
    /// The token's role.
    #[arg(long, env = "TIELINE_ROLE", value_name = "ROLE", default_value = "viewer")]
    pub role: Role,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// The rights of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything within the organization.
    Admin,
    /// Read only.
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

/// Options of a list.
#[derive(Debug, Clone, ClapArgs)]
pub struct Listing {
    /// Output format.
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
    /// List the organizations that the token may see.
    List(Listing),
}

/// Data keys.
#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Show the data keys, and the progress of their rotation.
    Show(KeysOf),
    /// Create a new data key and encrypt all stored data again with it. The bridge continues in the background, also after a restart.
    Rotate(KeysRotate),
}

/// Options of showing the data keys.
#[derive(Debug, Clone, ClapArgs)]
pub struct KeysOf {
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// Options of a rotation.
#[derive(Debug, Clone, ClapArgs)]
pub struct KeysRotate {
    /// Delete older keys 15 minutes after the new one is in use, instead of 45 days: for a compromised key. Links and sessions become
    /// invalid then, and messages that have waited in a queue for longer are lost.
    #[arg(long, env = "TIELINE_RETIRE_NOW", num_args = 0..=1, default_value_t = false, value_name = "BOOL", require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub retire_now: bool,
    #[command(flatten)]
    /// Confirmation, which only `--retire-now` needs.
    pub consent: Consent,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// A new organization.
#[derive(Debug, Clone, ClapArgs)]
pub struct OrganizationCreate {
    /// Its id: 1 to 63 characters of a-z, 0-9, - and _.
    pub id: String,
    /// Its name. Default: the id.
    pub name: Option<String>,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to export.
#[derive(Debug, Clone, ClapArgs)]
pub struct Export {
    /// All organizations that the token may see, in one file.
    #[arg(long, env = "TIELINE_ALL", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub all: bool,
    /// Format of the file: YAML, or `json`.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "yaml", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// What to examine.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = one_of(&["integration", "all"]))]
pub struct Doctor {
    /// The integration: its id or its name.
    pub integration: Option<String>,
    /// All integrations of the organization.
    #[arg(long, env = "TIELINE_ALL", num_args = 0..=1, default_value_t = false, value_name = "BOOL",
          default_missing_value = "true", action = clap::ArgAction::Set, ignore_case = true, value_parser = boolean())]
    pub all: bool,
    /// Output format.
    #[arg(short, long, env = "TIELINE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(flatten)]
    /// The bridge.
    pub bridge: Bridge,
}

/// The shell to complete commands in.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
}

/// A supported shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}
