//! The actions that fix what the doctor, the status and the summary report: one list of codes.
//!
//! | code | target | console | command line |
//! |---|---|---|---|
//! | `start`, `restart` | | `POST …/start`, `…/restart` | `tieline start ID`, `tieline restart ID` |
//! | `edit_settings`, `edit_credentials` | | the bot's tab Settings | `tieline describe integration ID`, then `tieline apply -f FILE` |
//! | `create_trigger`, `edit_trigger`, `edit_access` | trigger, if there is one | the bot's tab Trigger and access | `tieline apply -f FILE` |
//! | `enable_trigger` | trigger | `PATCH …/triggers/ID {"enabled":true}` | `tieline enable trigger ID` |
//! | `login` | | the bot's tab Settings, with the code to scan | `tieline login ID` |
//! | `edit_agent`, `test_agent` | agent | the agent's page | `tieline describe agent ID`, `tieline test agent ID` |
//! | `redrive` | message | `POST …/deadletters/ID/redrive` | `tieline redrive ID` |
//! | `copy_callback_url` | address | copies the address | `tieline describe integration ID` |
//! | `set_public_url` | command | copies the command | `tieline serve --public-url https://HOST` |
//! | `view_log` | | the bot's tab Log | `tieline logs ID` |
//! | `view_message` | message | the message in the ledger | `tieline describe message ID` |
//! | `edit_organization` | | the page Settings | `tieline describe organization ID`, then `tieline apply -f FILE` |

use tieline_store::status::{ConnectionState, StatusError};

pub(crate) use super::action::Action;
use super::effective_status::Condition;
use super::obstacle::Obstacle;
use super::registration::Registration;
use super::status::Seen;

/// The command that gives this deployment a public address.
pub(crate) const SET_PUBLIC_URL: &str = "tieline serve --public-url https://HOST";

/// An action and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remedy {
    pub(crate) action: Action,
    /// `None`: the integration itself.
    pub(crate) target: Option<String>,
}

impl Remedy {
    /// An action on the integration itself.
    pub(crate) const fn new(action: Action) -> Self {
        Self { action, target: None }
    }

    /// An action on another target.
    pub(crate) fn on(action: Action, target: impl Into<String>) -> Self {
        Self {
            action,
            target: Some(target.into()),
        }
    }

    /// The action that fixes an integration in this condition. `None`: only waiting helps, or something in the platform's console.
    pub(crate) fn of_condition(condition: &Condition, seen: &Seen) -> Option<Self> {
        let trigger = seen.bound.trigger.as_ref();
        let agent = trigger.map(|trigger| trigger.agent.to_string());
        let code = |error: &StatusError| Obstacle::of(&error.code);
        let obstacle = seen.reported.last_error.as_ref().and_then(code);
        match (condition.state, condition.reason.as_deref()) {
            (ConnectionState::Disabled, _) => Some(Self::new(Action::Start)),
            (ConnectionState::NeedsLogin, _) | (_, Some("login_expired")) => Some(Self::new(Action::Login)),
            (_, Some("kicked")) | (ConnectionState::Disconnected, None) => Some(Self::new(Action::Restart)),
            (_, Some("config_invalid")) if seen.unusable.is_some() => Some(Self::new(Action::EditSettings)),
            (ConnectionState::Disconnected | ConnectionState::Retrying, _) if obstacle.is_some() => {
                obstacle.map(|obstacle| Self::new(obstacle.action()))
            }
            (_, Some("config_invalid" | "signature")) => Some(Self::new(Action::EditCredentials)),
            (_, Some("agent_failed")) => agent.map(|agent| Self::on(Action::EditAgent, agent)),
            (_, Some("empty_answer" | "slow")) => agent.map(|agent| Self::on(Action::TestAgent, agent)),
            (_, Some("delivery_failed")) => Some(match &seen.reported.failed_answer {
                Some(failed) => Self::on(Action::Redrive, failed.message.as_str()),
                None => Self::new(Action::ViewLog),
            }),
            (_, Some("not_allowed")) => trigger.map(|trigger| Self::on(Action::EditAccess, trigger.id.as_str())),
            (_, Some("rate_limited" | "platform_unavailable" | "message_refused")) => Some(Self::new(Action::ViewLog)),
            (_, Some("not_public")) => Some(Self::on(Action::SetPublicUrl, SET_PUBLIC_URL)),
            _ if trigger.is_none() => Some(Self::new(Action::CreateTrigger)),
            (_, Some("not_called")) if seen.registration == Registration::ByHand => {
                Some(Self::on(Action::CopyCallbackUrl, &seen.callback_url))
            }
            (_, Some("not_called" | "not_registered")) => Some(Self::new(Action::Restart)),
            (ConnectionState::Retrying, _) => Some(Self::new(Action::Restart)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table above and the console's module list every action.
    #[test]
    fn every_action_is_documented_and_has_a_button() {
        let (documented, console) = (include_str!("remedy.rs"), include_str!("../console/actions.js"));
        let table: String = documented.lines().filter(|line| line.starts_with("//! |")).collect();
        for action in Action::ALL {
            let word = action.as_str();
            assert!(table.contains(&format!("`{word}`")), "{word} is not documented");
            assert!(console.contains(&format!("{word}:")), "{word} has no button");
        }
    }
}
