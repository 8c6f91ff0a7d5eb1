//! Outgoing frames of runners: one in flight per lane; the latest intermediate state wins; a final text is never dropped.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{Context, Remark};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::stream::Effect;
use tieline_core::timestamp::Timestamp;

use super::frame;

/// Timeout of an acknowledgement. The official SDK's value.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// How much later an acknowledgement may still come.
const LATE_WITHIN: Duration = Duration::from_mins(1);
/// How long a frame waits for another response after an acknowledgement that may have been an earlier frame's.
const OWN_WITHIN: Duration = Duration::from_secs(2);
/// Largest number of waiting frames. The official SDK's value.
const MOST_WAITING: usize = 500;

/// All lanes of a connection.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<String, Lane>,
    waiting: usize,
    /// Ids of frames whose acknowledgement was overdue, and until when it may still come. Frames of one message have the same id, so without
    /// this it would count for the next one: a final text that the platform refuses then would seem to be shown.
    late: VecDeque<(String, Timestamp)>,
    /// Number of ids created and frames sent.
    count: u64,
}

#[derive(Default)]
struct Lane {
    flying: Option<Flying>,
    waiting: VecDeque<(String, SocketCall)>,
}

/// A frame that was sent and isn't acknowledged yet.
struct Flying {
    call_id: String,
    req_id: String,
    until: Timestamp,
    sent: u64,
    /// An acknowledgement that may have been an earlier frame's, and until when that may come: it counts if no other response comes.
    doubtful: Option<(String, Timestamp)>,
}

impl Lanes {
    /// A new id for an outgoing frame, in the official SDK's format.
    pub(super) fn req_id(&mut self, cmd: &str, cx: &Context<'_>) -> String {
        self.count += 1;
        let random = hex::encode(&cx.random[..4]);
        format!("{cmd}_{}_{random}{}", cx.now.as_millis(), self.count)
    }

    /// Puts a frame in its lane.
    pub(super) fn add(&mut self, call_id: &str, call: SocketCall) -> Vec<Effect> {
        if self.waiting >= MOST_WAITING {
            return vec![not_sent(call_id.to_owned())];
        }
        let lane = self.lanes.entry(call.lane.clone()).or_default();
        let replaced = lane.waiting.pop_back_if(|(_, last)| last.replaceable);
        lane.waiting.push_back((call_id.to_owned(), call));
        match replaced {
            Some((old, _)) => vec![not_sent(old)],
            None => {
                self.waiting += 1;
                Vec::new()
            }
        }
    }

    /// Sends the frames that may be sent now.
    pub(super) fn send(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let free: Vec<String> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.flying.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in free {
            effects.extend(self.send_next(&name, cx));
        }
        self.lanes
            .retain(|_, lane| lane.flying.is_some() || !lane.waiting.is_empty());
        effects
    }

    fn send_next(&mut self, name: &str, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((call_id, call)) = self.lanes.get_mut(name).and_then(|lane| lane.waiting.pop_front()) {
            self.waiting -= 1;
            let words = (call.frame["cmd"].as_str(), &call.frame["body"]);
            let (Some(cmd), body, false) = (words.0, words.1, call.expires_at <= cx.now) else {
                effects.push(not_sent(call_id));
                continue;
            };
            let req_id = match &call.frame["reqId"] {
                Value::String(given) => given.clone(),
                _ => self.req_id(cmd, cx),
            };
            effects.push(frame(cmd, &req_id, body));
            self.count += 1;
            let flying = Flying {
                call_id,
                req_id,
                until: cx.now.after(ACKNOWLEDGED_WITHIN),
                sent: self.count,
                doubtful: None,
            };
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.flying = Some(flying);
            }
            break;
        }
        effects
    }

    /// Handles a response. One without an id is a refusal of the oldest frame in flight: the platform validates a frame's format before its
    /// id. While one of an earlier frame with the same id may still come, an acknowledgement is doubtful; a refusal leads to another attempt
    /// anyway.
    pub(super) fn answered(
        &mut self,
        req_id: Option<&str>,
        code: Option<i64>,
        text: &str,
        cx: &Context<'_>,
    ) -> Vec<Effect> {
        if req_id.is_none() && code.is_none() {
            return vec![Effect::Remark(Remark::Ignored("a frame that we don't use"))];
        }
        let flying = self.lanes.values_mut().filter_map(|lane| match &lane.flying {
            Some(flying) if req_id.is_none_or(|req_id| req_id == flying.req_id) => Some((flying.sent, lane)),
            _ => None,
        });
        let found = flying.min_by_key(|(sent, _)| *sent).map(|(_, lane)| &mut lane.flying);
        let is_of = |(late, until): &(String, Timestamp)| req_id == Some(late) && *until > cx.now;
        let late = self.late.iter().position(is_of).filter(|_| code == Some(0));
        if let Some((_, until)) = late.and_then(|at| self.late.remove(at)) {
            if let Some(Some(flying)) = found {
                flying.doubtful = Some((text.to_owned(), until));
                flying.until = cx.now.after(OWN_WITHIN);
            }
            return Vec::new();
        }
        match found.and_then(Option::take) {
            Some(flying) => vec![answer(flying.call_id, text)],
            // Welcomes and card updates expect no response.
            None if code.unwrap_or(0) == 0 => Vec::new(),
            None => vec![Effect::Remark(Remark::Unreadable(
                "the platform refused a frame of ours",
            ))],
        }
    }

    /// Gives up on overdue acknowledgements: the outcome of their frames is unknown.
    pub(super) fn overdue(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.late.retain(|(_, until)| *until > cx.now);
        for lane in self.lanes.values_mut() {
            if let Some(flying) = lane.flying.take_if(|flying| flying.until <= cx.now) {
                let late_until = match flying.doubtful {
                    // No other response came: it was its own and the earlier frame's is lost, or its own is as late as the earlier one was.
                    Some((text, late_until)) => {
                        effects.push(answer(flying.call_id, &text));
                        late_until
                    }
                    None => {
                        effects.push(unknown(flying.call_id));
                        cx.now.after(LATE_WITHIN)
                    }
                };
                if self.late.len() < MOST_WAITING {
                    self.late.push_back((flying.req_id, late_until));
                }
            }
        }
        if !effects.is_empty() {
            effects.extend(self.send(cx));
        }
        effects
    }

    /// When the next acknowledgement is overdue.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.lanes
            .values()
            .filter_map(|lane| lane.flying.as_ref())
            .map(|flying| flying.until)
            .min()
    }

    /// The connection ends: frames in flight may have arrived, waiting ones have not.
    pub(super) fn fail(&mut self) -> Vec<Effect> {
        self.waiting = 0;
        self.late.clear();
        let mut effects = Vec::new();
        for (_, lane) in std::mem::take(&mut self.lanes) {
            effects.extend(lane.flying.map(|flying| unknown(flying.call_id)));
            effects.extend(lane.waiting.into_iter().map(|(call_id, _)| not_sent(call_id)));
        }
        effects
    }
}

fn not_sent(call_id: String) -> Effect {
    Effect::Answer {
        call_id,
        answer: ApiAnswer::NotSent,
    }
}

fn answer(call_id: String, text: &str) -> Effect {
    Effect::Answer {
        call_id,
        answer: ApiAnswer::Answered {
            status: 200,
            retry_after_s: None,
            body: text.as_bytes().to_vec(),
        },
    }
}

fn unknown(call_id: String) -> Effect {
    Effect::Answer {
        call_id,
        answer: ApiAnswer::Unknown,
    }
}
