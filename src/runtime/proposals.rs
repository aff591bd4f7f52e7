//! What a binary that does not validate would need.

use wasmparser::{Validator, WasmFeatures};

/// Proposals that no binary can use here, with names and advice.
const OFF: [(WasmFeatures, &str, &str); 11] = [
    (
        WasmFeatures::CM_ASYNC
            .union(WasmFeatures::CM_ASYNC_STACKFUL)
            .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
            .union(WasmFeatures::CM_ERROR_CONTEXT),
        "async functions of the component model (WASI 0.3)",
        "build it for WASI 0.2, in Rust with the target wasm32-wasip2, and generate its bindings \
         without `async`",
    ),
    (
        WasmFeatures::THREADS
            .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
            .union(WasmFeatures::CM_THREADING),
        "threads",
        "build it without shared memory and atomics: in C and C++ without -pthread, in Rust for \
         wasm32-wasip2 without the target feature atomics",
    ),
    (
        WasmFeatures::EXCEPTIONS.union(WasmFeatures::LEGACY_EXCEPTIONS),
        "exception-handling",
        "build it without exceptions: in C++ with -fno-exceptions, in Rust with panic = \"abort\"",
    ),
    (
        WasmFeatures::GC_TYPES.union(WasmFeatures::CM_GC).union(WasmFeatures::CUSTOM_DESCRIPTORS),
        "gc",
        "choose a toolchain that brings its own memory management",
    ),
    (WasmFeatures::STACK_SWITCHING, "stack-switching", ""),
    (WasmFeatures::CM64, "memory64 in components", "build it for wasm32"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom-page-sizes", "build it with pages of 64 KiB"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide-arithmetic", "build it without that target feature"),
    (WasmFeatures::MEMORY_CONTROL, "memory-control", ""),
    (
        WasmFeatures::CM_MAP.union(WasmFeatures::CM_FIXED_LENGTH_LISTS),
        "maps and lists of fixed length in the component model",
        "use lists in its WIT",
    ),
    (
        WasmFeatures::CM_VALUES
            .union(WasmFeatures::CM_NESTED_NAMES)
            .union(WasmFeatures::CM_IMPLEMENTS)
            .union(WasmFeatures::CM_CANON_NAMES),
        "values and new kinds of names in the component model",
        "build it with an older version of its tools",
    ),
];

/// Returns which proposals a binary needs, and how to do without; `None` if it is not valid with any.
pub fn needed(binary: &[u8]) -> Option<String> {
    let is_valid = |features| Validator::new_with_features(features).validate_all(binary).is_ok();
    // The two kinds of exceptions exclude each other.
    let all = [WasmFeatures::LEGACY_EXCEPTIONS, WasmFeatures::empty()]
        .map(|legacy| WasmFeatures::all().difference(WasmFeatures::LEGACY_EXCEPTIONS) | legacy)
        .into_iter()
        .find(|all| is_valid(*all))?;
    let mut needed: Vec<_> =
        OFF.iter().filter(|(off, ..)| !is_valid(all.difference(*off))).collect();
    // Exceptions are references of that proposal.
    if needed.iter().any(|(_, name, _)| *name == "exception-handling") {
        needed.retain(|(_, name, _)| *name != "gc");
    }
    let [(_, _, advice), ..] = needed[..] else { return None };
    let names: Vec<_> = needed.iter().map(|(_, name, _)| *name).collect();
    let names = names.join(", ");
    let semicolon = if advice.is_empty() { "" } else { "; " };
    Some(format!("it needs what this host does not have: {names}{semicolon}{advice}"))
}
