//! Links in Markdown.

/// A link: what is shown, where it leads, and how many bytes it takes.
#[derive(Debug, PartialEq)]
pub(super) struct Link<'a> {
    pub label: &'a str,
    pub address: &'a str,
    pub len: usize,
}

/// Further than this no end of a link is looked for, so that text full of brackets stays cheap.
const MAX_LEN: usize = 2048;

/// The link that `text`, which begins with `[`, begins with.
pub(super) fn read(text: &str) -> Option<Link<'_>> {
    let close = closing(text, b'[', b']')?;
    let tail = &text[close + 1..];
    if !tail.starts_with('(') {
        return None;
    }
    let end = closing(tail, b'(', b')')?;
    let address = address(tail[1..end].trim())?;
    Some(Link {
        label: &text[1..close],
        address,
        len: close + 1 + end + 1,
    })
}

/// The address without its title. `None` if there is a space in it, or what may begin a tag: it is written unchanged.
fn address(text: &str) -> Option<&str> {
    let address = match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((inner, _)) if inner.contains(char::is_whitespace) => None,
        Some((inner, _)) => Some(inner),
        None => match text.split_once(char::is_whitespace) {
            None => Some(text),
            Some((address, title)) => title.trim().starts_with(['"', '\'', '(']).then_some(address),
        },
    };
    address.filter(|address| !address.contains('<'))
}

/// Where the bracket that `text` begins with is closed.
fn closing(text: &str, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().take(MAX_LEN) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == open => depth += 1,
            _ if byte == close && depth == 1 => return Some(at),
            _ if byte == close => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The address in `<https://…>`.
pub(super) fn auto(text: &str) -> Option<&str> {
    let (address, _) = text.strip_prefix('<')?.split_once('>')?;
    let plain =
        is_web(address) && address.len() < MAX_LEN && !address.contains(|c: char| c.is_whitespace() || c == '<');
    plain.then_some(address)
}

/// Whether a client follows it.
pub(super) fn is_web(address: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| {
        let start = address.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}
