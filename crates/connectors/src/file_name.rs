//! Cleaning of file names chosen by senders.

/// Longest name, in characters.
const MAX_CHARS: usize = 120;

/// A sender's file name without folders and control characters. `None` if nothing remains.
pub(crate) fn clean(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    let clean = clean.trim();
    (!clean.is_empty() && clean != "." && clean != "..").then(|| clean.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_control_characters_are_removed() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(clean(name).as_deref(), expected, "{name:?}");
        check("报告 1.pdf", Some("报告 1.pdf"));
        check("../../etc/passwd", Some("passwd"));
        check("C:\\x\\a\u{0}b\n.txt", Some("ab.txt"));
        check("..", None);
        check("a/", None);
        assert_eq!(clean(&"汉".repeat(500)).unwrap().chars().count(), MAX_CHARS);
    }
}
