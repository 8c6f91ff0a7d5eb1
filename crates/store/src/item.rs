//! Conversion between Rust types and items.
//!
//! Each kind of item has a type of its own, an enum tagged `v`, so that items written by an older version stay readable. The keys
//! (`pk`, `sk`, the index's) and `ttl` are added here and are not part of that type.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tieline_core::timestamp::Timestamp;

use crate::error::StoreError;
use crate::tables::{PK, SK, TTL};

/// An item, or a part of one.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A text attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(crate) fn number(value: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The primary key.
pub(crate) fn key(pk: &str, sk: &str) -> Item {
    Item::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))])
}

/// The last time that 13 digits hold, in November 2286.
const LAST_MILLIS: i64 = 9_999_999_999_999;

/// A time at the start of a sort key, in 13 digits: texts sort like the times. Earlier times than 1970 and later ones than November 2286,
/// which only filters name, are those two.
pub(crate) fn sortable(at: Timestamp) -> String {
    format!("{:013}", at.as_millis().clamp(0, LAST_MILLIS))
}

/// A text attribute of an item.
pub(crate) fn get_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number attribute of an item.
pub(crate) fn get_number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// A value as an attribute. `what` names it in the error.
pub(crate) fn value<T: Serialize>(what: &'static str, value: &T) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value).map_err(|_| StoreError::Unreadable { what })
}

/// A struct as an item with its key.
pub(crate) fn write<T: Serialize>(what: &'static str, pk: &str, sk: &str, value: &T) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|_| StoreError::Unreadable { what })?;
    item.extend(key(pk, sk));
    Ok(item)
}

/// The struct of an item.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|_| StoreError::Unreadable { what })
}

/// Sets when the item expires.
pub(crate) fn expire(item: &mut Item, at: Timestamp) {
    item.insert(TTL.to_owned(), number(at.as_secs()));
}

/// Whether an item has expired, though the table may not have deleted it yet.
pub(crate) fn is_expired(item: &Item, now: Timestamp) -> bool {
    get_number::<i64>(item, TTL).is_some_and(|at| at <= now.as_secs())
}

/// The item, unless it has expired.
pub(crate) fn alive(item: Option<Item>, now: Timestamp) -> Option<Item> {
    item.filter(|item| !is_expired(item, now))
}

/// Bytes, stored as a binary attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl serde::de::Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "v")]
    enum Stored {
        #[serde(rename = "1")]
        V1(StoredV1),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct StoredV1 {
        blob: Blob,
        #[serde(with = "tieline_core::timestamp::millis")]
        at: Timestamp,
        count: u64,
    }

    #[test]
    fn tagged_struct_round_trips() {
        let stored = Stored::V1(StoredV1 {
            blob: Blob(vec![0, 255]),
            at: Timestamp::from_millis(1_760_000_000_001),
            count: u64::MAX,
        });
        let item = write("test", "a", "b", &stored).unwrap();
        assert_eq!(get_text(&item, "v"), Some("1"));
        assert_eq!(get_text(&item, PK), Some("a"));
        assert!(item["blob"].is_b());
        assert_eq!(read::<Stored>("test", item).unwrap(), stored);
    }

    #[test]
    fn times_sort_as_texts() {
        let times = [i64::MIN, 1, 1_760_000_000_001, LAST_MILLIS - 1, i64::MAX];
        let texts = times.map(|millis| sortable(Timestamp::from_millis(millis)));
        assert!(texts.is_sorted_by(|one, next| one < next), "{texts:?}");
        assert!(texts.iter().all(|text| text.len() == 13), "{texts:?}");
    }

    #[test]
    fn item_expires_at_its_second() {
        let mut item = Item::new();
        assert!(!is_expired(&item, Timestamp::from_secs(i64::MAX / 1000)));
        expire(&mut item, Timestamp::from_secs(10));
        assert!(!is_expired(&item, Timestamp::from_millis(9_999)));
        assert!(is_expired(&item, Timestamp::from_secs(10)));
    }
}
