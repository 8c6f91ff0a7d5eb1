//! Text of an answer that Markdown drops: cells beyond the columns of a table, and link definitions that no link uses.

use std::borrow::Cow;
use std::collections::HashSet;

use pulldown_cmark::{Event, Options, Parser, Tag};

/// `text` with the link definitions that no link uses written as text: an agent that lists its sources below an answer means them to be read.
pub(crate) fn with_definitions(text: &str, options: Options) -> Cow<'_, str> {
    if !text.contains("]:") {
        return text.into();
    }
    let parser = Parser::new_ext(text, options);
    let definitions = parser.reference_definitions();
    let mut unused: HashSet<usize> = definitions
        .iter()
        .map(|(_, definition)| definition.span.start)
        .collect();
    if unused.is_empty() {
        return text.into();
    }
    for event in Parser::new_ext(text, options) {
        if let Event::Start(Tag::Link { id, .. } | Tag::Image { id, .. }) = event
            && let Some(used) = definitions.get(&id)
        {
            unused.remove(&used.span.start);
        }
    }
    let mut starts: Vec<usize> = unused.into_iter().collect();
    starts.sort_unstable();
    let mut out = String::with_capacity(text.len() + starts.len());
    let mut at = 0;
    for start in starts {
        out.push_str(&text[at..start]);
        // An escaped bracket begins no definition.
        out.push('\\');
        at = start;
    }
    out.push_str(&text[at..]);
    out.into()
}

/// What follows the last column's cell in its row, beyond the columns of the table. `after` is the source of the row after that cell.
///
/// A pipe that the agent forgot to escape, as in a command, ends a cell early.
pub(crate) fn excess_cells(after: &str) -> Option<String> {
    let rest = after.trim();
    let rest = rest.strip_prefix('|').unwrap_or(rest);
    let rest = rest
        .strip_suffix('|')
        .filter(|rest| !rest.ends_with('\\'))
        .unwrap_or(rest);
    let rest = rest.trim();
    (!rest.is_empty()).then(|| format!(" | {}", rest.replace("\\|", "|")))
}
