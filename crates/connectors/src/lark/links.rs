//! URLs in Markdown.

/// Longest URL.
const MAX_LEN: usize = 2048;

/// The URL in `<https://…>`.
pub(super) fn auto(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('<').filter(|rest| is_web(rest))?;
    let ends = |byte: u8| byte == b'>' || byte == b'<' || byte.is_ascii_whitespace();
    let end = rest.bytes().take(MAX_LEN).position(ends)?;
    let address = &rest[..end];
    (rest.as_bytes()[end] == b'>' && !address.contains(char::is_whitespace)).then_some(address)
}

/// Whether clients follow the URL.
pub(super) fn is_web(address: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| {
        let start = address.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}
