//! Inline elements: links, pictures, tags.

use super::Surface;

/// Further than this no end of a bracket is looked for, so that text full of brackets stays cheap.
const MAX_LEN: usize = 2048;

/// Writes one line that isn't code.
pub(super) fn write(line: &str, surface: Surface, in_table: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '`' => code_span(rest, &mut out),
            '\\' => escape(rest, &mut out),
            '<' => tag(rest, surface, in_table, &mut out),
            '!' => picture(rest, &mut out),
            '[' => link(rest, surface, &mut out),
            '~' => strike(rest, surface, in_table, &mut out),
            _ => None,
        };
        match taken {
            Some(length) => rest = &rest[length..],
            None => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    out
}

/// Code stays as it is.
fn code_span(text: &str, out: &mut String) -> Option<usize> {
    let run = text.len() - text.trim_start_matches('`').len();
    let mut from = run;
    while let Some(at) = text[from..].find('`') {
        let start = from + at;
        let length = text[start..].len() - text[start..].trim_start_matches('`').len();
        from = start + length;
        if length == run {
            out.push_str(&text[..from]);
            return Some(from);
        }
    }
    out.push_str(&text[..run]);
    Some(run)
}

fn escape(text: &str, out: &mut String) -> Option<usize> {
    let next = text[1..].chars().next().filter(char::is_ascii_punctuation)?;
    if next == '<' {
        // An escaped `<` would become a tag all the same.
        out.push_str("&lt;");
    } else {
        out.push('\\');
        out.push(next);
    }
    Some(2)
}

/// Tags are dropped with what is in them or shown raw, so `Vec<T>` would lose its `T`: they are written out.
fn tag(text: &str, surface: Surface, in_table: bool, out: &mut String) -> Option<usize> {
    let begins = text[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
    if !begins {
        return None;
    }
    let Some(end) = text.find('>') else {
        out.push_str("&lt;");
        return Some(1);
    };
    let inner = &text[1..end];
    if inner.starts_with("http://") || inner.starts_with("https://") {
        out.push_str(inner);
        return Some(end + 1);
    }
    let name = inner.trim_end_matches(['/', ' ']);
    if name.eq_ignore_ascii_case("br") {
        out.push_str(match (surface, in_table) {
            (Surface::Card, _) => "<br>",
            (Surface::Message, true) => " ",
            (Surface::Message, false) => "  \n  ",
        });
        return Some(end + 1);
    }
    if surface == Surface::Card && (inner == "/font" || inner.starts_with("font ")) {
        out.push_str(&text[..=end]);
        return Some(end + 1);
    }
    out.push_str("&lt;");
    Some(1)
}

/// A picture that the platform can't fetch is named instead.
fn picture(text: &str, out: &mut String) -> Option<usize> {
    let (label, address, length) = bracketed(&text[1..])?;
    let shown = is_web(address) || address.starts_with(['@', '$']);
    if shown {
        out.push_str(&text[..=length]);
    } else if address.starts_with("data:") {
        out.push_str(if label.is_empty() { "🖼" } else { label });
    } else {
        name_address(label, address, out);
    }
    Some(length + 1)
}

/// Only web addresses may be linked.
fn link(text: &str, surface: Surface, out: &mut String) -> Option<usize> {
    let (label, address, length) = bracketed(text)?;
    if is_web(address) {
        out.push('[');
        out.push_str(&write(label, surface, true));
        out.push_str(&text[1 + label.len()..length]);
    } else {
        name_address(label, address, out);
    }
    Some(length)
}

fn name_address(label: &str, address: &str, out: &mut String) {
    out.push_str(label);
    if !address.is_empty() && address != label && !address.starts_with("data:") {
        out.push_str(if label.is_empty() { "(" } else { " (" });
        out.push_str(address);
        out.push(')');
    }
}

/// `[label](address)` at the beginning: label, address without a title, length of it all.
fn bracketed(text: &str) -> Option<(&str, &str, usize)> {
    let label_end = closing(text, '[', ']')?;
    let target = &text[label_end + 1..];
    let target_end = closing(target, '(', ')')?;
    let inner = target[1..target_end].trim();
    let address = inner.split_whitespace().next().unwrap_or_default();
    let address = address.trim_start_matches('<').trim_end_matches('>');
    Some((&text[1..label_end], address, label_end + 1 + target_end + 1))
}

/// Where the bracket that `text` begins with is closed.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().take_while(|(at, _)| *at < MAX_LEN) {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        } else if at == 0 {
            return None;
        }
    }
    None
}

fn is_web(address: &str) -> bool {
    let lower = address.get(..8).unwrap_or(address).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Struck-out text isn't known: the words stay, the marks go.
fn strike(text: &str, surface: Surface, in_table: bool, out: &mut String) -> Option<usize> {
    let inner = text.strip_prefix("~~")?;
    let end = inner.find("~~").filter(|end| *end > 0)?;
    out.push_str(&write(&inner[..end], surface, in_table));
    Some(end + 4)
}
