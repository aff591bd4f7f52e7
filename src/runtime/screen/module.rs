//! Core modules.

use wasmparser::{
    BlockType, CompositeInnerType, ConstExpr, Data, DataKind, Element, ElementItems, ElementKind,
    FuncType, Operator, Payload, TableInit, TypeRef,
};

use crate::runtime::screen::function::{self, block_arity};
use crate::runtime::screen::pass::Pass;
use crate::runtime::screen::refusal::{Place, Refusal};
use crate::runtime::screen::weight::{FunctionCounts, MemoryImage, TableImage};

/// The numbers of values that a function or a block takes and leaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arity {
    pub params: u32,
    pub results: u32,
}

impl From<&FuncType> for Arity {
    fn from(ty: &FuncType) -> Self {
        // The count is bounded by the size of the binary.
        Self { params: ty.params().len() as u32, results: ty.results().len() as u32 }
    }
}

/// What Wasmtime turns the data segments of a module into.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum DataSegments {
    /// Memory images, if they are dense enough.
    #[default]
    Images,
    /// Code.
    Code,
}

/// The state of a module being read.
#[derive(Debug, Default)]
pub struct Module {
    types: Vec<Arity>,
    /// The type indices of all functions, imports first.
    functions: Vec<u32>,
    /// The number of functions imported or read.
    read: u32,
    imported_memories: u32,
    imported_tables: u32,
    memories: Vec<MemoryImage>,
    tables: Vec<TableImage>,
    /// The cost of instantiating it.
    pub imports: u64,
    /// The number of data segments written at instantiation.
    active_data: u64,
    /// What the data segments turn into.
    data: DataSegments,
    /// The start-up function that Wasmtime generates for the parts that do not become images.
    startup: FunctionCounts,
}

impl Module {
    /// Reads a payload of the module.
    pub fn note(&mut self, pass: &mut Pass<'_>, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.into_iter_with_offsets() {
                    let (at, group) = group?;
                    pass.count_definitions(group.types().len() as u64, "type", at)?;
                    for ty in group.types() {
                        self.types.push(match &ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => ty.into(),
                            _ => Arity::default(),
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                let section = section.into_imports_with_offsets();
                for import in section {
                    let (at, import) = import?;
                    pass.count_definitions(1, "import", at)?;
                    self.imports += 1;
                    match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            self.read += 1;
                        }
                        TypeRef::Memory(_) => self.imported_memories += 1,
                        TypeRef::Table(_) => self.imported_tables += 1,
                        TypeRef::Global(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                let at = section.range().start;
                pass.count_functions(section.count().into(), at)?;
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter_with_offsets() {
                    let (at, table) = table?;
                    pass.count_definitions(1, "table", at)?;
                    let filled = matches!(table.init, TableInit::Expr(_));
                    if filled {
                        self.startup.bulk_table(0);
                    }
                    self.tables.push(TableImage::new(table.ty.initial, filled));
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.into_iter_with_offsets() {
                    let (at, memory) = memory?;
                    pass.count_definitions(1, "memory", at)?;
                    let page_bytes = memory.page_size_log2.map_or(16, |log2| log2.min(16));
                    self.memories
                        .push(MemoryImage::new(memory.initial.saturating_mul(1 << page_bytes)));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.into_iter_with_offsets() {
                    let (at, global) = global?;
                    pass.count_definitions(1, "global", at)?;
                    if !is_literal(&global.init_expr) {
                        self.startup.fork(1, 0);
                    }
                    self.startup.bytes +=
                        global.init_expr.get_binary_reader().bytes_remaining() as u64;
                }
            }
            Payload::TagSection(section) => {
                pass.count_definitions(section.count().into(), "tag", section.range().start)?;
            }
            Payload::ExportSection(section) => {
                pass.count_definitions(section.count().into(), "export", section.range().start)?;
            }
            Payload::ElementSection(section) => {
                for element in section.into_iter_with_offsets() {
                    let (at, element) = element?;
                    self.note_element(pass, &element, at)?;
                }
            }
            Payload::DataSection(section) => {
                for data in section.into_iter_with_offsets() {
                    let (at, data) = data?;
                    pass.count_definitions(1, "data", at)?;
                    self.note_data(&data);
                }
            }
            Payload::CodeSectionEntry(body) => function::read(pass, self, &body)?,
            _ => {}
        }
        Ok(())
    }

    fn note_element(
        &mut self,
        pass: &mut Pass<'_>,
        element: &Element<'_>,
        at: usize,
    ) -> Result<(), Refusal> {
        let count = match &element.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        pass.count_definitions(1, "element", at)?;
        pass.weight.elements += u64::from(count);
        if let ElementKind::Active { table_index, ref offset_expr } = element.kind {
            let table = table_index.unwrap_or(0).checked_sub(self.imported_tables);
            let table = table.and_then(|table| self.tables.get_mut(table as usize));
            let functions = matches!(element.items, ElementItems::Functions(_));
            let is_image = match (table, constant(offset_expr)) {
                (Some(table), Some(offset)) if functions => {
                    table.fill_to(offset.saturating_add(count.into()))
                }
                _ => false,
            };
            if !is_image {
                self.startup.bulk_memory(0);
                self.startup.initial_values(count.into());
            }
        }
        Ok(())
    }

    fn note_data(&mut self, data: &Data<'_>) {
        if let DataKind::Active { memory_index, ref offset_expr } = data.kind {
            let memory = memory_index.checked_sub(self.imported_memories);
            let memory = memory.and_then(|memory| self.memories.get_mut(memory as usize));
            let is_image = match (memory, constant(offset_expr)) {
                (Some(memory), Some(offset)) => memory.add(offset, data.data.len() as u64),
                _ => false,
            };
            if !is_image {
                self.data = DataSegments::Code;
            }
            self.active_data += 1;
        }
    }

    /// Adds the images of its tables and memories, once they are completely known.
    pub fn close(&mut self, pass: &mut Pass<'_>, at: usize) -> Result<(), Refusal> {
        pass.weight.tables += self.tables.iter().map(TableImage::bytes).sum::<u64>();
        let dense = self.memories.iter().all(MemoryImage::is_dense);
        if self.data == DataSegments::Images && dense && pass.mapped {
            pass.weight.images += self.memories.iter().map(MemoryImage::bytes).sum::<u64>();
        } else {
            (0..self.active_data).for_each(|_| self.startup.bulk_memory(0));
        }
        let place = Place { offset: at, section: "module", function: None };
        pass.add_function(&self.startup, place)
    }

    /// Returns index and type of the function whose body comes next.
    pub fn next_function(&mut self) -> (u32, Arity) {
        self.read += 1;
        (self.read - 1, self.function(self.read - 1))
    }

    /// Returns the arity of a function.
    pub fn function(&self, index: u32) -> Arity {
        self.functions.get(index as usize).map_or_else(Arity::default, |ty| self.ty(*ty))
    }

    /// Returns the arity of a function type.
    pub fn ty(&self, index: u32) -> Arity {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    /// Returns the arity of a block.
    pub fn block(&self, ty: BlockType) -> Arity {
        block_arity(ty, |index| self.ty(index))
    }
}

/// Returns whether an expression is a single instruction that names its value.
fn is_literal(expression: &ConstExpr<'_>) -> bool {
    let mut reader = expression.get_operators_reader();
    let first = reader.read();
    let names = !matches!(first, Err(_) | Ok(Operator::GlobalGet { .. }));
    names && matches!(reader.read(), Ok(Operator::End))
}

/// Returns the value of an expression that is a single constant.
fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut reader = expression.get_operators_reader();
    let value = match reader.read().ok()? {
        Operator::I32Const { value } => u64::from(value.cast_unsigned()),
        Operator::I64Const { value } => value.cast_unsigned(),
        _ => return None,
    };
    matches!(reader.read(), Ok(Operator::End)).then_some(value)
}
