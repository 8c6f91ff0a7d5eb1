//! The binary `tieline`.

use clap::Parser as _;
use tieline_standalone::args::{Args, Command};
use tieline_standalone::{logging, serve};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(serve) => {
            logging::start(args.log.as_deref(), args.log_format);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve::serve(serve))
        }
    }
}
