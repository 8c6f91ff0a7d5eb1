//! The binary `tieline`: everything in one process, and the command line.

mod args;
mod data;
mod edge;
mod logging;
mod seed;
mod serve;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let args = args::Args::parse();
    let command = args.command.unwrap_or_else(|| args::Command::Serve(args.serve));
    match command {
        args::Command::Serve(serve) => {
            logging::start(args.log.as_deref(), args.log_format);
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?
                .block_on(serve::serve(serve))
        }
    }
}
