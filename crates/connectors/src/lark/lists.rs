//! Indentation of lists: the platform requires four spaces per level; agents write two, three or four.

/// Levels of the current list, by their indentation.
#[derive(Debug, Default)]
pub(super) struct Lists {
    levels: Vec<usize>,
    blank: bool,
}

impl Lists {
    /// The line with its level's indentation.
    pub(super) fn indented(&mut self, line: &str) -> String {
        let bare = line.trim_start();
        let indent = width(&line[..line.len() - bare.len()]);
        let after_blank = std::mem::replace(&mut self.blank, bare.is_empty());
        if bare.is_empty() {
            return line.to_owned();
        }
        if is_item(bare) {
            self.enter(indent);
            return format!("{}{bare}", " ".repeat(4 * (self.levels.len() - 1)));
        }
        if indent == 0 && after_blank {
            self.levels.clear();
        }
        match self.levels.len() {
            0 => line.to_owned(),
            _ if indent == 0 => line.to_owned(),
            // Text that continues below its item.
            level => format!("{}{bare}", " ".repeat(4 * (level - 1) + 2)),
        }
    }

    fn enter(&mut self, indent: usize) {
        while self.levels.last().is_some_and(|last| indent < *last) {
            self.levels.pop();
        }
        // One additional space doesn't make another level.
        if self.levels.last().is_none_or(|last| indent >= last + 2) {
            self.levels.push(indent);
        }
    }
}

fn width(indentation: &str) -> usize {
    indentation.chars().map(|c| if c == '\t' { 4 } else { 1 }).sum()
}

fn is_item(line: &str) -> bool {
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marks: &[&str] = if digits == 0 {
        &["- ", "* ", "+ "]
    } else {
        &[". ", ") "]
    };
    digits < 10 && marks.iter().any(|mark| line[digits..].starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut lists = Lists::default();
        let lines: Vec<_> = text.lines().map(|line| lists.indented(line)).collect();
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn levels_get_four_spaces() {
        check("- a\n  - b\n    - c\n- d", "- a\n    - b\n        - c\n- d");
        check("1. a\n   - b\n2. c", "1. a\n    - b\n2. c");
        check("- a\n    - b", "- a\n    - b");
        check("- a\n\t- b\n\tmore", "- a\n    - b\n      more");
    }

    #[test]
    fn text_outside_lists_keeps_its_indentation() {
        check("    code\ntext", "    code\ntext");
        check("- a\n\ntext\n    code", "- a\n\ntext\n    code");
        check("-a\n2026. no\n--- ", "-a\n2026. no\n--- ");
    }
}
