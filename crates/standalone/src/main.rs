//! The binary `tieline`.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use tieline_standalone::args::{Args, Chat, Command, Keys, LogFormat, Notify, Organization, Serve, Token};
use tieline_standalone::{apply, chat, completion, doctor, export, logging, login, logs, serve, show, terminal, verbs};
use tokio::runtime::Builder;
use tracing::error;

/// mimalloc: each message makes thousands of small allocations, and many of them are freed on another thread than they were made on.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = Args::read(std::env::args_os().collect()).unwrap_or_else(|wrong| wrong.exit());
    let (log, format) = (args.log, args.log_format);
    match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(args) => run_bridge(args, log.as_deref(), format),
        Command::Apply(args) => run_client(apply::run(args)),
        Command::Export(args) => run_client(export::run(args)),
        Command::Get(args) => run_client(show::get(args)),
        Command::Describe(args) => run_client(show::describe(args)),
        Command::Logs(args) => run_client(logs::run(args)),
        Command::Doctor(args) => run_client(doctor::run(args)),
        Command::Login(args) => run_client(login::run(args)),
        Command::Chat(args) => {
            let locale = locale(args.locale);
            run_client(chat::run(Chat { locale, ..args }))
        }
        Command::Start(args) => run_client(verbs::start(args)),
        Command::Stop(args) => run_client(verbs::stop(args)),
        Command::Restart(args) => run_client(verbs::restart(args)),
        Command::Test(args) => run_client(verbs::test(args)),
        Command::Enable(args) => run_client(verbs::enable(args)),
        Command::Disable(args) => run_client(verbs::disable(args)),
        Command::Delete(args) => run_client(verbs::delete(args)),
        Command::Reset(args) => run_client(verbs::reset(args)),
        Command::Redrive(args) => run_client(verbs::redrive(args)),
        Command::Send(args) => run_client(verbs::send(args)),
        Command::Notify(Notify::Show(args)) => run_client(verbs::show_notify(args)),
        Command::Notify(Notify::Webhook(args)) => run_client(verbs::notify_webhook(args)),
        Command::Notify(Notify::Chat(args)) => run_client(verbs::notify_chat(args)),
        Command::Notify(Notify::Test(args)) => run_client(verbs::test_notify(args)),
        Command::Notify(Notify::End(args)) => run_client(verbs::end_notify(args)),
        Command::Token(Token::Create(args)) => run_client(verbs::create_token(args)),
        Command::Token(Token::List(args)) => run_client(verbs::list_tokens(args)),
        Command::Token(Token::Delete(args)) => run_client(verbs::delete_token(args)),
        Command::Keys(Keys::Show(args)) => run_client(verbs::show_keys(args)),
        Command::Keys(Keys::Rotate(args)) => run_client(verbs::rotate_keys(args)),
        Command::Organization(Organization::Create(args)) => run_client(verbs::create_organization(args)),
        Command::Organization(Organization::List(args)) => run_client(verbs::list_organizations(args)),
        Command::Completion(args) => run_client(async move { completion::run(args) }),
    }
}

fn run_bridge(args: Serve, log: Option<&str>, format: Option<LogFormat>) -> ExitCode {
    let format = logging::start(log, format);
    let locale = locale(args.locale);
    match serve::run(Serve { locale, ..args }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if format == LogFormat::Json => {
            error!(error = format!("{failure:#}"), "bridge stopped with an error");
            ExitCode::FAILURE
        }
        Err(failure) => fail(&failure),
    }
}

/// The given locale, else the system's.
fn locale(given: Option<String>) -> Option<String> {
    given.or_else(|| std::env::var("LANG").ok().filter(|locale| !locale.is_empty()))
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
