//! Plans the change of an organization's mapper.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Planner, Write};
use crate::apply::attempt::attempt;
use crate::apply::change::{Change, Kind};
use crate::apply::difference;
use crate::apply::mistakes::Mistakes;
use crate::{body, mapper};

const FIELD: &str = "mapper";

/// The part of an organization entry that describes its mapper.
#[derive(Deserialize)]
struct Section {
    mapper: Option<mapper::MapperPatch>,
}

impl Planner<'_> {
    /// A file that doesn't mention the mapper leaves it unchanged; null removes it.
    pub(super) fn mapper(&mut self, mistakes: &mut Mistakes<'_>) {
        let Some(entry) = &self.wanted.entry.mapper else {
            return;
        };
        let organization = self.current.organization.as_ref();
        let before = organization.and_then(|organization| organization.mapper.as_ref());
        let state = self.state;
        let read = |fields: Map<String, Value>| {
            let section: Section = body::parse_value(Value::Object(fields))?;
            let patch = section.mapper.as_ref();
            patch
                .map(|patch| mapper::read_patch(state, FIELD, before, patch))
                .transpose()
        };
        let Some(after) = attempt(&entry.at, &entry.fields, mistakes, read) else {
            return;
        };
        if after.as_ref() == before {
            return;
        }
        let (old, new) = (mapper::form(before), mapper::form(after.as_ref()));
        let is_secret = |path: &[&str]| path == [FIELD, "secret"];
        let shown = difference::between(&old, &new, &entry.written, &is_secret);
        let id = self.wanted.scope.organization.clone();
        let change = Change::updated(Kind::Organization, id.as_str(), id.as_str(), shown);
        let version = organization.map_or(0, |organization| organization.mapper_version);
        self.step(Write::SetMapper { version, after }, change);
    }
}
