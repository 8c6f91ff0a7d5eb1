//! Evaluates the facts: one finding per check, each with a next step if the result is bad.

mod messages;
mod reachability;
mod setup;

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use tieline_core::access::Access;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Withheld;
use tieline_core::ids::ConversationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::log::LogEntry;
use tieline_store::message::MessageRecord;
use tieline_store::status::Status;

use crate::integrations::effective_status::Condition;
use crate::integrations::registration::Registration;
use crate::integrations::remedy::{Action, Remedy};
use crate::texts::Text;

/// What is known about an integration.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) platform: String,
    pub(super) mode: ConnectionMode,
    pub(super) is_own_channel: bool,
    pub(super) enabled: bool,
    pub(super) unusable: Option<String>,
    pub(super) callback_url: String,
    /// How the platform learns it.
    pub(super) registration: Registration,
    /// When the platform last called the callback URL.
    pub(super) called_at: Option<Timestamp>,
    /// The callback URL at the public URL, if callbacks have another base.
    pub(super) public_callback_url: Option<String>,
    /// Whether our own address is public, so that any platform can call it.
    pub(super) is_public: bool,
    /// Whether the platform offers a long connection, which needs no public address.
    pub(super) has_long_connection: bool,
    /// When the integration, and so perhaps its credentials, was last changed.
    pub(super) changed_at: Timestamp,
    /// Whether the platform accepts the credentials. `None`: not asked.
    pub(super) credentials: Option<Credentials>,
    /// The secret credential fields, in the platform's terms, separated by commas.
    pub(super) credential_fields: String,
    /// The address to which the platform delivers, empty if none is set. `None`: unknown.
    pub(super) delivers_to: Option<String>,
    /// The permissions that the platform reports as missing. `None`: it can't be asked.
    pub(super) missing_permissions: Option<Vec<&'static str>>,
    /// What the platform withholds from the bot, unless received messages prove the contrary.
    pub(super) withheld: Option<Withheld>,
    /// Whether the trigger uses group messages that aren't addressed to the bot.
    pub(super) needs_unaddressed: bool,
    /// The platform's addresses and the results of calling them. Empty: not called.
    pub(super) hosts: Vec<Host>,
    /// The enabled trigger.
    pub(super) bound: Option<String>,
    pub(super) disabled_triggers: Vec<String>,
    /// An enabled trigger of another integration of the same platform.
    pub(super) elsewhere: Option<Elsewhere>,
    pub(super) access: Option<Access>,
    /// The trigger's own agent, and those of its routes. Empty: there are none to test.
    pub(super) agents: Vec<AgentAnswer>,
    /// The holder of its connection. `None`: it needs no connection.
    pub(super) relay: Option<RelayHeld>,
    pub(super) condition: Condition,
    pub(super) reported: Status,
    /// The newest messages, and older ones that went wrong lately, newest first.
    pub(super) messages: Vec<MessageRecord>,
    /// Of the conversations with waiting messages, those with a run in progress.
    pub(super) running: HashSet<ConversationId>,
    /// Result of calling the organization's mapper. `None`: it has none.
    pub(super) mapper: Option<Result<(), String>>,
    /// The organization's limit of concurrent runs, if all of them are in use.
    pub(super) runs_used_up: Option<u32>,
    /// The newest warnings and errors, newest first.
    pub(super) log: Vec<LogEntry>,
}

/// The platform's verdict on the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Accepted,
    Refused {
        code: String,
    },
    /// The platform could not be asked, or did not answer.
    Unavailable {
        code: String,
    },
    /// The platform has no API to check them.
    Untold,
}

/// An address of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The field of `endpoints`.
    pub(super) field: &'static str,
    pub(super) host: String,
    /// Why it can't be reached. `None`: it is reachable.
    pub(super) failure: Option<Text>,
}

/// An enabled trigger of another integration.
pub(super) struct Elsewhere {
    pub(super) trigger: String,
    pub(super) integration: String,
}

/// Result of testing an agent.
#[derive(Debug, Clone)]
pub(super) struct AgentAnswer {
    pub(super) id: String,
    pub(super) name: String,
    /// The host of its address.
    pub(super) host: String,
    /// Its secret fields, separated by commas.
    pub(super) secrets: String,
    pub(super) is_gone: bool,
    pub(super) millis: u64,
    /// Code and text.
    pub(super) failure: Option<(String, String)>,
}

/// The relay process that holds an integration's connection.
pub(super) struct RelayHeld {
    /// Relay processes with a valid heartbeat lease.
    pub(super) n_alive: usize,
    /// The live process that holds the integration's shard.
    pub(super) holder: Option<String>,
    /// Remaining time of its heartbeat lease.
    pub(super) lease_left: Option<Duration>,
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// It must be fixed.
    Failed,
    /// The result is unknown.
    Unknown,
}

/// One check and its result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) level: Level,
    pub(super) detail: Text,
    /// The next step. `None`: nothing to do.
    pub(super) next: Option<Text>,
    /// The action that carries it out.
    pub(super) remedy: Option<Remedy>,
}

fn good(name: &'static str, detail: Text) -> Finding {
    Finding {
        name,
        level: Level::Ok,
        detail,
        next: None,
        remedy: None,
    }
}

fn bad(name: &'static str, detail: Text, next: Text, remedy: Remedy) -> Finding {
    Finding {
        name,
        level: Level::Failed,
        detail,
        next: Some(next),
        remedy: Some(remedy),
    }
}

fn warning(name: &'static str, detail: Text, next: Text, remedy: Option<Remedy>) -> Finding {
    Finding {
        name,
        level: Level::Warning,
        detail,
        next: Some(next),
        remedy,
    }
}

fn unknown(name: &'static str, detail: Text, next: Text, action: Action) -> Finding {
    Finding {
        level: Level::Unknown,
        ..bad(name, detail, next, Remedy::new(action))
    }
}

/// All checks, prerequisites before the checks that depend on them.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        setup::started(facts),
        setup::settings(facts),
        setup::trigger_present(facts),
    ];
    findings.extend(setup::trigger_enabled(facts));
    findings.extend(setup::right_integration(facts));
    findings.extend(reachability::platform(facts));
    findings.extend(reachability::credentials(facts));
    findings.extend(reachability::platform_setup(facts));
    match facts.mode {
        ConnectionMode::Webhook if facts.is_own_channel => {}
        ConnectionMode::Webhook => {
            findings.extend(reachability::delivery_address(facts));
            findings.extend([reachability::signature(facts), reachability::address_verified(facts)]);
        }
        ConnectionMode::LongConnection => {
            findings.extend([reachability::relay(facts), reachability::connection(facts)]);
        }
    }
    findings.extend(messages::permissions(facts));
    findings.extend(reachability::agents(facts));
    findings.push(reachability::rate_limits(facts));
    findings.extend(messages::access(facts));
    findings.extend([
        messages::refusals(facts),
        messages::user_mapping(facts),
        messages::stuck(facts),
        messages::answers(facts),
        messages::empty(facts),
        messages::speed(facts),
        messages::dead_letters(facts),
        messages::readable(facts),
    ]);
    findings.extend(reachability::withheld(facts));
    lead_back(&mut findings);
    findings
}

/// The checks whose failure explains a failure of this one.
fn causes_of(name: &str) -> &'static [&'static str] {
    const SETUP: &[&str] = &["started", "settings", "trigger_present", "trigger_enabled"];
    const ROAD: &[&str] = &[
        "started",
        "settings",
        "trigger_present",
        "trigger_enabled",
        "platform_reachable",
        "credentials",
        "platform_setup",
        "relay",
        "connection",
        "agent_reachable",
    ];
    match name {
        "platform_reachable" | "agent_reachable" => &["settings"],
        "credentials" => &["settings", "platform_reachable", "platform_setup", "connection"],
        "delivery_address" => &[
            "started",
            "settings",
            "platform_reachable",
            "credentials",
            "platform_setup",
        ],
        "signature" => &["started", "settings", "delivery_address"],
        "url_verified" => &["started", "settings", "delivery_address", "signature"],
        "relay" => SETUP,
        "connection" => &[
            "started",
            "settings",
            "trigger_present",
            "trigger_enabled",
            "platform_reachable",
            "credentials",
            "platform_setup",
            "relay",
        ],
        "refusals" => SETUP,
        "queues" | "answers" | "empty_answers" | "speed" | "permissions" => ROAD,
        "dead_letters" | "log" => &[
            "started",
            "settings",
            "trigger_present",
            "trigger_enabled",
            "platform_reachable",
            "credentials",
            "platform_setup",
            "delivery_address",
            "signature",
            "url_verified",
            "relay",
            "connection",
            "permissions",
            "agent_reachable",
            "rate_limits",
            "access",
            "refusals",
            "queues",
            "answers",
            "empty_answers",
        ],
        _ => &[],
    }
}

/// Marks findings that only follow from another failure: one cause, one failure. A failure follows from earlier ones only, so no two follow
/// from each other.
fn lead_back(findings: &mut [Finding]) {
    let failed: Vec<(usize, &'static str)> = findings
        .iter()
        .enumerate()
        .filter(|(_, finding)| finding.level == Level::Failed)
        .map(|(at, finding)| (at, finding.name))
        .collect();
    for (at, finding) in findings.iter_mut().enumerate() {
        if finding.level == Level::Ok {
            continue;
        }
        let may_follow = |from: usize| from < at || finding.level != Level::Failed;
        let explains = |cause: &&&str| failed.iter().any(|(from, name)| *name == **cause && may_follow(*from));
        let Some(cause) = causes_of(finding.name).iter().find(explains) else {
            continue;
        };
        finding.detail = Text::new("follows")
            .with_text("detail", Some(finding.detail.clone()))
            .with("cause", cause);
        finding.level = Level::Warning;
        finding.next = None;
        finding.remedy = None;
    }
}

/// The first thing to fix: a failure, else a warning with a next step, else a check with an unknown result.
pub(super) fn cause(findings: &[Finding]) -> Option<&Finding> {
    let first = |level| {
        let mut of_level = findings.iter().filter(move |finding| finding.level == level);
        of_level.find(|finding| finding.next.is_some())
    };
    first(Level::Failed)
        .or_else(|| first(Level::Warning))
        .or_else(|| first(Level::Unknown))
}

#[cfg(test)]
mod tests;
