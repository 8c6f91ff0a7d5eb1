//! Output for programs.

use serde_json::Value;

use crate::args::Output;
use crate::kind::Kind;
use crate::terminal::{self, one_line};

/// Prints a resource of this kind, or a list of them, for programs. Returns `false` and prints nothing if the format is one for people.
///
/// # Errors
/// If the reader has closed the pipe.
pub fn structured(value: &Value, kind: Kind, output: Output) -> anyhow::Result<bool> {
    match output {
        Output::Json => terminal::line(&serde_json::to_string_pretty(value)?)?,
        Output::Yaml => terminal::line(serde_yaml_ng::to_string(value)?.trim_end())?,
        Output::Name => {
            let items = match value["items"].as_array() {
                Some(items) => items.as_slice(),
                None => std::slice::from_ref(value),
            };
            for item in items {
                terminal::line(&name(item, kind, items))?;
            }
        }
        Output::Table | Output::Wide => return Ok(false),
    }
    Ok(true)
}

/// What commands accept for a resource: its name if they look it up by that and no other in the list has it, else its id.
fn name(item: &Value, kind: Kind, list: &[Value]) -> String {
    let is_unique = || list.iter().filter(|other| other["name"] == item["name"]).count() == 1;
    let fields: &[&str] = match kind.is_named() && is_unique() {
        true => &["name", "id"],
        false => &["id", "platform"],
    };
    let mut found = fields.iter().filter_map(|field| item[field].as_str());
    one_line(found.find(|text| !text.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_output_are_accepted_by_commands() {
        let of = |kind, item: Value| name(&item, kind, std::slice::from_ref(&item));
        assert_eq!(of(Kind::Integrations, json!({ "id": "int_1", "name": "Desk" })), "Desk");
        assert_eq!(of(Kind::Triggers, json!({ "id": "trg_1" })), "trg_1");
        let item = json!({ "id": "x", "name": "X" });
        for kind in [Kind::Organizations, Kind::Users] {
            assert_eq!(of(kind, item.clone()), "x", "{kind:?}");
        }
        let platform = json!({ "platform": "web", "name": "Chat page" });
        assert_eq!(of(Kind::Platforms, platform), "web");
        let tokens = [
            json!({ "id": "tok_1", "name": "ci" }),
            json!({ "id": "tok_2", "name": "ci" }),
            json!({ "id": "tok_3", "name": "ops" }),
        ];
        let names = tokens.each_ref().map(|token| name(token, Kind::Tokens, &tokens));
        assert_eq!(names, ["tok_1", "tok_2", "ops"]);
    }
}
