//! `tieline login`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bridge::{Bridge, Said, TOKEN, tieline};

#[test]
fn platform_without_login_is_reported() {
    let bridge = Bridge::start();
    let said = bridge.tieline(&["login", "Playground"]).bad();
    assert!(said.contains("scan-code login"), "{said}");
}

/// A bridge with a login that proceeds by itself: each poll returns the next state.
async fn play(states: Vec<Value>) -> String {
    let n_looks = Arc::new(AtomicUsize::new(0));
    let next = move || {
        let at = n_looks.fetch_add(1, Ordering::SeqCst).min(states.len() - 1);
        let state = states[at].clone();
        async move { Json(state) }
    };
    let path = "/api/v1/orgs/default/integrations/int_1";
    let api = Router::new()
        .route(path, get(|| async { Json(json!({ "id": "int_1" })) }))
        .route(&format!("{path}/login"), get(next.clone()).post(next));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, api).await });
    url
}

async fn login(states: Vec<Value>) -> Said {
    let url = play(states).await;
    let run = move || Said::of(tieline().args(["login", "int_1", "--url", &url, "--admin-token", TOKEN]));
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn login_code_is_drawn_again_only_after_it_expires() {
    let state = |state: &str, url: &str| json!({ "state": state, "qrUrl": url, "expiresAt": "2030-01-01T00:00:00Z" });
    let (first, second) = ("https://example.com/q/1", "https://example.com/q/2");
    let states = vec![
        state("waiting", first),
        state("waiting", first),
        state("expired", first),
        state("waiting", second),
        state("scanned", second),
        state("confirmed", second),
    ];
    let said = login(states).await.good();
    assert_eq!(said.matches(first).count(), 1, "{said}");
    assert_eq!(said.matches(second).count(), 1, "{said}");
    assert!(said.contains('█') && said.contains('▀'), "{said}");
    assert!(said.ends_with("Scanned. Confirm on the phone.\nLogged in.\n"), "{said}");
}

#[tokio::test]
async fn refused_login_fails_with_its_reason() {
    let refused = json!({ "state": "refused", "code": "account is\nlocked" });
    let said = login(vec![refused]).await;
    assert_eq!(said.bad(), "tieline: the login was refused: account is locked\n");
}
