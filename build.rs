//! Generates the header, compiles the modules that components get, and gives the shared library its name
//! and its exports.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The files that declare the ABI, in the order of the header.
const ABI_SOURCES: [&str; 17] = [
    "version", "status", "error", "bytes", "writer", "storage", "logger", "events", "audit",
    "config", "engine", "message", "request", "router", "security", "inspect", "codec",
];

/// What stands at the head of the header.
const PREAMBLE: &str = "src/ffi/preamble.h";

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=exports.map");
    compile_driver(&root);
    // Where a thread that ends in a callback is held, see `src/ffi/host_call.rs`.
    println!("cargo::rustc-check-cfg=cfg(held)");
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let known = ["x86_64", "aarch64"].contains(&target("ARCH").as_str());
    if target("OS") == "linux" && target("ENV") == "gnu" && known {
        println!("cargo::rustc-cfg=held");
    }
    // The checked-in header is what users compile with; a package that is built from the
    // registry must not change its own sources.
    if root.join(".git").exists() {
        write_header(&root);
    }
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        let exports = root.join("exports.map");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libairssys_wasm.so.0");
        // Workers and thread-local destructors outlive a dlclose.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        println!("cargo::rustc-cdylib-link-arg=-Wl,--version-script={}", exports.display());
    }
}

fn write_header(root: &Path) {
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    config.header = Some(fs::read_to_string(root.join(PREAMBLE)).expect(PREAMBLE));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ABI_SOURCES {
        builder = builder.with_src(root.join(format!("src/ffi/{source}.rs")));
    }
    builder
        .generate()
        .expect("the ABI has a header")
        .write_to_file(root.join("include/airssys_wasm.h"));
}

fn compile_driver(root: &Path) {
    let sources = root.join("src/runtime/driver");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    for name in ["driver", "nothing"] {
        let source = sources.join(name).with_extension("wat");
        println!("cargo::rerun-if-changed={}", source.display());
        let wasm = wat::parse_file(&source).unwrap_or_else(|error| panic!("{error}"));
        fs::write(out.join(name).with_extension("wasm"), wasm).expect("OUT_DIR can be written");
    }
}
