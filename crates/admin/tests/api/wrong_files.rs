//! Files with a mistake: each is rejected with line, field and allowed values, and nothing is applied.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

/// A wrong file: its mistake, its text, the line, the field, and a part of the sentence that names the allowed values.
struct Wrong(&'static str, &'static str, u64, &'static str, &'static str);

/// Each is applied together with a valid agent `Good`, which must not be created.
const WRONG: &[Wrong] = &[
    Wrong(
        "no YAML",
        "agents: [\n  {name: Good, protocol: echo}\n",
        3,
        "",
        "not readable as YAML",
    ),
    Wrong(
        "a tab",
        "agents:\n\t- {name: Good, protocol: echo}\n",
        2,
        "",
        "not readable as YAML",
    ),
    Wrong(
        "a list",
        "- {name: Good, protocol: echo}\n",
        1,
        "",
        "organizations, agents, integrations, triggers",
    ),
    Wrong(
        "a text",
        "Good\n",
        1,
        "",
        "organizations, agents, integrations, triggers",
    ),
    Wrong(
        "two documents",
        "agents: [{name: Good, protocol: echo}]\n---\nagents: []\n",
        1,
        "",
        "one YAML document",
    ),
    Wrong(
        "a tag",
        "agents: !list [{name: Good, protocol: echo}]\n",
        1,
        "",
        "one YAML document",
    ),
    Wrong(
        "a key twice",
        "agents:\n- name: Good\n  protocol: echo\n  name: Other\n",
        4,
        "agents[0].name",
        "stands on line 2 already",
    ),
    Wrong(
        "an unknown list",
        "agents: [{name: Good, protocol: echo}]\nbots: []\n",
        2,
        "bots",
        "organizations, agents, integrations, triggers",
    ),
    Wrong(
        "a list that is none",
        "agents:\n  name: Good\n",
        1,
        "agents",
        "must be a list",
    ),
    Wrong(
        "an object that is none",
        "agents:\n- {name: Good, protocol: echo}\n- Other\n",
        3,
        "agents[1]",
        "must be keys with values",
    ),
    Wrong(
        "no name",
        "agents:\n- {name: Good, protocol: echo}\n- protocol: echo\n",
        3,
        "agents[1].name",
        "must be a text that is not empty",
    ),
    Wrong(
        "a name twice",
        "agents:\n- {name: Good, protocol: echo}\n- {name: ' Good ', protocol: echo}\n",
        3,
        "agents[1].name",
        "duplicate of agents[0].name",
    ),
    Wrong(
        "a name that is too long",
        "agents:\n- {name: Good, protocol: echo}\n- protocol: echo\n  name: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        4,
        "agents[1].name",
        "at most 100 characters",
    ),
    Wrong(
        "a missing variable",
        "agents:\n- name: Good\n  protocol: echo\n- name: ${NOPE}\n  protocol: echo\n",
        4,
        "agents[1].name",
        "the variable NOPE, which is not set",
    ),
    Wrong(
        "both kinds of lists",
        "organizations: [{id: default}]\nagents:\n- {name: Good, protocol: echo}\n",
        2,
        "agents",
        "below its organization",
    ),
    Wrong(
        "an organization without id",
        "organizations:\n- id: default\n  agents: [{name: Good, protocol: echo}]\n- name: X\n",
        4,
        "organizations[1].id",
        "must be a text that is not empty",
    ),
    Wrong(
        "an organization twice",
        "organizations:\n- id: default\n  agents: [{name: Good, protocol: echo}]\n- id: default\n",
        4,
        "organizations[1].id",
        "duplicate of organizations[0].id",
    ),
    Wrong(
        "another organization",
        "organizations:\n- id: acme\n  agents: [{name: Good, protocol: echo}]\n",
        1,
        "organizations",
        "the file names: acme",
    ),
    Wrong(
        "an unknown key of an organization",
        "organizations:\n- id: default\n  bots: []\n  agents: [{name: Good, protocol: echo}]\n",
        3,
        "organizations[0].bots",
        "id, name, limits, mapper, agents, integrations, triggers",
    ),
    Wrong(
        "a limit that is none",
        "organizations:\n- id: default\n  limits:\n    maxConcurrentRuns: many\n  agents: [{name: Good, protocol: echo}]\n",
        4,
        "organizations[0].limits.maxConcurrentRuns",
        "a whole number",
    ),
    Wrong(
        "a limit of nothing",
        "organizations:\n- id: default\n  limits:\n    maxConcurrentRuns: 0\n  agents: [{name: Good, protocol: echo}]\n",
        4,
        "organizations[0].limits.maxConcurrentRuns",
        "must be from 1 to",
    ),
    Wrong(
        "an unknown limit",
        "organizations:\n- id: default\n  limits: {maxDreams: 1}\n  agents: [{name: Good, protocol: echo}]\n",
        3,
        "organizations[0].limits.maxDreams",
        "maxConcurrentRuns",
    ),
    Wrong(
        "an unknown protocol",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: dify2\n",
        4,
        "agents[1].protocol",
        "openai_chat",
    ),
    Wrong(
        "no protocol",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n",
        3,
        "agents[1].protocol",
        "is required",
    ),
    Wrong(
        "an unknown field of an agent",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: echo\n  modell: m\n",
        5,
        "agents[1].modell",
        "name, protocol, config",
    ),
    Wrong(
        "a config that is none",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: echo\n  config: yes\n",
        5,
        "agents[1].config",
        "must be an object",
    ),
    Wrong(
        "an unknown field of a protocol",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: openai_chat\n  config:\n    baseUrl: https://a.example\n    model: m\n    temperatur: 1\n",
        8,
        "agents[1].config.temperatur",
        "baseUrl",
    ),
    Wrong(
        "a missing field of a protocol",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: openai_chat\n  config:\n    baseUrl: https://a.example\n",
        5,
        "agents[1].config.model",
        "is required",
    ),
    Wrong(
        "an address that is none",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: dify\n  config:\n    apiKey: k\n    baseUrl: agent.example\n",
        7,
        "agents[1].config.baseUrl",
        "address",
    ),
    Wrong(
        "a private address",
        "agents:\n- {name: Good, protocol: echo}\n- name: A\n  protocol: dify\n  config:\n    apiKey: k\n    baseUrl: https://10.0.0.1\n",
        7,
        "agents[1].config.baseUrl",
        "private address",
    ),
    Wrong(
        "an unknown platform",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: whatsapp\n",
        4,
        "integrations[0].platform",
        "telegram",
    ),
    Wrong(
        "no platform",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n",
        3,
        "integrations[0].platform",
        "is required",
    ),
    Wrong(
        "an unknown mode",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: wecom\n  connectionMode: socket\n",
        5,
        "integrations[0].connectionMode",
        "webhook, long_connection",
    ),
    Wrong(
        "a mode that the platform hasn't",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: wecom_app\n  connectionMode: long_connection\n",
        5,
        "integrations[0].connectionMode",
        "allowed: webhook",
    ),
    Wrong(
        "an unknown language",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: web\n  language: de\n",
        5,
        "integrations[0].language",
        "en, zh-CN",
    ),
    Wrong(
        "a switch that is none",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: web\n  streaming: sometimes\n",
        5,
        "integrations[0].streaming",
        "true or false",
    ),
    Wrong(
        "an unknown credential",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: telegram\n  credentials:\n    botToken: '1:a'\n    tokenn: x\n",
        7,
        "integrations[0].credentials.tokenn",
        "botToken",
    ),
    Wrong(
        "a missing credential",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: wecom\n  connectionMode: long_connection\n  credentials: {botId: b}\n",
        6,
        "integrations[0].credentials.secret",
        "is required",
    ),
    Wrong(
        "a credential of the wrong kind",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: telegram\n  credentials:\n    botToken: [a]\n",
        6,
        "integrations[0].credentials.botToken",
        "must be a text",
    ),
    Wrong(
        "an unknown endpoint",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: telegram\n  credentials: {botToken: '1:a'}\n  endpoints:\n    apiUrl: https://a.example\n",
        7,
        "integrations[0].endpoints.apiUrl",
        "apiBase",
    ),
    Wrong(
        "an endpoint without HTTPS",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: I\n  platform: telegram\n  credentials: {botToken: '1:a'}\n  endpoints:\n    apiBase: http://a.example\n",
        7,
        "integrations[0].endpoints.apiBase",
        "can't be used",
    ),
    Wrong(
        "another platform",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- name: There\n  platform: telegram\n",
        4,
        "integrations[0].platform",
        "is on `web`",
    ),
    Wrong(
        "a bot account twice",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- {name: I, platform: wecom, enabled: false, credentials: {botId: b, secret: s}}\n- {name: J, platform: wecom, enabled: false, credentials: {botId: b, secret: s}}\n",
        4,
        "integrations[1].credentials",
        "in the integration `I` already",
    ),
    Wrong(
        "a bot account in use",
        "agents: [{name: Good, protocol: echo}]\nintegrations:\n- {name: I, platform: wecom, enabled: false, credentials: {botId: taken, secret: s}}\n",
        3,
        "integrations[0].credentials",
        "in the integration `Taken` already",
    ),
    Wrong(
        "no integration of a trigger",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- agent: Good\n",
        3,
        "triggers[0].integration",
        "must be a text that is not empty",
    ),
    Wrong(
        "an id in a trigger",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  agentId: agt_1\n",
        5,
        "triggers[0].agentId",
        "allowed: integration, agent, enabled, sessionTimeoutSeconds, summaryWindowSeconds, sessionScope,",
    ),
    Wrong(
        "a misspelt field of a trigger",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  sessionTimeout: 60\n",
        5,
        "triggers[0].sessionTimeout",
        "allowed: integration, agent, enabled, sessionTimeoutSeconds, summaryWindowSeconds, sessionScope,",
    ),
    Wrong(
        "an integration that isn't there",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- agent: Good\n  integration: Nowhere\n",
        4,
        "triggers[0].integration",
        "There",
    ),
    Wrong(
        "an agent that isn't there",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Unknown\n",
        4,
        "triggers[0].agent",
        "Good",
    ),
    Wrong(
        "a pair twice",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- {integration: There, agent: Good}\n- {integration: There, agent: Good, enabled: false}\n",
        4,
        "triggers[1]",
        "has a trigger already",
    ),
    Wrong(
        "two enabled triggers",
        "agents: [{name: Good, protocol: echo}, {name: Other, protocol: echo}]\ntriggers:\n- {integration: There, agent: Good}\n- {integration: There, agent: Other}\n",
        4,
        "triggers[1]",
        "at most one can be enabled",
    ),
    Wrong(
        "an unknown scope",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  sessionScope: group\n",
        5,
        "triggers[0].sessionScope",
        "sender, chat",
    ),
    Wrong(
        "an unknown policy",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  busyPolicy: wait\n",
        5,
        "triggers[0].busyPolicy",
        "queue, interrupt",
    ),
    Wrong(
        "a window that is too long",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  summaryWindowSeconds: 901\n",
        5,
        "triggers[0].summaryWindowSeconds",
        "at most 900",
    ),
    Wrong(
        "a negative time",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  sessionTimeoutSeconds: -1\n",
        5,
        "triggers[0].sessionTimeoutSeconds",
        "a whole number from 0",
    ),
    Wrong(
        "an access list that is none",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  access:\n    users: lisi\n",
        6,
        "triggers[0].access.users",
        "must be a list",
    ),
    Wrong(
        "an empty person",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  access:\n    users:\n    - lisi\n    - ''\n",
        8,
        "triggers[0].access.users[1]",
        "1 to 256 bytes",
    ),
    Wrong(
        "an unknown field of access",
        "agents: [{name: Good, protocol: echo}]\ntriggers:\n- integration: There\n  agent: Good\n  access: {people: []}\n",
        5,
        "triggers[0].access.people",
        "users, chats, pairing",
    ),
    Wrong(
        "notifications to two places",
        "agents: [{name: Good, protocol: echo}]\nnotify:\n  webhook: {url: 'https://x.example', secret: 0123456789abcdef}\n  chat: {integration: There, chatId: c}\n",
        4,
        "notify.chat",
        "can't be combined with webhook",
    ),
    Wrong(
        "a short secret of notifications",
        "agents: [{name: Good, protocol: echo}]\nnotify:\n  webhook:\n    url: https://x.example\n    secret: short\n",
        5,
        "notify.webhook.secret",
        "at least 16 characters",
    ),
    Wrong(
        "notifications by a bot that isn't there",
        "agents: [{name: Good, protocol: echo}]\nnotify:\n  chat:\n    integration: Nowhere\n    chatId: c\n",
        4,
        "notify.chat.integration",
        "the name of an integration",
    ),
    Wrong(
        "notifications by a bot that only answers",
        "agents: [{name: Good, protocol: echo}]\nnotify:\n  chat: {integration: There, chatId: c}\n",
        3,
        "notify.chat.integration",
        "lets the bot only answer",
    ),
    Wrong(
        "an unknown field of notifications",
        "agents: [{name: Good, protocol: echo}]\nnotify:\n  webhook: {url: 'https://x.example', secret: 0123456789abcdef}\n  mail: a@b.example\n",
        4,
        "notify.mail",
        "webhook, chat, language",
    ),
];

/// A bridge with an integration `There`, and one that owns the bot account `taken`.
async fn api() -> TestApi {
    let api = TestApi::guarded().await;
    api.web("There").await;
    let taken = json!({ "name": "Taken", "platform": "wecom", "enabled": false,
        "credentials": { "botId": "taken", "secret": "s" } });
    api.create(&format!("{DEFAULT}/integrations"), taken).await;
    api
}

async fn owned(api: &TestApi) -> Vec<Value> {
    let mut lists = Vec::new();
    for list in ["agents", "integrations", "triggers"] {
        lists.push(api.get(&format!("{DEFAULT}/{list}")).await.ok());
    }
    lists.push(api.get("/api/v1/orgs").await.ok());
    lists
}

#[tokio::test]
async fn wrong_file_is_refused_with_line_field_and_allowed_values() {
    assert!(WRONG.len() >= 40);
    let api = api().await;
    let before = owned(&api).await;
    let mut failures = Vec::new();
    for Wrong(what, file, line, field, allowed) in WRONG {
        for query in ["?dryRun=true", ""] {
            let reply = api
                .post(&format!("{DEFAULT}/apply{query}"), json!({ "file": file }))
                .await;
            let body = reply.json();
            let errors = body["errors"].as_array().cloned().unwrap_or_default();
            let found = match errors.as_slice() {
                [one] => {
                    (reply.status.as_u16(), &one["line"], &one["field"]) == (400, &json!(line), &json!(field))
                        && body["code"] == "invalid_file"
                        && one["detail"].as_str().unwrap().contains(allowed)
                }
                _ => false,
            };
            if !found {
                failures.push(format!("{what}: {body}"));
            }
        }
        assert_eq!(owned(&api).await, before, "{what}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn all_mistakes_of_a_file_are_reported_at_once() {
    let api = api().await;
    let file = "agents:
- name: A
  protocol: openai_chat
  modell: m
  config: {temperatur: 1}
- name: B
  protocol: dify2
integrations:
- name: I
  platform: wecom
  connectionMode: webhook
  credentials: {}
triggers:
- {integration: Nowhere, agent: A, busyPolicy: wait}
";
    let problem = api
        .post(&format!("{DEFAULT}/apply"), json!({ "file": file }))
        .await
        .problem(400, "invalid_file");
    let errors = problem["errors"].as_array().unwrap();
    let found: Vec<_> = errors
        .iter()
        .map(|it| (it["line"].as_u64().unwrap(), it["field"].as_str().unwrap()))
        .collect();
    for expected in [
        (4, "agents[0].modell"),
        (5, "agents[0].config.temperatur"),
        (5, "agents[0].config.baseUrl"),
        (5, "agents[0].config.model"),
        (7, "agents[1].protocol"),
        (12, "integrations[0].credentials.token"),
        (12, "integrations[0].credentials.encodingAesKey"),
        (14, "triggers[0].integration"),
        (14, "triggers[0].busyPolicy"),
    ] {
        assert!(found.contains(&expected), "{expected:?}: {problem}");
    }
    assert!(
        errors
            .iter()
            .all(|it| it["column"].as_u64().is_some_and(|column| column > 0)),
        "{problem}"
    );
}

/// Each key, variable, trigger or setting of a file can be a mistake, and a file has room for tens of thousands.
#[tokio::test]
async fn number_of_reported_mistakes_is_bounded() {
    let api = api().await;
    let lines = |line: &dyn Fn(usize) -> String| (0..20_000).map(line).collect::<String>();
    let triggers = |n: usize| format!("- {{integration: I{n}, agent: A{n}}}\n");
    let files = [
        lines(&|n| format!("key{n}: 1\n")),
        lines(&|_| "key: 1\n".to_owned()),
        format!("agents:\n{}", lines(&|n| format!("- name: ${{V{n}}}\n"))),
        format!(
            "agents:\n{}",
            lines(&|n| format!("- {{name: A{n}, protocol: wrong}}\n"))
        ),
        format!("triggers:\n{}", lines(&triggers)),
    ];
    for file in files {
        let problem = api
            .post(&format!("{DEFAULT}/apply"), json!({ "file": file }))
            .await
            .problem(400, "invalid_file");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("more than 100 mistakes"), "{detail}");
    }
}
