//! The HTTP API: requests as events, answers as responses, and its limits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tieline_tests::lambda::{AtCapacity, Config, Emulator, FunctionConfig, Outcome, Route};

use super::{Journal, probe, until_true};

async fn start_http(function: FunctionConfig, keys: &[&str]) -> Emulator {
    let routes = keys.iter().map(|key| Route::new(*key, &function.name)).collect();
    Emulator::start(Config {
        functions: vec![function],
        routes,
        ..Config::default()
    })
    .await
    .unwrap()
}

async fn order(emulator: &Emulator, order: &Value) -> reqwest::Response {
    reqwest::Client::new()
        .post(format!("{}/order", emulator.url()))
        .json(order)
        .send()
        .await
        .unwrap()
}

async fn json(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: not JSON: {body}")),
    )
}

#[tokio::test]
async fn request_arrives_as_an_event() {
    let emulator = start_http(probe(), &["POST /hooks/{platform}/in/{id}"]).await;
    let url = format!("{}/hooks/acme/in/a%20b?sig=%2B%20x&n=1&n=2", emulator.url());
    let body: Vec<u8> = (0..=255).collect();
    let request = reqwest::Client::new()
        .post(url)
        .body(body)
        .header("content-type", "application/octet-stream");
    let request = request
        .header("cookie", "a=1; b=2")
        .header("x-two", "1")
        .header("x-two", "2");
    let response = request.header("X-Signature", "AbC").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["apigw-requestid"].len(), 36);
    let (status, event) = json(response).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&event["version"], &event["routeKey"]),
        (&json!("2.0"), &json!("POST /hooks/{platform}/in/{id}"))
    );
    assert_eq!(
        (&event["rawPath"], &event["rawQueryString"]),
        (&json!("/hooks/acme/in/a b"), &json!("sig=%2B%20x&n=1&n=2"))
    );
    assert_eq!(event["queryStringParameters"], json!({ "sig": "+ x", "n": "1,2" }));
    assert_eq!(event["pathParameters"], json!({ "platform": "acme", "id": "a b" }));
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    let headers = &event["headers"];
    assert_eq!(
        (&headers["x-two"], &headers["x-signature"]),
        (&json!("1,2"), &json!("AbC"))
    );
    assert_eq!(
        (&headers["content-length"], &headers["x-forwarded-for"]),
        (&json!("256"), &json!("127.0.0.1"))
    );
    assert_eq!(event["isBase64Encoded"], true);
    assert!(event["body"].as_str().unwrap().starts_with("AAECAwQF"));
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["requestContext"]["stage"], "$default");
}

#[tokio::test]
async fn answer_becomes_a_response() {
    let emulator = start_http(probe(), &["$default"]).await;
    let answer = json!({
        "statusCode": 418,
        "headers": { "content-type": "image/png", "x-own": "1" },
        "cookies": ["a=1; HttpOnly", "b=2"],
        "body": "/wAB",
        "isBase64Encoded": true,
    });
    let response = order(&emulator, &json!({ "do": "answer", "answer": answer })).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (418, &"image/png".parse().unwrap())
    );
    assert_eq!(response.headers()["x-own"], "1");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; HttpOnly", "b=2"]);
    assert_eq!(response.bytes().await.unwrap(), [0xff, 0, 1].as_slice());
}

#[tokio::test]
async fn all_failures_get_the_same_response() {
    let function = FunctionConfig {
        timeout: Duration::from_secs(2),
        ..probe()
    };
    let emulator = start_http(function, &["POST /order"]).await;
    let refused = (500, json!({ "message": "Internal Server Error" }));
    let orders = [
        json!({ "do": "fail" }),
        json!({ "do": "panic" }),
        json!({ "do": "exit" }),
        json!({ "do": "sleep", "ms": 60_000 }),
        json!({ "do": "answer", "answer": { "statusCode": "none" } }),
    ];
    for what in orders {
        assert_eq!(json(order(&emulator, &what).await).await, refused, "{what}");
    }
    let stats = emulator.function("probe").stats();
    assert_eq!((stats.errors, stats.crashes, stats.timeouts), (4, 1, 1));
}

#[tokio::test]
async fn response_is_limited_to_six_megabytes() {
    let emulator = start_http(probe(), &["POST /order"]).await;
    // Six megabytes of JSON, including the quotes.
    let most = 6 * 1024 * 1024 - 2;
    let largest = order(&emulator, &json!({ "do": "large", "bytes": most })).await;
    assert_eq!(
        (largest.status().as_u16(), largest.bytes().await.unwrap().len()),
        (200, most)
    );
    let larger = order(&emulator, &json!({ "do": "large", "bytes": most + 1 })).await;
    assert_eq!(json(larger).await, (500, json!({ "message": "Internal Server Error" })));
    assert_eq!(emulator.function("probe").stats().errors, 1);
}

#[tokio::test]
async fn unknown_routes_and_large_requests_are_refused_without_an_invocation() {
    let emulator = start_http(probe(), &["POST /order", "ANY /api/{proxy+}"]).await;
    let client = reqwest::Client::new();
    let get = client.get(format!("{}/order", emulator.url())).send().await.unwrap();
    assert_eq!(json(get).await, (404, json!({ "message": "Not Found" })));
    // The first size exceeds the limit of the API, the second only that of Lambda.
    for size in [10 * 1024 * 1024 + 1, 6 * 1024 * 1024] {
        let request = client
            .post(format!("{}/order", emulator.url()))
            .header("content-type", "text/plain");
        // A server that refuses by the content length alone may close the connection while the client still sends.
        if let Ok(response) = request.body(vec![b'x'; size]).send().await {
            assert_eq!(
                json(response).await,
                (413, json!({ "message": "Request Entity Too Large" })),
                "{size}"
            );
        }
    }
    let long = client
        .get(format!("{}/api/x", emulator.url()))
        .header("x-long", "x".repeat(10_240))
        .send()
        .await;
    assert_eq!(long.unwrap().status(), 431);
    assert_eq!(emulator.function("probe").stats().invocations, 0);
    let fits = client
        .put(format!("{}/api/v1/x", emulator.url()))
        .header("content-type", "text/plain");
    let (status, event) = json(fits.body(vec![b'x'; 5 * 1024 * 1024]).send().await.unwrap()).await;
    assert_eq!((status, &event["pathParameters"]), (200, &json!({ "proxy": "v1/x" })));
}

#[tokio::test]
async fn slow_function_is_503_and_keeps_running() {
    let journal = Journal::new();
    let config = Config {
        functions: vec![journal.probe()],
        routes: vec![Route::new("POST /order", "probe")],
        integration_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let response = order(&emulator, &json!({ "do": "sleep", "ms": 1_000 })).await;
    assert_eq!(json(response).await, (503, json!({ "message": "Service Unavailable" })));
    let function = emulator.function("probe");
    assert_eq!((function.stats().running, function.stats().errors), (1, 0));
    until_true(function, || function.stats().running == 0).await;
    assert_eq!(function.stats().errors, 0);
}

#[tokio::test]
async fn throttled_function_is_503() {
    let function = FunctionConfig {
        concurrency: 1,
        at_capacity: AtCapacity::Throttle,
        ..probe()
    };
    let emulator = start_http(function, &["POST /order"]).await;
    let function = emulator.function("probe");
    let busy = tokio::spawn({
        let function = Arc::clone(function);
        async move { function.invoke(&json!({ "do": "sleep", "ms": 60_000 })).await }
    });
    until_true(function, || function.pids().len() == 1).await;
    let response = order(&emulator, &json!({ "do": "ok" })).await;
    assert_eq!(json(response).await, (503, json!({ "message": "Service Unavailable" })));
    emulator.kill_all().await;
    assert!(matches!(busy.await.unwrap(), Outcome::Crashed { .. }));
}
