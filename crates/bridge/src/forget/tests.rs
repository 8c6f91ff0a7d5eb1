//! Erasures while processes go on with messages of the person.

use tieline_core::command::TaskCommand;
use tieline_core::conversation::task::{TaskChange, TaskOrigin};
use tieline_core::conversation::{ConversationKey, RunPhase, RunState};
use tieline_core::envelope::WakeUp;
use tieline_core::event::Chat;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, SessionId};
use tieline_core::mailbox::Pending;
use tieline_core::session::Session;
use tieline_queue::receive::{MAX_BATCH, Received, receive};
use tieline_store::config::user::UserChange;
use tieline_store::deadletter;
use tieline_store::scheduled::{Content, Scheduled};
use tieline_store::transcript::{self, NewTurn};

use super::*;
use crate::integration_log;
use crate::run::fixture::PolledFixture;

async fn person(it: &PolledFixture) -> User {
    let (message, now) = (&it.message, it.world.clock.now());
    let sender = message.sender.clone().unwrap();
    let person = User::first_contact(&message.organization, &message.integration, "fake", &sender, now);
    user::ensure(&it.world.store, &person).await.unwrap()
}

fn direct_chat(person: &User) -> ConversationKey {
    ConversationKey {
        organization: person.organization.clone(),
        integration: person.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(person.external_id.as_str()),
            thread: None,
        },
        sender: None,
    }
}

#[tokio::test]
async fn transcripts_of_a_conversation_without_a_current_session_are_erased() {
    let it = PolledFixture::with(|message| message.state = MessageState::Answered).await;
    let (store, now) = (&it.world.store, it.world.clock.now());
    let person = person(&it).await;
    let agent = AgentId::new("agt_1");
    let before = Conversation::new(direct_chat(&person), now);
    let mut after = before.clone();
    let first = after.next_session(&agent, now);
    let session = first.id.clone();
    after.session = Some(first);
    let mut tasks = TaskChange {
        conversation: &mut after,
        message: &it.message.id,
        agent: &agent,
        origin: TaskOrigin::Chat,
        now,
        dropped: Vec::new(),
    };
    tasks.command(&TaskCommand::Bind("Plan".to_owned()));
    tasks.command(&TaskCommand::Chat);
    assert_eq!(after.session, None);
    conversation::save(store, &before, &mut after).await.unwrap();
    let turn = NewTurn {
        user: "a question",
        assistant: "an answer",
    };
    transcript::put(store, &session, &RunId::new("run_1"), now, turn)
        .await
        .unwrap();

    assert_eq!(forget(&it.world, store, &person).await.unwrap(), Forgotten::Done);
    let left = transcript::latest(store, &session, 9, usize::MAX, now).await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn transcripts_under_the_old_id_of_a_moved_group_are_erased() {
    let (session, own, other) = (SessionId::new("ses_old"), RunId::new("run_1"), RunId::new("run_2"));
    let group = ConversationKey {
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        chat: Chat {
            kind: ChatKind::Group,
            id: ChatId::new("moved"),
            thread: None,
        },
        sender: None,
    };
    let it = PolledFixture::with(|message| {
        message.state = MessageState::Answered;
        message.conversation = Some(group.id());
        message.session = Some((session.clone(), 1));
        message.run = Some(own.clone());
    })
    .await;
    let (store, now) = (&it.world.store, it.world.clock.now());
    let person = person(&it).await;
    let before = Conversation::new(group, now);
    let mut after = before.clone();
    after.session = Some(Session::begin(session.clone(), 1, &AgentId::new("agt_1"), now));
    conversation::save(store, &before, &mut after).await.unwrap();
    for run in [&own, &other] {
        let turn = NewTurn {
            user: run.as_str(),
            assistant: "an answer",
        };
        transcript::put(store, &session, run, now, turn).await.unwrap();
    }

    assert_eq!(forget(&it.world, store, &person).await.unwrap(), Forgotten::Done);
    let left = transcript::latest(store, &session, 9, usize::MAX, now).await.unwrap();
    let left: Vec<_> = left.iter().map(|turn| turn.user.as_str()).collect();
    assert_eq!(left, [other.as_str()]);
}

/// Its run may store the transcript turn of its answer after the erasure.
#[tokio::test]
async fn person_whose_message_is_about_to_be_answered_is_not_erased_yet() {
    let it = PolledFixture::with(|message| message.state = MessageState::Queued).await;
    let person = person(&it).await;
    let forget = async || forget(&it.world, &it.world.store, &person).await.unwrap();
    tokio::select! {
        outcome = forget() => panic!("{outcome:?} before the message ended"),
        () = tokio::time::sleep(3 * STOP_POLL) => {}
    }
    it.end_message().await;
    assert_eq!(forget().await, Forgotten::Done);
}

#[test]
fn pending_message_that_is_lost_is_not_about_to_be_answered() {
    let now = Timestamp::from_secs(1_000_000);
    let check = |state, age: Duration| is_about_to_be_answered(state, now.before(age), now);
    assert!(check(MessageState::Queued, Duration::from_hours(23)));
    assert!(!check(MessageState::Queued, Duration::from_hours(25)));
    assert!(check(MessageState::Running, Duration::from_hours(25)));
    assert!(!check(MessageState::Answered, Duration::ZERO));
}

/// It may have read the person already, and would store them again.
#[tokio::test]
async fn linked_person_is_not_erased_while_a_message_to_all_linked_people_is_sent() {
    let it = PolledFixture::with(|message| message.state = MessageState::Answered).await;
    let (world, store, now) = (&it.world, &it.world.store, it.world.clock.now());
    let unlinked = person(&it).await;
    let mut said = Scheduled {
        id: "sch_1".to_owned(),
        organization: unlinked.organization.clone(),
        integration: unlinked.integration.clone(),
        at: now,
        to: Audience::Linked,
        content: Content::Text("hello".to_owned()),
        state: scheduled::State::Waiting,
        n_said: 0,
        cursor: None,
        begun: true,
        created_at: now,
        version: 1,
    };
    scheduled::create(store, &said).await.unwrap();
    let linked = with_link(store, &unlinked, Some("Li Si")).await;
    assert_eq!(forget(world, store, &linked).await.unwrap(), Forgotten::Busy);
    let unlinked = with_link(store, &linked, None).await;
    assert_eq!(forget(world, store, &unlinked).await.unwrap(), Forgotten::Done);

    // Between two pages: it reads the next people only after this.
    said.begun = false;
    scheduled::save(store, &mut said).await.unwrap();
    let linked = with_link(store, &person(&it).await, Some("Li Si")).await;
    assert_eq!(forget(world, store, &linked).await.unwrap(), Forgotten::Done);
    let left = scheduled::get(store, &linked.organization, "sch_1", now).await;
    assert!(left.unwrap().is_some(), "it is for others too");
}

async fn with_link(store: &Store, person: &User, name: Option<&str>) -> User {
    let change = UserChange {
        linked: Some(name.map(str::to_owned)),
        ..UserChange::default()
    };
    user::change(store, person, change).await.unwrap()
}

/// A process that has read the message before the erasure gives it up after it.
#[tokio::test]
async fn erased_message_becomes_no_dead_letter() {
    let it = PolledFixture::with(|message| message.state = MessageState::Answered).await;
    let (store, organization) = (&it.world.store, &it.message.organization);
    let n_letters = async || {
        let found = deadletter::list(store, organization, None, 9, it.world.clock.now()).await;
        found.unwrap().items.len()
    };
    let person = person(&it).await;
    integration_log::dead_letter(&it.world, &it.message, "403")
        .await
        .unwrap();
    assert_eq!(n_letters().await, 1);
    assert_eq!(forget(&it.world, store, &person).await.unwrap(), Forgotten::Done);
    assert_eq!(n_letters().await, 0);
    integration_log::dead_letter(&it.world, &it.message, "403")
        .await
        .unwrap();
    assert_eq!(n_letters().await, 0);
}

#[tokio::test]
async fn person_whose_run_does_not_stop_leaves_no_message_without_end_and_the_run_is_woken() {
    let it = PolledFixture::with(|message| message.state = MessageState::Queued).await;
    let (world, now) = (&it.world, it.world.clock.now());
    let person = person(&it).await;
    let before = Conversation::new(direct_chat(&person), now);
    let key = before.key.clone();
    let mut after = before.clone();
    after.pending.push(Pending {
        message: it.message.id.clone(),
        since: now,
        session: 1,
        urgent: false,
        behind_run: true,
        sent_at: None,
        album: None,
    });
    let running = vec![MessageId::new("msg_running")];
    let mut run = RunState::new(RunId::new("run_1"), running, 1, AgentId::new("agt_1"), now);
    run.phase = RunPhase::Deferred;
    after.run = Some(run);
    conversation::save(&world.store, &before, &mut after).await.unwrap();

    let woken = async {
        let url = &world.queues.urls().work;
        let names =
            |it: Received<WakeUp>| matches!(it.message, Some(WakeUp::V1(wake)) if wake.conversation == key.id());
        loop {
            let found = receive(&world.queues, url, MAX_BATCH, Duration::from_secs(1))
                .await
                .unwrap();
            if found.into_iter().any(names) {
                break;
            }
        }
    };
    tokio::select! {
        outcome = forget(world, &world.store, &person) => panic!("{outcome:?} before the run was woken"),
        () = woken => {}
    }
    let record = message::get(&world.store, &it.message.id, now).await.unwrap().unwrap();
    assert_eq!(record.state, MessageState::Dropped);
    let found = conversation::load(&world.store, &key.id(), now).await.unwrap().unwrap();
    assert_eq!((found.pending.len(), found.closing.len()), (0, 0));
    assert_eq!(found.run.unwrap().stop, Some(StopCause::Stopped));
}
