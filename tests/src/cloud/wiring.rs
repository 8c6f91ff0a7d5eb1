//! Converts `infra/template.yaml` into the emulator's configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_yaml_ng::Value;
use tieline_aws::environment::variables;
use tieline_queue::Urls;
use tieline_store::Tables;

use super::Plan;
use crate::lambda::{FunctionConfig, MappingConfig, Route};
use crate::process::{ADMIN_TOKEN, binary};
use crate::template::Template;

const FUNCTION: &str = "AWS::Serverless::Function";

pub(super) struct Wiring {
    template: Template,
    /// The address of each queue, by the ARN that the template's `GetAtt` resolves to here.
    queues: BTreeMap<String, String>,
    stack: String,
}

impl Wiring {
    /// Reads the template for a stack whose tables and queues exist, and whose names must be the template's.
    pub(super) fn read(stack: &str, plan: &Plan, tables: &Tables, urls: &Urls, key: &str, url: &str) -> Result<Self> {
        // The image's name doesn't matter: with any name the template has a relay.
        let given = [("RelayImage", "relay@sha256:0"), ("Runs", plan.runs)];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut template = Template::read(&infra().join("template.yaml"), given)?;
        template.define("AWS::StackName", stack);
        for unused in [
            "Images.Arn",
            "RelayRole.Arn",
            "RunnerRole.Arn",
            "RelayLogs",
            "RunnerLogs",
        ] {
            template.define(unused, "not on this machine");
        }
        template.define("Key.Arn", key);
        template.define("Api.ApiEndpoint", url);
        template.define("AdminToken", "admin-token");
        let mut queues = BTreeMap::new();
        let known = [&urls.inbound, &urls.work].into_iter().chain(&urls.relay);
        let known: Vec<&String> = known.collect();
        let mut defined = Vec::new();
        for (name, properties) in template.resources("AWS::SQS::Queue")? {
            let queue = template.property(properties, "QueueName")?;
            if let Some(url) = known.iter().find(|url| url.ends_with(&format!("/{queue}"))) {
                defined.push((name.to_owned(), (*url).clone()));
                defined.push((format!("{name}.Arn"), name.to_owned()));
                queues.insert(name.to_owned(), (*url).clone());
            }
        }
        ensure!(
            queues.len() == known.len(),
            "the template has other queues than the programs"
        );
        for (name, properties) in template.resources("AWS::DynamoDB::Table")? {
            let table = template.property(properties, "TableName")?;
            let known = [&tables.config, &tables.state, &tables.leases];
            ensure!(known.contains(&&table), "the programs have no table {table}");
            defined.push((name.to_owned(), table));
        }
        for (name, value) in defined {
            template.define(name, value);
        }
        Ok(Self {
            template,
            queues,
            stack: stack.to_owned(),
        })
    }

    pub(super) fn functions(&self, plan: &Plan, local: &[(&str, String)]) -> Result<Vec<FunctionConfig>> {
        let functions = self.template.resources(FUNCTION)?;
        let function = |(_, properties): &(&str, &Value)| self.function(properties, plan, local);
        functions.iter().map(function).collect()
    }

    fn function(&self, properties: &Value, plan: &Plan, local: &[(&str, String)]) -> Result<FunctionConfig> {
        let name = self.name_of(properties)?;
        let seconds: u64 = self.template.property(properties, "Timeout")?.parse()?;
        let timeout = plan.runner_timeout.filter(|_| name == "runner");
        Ok(FunctionConfig {
            env: self.environment(properties, local)?,
            timeout: timeout.unwrap_or(Duration::from_secs(seconds)),
            memory_mb: self.template.property(properties, "MemorySize")?.parse()?,
            concurrency: plan.concurrency,
            ..FunctionConfig::new(name.clone(), binary(&name)?)
        })
    }

    /// A function's name is that of its binary, behind the stack's name.
    fn name_of(&self, properties: &Value) -> Result<String> {
        let name = self.template.property(properties, "FunctionName")?;
        let name = name.strip_prefix(&format!("{}-", self.stack)).map(str::to_owned);
        name.context("the function's name does not begin with the stack's")
    }

    fn environment(&self, properties: &Value, local: &[(&str, String)]) -> Result<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for source in [self.template.globals()?, properties] {
            let Some(told) = source.get("Environment").and_then(|it| it.get("Variables")) else {
                continue;
            };
            for (name, value) in told.as_mapping().context("variables are no mapping")? {
                if let Some(value) = self.template.text(value)? {
                    env.insert(name.as_str().context("a variable without a name")?.to_owned(), value);
                }
            }
        }
        // CloudFormation would insert the secret's value there.
        if let Some(token) = env.get_mut(variables::ADMIN_TOKEN) {
            ADMIN_TOKEN.clone_into(token);
        }
        Ok(on_this_machine(env, local))
    }

    /// The environment of the relay's container, from the nested stack.
    pub(super) fn relay(&self, local: &[(&str, String)]) -> Result<BTreeMap<String, String>> {
        let stacks = self.template.resources("AWS::CloudFormation::Stack")?;
        let stack = stacks.iter().find(|(name, _)| *name == "Containers");
        let (_, stack) = stack.context("the template has no nested stack of containers")?;
        let inner = self.template.nested(&infra(), stack)?;
        let tasks = inner.resources("AWS::ECS::TaskDefinition")?;
        let task = tasks
            .iter()
            .find(|(name, _)| *name == "RelayTask")
            .context("the nested stack has no relay task")?
            .1;
        let containers = task.get("ContainerDefinitions").and_then(Value::as_sequence);
        let [container] = containers.map_or(&[][..], Vec::as_slice) else {
            anyhow::bail!("the relay task must have one container");
        };
        let mut env = BTreeMap::new();
        let told = container.get("Environment").and_then(Value::as_sequence);
        for variable in told.context("the relay has no environment")? {
            let (name, value) = (inner.property(variable, "Name")?, inner.property(variable, "Value")?);
            env.insert(name, value);
        }
        Ok(on_this_machine(env, local))
    }

    pub(super) fn routes(&self) -> Result<Vec<Route>> {
        let targets = self.targets()?;
        let routes = self.template.resources("AWS::ApiGatewayV2::Route")?;
        let route = |(_, properties): &(&str, &Value)| {
            let target = properties.get("Target").context("a route has no target")?;
            // `!Sub integrations/${Name}`
            let Value::Tagged(sub) = target else {
                anyhow::bail!("{target:?} is not an integration");
            };
            let name = sub
                .value
                .as_str()
                .and_then(|it| it.strip_prefix("integrations/${")?.strip_suffix('}'));
            let function = name
                .and_then(|name| targets.get(name))
                .context("a route's target does not exist")?;
            Ok(Route::new(self.template.property(properties, "RouteKey")?, function))
        };
        routes.iter().map(route).collect()
    }

    /// The function of each integration of the HTTP API.
    fn targets(&self) -> Result<BTreeMap<String, String>> {
        let mut names = BTreeMap::new();
        for (name, properties) in self.template.resources(FUNCTION)? {
            names.insert(format!("{name}.Arn"), self.name_of(properties)?);
        }
        let mut targets = BTreeMap::new();
        for (name, properties) in self.template.resources("AWS::ApiGatewayV2::Integration")? {
            ensure!(
                self.template.property(properties, "PayloadFormatVersion")? == "2.0",
                "another payload format"
            );
            let Some(Value::Tagged(arn)) = properties.get("IntegrationUri") else {
                anyhow::bail!("the integration {name} calls no function");
            };
            let function = arn.value.as_str().and_then(|arn| names.get(arn));
            targets.insert(name.to_owned(), function.context("an unknown function")?.clone());
        }
        Ok(targets)
    }

    pub(super) fn mappings(&self, client: &aws_sdk_sqs::Client) -> Result<Vec<MappingConfig>> {
        let mut mappings = Vec::new();
        for (_, properties) in self.template.resources(FUNCTION)? {
            let function = self.name_of(properties)?;
            let events = properties.get("Events").and_then(Value::as_mapping);
            for event in events.into_iter().flat_map(serde_yaml_ng::Mapping::values) {
                ensure!(
                    event.get("Type").and_then(Value::as_str) == Some("SQS"),
                    "an event of another type"
                );
                let told = event.get("Properties").context("an event has no properties")?;
                mappings.push(self.mapping(client, &function, told)?);
            }
        }
        Ok(mappings)
    }

    fn mapping(&self, client: &aws_sdk_sqs::Client, function: &str, told: &Value) -> Result<MappingConfig> {
        let queue = self.template.property(told, "Queue")?;
        let url = self.queues.get(&queue).context("a mapping has an unknown queue")?;
        let reports = told.get("FunctionResponseTypes").and_then(Value::as_sequence);
        let scaling = told.get("ScalingConfig");
        let maximum = scaling
            .map(|it| self.template.property(it, "MaximumConcurrency"))
            .transpose()?;
        Ok(MappingConfig {
            batch_size: self.template.property(told, "BatchSize")?.parse()?,
            maximum_concurrency: maximum.map(|it| it.parse()).transpose()?,
            report_batch_item_failures: reports
                .is_some_and(|it| it.iter().any(|kind| kind.as_str() == Some("ReportBatchItemFailures"))),
            ..MappingConfig::new(client.clone(), url, function)
        })
    }
}

/// Adds the settings that only a test machine needs.
fn on_this_machine(mut env: BTreeMap<String, String>, local: &[(&str, String)]) -> BTreeMap<String, String> {
    env.insert(variables::ALLOW_PRIVATE.to_owned(), "true".to_owned());
    env.extend(local.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    env
}

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra")
}
