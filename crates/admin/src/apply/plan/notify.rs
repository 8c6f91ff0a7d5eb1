//! Plans the change of notification settings.

use serde_json::Value;

use super::super::attempt::attempt;
use super::super::change::{Change, Kind};
use super::super::difference;
use super::super::forms::fields;
use super::super::mistakes::Mistakes;
use super::{Planner, Write};
use crate::body;
use crate::notify::form::{self, NotifyForm};

impl Planner<'_> {
    /// Runs after the integrations: a chat may refer to one that the file creates.
    pub(super) fn notify(&mut self, mistakes: &mut Mistakes<'_>) {
        let Some(entry) = &self.wanted.entry.notify else {
            return;
        };
        let before = self.current.notify.as_ref();
        let bot = |name: &str| {
            let found = self.integrations.get(name)?;
            let settings = &found.settings;
            Some((&found.id, (&*found.platform, settings.mode, &settings.endpoints)))
        };
        let read = |fields| form::read(self.state, before, &body::parse_value(Value::Object(fields))?, bot);
        let Some((channel, language)) = attempt(&entry.at, &entry.fields, mistakes, read) else {
            return;
        };
        let name = |id: &_| {
            let planned = self.integrations.iter().find(|(_, planned)| planned.id == *id);
            planned.map(|(name, _)| name.clone())
        };
        let is_secret = |path: &[&str]| matches!(path, ["webhook", "secret"]);
        let old = before.and_then(|before| NotifyForm::of(&before.channel, before.language, name));
        let new = NotifyForm::of(&channel, language, name);
        let (old, new) = (old.as_ref().map(fields), new.as_ref().map(fields));
        let shown = difference::between(
            &old.unwrap_or_default(),
            &new.unwrap_or_default(),
            &entry.written,
            &is_secret,
        );
        if shown.is_empty() {
            self.plan.n_unchanged += 1;
            return;
        }
        let id = self.wanted.scope.organization.as_str();
        let change = match before {
            Some(_) => Change::updated(Kind::Notify, id, id, shown),
            None => Change::created(Kind::Notify, id, Some(id), shown),
        };
        let before = before.cloned();
        let write = Write::SaveNotify {
            before,
            channel,
            language,
        };
        self.step(write, change);
    }
}
