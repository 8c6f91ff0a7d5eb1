//! Single turns of the writer: a full disk, a large backlog.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Job, Reply, Writer};
use crate::sqs::disk::Disk;
use crate::sqs::engine_state::EngineState;
use crate::sqs::error::{Code, Refusal};
use crate::sqs::request::Request;
use crate::{Clock, Durability};

fn writer() -> Writer {
    let disk = Disk::open(None, Durability::ProcessCrash).unwrap();
    Writer {
        state: EngineState::read(disk).unwrap(),
        clock: Clock::new(|| 1_800_000_000_000),
        parked: std::collections::HashMap::new(),
        answers: Vec::new(),
        // The receiving end is dropped: no delivery is returned in these tests.
        back: channel().0,
        tidied_ms: 1_800_000_000_000,
    }
}

/// Executes all of `requests` in one turn.
fn together(writer: &mut Writer, requests: &[(&str, String)]) -> Vec<Result<Reply, Refusal>> {
    let (mut jobs, mut answers) = (Vec::new(), Vec::new());
    for (operation, body) in requests {
        let (answerer, answer) = oneshot::channel();
        let request = Request::parse(operation, body.as_bytes()).unwrap();
        jobs.push(Job::Do(request, answerer));
        answers.push(answer);
    }
    writer.turn(jobs).unwrap();
    answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap())
        .collect()
}

fn one(writer: &mut Writer, operation: &str, body: &str) -> Result<Reply, Refusal> {
    together(writer, &[(operation, body.into())]).pop().unwrap()
}

fn create(writer: &mut Writer, name: &str) {
    let fifo = if name.ends_with(".fifo") {
        r#","Attributes":{"FifoQueue":"true"}"#
    } else {
        ""
    };
    one(writer, "CreateQueue", &format!(r#"{{"QueueName":"{name}"{fifo}}}"#)).unwrap();
}

fn send(queue: &str, group: &str, id: &str, body: &str) -> (&'static str, String) {
    let dedup = if queue.ends_with(".fifo") {
        format!(r#","MessageDeduplicationId":"{id}""#)
    } else {
        String::new()
    };
    let json = format!(r#"{{"QueueUrl":"{queue}","MessageGroupId":"{group}","MessageBody":"{body}"{dedup}}}"#);
    ("SendMessage", json)
}

/// The bodies of up to `most` messages.
fn receive(writer: &mut Writer, queue: &str, most: u32) -> Vec<String> {
    let body = format!(r#"{{"QueueUrl":"{queue}","MaxNumberOfMessages":{most}}}"#);
    match one(writer, "ReceiveMessage", &body).unwrap() {
        Reply::Deliveries(guard) => guard.take().into_iter().map(|d| d.message.body).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_refuses_the_whole_turn_and_keeps_what_was_before() {
    let mut writer = writer();
    create(&mut writer, "q.fifo");
    let (large, ids) = ("x".repeat(100_000), ["a", "b", "c"]);
    one(&mut writer, "SendMessage", &send("q.fifo", "g", "first", "first").1).unwrap();
    writer.state.disk.leave_room(40);
    // The first of the three fits, but is rolled back with the others.
    let sends = ids.map(|id| send("q.fifo", id, id, &large));
    for answer in together(&mut writer, &sends) {
        assert_eq!(answer.unwrap_err().code, Code::InternalFailure);
    }
    writer.state.disk.leave_room(1_000_000);
    assert_eq!(receive(&mut writer, "q.fifo", 10), ["first"]);
    // Nothing of the failed turn is remembered, so the messages can be sent again.
    for answer in together(&mut writer, &sends) {
        answer.unwrap();
    }
    assert_eq!(receive(&mut writer, "q.fifo", 10).len(), 3);
}

/// Typical time of a receive and a send, the median of many.
fn typical(writer: &mut Writer, queue: &str) -> Duration {
    let mut times = Vec::new();
    for i in 0..200 {
        let started = Instant::now();
        let (group, id) = (format!("typical-{queue}-{i}"), format!("t{i}"));
        let (operation, body) = send(queue, &group, &id, "typical");
        one(writer, operation, &body).unwrap();
        assert_eq!(receive(writer, queue, 1).len(), 1);
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

fn fill(writer: &mut Writer, queue: &str, n_messages: usize, group: impl Fn(usize) -> String) {
    let ids: Vec<usize> = (0..n_messages).collect();
    for chunk in ids.chunks(500) {
        let sends: Vec<_> = chunk
            .iter()
            .map(|i| send(queue, &group(*i), &format!("f{i}"), "filler"))
            .collect();
        for answer in together(writer, &sends) {
            answer.unwrap();
        }
    }
}

/// A scan of fifty thousand messages takes a hundred times as long as reading one; an index lookup takes the same time for both.
const SLOWER_AT_MOST: u32 = 6;

#[test]
fn a_backlog_of_fifty_thousand_slows_down_no_request() {
    let mut writer = writer();
    for queue in [
        "empty",
        "deep",
        "empty-1.fifo",
        "empty-2.fifo",
        "one-group.fifo",
        "many-groups.fifo",
    ] {
        create(&mut writer, queue);
    }
    let n_messages = 50_000;
    fill(&mut writer, "deep", n_messages, |_| "g".into());
    fill(&mut writer, "one-group.fifo", n_messages, |_| "g".into());
    fill(&mut writer, "many-groups.fifo", n_messages, |i| format!("g{i}"));
    // From here on the group is locked, and every other group has to be found behind its backlog.
    assert_eq!(receive(&mut writer, "one-group.fifo", 1), ["filler"]);

    for (empty, full) in [
        ("empty", "deep"),
        ("empty-1.fifo", "one-group.fifo"),
        ("empty-2.fifo", "many-groups.fifo"),
    ] {
        let (before, after) = (typical(&mut writer, empty), typical(&mut writer, full));
        assert!(
            after < before * SLOWER_AT_MOST,
            "{full}: {after:?}, {empty}: {before:?}"
        );
    }
}
