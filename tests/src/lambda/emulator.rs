//! The emulator: starts what a configuration declares, and ends it together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::{Config, Route};
use super::function::Function;
use super::http::{self, HttpApi, Routes};
use super::keeper::Keeper;
use super::sqs::Mapping;
use super::tasks::Tasks;

/// How long an orderly shutdown waits for running invocations.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// AWS from a function's point of view. All its processes die with it, even if the test itself is killed.
#[derive(Debug)]
pub struct Emulator {
    url: String,
    functions: BTreeMap<String, Arc<Function>>,
    mappings: Vec<Arc<Mapping>>,
    stop: watch::Sender<bool>,
    tasks: Tasks,
    // Last: dropping it kills all remaining processes.
    _keeper: Keeper,
}

impl Emulator {
    /// Starts the HTTP API and the mappings. Instances start when they are needed.
    ///
    /// # Errors
    /// The configuration names something that doesn't exist, AWS would reject a mapping, or no port is free.
    pub async fn start(config: Config) -> Result<Self> {
        let (tasks, keeper) = (Tasks::new(), Keeper::start()?);
        let mut functions = BTreeMap::new();
        for function in &config.functions {
            ensure!(
                function.concurrency > 0,
                "the concurrency of function {} is 0",
                function.name
            );
            let new = Arc::new(Function::new(function, &config, keeper.group(), tasks.clone()));
            ensure!(
                functions.insert(function.name.clone(), new).is_none(),
                "two functions are called {}",
                function.name
            );
        }
        let named = |name: &str| {
            functions
                .get(name)
                .cloned()
                .with_context(|| format!("no function is called {name}"))
        };
        let target = |route: &Route| Ok((route.key.clone(), named(&route.function)?));
        let routes = Routes::new(config.routes.iter().map(target).collect::<Result<Vec<_>>>()?)?;
        let mut mappings = Vec::new();
        for mapping in config.mappings {
            let function = named(&mapping.function)?;
            mappings.push(Mapping::new(mapping, function, tasks.clone()).await?);
        }

        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("can't listen on {}", config.listen))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = watch::channel(false);
        tasks.spawn(http::serve(
            listener,
            Arc::new(HttpApi {
                routes,
                integration_timeout: config.integration_timeout,
            }),
        ));
        for mapping in &mappings {
            tasks.spawn(Arc::clone(mapping).poll(stopped.clone()));
        }
        for function in functions.values() {
            tasks.spawn(Arc::clone(function).reap_idle());
        }
        Ok(Self {
            url,
            functions,
            mappings,
            stop,
            tasks,
            _keeper: keeper,
        })
    }

    /// Address of the HTTP API, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A function by its name.
    ///
    /// # Panics
    /// No function has this name, which is an error in the test.
    pub fn function(&self, name: &str) -> &Arc<Function> {
        self.functions
            .get(name)
            .unwrap_or_else(|| panic!("no function is called {name}"))
    }

    /// All functions, by name.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values()
    }

    /// Kills every instance of every function with SIGKILL. New ones start when they are needed.
    pub async fn kill_all(&self) {
        for function in self.functions() {
            function.kill_all().await;
        }
    }

    /// Ends in order: stops polling, waits up to 10 s for running invocations, then ends all instances.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for mapping in &self.mappings {
            mapping.drain(SHUTDOWN_GRACE).await;
        }
        for function in self.functions() {
            function.shut_down(SHUTDOWN_GRACE).await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Busy instances die with the tasks that own them.
        self.tasks.abort();
        for function in self.functions() {
            function.drop_idle();
        }
    }
}
