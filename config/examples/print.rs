//! Prints the example configuration: `make example` writes it to `config/example.toml`.

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    print!("{}", freehold_config::example("example.org"));
}
