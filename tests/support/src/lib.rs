//! Builds the components that the tests load, from the sources in `tests/guests`.
//!
//! `component` and `bytes` build on first use, or use the directory `AIRSSYS_GUESTS_DIR`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, process};

use wit_component::ComponentEncoder;

const CORE_TARGET: &str = "wasm32-unknown-unknown";
const WASI_TARGET: &str = "wasm32-wasip2";

/// The guests that are built for WASI, with the Rust standard library.
const WASI_GUESTS: [&str; 2] = ["program", "wasi"];

/// The crate that the guests share.
const KIT: &str = "kit";

/// A component without imports and exports: only the preamble.
const MINIMAL: &[u8] = b"\0asm\x0d\0\x01\0";

/// The file of a component. Panics if the guests cannot be built or if there is none of this name.
pub fn component(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| match env::var_os("AIRSSYS_GUESTS_DIR") {
        Some(given) => given.into(),
        None => build(&|_| {}).unwrap_or_else(|error| panic!("{error}")),
    });
    let file = directory.join(name).with_extension("wasm");
    assert!(file.is_file(), "there is no component `{name}` in {}", directory.display());
    file
}

/// The content of a component's file. Panics like `component`.
pub fn bytes(name: &str) -> Vec<u8> {
    let file = component(name);
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Builds all components and returns their directory. `report` gets progress messages.
pub fn build(report: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("two levels below the root");
    let sources = root.join("tests/guests");
    let target = root.join("target/guests");
    let components = target.join("components");

    report(&format!("building for {CORE_TARGET}"));
    let others = WASI_GUESTS.map(|guest| ["--exclude", guest]);
    cargo(&sources, &target, CORE_TARGET, &[&["--workspace"], others.as_flattened()].concat())?;
    report(&format!("building for {WASI_TARGET}"));
    let these = WASI_GUESTS.map(|guest| ["--package", guest]);
    cargo(&sources, &target, WASI_TARGET, these.as_flattened())?;

    fs::create_dir_all(&components)
        .map_err(|error| format!("{}: {error}", components.display()))?;
    for guest in guests(&sources)? {
        let is_wasi = WASI_GUESTS.contains(&&*guest);
        let triple = if is_wasi { WASI_TARGET } else { CORE_TARGET };
        let module = target
            .join(triple)
            .join("release")
            .join(guest.replace('-', "_"))
            .with_extension("wasm");
        let module = fs::read(&module).map_err(|error| format!("{}: {error}", module.display()))?;
        // The linker for WASI creates components itself.
        let component = if is_wasi { module } else { encode(&guest, &module)? };
        write(&components, &guest, &component, report)?;
    }
    write(&components, "minimal", MINIMAL, report)?;
    Ok(components)
}

fn guests(sources: &Path) -> Result<Vec<String>, String> {
    let entries =
        fs::read_dir(sources).map_err(|error| format!("{}: {error}", sources.display()))?;
    let mut guests: Vec<_> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != KIT)
        .collect();
    guests.sort();
    Ok(guests)
}

fn cargo(sources: &Path, target: &Path, triple: &str, packages: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(sources)
        .args(["build", "--locked", "--release", "--target", triple, "--target-dir"])
        .arg(target)
        .args(packages);
    for (name, _) in env::vars_os().filter(|(name, _)| steers_the_build(name)) {
        command.env_remove(name);
    }

    let output = command.output().map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    if !target_is_installed(sources, triple) {
        let toolchain = env::var("RUSTUP_TOOLCHAIN")
            .map(|name| format!(" --toolchain {name}"))
            .unwrap_or_default();
        return Err(format!(
            "the Rust target is missing; run `rustup target add {triple}{toolchain}`"
        ));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("cargo failed to build the guests for {triple} ({})\n{said}", output.status))
}

/// Whether an environment variable of the outer build, such as a coverage run, would disturb this
/// one.
fn steers_the_build(name: &OsStr) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "LLVM_PROFILE_FILE",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 4] =
        ["CARGO_BUILD_", "CARGO_LLVM_COV", "CARGO_PROFILE_", "CARGO_TARGET_"];
    let Some(name) = name.to_str() else {
        return false;
    };
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn target_is_installed(sources: &Path, triple: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(sources)
        .args(["--print", "target-libdir", "--target", triple])
        .output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn encode(guest: &str, module: &[u8]) -> Result<Vec<u8>, String> {
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| format!("{guest} does not become a component: {error:#}"))
}

fn write(
    directory: &Path,
    name: &str,
    content: &[u8],
    report: &dyn Fn(&str),
) -> Result<(), String> {
    let file = directory.join(name).with_extension("wasm");
    let unchanged = fs::read(&file).is_ok_and(|present| present == content);
    if !unchanged {
        // Other test processes may be reading or writing the file.
        let partial = directory.join(format!("{name}.{}.partial", process::id()));
        fs::write(&partial, content)
            .and_then(|()| fs::rename(&partial, &file))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let state = if unchanged { "unchanged" } else { "written" };
    report(&format!("{name}.wasm: {} bytes, {state}", content.len()));
    Ok(())
}
