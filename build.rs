//! Generates the header, compiles the modules added to components, and sets the SONAME and the
//! exports of the shared library.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A section of the header.
struct Section {
    heading: &'static str,
    /// Files of `src/ffi`: Rust files, whose public items are declared, and C files, which are
    /// copied.
    sources: &'static [&'static str],
    /// Whether constants are printed in hexadecimal, which cbindgen does not do.
    hexadecimal: bool,
}

const fn section(heading: &'static str, sources: &'static [&'static str]) -> Section {
    Section { heading, sources, hexadecimal: false }
}

/// The sections of the header, in order. A new function in one of these files needs no change here.
const SECTIONS: &[Section] = &[
    section("VERSION", &["version.rs"]),
    section("STATUS AND ERRORS", &["status.rs", "error.rs"]),
    section("CONFIGURATION", &["config.rs"]),
    section("STORAGE", &["storage.rs", "storage_selftest.rs"]),
    section("LOG", &["logger.rs"]),
    section("EVENTS", &["events.rs"]),
    section("AUDIT TRAIL", &["audit.rs"]),
    section("ENGINES AND COMPONENTS", &["on_engine.rs", "engine.rs", "precompile.rs"]),
    section("LIFE CYCLE", &["lifecycle.rs", "canary.rs"]),
    section("GROUPS", &["groups.rs"]),
    section("OPTIONS", &["options.h"]),
    section("MESSAGES", &["message.rs"]),
    section("REQUESTS", &["request.rs"]),
    section("TYPED CALLS", &["invoke.rs"]),
    section("FUNCTIONS OF THE HOST", &["host_interface.rs"]),
    section("RIGHTS", &["security.rs"]),
    section("INSPECTION", &["inspect.rs", "interface.rs"]),
    section("STORED DATA", &["engine_storage.rs", "storage_transfer.rs", "storage_file.rs"]),
    section("ROUTER", &["router.rs"]),
    section("BYTES AND WRITERS", &["bytes.rs", "writer.rs"]),
    Section { heading: "CODECS", sources: &["codec.rs"], hexadecimal: true },
];

/// The start of the header.
const PREAMBLE: &str = "preamble.h";

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("Cargo sets it"));
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=exports.map");
    compile_driver(&root);
    // The targets on which a thread that ends in a callback is held, see `src/ffi/host_call.rs`.
    println!("cargo::rustc-check-cfg=cfg(held)");
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let known = ["x86_64", "aarch64"].contains(&target("ARCH").as_str());
    if target("OS") == "linux" && target("ENV") == "gnu" && known {
        println!("cargo::rustc-cfg=held");
    }
    // Users compile with the checked-in header. A package built from the registry must not change
    // its own sources.
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
    let sources = root.join("src/ffi");
    let read = |name: &str| fs::read_to_string(sources.join(name)).expect(name);
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let (mut structs, mut sections) = (Vec::new(), String::new());
    for section in SECTIONS {
        let rule = "-".repeat(90 - section.heading.len());
        sections += &format!("/* -- {} {rule} */\n\n", section.heading);
        for source in section.sources {
            let text = if source.ends_with(".h") {
                read(source)
            } else {
                let declarations = declarations(&config, &sources.join(source), &mut structs);
                constants(&short_comments(&declarations), section.hexadecimal)
            };
            sections += &format!("{}\n\n", text.trim());
        }
    }
    // Forward declarations allow uses before the section that defines a struct.
    let structs: Vec<_> =
        structs.iter().map(|name| format!("typedef struct {name} {name};")).collect();
    let header = format!(
        "{preamble}
#ifndef AIRSSYS_WASM_H
#define AIRSSYS_WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {{
#endif

/* -- TYPES {rule} */

{structs}

{sections}#ifdef __cplusplus
}}
#endif

#endif /* AIRSSYS_WASM_H */
",
        preamble = read(PREAMBLE),
        rule = "-".repeat(85),
        structs = structs.join("\n"),
    );
    fs::write(root.join("include/airssys_wasm.h"), header).expect("the header can be written");
}

/// Returns the declarations of one file. Adds its structs to `structs`, and defines them without a
/// `typedef`, which C99 allows only once.
fn declarations(config: &cbindgen::Config, file: &Path, structs: &mut Vec<String>) -> String {
    let builder = cbindgen::Builder::new().with_config(config.clone()).with_src(file);
    let mut text = Vec::new();
    builder.generate().expect("the ABI has a header").write(&mut text);
    let text = String::from_utf8(text).expect("cbindgen writes UTF-8");
    let (mut numbers, mut others) = (String::new(), String::new());
    for item in text.trim().split("\n\n") {
        let item = item.trim();
        if item.contains("\n#define ") || item.contains("\ntypedef int32_t airssys_") {
            // cbindgen puts constants with a type alias after the structs that use it.
            numbers += &format!("{item}\n\n");
            continue;
        }
        let Some((comment, definition)) = item.split_once("\ntypedef struct ") else {
            others += &format!("{item}\n\n");
            continue;
        };
        // Either `{ fields } name;` or, for an opaque one, `name name;`.
        let (fields, name) = match definition.rsplit_once("\n} ") {
            Some((fields, name)) => (format!(" {fields}\n}}"), name),
            None => (String::new(), definition.split(' ').next().unwrap_or_default()),
        };
        let name = name.trim_end_matches(';');
        others += &format!("{comment}\nstruct {name}{fields};\n\n");
        structs.push(name.to_owned());
    }
    numbers + &others
}

/// Shortens comments with one line of text to one line.
fn short_comments(declarations: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in declarations.lines() {
        lines.push(line.to_owned());
        let [.., first, text, last] = &lines[..] else { continue };
        if first.trim() == "/**" && last.trim() == "*/" {
            let short = format!("{first} {} */", text.trim_start().trim_start_matches("* "));
            if short.len() <= 100 {
                lines.truncate(lines.len() - 3);
                lines.push(short);
            }
        }
    }
    lines.join("\n")
}

/// Prints integer constants in the base of the section.
fn constants(declarations: &str, hexadecimal: bool) -> String {
    let lines = declarations.lines().map(|line| {
        let constant = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '));
        match constant.and_then(|(name, value)| Some((name, value.parse::<u64>().ok()?))) {
            Some((name, value)) if hexadecimal => {
                // Whole bytes, as in the multicodec table.
                let digits = format!("{value:x}").len().next_multiple_of(2);
                format!("#define {name} 0x{value:0digits$x}")
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn compile_driver(root: &Path) {
    let sources = root.join("src/runtime/driver");
    let out = PathBuf::from(env::var("OUT_DIR").expect("Cargo sets it"));
    for name in ["driver", "nothing"] {
        let source = sources.join(name).with_extension("wat");
        println!("cargo::rerun-if-changed={}", source.display());
        let wasm = wat::parse_file(&source).unwrap_or_else(|error| panic!("{error}"));
        fs::write(out.join(name).with_extension("wasm"), wasm).expect("OUT_DIR can be written");
    }
}
