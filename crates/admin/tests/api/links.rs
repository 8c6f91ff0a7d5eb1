//! Files behind signed links.

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::Value;
use tieline_bridge::media;
use tieline_core::agent::AgentEvent;
use tieline_core::ids::OrganizationId;

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
