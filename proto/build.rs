//! Turns `schema/peer.proto` into Rust message types, without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema/peer.proto");
    let files = protox::compile(["schema/peer.proto"], ["schema"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
