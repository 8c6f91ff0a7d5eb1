//! Names of people and groups, on a platform that reveals them only on request. No answer waits long for a name, and none fails for lack
//! of one.

use std::time::Duration;

use tieline_core::connector::NameQuestion;
use tieline_core::ids::{ChatId, SenderId};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::accounts::Bot;
use crate::courier;
use crate::state::known_names::Named;
use crate::world::World;

/// Timeout for looking up a name.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of a person.
pub(crate) async fn person(world: &World, bot: &Bot, id: &SenderId) -> Option<String> {
    let names = bot.connector.names()?;
    let whose = Named::Person(bot.account.integration.clone(), id.as_str().to_owned());
    ask(world, bot, whose, || names.person(id, &bot.context(world, None))).await
}

/// The name of a group.
pub(crate) async fn group(world: &World, bot: &Bot, id: &ChatId) -> Option<String> {
    let names = bot.connector.names()?;
    let whose = Named::Group(bot.account.integration.clone(), id.as_str().to_owned());
    ask(world, bot, whose, || names.group(id, &bot.context(world, None))).await
}

async fn ask(
    world: &World,
    bot: &Bot,
    whose: Named,
    question: impl FnOnce() -> Option<NameQuestion>,
) -> Option<String> {
    let now = Instant::now();
    if let Some(known) = world.known_names.get(&whose, now) {
        return known;
    }
    let anybody = Named::Anybody(bot.account.integration.clone());
    if world.known_names.get(&anybody, now).is_some() {
        return None;
    }
    let question = question()?;
    let Ok(answer) = timeout(PATIENCE, courier::send(world, bot, &question.call)).await else {
        // A group may have many people: after one timeout no other name of the bot is asked for.
        world.known_names.keep(anybody, None, now);
        return None;
    };
    let name = answer.ok().and_then(|answer| (question.read)(&answer));
    if name.is_none() {
        debug!(account.id = %bot.account.integration, call = question.call.name, "the platform returned no name");
    }
    world.known_names.keep(whose, name.clone(), now);
    name
}
