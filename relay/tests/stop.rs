//! Shutdown of the relay, as its container sees it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn sigterm_ends_the_relay_while_its_table_does_not_answer() {
    let table = TcpListener::bind("127.0.0.1:0").unwrap();
    table.set_nonblocking(true).unwrap();
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
    let ended = |relay: &mut Child| relay.try_wait().unwrap();
    let _open = within(|| {
        assert_eq!(ended(&mut relay), None, "it ended before it was asked to");
        table.accept().ok()
    });
    let told = Command::new("kill").arg(relay.id().to_string()).status().unwrap();
    assert!(told.success(), "{told}");
    let ended = within(|| ended(&mut relay));
    assert!(ended.success(), "{ended}");
}

/// Polls until `look` returns something.
fn within<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "nothing happens");
        sleep(Duration::from_millis(20));
    }
}
