use super::*;
use crate::command::TaskCommand;
use crate::conversation::Conversation;
use crate::conversation::fixture::{at, conversation};
use crate::ids::AgentId;
use crate::mailbox::Pending;

fn agent() -> AgentId {
    AgentId::new("agt_1")
}

fn change<T>(
    conversation: &mut Conversation,
    origin: TaskOrigin,
    now: i64,
    apply: impl FnOnce(&mut TaskChange<'_>) -> T,
) -> T {
    let (agent, message) = (agent(), MessageId::new(format!("msg_{now}")));
    let mut change = TaskChange {
        conversation,
        message: &message,
        agent: &agent,
        origin,
        now: at(now),
        dropped: Vec::new(),
    };
    apply(&mut change)
}

fn command(conversation: &mut Conversation, now: i64, command: &TaskCommand) -> TaskReply {
    change(conversation, TaskOrigin::Chat, now, |change| change.command(command))
}

fn choose(conversation: &mut Conversation, now: i64, text: &str) -> Option<TaskReply> {
    change(conversation, TaskOrigin::Chat, now, |change| change.choose(text))
}

/// A message is received. Returns the number of its session.
fn say(conversation: &mut Conversation, now: i64) -> u64 {
    let session = conversation.resolve_session(&agent(), Duration::from_secs(3600), at(now));
    let number = session.number;
    conversation.session = Some(session);
    number
}

fn task(name: &str) -> TaskCommand {
    TaskCommand::Task(name.to_owned())
}

#[test]
fn task_keeps_its_session_over_new_chats_and_idle_times() {
    let mut it = conversation();
    let chat = say(&mut it, 0);
    assert_eq!(
        command(&mut it, 1, &task("Deploy")),
        TaskReply::TaskMade("Deploy".into())
    );
    let deploy = say(&mut it, 2);
    assert_ne!(chat, deploy);
    assert_eq!(say(&mut it, 2 + 999_999), deploy, "a task is never idle too long");
    command(&mut it, 1_000_002, &TaskCommand::Menu);
    assert_eq!(choose(&mut it, 1_000_003, "1"), Some(TaskReply::NewChat));
    let fresh = say(&mut it, 1_000_004);
    assert!(fresh > deploy && fresh != chat);
    assert_eq!(
        command(&mut it, 1_000_005, &task("deploy")),
        TaskReply::TaskEntered("Deploy".into())
    );
    assert_eq!(say(&mut it, 1_000_006), deploy);
    command(&mut it, 1_000_007, &TaskCommand::Chat);
    assert_eq!(say(&mut it, 1_000_008), fresh);
}

#[test]
fn session_numbers_are_never_reused() {
    let mut it = conversation();
    let mut seen = vec![say(&mut it, 0)];
    for n in 0..(MAX_TASKS as i64 + 5) {
        command(&mut it, 10 + n, &task(&format!("t{n}")));
        let number = say(&mut it, 10 + n);
        assert!(!seen.contains(&number), "{number}");
        seen.push(number);
    }
    assert_eq!(it.tasks.tasks.len(), MAX_TASKS);
    it.begin_chat(&agent(), at(100));
    assert!(!seen.contains(&say(&mut it, 101)));
}

#[test]
fn menu_stays_open_for_15_minutes() {
    let mut it = conversation();
    assert_eq!(
        command(&mut it, 0, &TaskCommand::Menu),
        TaskReply::Menu { recent: false }
    );
    assert_eq!(choose(&mut it.clone(), 899, "２。"), Some(TaskReply::AskName));
    assert_eq!(choose(&mut it.clone(), 899, "3"), Some(TaskReply::NoSuchChoice(2)));
    assert_eq!(choose(&mut it.clone(), 899, "what is 2?"), None);
    assert_eq!(choose(&mut it.clone(), 900, "2"), None);
    assert_eq!(command(&mut it, 1, &TaskCommand::Cancel), TaskReply::Cancelled);
    assert_eq!(choose(&mut it, 2, "2"), None);
    assert_eq!(command(&mut it, 3, &TaskCommand::Cancel), TaskReply::NothingToCancel);
}

#[test]
fn recent_tasks_are_listed_by_use() {
    let mut it = conversation();
    for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
        command(&mut it, i64::try_from(n).unwrap(), &task(name));
    }
    command(&mut it, 5, &task("one"));
    let listed = ["one", "three", "two"].map(str::to_owned).to_vec();
    assert_eq!(
        command(&mut it, 6, &TaskCommand::Switch(String::new())),
        TaskReply::ChooseTask(listed.clone())
    );
    assert_eq!(choose(&mut it, 7, "3"), Some(TaskReply::TaskEntered("two".into())));
    assert_eq!(choose(&mut it, 8, "1"), None, "a choice is made once");
    let unknown = command(&mut it, 9, &TaskCommand::Switch("four".into()));
    assert!(matches!(unknown, TaskReply::NoSuchTask(names) if names.len() == 3));
}

#[test]
fn bound_chat_becomes_a_task_and_keeps_its_session() {
    let mut it = conversation();
    let chat = say(&mut it, 0);
    assert_eq!(
        command(&mut it, 1, &TaskCommand::Bind(String::new())),
        TaskReply::AskBindName
    );
    assert_eq!(
        choose(&mut it, 2, "  Quarterly \n report "),
        Some(TaskReply::Bound("Quarterly report".into()))
    );
    assert_eq!(say(&mut it, 3), chat);
    command(&mut it, 4, &TaskCommand::Chat);
    assert_ne!(say(&mut it, 5), chat);
}

#[test]
fn tasks_from_outside_are_switched_but_not_created_in_the_chat() {
    let mut it = conversation();
    let from_outside = |it: &mut Conversation, now, command: &TaskCommand| {
        change(it, TaskOrigin::Outside, now, |change| change.command(command))
    };
    assert_eq!(from_outside(&mut it, 0, &task("")), TaskReply::OnlyFromOutside);
    assert_eq!(from_outside(&mut it, 1, &task("Deploy")), TaskReply::OnlyFromOutside);
    it.bind_task("Deploy", Some("thread_7"), &agent(), at(2));
    assert_eq!(
        it.session.as_ref().unwrap().conversation_ref.as_deref(),
        Some("thread_7")
    );
    let deploy = say(&mut it, 3);
    it.bind_task("Deploy", Some("thread_7"), &agent(), at(4));
    assert_eq!(say(&mut it, 5), deploy, "binding again changes nothing");
    from_outside(&mut it, 6, &TaskCommand::Chat);
    assert_eq!(
        from_outside(&mut it, 7, &task("deploy")),
        TaskReply::TaskEntered("Deploy".into())
    );
}

#[test]
fn new_chat_drops_pending_messages_of_the_chat_only() {
    let mut it = conversation();
    let wait = |it: &mut Conversation, now: i64| {
        let session = say(it, now);
        it.pending.push(Pending {
            message: MessageId::new(format!("waiting_{now}")),
            since: at(now),
            session,
            urgent: false,
            sent_at: None,
            album: None,
            behind_run: false,
        });
    };
    wait(&mut it, 0);
    command(&mut it, 1, &task("Deploy"));
    wait(&mut it, 2);
    let dropped = it.begin_chat(&agent(), at(3));
    let names = |waiting: &[Pending]| waiting.iter().map(|it| it.message.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (names(&dropped), names(&it.pending)),
        (vec!["waiting_0".to_owned()], vec!["waiting_2".to_owned()])
    );
}

#[test]
fn sessions_of_another_agent_are_left_when_messages_wait_in_them() {
    let mut it = conversation();
    command(&mut it, 0, &task("Deploy"));
    let session = say(&mut it, 1);
    it.pending.push(Pending {
        message: MessageId::new("m"),
        since: at(1),
        session,
        urgent: false,
        sent_at: None,
        album: None,
        behind_run: false,
    });
    command(&mut it, 2, &TaskCommand::Chat);
    let other = AgentId::new("agt_2");
    it.rebind(&other, |session| session.agent == other, at(3));
    let waits_in = it.pending[0].session;
    assert_ne!(waits_in, session);
    assert_eq!(it.session_numbered(waits_in).unwrap().agent, other);
    assert_eq!(it.tasks.tasks[0].session.as_ref().unwrap().number, waits_in);
}

#[test]
fn last_command_is_recognized_when_it_is_delivered_again() {
    let mut it = conversation();
    let reply = command(&mut it, 1, &task("Deploy"));
    assert_eq!(it.tasks.applied_to(&MessageId::new("msg_1")), Some(&reply));
    assert_eq!(it.tasks.applied_to(&MessageId::new("msg_2")), None);
}

#[test]
fn names_are_one_bounded_line() {
    assert_eq!(clean_name(" a\u{0}\n b "), Some("a b".into()));
    assert_eq!(clean_name(" \n"), None);
    assert_eq!(clean_name(&"宽".repeat(99)).unwrap().chars().count(), MAX_NAME_CHARS);
}

#[test]
fn chat_session_ends_by_idle_time_unless_it_is_busy_or_another_agent_answers() {
    let mut it = conversation();
    let first = say(&mut it, 0);
    assert_eq!(say(&mut it, 3600), first);
    let mut busy = it.clone();
    busy.pending.push(Pending {
        message: MessageId::new("m"),
        since: at(0),
        session: first,
        urgent: false,
        sent_at: None,
        album: None,
        behind_run: false,
    });
    assert_eq!(say(&mut busy, 99_999), first);
    let other = busy.resolve_session(&AgentId::new("agt_2"), Duration::from_secs(3600), at(99_999));
    assert_eq!(other.number, first + 1);
    assert_eq!(say(&mut it, 7201), first + 1);
}

#[test]
fn sessions_of_another_generation_have_other_ids() {
    let key = conversation().key;
    let id = |it: &Conversation| it.next_session(&AgentId::new("agt_1"), at(0)).id;
    let [first, second] = [[1; 12], [2; 12]].map(|random| id(&Conversation::begin(key.clone(), random, at(0))));
    assert_ne!(first, second);
    assert_eq!(
        id(&conversation()).as_str(),
        "ses_UbAvlu3ta0QHON4tq9S8OqCm4nuEZJottRbqRLow_VQ",
        "of a conversation of an older version"
    );
}
