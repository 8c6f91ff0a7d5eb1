//! A reader of the deployment template: its resources, with intrinsic functions resolved as by CloudFormation.
//!
//! Supports what this project's template uses: `Ref`, `GetAtt`, `Sub`, `If`, `Join`, and conditions of `Equals`, `Not`, `And`, `Or`.
//! Everything else is an error, so that new features of the template don't go unnoticed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_yaml_ng::{Mapping, Value};

/// A template with the parameters of a deployment.
#[derive(Debug)]
pub struct Template {
    root: Mapping,
    parameters: BTreeMap<String, String>,
    /// The values of `Ref` and `GetAtt` of resources and pseudo parameters: by `Name` or `Name.Attribute`.
    attributes: BTreeMap<String, String>,
}

impl Template {
    /// Reads a template. Parameters that are not `given` have their defaults.
    ///
    /// # Errors
    /// If it is not YAML, a parameter has no value, or an unknown one is given.
    pub fn read(path: &Path, mut given: BTreeMap<String, String>) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let root: Mapping = serde_yaml_ng::from_str(&text)?;
        let mut parameters = BTreeMap::new();
        for (name, parameter) in section(&root, "Parameters")? {
            let name = name.as_str().context("a parameter without a name")?;
            let value = given.remove(name).or_else(|| parameter.get("Default").and_then(scalar));
            let value = value.with_context(|| format!("parameter {name} has no value"))?;
            parameters.insert(name.to_owned(), value);
        }
        ensure!(given.is_empty(), "the template has no parameters {given:?}");
        Ok(Self {
            root,
            parameters,
            attributes: BTreeMap::new(),
        })
    }

    /// Reads the template of a nested stack, which is a resource of this one, with the parameters that it gets.
    ///
    /// # Errors
    /// If one can't be resolved, or the template can't be read.
    pub fn nested(&self, directory: &Path, stack: &Value) -> Result<Self> {
        let told = stack.get("Parameters").and_then(Value::as_mapping);
        let mut given = BTreeMap::new();
        for (name, value) in told.context("a nested stack without parameters")? {
            let name = name.as_str().context("a parameter without a name")?;
            let value = self.text(value).with_context(|| format!("parameter {name}"))?;
            given.insert(name.to_owned(), value.unwrap_or_default());
        }
        Self::read(&directory.join(self.property(stack, "TemplateURL")?), given)
    }

    /// Defines the value of `Ref` (`Name`) or `GetAtt` (`Name.Attribute`).
    pub fn define(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.attributes.insert(name.into(), value.into());
    }

    /// The resources of a type whose conditions hold: name and unresolved properties.
    ///
    /// # Errors
    /// If a condition can't be evaluated.
    pub fn resources(&self, kind: &str) -> Result<Vec<(&str, &Value)>> {
        let mut found = Vec::new();
        for (name, resource) in section(&self.root, "Resources")? {
            let is_in = match resource.get("Condition").and_then(Value::as_str) {
                Some(condition) => self.condition(condition)?,
                None => true,
            };
            if is_in && resource.get("Type").and_then(Value::as_str) == Some(kind) {
                let name = name.as_str().context("a resource without a name")?;
                found.push((name, resource.get("Properties").unwrap_or(&Value::Null)));
            }
        }
        Ok(found)
    }

    /// The `Globals` of SAM for functions.
    ///
    /// # Errors
    /// If there are none.
    pub fn globals(&self) -> Result<&Value> {
        let globals = self.root.get("Globals").and_then(|globals| globals.get("Function"));
        globals.context("no globals of functions")
    }

    /// A value as text. `None` for `AWS::NoValue`.
    ///
    /// # Errors
    /// If it contains an unknown name.
    pub fn text(&self, value: &Value) -> Result<Option<String>> {
        let Value::Tagged(tagged) = value else {
            return Ok(Some(scalar(value).with_context(|| format!("{value:?} is not text"))?));
        };
        let told = &tagged.value;
        match tagged.tag.to_string().as_str() {
            "!Ref" => self.reference(told.as_str().context("Ref of no name")?),
            "!GetAtt" => self.attribute(told.as_str().context("GetAtt of no name")?).map(Some),
            "!Sub" => self.substitute(told.as_str().context("Sub of no text")?).map(Some),
            "!If" => {
                let [condition, yes, no] = items(told)? else {
                    bail!("If needs three values");
                };
                let is = self.condition(condition.as_str().context("If of no condition")?)?;
                self.text(if is { yes } else { no })
            }
            "!Join" => {
                let [between, parts] = items(told)? else {
                    bail!("Join needs two values");
                };
                let between = between.as_str().context("Join by no text")?;
                let parts: Vec<String> = match parts {
                    // A parameter that is a list.
                    Value::Tagged(_) => {
                        let list = self.text(parts)?.unwrap_or_default();
                        list.split(',').map(str::to_owned).collect()
                    }
                    _ => {
                        let parts = items(parts)?.iter().map(|part| self.text(part));
                        parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
                    }
                };
                Ok(Some(parts.join(between)))
            }
            "!Select" => {
                let [index, values] = items(told)? else {
                    bail!("Select needs two values");
                };
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                let chosen = index.and_then(|index| items(values).ok()?.get(index));
                self.text(chosen.context("Select of no value")?)
            }
            tag => bail!("the function {tag} is not supported"),
        }
    }

    /// A property as text.
    ///
    /// # Errors
    /// If it is missing or can't be resolved.
    pub fn property(&self, properties: &Value, name: &str) -> Result<String> {
        let value = properties.get(name).with_context(|| format!("{name} is missing"))?;
        self.text(value)?.with_context(|| format!("{name} has no value"))
    }

    fn reference(&self, name: &str) -> Result<Option<String>> {
        match self.parameters.get(name) {
            _ if name == "AWS::NoValue" => Ok(None),
            Some(value) => Ok(Some(value.clone())),
            None => self.attribute(name).map(Some),
        }
    }

    fn attribute(&self, name: &str) -> Result<String> {
        let found = self.attributes.get(name).cloned();
        found.with_context(|| format!("the name {name} is not defined"))
    }

    /// Replaces `${Name}` and `${Name.Attribute}`. Only names that occur are resolved.
    fn substitute(&self, text: &str) -> Result<String> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').context("Sub is not closed")?;
            whole.push_str(before);
            whole.push_str(&self.reference(name)?.unwrap_or_default());
            rest = after;
        }
        Ok(whole + rest)
    }

    fn condition(&self, name: &str) -> Result<bool> {
        let found = section(&self.root, "Conditions")?.get(name);
        self.holds(found.with_context(|| format!("there is no condition {name}"))?)
    }

    fn holds(&self, condition: &Value) -> Result<bool> {
        let Value::Tagged(tagged) = condition else {
            bail!("{condition:?} is not a condition");
        };
        let told = &tagged.value;
        Ok(match tagged.tag.to_string().as_str() {
            "!Condition" => self.condition(told.as_str().context("Condition of no name")?)?,
            "!Equals" => {
                let [one, other] = items(told)? else {
                    bail!("Equals needs two values")
                };
                self.text(one)? == self.text(other)?
            }
            "!Not" => {
                let [one] = items(told)? else {
                    bail!("Not needs one value")
                };
                !self.holds(one)?
            }
            "!And" => self.all(told)?.into_iter().all(|it| it),
            "!Or" => self.all(told)?.into_iter().any(|it| it),
            tag => bail!("the function {tag} is not supported in conditions"),
        })
    }

    fn all(&self, conditions: &Value) -> Result<Vec<bool>> {
        items(conditions)?.iter().map(|it| self.holds(it)).collect()
    }
}

fn section<'a>(root: &'a Mapping, name: &str) -> Result<&'a Mapping> {
    let found = root.get(name).and_then(Value::as_mapping);
    found.with_context(|| format!("the template has no {name}"))
}

fn items(value: &Value) -> Result<&[Value]> {
    let items = value.as_sequence().context("not a list")?;
    ensure!(!items.is_empty(), "an empty list");
    Ok(items)
}

/// Text, a number or a boolean, as CloudFormation passes it on.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
Parameters:
  Name: { Type: String, Default: "" }
  Most: { Type: Number, Default: 7 }
  List: { Type: CommaDelimitedList, Default: "a,b" }
Conditions:
  Named: !Not [!Equals [!Ref Name, ""]]
  Either: !Or [!Condition Named, !Equals [!Ref Most, "7"]]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Condition: Either
    Properties:
      QueueName: !Sub ${AWS::StackName}-q
      Most: !Ref Most
      Url: !If [Named, !Sub "https://${Name}", !Join ["/", [!GetAtt Api.Endpoint, x, !Ref AWS::NoValue]]]
      List: !Join ["-", !Ref List]
      Chosen: !Select [1, [!Ref Unknown, !Ref Most]]
      Odd: !FindInMap [a, b, c]
  Other:
    Type: AWS::SQS::Queue
    Condition: Named
"#;

    fn template() -> Template {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TEMPLATE).unwrap();
        let mut template = Template::read(file.path(), BTreeMap::new()).unwrap();
        template.define("AWS::StackName", "s");
        template.define("Api.Endpoint", "http://a");
        template
    }

    #[test]
    fn functions_are_resolved() {
        let template = template();
        let queues = template.resources("AWS::SQS::Queue").unwrap();
        let [("Queue", properties)] = queues[..] else {
            panic!("{queues:?}");
        };
        let property = |name| template.property(properties, name);
        assert_eq!(property("QueueName").unwrap(), "s-q");
        assert_eq!(property("Most").unwrap(), "7");
        assert_eq!(property("Url").unwrap(), "http://a/x");
        assert_eq!(property("List").unwrap(), "a-b");
        assert_eq!(property("Chosen").unwrap(), "7");
    }

    #[test]
    fn a_nested_stack_gets_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("inner.yaml"), TEMPLATE).unwrap();
        let nested = |parameters: &str| {
            let stack = format!("TemplateURL: ./inner.yaml\nParameters: {parameters}");
            template().nested(dir.path(), &serde_yaml_ng::from_str(&stack).unwrap())
        };
        let mut inner = nested("{ Name: !Sub 'of ${Most}', Most: 8 }").unwrap();
        inner.define("AWS::StackName", "inner");
        let queues = inner.resources("AWS::SQS::Queue").unwrap();
        assert_eq!(queues.len(), 2, "both conditions hold");
        assert_eq!(inner.property(queues[0].1, "Url").unwrap(), "https://of 7");
        assert!(nested("{ Unknown: key }").is_err());
    }

    #[test]
    fn unknown_functions_are_errors() {
        let template = template();
        let queues = template.resources("AWS::SQS::Queue").unwrap();
        assert!(template.property(queues[0].1, "Odd").is_err());
        assert!(template.property(queues[0].1, "Absent").is_err());
        assert!(
            template
                .text(&serde_yaml_ng::from_str("!Ref Unknown").unwrap())
                .is_err()
        );
    }
}
