//! Turns the schemas into Rust message types, without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schemas = ["schema/peer.proto", "schema/client.proto"];
    for schema in schemas {
        println!("cargo:rerun-if-changed={schema}");
    }
    let files = protox::compile(schemas, ["schema"])?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .compile_fds(files)?;
    Ok(())
}
