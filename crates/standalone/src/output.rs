//! Output for programs.

use serde_json::Value;

use crate::args::Output;
use crate::terminal::{self, one_line};

/// Prints a value as JSON or YAML. Returns `false` and prints nothing if the format is one for people.
///
/// # Errors
/// If the reader has closed the pipe.
pub fn structured(value: &Value, output: Output) -> anyhow::Result<bool> {
    match output {
        Output::Json => terminal::line(&serde_json::to_string_pretty(value)?)?,
        Output::Yaml => terminal::line(serde_yaml_ng::to_string(value)?.trim_end())?,
        Output::Name => {
            let items = match value["items"].as_array() {
                Some(items) => items.as_slice(),
                None => std::slice::from_ref(value),
            };
            for item in items {
                terminal::line(&name(item))?;
            }
        }
        Output::Table | Output::Wide => return Ok(false),
    }
    Ok(true)
}

/// The name of a resource on the command line, or its id if it has no name.
fn name(item: &Value) -> String {
    let fields = ["name", "id", "platform"].into_iter();
    let mut found = fields.filter_map(|field| item[field].as_str());
    one_line(found.find(|text| !text.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_in_output_are_accepted_by_commands() {
        assert_eq!(name(&json!({ "id": "int_1", "name": "Desk" })), "Desk");
        assert_eq!(name(&json!({ "id": "trg_1" })), "trg_1");
    }
}
