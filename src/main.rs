//! The `freehold` program. Everything it does is in `commands`, everything a server does in the
//! library.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    commands::Arguments::parse().run()
}
