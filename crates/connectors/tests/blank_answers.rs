//! A final answer of which nothing would be visible is replaced by a notice, and inline data is never shown.

use tieline_connectors::registry;
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{Progress, Stage, Step};

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/template.rs"]
mod template;

use template::{Template, templates};

/// Texts of which no chat shows anything.
const BLANK: &[&str] = &[
    " \n",
    "![](data:image/png;base64,AAAA)",
    "```",
    "```sh\n",
    "> ",
    "# ",
    "[]()",
    "&nbsp;",
];
/// Number of calls that a short text takes at most.
const CALLS: usize = 5;

#[test]
fn blank_answer_is_replaced_by_a_notice() {
    let mut failures = Vec::new();
    let templates: Vec<_> = chats().collect();
    assert!(
        templates.len() >= registry::ALL.len() / 2,
        "{} templates",
        templates.len()
    );
    let told = [Language::English, Language::Chinese].map(|language| Notice::EmptyAnswer.text(language));
    for template in &templates {
        for text in BLANK {
            let calls = calls(template, text);
            if !told.iter().any(|told| calls.contains(told)) {
                failures.push(format!("{}: {text:?}: {calls}", template.name()));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn inline_data_is_shown_by_its_label() {
    for template in chats() {
        let calls = calls(
            &template,
            "before ![](data:image/png;base64,AAAA) ![plot](data:image/png;base64,AAAA) after",
        );
        assert!(!calls.contains("data:image"), "{}: {calls}", template.name());
        assert!(
            calls.contains("plot") && calls.contains("after"),
            "{}: {calls}",
            template.name()
        );
    }
}

/// The platforms that get messages, not the source of an answer for a program of its operator.
fn chats() -> impl Iterator<Item = Template> {
    templates().into_iter().filter(|template| {
        let calls = calls(template, "plot ![plot](data:image/png;base64,BBBB)");
        calls.contains("plot") && !calls.contains("BBBB")
    })
}

/// The calls that deliver `text` as a final answer, each counted as accepted.
fn calls(template: &Template, text: &str) -> String {
    let wanted = template.wanted(text, Stage::Final);
    let (mut progress, mut now) = (Progress::default(), template.case.now);
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let cx = template.case.context(&template.account, Some(now));
        match template
            .connector
            .deliver(&wanted.view(), &template.target, &progress, &cx)
        {
            Ok(Step::Call { call, on_success }) => {
                calls.push(format!("{call:?}"));
                progress = on_success;
            }
            Ok(Step::Wait { until }) => now = until,
            Ok(Step::Done) | Err(_) => break,
        }
    }
    calls.join("\n")
}
