//! The binary `tieline`.

use std::process::ExitCode;

use tieline_standalone::args::{Args, Command, LogFormat, Serve};
use tieline_standalone::{apply, chat, doctor, logging, login, logs, serve, show, terminal};
use tokio::runtime::Builder;
use tracing::error;

fn main() -> ExitCode {
    let args = Args::read(std::env::args_os().collect()).unwrap_or_else(|wrong| wrong.exit());
    let (log, format) = (args.log, args.log_format);
    match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(args) => run_bridge(args, log.as_deref(), format),
        Command::Apply(args) => run_client(apply::run(args)),
        Command::Get(args) => run_client(show::get(args)),
        Command::Describe(args) => run_client(show::describe(args)),
        Command::Logs(args) => run_client(logs::run(args)),
        Command::Doctor(args) => run_client(doctor::run(args)),
        Command::Login(args) => run_client(login::run(args)),
        Command::Chat(args) => run_client(chat::run(args)),
    }
}

fn run_bridge(args: Serve, log: Option<&str>, format: Option<LogFormat>) -> ExitCode {
    let format = logging::start(log, format);
    let locale = args.locale.or_else(|| std::env::var("LANG").ok());
    match serve::run(Serve { locale, ..args }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if format == LogFormat::Json => {
            error!(error = format!("{failure:#}"), "can't serve");
            ExitCode::FAILURE
        }
        Err(failure) => fail(&failure),
    }
}

fn run_client(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(command));
    done.unwrap_or_else(|failure| fail(&failure))
}

#[expect(clippy::print_stderr, reason = "the outcome of the command, not a log line")]
fn fail(failure: &anyhow::Error) -> ExitCode {
    if terminal::is_closed(failure) {
        return ExitCode::SUCCESS;
    }
    eprintln!("tieline: {failure:#}");
    ExitCode::FAILURE
}
