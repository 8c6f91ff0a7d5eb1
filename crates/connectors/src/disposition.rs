//! File names in `Content-Disposition`.

/// The file name in a `Content-Disposition` header.
///
/// `filename*=UTF-8''…` takes precedence over `filename="…"`; the latter may itself be percent-encoded or form-encoded, as by some
/// platforms. Folders and control characters are removed.
pub(crate) fn file_name(header: &str) -> Option<String> {
    let (mut plain, mut extended) = (None, None);
    for (name, value) in parameters(header) {
        if name.eq_ignore_ascii_case("filename*") {
            extended = extended.or_else(|| decode(value.splitn(3, '\'').nth(2)?));
        } else if name.eq_ignore_ascii_case("filename") {
            plain = plain.or_else(|| decode_plain(&value).or(Some(value)));
        }
    }
    let name = extended.or(plain)?;
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    (!name.is_empty() && name != "." && name != "..").then(|| name.to_owned())
}

/// `name=value` pairs after the first semicolon; values without quotes.
fn parameters(header: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, tail) = value(after.trim_start());
        found.push((name.trim_matches([' ', '\t', ';']), value));
        rest = tail;
    }
    found
}

/// A value, quoted or not, and the rest after it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, tail) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), tail);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// Decodes a plain name. If spaces are encoded as `+`, all other special characters are escaped, including `+` itself.
fn decode_plain(text: &str) -> Option<String> {
    let decoded = decode(text)?;
    let is_escaped = decoded != text && text.is_ascii();
    match is_escaped && !text.contains(' ') && !text.contains("%20") {
        true => decode(&text.replace('+', " ")),
        false => Some(decoded),
    }
}

/// Percent-decodes text. `None` if the result isn't UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.split_at_checked(2)).flatten();
        let byte = escaped.and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        let (byte, tail) = byte.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        assert_eq!(file_name(header).as_deref(), expected);
    }

    #[test]
    fn extended_name_takes_precedence() {
        check(
            "attachment; filename=\"x.pdf\"; filename*=UTF-8''%E6%8A%A5%E5%91%8A.pdf",
            Some("报告.pdf"),
        );
        check("attachment; filename*=utf-8'zh'a%20b.txt", Some("a b.txt"));
    }

    #[test]
    fn plain_name_may_be_quoted_escaped_or_encoded() {
        check(
            "attachment; filename=\"a;b \\\"c\\\".txt\"; size=3",
            Some("a;b \"c\".txt"),
        );
        check("attachment;filename=plain.txt", Some("plain.txt"));
        check("attachment; filename=\"%E6%8A%A5.pdf\"", Some("报.pdf"));
        check("attachment; FileName=\"100%.txt\"", Some("100%.txt"));
        check("attachment; filename=\"%ff.txt\"", Some("%ff.txt"));
    }

    #[test]
    fn plus_is_a_space_only_in_a_form_encoded_name() {
        check("attachment; filename=\"%E6%8A%A5+2025.pdf\"", Some("报 2025.pdf"));
        check("attachment; filename=\"C%2B%2B+notes.txt\"", Some("C++ notes.txt"));
        check("attachment; filename=\"a+b%20c.txt\"", Some("a+b c.txt"));
        check("attachment; filename=\"C++.txt\"", Some("C++.txt"));
        check("attachment; filename*=UTF-8''%E6%8A%A5+1.pdf", Some("报+1.pdf"));
    }

    #[test]
    fn raw_names_are_kept_and_control_characters_removed() {
        check("attachment; filename=\"报告+1.pdf\"", Some("报告+1.pdf"));
        check("attachment; filename=\"a%0d%0ab%00.txt\"", Some("ab.txt"));
    }

    #[test]
    fn folders_are_removed_and_empty_names_are_none() {
        check("attachment; filename=\"../../etc/passwd\"", Some("passwd"));
        check("attachment; filename=\"..\"", None);
        check("attachment", None);
        check("attachment; filename=", None);
        check("attachment; filename=\"open", Some("open"));
    }
}
