//! `tieline apply`.

use serde_json::Value;

use crate::bridge::{Bridge, Said};

const FILE: &str = "
agents:
  - name: Helper
    protocol: openai_chat
    config: {baseUrl: 'http://127.0.0.1:9/v1', apiKey: '${KEY}', model: m1}
integrations:
  - name: 客服
    platform: wecom
    connectionMode: webhook
    language: en
    credentials: {token: '${TOKEN}', encodingAesKey: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG, botName: Bot}
triggers:
  - {integration: 客服, agent: Helper, summaryWindowSeconds: 2}
";

fn apply(bridge: &Bridge, text: &str, more: &[&str]) -> Said {
    let file = bridge.file("apply.yaml", text);
    let words = [&["apply", "-f", &file], more].concat();
    Said::of(
        bridge
            .command_of(&words)
            .envs([("KEY", "k3y-value"), ("TOKEN", "t0ken-value")]),
    )
}

fn json(bridge: &Bridge, words: &[&str]) -> Value {
    let words = [&["get"], words, &["-o", "json"]].concat();
    serde_json::from_str(&bridge.tieline(&words).good()).unwrap()
}

/// The one enabled trigger of an integration.
fn bound<'a>(triggers: &'a Value, integration: &Value) -> &'a Value {
    let items = triggers["items"].as_array().unwrap().iter();
    let mut found = items.filter(|trigger| trigger["integrationId"] == integration["id"] && trigger["enabled"] == true);
    let one = found.next().unwrap();
    assert_eq!(found.next(), None);
    one
}

#[test]
fn applying_twice_changes_once_and_shows_no_secrets() {
    let bridge = Bridge::start();
    let dry = apply(&bridge, FILE, &["--dry-run"]).good();
    assert!(
        dry.ends_with("3 created, 0 updated, 0 unchanged (dry run: nothing was changed)\n"),
        "{dry}"
    );
    assert!(!bridge.tieline(&["get", "agents"]).good().contains("Helper"));

    let first = apply(&bridge, FILE, &[]).good();
    assert_eq!(
        first,
        "+ agent Helper
    config.apiKey: ${KEY}
    config.baseUrl: http://127.0.0.1:9/v1
    config.model: m1
    protocol: openai_chat
+ integration 客服
    connectionMode: webhook
    credentials.botName: Bot
    credentials.encodingAesKey: ***
    credentials.token: ${TOKEN}
    language: en
    platform: wecom
+ trigger 客服 -> Helper
    summaryWindowSeconds: 2
3 created, 0 updated, 0 unchanged
"
    );
    let integration = json(&bridge, &["integration", "客服"]);
    assert_eq!(integration["credentials"]["token"], "***");
    assert_eq!(
        bound(&json(&bridge, &["triggers"]), &integration)["summaryWindowSeconds"],
        2
    );

    let again = apply(&bridge, FILE, &[]).good();
    assert_eq!(again, "0 created, 0 updated, 3 unchanged\n");
    assert_eq!(
        json(&bridge, &["integration", "客服"]),
        integration,
        "what is as it was stays untouched"
    );
    let dry = apply(&bridge, FILE, &["--dry-run"]).good();
    assert_eq!(
        dry,
        "0 created, 0 updated, 3 unchanged (dry run: nothing was changed)\n"
    );
    for shown in [first, again, dry, bridge.log()] {
        assert!(
            !shown.contains("k3y-value") && !shown.contains("t0ken-value"),
            "{shown}"
        );
    }
}

#[test]
fn differences_are_shown_and_applied() {
    let bridge = Bridge::start();
    apply(&bridge, FILE, &[]).good();
    let integration = json(&bridge, &["integration", "客服"]);
    let changed = FILE
        .replace("m1", "m2")
        .replace("language: en", "language: zh-CN")
        .replace("${TOKEN}", "another")
        .replace("agent: Helper", "agent: Echo")
        .replace("Seconds: 2", "Seconds: 0");
    let said = apply(&bridge, &changed, &[]).good();
    assert_eq!(
        said,
        "~ agent Helper
    config.model: m1 -> m2
~ integration 客服
    credentials.token: *** -> ***
    language: en -> zh-CN
~ trigger 客服 -> Echo
    agent: Helper -> Echo
    summaryWindowSeconds: 2 -> 0
0 created, 3 updated, 0 unchanged
"
    );
    let agents = json(&bridge, &["agent", "Echo"]);
    let triggers = json(&bridge, &["triggers"]);
    assert_eq!(bound(&triggers, &integration)["agentId"], agents["id"]);
    // Only the secret differs: its value isn't shown, but that it changes, in a dry run too.
    let dry = apply(&bridge, &changed.replace("another", "yet-another"), &["--dry-run"]).good();
    assert!(
        dry.starts_with("~ integration 客服\n    credentials.token: *** -> ***\n"),
        "{dry}"
    );
    let said = apply(&bridge, &changed.replace("another", "yet-another"), &[]).good();
    assert_eq!(
        said,
        "~ integration 客服\n    credentials.token: *** -> ***\n0 created, 1 updated, 2 unchanged\n"
    );
}

#[test]
fn switching_two_triggers_of_a_bot_works_in_any_order() {
    let bridge = Bridge::start();
    let both = |echo: bool| {
        format!(
            "agents: [{{name: Other, protocol: echo}}]
triggers: [{{integration: Playground, agent: Other, enabled: {}}}, {{integration: Playground, agent: Echo, enabled: {echo}}}]",
            !echo
        )
    };
    let integration = json(&bridge, &["integration", "Playground"]);
    for echo in [false, true, false] {
        apply(&bridge, &both(echo), &[]).good();
        let name = if echo { "Echo" } else { "Other" };
        let agent = json(&bridge, &["agent", name]);
        assert_eq!(
            bound(&json(&bridge, &["triggers"]), &integration)["agentId"],
            agent["id"]
        );
    }
    assert_eq!(json(&bridge, &["triggers"])["items"].as_array().unwrap().len(), 2);
}

#[test]
fn trigger_is_enabled_by_default() {
    let bridge = Bridge::start();
    let file = |triggers: &str| format!("agents: [{{name: Other, protocol: echo}}]\ntriggers: [{triggers}]");
    let before =
        file("{integration: Playground, agent: Echo}, {integration: Playground, agent: Other, enabled: false}");
    let after = file("{integration: Playground, agent: Echo, enabled: false}, {integration: Playground, agent: Other}");
    let integration = json(&bridge, &["integration", "Playground"]);
    let answering = |name: &str| {
        let agent = json(&bridge, &["agent", name]);
        assert_eq!(
            bound(&json(&bridge, &["triggers"]), &integration)["agentId"],
            agent["id"]
        );
    };
    apply(&bridge, &before, &[]).good();
    answering("Echo");
    let said = apply(&bridge, &after, &[]).good();
    assert!(
        said.contains("~ trigger Playground -> Other\n    enabled: false -> true\n"),
        "{said}"
    );
    answering("Other");
    for text in [after, file("{integration: Playground, agent: Other, enabled: null}")] {
        let again = apply(&bridge, &text, &[]).good();
        assert!(again.starts_with("0 created, 0 updated"), "{again}");
    }
    // The bot has another enabled trigger, which the file doesn't name: it is rebound to the file's agent.
    let only = file("{integration: Playground, agent: Echo}");
    let said = apply(&bridge, &only, &[]).good();
    assert!(said.contains("    agent: Other -> Echo\n"), "{said}");
    answering("Echo");
    let again = apply(&bridge, &only, &[]).good();
    assert!(again.starts_with("0 created, 0 updated"), "{again}");
}

#[test]
fn dry_run_shows_rebinding_to_an_agent_of_the_same_file() {
    let bridge = Bridge::start();
    let text = "agents: [{name: Fresh, protocol: echo}]\ntriggers: [{integration: Playground, agent: Fresh}]";
    let change = "+ agent Fresh
    protocol: echo
~ trigger Playground -> Fresh
    agent: Echo -> Fresh
1 created, 1 updated, 0 unchanged";
    let dry = apply(&bridge, text, &["--dry-run"]).good();
    assert_eq!(dry, format!("{change} (dry run: nothing was changed)\n"));
    assert_eq!(apply(&bridge, text, &[]).good(), format!("{change}\n"));
}

#[test]
fn organizations_are_created_and_isolated() {
    let bridge = Bridge::start();
    let text = "
organizations:
  - id: acme
    name: Acme
    limits: {maxConcurrentRuns: 3}
    agents: [{name: Echo, protocol: echo}]
    integrations: [{name: Page, platform: web}]
    triggers: [{integration: Page, agent: Echo}]
";
    let first = apply(&bridge, text, &[]).good();
    assert!(first.starts_with("+ organization acme\n"), "{first}");
    assert!(first.contains("+ trigger Page -> Echo of acme\n"), "{first}");
    assert_eq!(apply(&bridge, text, &[]).good(), "0 created, 0 updated, 4 unchanged\n");
    let raised = apply(&bridge, &text.replace("Runs: 3", "Runs: 4"), &[]).good();
    assert!(raised.contains("limits.maxConcurrentRuns: 3 -> 4"), "{raised}");
    let theirs = json(&bridge, &["agents", "--org", "acme"]);
    assert_eq!(theirs["items"].as_array().unwrap().len(), 1);
    assert!(!bridge.tieline(&["get", "integrations"]).good().contains("Page"));
    // The name of another organization's bot can't be resolved.
    let lost = apply(&bridge, "triggers: [{integration: Page, agent: Echo}]", &[]).bad();
    assert!(
        lost.contains("apply.yaml:1:13: triggers[0].integration: ")
            && lost.contains("there is no integration of this name"),
        "{lost}"
    );
}

#[test]
fn mistakes_fail_before_the_first_write() {
    let bridge = Bridge::start();
    let text = "agents: [{name: New, protocol: echo}]\ntriggers: [{integration: Nowhere, agent: New}]";
    apply(&bridge, text, &[]).bad();
    assert!(!bridge.tieline(&["get", "agents"]).good().contains("New"));
    #[track_caller]
    fn check(bridge: &Bridge, text: &str, expected: &str) {
        let said = apply(bridge, text, &[]).bad();
        assert!(said.contains(expected), "{said}");
    }
    check(
        &bridge,
        "agents: [{name: A, protocol: echo, modell: x}]",
        "apply.yaml:1:36: agents[0].modell: modell is not a known field; allowed: name, protocol, config",
    );
    check(
        &bridge,
        "integrations: [{name: Playground, platform: wecom}]",
        "the integration is on `web`; give the new one another name",
    );
    check(&bridge, "agents: [{name: A, name: B}]", "duplicate");
    check(
        &bridge,
        "agents: [{name: '${UNSET_FOR_SURE} ${NEITHER}'}]",
        "NEITHER, UNSET_FOR_SURE",
    );
    let missing = bridge.tieline(&["apply", "-f", "/nowhere/file.yaml"]).bad();
    assert!(missing.contains("can't read /nowhere/file.yaml"), "{missing}");
    let unused = Said::of(
        bridge
            .command_of(&["apply", "-f", "-"])
            .env("TIELINE_URL", "http://127.0.0.1:1"),
    );
    assert!(unused.bad().contains("can't reach the bridge at http://127.0.0.1:1/"));
    assert_eq!(bridge.tieline(&["apply"]).code, Some(2));
}

#[test]
fn file_is_read_from_standard_input() {
    let bridge = Bridge::start();
    let said = bridge
        .typed(&["apply", "-f", "-"], "agents: [{name: Typed, protocol: echo}]")
        .good();
    assert!(said.starts_with("+ agent Typed\n"), "{said}");
}

#[test]
fn export_can_be_applied() {
    let bridge = Bridge::start();
    let organization = "organizations: [{id: acme, name: Acme, agents: [{name: Echo, protocol: echo}]}]";
    apply(&bridge, FILE, &[]).good();
    apply(&bridge, organization, &[]).good();
    for words in [
        &["export"][..],
        &["export", "-o", "json"],
        &["export", "--all"],
        &["export", "--org", "acme"],
    ] {
        let exported = bridge.tieline(words).good();
        assert!(
            !exported.contains("k3y-value") && !exported.contains("t0ken-value"),
            "{exported}"
        );
        assert_eq!(exported.contains("Helper"), !words.contains(&"acme"), "{exported}");
        let dry = apply(&bridge, &exported, &["--dry-run", "--prune"]).good();
        assert!(
            dry.starts_with("0 created, 0 updated, ") && dry.contains(" 0 deleted "),
            "{dry}"
        );
    }
    let said = bridge.tieline(&["export", "-o", "table"]).bad();
    assert!(said.contains("-o yaml"), "{said}");
}

#[test]
fn organization_id_is_taken_from_a_variable() {
    let bridge = Bridge::start();
    let text = "organizations: [{id: '${TOKEN}', name: Acme, agents: [{name: Echo, protocol: echo}]}]";
    apply(&bridge, text, &[]).good();
    let organizations = bridge.tieline(&["get", "organizations", "-o", "name"]).good();
    assert!(organizations.contains("t0ken-value\n"), "{organizations}");
}

#[test]
fn file_of_several_organizations_is_validated_before_the_first_is_applied() {
    let bridge = Bridge::start();
    let text = "organizations:
- id: acme
  agents: [{name: A, protocol: echo}]
- id: beta
  agents:
  - {name: B, protocol: ecco}
  - {name: C, protocol: echo, x: 1}
";
    let refused = apply(&bridge, text, &[]).bad();
    for mistake in [
        "apply.yaml:6:15: organizations[1].agents[0].protocol",
        "apply.yaml:7:31: organizations[1].agents[1].x",
    ] {
        assert!(refused.contains(mistake), "{refused}");
    }
    let organizations = bridge.tieline(&["get", "organizations", "-o", "name"]).good();
    assert_eq!(organizations, "default\n");
}

#[test]
fn pruning_shows_deletions_and_asks() {
    let bridge = Bridge::start();
    let text = "agents: [{name: Only, protocol: echo}]";
    let refused = apply(&bridge, text, &["--prune"]).bad();
    for part in [
        "- trigger Playground -> Echo",
        "- agent Echo",
        "- integration Playground\n    answered by: Echo",
        "add --yes",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(bridge.tieline(&["get", "agents"]).good().contains("Echo"));
    let dry = apply(&bridge, text, &["--prune", "--dry-run"]).good();
    assert!(
        dry.ends_with("1 created, 0 updated, 0 unchanged, 3 deleted (dry run: nothing was changed)\n"),
        "{dry}"
    );
    let done = apply(&bridge, text, &["--prune", "--yes"]).good();
    assert!(
        done.ends_with("1 created, 0 updated, 0 unchanged, 3 deleted\n"),
        "{done}"
    );
    assert_eq!(bridge.tieline(&["get", "agents", "-o", "name"]).good(), "Only\n");
    assert_eq!(bridge.tieline(&["get", "integrations"]).good(), "no integrations\n");
}
