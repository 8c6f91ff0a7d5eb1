//! Commands that act on one resource.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bridge::{Bridge, PATIENCE, Said};
use crate::fake::Fake;

fn json(bridge: &Bridge, words: &[&str]) -> Value {
    let words = [&["get"], words, &["-o", "json"]].concat();
    serde_json::from_str(&bridge.tieline(&words).good()).unwrap()
}

#[track_caller]
fn refused_without_yes(bridge: &Bridge, words: &[&str], what: &str) {
    let said = bridge.tieline(words).bad();
    assert!(said.contains(what) && said.contains("add --yes"), "{said}");
}

#[test]
fn integrations_are_stopped_and_started() {
    let bridge = Bridge::start();
    let enabled = || json(&bridge, &["integration", "Playground"])["enabled"].clone();
    refused_without_yes(&bridge, &["stop", "Playground"], "answered by: Echo");
    assert_eq!(enabled(), true);
    assert_eq!(
        bridge.tieline(&["stop", "Playground", "-y"]).good(),
        "integration Playground stopped\n"
    );
    assert_eq!(enabled(), false);
    assert_eq!(
        bridge.tieline(&["start", "Playground"]).good(),
        "integration Playground started\n"
    );
    assert_eq!(enabled(), true);
    assert_eq!(
        bridge.tieline(&["restart", "Playground"]).good(),
        "integration Playground restarted\n"
    );
    let none = bridge.tieline(&["start", "Nowhere"]).bad();
    assert!(
        none.contains("there is no integration with the id or name \"Nowhere\""),
        "{none}"
    );
}

#[test]
fn triggers_are_enabled_and_disabled_by_name() {
    let bridge = Bridge::start();
    let file = bridge.file(
        "a.yaml",
        "agents: [{name: Other, protocol: echo}]\ntriggers: [{integration: Playground, agent: Other, enabled: false}]",
    );
    refused_without_yes(
        &bridge,
        &["disable", "Playground"],
        "disable the trigger Playground -> Echo",
    );
    bridge.tieline(&["apply", "-f", &file]).good();
    let several = bridge.tieline(&["disable", "Playground", "--yes"]).bad();
    assert!(several.contains("has several triggers; say which: trg_"), "{several}");
    let bound = bridge.tieline(&["enable", "Playground -> Other"]).bad();
    assert!(bound.contains("integration_already_bound"), "{bound}");
    refused_without_yes(
        &bridge,
        &["enable", "Playground -> Other", "--takeover"],
        "enabled triggers: 1",
    );
    bridge
        .tieline(&["enable", "Playground -> Other", "--takeover", "--yes"])
        .good();
    let answering = || -> Vec<Value> {
        let triggers = json(&bridge, &["triggers"]);
        let items = triggers["items"].as_array().unwrap().clone();
        items.into_iter().filter(|trigger| trigger["enabled"] == true).collect()
    };
    assert_eq!(answering()[0]["agentId"], json(&bridge, &["agent", "Other"])["id"]);
    let id = answering()[0]["id"].as_str().unwrap().to_owned();
    bridge.tieline(&["disable", &id, "--yes"]).good();
    assert!(answering().is_empty());
}

#[test]
fn the_way_back_from_a_takeover_names_the_organization() {
    let bridge = Bridge::start();
    let file = bridge.file(
        "a.yaml",
        "organizations: [{id: acme, name: Acme, agents: [{name: One, protocol: echo}, {name: Two, protocol: echo}],
          integrations: [{name: Page, platform: web}], triggers: [{integration: Page, agent: One},
          {integration: Page, agent: Two, enabled: false}]}]",
    );
    bridge.tieline(&["apply", "-f", &file]).good();
    let taken = bridge
        .tieline(&["enable", "Page -> Two", "--takeover", "--yes", "--org", "acme"])
        .good();
    let (_, back) = taken.split_once("to go back: tieline ").unwrap();
    let words: Vec<&str> = back.split_whitespace().chain(["--yes"]).collect();
    let back = bridge.tieline(&words).good();
    assert!(back.starts_with("trigger Page -> One enabled\n"), "{back}");
}

#[test]
fn deleting_shows_who_is_affected_and_asks() {
    let bridge = Bridge::start();
    refused_without_yes(&bridge, &["delete", "agent", "Echo"], "enabled triggers: 1");
    refused_without_yes(&bridge, &["delete", "integration", "Playground"], "answered by: Echo");
    assert_eq!(
        bridge.tieline(&["delete", "integration", "Playground", "--yes"]).good(),
        "integration Playground deleted\n"
    );
    assert_eq!(bridge.tieline(&["get", "triggers"]).good(), "no triggers\n");
    assert_eq!(
        bridge.tieline(&["delete", "agents", "Echo", "--yes"]).good(),
        "agent Echo deleted\n"
    );
    let wrong = bridge.tieline(&["delete", "message", "x", "--yes"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        wrong.err.contains("integration, agent, trigger, user, token"),
        "{wrong:?}"
    );
}

#[test]
fn data_keys_are_rotated_and_stored_in_their_own_files() {
    let bridge = Bridge::start();
    let one = bridge.tieline(&["keys", "show"]).good();
    assert!(
        one.contains("VERSION") && one.contains("no rotation is under way"),
        "{one}"
    );
    refused_without_yes(
        &bridge,
        &["keys", "rotate", "--retire-now"],
        "messages that have waited",
    );
    assert_eq!(bridge.tieline(&["keys", "show"]).good(), one);
    bridge.tieline(&["keys", "rotate"]).good();
    let began = Instant::now();
    while !bridge.tieline(&["keys", "show"]).good().contains("were sealed again") {
        assert!(began.elapsed() < PATIENCE, "the rotation ends");
        thread::sleep(Duration::from_millis(100));
    }
    // Data sealed before the rotation is still readable, also by the next process, and the second key has a file of its own.
    assert_eq!(json(&bridge, &["agent", "Echo"])["protocol"], "echo");
    let files = fs::read_dir(bridge.dir.path().join("data")).unwrap();
    let keys = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(keys.filter(|name| name.ends_with(".key")).count(), 2);
    let rights = bridge.tieline(&["token", "create", "ci", "--role", "admin"]);
    let member = rights.out.trim().to_owned();
    let refused = Said::of(
        bridge
            .command_of(&["keys", "rotate"])
            .env("TIELINE_ADMIN_TOKEN", member),
    )
    .bad();
    assert!(refused.contains("needs the root token"), "{refused}");
}

#[test]
fn tokens_and_organizations_are_created_and_listed() {
    let bridge = Bridge::start();
    assert_eq!(
        bridge.tieline(&["organization", "create", "acme", "Acme"]).good(),
        "organization acme created\n"
    );
    assert!(bridge.tieline(&["organization", "list"]).good().contains("Acme"));
    let made = bridge.tieline(&["token", "create", "ci", "--role", "admin", "--org", "acme"]);
    assert!(
        made.out.starts_with("tl_") && made.err.contains("shown this once"),
        "{made:?}"
    );
    let token = made.out.trim().to_owned();
    let as_member = |words: &[&str]| Said::of(bridge.command_of(words).env("TIELINE_ADMIN_TOKEN", &token));
    assert_eq!(as_member(&["get", "agents", "--org", "acme"]).good(), "no agents\n");
    assert_eq!(
        bridge.tieline(&["token", "list", "--org", "acme", "-o", "name"]).good(),
        "ci\n"
    );
    refused_without_yes(
        &bridge,
        &["token", "delete", "ci", "--org", "acme"],
        "delete the token ci",
    );
    bridge
        .tieline(&["token", "delete", "ci", "--org", "acme", "--yes"])
        .good();
    assert!(
        as_member(&["get", "agents", "--org", "acme"])
            .bad()
            .contains("doesn't know this token")
    );
}

#[test]
fn conversation_session_is_reset() {
    let bridge = Bridge::start();
    bridge.typed(&["chat"], "hello\n").good();
    let found = json(&bridge, &["conversations", "--integration", "Playground"]);
    let conversation = &found["items"][0];
    assert!(conversation["sessionId"].is_string(), "{found}");
    let chat = conversation["chatId"].as_str().unwrap();
    refused_without_yes(&bridge, &["reset", "Playground", chat], chat);
    bridge.tieline(&["reset", "Playground", chat, "--yes"]).good();
    let after = json(
        &bridge,
        &["conversations", "--integration", "Playground", "--search", chat],
    );
    assert_ne!(after["items"][0]["sessionId"], conversation["sessionId"]);
    let none = bridge.tieline(&["reset", "Playground", "nowhere", "--yes"]).bad();
    assert!(none.contains("there is no conversation"), "{none}");
}

#[test]
fn messages_are_found_by_time_state_person_and_text() {
    let bridge = Bridge::start();
    bridge.typed(&["chat"], "hello\n").good();
    let found = |more: &[&str]| {
        let shown = json(&bridge, &[&["messages"], more].concat());
        shown["items"].as_array().unwrap().len()
    };
    assert_eq!(found(&[]), 1);
    assert_eq!(
        found(&["--since", "1h", "--state", "answered", "--user", "terminal"]),
        1
    );
    assert_eq!(found(&["--state", "failed"]), 0);
    assert_eq!(found(&["--user", "unknown"]), 0);
    assert_eq!(found(&["--search", "no-such-id"]), 0);
    let wrong = bridge.tieline(&["get", "agents", "--since", "1h"]).bad();
    assert!(wrong.contains("--since is for lists of messages only"), "{wrong}");
    assert_eq!(bridge.tieline(&["get", "messages", "--since", "soon"]).code, Some(2));
}

#[test]
fn output_is_available_in_every_format() {
    let bridge = Bridge::start();
    let yaml = bridge
        .tieline(&["get", "integration", "Playground", "-o", "yaml"])
        .good();
    assert!(yaml.contains("\nname: Playground\n"), "{yaml}");
    assert_eq!(
        bridge.tieline(&["get", "integrations", "-o", "name"]).good(),
        "Playground\n"
    );
    // Every kind prints what commands accept.
    bridge.typed(&["chat"], "hello\n").good();
    for kind in [
        "organizations",
        "integrations",
        "agents",
        "triggers",
        "users",
        "messages",
        "platforms",
    ] {
        let names = bridge.tieline(&["get", kind, "-o", "name"]).good();
        let name = names.lines().next().unwrap();
        let one = bridge.tieline(&["describe", kind, name, "-o", "name"]).good();
        assert_eq!(one.trim_end(), name);
    }
    let wide = bridge.tieline(&["get", "integrations", "-o", "wide"]).good();
    assert!(
        wide.contains("CALLBACK") && wide.contains("/api/web/webhook/") && wide.contains("Echo"),
        "{wide}"
    );
    assert!(!wide.contains('\u{1b}'), "no colours in a pipe: {wide}");
    let test = bridge.tieline(&["test", "--agent", "Echo"]).good();
    assert!(test.contains("ok"), "{test}");
}

#[test]
fn doctor_examines_all() {
    let bridge = Bridge::start();
    let file = bridge.file("a.yaml", "integrations: [{name: Lonely, platform: web}]");
    bridge.tieline(&["apply", "-f", &file]).good();
    let said = bridge.tieline(&["doctor", "--all", "-o", "json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let items = found["items"].as_array().unwrap();
    let names: Vec<&Value> = items.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Playground", "Lonely"], "oldest first");
    let lonely = items.iter().find(|one| one["name"] == "Lonely").unwrap();
    assert!(lonely["doctor"]["cause"].is_string(), "{found}");
    let table = bridge.tieline(&["doctor", "--all"]);
    assert!(
        table.out.contains("Lonely") && table.out.contains("FAILED"),
        "{table:?}"
    );
}

#[test]
fn completion_script_is_printed_for_each_shell() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef tieline"),
        ("fish", "complete -c tieline"),
    ] {
        let script = Said::of(crate::bridge::tieline().args(["completion", shell])).good();
        assert!(script.contains(part) && script.contains("redrive"), "{shell}");
    }
}

/// Two messages failed, one of them long ago.
#[test]
fn failures_since_a_time_are_redriven() {
    let (tell, asked) = std::sync::mpsc::channel();
    let fake = Fake::start(move |method, path, _| {
        if method == "POST" {
            tell.send(path.to_owned()).unwrap();
            return Some((202, "{}".to_owned()));
        }
        let letter =
            |id: &str, at: &str| serde_json::json!({ "id": id, "messageId": format!("msg_{id}"), "failedAt": at });
        let items = [
            letter("new", "2099-01-01T00:00:00Z"),
            letter("old", "2020-01-01T00:00:00Z"),
        ];
        Some((
            200,
            serde_json::json!({ "items": items, "nextCursor": null }).to_string(),
        ))
    });
    let run = |words: &[&str]| Said::of(&mut fake.command_of(words));
    let refused = run(&["redrive", "--since", "1h"]).bad();
    assert!(
        refused.contains("try 1 messages again") && refused.contains("add --yes"),
        "{refused}"
    );
    assert!(asked.try_recv().is_err());
    assert_eq!(
        run(&["redrive", "--since", "1h", "--yes"]).good(),
        "1 of 1 messages are tried again\n"
    );
    assert_eq!(asked.recv().unwrap(), "/api/v1/orgs/default/deadletters/new/redrive");
    assert_eq!(run(&["redrive", "msg_old"]).good(), "message msg_old is tried again\n");
    assert_eq!(asked.recv().unwrap(), "/api/v1/orgs/default/deadletters/old/redrive");
    run(&["redrive", "msg_old", "--ask"]).good();
    assert_eq!(
        asked.recv().unwrap(),
        "/api/v1/orgs/default/deadletters/old/redrive?ask=true"
    );
    assert!(run(&["redrive", "msg_x"]).bad().contains("there is no dead letter"));
}

#[test]
fn messages_are_sent_to_a_chat_or_a_person() {
    let (tell, asked) = std::sync::mpsc::channel();
    let fake = Fake::start(move |method, path, body| {
        if method == "POST" {
            tell.send((path.to_owned(), body.to_owned())).unwrap();
            return Some((202, serde_json::json!({ "id": "msg_1", "state": "queued" }).to_string()));
        }
        Some((200, serde_json::json!({ "id": "int_1", "name": "Desk" }).to_string()))
    });
    for (flag, field) in [("--chat", "chatId"), ("--user", "userId")] {
        let said = Said::of(&mut fake.command_of(&["send", "Desk", "hello there", flag, "x1"])).good();
        assert_eq!(
            said,
            "accepted as message msg_1; to see whether it arrived: tieline describe message msg_1\n"
        );
        let (path, body) = asked.recv().unwrap();
        assert_eq!(path, "/api/v1/orgs/default/integrations/int_1/messages");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, serde_json::json!({ field: "x1", "text": "hello there" }));
    }
    assert_eq!(Said::of(&mut fake.command_of(&["send", "Desk", "hello"])).code, Some(2));
}

#[test]
fn messages_are_sent_later_or_to_everybody() {
    let (tell, asked) = std::sync::mpsc::channel();
    let fake = Fake::start(move |method, path, body| {
        if method == "POST" {
            tell.send((path.to_owned(), body.to_owned())).unwrap();
            let made = serde_json::json!({ "id": "sch_1", "sendAt": "2030-01-01T09:00:00Z" });
            return Some((201, made.to_string()));
        }
        if path.starts_with("/api/v1/orgs/default/users") {
            let user = |integration: &str, linked: Option<&str>| serde_json::json!({ "integrationId": integration, "linked": linked });
            let items = [
                user("int_1", Some("ann")),
                user("int_1", Some("bob")),
                user("int_1", None),
                user("int_2", Some("ann")),
            ];
            return Some((
                200,
                serde_json::json!({ "items": items, "nextCursor": null }).to_string(),
            ));
        }
        Some((200, serde_json::json!({ "id": "int_1", "name": "Desk" }).to_string()))
    });
    let run = |flags: &[&str]| Said::of(&mut fake.command_of(&[&["send", "Desk", "hi"], flags].concat()));
    let at = "2030-01-01T09:00:00Z";
    for (flags, expected) in [
        (
            &["--everybody", "linked"][..],
            "to 2 linked people, to each in a direct chat",
        ),
        (&["--everybody", "linked", "--at", at], "now: 2 linked people"),
    ] {
        let refused = run(flags).bad();
        assert!(refused.contains(expected) && refused.contains("add --yes"), "{refused}");
        assert!(asked.try_recv().is_err());
    }
    let later = serde_json::json!({ "integrationId": "int_1", "chatId": "c", "text": "hi", "sendAt": at });
    let all = serde_json::json!({ "integrationId": "int_1", "everybody": "linked", "text": "hi", "sendAt": null });
    for (flags, expected) in [
        (&["--chat", "c", "--at", at][..], later),
        (&["--everybody", "linked", "--yes"], all),
    ] {
        assert_eq!(run(flags).good(), "sch_1 is sent at 2030-01-01T09:00:00Z\n");
        let (path, body) = asked.recv().unwrap();
        assert_eq!(path, "/api/v1/orgs/default/scheduled-messages");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }
    assert_eq!(run(&["--chat", "c", "--everybody", "linked"]).code, Some(2));
}
