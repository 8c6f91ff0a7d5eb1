//! Fuzzing with mutated vectors: input that no platform sends, but that must not make a connector panic.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize as _;
use serde_json::Value;
use tieline_connectors::registry;
use tieline_core::connector::Connector;
use tieline_core::http_types::ApiAnswer;
use tieline_core::stream::Frame;

use crate::case::{Case, StepCase};
use crate::walk;

/// Byte sequences that are most likely to confuse parsers of numbers, texts and structures.
const SURPRISES: [&[u8]; 8] = [
    b"null",
    b"-1",
    b"99999999999999999999",
    b"[",
    b"}",
    b"\"",
    b"\\u0000",
    b"\xff",
];

/// A vector of incoming data.
struct Vector {
    kind: &'static str,
    connector: &'static dyn Connector,
    case: Value,
}

fn vectors() -> &'static [Vector] {
    static ALL: OnceLock<Vec<Vector>> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = registry::ALL.iter().flat_map(|connector| {
            let found = crate::vectors(connector.manifest().platform);
            found.into_iter().map(|(kind, path)| (*connector, kind, path))
        });
        let comes_in = files.filter(|(_, kind, _)| ["receive", "stream"].contains(kind));
        let read = comes_in.flat_map(|(connector, kind, path)| {
            let cases = cases(&path).into_iter();
            cases.map(move |case| Vector { kind, connector, case })
        });
        read.collect()
    })
}

fn cases(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a listed file can be read");
    match serde_json::from_str(&text).expect("vectors are JSON") {
        Value::Array(cases) => cases,
        one => vec![one],
    }
}

/// One mutation: position, kind, and a byte for it.
type Change = (Index, u8, u8);

fn mangle(bytes: &mut Vec<u8>, changes: &[Change]) {
    for (place, what, byte) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = place.index(bytes.len());
        let end = bytes.len().min(at + 1 + usize::from(*byte));
        match what % 5 {
            0 => bytes[at] = *byte,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let surprise = SURPRISES[usize::from(*byte) % SURPRISES.len()];
                bytes.splice(at..at, surprise.iter().copied());
            }
        }
    }
}

fn mangled_text(text: String, changes: &[Change]) -> String {
    let mut bytes = text.into_bytes();
    mangle(&mut bytes, changes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn mangled_frame(frame: Frame, changes: &[Change]) -> Frame {
    match frame {
        Frame::Text(text) => Frame::Text(mangled_text(text, changes)),
        Frame::Binary(mut bytes) => {
            mangle(&mut bytes, changes);
            Frame::Binary(bytes)
        }
    }
}

fn mangled_answer(mut answer: ApiAnswer, changes: &[Change]) -> ApiAnswer {
    if let ApiAnswer::Answered { body, .. } = &mut answer {
        mangle(body, changes);
    }
    answer
}

fn receive(connector: &dyn Connector, case: &Case, place: Index, changes: &[Change]) {
    let account = case.account.build(connector).expect("the account is one");
    let cx = case.context(&account, None);
    let mut request = case.request.as_ref().expect("a request").build();
    match place.index(3) {
        0 => request.query = mangled_text(request.query, changes),
        _ => mangle(&mut request.body, changes),
    }
    // Any result is fine: an event, or the reason for none.
    let _ = connector.receive(&request, &cx);
}

fn stream(connector: &dyn Connector, case: &Case, place: Index, changes: &[Change]) {
    let protocol = connector.stream().expect("a connection");
    let account = case.account.build(connector).expect("the account is one");
    let begin = protocol.begin(&case.context(&account, None));
    let is_mangled = |step: &&StepCase| step.frame.is_some() || step.fetched.is_some() || step.answer.is_some();
    let Some(chosen) = (!case.steps.is_empty())
        .then(|| place.get(&case.steps))
        .filter(is_mangled)
    else {
        return;
    };
    let cx = case.context(&account, chosen.now);
    let Some(address) = walk::address(case, begin) else {
        let answer = chosen
            .answer
            .as_ref()
            .map(|answer| mangled_answer(answer.build(), changes));
        let _ = answer.map(|answer| protocol.address(&answer, &cx));
        return;
    };
    let mut session = protocol.session(&address, &case.context(&account, None));
    for step in &case.steps {
        if !std::ptr::eq(step, chosen) {
            let _ = walk::drive(session.as_mut(), case, step, &account);
            continue;
        }
        if let Some(frame) = &step.frame {
            session.on_frame(mangled_frame(frame.build(), changes), &cx);
        } else if let Some(answer) = &step.fetched {
            session.on_fetched(mangled_answer(answer.build(), changes), &cx);
        }
    }
}

proptest! {
    // `PROPTEST_CASES=1000000` runs more cases.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(6000)))]

    #[test]
    fn mangled_vectors_are_read_without_panic(
        vector in any::<Index>(),
        place in any::<Index>(),
        changes in prop::collection::vec(any::<Change>(), 1..6),
    ) {
        let vector = vector.get(vectors());
        let case = Case::deserialize(&vector.case).expect("vectors have this shape");
        match vector.kind {
            "receive" => receive(vector.connector, &case, place, &changes),
            _ => stream(vector.connector, &case, place, &changes),
        }
    }
}
