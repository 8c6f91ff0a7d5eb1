//! Tests of parsing the command line.

use super::*;

fn read(words: &[&str]) -> Result<Args, clap::Error> {
    Args::read(words.iter().map(OsString::from).collect())
}

fn serve(words: &[&str]) -> Serve {
    let args = read(words).unwrap();
    match args.command {
        Some(Command::Serve(serve)) => serve,
        _ => args.serve,
    }
}

#[test]
fn serve_is_the_default_command() {
    for words in [
        &["tieline", "--listen", "127.0.0.1:9"][..],
        &["tieline", "serve", "--listen", "127.0.0.1:9"],
    ] {
        assert_eq!(serve(words).listen.port(), 9);
    }
}

#[test]
fn flags_may_precede_their_command() {
    let before = [
        "tieline",
        "--data-dir",
        "x",
        "--durable",
        "serve",
        "--listen",
        "127.0.0.1:9",
    ];
    let served = serve(&before);
    assert_eq!((served.data_dir.to_str(), served.listen.port()), (Some("x"), 9));
    assert!(served.durable);
    assert!(!serve(&["tieline", "--durable", "false", "serve"]).durable);
    // The flag closer to the command wins.
    let both = serve(&["tieline", "--listen", "127.0.0.1:8", "serve", "--listen", "127.0.0.1:9"]);
    assert_eq!(both.listen.port(), 9);
    let Some(Command::Get(get)) = read(&["tieline", "--data-dir", "x", "get", "agents"]).unwrap().command else {
        panic!("not get");
    };
    assert_eq!(get.bridge.data_dir.to_str(), Some("x"));
    let misplaced = read(&["tieline", "--listen", "127.0.0.1:9", "get", "agents"]).unwrap_err();
    assert!(misplaced.to_string().contains("--listen"), "{misplaced}");
}

#[test]
fn switches_work_with_and_without_a_value() {
    let allowed = |words: &[&str]| serve(words).allow_private_endpoints;
    assert_eq!(
        allowed(&["tieline", "serve", "--allow-private-endpoints"]),
        PrivateEndpoints::Allowed
    );
    let off = allowed(&["tieline", "serve", "--allow-private-endpoints=false"]);
    assert_eq!(off, PrivateEndpoints::Refused);
    assert_eq!(allowed(&["tieline"]), PrivateEndpoints::Refused);
    let networks = "10.20.0.0/16,fd00::/8";
    let listed = allowed(&["tieline", "--allow-private-endpoints", networks]);
    assert_eq!(listed, PrivateEndpoints::within(networks).unwrap());
}

#[test]
fn switches_accept_no_words_but_true_and_false() {
    for (word, expected) in [
        ("true", true),
        ("ON", true),
        ("1", true),
        ("yes", true),
        ("no", false),
        ("0", false),
    ] {
        let durable = format!("--durable={word}");
        assert_eq!(serve(&["tieline", &durable]).durable, expected, "{word}");
        let private = format!("--allow-private-endpoints={word}");
        let allowed = serve(&["tieline", &private]).allow_private_endpoints;
        assert_eq!(allowed == PrivateEndpoints::Allowed, expected, "{word}");
        assert_eq!(allowed == PrivateEndpoints::Refused, !expected, "{word}");
    }
    for word in ["none", "disabled", "10.0.0.0/33", "10.1.2.3/8", "", " ", "nil"] {
        for flag in ["allow-private-endpoints", "durable"] {
            let refused = read(&["tieline", &format!("--{flag}={word}")]).unwrap_err().to_string();
            assert!(refused.contains("true, false"), "{refused}");
        }
    }
}

#[test]
fn every_switch_is_strict() {
    let tool = Args::command();
    let commands = all_commands(&tool).into_iter();
    let flags = commands.flat_map(|command| command.get_arguments().map(move |flag| (command, flag)));
    let (switches, others): (Vec<_>, Vec<_>) = flags.partition(|(_, flag)| {
        flag.get_value_names()
            .is_some_and(|names| names.iter().any(|name| name == "BOOL"))
    });
    let is_loose = |flag: &clap::Arg| flag.get_env().is_some() && matches!(flag.get_action(), clap::ArgAction::SetTrue);
    let loose: Vec<_> = others.iter().filter(|(_, flag)| is_loose(flag)).collect();
    assert!(loose.is_empty(), "{loose:?}");
    assert!(switches.len() >= 10, "{switches:?}");
    for (command, flag) in switches {
        let alone = clap::Command::new("tieline").arg(flag.clone().env(clap::builder::Resettable::Reset));
        let word = format!("--{}=none", flag.get_long().unwrap());
        assert!(
            alone.try_get_matches_from(["tieline", &word]).is_err(),
            "{} {word}",
            command.get_name()
        );
    }
}

#[test]
fn follow_flag_may_precede_or_follow_the_integration() {
    for words in [["tieline", "logs", "-f", "bot"], ["tieline", "logs", "bot", "-f"]] {
        let Some(Command::Logs(logs)) = Args::parse_from(words).command else {
            panic!("not logs");
        };
        assert!(logs.follow);
        assert_eq!(logs.integration, "bot");
    }
}

/// A command and all its subcommands.
fn all_commands(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().flat_map(all_commands);
    std::iter::once(command).chain(below).collect()
}

#[test]
fn limits_are_set_by_flags() {
    let served = serve(&["tieline", "--max-runs", "3", "--max-deliveries", "5"]);
    assert_eq!((served.max_runs.get(), served.max_deliveries.get()), (3, 5));
    assert!(read(&["tieline", "--max-runs", "0"]).is_err());
}

#[test]
fn every_flag_has_an_environment_variable() {
    let tool = Args::command();
    let commands = all_commands(&tool);
    let commands = commands.into_iter();
    let flags = commands.flat_map(clap::Command::get_arguments);
    let own = flags.filter(|flag| !flag.is_positional() && !["help", "version"].contains(&flag.get_id().as_str()));
    for flag in own {
        let name = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(name.starts_with("TIELINE_"), "{} has {name:?}", flag.get_id());
    }
}

#[test]
fn addresses_and_filters_are_checked_before_anything_starts() {
    for words in [
        ["tieline", "--public-url", "bot.example.com"],
        ["tieline", "--public-url", "ftp://example.com"],
        ["tieline", "--public-url", "https://user:password@example.com"],
        ["tieline", "--public-url", "https://user@example.com/"],
        ["tieline", "--log", "tieline=loud"],
        ["tieline", "--max-connections", "0"],
        ["tieline", "--trusted-proxies", "proxy.example"],
    ] {
        assert!(Args::try_parse_from(words).is_err(), "{words:?}");
    }
    let served = serve(&["tieline", "--public-url", "https://bot.example.com/base/"]);
    assert_eq!(served.public_url.as_deref(), Some("https://bot.example.com/base"));
}

#[test]
fn delete_lists_only_kinds_that_can_be_deleted() {
    for word in ["foo", "message", "platforms", "organization"] {
        let refused = read(&["tieline", "delete", word, "x"]).unwrap_err().to_string();
        assert!(
            refused.contains("integration, agent, trigger, user, token"),
            "{refused}"
        );
        assert!(!refused.contains("conversation"), "{refused}");
    }
    for word in ["integration", "agents", "trigger", "users", "token"] {
        read(&["tieline", "delete", word, "x"]).unwrap();
    }
}

#[test]
fn usage_shows_every_way_to_say_which() {
    let mut tool = Args::command();
    tool.build();
    for (command, ways) in [
        ("doctor", "<INTEGRATION|--all [<BOOL>]>"),
        ("test", "<INTEGRATION|--agent <AGENT>>"),
        ("redrive", "<ID|--since <TIME>>"),
    ] {
        let usage = tool.find_subcommand_mut(command).unwrap().render_usage().to_string();
        assert!(usage.contains(ways), "{usage}");
        let refused = read(&["tieline", command]).unwrap_err().to_string();
        assert!(refused.contains(ways), "{refused}");
    }
    for words in [
        &["tieline", "doctor", "--all"][..],
        &["tieline", "doctor", "bot"],
        &["tieline", "test", "--agent", "x"],
        &["tieline", "test", "bot"],
        &["tieline", "redrive", "--since", "1h"],
        &["tieline", "redrive", "msg_1"],
    ] {
        assert!(read(words).is_ok(), "{words:?}");
    }
    assert!(read(&["tieline", "redrive", "msg_1", "--since", "1h"]).is_err());
}
