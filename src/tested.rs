//! The `freehold` program as the interop suite tests it: the same, with the hooks of the feature
//! `test-hooks` in it.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    commands::Arguments::parse().run()
}
