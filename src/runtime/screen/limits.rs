//! The limits of one compile.

use std::time::Duration;

/// A bound on the contents of a binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Functions over all modules.
    Functions,
    /// Bytes of one function.
    FunctionBytes,
    /// Blocks, branches and branch-table targets of one function.
    FunctionBlocks,
    /// Nesting of blocks.
    BlockDepth,
    /// Parameters and locals of one function.
    FunctionLocals,
    /// Values that enter and leave the blocks of one function, or that its loops pass on.
    FunctionValues,
    /// Predicted cost of one function.
    FunctionCost,
    /// Types, imports, exports, segments and other definitions, counted once per instantiation.
    Definitions,
    /// Nesting of types, whether inline or by index.
    TypeDepth,
    /// Nesting of modules and components.
    ComponentDepth,
    /// Modules and components at any depth.
    Components,
    /// Predicted cost of all functions.
    Cost,
}

/// A limit with its key in the configuration and its default.
type Row = (Limit, &'static str, u64);

const ROWS: [Row; 12] = [
    (Limit::Functions, "compile.max-functions", 100_000),
    (Limit::FunctionBytes, "compile.max-function-bytes", 4 << 20),
    (Limit::FunctionBlocks, "compile.max-function-blocks", 65_536),
    (Limit::BlockDepth, "compile.max-block-depth", 5_000),
    (Limit::FunctionLocals, "compile.max-function-locals", 10_000),
    (Limit::FunctionValues, "compile.max-function-values", 200_000),
    (Limit::FunctionCost, "compile.max-function-cost", 4 << 20),
    (Limit::Definitions, "compile.max-definitions", 250_000),
    (Limit::TypeDepth, "compile.max-type-depth", 100),
    (Limit::ComponentDepth, "compile.max-component-depth", 64),
    (Limit::Components, "compile.max-components", 1_000),
    (Limit::Cost, "compile.max-cost", 64 << 20),
];

impl Limit {
    /// Returns all limits.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|(limit, _, _)| *limit)
    }

    /// Returns the path in the configuration.
    pub fn name(self) -> &'static str {
        ROWS[self as usize].1
    }

    /// Returns the key in the configuration.
    pub fn key(self) -> &'static str {
        self.name().trim_start_matches("compile.")
    }
}

/// The limits of one compile.
#[derive(Debug, Clone)]
pub struct CompileLimits {
    /// The longest time.
    pub max_time: Duration,
    /// The most memory by estimate, over all compiles in progress.
    pub max_memory_bytes: u64,
    /// The most code from one binary.
    pub max_code_bytes: u64,
    /// The most unused code kept for later loads.
    pub max_unused_code_bytes: u64,
    bounds: [u64; ROWS.len()],
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            max_time: Duration::from_secs(300),
            max_memory_bytes: 2 << 30,
            max_code_bytes: 256 << 20,
            max_unused_code_bytes: 64 << 20,
            bounds: ROWS.map(|(_, _, default)| default),
        }
    }
}

impl CompileLimits {
    /// Returns the value of a bound.
    pub fn get(&self, limit: Limit) -> u64 {
        self.bounds[limit as usize]
    }

    /// Sets a bound.
    pub fn set(&mut self, limit: Limit, value: u64) {
        self.bounds[limit as usize] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_at_its_index() {
        for (place, (limit, name, default)) in ROWS.into_iter().enumerate() {
            assert_eq!(limit as usize, place, "{name}");
            assert_eq!(CompileLimits::default().get(limit), default, "{name}");
        }
    }
}
