//! Rendering time is linear in the length of any text: an agent's answer must not block the bridge.
//!
//! Each platform delivers texts that are hard for parsers, with the accounts and targets of its own vectors. CPU time of the thread is
//! measured, so that load of the machine doesn't matter.

use std::time::Duration;

use serde_json::json;
use tieline_connectors::registry;
use tieline_core::connector::{PollRequest, PollWait};
use tieline_core::ids::SenderId;
use tieline_core::reply::{Progress, Stage, Step};
use tieline_core::timestamp::Timestamp;

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/template.rs"]
mod template;

use case::ReplyCase;
use template::{Template, templates};

/// Units that are repeated to fill a text, and their prefixes.
const HARD: &[(&str, &str)] = &[
    ("", "["),
    ("", "]("),
    ("", "![a]("),
    ("", "[a](<b"),
    ("", "*"),
    ("", "*a **b "),
    ("", "_a__"),
    ("", "`"),
    ("", "` `` ``` ```` "),
    ("", "\n```\n"),
    ("```\n", "code <b> `\n"),
    ("", "|"),
    ("", "|a|b\n|-|-\n"),
    ("|a|b|c|d|e|f|g|h|\n|-|-|-|-|-|-|-|-|\n", "|\n"),
    ("", "> "),
    ("", "> a\n"),
    ("", "<"),
    ("", "<a "),
    ("", "<!--"),
    ("", "- "),
    ("", "1. a\n  - b\n"),
    ("", "~~a~"),
    ("", "\\"),
    ("", " "),
    ("", "\n"),
    ("", "a\n"),
    ("", "&#60;\"\\"),
    ("", "[a](data:,b \""),
    ("", "👩\u{200d}💻"),
    ("e", "\u{301}"),
    ("", "长"),
    ("", "word "),
];

/// Number of calls of one delivery that are timed.
const CALLS: usize = 2;
/// Length of the shorter of two texts, in bytes.
const SHORT: usize = 24 * 1024;
/// Time below which a measurement says nothing about growth.
const FLOOR: Duration = Duration::from_millis(if cfg!(debug_assertions) { 60 } else { 5 });
/// Time limit for a megabyte, in optimized code.
const PER_MEGABYTE: Duration = Duration::from_millis(50);
/// Number of random mixtures for each platform.
const MIXTURES: u64 = 8;

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimization")]
fn rendering_time_is_linear_in_the_length() {
    let templates = templates();
    assert!(templates.len() >= registry::ALL.len(), "{} templates", templates.len());
    let texts = HARD.iter().map(|(head, unit)| Text {
        head: (*head).to_owned(),
        unit: (*unit).to_owned(),
    });
    check_growth(&templates, &texts.collect::<Vec<_>>());
}

/// Mixtures that no list contains, as a fuzzer would find them.
#[test]
fn rendering_time_of_mixtures_is_linear_in_the_length() {
    let mixtures: Vec<Text> = (1..=MIXTURES).map(Text::mixture).collect();
    check_growth(&templates(), &mixtures);
}

fn check_growth(templates: &[Template], texts: &[Text]) {
    let mut failures = Vec::new();
    for template in templates {
        for text in texts {
            let (short, long) = (text.of(SHORT), text.of(2 * SHORT));
            let mut tries = (1..=3).map(|n| (template.fastest(&short, n), template.fastest(&long, n)));
            let too_long = |(short, long): &(Duration, Duration)| *long > *short * 3 + FLOOR;
            if let Some(times) = tries.next().filter(too_long)
                && tries.all(|times| too_long(&times))
            {
                failures.push(format!("{}: {text:?}: {times:?}", template.name()));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "the limit is that of optimized code")]
fn a_megabyte_is_rendered_in_time() {
    let mut failures = Vec::new();
    for template in templates() {
        for (head, unit) in HARD {
            let text = Text {
                head: (*head).to_owned(),
                unit: (*unit).to_owned(),
            };
            let took = template.fastest(&text.of(1024 * 1024), 3);
            if took > PER_MEGABYTE {
                failures.push(format!("{}: {text:?}: {took:?}", template.name()));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "more than {PER_MEGABYTE:?}:\n{}\n",
        failures.join("\n")
    );
}

/// A text of any length: a prefix, then a repeated unit.
#[derive(Debug)]
struct Text {
    head: String,
    unit: String,
}

impl Text {
    fn of(&self, bytes: usize) -> String {
        format!("{}{}", self.head, self.unit.repeat(bytes / self.unit.len()))
    }

    /// Some of the hard units in sequence, chosen by `seed`.
    fn mixture(seed: u64) -> Self {
        let mut state = seed;
        let mut choose = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let n = u64::try_from(HARD.len()).expect("a list has few rows");
            HARD[usize::try_from((mixed ^ (mixed >> 31)) % n).expect("less than the list's length")].1
        };
        let unit = (0..2 + seed % 6).map(|_| choose()).collect();
        Self {
            head: String::new(),
            unit,
        }
    }
}

impl Template {
    /// CPU time of the slowest step of delivering `text`: the best of several tries.
    fn fastest(&self, text: &str, tries: usize) -> Duration {
        let tries = (0..tries).map(|_| self.deliver(text).max(self.poll(text)));
        tries.min().unwrap_or_default()
    }

    /// The slowest of the calls that show `text`, while it grows and at its end, each counted as accepted.
    fn deliver(&self, text: &str) -> Duration {
        let mut longest = Duration::ZERO;
        for stage in [Stage::Growing, Stage::Final] {
            let wanted = self.wanted(text, stage);
            let mut progress = Progress::default();
            let mut now = self.case.now;
            for _ in 0..CALLS {
                let cx = self.case.context(&self.account, Some(now));
                let begun = on_processor();
                let step = self.connector.deliver(&wanted.view(), &self.target, &progress, &cx);
                longest = longest.max(on_processor().saturating_sub(begun));
                match step {
                    Ok(Step::Call { on_success, .. }) => progress = on_success,
                    Ok(Step::Wait { until }) => now = until,
                    Ok(Step::Done) | Err(_) => break,
                }
            }
        }
        longest
    }

    fn poll(&self, text: &str) -> Duration {
        let Some(polled) = self.connector.polled_replies().filter(|_| self.is_polled()) else {
            return Duration::ZERO;
        };
        let view = json!({ "stage": "final", "text": text, "asker": "u", "receivedAt": self.case.now });
        let view: ReplyCase = serde_json::from_value(view).expect("a reply as vectors have it");
        let mut view = view.build();
        let asked = PollRequest {
            reply: self.account.ids.reply(&self.target.message),
            asker: SenderId::new("u"),
            first: true,
            note: json!({ "person": "u", "account": "a", "nonce": "n", "sealed": false }).to_string(),
            wait: PollWait::No,
        };
        let cx = self.case.context(&self.account, Some(Timestamp::from_secs(1)));
        let begun = on_processor();
        view.closed = polled.final_poll_state(&asked, &view, &cx);
        let _ = polled.answer_poll(&asked, Some(&view), &cx);
        on_processor().saturating_sub(begun)
    }
}

/// CPU time of this thread.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    let spent = stat.split_whitespace().next().and_then(|spent| spent.parse().ok());
    Duration::from_nanos(spent.expect("the first number is the time on the processor"))
}
