//! Log format: human on a terminal, JSON otherwise.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// The AWS SDK and the HTTP stack log a lot; their errors are reported in our own log lines.
const DEFAULT: &str = "info,aws_config=warn,aws_smithy_runtime=warn,hyper=warn";

/// Starts logging to standard error. Returns the format.
pub fn start(directives: Option<&str>, format: Option<LogFormat>) -> LogFormat {
    // The directives were validated with the command line.
    let filter = EnvFilter::new(directives.unwrap_or(DEFAULT));
    let format = format.unwrap_or(if stderr().is_terminal() {
        LogFormat::Human
    } else {
        LogFormat::Json
    });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Human => lines.with_ansi(stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    format
}
