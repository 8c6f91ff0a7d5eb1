//! Files that are hard to apply, and what an export keeps when it is applied later.

use serde_json::json;

use crate::test_api::{DEFAULT, TestApi};

#[tokio::test]
async fn triggers_whose_titles_look_alike_are_applied() {
    let api = TestApi::new().await;
    let file = "
agents: [{name: c, protocol: echo}, {name: b -> c, protocol: echo}]
integrations: [{name: a, platform: web}, {name: a -> b, platform: web}]
triggers: [{integration: a, agent: b -> c}, {integration: a -> b, agent: c}]
";
    let apply = async || api.post(&format!("{DEFAULT}/apply"), json!({ "file": file })).await;
    assert_eq!(apply().await.ok()["created"], 6);
    assert_eq!(apply().await.ok()["unchanged"], 6);
}
