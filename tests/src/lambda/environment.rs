//! The environment variables of a function.

use std::collections::BTreeMap;

use super::ids::uuid;
use super::instance::Spec;

/// The variables of one instance; the function's own are last, so that they take precedence.
///
/// See [Lambda Docs/Defined runtime environment variables](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime).
pub(super) fn environment(spec: &Spec, runtime_api: &str) -> BTreeMap<String, String> {
    let root = spec
        .binary
        .parent()
        .map(|dir| dir.display().to_string())
        .unwrap_or_default();
    let own = [
        ("_HANDLER", "bootstrap"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_DEFAULT_REGION", &spec.region),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &spec.memory_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", &spec.function),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", spec.function)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &format!("test/[$LATEST]{}", uuid())),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_REGION", &spec.region),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_SESSION_TOKEN", "test"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", &root),
        ("LANG", "en_US.UTF-8"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("TZ", ":UTC"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.into_iter().chain(spec.env.clone()).collect()
}
