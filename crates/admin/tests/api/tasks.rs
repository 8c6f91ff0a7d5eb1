//! Task mode in direct chats: commands, menus, and binding to a task through the API.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

const LISI: &str = "lisi";

/// A bridge with an English web bot whose trigger has these settings.
async fn bot(settings: Value) -> (TestApi, String) {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let integration = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    let mut trigger = json!({ "integrationId": integration, "agentId": agent });
    trigger
        .as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    (api, integration)
}

/// The only conversation of the bot.
async fn conversation(api: &TestApi, integration: &str) -> Value {
    let path = format!("{DEFAULT}/integrations/{integration}/conversations");
    let listed = api.get(&path).await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    listed["items"][0].clone()
}

async fn session(api: &TestApi, integration: &str) -> String {
    conversation(api, integration).await["sessionId"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn tasks_survive_new_chats_and_are_shown_in_lists() {
    let (api, web) = bot(json!({ "taskMode": true })).await;
    let ask = async |text: &str| api.ask_as(&web, LISI, text).await;
    ask("hello").await;
    let chat = session(&api, &web).await;
    assert!(ask("/task Deploy").await.contains("New task “Deploy”"));
    ask("step one").await;
    let deploy = session(&api, &web).await;
    let shown = conversation(&api, &web).await;
    assert_eq!((&shown["mode"], &shown["task"]), (&json!("task"), &json!("Deploy")));
    assert!(ask("/status").await.contains("Mode: task “Deploy”"));

    let menu = ask(" /new ").await;
    assert!(
        menu.contains("1. A new chat") && menu.contains("3. Continue a recent task"),
        "{menu}"
    );
    assert_eq!(ask("1").await, "A new session has begun.");
    ask("hello again").await;
    let fresh = session(&api, &web).await;
    assert!(fresh != chat && fresh != deploy);
    let shown = conversation(&api, &web).await;
    assert_eq!((&shown["mode"], &shown["task"]), (&json!("chat"), &Value::Null));
    assert_eq!(shown["tasks"], json!(["Deploy"]));

    assert!(ask("/new").await.contains("3."));
    assert!(ask("3").await.contains("1. Deploy"));
    assert!(ask("1").await.contains("“Deploy”"));
    assert_eq!(session(&api, &web).await, deploy);
    assert!(ask("/CHAT").await.contains("in the chat"));
    assert_eq!(session(&api, &web).await, fresh);
}

#[tokio::test]
async fn text_closes_a_menu_and_goes_to_the_agent() {
    let (api, web) = bot(json!({ "taskMode": true })).await;
    let ask = async |text: &str| api.ask_as(&web, LISI, text).await;
    ask("/new").await;
    let answer = ask("never mind, what is up?").await;
    assert!(answer.contains("never mind"), "{answer}");
    let answer = ask("1").await;
    assert!(!answer.contains("session"), "the menu is closed: {answer}");
    assert_eq!(ask("/cancel").await, "There is nothing to cancel.");
    ask("/new").await;
    assert!(ask("/cancel").await.starts_with("Cancelled"));
    assert!(ask("/switch").await.contains("What shall the task be called"));
    assert!(ask("Weekly report").await.contains("New task “Weekly report”"));
    // With a text there is no menu: the text is the first input of a new session.
    let answer = ask("/new what is this?").await;
    assert!(answer.contains("what is this?"), "{answer}");
    assert_eq!(conversation(&api, &web).await["mode"], "chat");
}

#[tokio::test]
async fn without_task_mode_its_commands_are_text() {
    let (api, web) = bot(json!({})).await;
    let ask = async |text: &str| api.ask_as(&web, LISI, text).await;
    for text in ["/task Deploy", "/chat", "/bind x", "/cancel"] {
        let answer = ask(text).await;
        assert!(answer.contains(text), "{answer}");
    }
    assert_eq!(ask("/new").await, "A new session has begun.");
    assert!(!ask("/help").await.contains("/task"));
}

#[tokio::test]
async fn conversation_is_bound_to_a_task_through_the_api() {
    let (api, web) = bot(json!({ "taskMode": true })).await;
    api.ask_as(&web, LISI, "hello").await;
    let before = conversation(&api, &web).await;
    let path = format!(
        "{DEFAULT}/integrations/{web}/conversations/{}/bind",
        before["id"].as_str().unwrap()
    );
    let body = json!({ "task": "Release 7", "conversationRef": "thread_7" });
    let bound = api.post(&path, body.clone()).await.ok();
    assert_eq!((&bound["mode"], &bound["task"]), (&json!("task"), &json!("Release 7")));
    assert_ne!(bound["sessionId"], before["sessionId"]);
    let again = api.post(&path, body).await.ok();
    assert_eq!(again, bound, "binding twice changes nothing");
    let audit = api.get(&format!("{DEFAULT}/audit")).await.ok();
    let is_binding = |entry: &&Value| entry["action"] == "conversation.bind";
    assert_eq!(audit["items"].as_array().unwrap().iter().filter(is_binding).count(), 1);
    api.ask_as(&web, LISI, "go on").await;
    assert_eq!(session(&api, &web).await, bound["sessionId"].as_str().unwrap());

    for (body, field) in [
        (json!({ "task": " " }), "task"),
        (json!({ "task": "a".repeat(61) }), "task"),
        (json!({ "task": "a", "conversationRef": "" }), "conversationRef"),
    ] {
        assert_eq!(
            api.post(&path, body).await.problem(400, "invalid_field")["field"],
            field
        );
    }
    let nowhere = path.replace(before["id"].as_str().unwrap(), "cnv_nothing");
    api.post(&nowhere, json!({ "task": "a" }))
        .await
        .problem(404, "conversation_not_found");
}

#[tokio::test]
async fn conversation_without_task_mode_is_not_bound() {
    let (api, web) = bot(json!({})).await;
    api.ask_as(&web, LISI, "hello").await;
    let id = conversation(&api, &web).await["id"].as_str().unwrap().to_owned();
    let path = format!("{DEFAULT}/integrations/{web}/conversations/{id}/bind");
    api.post(&path, json!({ "task": "a" }))
        .await
        .problem(409, "task_mode_off");
}
