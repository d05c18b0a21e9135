//! Prints an example configuration: `make example` writes them to `config/example.toml` and, with the
//! argument `directory`, to `config/directory-example.toml`.

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("directory") => print!("{}", freehold_config::node_example()),
        _ => print!("{}", freehold_config::example("example.org")),
    }
}
