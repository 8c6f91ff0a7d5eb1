//! Deliveries of any text, with the accounts and targets of each platform's own vectors.

use std::path::Path;

use serde_json::{Value, json};
use tieline_connectors::registry;
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::connector::Connector;
use tieline_core::reply::{Progress, ReplyTarget, Stage, Step};

use crate::case::{Case, WantedOwned};

/// A delivery from a platform's own vectors, usable with any text.
pub(crate) struct Template {
    pub(crate) connector: &'static dyn Connector,
    pub(crate) case: Case,
    pub(crate) account: Account,
    pub(crate) target: ReplyTarget,
}

/// The first vector of each mode of each platform whose delivery makes a call, and one of each polled platform.
pub(crate) fn templates() -> Vec<Template> {
    let mut found: Vec<Template> = Vec::new();
    for connector in registry::ALL {
        for case in cases(connector.manifest().platform) {
            let Some(target) = &case.target else { continue };
            let Ok(account) = case.account.build(*connector) else {
                continue;
            };
            let target = target.build(&account);
            let template = Template {
                connector: *connector,
                case,
                account,
                target,
            };
            let is_known = |known: &Template| known.name() == template.name();
            if !found.iter().any(is_known) && (template.makes_call() || template.is_polled()) {
                found.push(template);
            }
        }
    }
    found
}

fn cases(platform: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(platform)
        .join("vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("compose-")
        })
        .collect();
    paths.sort();
    let texts = paths
        .into_iter()
        .map(|path| std::fs::read_to_string(path).expect("a listed file can be read"));
    texts
        .flat_map(
            |text| match serde_json::from_str(&text).expect("a vector file is JSON") {
                Value::Array(cases) => cases,
                case => vec![case],
            },
        )
        .map(|case| serde_json::from_value(case).expect("a vector has the shape of one"))
        .collect()
}

impl Template {
    pub(crate) fn name(&self) -> String {
        format!("{} {:?}", self.connector.manifest().platform, self.account.mode)
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.connector.polled_replies().is_some() && self.account.mode == ConnectionMode::Webhook
    }

    fn makes_call(&self) -> bool {
        let (wanted, cx) = (
            self.wanted("Hello", Stage::Final),
            self.case.context(&self.account, None),
        );
        let step = self
            .connector
            .deliver(&wanted.view(), &self.target, &Progress::default(), &cx);
        matches!(step, Ok(Step::Call { .. }))
    }

    pub(crate) fn wanted(&self, text: &str, stage: Stage) -> WantedOwned {
        let mut wanted = json!({ "stage": stage, "text": text, "link": "https://bridge.example/r/1" });
        for name in ["proactive", "pulled"] {
            if let Some(value) = self.case.wanted.get(name) {
                wanted[name] = value.clone();
            }
        }
        WantedOwned::new(&wanted, &self.target, &self.account).expect("a changed vector is one")
    }
}
