//! The console: the operators' pages as static files.
//!
//! Plain files without a build step, drawn with the vendored `lit-html`; `marked`, vendored too, parses Markdown. Nothing on the page is inline,
//! so that the Content-Security-Policy can forbid it.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::routing::get;

/// Content-Security-Policy: only what this server serves, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Address, type and content of every file.
const FILES: [(&str, &str, &str); 26] = [
    ("/", HTML, include_str!("console/index.html")),
    ("/console/app.js", SCRIPT, include_str!("console/app.js")),
    ("/console/actions.js", SCRIPT, include_str!("console/actions.js")),
    ("/console/api.js", SCRIPT, include_str!("console/api.js")),
    ("/console/chat.js", SCRIPT, include_str!("console/chat.js")),
    ("/console/deleted.js", SCRIPT, include_str!("console/deleted.js")),
    ("/console/lit-html.js", SCRIPT, include_str!("console/lit-html.js")),
    ("/console/markdown.js", SCRIPT, include_str!("console/markdown.js")),
    ("/console/marked.js", SCRIPT, include_str!("console/marked.js")),
    ("/console/qr.js", SCRIPT, include_str!("console/qr.js")),
    ("/console/takeover.js", SCRIPT, include_str!("console/takeover.js")),
    ("/console/texts.js", SCRIPT, include_str!("console/texts.js")),
    (
        "/console/texts/chinese.js",
        SCRIPT,
        include_str!("console/texts/chinese.js"),
    ),
    (
        "/console/texts/english.js",
        SCRIPT,
        include_str!("console/texts/english.js"),
    ),
    ("/console/view.js", SCRIPT, include_str!("console/view.js")),
    (
        "/console/pages/add_bot.js",
        SCRIPT,
        include_str!("console/pages/add_bot.js"),
    ),
    (
        "/console/pages/agents.js",
        SCRIPT,
        include_str!("console/pages/agents.js"),
    ),
    ("/console/pages/bot.js", SCRIPT, include_str!("console/pages/bot.js")),
    ("/console/pages/bots.js", SCRIPT, include_str!("console/pages/bots.js")),
    (
        "/console/pages/messages.js",
        SCRIPT,
        include_str!("console/pages/messages.js"),
    ),
    (
        "/console/pages/overview.js",
        SCRIPT,
        include_str!("console/pages/overview.js"),
    ),
    (
        "/console/pages/people.js",
        SCRIPT,
        include_str!("console/pages/people.js"),
    ),
    (
        "/console/pages/playground.js",
        SCRIPT,
        include_str!("console/pages/playground.js"),
    ),
    (
        "/console/pages/settings.js",
        SCRIPT,
        include_str!("console/pages/settings.js"),
    ),
    ("/console/style.css", STYLE, include_str!("console/style.css")),
    ("/console/icon.svg", IMAGE, include_str!("console/icon.svg")),
];

/// Serves the page and its files.
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
        // Revalidate, so that page and scripts are of the same version after an upgrade.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]
}
