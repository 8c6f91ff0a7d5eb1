//! Messages without faults.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::cloud::{Plan, Servers};
use tieline_tests::wecom::{Bot, Cipher, ResponseServer, Speaker};

use super::{PATIENCE, deploy, web, writer};

fn story(text: &str) -> Vec<String> {
    let pieces = [
        "你问的是：",
        text,
        "。\n\n",
        "第一，",
        "第二，",
        "and third: ",
        "done ✅",
    ];
    pieces.map(str::to_owned).into()
}

pub(crate) async fn callback_becomes_a_growing_answer(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let (agent, responses) = (
        writer(Duration::from_millis(300), story).await,
        ResponseServer::start().await,
    );
    let cipher = Cipher::fresh();
    let draft = Bot::new(cipher.clone(), String::new());
    let id = cloud
        .bind(&draft.as_integration("bot"), &agent.as_chat("writer"))
        .await
        .unwrap();
    let bot = Bot::new(cipher, format!("{}/api/wecom/webhook/{id}", cloud.emulator.url()));
    let asker = Speaker::in_group("u1", "room");

    let message = bot.text(&asker, "m1", "@Helper 天气如何", &responses.url_for("m1"));
    let shown = bot.converse(&asker, &message, PATIENCE).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));

    let whole = story("天气如何").concat();
    let last = shown.last().unwrap();
    assert_eq!((last.content.as_str(), last.finish), (whole.as_str(), true));
    let grown = shown
        .iter()
        .filter(|it| !it.finish && !it.content.is_empty() && whole.starts_with(&it.content));
    assert!(grown.count() >= 1, "the text did not grow: {shown:?}");
    assert_eq!(agent.seen().len(), 1);
    assert_eq!((responses.said(), responses.refused()), (vec![], vec![]));
    for function in cloud.emulator.functions() {
        assert_eq!(function.stats().errors, 0, "{}", cloud.log_tail());
    }
}

pub(crate) async fn typed_message_is_answered_in_pieces(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = writer(Duration::from_millis(300), story).await;
    let id = cloud.bind(&web("page"), &agent.as_chat("writer")).await.unwrap();
    let console = cloud.console();
    let (_, reply) = console.say(&id, "chat", "hello", "m1").await.unwrap();
    let shown = console.read(&reply).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    assert!(shown.len() >= 3, "expected at least 3 states: {shown:?}");
    let last = shown.last().unwrap();
    assert_eq!(
        (&last["text"], &last["done"]),
        (&json!(story("hello").concat()), &json!(true))
    );
    // With the same id it is the same message, and has its answer.
    let (_, again) = console.say(&id, "chat", "hello", "m1").await.unwrap();
    assert_eq!(again, reply);
    assert_eq!(
        console.read(&again).await.unwrap().last().unwrap()["text"],
        last["text"]
    );
    assert_eq!(agent.seen().len(), 1);
}

pub(crate) async fn callback_sent_five_times_is_answered_once(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = FakeAgent::start(Manner::default()).await;
    let responses = ResponseServer::start().await;
    let cipher = Cipher::fresh();
    let draft = Bot::new(cipher.clone(), String::new());
    let id = cloud
        .bind(&draft.as_integration("bot"), &agent.as_webhook("hook"))
        .await
        .unwrap();
    let bot = Bot::new(cipher, format!("{}/api/wecom/webhook/{id}", cloud.emulator.url()));
    let asker = Speaker::alone("u1");
    let message = bot.text(&asker, "m1", "once", &responses.url_for("m1"));

    let answers = join_all((0..5).map(|_| bot.converse(&asker, &message, PATIENCE))).await;
    for shown in answers {
        let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
        assert_eq!(shown.last().unwrap().content, "echo: once");
    }
    // Also later, when the queue's deduplication window has passed: the ledger still has the message.
    let shown = bot.converse(&asker, &message, PATIENCE).await.unwrap();
    assert_eq!(shown.last().unwrap().content, "echo: once");
    assert_eq!(agent.seen().len(), 1);
}

pub(crate) async fn unsigned_callbacks_and_probes_get_uniform_answers(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = FakeAgent::start(Manner::default()).await;
    let cipher = Cipher::fresh();
    let draft = Bot::new(cipher.clone(), String::new());
    let id = cloud
        .bind(&draft.as_integration("bot"), &agent.as_chat("chat"))
        .await
        .unwrap();
    let base = format!("{}/api/wecom/webhook", cloud.emulator.url());
    let real = Bot::new(cipher, format!("{base}/{id}"));
    let forger = Bot::new(Cipher::fresh(), format!("{base}/{id}"));
    let stranger = Bot::new(Cipher::fresh(), format!("{base}/int_unknown"));
    for bot in [&forger, &stranger] {
        let (query, body, _) = bot.cipher.callback("{}");
        let (status, body, _) = bot.send_raw(&query, body).await.unwrap();
        assert_eq!((status, body.as_str()), (401, ""), "{}", cloud.log_tail());
    }
    let too_long = "x".repeat(1024 * 1024 + 1);
    assert_eq!(real.send_raw("msg_signature=a", too_long).await.unwrap().0, 413);
    for probed in [&real, &stranger] {
        let probe = reqwest::get(&probed.callback_url).await.unwrap();
        assert_eq!(
            (probe.status().as_u16(), probe.text().await.unwrap().as_str()),
            (200, "ok")
        );
    }
    assert_eq!(agent.seen().len(), 0);
}
