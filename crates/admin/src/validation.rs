//! Validation rules shared by several resources.

use tieline_core::outbound_url::{self, AddressError, PrivateEndpoints};

use crate::problem::Problem;

/// Maximum length of a name, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Maximum length of what a known person is called, in characters.
const MAX_PERSON_CHARS: usize = 200;
/// Maximum length of an address, in bytes. Longer ones are refused by many servers, and by the tables together with what is stored beside.
const MAX_ADDRESS_BYTES: usize = 2048;

/// A name with surrounding white space removed.
pub(crate) fn name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::invalid("name", "must not be empty"));
    }
    if text.chars().count() > MAX_NAME_CHARS || text.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return Err(Problem::invalid(
            "name",
            "must have at most 100 characters and no control characters, bidirectional ones included",
        ));
    }
    Ok(text.to_owned())
}

/// Whether a character changes the direction of the text around it, so that a name could look like another one.
///
/// See [Unicode/UAX 9](https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters).
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Validates an id chosen by an operator: it is used in URLs and keys.
pub(crate) fn chosen_id(text: &str) -> Result<&str, Problem> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if text.is_empty() || text.len() > 63 || !text.chars().all(known) || text.starts_with(['-', '_']) {
        let reason = "must have 1 to 63 characters of a-z, 0-9, - and _, the first a letter or digit";
        return Err(Problem::invalid("id", reason));
    }
    Ok(text)
}

/// Maximum length of an id that is looked up, in bytes. Ours are a fraction of it, and a table refuses longer keys.
const MAX_ID_BYTES: usize = 256;
/// An id that no resource has: no generated or chosen id starts like this.
const UNUSED_ID: &str = "-";

/// An id from a request. One that is too long to exist is replaced by an unused one.
pub(crate) fn named_id(text: &str) -> &str {
    if text.len() > MAX_ID_BYTES { UNUSED_ID } else { text }
}

/// The protocol that an address is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    WebSocket,
}

impl Protocol {
    /// Its encrypted and its plain scheme.
    const fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::Http => ["https", "http"],
            Self::WebSocket => ["wss", "ws"],
        }
    }

    /// The protocol of a platform's own address. HTTP if it has none.
    pub(crate) fn of(address: &str) -> Self {
        let is_socket = |scheme: &str| Self::WebSocket.schemes().contains(&scheme);
        match address.split_once("://") {
            Some((scheme, _)) if is_socket(scheme) => Self::WebSocket,
            _ => Self::Http,
        }
    }
}

/// Validates an address that will be called. What its name resolves to is checked at each call.
pub(crate) fn address(
    field: &str,
    address: &str,
    protocol: Protocol,
    allowed: &PrivateEndpoints,
) -> Result<(), Problem> {
    if address.len() > MAX_ADDRESS_BYTES {
        return Err(Problem::invalid(
            field,
            &format!("must have at most {MAX_ADDRESS_BYTES} bytes"),
        ));
    }
    let [encrypted, plain] = protocol.schemes();
    match outbound_url::check(address, allowed) {
        Ok(url) if [encrypted, plain].contains(&url.scheme()) => Ok(()),
        Ok(_) => Err(Problem::invalid(field, &format!("must begin with {encrypted}://"))),
        Err(AddressError::Private) => Err(private_address(field)),
        Err(error @ (AddressError::Invalid | AddressError::Scheme | AddressError::UserInfo)) => {
            Err(Problem::invalid(field, &format!("can't be used: {error}")))
        }
    }
}

fn private_address(field: &str) -> Problem {
    let detail = format!("{field} is a private address: `--allow-private-endpoints` of the deployment allows it");
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "private_address", detail).on(field)
}

/// An optional text: surrounding white space is removed, and an empty text becomes `None`.
pub(crate) fn optional_text(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What a known person is called in an operator's own words, with surrounding white space removed. `None`: empty.
pub(crate) fn known_person(text: &str) -> Result<Option<String>, Problem> {
    let text = text.trim();
    if text.chars().count() > MAX_PERSON_CHARS || text.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        let reason = format!("must have at most {MAX_PERSON_CHARS} characters and no control characters");
        return Err(Problem::invalid("linked", &reason));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Platform ids, with surrounding white space removed.
pub(crate) fn platform_ids(field: &str, ids: Vec<String>, max: usize) -> Result<Vec<String>, Problem> {
    if ids.len() > max {
        return Err(Problem::invalid(field, &format!("has more than {max} entries")));
    }
    let ids: Vec<String> = ids.into_iter().map(|id| id.trim().to_owned()).collect();
    match ids.iter().position(|id| id.is_empty() || id.len() > 256) {
        Some(at) => Err(Problem::invalid(format!("{field}[{at}]"), "must have 1 to 256 bytes")),
        None => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol::{Http, WebSocket};
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(name("  支持机器人 ").unwrap(), "支持机器人");
        assert!(name(&"宽".repeat(100)).is_ok());
        for bad in [
            "",
            "  ",
            "a\nb",
            &"宽".repeat(101),
            "pay\u{202E}lap",
            "a\u{2066}b",
            "\u{200F}א",
        ] {
            assert_eq!(name(bad).unwrap_err().code(), "invalid_field", "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_bounded() {
        let address_of = |bytes: usize| {
            let path = "a".repeat(bytes - "https://example.com/".len());
            address(
                "url",
                &format!("https://example.com/{path}"),
                Http,
                &PrivateEndpoints::Refused,
            )
        };
        assert!(address_of(2048).is_ok());
        assert_eq!(address_of(2049).unwrap_err().code(), "invalid_field");
    }

    #[test]
    fn chosen_ids_fit_in_addresses() {
        assert!(chosen_id("acme-2_eu").is_ok());
        for bad in ["", "Acme", "a/b", "a#b", "-a", "机", &"a".repeat(64)] {
            assert_eq!(chosen_id(bad).unwrap_err().code(), "invalid_field", "{bad:?}");
        }
    }

    #[test]
    fn private_addresses_have_a_code_of_their_own() {
        assert!(
            address(
                "endpoints.apiBase",
                "https://example.com",
                Http,
                &PrivateEndpoints::Refused
            )
            .is_ok()
        );
        for private in ["https://127.0.0.1/x", "https://localhost", "https://[::1]:8443"] {
            let problem = address("endpoints.apiBase", private, Http, &PrivateEndpoints::Refused).unwrap_err();
            assert_eq!(problem.code(), "private_address", "{private}");
            assert!(
                address("endpoints.apiBase", private, Http, &PrivateEndpoints::Allowed).is_ok(),
                "{private}"
            );
        }
        for invalid in [
            "http://example.com",
            "example.com",
            "ftp://example.com",
            "https://a:b@example.com",
        ] {
            assert_eq!(
                address("url", invalid, Http, &PrivateEndpoints::Refused)
                    .unwrap_err()
                    .code(),
                "invalid_field",
                "{invalid}"
            );
        }
        assert!(address("url", "http://example.com", Http, &PrivateEndpoints::Allowed).is_ok());
    }

    #[test]
    fn an_address_has_a_scheme_of_its_protocol() {
        let code = |it: &str, protocol| {
            address("url", it, protocol, &PrivateEndpoints::Allowed)
                .err()
                .map(|problem| problem.code())
        };
        for (fits, other) in [(Http, WebSocket), (WebSocket, Http)] {
            for scheme in fits.schemes() {
                let it = format!("{scheme}://example.com");
                assert_eq!(Protocol::of(&it), fits);
                assert_eq!(code(&it, fits), None);
                assert_eq!(code(&it, other), Some("invalid_field"));
            }
        }
        assert_eq!(Protocol::of(""), Http);
    }
}
