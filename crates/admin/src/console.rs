//! The console: a page to sign in, see how integrations are, and talk to an agent.
//!
//! Plain files without a build. Nothing on the page is inline, so that the policy can forbid it.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::routing::get;

/// Only what we serve ourselves, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Address, type and content of every file.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("console/index.html")),
    ("/console/app.js", SCRIPT, include_str!("console/app.js")),
    ("/console/api.js", SCRIPT, include_str!("console/api.js")),
    ("/console/talk.js", SCRIPT, include_str!("console/talk.js")),
    ("/console/texts.js", SCRIPT, include_str!("console/texts.js")),
    ("/console/style.css", STYLE, include_str!("console/style.css")),
    ("/console/icon.svg", IMAGE, include_str!("console/icon.svg")),
];

/// The page and its files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let add = |router: Router<S>, (address, mime, content): (&'static str, &'static str, &'static str)| {
        router.route(address, get(move || async move { (headers(mime), content) }))
    };
    FILES.into_iter().fold(Router::new(), add)
}

fn headers(mime: &'static str) -> [(HeaderName, HeaderValue); 5] {
    [
        (CONTENT_TYPE, HeaderValue::from_static(mime)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Asked for again after an upgrade, so that page and scripts are of one version.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]
}
