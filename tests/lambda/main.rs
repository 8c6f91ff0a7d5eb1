//! The whole path of a message through the release binaries of the functions and of the relay: once over the embedded engines, once over servers
//! that are independent (`tests/oracles.sh`). Nothing is left out silently: what is missing fails.
//!
//! Needs `cargo build --release`.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod answers;
mod containers;
mod every_platform;
mod faults;
mod sockets;

use std::time::Duration;

use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::cloud::{Cloud, Plan, Servers};

/// Limit of every wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every scenario over both kinds of servers.
macro_rules! scenarios {
    ($($module:ident::$name:ident),+ $(,)?) => {
        mod over_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(super::Servers::embedded().await.unwrap()).await;
            })+
        }
        mod over_servers_from_elsewhere {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(super::Servers::elsewhere().unwrap()).await;
            })+
        }
    };
}

scenarios![
    answers::callback_becomes_a_growing_answer,
    answers::callback_by_the_function_url_becomes_a_growing_answer,
    answers::typed_message_is_answered_in_pieces,
    answers::callback_sent_five_times_is_answered_once,
    answers::bad_proof_and_probes_get_flat_answers,
    faults::unreadable_event_holds_back_nobody,
    faults::run_that_outlives_its_function_ends_with_a_word,
    faults::run_that_outlives_its_function_is_resumed,
    faults::killed_runner_is_replaced,
    faults::killed_runner_resumes_the_run,
    faults::deploy_loses_and_doubles_nothing,
    every_platform::every_mode_answers_once_and_exactly,
    containers::killed_container_is_replaced_by_another,
    containers::deploy_of_containers_loses_and_doubles_nothing,
    containers::sockets_of_containers_are_handed_over_in_the_middle,
    sockets::sockets_carry_questions_and_answers,
    sockets::relay_and_functions_are_replaced_in_the_middle,
];

async fn deploy(servers: Servers, plan: &Plan) -> Cloud {
    Cloud::deploy(servers, plan).await.unwrap()
}

/// An agent that writes its answer in pieces with a pause between two.
async fn writer(between: Duration, answer: fn(&str) -> Vec<String>) -> FakeAgent {
    let manner = Manner {
        between,
        answer,
        ..Manner::default()
    };
    FakeAgent::start(manner).await
}

/// What the operator creates for our own channel.
fn web(name: &str) -> serde_json::Value {
    serde_json::json!({ "name": name, "platform": "web", "connectionMode": "webhook" })
}
