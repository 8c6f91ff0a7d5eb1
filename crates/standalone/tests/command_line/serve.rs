//! `tieline serve`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bridge::{Bridge, PATIENCE, Said, TOKEN, read_lines, tieline, wait};

/// Time limit that the design promises for SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn one_process_has_a_data_directory() {
    let first = Bridge::start();
    let began = Instant::now();
    let second = Said::of(Bridge::command(first.dir.path(), &mut tieline()).env("TIELINE_LOG_FORMAT", "human"));
    let data = first.dir.path().join("data");
    let expected = format!(
        "tieline: the data directory {} is in use by another process (process {})\n",
        data.display(),
        first.pid()
    );
    assert_eq!(second.bad(), expected);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "it must not wait for the other"
    );
}

#[test]
fn address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = tieline();
    command.args(["--listen", &address, "--data-dir"]).arg(dir.path());
    let human = Said::of(command.env("TIELINE_LOG_FORMAT", "human")).bad();
    assert!(
        human.starts_with(&format!("tieline: can't listen on {address}")),
        "{human}"
    );
    // With the log format JSON, the error is a JSON line too.
    let json = Said::of(command.env("TIELINE_LOG_FORMAT", "json")).bad();
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["error"].as_str().unwrap().contains(&address), "{line}");
}

#[test]
fn sigterm_ends_the_process_while_an_agent_hangs() {
    let bridge = Bridge::start();
    // An agent that accepts connections and never answers.
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "agents: [{{name: Mute, protocol: openai_chat, config: {{baseUrl: 'http://{}', apiKey: k, model: m}}}}]",
        agent.local_addr().unwrap()
    );
    bridge.tieline(&["apply", "-f", &bridge.file("a.yaml", &text)]).good();
    let mut chat = bridge
        .command_of(&["chat", "--agent", "Mute"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(chat.stdin.as_mut().unwrap(), b"hello\n").unwrap();
    // The question has reached the agent: a run is in progress, and the chat waits for its answer.
    let (_open, _) = agent.accept().unwrap();
    let (taken, _) = bridge.stop();
    assert!(taken < STOP_LIMIT, "{taken:?}");
    chat.kill().unwrap();
    chat.wait().unwrap();
}

/// The status line, the headers and the body of the answer to a request with a token.
fn ask(bridge: &Bridge, method_and_path: &str, headers: &str, body: &str) -> String {
    let address = bridge.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{method_and_path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n{headers}\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn routes_of_platforms_and_of_the_web_chat_answer_like_the_others() {
    let bridge = Bridge::start();
    // An id that isn't valid UTF-8 is an unknown one.
    for id in ["x", "%FF"] {
        let probe = ask(&bridge, &format!("GET /api/wecom/webhook/{id}"), "", "");
        assert!(
            probe.starts_with("HTTP/1.1 200 ") && probe.ends_with("\r\n\r\nok"),
            "{probe}"
        );
        let unproved = ask(&bridge, &format!("POST /api/wecom/webhook/{id}"), "", "{}");
        assert!(
            unproved.starts_with("HTTP/1.1 401 ") && unproved.ends_with("\r\n\r\n"),
            "{unproved}"
        );
    }
    let found = bridge.tieline(&["get", "integrations", "-o", "json"]).good();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let web = format!("/api/web/webhook/{}", found["items"][0]["id"].as_str().unwrap());
    for (request, body, status, code, sentence) in [
        (
            format!("POST {web}"),
            r#"{"text": 1, "x": 2}"#,
            400,
            "unknown_field",
            "未知字段",
        ),
        (format!("POST {web}"), "[]", 400, "invalid_body", "请求正文无法读取"),
        (
            "GET /api/web/replies/x?after=y".to_owned(),
            "",
            400,
            "invalid_field",
            "字段的值无效",
        ),
        (
            "DELETE /api/web/replies/x".to_owned(),
            "",
            405,
            "method_not_allowed",
            "该地址不支持此方法",
        ),
    ] {
        let answer = ask(&bridge, &request, "accept-language: zh-CN\r\n", body);
        let (head, problem) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
        assert_eq!(problem["code"], code, "{request}");
        assert!(problem["detail"].as_str().unwrap().starts_with(sentence), "{problem}");
        if status == 400 && code != "invalid_body" {
            assert_eq!(problem["errors"][0]["field"], problem["field"], "{problem}");
        }
    }
}

#[test]
fn data_survives_a_restart() {
    let bridge = Bridge::start();
    bridge
        .tieline(&[
            "apply",
            "-f",
            &bridge.file("a.yaml", "agents: [{name: Kept, protocol: echo}]"),
        ])
        .good();
    let before = bridge.tieline(&["get", "agents", "-o", "json"]).good();
    let (_, dir) = bridge.stop();
    let again = Bridge::start_in(dir, &mut tieline());
    assert_eq!(again.tieline(&["get", "agents", "-o", "json"]).good(), before);
}

#[test]
fn configuration_file_is_applied_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bridge.yaml");
    let text = "
agents: [{name: Helper, protocol: openai_chat, config: {baseUrl: 'http://127.0.0.1:9', apiKey: '${HELPER_KEY}', model: m}}]
triggers: [{integration: Desk, agent: Helper}]
integrations: [{name: Desk, platform: web}]
";
    fs::write(&path, text).unwrap();
    let mut command = tieline();
    command.env("TIELINE_CONFIG", &path).env("HELPER_KEY", "s3cret-value");
    let bridge = Bridge::start_in(dir, &mut command);
    let agents = bridge.tieline(&["get", "agents"]).good();
    assert!(agents.contains("Helper"), "{agents}");
    assert!(
        bridge.log().contains("config: 3 created, 0 updated, 0 unchanged"),
        "{}",
        bridge.log()
    );
    assert!(!bridge.log().contains("s3cret-value"), "{}", bridge.log());
    let (_, dir) = bridge.stop();
    let bridge = Bridge::start_in(
        dir,
        tieline().env("TIELINE_CONFIG", &path).env("HELPER_KEY", "s3cret-value"),
    );
    assert!(
        bridge.log().contains("config: 0 created, 0 updated, 3 unchanged"),
        "{}",
        bridge.log()
    );
}

#[test]
fn sigterm_ends_the_process_while_configuration_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bridge.yaml");
    // A platform that accepts connections and never answers.
    let platform = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "integrations: [{{name: Bot, platform: lark, connectionMode: webhook, endpoints: {{apiBase: 'http://{}'}},
  credentials: {{appId: cli_1, appSecret: s, verificationToken: v}}}}]",
        platform.local_addr().unwrap()
    );
    fs::write(&path, text).unwrap();
    let mut command = tieline();
    let mut child = Bridge::command(dir.path(), command.arg("--config").arg(&path))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (_open, _) = platform.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = wait(|| child.try_wait().unwrap());
    let log = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(ended.success() && log.contains("stopped"), "{ended}: {log}");
    assert!(!log.contains("listening on"), "{log}");
}

#[test]
fn invalid_configuration_file_prevents_the_start() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bridge.yaml");
        fs::write(&path, text).unwrap();
        let mut command = tieline();
        let command = Bridge::command(dir.path(), &mut command)
            .arg("--config")
            .arg(&path)
            .env("TIELINE_LOG_FORMAT", "human");
        let said = Said::of(command).bad();
        assert!(said.contains(expected), "{said}");
    }
    check(
        "agents: [{name: A, protocol: smoke}]",
        "bridge.yaml:1:20: agents[0].protocol: unknown protocol `smoke`; known protocols: echo, openai_chat, ",
    );
    check(
        "agents: [{name: '${UNSET_FOR_SURE}'}]",
        "names the variable UNSET_FOR_SURE, which is not set",
    );
    check("a: [", "not readable as YAML");
}

#[test]
fn log_lines_are_json_or_for_people() {
    #[track_caller]
    fn lines(format: &str, level: &str) -> String {
        let mut command = tieline();
        command.env("TIELINE_LOG_FORMAT", format).env("TIELINE_LOG", level);
        let bridge = Bridge::start_in(tempfile::tempdir().unwrap(), &mut command);
        wait(|| (level == "off" || bridge.log().contains("listening")).then(|| bridge.log()))
    }
    for line in lines("json", "info").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["message"].is_string(), "{line}");
    }
    let human = lines("human", "info");
    assert!(human.contains(" INFO ") && !human.starts_with('{'), "{human}");
    assert!(!human.contains('\u{1b}'), "colours belong on terminals: {human}");
    assert_eq!(lines("human", "off"), "");
    let unknown = Said::of(tieline().env("TIELINE_LOG", "tieline=loud"));
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}

#[test]
fn given_token_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = tieline()
        .args(["--listen", "127.0.0.1:0", "--admin-token", TOKEN, "--data-dir"])
        .arg(dir.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let greeting = read_lines(child.stdout.take().unwrap()).recv_timeout(PATIENCE);
    child.kill().unwrap();
    child.wait().unwrap();
    let greeting = greeting.unwrap();
    assert!(greeting.starts_with("console: http://127.0.0.1:"), "{greeting}");
    assert!(!greeting.contains(TOKEN), "{greeting}");
}

#[test]
fn generated_token_is_stored_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut child = tieline()
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let greeting = read_lines(child.stdout.take().unwrap()).recv_timeout(PATIENCE);
    let seen = greeting.map(|greeting| {
        let (url, token) = greeting
            .strip_prefix("console: ")
            .unwrap()
            .split_once("/#token=")
            .unwrap();
        let kept = fs::read_to_string(data.join("admin-token")).unwrap();
        let found = Said::of(tieline().args(["get", "agents", "--url", url, "--data-dir"]).arg(&data));
        let wrong = Said::of(tieline().args(["get", "agents", "--url", url, "--admin-token", TOKEN]));
        (kept == token, found, wrong)
    });
    child.kill().unwrap();
    let log = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    child.wait().unwrap();
    let (kept, found, wrong) = seen.unwrap();
    assert!(kept);
    assert!(found.good().contains("Echo"));
    assert!(wrong.bad().contains("doesn't know this token"));
    assert!(
        !log.contains(&*fs::read_to_string(data.join("admin-token")).unwrap()),
        "{log}"
    );
}

/// A proxy on this machine lets others try tokens.
#[test]
fn weak_token_is_refused_behind_a_proxy() {
    // In use: with an accepted token the start fails at once, for another reason.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let start = |flags: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = tieline();
        command.args(["serve", "--listen", &address, "--admin-token", TOKEN, "--data-dir"]);
        command.arg(dir.path().join("data")).args(flags);
        command.env("TIELINE_LOG_FORMAT", "human");
        Said::of(&mut command).bad()
    };
    let refused = start(&["--trusted-proxies", "127.0.0.1"]);
    assert!(refused.contains("needs 128") && !refused.contains(TOKEN), "{refused}");
    let refused = start(&["--public-url", "https://bot.example.com"]);
    assert!(refused.contains("can't listen"), "{refused}");
}

#[test]
fn metrics_are_served_to_this_machine_and_not_through_a_proxy() {
    let bridge = Bridge::start();
    let address = bridge.url.strip_prefix("http://").unwrap().to_owned();
    let get = |header: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n{header}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let text = get("");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let names = [
        "tieline_runs_in_flight 0",
        "tieline_queue_messages{queue=",
        "tieline_table_errors_total",
        "tieline_bots ",
    ];
    for name in names {
        assert!(text.contains(name), "{name}: {text}");
    }
    let proxied = "x-forwarded-for: 192.0.2.1\r\n";
    assert!(get(proxied).starts_with("HTTP/1.1 401"));
    let with_token = format!("{proxied}authorization: Bearer {TOKEN}\r\n");
    assert!(get(&with_token).starts_with("HTTP/1.1 200"));
    let with_another = format!("{proxied}authorization: Bearer x{TOKEN}\r\n");
    for _ in 0..20 {
        assert!(get(&with_another).starts_with("HTTP/1.1 401"));
    }
    let refused = get(&with_another);
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    assert!(get(&with_token).starts_with("HTTP/1.1 200"));
}

#[test]
fn data_directory_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // With the usual umask, files that a program creates are readable by everyone.
    let mut shell = std::process::Command::new("sh");
    let start = format!(
        "umask 022 && exec {} serve --listen 127.0.0.1:0 --data-dir {}",
        env!("CARGO_BIN_EXE_tieline"),
        data.display()
    );
    let mut child = shell
        .args(["-c", &start])
        .env_remove("TIELINE_ADMIN_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let greeting = read_lines(child.stdout.take().unwrap()).recv_timeout(PATIENCE);
    let modes = || -> Vec<(String, u32)> {
        let entries = fs::read_dir(&data).unwrap().map(Result::unwrap);
        let mode = |entry: &fs::DirEntry| entry.metadata().unwrap().permissions().mode() & 0o777;
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), mode(&entry)))
            .collect()
    };
    let found = greeting.map(|_| modes());
    child.kill().unwrap();
    child.wait().unwrap();
    let found = found.unwrap();
    assert!(found.iter().any(|(name, _)| name == "tables.sqlite"), "{found:?}");
    let open: Vec<_> = found.iter().filter(|(_, mode)| *mode != 0o600).collect();
    assert!(open.is_empty(), "{open:?}");
    // A directory that was opened to others since is not used again.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = tieline();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data);
    let refused = Said::of(command.env("TIELINE_LOG_FORMAT", "human")).bad();
    let fix = format!("run `chmod 700 {}`", data.display());
    assert!(refused.contains(&fix), "{refused}");
}

/// Every variable of a command, as listed in its help, set to an empty text.
fn empty_variables(command: &str) -> Vec<(String, &'static str)> {
    let help = Said::of(tieline().args([command, "--help"])).good();
    let names = help.split("[env: ").skip(1).filter_map(|rest| rest.split('=').next());
    let variables: Vec<_> = names.map(|name| (name.to_owned(), "")).collect();
    assert!(variables.len() > 5, "{help}");
    variables
}

#[test]
fn empty_variables_count_as_absent_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start_in(dir, tieline().envs(empty_variables("serve")));
    for words in [&["get", "agents"][..], &["describe", "agents"], &["export"]] {
        let mut command = tieline();
        command.args(words).args(["--url", &bridge.url, "--admin-token", TOKEN]);
        let said = Said::of(command.envs(empty_variables(words[0])));
        assert!(said.good().contains("Echo"), "{words:?}");
    }
    // An empty variable for the data directory means the default directory.
    let mut elsewhere = tieline();
    elsewhere.args(["get", "agents"]).env("TIELINE_DATA_DIR", "");
    assert!(Said::of(&mut elsewhere).bad().contains("tieline-data"));
}
