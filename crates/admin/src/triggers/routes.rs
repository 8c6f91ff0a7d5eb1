//! Routes of a trigger, as the API has them.

use serde::{Deserialize, Serialize};
use tieline_core::command::{self, Abilities};
use tieline_core::ids::{AgentId, ChatId, SenderId};
use tieline_core::routes::{MAX_ROUTES, Route};
use tieline_core::trigger::Trigger;
use tieline_store::config::agent;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// Maximum length of a first word, in bytes.
const MAX_WORD_BYTES: usize = 64;
/// Maximum number of entries of a list of people or chats.
const MAX_ENTRIES: usize = 200;

/// Another agent behind the bot, and the messages that it answers: those that meet every condition that is set. At least one must be set.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Route)]
pub(crate) struct RouteBody {
    /// The id of the agent; in a file its name.
    agent: String,
    /// Platform ids of the chats. Empty: any.
    #[serde(default)]
    chats: Vec<String>,
    /// Platform ids of the people. Empty: anybody.
    #[serde(default)]
    users: Vec<String>,
    /// The first word of the message, case-insensitive. Null: any.
    #[serde(default)]
    first_word: Option<String>,
}

impl RouteBody {
    pub(super) fn of(route: Route) -> Self {
        Self {
            agent: route.agent.to_string(),
            chats: route.chats.iter().map(ToString::to_string).collect(),
            users: route.users.iter().map(ToString::to_string).collect(),
            first_word: route.first_word,
        }
    }

    fn read(&self, at: usize) -> Result<Route, Problem> {
        let field = |name: &str| format!("routes[{at}].{name}");
        let chats = validation::platform_ids(&field("chats"), self.chats.clone(), MAX_ENTRIES)?;
        let users = validation::platform_ids(&field("users"), self.users.clone(), MAX_ENTRIES)?;
        let first_word = validation::optional_text(self.first_word.clone());
        if let Some(word) = &first_word {
            check_word(word).map_err(|reason| Problem::invalid(field("firstWord"), reason))?;
        }
        let route = Route {
            agent: AgentId::new(validation::named_id(&self.agent)),
            chats: chats.into_iter().map(ChatId::new).collect(),
            users: users.into_iter().map(SenderId::new).collect(),
            first_word,
        };
        match route.has_condition() {
            true => Ok(route),
            false => Err(Problem::invalid(
                format!("routes[{at}]"),
                "must have chats, users or firstWord; what no route names goes to the trigger's own agent",
            )),
        }
    }
}

/// Validates the routes.
pub(super) fn read(routes: &[RouteBody]) -> Result<Vec<Route>, Problem> {
    if routes.len() > MAX_ROUTES {
        let reason = format!("has more than {MAX_ROUTES} entries");
        return Err(Problem::invalid("routes", &reason));
    }
    routes.iter().enumerate().map(|(at, route)| route.read(at)).collect()
}

fn check_word(word: &str) -> Result<(), &'static str> {
    const EVERYTHING: Abilities = Abilities {
        direct: true,
        tasks: true,
        pairing: true,
        agents: true,
    };
    if word.len() > MAX_WORD_BYTES || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("must be one word of at most 64 bytes");
    }
    match command::parse(word, EVERYTHING) {
        Some(_) => Err("is a command"),
        None => Ok(()),
    }
}

/// The field of an agent that the organization doesn't have, if there is one.
pub(super) async fn field_without_agent(state: &AdminState, trigger: &Trigger) -> Result<String, Problem> {
    for route in &trigger.settings.routes {
        let found = agent::get(&state.world.store, &trigger.organization, &route.agent).await?;
        if found.is_none() && route.agent != trigger.agent {
            return Ok(field_of(trigger, &route.agent));
        }
    }
    Ok(field_of(trigger, &trigger.agent))
}

/// The field that names this agent of the trigger.
pub(super) fn field_of(trigger: &Trigger, agent: &AgentId) -> String {
    let mut routes = trigger.settings.routes.iter();
    match routes.position(|route| route.agent == *agent) {
        Some(at) if *agent != trigger.agent => format!("routes[{at}].agent"),
        _ => "agentId".to_owned(),
    }
}
