//! Function bodies.

use wasmparser::{BlockType, FunctionBody, Operator};

use crate::runtime::screen::limits::Limit;
use crate::runtime::screen::module::{Arity, Module};
use crate::runtime::screen::pass::Pass;
use crate::runtime::screen::refusal::{Place, Refusal};
use crate::runtime::screen::weight::FunctionCounts;

/// An open block.
struct Block {
    is_loop: bool,
    /// The number of values that a branch to it takes.
    taken: u32,
}

/// Reads the body of a module's next function.
pub fn read(
    pass: &mut Pass<'_>,
    module: &mut Module,
    body: &FunctionBody<'_>,
) -> Result<(), Refusal> {
    let (index, arity) = module.next_function();
    let range = body.range();
    let place = |offset| Place { offset, section: "code", function: Some(index) };
    let mut counts = FunctionCounts::new(range.len() as u64);
    pass.check_at(Limit::FunctionBytes, counts.bytes, place(range.start))?;

    counts.locals = arity.params.into();
    let mut locals = body.get_locals_reader()?;
    for _ in 0..locals.get_count() {
        let offset = locals.original_position();
        counts.locals += u64::from(locals.read()?.0);
        pass.check_at(Limit::FunctionLocals, counts.locals, place(offset))?;
    }

    let mut reader = wasmparser::OperatorsReader::new(locals.get_binary_reader());
    let mut open = vec![Block { is_loop: false, taken: arity.results }];
    let mut loops = 0_u64;
    // Values that loops pass on because a local is used in them.
    let mut passed = 0_u64;
    let mut targets = Vec::new();
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        let taken = |open: &[Block], depth: u32| {
            let at = open.len().checked_sub(depth as usize + 1);
            at.map_or(0, |at| u64::from(open[at].taken))
        };
        match operator {
            Operator::Block { blockty } | Operator::If { blockty } | Operator::Loop { blockty } => {
                let Arity { params, results } = module.block(blockty);
                let is_loop = matches!(operator, Operator::Loop { .. });
                let branches = !matches!(operator, Operator::Block { .. });
                open.push(Block { is_loop, taken: if is_loop { params } else { results } });
                loops += u64::from(is_loop);
                counts.loops += u64::from(is_loop);
                counts.blocks += 1;
                counts.fork(u64::from(branches), loops);
                counts.values += u64::from(params) + u64::from(results);
                pass.check_at(Limit::BlockDepth, open.len() as u64 - 1, place(offset))?;
            }
            Operator::Else => counts.blocks += 1,
            Operator::End => {
                if let Some(Block { is_loop: true, .. }) = open.pop() {
                    loops -= 1;
                }
            }
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                counts.blocks += 1;
                counts.fork(1, loops);
                counts.values += taken(&open, relative_depth);
            }
            Operator::BrTable { targets: ref table } => {
                targets.clear();
                pass.check_at(Limit::FunctionBlocks, u64::from(table.len()), place(offset))?;
                for target in table.targets() {
                    targets.push(target?);
                }
                targets.push(table.default());
                counts.blocks += targets.len() as u64;
                targets.sort_unstable();
                targets.dedup();
                counts.table(targets.len() as u64, loops);
                for &target in &targets {
                    counts.values += taken(&open, target);
                }
            }
            Operator::Return => counts.values += u64::from(arity.results),
            Operator::LocalGet { .. } | Operator::LocalSet { .. } | Operator::LocalTee { .. } => {
                passed += loops;
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                counts.call(module.function(function_index));
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. } => {
                counts.call(module.ty(type_index));
                counts.table_entry(loops);
            }
            Operator::CallRef { type_index } | Operator::ReturnCallRef { type_index } => {
                counts.call(module.ty(type_index))
            }
            Operator::TableGet { .. } => counts.table_entry(loops),
            Operator::MemoryGrow { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. } => counts.bulk_memory(loops),
            Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. } => counts.bulk_table(loops),
            // Nothing else in Wasmtime's configured features has blocks or branches.
            _ => {}
        }
        pass.check_at(Limit::FunctionBlocks, counts.blocks, place(offset))?;
        let values = counts.values + passed.min(counts.loops * counts.locals);
        pass.check_at(Limit::FunctionValues, values, place(offset))?;
    }
    counts.values += passed.min(counts.loops * counts.locals);
    pass.add_function(&counts, place(range.start))
}

/// Returns the numbers of values that a block takes and leaves.
pub fn block_arity(ty: BlockType, of_type: impl FnOnce(u32) -> Arity) -> Arity {
    match ty {
        BlockType::Empty => Arity::default(),
        BlockType::Type(_) => Arity { params: 0, results: 1 },
        BlockType::FuncType(index) => of_type(index),
    }
}
