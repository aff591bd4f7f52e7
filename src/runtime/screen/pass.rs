//! The pass itself: payload by payload, with a stack of open modules and components.

use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentExternalKind, ComponentInstance, Instance, Parser,
    Payload,
};

use crate::runtime::screen::limits::{CompileLimits, Limit};
use crate::runtime::screen::module::Module;
use crate::runtime::screen::refusal::{Excess, Place, Refusal};
use crate::runtime::screen::scope::{Instantiation, Item, Scope, push_alias};
use crate::runtime::screen::types::{read_component_types, read_core_type};
use crate::runtime::screen::weight::{FunctionCounts, Weight};

/// Screens a component and returns the predicted weight of its compilation on `threads` threads.
/// `mapped` means that instances share memory images.
pub fn screen(
    binary: &[u8],
    limits: &CompileLimits,
    threads: usize,
    mapped: bool,
) -> Result<Weight, Refusal> {
    let mut pass = Pass {
        limits,
        mapped,
        scopes: Vec::new(),
        weight: Weight::new(binary.len() as u64, threads),
        functions: 0,
        definitions: 0,
        nested: 0,
    };
    // The open modules and components.
    let mut open = Vec::new();
    for payload in Parser::new(0).parse_all(binary) {
        pass.note(binary, &mut open, payload?)?;
    }
    Ok(pass.weight)
}

/// An open module or component.
enum Open {
    Module(Box<Module>),
    Component,
}

/// The state of the pass.
pub struct Pass<'a> {
    limits: &'a CompileLimits,
    /// Whether instances share memory images.
    pub mapped: bool,
    /// The scopes of the open components and, in a type section, of the open types.
    pub scopes: Vec<Scope>,
    /// The counts so far.
    pub weight: Weight,
    functions: u64,
    definitions: u64,
    nested: u64,
}

impl Pass<'_> {
    fn note(
        &mut self,
        binary: &[u8],
        open: &mut Vec<Open>,
        payload: Payload<'_>,
    ) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } => {
                open.push(Open::Module(Box::default()));
            }
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } => {
                open.push(Open::Component);
                self.scopes.push(Scope::default());
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                self.nest("module", open.len(), unchecked_range.start)?;
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                self.nest("component", open.len(), unchecked_range.start)?;
            }
            Payload::End(at) => match open.pop() {
                Some(Open::Module(mut module)) => {
                    module.close(self, at)?;
                    let cost = Some(Instantiation { definitions: 1 + module.imports, adapters: 0 });
                    self.scope().push(ComponentExternalKind::Module, Item { depth: 0, cost });
                }
                Some(Open::Component) => self.close_component(at)?,
                None => {}
            },
            payload => match open.last_mut() {
                Some(Open::Module(module)) => module.note(self, payload)?,
                Some(Open::Component) => self.note_in_component(binary, payload)?,
                None => {}
            },
        }
        Ok(())
    }

    fn nest(&mut self, section: &'static str, depth: usize, offset: usize) -> Result<(), Refusal> {
        self.nested += 1;
        let place = Place { offset, section, function: None };
        self.check_at(Limit::ComponentDepth, depth as u64, place)?;
        self.check_at(Limit::Components, self.nested, place)
    }

    fn close_component(&mut self, at: usize) -> Result<(), Refusal> {
        let Some(closed) = self.scopes.pop() else { return Ok(()) };
        let place = Place { offset: at, section: "component", function: None };
        let item = Item { depth: closed.depth + 1, cost: Some(closed.cost) };
        self.check_at(Limit::TypeDepth, item.depth.into(), place)?;
        if let Some(outer) = self.scopes.last_mut() {
            outer.push(ComponentExternalKind::Component, item);
        }
        Ok(())
    }

    fn note_in_component(&mut self, binary: &[u8], payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                let section = binary.get(range.clone()).unwrap_or_default();
                read_component_types(self, section, range.start)?;
            }
            Payload::CoreTypeSection(section) => {
                let range = section.range();
                let section = binary.get(range.clone()).unwrap_or_default();
                let mut reader = BinaryReader::new(section, range.start);
                for _ in 0..reader.read_var_u32()? {
                    read_core_type(self, &mut reader)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.into_iter_with_offsets() {
                    let (at, alias) = alias?;
                    self.count_definitions(1, "alias", at)?;
                    push_alias(&mut self.scopes, &alias);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.into_iter_with_offsets() {
                    let (at, import) = import?;
                    self.count_definitions(1, "import", at)?;
                    let (kind, item) = self.scope().declared(import.ty);
                    self.scope().push(kind, item);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.into_iter_with_offsets() {
                    let (at, export) = export?;
                    self.count_definitions(1, "export", at)?;
                    let exported = self.scope().get(export.kind, export.index);
                    let ascribed = export.ty.map_or(0, |ty| self.scope().declared(ty).1.depth);
                    let depth = exported.depth.max(ascribed);
                    self.scope().push(export.kind, Item { depth, ..exported });
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.into_iter_with_offsets() {
                    let (at, function) = function?;
                    self.count_definitions(1, "canonical function", at)?;
                    match function {
                        CanonicalFunction::Lift { type_index, .. } => {
                            let ty = self.scope().get(ComponentExternalKind::Type, type_index);
                            let item = Item::of_depth(ty.depth);
                            self.scope().push(ComponentExternalKind::Func, item);
                        }
                        CanonicalFunction::Lower { .. } => {
                            let made = Instantiation { definitions: 0, adapters: 1 };
                            self.count_instantiated(made, "canonical function", at)?;
                        }
                        _ => {}
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.into_iter_with_offsets() {
                    let (at, instance) = instance?;
                    self.note_core_instance(&instance, at)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.into_iter_with_offsets() {
                    let (at, instance) = instance?;
                    self.note_instance(&instance, at)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_core_instance(&mut self, instance: &Instance<'_>, at: usize) -> Result<(), Refusal> {
        let definitions = match instance {
            Instance::Instantiate { module_index, args } => {
                let module = self.scope().get(ComponentExternalKind::Module, *module_index);
                // A module from elsewhere may be any other of this binary.
                let made = module.cost.map_or(self.definitions, |made| made.definitions);
                made.saturating_add(args.len() as u64)
            }
            Instance::FromExports(exports) => exports.len() as u64,
        };
        let made = Instantiation { definitions: definitions.saturating_add(1), adapters: 0 };
        self.count_instantiated(made, "core instance", at)
    }

    fn note_instance(
        &mut self,
        instance: &ComponentInstance<'_>,
        at: usize,
    ) -> Result<(), Refusal> {
        const SECTION: &str = "instance";
        let place = Place { offset: at, section: SECTION, function: None };
        let mut made = Instantiation { definitions: 1, adapters: 0 };
        let depth = match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let kind = ComponentExternalKind::Component;
                let component = self.scope().get(kind, *component_index);
                let Some(cost) = component.cost else {
                    let reason = "a component defined elsewhere is instantiated";
                    return Err(Refusal::Unbounded { reason, place });
                };
                made.definitions += args.len() as u64;
                made.add(cost);
                component.depth
            }
            ComponentInstance::FromExports(exports) => {
                made.definitions += exports.len() as u64;
                let depths = exports.iter().map(|export| self.get(export.kind, export.index).depth);
                1 + depths.max().unwrap_or_default()
            }
        };
        self.check_at(Limit::TypeDepth, depth.into(), place)?;
        self.count_instantiated(made, SECTION, at)?;
        self.scope().push(ComponentExternalKind::Instance, Item::of_depth(depth));
        Ok(())
    }

    fn get(&self, kind: ComponentExternalKind, index: u32) -> Item {
        self.scopes.last().map_or_else(Item::default, |scope| scope.get(kind, index))
    }

    /// Returns the innermost scope.
    pub fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Counts definitions at one place.
    pub fn count_definitions(
        &mut self,
        count: u64,
        section: &'static str,
        offset: usize,
    ) -> Result<(), Refusal> {
        self.definitions = self.definitions.saturating_add(count);
        self.weight.definitions = self.definitions;
        let place = Place { offset, section, function: None };
        self.check_at(Limit::Definitions, self.definitions, place)?;
        let made = Instantiation { definitions: count, adapters: 0 };
        self.count_instantiated(made, section, offset)
    }

    /// Counts what instantiating the innermost scope creates.
    fn count_instantiated(
        &mut self,
        made: Instantiation,
        section: &'static str,
        offset: usize,
    ) -> Result<(), Refusal> {
        let scope = self.scope();
        scope.cost.add(made);
        let Instantiation { definitions, adapters } = scope.cost;
        self.weight.instantiated = self.weight.instantiated.max(definitions);
        self.weight.adapters = self.weight.adapters.max(adapters);
        let place = Place { offset, section, function: None };
        self.check_at(Limit::Definitions, definitions, place)?;
        self.check_at(Limit::Cost, self.weight.cost(), place)
    }

    /// Counts functions before they are read.
    pub fn count_functions(&mut self, count: u64, offset: usize) -> Result<(), Refusal> {
        self.functions += count;
        let place = Place { offset, section: "function", function: None };
        self.check_at(Limit::Functions, self.functions, place)
    }

    /// Adds a function that was read.
    pub fn add_function(&mut self, counts: &FunctionCounts, place: Place) -> Result<(), Refusal> {
        self.check_at(Limit::FunctionCost, counts.cost(), place)?;
        self.weight.add_function(counts);
        self.check_at(Limit::Cost, self.weight.cost(), place)
    }

    /// Checks a count against a limit.
    pub fn check_at(&self, limit: Limit, found: u64, place: Place) -> Result<(), Refusal> {
        let value = self.limits.get(limit);
        if found <= value {
            return Ok(());
        }
        Err(Excess { limit: limit.name(), value, found, place }.into())
    }

    /// Checks the depth of a type in a type section.
    pub fn check_type_depth(&self, depth: u64, offset: usize) -> Result<(), Refusal> {
        let place = Place { offset, section: "component type", function: None };
        self.check_at(Limit::TypeDepth, depth, place)
    }

    /// Returns the refusal of something that the pass cannot skip.
    pub fn unknown(&self, section: &'static str, offset: usize) -> Refusal {
        let place = Place { offset, section, function: None };
        Refusal::Unbounded { reason: "unknown construct", place }
    }
}
