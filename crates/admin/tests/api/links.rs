//! Files behind signed links.

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::Value;
use tieline_bridge::{media, reply_links};
use tieline_core::agent::AgentEvent;
use tieline_core::ids::{ConversationId, IntegrationId, MessageId, OrganizationId, ReplyId, SenderId};
use tieline_core::reply::Stage;
use tieline_store::reply::{self, About, ReplyRecord};

use crate::test_api::TestApi;

const N_BYTES: usize = 300_000;

/// Stores a file of an agent and returns the path of its link.
async fn kept(api: &TestApi) -> (String, String) {
    let text: String = ('a'..='z').cycle().take(N_BYTES).collect();
    let given = AgentEvent::FileBytes {
        bytes: text.clone().into_bytes(),
        name: "a.txt".to_owned(),
        mime: "text/plain".to_owned(),
    };
    let AgentEvent::File(file) = media::keep(&api.world, &OrganizationId::new("default"), given)
        .await
        .unwrap()
    else {
        panic!("a file by content is kept as one by address");
    };
    let path = file.url.strip_prefix(&api.world.settings.public_url).unwrap();
    (text, path.to_owned())
}

#[tokio::test]
async fn file_is_served_whole_with_content_length() {
    let api = TestApi::new().await;
    let (text, path) = kept(&api).await;
    for method in ["GET", "HEAD"] {
        let answer = api.ask("", method, &path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.headers[CONTENT_LENGTH], *N_BYTES.to_string(), "{method}");
        assert_eq!(answer.headers[CONTENT_TYPE], "text/plain", "{method}");
        assert!(answer.headers.contains_key(CONTENT_DISPOSITION), "{method}");
        let expected = if method == "GET" { text.as_str() } else { "" };
        assert!(answer.text == expected, "{method}: {} bytes", answer.text.len());
    }
    let all = api.world.settings.max_passing_bytes;
    let free = api
        .world
        .file_budget
        .take(&OrganizationId::new("default"), all, std::time::Duration::from_secs(20))
        .await;
    assert!(free.is_some(), "the memory budget is released after GET and HEAD");
}

#[tokio::test]
async fn path_that_is_not_valid_utf8_gets_the_answer_of_an_unknown_one() {
    let api = TestApi::new().await;
    for (unknown, unreadable) in [
        ("/api/media/x", "/api/media/%FF"),
        ("/api/replies/x", "/api/replies/%FF"),
        ("/api/runs/x/events", "/api/runs/%FF/events"),
    ] {
        let seen = async |path: &str| {
            let answer = api.ask("t", "GET", path, &Value::Null).await;
            (answer.status, answer.headers[CONTENT_TYPE].clone(), answer.text)
        };
        assert_eq!(seen(unreadable).await, seen(unknown).await);
        assert_eq!(seen(unknown).await.1, "application/problem+json");
    }
}

/// A link may have many slow readers, each of which holds the answer in memory.
#[tokio::test]
async fn long_answers_are_counted_against_the_memory_budget() {
    let api = TestApi::new().await;
    let (world, organization, now) = (&api.world, OrganizationId::new("default"), api.world.clock.now());
    let path = async |text: &str| {
        let about = About {
            reply: &ReplyId::new(format!("tl-{}", text.len())),
            organization: &organization,
            integration: &IntegrationId::new("int_1"),
            conversation: &ConversationId::new("cnv_1"),
            message: &MessageId::new("msg_1"),
            asker: &SenderId::new("lisi"),
            received_at: now,
        };
        let mut record = ReplyRecord {
            stage: Stage::Final,
            text: text.to_owned(),
            ..ReplyRecord::blank(&about)
        };
        reply::save(&world.store, None, &mut record, now).await.unwrap();
        let link = reply_links::link(world, &record);
        link.strip_prefix(&world.settings.public_url).unwrap().to_owned()
    };
    let (long, short) = ("x".repeat(N_BYTES), "short");
    let (long_path, short_path) = (path(&long).await, path(short).await);
    let status = async |path: &str| api.ask("", "GET", path, &Value::Null).await.status;

    let all = world.settings.max_passing_bytes;
    let taken = world
        .file_budget
        .take(&organization, all, std::time::Duration::ZERO)
        .await;
    assert!(taken.is_some());
    assert_eq!(status(&long_path).await, 503);
    assert_eq!(status(&short_path).await, 200);
    drop(taken);
    let answer = api.ask("", "GET", &long_path, &Value::Null).await;
    assert_eq!(answer.headers[CONTENT_LENGTH], *N_BYTES.to_string());
    assert!(answer.text == long, "{} bytes", answer.text.len());
}
