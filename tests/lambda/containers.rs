//! Relay containers that run agents too: no function waits for an agent.

use std::time::Duration;

use tieline_tests::cloud::{Cloud, Plan, Servers};

use super::{deploy, faults, sockets};

async fn deployed(servers: Servers) -> Cloud {
    let cloud = deploy(servers, &plan()).await;
    let mut functions = cloud.emulator.functions();
    assert!(
        functions.all(|it| it.name() != "runner"),
        "no runner function may be deployed beside containers"
    );
    drop(functions);
    cloud
}

fn plan() -> Plan {
    Plan {
        runs: "container",
        ..Plan::default()
    }
}

/// The container that asked the agent is killed; another, running container asks again when the lease has expired.
pub(crate) async fn killed_container_is_replaced_by_another(servers: Servers) {
    let cloud = deployed(servers).await;
    let mut first = cloud.relay("first").unwrap();
    let mut second = None;
    let kill = async || {
        first.kill();
        second = Some(cloud.relay("second").unwrap());
    };
    faults::answer_after_a_kill(&cloud, kill).await;
}

/// Deploys like ECS: the new container starts first, then the old one is asked to stop.
pub(crate) async fn deploy_of_containers_loses_and_repeats_no_answer(servers: Servers) {
    let cloud = deployed(servers).await;
    let mut container = cloud.relay("version0").unwrap();
    let deploy = async |version: usize| {
        let new = cloud.relay(&format!("version{version}")).unwrap();
        container.terminate();
        assert!(container.ended(Duration::from_secs(110)).await, "{}", container.log());
        container = new;
    };
    faults::answers_through_two_deploys(&cloud, deploy).await;
}

pub(crate) async fn sockets_of_containers_are_handed_over_during_answers(servers: Servers) {
    sockets::replaced_during_answers(servers, &plan()).await;
}
