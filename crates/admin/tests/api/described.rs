//! Requests generated from the OpenAPI description alone: roles, and random input.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::tenant_isolation::furnish;
use crate::test_api::{DEFAULT, ROOT, Reply, TestApi};

/// What a viewer may post to, because it changes nothing.
const EXAMINES: [&str; 1] = ["/api/v1/orgs/{org}/integrations/{id}/doctor"];

#[tokio::test]
async fn viewer_is_refused_every_write() {
    let api = TestApi::new().await;
    api.work();
    let viewer = api.organization("acme", "viewer").await;
    let ids = furnish(&api, "/api/v1/orgs/acme").await;
    let description = api.get("/api/openapi.json").await.ok();
    let mut writes = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") || EXAMINES.contains(&&**path) || path == "/api/v1/session" {
            continue;
        }
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            for id in &ids {
                let address = path.replace("{org}", "acme").replace("{id}", id);
                let address = address.replace("{conversationId}", id);
                let answer = api.ask(&viewer, &method.to_uppercase(), &address, &json!({})).await;
                let refused = answer.problem(403, "forbidden");
                assert!(refused["detail"].is_string(), "{method} {path}");
                writes += 1;
            }
        }
    }
    assert!(writes > 200, "{writes}");
}

/// Pseudo-random numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % sides
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// Generates requests that the description allows, and some that it doesn't.
struct Generator<'a> {
    description: &'a Value,
    dice: Dice,
    /// Texts with a meaning in this test: ids, names of kinds, and input that breaks careless parsers.
    texts: Vec<String>,
}

impl Generator<'_> {
    fn text(&mut self) -> String {
        self.dice.pick(&self.texts).clone()
    }

    fn nonsense(&mut self) -> Value {
        let others = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!([]),
            json!({}),
            json!([[[{ "a": null }]]]),
            json!({ "": "", "$ref": "#" }),
        ];
        match self.dice.one_in(3) {
            true => json!(self.text()),
            false => self.dice.pick(&others).clone(),
        }
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if self.dice.one_in(12) || depth > 6 {
            return self.nonsense();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let named = self.description.pointer(reference.trim_start_matches('#')).unwrap();
            return self.value(named, depth + 1);
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            if let Some(schemas) = schema[choice].as_array() {
                let one = self.dice.pick(schemas).clone();
                return self.value(&one, depth + 1);
            }
        }
        if let Some(known) = schema["enum"].as_array() {
            return self.dice.pick(known).clone();
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        match types.first().copied().unwrap_or("object") {
            "string" => json!(self.text()),
            "integer" | "number" => json!(*self.dice.pick(&[0, 1, 2, 60, 3600, 100_000, -5])),
            "boolean" => json!(self.dice.one_in(2)),
            "array" => (0..self.dice.roll(3))
                .map(|_| self.value(&schema["items"], depth + 1))
                .collect(),
            "null" => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut object = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let chance = if required.contains(&**name) { 12 } else { 2 };
            if !self.dice.one_in(chance) {
                object.insert(name.clone(), self.value(field, depth + 1));
            }
        }
        if self.dice.one_in(15) {
            object.insert("surprise".to_owned(), self.nonsense());
        }
        // No bot of these tests may call its platform.
        if object.contains_key("platform") || object.contains_key("connectionMode") {
            object.insert("enabled".to_owned(), json!(false));
        }
        Value::Object(object)
    }

    fn query(&mut self, operation: &Value) -> String {
        let mut pairs = Vec::new();
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        for parameter in parameters.into_iter().filter(|it| it["in"] == "query") {
            if self.dice.one_in(2) {
                let value = self.value(&parameter["schema"], 0);
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                pairs.push((parameter["name"].as_str().unwrap().to_owned(), value));
            }
        }
        if self.dice.one_in(20) {
            pairs.push(("surprise".to_owned(), self.text()));
        }
        let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        if query.is_empty() { query } else { format!("?{query}") }
    }

    fn body(&mut self, operation: &Value) -> Vec<u8> {
        let schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        match self.dice.roll(25) {
            0 => b"{\"name\": ".to_vec(),
            1 => vec![0xff, 0xfe, 0x00],
            2 => "[".repeat(3000).into_bytes(),
            3 => Vec::new(),
            _ if schema.is_null() => b"{}".to_vec(),
            _ => self.value(&schema, 0).to_string().into_bytes(),
        }
    }

    fn path(&mut self, path: &str, ids: &[String]) -> String {
        let parts = path.split('/').map(|part| match part {
            "{org}" => "default".to_owned(),
            part if !part.starts_with('{') => part.to_owned(),
            _ if self.dice.one_in(4) => escaped(&self.text()),
            _ => self.dice.pick(ids).clone(),
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

fn escaped(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Whether the description has the status, with the type of the body.
fn undocumented(operation: &Value, answer: &Reply) -> Option<String> {
    let status = answer.status.as_u16().to_string();
    let Some(response) = operation["responses"].get(&status) else {
        return Some(format!("{status} is not described"));
    };
    let kind = answer.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    let described = response["content"].as_object().is_some_and(|it| it.contains_key(kind));
    (!answer.text.is_empty() && !described).then(|| format!("{kind} is not described for {status}"))
}

#[tokio::test]
async fn random_requests_get_documented_responses_and_no_server_error() {
    let api = TestApi::guarded().await;
    api.work();
    let mut ids = furnish(&api, DEFAULT).await;
    // Testing the first one would call its platform.
    let wecom = ids.remove(0);
    api.delete(&format!("{DEFAULT}/integrations/{wecom}")).await.ok();
    let description = api.get("/api/openapi.json").await.ok();
    let own = [
        "",
        "\0",
        "🚀 你好",
        "../..",
        "%00",
        "'\"\\",
        "2026-01-02T03:04:05Z",
        "22:00",
        "+08:00",
        "http://127.0.0.1:9/",
    ];
    let kinds = [
        "web",
        "echo",
        "webhook",
        "custom",
        "default",
        "lisi",
        "status,agent,counts",
        "yaml",
        "agents: [{name: X, protocol: echo}]",
    ];
    let long = ["x".repeat(300), "é".repeat(5000)];
    let texts = own.iter().chain(&kinds).map(|text| (*text).to_owned());
    let mut generator = Generator {
        description: &description,
        dice: Dice(0x7165_6c69_6e65),
        texts: texts.chain(long).chain(ids.iter().cloned()).collect(),
    };
    let (mut failures, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    let (mut asked, mut accepted) = (0, 0);
    for _ in 0..ROUNDS {
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if !path.starts_with("/api/v1/") {
                    continue;
                }
                let address = format!("{}{}", generator.path(path, &ids), generator.query(operation));
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(&address)
                    .header(AUTHORIZATION, format!("Bearer {ROOT}"))
                    .header(CONTENT_TYPE, "application/json");
                let has_body = method != "get" && method != "delete";
                let body = if has_body {
                    generator.body(operation)
                } else {
                    Vec::new()
                };
                let sent = String::from_utf8_lossy(&body).chars().take(300).collect::<String>();
                let answer = api.send(request.body(Body::from(body)).unwrap()).await;
                asked += 1;
                accepted += usize::from(answer.status.is_success());
                statuses.insert(answer.status.as_u16());
                if let Some(what) = undocumented(operation, &answer) {
                    let text: String = answer.text.chars().take(300).collect();
                    failures.insert(format!("{method} {path}: {what}: {address} {sent}\n    {text}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {asked}:\n{}",
        failures.len(),
        failures.into_iter().collect::<Vec<_>>().join("\n")
    );
    assert!(
        accepted * 5 > asked,
        "only {accepted} of {asked} were accepted: the requests are too wrong to show much"
    );
}

const ROUNDS: usize = 30;
