//! The console's page.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::place::Place;

#[tokio::test]
async fn nothing_on_the_page_is_inline_or_from_elsewhere() {
    let place = Place::new().await;
    let page = place.get("/").await;
    assert_eq!(page.headers[CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        !policy.contains("unsafe") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    for forbidden in ["<script>", "onclick=", "style=", "http://", "https://", "javascript:"] {
        assert!(!page.text.contains(forbidden), "{forbidden}");
    }
    let files = page.text.split('"').filter(|part| part.starts_with("/console/"));
    let mut seen = 0;
    for file in files {
        let got = place.get(file).await;
        assert!(got.status.is_success() && !got.text.is_empty(), "{file}");
        assert!(!got.text.contains("eval("), "{file}");
        seen += 1;
    }
    assert!(seen >= 3);
}

#[tokio::test]
async fn scripts_import_only_what_is_served() {
    let place = Place::new().await;
    for file in ["app", "api", "talk", "texts"] {
        let script = place.get(&format!("/console/{file}.js")).await;
        assert_eq!(script.headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        let imports = script.text.lines().filter(|line| line.starts_with("import "));
        for line in imports {
            let from = line.split('"').nth(1).unwrap();
            assert!(place.get(from).await.status.is_success(), "{file}: {from}");
        }
    }
}
