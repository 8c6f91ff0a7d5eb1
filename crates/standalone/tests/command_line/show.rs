//! `tieline get`, `describe`, `logs` and `doctor`.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bridge::{Bridge, PATIENCE, read_lines};
use crate::fake::Fake;

const WECOM: &str = "
integrations:
  - {name: Bot, platform: wecom, connectionMode: webhook, language: en,
     credentials: {token: t, encodingAesKey: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG}}
";

#[test]
fn resources_are_listed_and_shown_by_id_and_name() {
    let bridge = Bridge::start();
    let table = bridge.tieline(&["get", "integrations"]).good();
    let mut lines = table.lines();
    let titles = lines.next().unwrap();
    assert!(titles.starts_with("ID ") && titles.contains(" STATE "), "{table}");
    let row = lines.next().unwrap();
    assert!(
        row.contains("Playground") && row.contains("web") && row.contains(" connected "),
        "{table}"
    );
    let id = row.split_whitespace().next().unwrap();
    assert_eq!(bridge.tieline(&["get", "integration", id]).good(), table);
    assert_eq!(bridge.tieline(&["get", "integration", "Playground"]).good(), table);
    let list: Value = serde_json::from_str(&bridge.tieline(&["get", "integrations", "-o", "json"]).good()).unwrap();
    let one: Value =
        serde_json::from_str(&bridge.tieline(&["get", "integrations", id, "--output=json"]).good()).unwrap();
    assert_eq!(list["items"][0], one);
    assert_eq!(one["id"], id);
    let trigger = bridge.tieline(&["get", "trigger"]).good();
    assert!(
        trigger.contains("Playground") && trigger.contains("Echo"),
        "names, not ids: {trigger}"
    );
    for kind in ["orgs", "users", "messages", "tokens", "platforms", "deadletters"] {
        bridge.tieline(&["get", kind]).good();
    }
}

#[test]
fn describe_includes_related_resources() {
    let bridge = Bridge::start();
    let said = bridge.tieline(&["describe", "integration", "Playground"]).good();
    for expected in [
        "name: Playground",
        "status:",
        "state: connected",
        "triggers:",
        "agent: Echo",
        "logs:",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    let agent: Value =
        serde_json::from_str(&bridge.tieline(&["describe", "agents", "Echo", "-o", "json"]).good()).unwrap();
    assert_eq!(agent["triggers"][0]["integration"], "Playground");
}

#[test]
fn truncated_list_says_so() {
    let bridge = Bridge::start();
    let two = bridge.file("a.yaml", "agents: [{name: Second, protocol: echo}]");
    bridge.tieline(&["apply", "-f", &two]).good();
    let expected = "tieline: there are more: raise --limit to see them\n";
    for command in ["get", "describe"] {
        let cut = bridge.tieline(&[command, "agents", "--limit", "1"]);
        assert_eq!((cut.code, &*cut.err), (Some(0), expected), "{cut:?}");
        for limit in ["2", "3"] {
            let whole = bridge.tieline(&[command, "agents", "--limit", limit]).good();
            assert!(whole.lines().count() > cut.out.lines().count(), "{whole}");
        }
    }
    // In JSON it is part of the output.
    let cut = bridge.tieline(&["get", "agents", "--limit", "1", "-o", "json"]).good();
    let cut: Value = serde_json::from_str(&cut).unwrap();
    assert_eq!(cut["truncated"], true);
}

#[test]
fn missing_resource_is_reported_in_a_sentence() {
    let bridge = Bridge::start();
    let none = bridge.tieline(&["get", "agent", "Unknown"]).bad();
    assert_eq!(
        none,
        "tieline: there is no agent with the id or name \"Unknown\" in the organization \"default\"\n"
    );
    let org = bridge.tieline(&["get", "agents", "--org", "nowhere"]).bad();
    assert!(org.contains("no such organization"), "{org}");
    let kind = bridge.tieline(&["get", "bots"]);
    assert_eq!(kind.code, Some(2));
    assert!(
        kind.err.contains("expected one of organizations, integrations"),
        "{}",
        kind.err
    );
    let log = bridge.tieline(&["logs", "Unknown"]).bad();
    assert!(log.contains("there is no integration"), "{log}");
}

#[test]
fn messages_of_one_integration_are_found() {
    let bridge = Bridge::start();
    bridge.typed(&["chat"], "hello\n").good();
    let all = bridge.tieline(&["get", "messages"]).good();
    assert!(all.contains("answered") && all.contains("Playground"), "{all}");
    bridge.tieline(&["apply", "-f", &bridge.file("a.yaml", WECOM)]).good();
    assert_eq!(
        bridge.tieline(&["get", "messages", "--integration", "Bot"]).good(),
        "no messages\n"
    );
    assert_eq!(
        bridge
            .tieline(&["get", "messages", "--integration", "Playground"])
            .good(),
        all
    );
    let conversations = bridge
        .tieline(&["get", "conversations", "--integration", "Playground"])
        .good();
    assert!(conversations.contains("terminal"), "{conversations}");
}

#[test]
fn followed_log_shows_new_lines() {
    let bridge = Bridge::start();
    bridge.tieline(&["apply", "-f", &bridge.file("a.yaml", WECOM)]).good();
    let one: Value =
        serde_json::from_str(&bridge.tieline(&["get", "integration", "Bot", "-o", "json"]).good()).unwrap();
    let mut logs = bridge
        .command_of(&["logs", "Bot", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = read_lines(logs.stdout.take().unwrap());
    let made = lines.recv_timeout(PATIENCE).unwrap();
    assert!(
        made.contains("INFO") && made.contains("created by the root token"),
        "{made}"
    );
    let forged = format!(
        "{}?msg_signature=x&timestamp=1&nonce=1&echostr=x",
        one["callbackUrl"].as_str().unwrap()
    );
    let status = get(&forged);
    let line = lines.recv_timeout(PATIENCE);
    let more = lines.recv_timeout(Duration::from_millis(2500));
    logs.kill().unwrap();
    logs.wait().unwrap();
    assert_eq!(status, 401);
    let line = line.unwrap();
    assert!(line.contains("WARN") && line.contains("signature"), "{line}");
    assert!(more.is_err(), "shown twice: {more:?}");
    let shown = bridge.tieline(&["logs", "Bot"]).good();
    assert!(shown.contains(&line), "{shown}");
}

#[test]
fn followed_log_survives_an_outage() {
    let n_looks = AtomicUsize::new(0);
    let fake = Fake::start(move |_, path, _| {
        if !path.contains("/logs") {
            return Some((200, json!({ "id": "int_1" }).to_string()));
        }
        let line = |code: &str| json!({ "at": code, "level": "info", "code": code, "message": "m" });
        let lines = match n_looks.fetch_add(1, Ordering::Relaxed) {
            0 => json!([line("1")]),
            1 => return Some((502, "<html>Bad Gateway</html>".to_owned())),
            2 => return Some((503, json!({ "code": "unavailable", "detail": "try again" }).to_string())),
            _ => json!([line("2"), line("1")]),
        };
        Some((200, json!({ "items": lines, "nextCursor": null }).to_string()))
    });
    let mut logs = fake.command_of(&["logs", "Bot", "-f"]);
    let mut logs = logs.stdout(Stdio::piped()).spawn().unwrap();
    let lines = read_lines(logs.stdout.take().unwrap());
    let seen = [lines.recv_timeout(PATIENCE), lines.recv_timeout(PATIENCE)];
    logs.kill().unwrap();
    logs.wait().unwrap();
    let seen = seen.map(Result::unwrap);
    assert_eq!(seen, ["1  INFO   1  m", "2  INFO   2  m"]);
}

#[test]
fn doctor_fails_where_something_is_wrong() {
    let bridge = Bridge::start();
    let well = bridge.tieline(&["doctor", "Playground"]).good();
    assert!(well.ends_with("All is well.\n"), "{well}");
    bridge.tieline(&["apply", "-f", &bridge.file("a.yaml", WECOM)]).good();
    let ill = bridge.tieline(&["doctor", "Bot"]);
    assert_eq!((ill.code, &*ill.err), (Some(1), ""), "{}", ill.out);
    assert!(
        ill.out.contains("FAILED") && ill.out.contains("\nCause: ") && ill.out.contains("\nNext:  "),
        "{}",
        ill.out
    );
}

#[test]
fn doctor_prints_the_command_that_fixes_it() {
    let bridge = Bridge::start();
    bridge.tieline(&["stop", "Playground", "--yes"]).good();
    let ill = bridge.tieline(&["doctor", "Playground"]);
    assert!(ill.out.ends_with("\nRun:   tieline start Playground\n"), "{}", ill.out);
    bridge.tieline(&["start", "Playground"]).good();
    let well = bridge.tieline(&["doctor", "Playground"]).good();
    assert!(well.ends_with("All is well.\n"), "{well}");
}

/// The status of a GET, with a minimal HTTP client.
fn get(url: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
