//! Several agents behind a bot: routes, and choice by people.

use serde_json::{Value, json};

use crate::test_api::{Asked, DEFAULT, TestApi};

/// An English bot with this trigger.
async fn bot(api: &TestApi, agent: &str, settings: Value) -> (String, String) {
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let bot = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let mut trigger = json!({ "integrationId": bot, "agentId": agent });
    let fields = trigger.as_object_mut().unwrap();
    fields.extend(settings.as_object().unwrap().clone());
    let trigger = api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    (bot, trigger)
}

fn words(asked: &Asked) -> String {
    let asked = asked.lock().unwrap();
    asked.iter().map(|(_, body)| body.as_str()).collect()
}

#[tokio::test]
async fn first_matching_route_answers_and_agents_do_not_see_each_others_messages() {
    let api = TestApi::new().await;
    let ((own, own_asked), (hr, hr_asked), (vip, _)) = (
        api.named_agent("Helper").await,
        api.named_agent("HR").await,
        api.named_agent("VIP").await,
    );
    let routes = json!([{ "agent": hr, "firstWord": "hr" }, { "agent": vip, "users": ["boss"], "chats": ["c"] }]);
    let (web, _) = bot(&api, &own, json!({ "routes": routes })).await;
    api.work();
    assert_eq!(api.ask_as(&web, "lisi", "a secret for Helper").await, "from Helper");
    assert_eq!(api.ask_as(&web, "lisi", "HR how many holidays?").await, "from HR");
    assert_eq!(api.ask_as(&web, "lisi", "and again").await, "from Helper");
    assert_eq!(api.ask_as(&web, "boss", "hello").await, "from VIP");
    assert_eq!(api.ask_as(&web, "boss", "hr hello").await, "from HR");
    let (own, hr) = (words(&own_asked), words(&hr_asked));
    assert!(hr.contains("how many holidays?") && !hr.contains("secret"), "{hr}");
    assert!(own.contains("and again") && !own.contains("holidays"), "{own}");
}

#[tokio::test]
async fn person_chooses_an_agent_until_the_session_ends() {
    let api = TestApi::new().await;
    let ((own, _), (hr, hr_asked)) = (
        api.named_agent("Helper").await,
        api.named_agent("Human Resources").await,
    );
    api.named_agent("Other").await;
    let routes = json!([{ "agent": hr, "users": ["boss"] }]);
    let (web, trigger) = bot(&api, &own, json!({ "routes": routes })).await;
    api.work();
    let ask = async |text: &str| api.ask_as(&web, "lisi", text).await;
    let listed = ask("/agents").await;
    assert!(
        listed.contains("1. Helper (answers now)\n2. Human Resources\n"),
        "{listed}"
    );
    assert!(ask("/help").await.contains("/agent NAME"));
    let told = ask("/agent Other").await;
    assert!(
        told.contains("no agent of this name") && told.contains("2. Human"),
        "{told}"
    );
    assert_eq!(ask("one").await, "from Helper");
    assert!(
        ask("/agent human resources")
            .await
            .starts_with("Human Resources answers from now on")
    );
    for text in ["two", "three"] {
        assert_eq!(ask(text).await, "from Human Resources");
    }
    let status = ask("/status").await;
    assert!(
        status.contains("Agent: Human Resources\n") && status.contains("no. 2"),
        "{status}"
    );
    assert!(ask("/agent").await.contains("2. Human Resources (answers now)"));
    let asked = words(&hr_asked);
    assert!(asked.contains("three") && !asked.contains("one"), "{asked}");
    ask("/agent 1").await;
    assert_eq!(ask("four").await, "from Helper");
    ask("/agent 2").await;
    ask("/new").await;
    assert_eq!(ask("five").await, "from Helper", "/new ends the choice");

    let path = format!("{DEFAULT}/triggers/{trigger}");
    api.patch(&path, json!({ "routes": [], "agentChoice": true }))
        .await
        .ok();
    assert!(ask("/agents").await.contains("Other"));
    ask("/agent Other").await;
    assert_eq!(ask("six").await, "from Other");
    api.patch(&path, json!({ "agentChoice": false })).await.ok();
    assert_eq!(ask("seven").await, "from Helper");
    for text in ["/agents", "/agent Other"] {
        assert_eq!(ask(text).await, "from Helper", "text for the agent");
    }
}

#[tokio::test]
async fn routes_are_validated_and_their_agents_cannot_be_deleted() {
    let api = TestApi::new().await;
    let ((own, _), (hr, _)) = (api.named_agent("Helper").await, api.named_agent("HR").await);
    let (web, trigger) = bot(&api, &own, json!({ "routes": [{ "agent": hr, "firstWord": "hr" }] })).await;
    let path = format!("{DEFAULT}/triggers/{trigger}");
    let wrong = [
        (json!([{ "agent": hr }]), "routes[0]"),
        (json!([{ "agent": hr, "firstWord": "/new" }]), "routes[0].firstWord"),
        (
            json!([{ "agent": hr, "firstWord": "two words" }]),
            "routes[0].firstWord",
        ),
        (json!([{ "agent": hr, "users": [""] }]), "routes[0].users[0]"),
        (json!(vec![json!({ "agent": hr, "firstWord": "x" }); 21]), "routes"),
    ];
    for (routes, field) in wrong {
        let problem = api.patch(&path, json!({ "routes": routes })).await;
        assert_eq!(
            problem.problem(400, "invalid_field")["field"],
            field,
            "{}",
            problem.text
        );
    }
    let unknown = json!({ "routes": [{ "agent": hr, "words": ["x"] }] });
    api.patch(&path, unknown).await.problem(400, "unknown_field");
    let admin = api.organization("acme", "admin").await;
    let body = json!({ "name": "Theirs", "protocol": "echo", "config": {} });
    let theirs = api.ask(&admin, "POST", "/api/v1/orgs/acme/agents", &body).await.ok();
    for id in ["agt_none", theirs["id"].as_str().unwrap()] {
        let routes = json!([{ "agent": hr, "firstWord": "a" }, { "agent": id, "firstWord": "b" }]);
        let problem = api.patch(&path, json!({ "routes": routes })).await;
        assert_eq!(problem.problem(404, "agent_not_found")["field"], "routes[1].agent");
    }
    let shown = api.get(&path).await.ok();
    let route = json!({ "agent": hr, "chats": [], "users": [], "firstWord": "hr" });
    assert_eq!(
        (&shown["routes"], &shown["agentChoice"]),
        (&json!([route]), &json!(false))
    );

    let of_hr = format!("{DEFAULT}/agents/{hr}");
    let problem = api.delete(&of_hr).await.problem(409, "in_use");
    assert_eq!(problem["impact"]["triggers"][0]["id"], trigger, "{problem}");
    let impact = api.get(&format!("{DEFAULT}/integrations/{web}/impact")).await.ok();
    assert_eq!(impact["agents"].as_array().unwrap().len(), 2, "{impact}");
    // Counted once, although the trigger refers to it twice.
    let twice = json!([{ "agent": hr, "firstWord": "a" }, { "agent": hr, "firstWord": "b" }]);
    api.patch(&path, json!({ "routes": twice })).await.ok();
    api.patch(&path, json!({ "enabled": false })).await.ok();
    api.patch(&path, json!({ "enabled": true })).await.ok();
    api.delete(&of_hr).await.problem(409, "in_use");
    api.patch(&path, json!({ "routes": [] })).await.ok();
    assert_eq!(api.delete(&of_hr).await.status, 204);
}

#[tokio::test]
async fn routes_are_applied_and_exported_by_name() {
    let api = TestApi::new().await;
    let apply = async |file: &str| api.post(&format!("{DEFAULT}/apply"), json!({ "file": file })).await;
    let file = |routes: &str| {
        format!(
            "agents: [{{name: A, protocol: echo}}, {{name: B, protocol: echo}}]\nintegrations: [{{name: P, platform: web}}]\n\
             triggers: [{{integration: P, agent: A, routes: {routes}}}]"
        )
    };
    assert_eq!(apply(&file("[{agent: B, firstWord: hr}]")).await.ok()["created"], 4);
    let agents = api.get(&format!("{DEFAULT}/agents")).await.ok();
    let triggers = api.get(&format!("{DEFAULT}/triggers")).await.ok();
    let named = agents["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|agent| agent["name"] == "B");
    assert_eq!(triggers["items"][0]["routes"][0]["agent"], named.unwrap()["id"]);
    let exported = api.get(&format!("{DEFAULT}/export")).await.text;
    assert!(exported.contains("- agent: B\n"), "{exported}");
    assert_eq!(apply(&exported).await.ok()["updated"], 0, "{exported}");
    let done = apply(&file("[{agent: B, users: [boss]}]")).await.ok();
    assert_eq!(done["updated"], 1, "{done}");
    let wrong = apply(&file("[{agent: C, firstWord: hr}]"))
        .await
        .problem(400, "invalid_file");
    assert_eq!(wrong["errors"][0]["field"], "triggers[0].routes[0].agent", "{wrong}");
    let wrong = apply(&file("[{agent: B}]")).await.problem(400, "invalid_file");
    assert_eq!(wrong["errors"][0]["field"], "triggers[0].routes[0]", "{wrong}");
    assert_eq!(apply(&file("[]")).await.ok()["updated"], 1);
}
