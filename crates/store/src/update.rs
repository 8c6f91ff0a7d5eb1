//! Update and condition expressions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::timestamp::Timestamp;

use crate::item::{Item, number};
use crate::tables::{PK, TTL};

/// An update under construction. Paths are attribute names joined by dots; every part is escaped, so no word is reserved.
#[derive(Debug, Default)]
pub(crate) struct Update {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    conditions: Vec<String>,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Item,
}

impl Update {
    /// An update without changes and conditions.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The placeholder of a path, for a condition.
    pub(crate) fn path(&mut self, path: &str) -> String {
        let parts = path.split('.').map(|part| {
            let placeholder = format!("#{part}");
            self.names.insert(placeholder.clone(), part.to_owned());
            placeholder
        });
        parts.collect::<Vec<_>>().join(".")
    }

    /// The placeholder of a value, for a condition.
    pub(crate) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute.
    pub(crate) fn set(&mut self, path: &str, value: AttributeValue) -> &mut Self {
        let (path, value) = (self.path(path), self.value(value));
        self.sets.push(format!("{path} = {value}"));
        self
    }

    /// Sets an attribute unless it exists.
    pub(crate) fn set_once(&mut self, path: &str, value: AttributeValue) -> &mut Self {
        let (path, value) = (self.path(path), self.value(value));
        self.sets.push(format!("{path} = if_not_exists({path}, {value})"));
        self
    }

    /// Appends to a list, which is created if it doesn't exist.
    pub(crate) fn append(&mut self, path: &str, values: Vec<AttributeValue>) -> &mut Self {
        let path = self.path(path);
        let none = self.value(AttributeValue::L(Vec::new()));
        let values = self.value(AttributeValue::L(values));
        self.sets
            .push(format!("{path} = list_append(if_not_exists({path}, {none}), {values})"));
        self
    }

    /// Adds to a top-level number, which is created if it doesn't exist.
    pub(crate) fn add(&mut self, path: &str, n: i64) -> &mut Self {
        let (path, value) = (self.path(path), self.value(number(n)));
        self.adds.push(format!("{path} {value}"));
        self
    }

    /// Removes an attribute.
    pub(crate) fn remove(&mut self, path: &str) -> &mut Self {
        let path = self.path(path);
        self.removes.push(path);
        self
    }

    /// Requires a condition, in placeholders.
    pub(crate) fn require(&mut self, condition: impl Into<String>) -> &mut Self {
        self.conditions.push(condition.into());
        self
    }

    /// Requires that an attribute has this value.
    pub(crate) fn require_equal(&mut self, path: &str, value: AttributeValue) -> &mut Self {
        let (path, value) = (self.path(path), self.value(value));
        self.require(format!("{path} = {value}"))
    }

    /// Requires that an attribute does not exist.
    pub(crate) fn require_absent(&mut self, path: &str) -> &mut Self {
        let path = self.path(path);
        self.require(format!("attribute_not_exists({path})"))
    }

    /// Requires that the item exists and has not expired.
    pub(crate) fn require_alive(&mut self, now: Timestamp) -> &mut Self {
        let (pk, ttl, now) = (self.path(PK), self.path(TTL), self.value(number(now.as_secs())));
        self.require(format!(
            "attribute_exists({pk}) AND (attribute_not_exists({ttl}) OR {ttl} > {now})"
        ))
    }

    /// Requires that the item does not exist, or has expired.
    pub(crate) fn require_gone(&mut self, now: Timestamp) -> &mut Self {
        let (pk, ttl, now) = (self.path(PK), self.path(TTL), self.value(number(now.as_secs())));
        self.require(format!("(attribute_not_exists({pk}) OR {ttl} <= {now})"))
    }

    /// The update expression. `None` if nothing changes.
    pub(crate) fn changes(&self) -> Option<String> {
        let clauses = [("SET", &self.sets), ("REMOVE", &self.removes), ("ADD", &self.adds)];
        let clauses = clauses.iter().filter(|(_, parts)| !parts.is_empty());
        let text = clauses
            .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
            .collect::<Vec<_>>();
        (!text.is_empty()).then(|| text.join(" "))
    }

    /// The condition expression. `None` if there is none.
    pub(crate) fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }
}
