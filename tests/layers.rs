//! Checks the layers: a file uses only its own layer and the layers below it, and `mod.rs` only
//! declares.

use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom.
const LAYERS: [&str; 8] =
    ["ffi", "system", "component", "runtime", "messaging", "storage", "security", "core"];

/// Layers that know nothing of each other, although one is above the other.
const STRANGERS: [&str; 2] = ["runtime", "messaging"];

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == layer)
}

/// The offence in a line of a file in `layer`, if any.
fn offence(layer: &str, line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains("super::super") {
        return Some("reaches out of its layer with `super::super`; name it from `crate::`".into());
    }
    code.match_indices("crate::").find_map(|(at, text)| {
        let path = &code[at + text.len()..];
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
        let used = &path[..end];
        let Some(below) = rank(used) else {
            return Some(format!("`crate::{used}` is no layer; import one layer a line"));
        };
        if STRANGERS.contains(&layer) && STRANGERS.contains(&used) && layer != used {
            return Some(format!("{layer} and {used} know nothing of each other"));
        }
        let above = rank(layer)?;
        (below < above).then(|| format!("{layer} is below {used}"))
    })
}

/// Whether a line may stand in a `mod.rs`.
fn only_declares(line: &str) -> bool {
    let line = line.trim();
    let module = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
    line.is_empty()
        || line.starts_with("//")
        || line.starts_with("#[")
        || module.is_some_and(|rest| rest.ends_with(';'))
}

fn source_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Calls `judge` with the layer, file name and text of every line, and returns its complaints with
/// their places.
fn offences(judge: impl Fn(&str, &str, &str) -> Option<String>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).expect("it is below src");
        let mut parts = path.iter().map(|part| part.to_str().expect("UTF-8"));
        let (Some(layer), Some(name)) = (parts.next(), parts.next_back()) else { continue };
        let text = fs::read_to_string(&file).expect("a source file");
        for (n, line) in text.lines().enumerate() {
            if let Some(offence) = judge(layer, name, line) {
                found.push(format!("src/{}:{}: {offence}", path.display(), n + 1));
            }
        }
    }
    found
}

#[test]
fn no_layer_uses_one_above_it() {
    let found = offences(|layer, _, line| offence(layer, line));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn mod_rs_only_declares() {
    let judge = |_: &str, name: &str, line: &str| {
        (name == "mod.rs" && !only_declares(line)).then(|| "does more than declare".to_owned())
    };
    let found = offences(judge);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_directory_of_the_sources_is_a_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().expect("UTF-8");
            assert!(rank(&name).is_some(), "src/{name} is no layer");
        }
    }
}

#[test]
fn the_rules_find_offences() {
    for (layer, line) in [
        ("core", "use crate::ffi::status::AIRSSYS_OK;"),
        ("core", "    crate::storage::backend::Usage::default()"),
        ("storage", "use crate::messaging::mailbox::Mailbox;"),
        ("messaging", "use crate::runtime::engine::WasmRuntime;"),
        ("runtime", "use crate::messaging::mailbox::Mailbox;"),
        ("component", "pub(crate) use crate::system::engine::Engine;"),
        ("runtime", "use crate::{core, system};"),
        ("runtime", "use super::super::system::engine;"),
    ] {
        assert!(offence(layer, line).is_some(), "{layer}: {line}");
    }
    for (layer, line) in [
        ("ffi", "use crate::core::id::ComponentId;"),
        ("component", "use crate::messaging::mailbox::Mailbox;"),
        ("component", "use crate::runtime::instance::Instance;"),
        ("runtime", "use crate::storage::component_storage::NamespacedStorage;"),
        ("core", "use crate::core::id::ComponentId;"),
        ("core", "/// See crate::ffi::status."),
        ("core", "use std::sync::Arc;"),
    ] {
        assert_eq!(offence(layer, line), None, "{layer}: {line}");
    }
    assert!(only_declares("pub mod engine;") && only_declares("mod hidden;"));
    assert!(!only_declares("pub fn run() {}") && !only_declares("pub use engine::Engine;"));
}

/// The paths in backticks that end like a source file or a directory.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|path| path.contains('/') && (path.ends_with(".rs") || path.ends_with('/')))
}

#[test]
fn the_map_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(page)).expect(page);
        let there = |path: &&str| root.join(path).exists() || root.join("src").join(path).exists();
        let lost = named_paths(&text).filter(|path| !there(path));
        missing.extend(lost.map(|path| format!("{page}: {path}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
