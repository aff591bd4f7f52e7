//! Reading what one compile may take.

use std::time::Duration;

use crate::runtime::screen::limits::{CompileLimits, Limit};
use crate::system::json::{Object, OptionsError};

/// The keys of `compile`.
const KEYS: &[&str] = &[
    "max-time-ms",
    "max-memory-bytes",
    "max-code-bytes",
    "max-unused-code-bytes",
    "max-functions",
    "max-function-bytes",
    "max-function-blocks",
    "max-block-depth",
    "max-function-locals",
    "max-function-values",
    "max-function-cost",
    "max-definitions",
    "max-type-depth",
    "max-component-depth",
    "max-components",
    "max-cost",
];

/// The deepest that types may be nested: beyond it Wasmtime itself fails.
const MAX_TYPE_DEPTH: u64 = 100;

/// Takes over what `compile` of a configuration names.
pub fn read(config: &Object<'_>, limits: &mut CompileLimits) -> Result<(), OptionsError> {
    let Some(compile) = config.object("compile", KEYS)? else { return Ok(()) };
    let number = |key| compile.integer(key, 1..=u64::MAX);
    if let Some(millis) = number("max-time-ms")? {
        limits.max_time = Duration::from_millis(millis);
    }
    if let Some(bytes) = number("max-memory-bytes")? {
        limits.max_memory_bytes = bytes;
    }
    if let Some(bytes) = number("max-code-bytes")? {
        limits.max_code_bytes = bytes;
    }
    if let Some(bytes) = compile.integer("max-unused-code-bytes", 0..=u64::MAX)? {
        limits.max_unused_code_bytes = bytes;
    }
    for limit in Limit::all() {
        let most = match limit {
            Limit::TypeDepth => MAX_TYPE_DEPTH,
            _ => u64::MAX,
        };
        if let Some(value) = compile.integer(limit.key(), 1..=most)? {
            limits.set(limit, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_key() {
        for limit in Limit::all() {
            assert!(KEYS.contains(&limit.key()), "{}", limit.name());
        }
    }
}
