//! Ids that we derive for an agent: the same in every process, so that a repeated call names the same object.

use sha2::{Digest as _, Sha256};
use tieline_core::ids::digest;

/// UUID (version 8) derived from `fields`.
///
/// See [RFC 9562/5.8](https://www.rfc-editor.org/rfc/rfc9562#section-5.8).
pub(crate) fn uuid(fields: &[&str]) -> String {
    let hash = hash(fields);
    let first: [u8; 16] = std::array::from_fn(|at| hash[at]);
    uuid::Builder::from_custom_bytes(first).into_uuid().to_string()
}

/// 64 hexadecimal digits derived from `fields`.
pub(crate) fn hex_digest(fields: &[&str]) -> String {
    hex(&hash(fields))
}

fn hash(fields: &[&str]) -> [u8; 32] {
    Sha256::digest(digest(fields)).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_stable_and_has_its_version() {
        let id = uuid(&["a", "b"]);
        assert_eq!(id, uuid(&["a", "b"]));
        assert_ne!(id, uuid(&["ab", ""]));
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_eq!(hex_digest(&["a"]).len(), 64);
    }
}
