//! Conversations: versions, and concurrent changes by dispatcher and runner.

use tieline_core::conversation::{Conversation, StopCause};
use tieline_core::ids::{AgentId, IntegrationId, MessageId, RunId};
use tieline_core::session::Session;
use tieline_store::{Store, StoreError, conversation, erase};

use crate::tables::{
    DAY, NOW, at, conversation, conversation_key, fresh, integration, lease, owner, race, run_state, waiting,
};

/// Reads it, or creates it.
async fn load(store: &Store, chat: &str) -> Conversation {
    let key = conversation_key(chat);
    let found = conversation::load(store, &key.id(), NOW).await.unwrap();
    found.unwrap_or_else(|| conversation(chat))
}

async fn change(store: &Store, chat: &str, with: impl FnOnce(&mut Conversation)) -> Result<Conversation, StoreError> {
    let before = load(store, chat).await;
    let mut after = before.clone();
    with(&mut after);
    conversation::save(store, &before, &mut after).await?;
    Ok(after)
}

#[tokio::test]
async fn a_conversation_round_trips() {
    let it = fresh().await;
    assert_eq!(
        conversation::load(&it.store, &conversation("a").key.id(), NOW)
            .await
            .unwrap(),
        None
    );
    let saved = change(&it.store, "a", |it| {
        it.generation = Some("g".to_owned());
        let mut session = Session::begin(it.session_id(3), 3, &AgentId::new("agt_1"), at(1));
        session.conversation_ref = Some("thread".into());
        it.leaving = vec![Session::begin(it.session_id(2), 2, &AgentId::new("agt_2"), at(1))];
        session.chosen = true;
        it.session = Some(session);
        it.pending = vec![waiting("1"), waiting("2")];
        it.refused_answers = vec![MessageId::new("0")];
        it.run = Some(run_state("1"));
        it.lease = Some(lease(&owner("a", "1"), 1, at(30)));
        it.updated_at = at(1);
    })
    .await
    .unwrap();
    assert_eq!(saved.version, saved.first_version());
    assert_eq!(load(&it.store, "a").await, saved);
    let emptied = change(&it.store, "a", |it| {
        it.session = None;
        it.leaving.clear();
        it.pending.clear();
        it.refused_answers.clear();
        it.run = None;
        it.updated_at = at(2);
    })
    .await
    .unwrap();
    assert_eq!(emptied.version, saved.version + 1);
    assert_eq!(load(&it.store, "a").await, emptied);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_save_wins_per_version() {
    let it = fresh().await;
    for version in 0..3 {
        let before = load(&it.store, "a").await;
        assert_eq!(before.version, version);
        let saves = (0..20).map(|n| {
            let (store, before) = (it.store.clone(), before.clone());
            async move {
                let mut after = before.clone();
                after.pending.push(waiting(&format!("{version}_{n}")));
                conversation::save(&store, &before, &mut after).await
            }
        });
        let outcomes = race(saves).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refused = |outcome: &&Result<_, _>| matches!(outcome, Err(StoreError::Conflict));
        assert_eq!(outcomes.iter().filter(refused).count(), 19);
    }
    assert_eq!(load(&it.store, "a").await.pending.len(), 3);
}

#[tokio::test]
async fn a_refused_save_does_not_change_its_argument() {
    let it = fresh().await;
    let before = conversation("a");
    change(&it.store, "a", |it| it.pending.push(waiting("1")))
        .await
        .unwrap();
    let mut late = before.clone();
    late.pending.push(waiting("2"));
    let outcome = conversation::save(&it.store, &before, &mut late).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)));
    assert_eq!(late.version, 0);
}

#[tokio::test]
async fn watch_sees_stop_run_and_fence() {
    let it = fresh().await;
    let id = conversation("a").key.id();
    assert_eq!(conversation::watch(&it.store, &id).await.unwrap(), None);
    change(&it.store, "a", |_| {}).await.unwrap();
    let watch = conversation::watch(&it.store, &id).await.unwrap().unwrap();
    assert_eq!((watch.fence, watch.run, watch.stop), (0, None, None));
    change(&it.store, "a", |it| {
        it.run = Some(run_state("1"));
        it.lease = Some(lease(&owner("a", "1"), 7, at(30)));
    })
    .await
    .unwrap();
    change(&it.store, "a", |it| {
        it.run.as_mut().unwrap().stop = Some(StopCause::Interrupted)
    })
    .await
    .unwrap();
    let watch = conversation::watch(&it.store, &id).await.unwrap().unwrap();
    assert_eq!((watch.fence, watch.run), (7, Some(RunId::new("run_1"))));
    assert_eq!(watch.stop, Some(StopCause::Interrupted));
}

#[tokio::test]
async fn expired_conversation_is_absent_and_can_be_created_again() {
    let it = fresh().await;
    change(&it.store, "a", |it| {
        it.pending.push(waiting("1"));
        it.lease = Some(lease(&owner("a", "1"), 7, at(30)));
    })
    .await
    .unwrap();
    let id = conversation("a").key.id();
    let later = NOW.after(DAY * 400);
    assert!(
        conversation::load(&it.store, &id, later.before(DAY))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(conversation::load(&it.store, &id, later).await.unwrap(), None);
    let before = Conversation::new(conversation_key("a"), later);
    let mut after = before.clone();
    conversation::save(&it.store, &before, &mut after).await.unwrap();
    assert_eq!(conversation::load(&it.store, &id, later).await.unwrap(), Some(after));
}

/// The client of a process repeats a write whose answer it missed, perhaps after the person was erased.
#[tokio::test]
async fn repeated_creation_of_an_erased_conversation_is_refused() {
    let it = fresh().await;
    let (before, mut after) = (conversation("a"), conversation("a"));
    after.updated_at = NOW;
    let created = after.clone();
    conversation::save(&it.store, &before, &mut after).await.unwrap();
    erase::conversation(&it.store, &after, at(20)).await.unwrap();
    let id = before.key.id();
    for clock in [at(20), at(19)] {
        let found = conversation::load(&it.store, &id, clock).await.unwrap();
        assert_eq!(found, None, "{clock:?}");
    }
    assert_eq!(chats(&it.store, None, 10).await, Vec::<String>::new());
    let repeated = conversation::save(&it.store, &before, &mut created.clone()).await;
    assert!(matches!(repeated, Err(StoreError::Conflict)), "{repeated:?}");
    let mut later = Conversation {
        updated_at: at(21),
        ..created
    };
    conversation::save(&it.store, &before, &mut later).await.unwrap();
    let found = conversation::load(&it.store, &id, at(21)).await.unwrap();
    assert_eq!(found, Some(later));
}

/// The process that works on an erased conversation may write long after the person has begun another one, which is at the same point.
#[tokio::test]
async fn late_write_to_an_erased_conversation_does_not_change_the_next_one() {
    let it = fresh().await;
    let key = conversation_key("a");
    let mut acquired = Vec::new();
    for (random, from) in [([1; 12], at(0)), ([2; 12], at(10))] {
        let before = Conversation::begin(key.clone(), random, from);
        let mut made = before.clone();
        conversation::save(&it.store, &before, &mut made).await.unwrap();
        let mut held = made.clone();
        held.run = Some(run_state("1"));
        held.lease = Some(lease(&owner("a", "1"), made.version + 1, at(30)));
        conversation::save(&it.store, &made, &mut held).await.unwrap();
        if acquired.is_empty() {
            erase::conversation(&it.store, &held, at(5)).await.unwrap();
        }
        acquired.push(held);
    }
    let [late, next] = acquired.try_into().unwrap();
    let mut ended = Conversation {
        run: None,
        lease: None,
        ..late.clone()
    };
    let refused = conversation::save(&it.store, &late, &mut ended).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    let fence = late.lease.unwrap().fence;
    let renewed = conversation::heartbeat(&it.store, &key.id(), &owner("a", "1"), fence, at(60)).await;
    assert!(matches!(renewed, Err(StoreError::Conflict)), "{renewed:?}");
    let found = conversation::load(&it.store, &key.id(), at(21)).await.unwrap();
    assert_eq!(found, Some(next));
}

async fn chats(store: &Store, search: Option<&str>, limit: usize) -> Vec<String> {
    let mut chats = Vec::new();
    let mut cursor = None;
    loop {
        let page = conversation::list(store, &integration(), search, cursor.as_deref(), limit, NOW)
            .await
            .unwrap();
        chats.extend(page.items.into_iter().map(|it| it.key.chat.id.to_string()));
        cursor = page.cursor;
        if cursor.is_none() {
            chats.sort();
            return chats;
        }
    }
}

#[tokio::test]
async fn conversations_are_listed_and_searched() {
    let it = fresh().await;
    let names = ["Room-1", "room-2", "hall-1", "hall-2", "hall-3"];
    for name in names {
        change(&it.store, name, |_| {}).await.unwrap();
    }
    let mut foreign = conversation("room-9");
    foreign.key.integration = IntegrationId::new("int_9");
    let before = foreign.clone();
    conversation::save(&it.store, &before, &mut foreign).await.unwrap();
    let mut all = names.map(str::to_owned).to_vec();
    all.sort();
    for limit in [1, 2, 100] {
        assert_eq!(chats(&it.store, None, limit).await, all);
        assert_eq!(chats(&it.store, Some("room"), limit).await, ["Room-1", "room-2"]);
        assert_eq!(chats(&it.store, Some("nowhere"), limit).await, [""; 0]);
        assert_eq!(chats(&it.store, Some("LISI"), limit).await, all);
    }
}

#[tokio::test]
async fn searched_pages_are_full_however_many_conversations_are_between() {
    let it = fresh().await;
    for n in 0..60 {
        change(&it.store, &format!("hall-{n}"), |_| {}).await.unwrap();
    }
    for name in ["room-1", "room-2", "room-3"] {
        change(&it.store, name, |_| {}).await.unwrap();
    }
    for limit in [1, 2] {
        let page = conversation::list(&it.store, &integration(), Some("room"), None, limit, NOW).await;
        assert_eq!(page.unwrap().items.len(), limit);
        assert_eq!(
            chats(&it.store, Some("room"), limit).await,
            ["room-1", "room-2", "room-3"]
        );
    }
}
