//! The whole path of a message through the release binaries of the functions and of the relay: once over the embedded engines, once over
//! independent servers (`tests/oracles.sh`). No scenario is skipped silently: a missing server or binary fails.
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

/// Limit of every wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Generates each scenario for both kinds of servers.
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
    answers::typed_message_is_answered_in_pieces,
    answers::callback_sent_five_times_is_answered_once,
    answers::unsigned_callbacks_and_probes_get_uniform_answers,
    faults::unreadable_event_delays_no_other_chat,
    faults::run_that_outlives_its_function_is_shown_as_incomplete,
    faults::run_that_outlives_its_function_is_resumed,
    faults::killed_runner_is_replaced,
    faults::killed_runner_resumes_the_run,
    faults::deploy_loses_and_repeats_no_answer,
    every_platform::every_mode_shows_the_exact_answer_once,
    containers::killed_container_is_replaced_by_another,
    containers::deploy_of_containers_loses_and_repeats_no_answer,
    containers::sockets_of_containers_are_handed_over_during_answers,
    sockets::sockets_carry_questions_and_answers,
    sockets::relay_and_functions_are_replaced_during_answers,
];

async fn deploy(servers: Servers, plan: &Plan) -> Cloud {
    Cloud::deploy(servers, plan).await.unwrap()
}

/// An agent that streams its answer in pieces with a pause between two.
async fn writer(between: Duration, answer: fn(&str) -> Vec<String>) -> FakeAgent {
    let manner = Manner {
        between,
        answer,
        ..Manner::default()
    };
    FakeAgent::start(manner).await
}

/// Request body that creates a bot on our own channel.
fn web(name: &str) -> serde_json::Value {
    serde_json::json!({ "name": name, "platform": "web", "connectionMode": "webhook" })
}
