//! Predicts the cost of compiling a binary from counts of its contents.
//!
//! The factors were measured with this library's settings of Wasmtime. The worst code found of each
//! kind stays below them; other code takes a fraction.

use crate::runtime::screen::module::Arity;

/// Counts of one function.
#[derive(Debug, Default)]
pub struct FunctionCounts {
    /// The size of the body.
    pub bytes: u64,
    /// Parameters and locals.
    pub locals: u64,
    /// Blocks, branches, and branch-table targets.
    pub blocks: u64,
    /// Loops among them.
    pub loops: u64,
    /// Values that blocks, branches and loops pass on.
    pub values: u64,
    /// Calls.
    calls: u64,
    /// Values that calls take and leave.
    arguments: u64,
    /// Points where control flow splits or joins.
    forks: u64,
    /// The cost of branch tables and nested loops.
    extra: u64,
    /// Memory for instructions that expand to much code.
    expanded_bytes: u64,
}

impl FunctionCounts {
    /// Creates zero counts for a body of this size.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Counts forks inside `loops` nested loops.
    pub fn fork(&mut self, forks: u64, loops: u64) {
        self.forks += forks;
        // The compiler looks at each loop for each fork, and again for each enclosing loop.
        self.extra = self.extra.saturating_add(loops * loops / 200);
    }

    /// Counts a branch table with `targets` distinct targets inside `loops` nested loops.
    pub fn table(&mut self, targets: u64, loops: u64) {
        self.fork(1, loops);
        self.extra = self.extra.saturating_add(targets * targets / 8);
    }

    /// Counts a call.
    pub fn call(&mut self, arity: Arity) {
        self.calls += 1;
        self.arguments += u64::from(arity.params) + u64::from(arity.results);
    }

    /// Counts a table access, for a call or on its own.
    pub fn table_entry(&mut self, loops: u64) {
        self.fork(1, loops);
        self.expanded_bytes += 16 << 10;
    }

    /// Counts an instruction on a range of a memory.
    pub fn bulk_memory(&mut self, loops: u64) {
        self.fork(1, loops);
        self.expanded_bytes += 24 << 10;
    }

    /// Counts an instruction on a range of a table.
    pub fn bulk_table(&mut self, loops: u64) {
        self.fork(2, loops);
        self.expanded_bytes += 56 << 10;
    }

    /// Counts values written at instantiation.
    pub fn initial_values(&mut self, count: u64) {
        self.calls += count;
        self.arguments += 8 * count;
    }

    /// Returns the cost, in bytes of plain code that take equally long.
    pub fn cost(&self) -> u64 {
        (self.bytes + 32 + 16 * self.values + 4 * self.arguments + self.forks * self.forks / 150)
            .saturating_add(self.extra)
    }

    /// Returns the memory needed during the function's compilation.
    fn working_bytes(&self) -> u64 {
        150 * self.bytes
            + 1_024 * self.blocks
            + 15_360 * self.loops
            + 5_120 * self.forks
            + 2_560 * (self.calls + self.values)
            + 512 * self.arguments
            + self.expanded_bytes
    }

    /// Returns the memory needed until all functions are compiled.
    fn compiled_bytes(&self) -> u64 {
        5_632 + 48 * self.bytes + 256 * self.forks
    }
}

/// The predicted cost of compiling a binary.
#[derive(Debug)]
pub struct Weight {
    cost: u64,
    binary_bytes: u64,
    compiled_bytes: u64,
    /// Memory for the largest functions, one per compiling thread.
    working_bytes: Vec<u64>,
    /// Items of element segments.
    pub elements: u64,
    /// Bytes of initial memories.
    pub images: u64,
    /// Bytes of initial tables.
    pub tables: u64,
    /// The number of definitions.
    pub definitions: u64,
    /// Definitions, counted once per instantiation.
    pub instantiated: u64,
    /// Component functions called by modules, counted once per instantiation.
    pub adapters: u64,
}

impl Weight {
    /// Creates zero counts for a binary of this size.
    pub fn new(binary_bytes: u64, threads: usize) -> Self {
        Self {
            cost: 0,
            binary_bytes,
            compiled_bytes: 0,
            working_bytes: vec![0; threads.max(1)],
            elements: 0,
            images: 0,
            tables: 0,
            definitions: 0,
            instantiated: 0,
            adapters: 0,
        }
    }

    /// Adds a function.
    pub fn add_function(&mut self, counts: &FunctionCounts) {
        self.cost = self.cost.saturating_add(counts.cost());
        self.compiled_bytes += counts.compiled_bytes();
        let working = counts.working_bytes();
        if let Some(least) = self.working_bytes.iter_mut().min()
            && *least < working
        {
            *least = working;
        }
    }

    /// Returns the predicted cost, in bytes of plain code that take equally long.
    pub fn cost(&self) -> u64 {
        self.cost.saturating_add(self.adapters.saturating_mul(4_096))
    }

    /// Returns the bytes of initial memories and tables kept with the code.
    pub fn initial_bytes(&self) -> u64 {
        self.images + self.initial_table_bytes()
    }

    /// Returns the bytes of initial tables, which are not part of the code itself.
    pub fn initial_table_bytes(&self) -> u64 {
        self.tables * 9 / 4
    }

    /// Returns the predicted memory.
    pub fn bytes(&self) -> u64 {
        // One copy each for the compile, its output sections, and the code.
        (4 << 20)
            + 3 * self.binary_bytes
            + self.compiled_bytes
            + self.working_bytes.iter().sum::<u64>()
            + 16 * self.elements
            + 2 * self.images
            + 4 * self.tables
            + 1_024 * self.definitions
            + 512 * self.instantiated
            + self.adapters.saturating_mul(128 << 10)
    }
}

/// The largest memory kept as an image even if little of it is filled.
const MAX_SPARSE_BYTES: u64 = 16 << 20;

/// The largest table kept as an image.
const MAX_TABLE_ELEMENTS: u64 = 1 << 20;

/// The initial contents of a memory, as far as they become an image.
#[derive(Debug)]
pub struct MemoryImage {
    memory_bytes: u64,
    data_bytes: u64,
    /// Start and end of the filled range.
    span: Option<(u64, u64)>,
}

impl MemoryImage {
    /// Creates an empty memory of this size.
    pub fn new(memory_bytes: u64) -> Self {
        Self { memory_bytes, data_bytes: 0, span: None }
    }

    /// Adds a data segment; returns whether it lies inside the memory.
    pub fn add(&mut self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len);
        if end > self.memory_bytes {
            return false;
        }
        if len > 0 {
            self.data_bytes += len;
            let (start, old_end) = self.span.unwrap_or((offset, end));
            self.span = Some((start.min(offset), old_end.max(end)));
        }
        true
    }

    /// Returns whether it becomes an image.
    pub fn is_dense(&self) -> bool {
        self.bytes() < MAX_SPARSE_BYTES.max(2 * self.data_bytes)
    }

    /// Returns the size of the image.
    pub fn bytes(&self) -> u64 {
        self.span.map_or(0, |(start, end)| end - start)
    }
}

/// The initial contents of a table, as far as they become an image.
#[derive(Debug)]
pub struct TableImage {
    elements: u64,
    filled: u64,
}

impl TableImage {
    /// Creates a table of this size; `filled` if its entries are not null at first.
    pub fn new(elements: u64, filled: bool) -> Self {
        let filled = if filled && elements <= MAX_TABLE_ELEMENTS { elements } else { 0 };
        Self { elements, filled }
    }

    /// Adds an element segment with this end; returns whether it becomes part of the image.
    pub fn fill_to(&mut self, end: u64) -> bool {
        let fits = end <= self.elements.min(MAX_TABLE_ELEMENTS);
        if fits {
            self.filled = self.filled.max(end);
        }
        fits
    }

    /// Returns the size of the image.
    pub fn bytes(&self) -> u64 {
        4 * self.filled
    }
}
