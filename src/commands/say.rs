//! The only place that prints. A closed pipe is nobody's error, so it is ignored.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// A line for the person at the terminal, or for the program that reads our output.
pub(crate) fn line(text: impl Display) {
    let _closed_pipe = writeln!(io::stdout(), "{text}");
}

/// A line about what went wrong.
pub(crate) fn error(text: impl Display) {
    let _closed_pipe = writeln!(io::stderr(), "freehold: {text}");
}
