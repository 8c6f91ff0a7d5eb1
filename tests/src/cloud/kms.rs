//! A fake KMS with the calls of data keys: it generates wrapped keys, and unwraps only those.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tieline_bridge::world::random;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running key service.
pub(super) struct Kms {
    pub(super) url: String,
    serving: JoinHandle<()>,
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Service {
    key_id: String,
    /// Plain keys by their wrapped form.
    keys: Arc<Mutex<HashMap<String, [u8; 32]>>>,
}

impl Kms {
    /// Starts a service with the single key `key_id`.
    pub(super) async fn start(key_id: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = Service {
            key_id: key_id.to_owned(),
            keys: Arc::default(),
        };
        let router = Router::new().route("/", post(answer)).with_state(service);
        let serving = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, serving })
    }
}

/// See [KMS API/GenerateDataKeyWithoutPlaintext](https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKeyWithoutPlaintext.html)
/// and [KMS API/Decrypt](https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html).
async fn answer(State(service): State<Service>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let refused = |kind: &str| (StatusCode::BAD_REQUEST, Json(json!({ "__type": kind })));
    let Ok(body) = serde_json::from_str::<Value>(&body) else {
        return refused("ValidationException");
    };
    if body["KeyId"] != service.key_id.as_str() {
        return refused("NotFoundException");
    }
    let mut keys = service.keys.lock().unwrap_or_else(PoisonError::into_inner);
    let target = headers.get("x-amz-target").and_then(|it| it.to_str().ok());
    let answer = match target {
        Some("TrentService.GenerateDataKeyWithoutPlaintext") if body["NumberOfBytes"] == 32 => {
            let wrapped = STANDARD.encode(random::<48>());
            keys.insert(wrapped.clone(), random());
            json!({ "KeyId": service.key_id, "CiphertextBlob": wrapped })
        }
        Some("TrentService.Decrypt") => match body["CiphertextBlob"].as_str().and_then(|it| keys.get(it)) {
            Some(key) => json!({ "KeyId": service.key_id, "Plaintext": STANDARD.encode(key) }),
            None => return refused("InvalidCiphertextException"),
        },
        _ => return refused("UnknownOperationException"),
    };
    (StatusCode::OK, Json(answer))
}
