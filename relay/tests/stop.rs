//! The relay's end, as its container sees it.

use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn sigterm_ends_it_while_its_table_does_not_answer() {
    let table = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", table.local_addr().unwrap());
    let variables = [
        ("TIELINE_CONFIG_TABLE", "config"),
        ("TIELINE_STATE_TABLE", "state"),
        ("TIELINE_LEASES_TABLE", "leases"),
        ("TIELINE_INBOUND_QUEUE_URL", &*address),
        ("TIELINE_WORK_QUEUE_URL", &*address),
        ("TIELINE_PUBLIC_URL", "https://bridge.example"),
        ("TIELINE_KMS_KEY_ID", "key"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &*address),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let mut relay = Command::new(env!("CARGO_BIN_EXE_relay"))
        .env_clear()
        .envs(variables)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (_open, _) = table.accept().unwrap();
    let told = Command::new("kill").arg(relay.id().to_string()).status().unwrap();
    assert!(told.success(), "{told}");
    let ended = relay.wait().unwrap();
    assert!(ended.success(), "{ended}");
}
