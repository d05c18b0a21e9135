//! Generates the peer API's client and server stubs. Their messages are those of `freehold-proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto/schema/peer.proto");
    let files = protox::compile(["../proto/schema/peer.proto"], ["../proto/schema"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".freehold.peer.v1", "::freehold_proto::wire")
        .compile_fds(files)?;
    Ok(())
}
