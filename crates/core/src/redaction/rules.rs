//! The built-in rules for credentials.

use std::ops::Range;

/// A kind of token recognized by its prefix.
struct Token {
    prefix: &'static str,
    /// Least characters after the prefix.
    least: usize,
    /// Characters allowed besides letters and digits.
    marks: &'static [u8],
}

const fn token(prefix: &'static str, least: usize, marks: &'static [u8]) -> Token {
    Token { prefix, least, marks }
}

const KEY: &[u8] = b"_-";
const DOTTED: &[u8] = b"_-.";
const BASE64: &[u8] = b"+/=";

/// Tokens by vendor. The lengths are somewhat less than what the vendors issue, so that older and truncated ones are found too.
const TOKENS: &[Token] = &[
    token("sk-", 20, KEY),      // OpenAI, Anthropic, DeepSeek, OpenRouter
    token("sk_live_", 16, b""), // Stripe
    token("sk_test_", 16, b""),
    token("rk_live_", 16, b""),
    token("AKIA", 16, b""), // AWS
    token("ASIA", 16, b""),
    token("LTAI", 12, b""), // Alibaba Cloud
    token("AKID", 24, b""), // Tencent Cloud
    token("AIza", 30, KEY), // Google
    token("ya29.", 20, DOTTED),
    token("ghp_", 30, b""), // GitHub
    token("gho_", 30, b""),
    token("ghu_", 30, b""),
    token("ghs_", 30, b""),
    token("ghr_", 30, b""),
    token("github_pat_", 22, b"_"),
    token("glpat-", 20, KEY), // GitLab
    token("xoxb-", 10, b"-"), // Slack
    token("xoxp-", 10, b"-"),
    token("xoxa-", 10, b"-"),
    token("xoxs-", 10, b"-"),
    token("xapp-", 10, b"-"),
    token("hf_", 30, b""), // Hugging Face
    token("npm_", 30, b""),
    token("dop_v1_", 60, b""),   // DigitalOcean
    token("shpat_", 30, b""),    // Shopify
    token("SG.", 40, DOTTED),    // SendGrid
    token("whsec_", 16, BASE64), // Standard Webhooks
    token("eyJ", 40, DOTTED),    // JSON Web Token; see `is_jwt`
];

/// Names that make the value after them a secret, in lower case.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "access_token",
    "auth_token",
    "private_key",
    "bearer",
    "密码",
    "口令",
    "密钥",
];

/// Least characters of a value after such a name.
const LEAST_VALUE: usize = 8;
/// Most characters between such a name and its `=` or `:`, as in `secret_access_key`.
const MAX_REST_OF_NAME: usize = 24;
/// Most blanks between a name and its value.
const MAX_BLANKS: usize = 8;
/// Most quotation marks around a name or its value.
const MAX_QUOTES: usize = 3;
/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 14..=19;

const KEY_BEGIN: &str = "-----BEGIN ";
const KEY_END: &str = "-----END ";
const KEY_KIND: &str = "PRIVATE KEY-----";

/// Longest first line of a private key after its `BEGIN`.
const MAX_KEY_HEAD: usize = 40;

/// Least characters of a word that counts as a line of a private key.
const LEAST_KEY_LINE: usize = 24;

/// Finds private keys in PEM format. Returns where one starts that reaches the end of the text, so that more of it may follow.
///
/// A key whose last line is missing still counts, up to its last character: a person may have copied too little. A first line that
/// is followed by nothing like a key is a mere mention.
pub(super) fn private_keys(text: &str, spans: &mut Vec<Range<usize>>) -> Option<usize> {
    let bytes = text.as_bytes();
    // End of the key characters around the last key found: with many keys in a row, each would be read to the same position.
    let (mut from, mut reach) = (0, 0);
    while let Some(at) = text[from..].find(KEY_BEGIN) {
        let start = from + at;
        let head = start + KEY_BEGIN.len();
        let is_of_head = |byte: u8| byte.is_ascii_uppercase() || byte == b' ' || byte == b'-';
        let line = run(&bytes[head..bytes.len().min(head + MAX_KEY_HEAD)], is_of_head);
        let Some(kind) = text[head..head + line].find(KEY_KIND) else {
            if head + line == bytes.len() {
                return Some(start);
            }
            from = head;
            continue;
        };
        let body = head + kind + KEY_KIND.len();
        if body >= reach {
            reach = body + run(&bytes[body..], is_of_key);
        }
        let end = text[body..reach].find(KEY_END).and_then(|at| {
            let tail = body + at;
            text[tail..reach]
                .find(KEY_KIND)
                .map(|kind| tail + kind + KEY_KIND.len())
        });
        from = end.unwrap_or(reach);
        let content = text[body..from].trim_end();
        if end.is_some() || content.split_whitespace().any(|word| word.len() >= LEAST_KEY_LINE) {
            spans.push(start..end.unwrap_or(body + content.len()));
        }
        if end.is_none() && reach == bytes.len() {
            return Some(start);
        }
    }
    None
}

/// Base64, headers of encrypted keys, and line breaks, also as escaped in JSON.
const fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte.is_ascii_whitespace()
        || matches!(byte, b'+' | b'/' | b'=' | b'-' | b':' | b',' | b'\\')
}

/// Finds tokens recognized by their prefix, and Telegram's, which are recognized by their middle.
pub(super) fn tokens(text: &str, spans: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for token in TOKENS {
        let mut read_to = 0;
        for (start, _) in text.match_indices(token.prefix) {
            // No token starts within what was read; so no character is read twice.
            if start < read_to || start > 0 && is_key(bytes[start - 1]) {
                continue;
            }
            let rest = start + token.prefix.len();
            let end = rest
                + run(&bytes[rest..], |byte| {
                    byte.is_ascii_alphanumeric() || token.marks.contains(&byte)
                });
            let end = without_full_stop(bytes, end);
            read_to = end.max(rest);
            if end >= rest + token.least && (token.prefix != "eyJ" || is_jwt(&text[start..end])) {
                spans.push(start..end);
            }
        }
    }
    for (at, _) in text.match_indices(":AA") {
        let n_digits = bytes[..at]
            .iter()
            .rev()
            .take(12)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let rest = at + 1;
        let n_key = run(&bytes[rest..], is_key);
        if (8..=11).contains(&n_digits) && n_key >= 30 {
            spans.push(at - n_digits..rest + n_key);
        }
    }
}

/// A full stop after a token may end a sentence.
fn without_full_stop(bytes: &[u8], end: usize) -> usize {
    let n_stops = bytes[..end].iter().rev().take_while(|byte| **byte == b'.').count();
    end - n_stops
}

fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() >= 3 && parts[1].starts_with("eyJ") && parts[2].len() >= 8
}

/// Finds values that a name before them makes secrets: `password=…`, `Authorization: Bearer …`, and the password in an address.
pub(super) fn named_values(text: &str, spans: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    // Same length: only ASCII is changed.
    let lower = text.to_ascii_lowercase();
    for name in NAMES {
        let mut read_to = 0;
        for (at, _) in lower.match_indices(name) {
            if at < read_to {
                continue;
            }
            let Some(start) = value_of(bytes, at + name.len(), *name == "bearer") else {
                continue;
            };
            let end = start + run(&bytes[start..], is_of_value);
            read_to = end;
            if is_secret_value(&bytes[start..end]) {
                spans.push(start..end);
            }
        }
    }
    let mut read_to = 0;
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        if start < read_to {
            continue;
        }
        let end = start
            + run(&bytes[start..], |byte| {
                byte.is_ascii_graphic() && !b"/?#\"'`<>".contains(&byte)
            });
        read_to = end;
        let authority = &text[start..end];
        let Some((user, _)) = authority.rsplit_once('@') else {
            continue;
        };
        if let Some((name, password)) = user.split_once(':')
            && !password.is_empty()
        {
            let from = start + name.len() + 1;
            spans.push(from..from + password.len());
        }
    }
}

/// Where the value starts of a name that ends at `at`.
fn value_of(bytes: &[u8], at: usize, is_scheme: bool) -> Option<usize> {
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    let quote = |byte: u8| b"\"'`*".contains(&byte);
    let mut at = at;
    if is_scheme {
        let n_blanks = short_run(bytes, at, MAX_BLANKS, blank);
        return (n_blanks > 0).then_some(at + n_blanks);
    }
    at += short_run(bytes, at, MAX_REST_OF_NAME, is_key);
    at += short_run(bytes, at, MAX_QUOTES, quote);
    at += short_run(bytes, at, MAX_BLANKS, blank);
    let wide_colon = "：".as_bytes();
    at += match bytes.get(at)? {
        b'=' | b':' => 1,
        _ if bytes[at..].starts_with(wide_colon) => wide_colon.len(),
        _ => return None,
    };
    at += short_run(bytes, at, MAX_BLANKS, blank);
    at += short_run(bytes, at, MAX_QUOTES, quote);
    Some(at)
}

/// Plain words are no passwords, nor are placeholders.
fn is_secret_value(value: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| value.iter().any(kind);
    let is_placeholder =
        value.starts_with(b"${") || value.starts_with(b"<") || value.starts_with(b"[") || value.starts_with(b"{{");
    value.len() >= LEAST_VALUE && !is_placeholder && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

fn is_of_value(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"'`,;".contains(&byte)
}

/// Finds numbers of payment cards: their digits, grouped or not, that pass the check of ISO/IEC 7812-1.
pub(super) fn card_numbers(text: &str, spans: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let (end, digits) = digit_groups(bytes, at);
        let is_apart = (at == 0 || !is_key(bytes[at - 1])) && bytes.get(end).is_none_or(|byte| !is_key(*byte));
        // Payment cards start with 2 to 6; times in milliseconds start with 1.
        let is_card = CARD_DIGITS.contains(&digits.len()) && (2..=6).contains(&digits[0]) && passes(&digits);
        if is_apart && is_card {
            spans.push(at..end);
        }
        at = end;
    }
}

/// The digits from `at` on, with one blank or hyphen between groups of them, and where they end.
fn digit_groups(bytes: &[u8], at: usize) -> (usize, Vec<u8>) {
    let (mut digits, mut end) = (Vec::new(), at);
    loop {
        while let Some(digit) = bytes.get(end).filter(|byte| byte.is_ascii_digit()) {
            digits.push(digit - b'0');
            end += 1;
        }
        let is_gap = matches!(bytes.get(end), Some(b' ' | b'-'));
        if !is_gap || !bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            return (end, digits);
        }
        end += 1;
    }
}

/// The check digit of ISO/IEC 7812-1.
fn passes(digits: &[u8]) -> bool {
    let weighed = digits.iter().rev().enumerate().map(|(place, digit)| match place % 2 {
        0 => u32::from(*digit),
        _ if *digit < 5 => u32::from(*digit) * 2,
        _ => u32::from(*digit) * 2 - 9,
    });
    weighed.sum::<u32>() % 10 == 0
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// How many bytes from `at` on are of a kind; reads at most `max`, so that a text full of names is not read again for each.
fn short_run(bytes: &[u8], at: usize, max: usize, is_of_kind: impl Fn(u8) -> bool) -> usize {
    run(&bytes[at..bytes.len().min(at + max)], is_of_kind)
}

/// How many bytes from the beginning are of a kind.
fn run(bytes: &[u8], is_of_kind: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_of_kind(**byte)).count()
}
