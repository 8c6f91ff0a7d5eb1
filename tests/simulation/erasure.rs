//! An operator who erases a person in the middle of a conversation, and everybody in the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_bridge::forget::{Forgotten, forget};
use tieline_bridge::world::World;
use tieline_store::StoreError;
use tieline_store::config::user::{self, User};
use tokio::time::{Instant, sleep, timeout};

use crate::bot::{Channel, bot, organization, sender};
use crate::chance::SeededRng;
use crate::engine::Engine;
use crate::operator::{PATIENCE, TRIES};
use crate::people::Said;
use crate::process::Process;

/// When the person of a chat was erased. `None`: the operator has begun with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Erasures(Arc<Mutex<HashMap<usize, Option<Instant>>>>);

impl Erasures {
    /// Whether a message may be gone: it was written before its writer was erased.
    pub(crate) fn may_concern(&self, said: &Said) -> bool {
        let erasures = self.0.lock().unwrap();
        erasures
            .get(&said.chat)
            .is_some_and(|at| at.is_none_or(|at| said.written_at <= at))
    }

    /// Whether messages to a chat may be gone.
    pub(crate) fn may_concern_chat(&self, chat: usize) -> bool {
        self.0.lock().unwrap().contains_key(&chat)
    }
}

/// Erases the person of a chat at some time.
pub(crate) async fn erase_person(
    chat: usize,
    processes: Arc<Vec<Arc<Process>>>,
    erasures: Erasures,
    mut rng: SeededRng,
) {
    sleep(rng.millis(0, 150_000)).await;
    erasures.0.lock().unwrap().insert(chat, None);
    for _ in 0..TRIES {
        if let Some(world) = Process::any_running(&processes, &mut rng)
            && let Ok(Ok(Forgotten::Done)) = timeout(PATIENCE, erase(&world, chat)).await
        {
            break;
        }
        sleep(rng.millis(500, 5_000)).await;
    }
    erasures.0.lock().unwrap().insert(chat, Some(Instant::now()));
}

async fn erase(world: &World, chat: usize) -> Result<Forgotten, StoreError> {
    let id = user::id_of(&bot(), &sender(Channel::Pushed, chat));
    match user::get(&world.store, &organization(), &id).await? {
        Some(person) => forget(world, &world.store, &person).await,
        None => Ok(Forgotten::Done),
    }
}

/// Erases the person of a chat, without faults, and checks that nothing names them any more.
pub(crate) async fn check(world: &World, engine: &Engine, chat: usize) -> Result<(), String> {
    let sender = sender(Channel::Pushed, chat);
    // Processes create a record that another one has deleted only after some minutes.
    let person = User::first_contact(
        &organization(),
        &bot(),
        Channel::Pushed.platform(),
        &sender,
        world.clock.now(),
    );
    let person = user::ensure(&world.store, &person).await.unwrap();
    match forget(world, &world.store, &person).await {
        Ok(Forgotten::Done) => {}
        outcome => return Err(format!("{sender} can't be erased: {outcome:?}")),
    }
    for item in engine.items().await {
        let named = item.iter().find(|(_, value)| names(value, sender.as_str()));
        if let Some((attribute, _)) = named {
            return Err(format!("{sender} is named by {attribute} of {item:?}"));
        }
    }
    Ok(())
}

fn names(value: &AttributeValue, name: &str) -> bool {
    match value {
        AttributeValue::S(text) => text.contains(name),
        AttributeValue::L(values) => values.iter().any(|value| names(value, name)),
        AttributeValue::M(values) => values
            .iter()
            .any(|(key, value)| key.contains(name) || names(value, name)),
        AttributeValue::Ss(texts) => texts.iter().any(|text| text.contains(name)),
        _ => false,
    }
}
