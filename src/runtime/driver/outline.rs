//! The top level of a component, and the parts of its handlers.

use std::ptr;

use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind,
    ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, ExternalKind, Instance, Parser,
    Payload,
};

use crate::runtime::contract::{LIFECYCLE, MESSAGING, is_of};
use crate::runtime::driver::leaving::stay_inside;

/// The index spaces of a component, as far as the loop needs them.
#[derive(Default)]
pub struct Outline<'a> {
    /// The bytes of each module; `None` if it is imported or aliased.
    pub core_modules: Vec<Option<&'a [u8]>>,
    pub core_instances: Vec<Instance<'a>>,
    /// Instance and export name of each core function; `None` for those that the component model
    /// creates.
    pub core_functions: Vec<Option<(u32, &'a str)>>,
    pub types: u32,
    /// The definition of each function; `None` if it is not lifted from a core function.
    pub functions: Vec<Option<CanonicalFunction>>,
    /// The bytes of each component; `None` if it is imported or aliased.
    components: Vec<Option<&'a [u8]>>,
    /// The definition of each instance; `None` if it is not defined here.
    instances: Vec<Option<ComponentInstance<'a>>>,
    /// The instance exported as [`LIFECYCLE`].
    lifecycle: Option<u32>,
    writes_to_others: bool,
    /// The number of items read.
    items: usize,
}

/// The most top-level items in a component with the loop. The outline is read before the limits of
/// a compile are checked.
const MAX_ITEMS: usize = 100_000;

/// A handler of the component, by the indices of its parts.
pub struct HandlerOutline {
    pub function: u32,
    pub memory: u32,
    pub realloc: u32,
    pub post: Option<u32>,
}

impl<'a> Outline<'a> {
    /// Reads a component; returns `None` if it imports or exports a `reserved` name.
    pub fn read(component: &'a [u8], reserved: &[&str]) -> Result<Option<Self>, BinaryReaderError> {
        let (mut outline, mut depth, mut free) = (Self::default(), 0_u32, true);
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::Version { .. } => depth += 1,
                Payload::ModuleSection { unchecked_range, .. } if depth == 1 => {
                    outline.core_modules.push(component.get(unchecked_range));
                }
                Payload::ComponentSection { unchecked_range, .. } if depth == 1 => {
                    outline.components.push(component.get(unchecked_range));
                }
                payload if depth == 1 => free &= outline.note(payload, reserved)?,
                _ => {}
            }
            if !free {
                return Ok(None);
            }
        }
        Ok(free.then_some(outline))
    }

    /// Counts items; returns whether there are not too many.
    fn has_room(&mut self, more: usize) -> bool {
        self.items = self.items.saturating_add(more);
        self.items <= MAX_ITEMS
    }

    /// Notes a payload; returns false for a reserved name or too many items.
    fn note(&mut self, payload: Payload<'a>, reserved: &[&str]) -> Result<bool, BinaryReaderError> {
        let items = match &payload {
            Payload::InstanceSection(section) => section.count(),
            Payload::ComponentCanonicalSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            Payload::ComponentInstanceSection(section) => section.count(),
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            _ => 1,
        };
        if !self.has_room(items as usize) {
            return Ok(false);
        }
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    let instance = instance?;
                    let parts = match &instance {
                        Instance::Instantiate { args, .. } => args.len(),
                        Instance::FromExports(exports) => exports.len(),
                    };
                    if !self.has_room(parts) {
                        return Ok(false);
                    }
                    self.core_instances.push(instance);
                }
            }
            Payload::ComponentTypeSection(section) => self.types += section.count(),
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        lift @ CanonicalFunction::Lift { .. } => self.functions.push(Some(lift)),
                        _ => self.core_functions.push(None),
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.note_alias(&alias?);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    let instance = instance?;
                    let parts = match &instance {
                        ComponentInstance::Instantiate { args, .. } => args.len(),
                        ComponentInstance::FromExports(exports) => exports.len(),
                    };
                    if !self.has_room(parts) {
                        return Ok(false);
                    }
                    self.instances.push(Some(instance));
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    if reserved.contains(&import.name.name) {
                        return Ok(false);
                    }
                    self.writes_to_others |= is_of(MESSAGING, import.name.name);
                    self.note_item(kind_of(import.ty));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    if reserved.contains(&export.name.name) {
                        return Ok(false);
                    }
                    if is_of(LIFECYCLE, export.name.name)
                        && export.kind == ComponentExternalKind::Instance
                    {
                        self.lifecycle = Some(export.index);
                    }
                    self.note_item(export.kind);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn note_alias(&mut self, alias: &ComponentAlias<'a>) {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => self.note_item(kind),
            ComponentAlias::CoreInstanceExport {
                kind: ExternalKind::Func | ExternalKind::FuncExact,
                instance_index,
                name,
            } => self.core_functions.push(Some((instance_index, name))),
            // The loop refers to a memory by the handlers' index for it, and needs no other
            // aliases.
            ComponentAlias::CoreInstanceExport {
                kind:
                    ExternalKind::Table
                    | ExternalKind::Memory
                    | ExternalKind::Global
                    | ExternalKind::Tag,
                ..
            } => {}
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::CoreModule => self.core_modules.push(None),
                ComponentOuterAliasKind::CoreType => {}
                ComponentOuterAliasKind::Type => self.types += 1,
                ComponentOuterAliasKind::Component => self.components.push(None),
            },
        }
    }

    /// Counts an item that is defined elsewhere or gets a further index.
    fn note_item(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Module => self.core_modules.push(None),
            ComponentExternalKind::Func => self.functions.push(None),
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Instance => self.instances.push(None),
            ComponentExternalKind::Component => self.components.push(None),
            ComponentExternalKind::Value => {}
        }
    }

    /// Returns the handlers for messages and callbacks, if the component sends messages and the
    /// loop can call both just as a call from outside would: they share memory and allocator, and
    /// neither the allocator nor the post-return code can reach an import, which would trap in a
    /// call from outside.
    pub fn handlers(&self) -> Option<[HandlerOutline; 2]> {
        if !self.writes_to_others {
            return None;
        }
        let [message, callback] =
            [self.handler("handle-message")?, self.handler("handle-callback")?];
        let alike = message.memory == callback.memory && message.realloc == callback.realloc;
        let never_leave =
            [Some(message.realloc), message.post, callback.post].into_iter().flatten();
        (alike && self.stay_inside(never_leave)).then_some([message, callback])
    }

    /// Returns whether none of these core functions can reach an import.
    fn stay_inside(&self, functions: impl Iterator<Item = u32>) -> bool {
        let definitions: Option<Vec<_>> =
            functions.map(|function| self.definition(function)).collect();
        let Some(mut left) = definitions else { return false };
        while let Some((module, _)) = left.last().copied() {
            // Nearly always all of them.
            let (these, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(of, _)| ptr::eq(*of, module));
            let names: Vec<_> = these.into_iter().map(|(_, name)| name).collect();
            if !stay_inside(module, &names) {
                return false;
            }
            left = others;
        }
        true
    }

    fn handler(&self, name: &str) -> Option<HandlerOutline> {
        let instance = self.instances.get(self.lifecycle? as usize)?.as_ref()?;
        let index = match instance {
            ComponentInstance::FromExports(exports) => {
                let export = exports.iter().find(|export| export.name.name == name)?;
                (export.kind == ComponentExternalKind::Func).then_some(export.index)
            }
            // `wit-component` adds a component that assigns types to the functions, like this.
            ComponentInstance::Instantiate { component_index, args } => {
                let component = self.components.get(*component_index as usize)?.as_ref()?;
                let import = passed_on(component, name).ok()??;
                let argument = args.iter().find(|arg| arg.name == import)?;
                (argument.kind == ComponentExternalKind::Func).then_some(argument.index)
            }
        }?;
        let CanonicalFunction::Lift { core_func_index, options, .. } =
            self.functions.get(index as usize)?.as_ref()?
        else {
            return None;
        };
        let (mut memory, mut realloc, mut post) = (None, None, None);
        for option in options {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(index) => memory = Some(*index),
                CanonicalOption::Realloc(index) => realloc = Some(*index),
                CanonicalOption::PostReturn(index) => post = Some(*index),
                _ => return None,
            }
        }
        Some(HandlerOutline {
            function: *core_func_index,
            memory: memory?,
            realloc: realloc?,
            post,
        })
    }

    /// Returns the module that exports a core function, and the export's name.
    fn definition(&self, mut function: u32) -> Option<(&'a [u8], &'a str)> {
        loop {
            let (instance, name) = (*self.core_functions.get(function as usize)?)?;
            match self.core_instances.get(instance as usize)? {
                Instance::Instantiate { module_index, .. } => {
                    return Some(((*self.core_modules.get(*module_index as usize)?)?, name));
                }
                Instance::FromExports(exports) => {
                    let export = exports.iter().find(|export| export.name == name)?;
                    // In a valid component every item refers to earlier ones.
                    function = Some(export.index).filter(|index| *index < function)?;
                }
            }
        }
    }
}

fn kind_of(of: ComponentTypeRef) -> ComponentExternalKind {
    match of {
        ComponentTypeRef::Module(_) => ComponentExternalKind::Module,
        ComponentTypeRef::Func(_) => ComponentExternalKind::Func,
        ComponentTypeRef::Value(_) => ComponentExternalKind::Value,
        ComponentTypeRef::Type(_) => ComponentExternalKind::Type,
        ComponentTypeRef::Instance(_) => ComponentExternalKind::Instance,
        ComponentTypeRef::Component(_) => ComponentExternalKind::Component,
    }
}

/// Returns the import that a component re-exports as the function `name`.
fn passed_on<'a>(component: &'a [u8], name: &str) -> Result<Option<&'a str>, BinaryReaderError> {
    let (mut functions, mut depth) = (Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::Version { .. } => depth += 1,
            _ if depth != 1 => {}
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    if let ComponentTypeRef::Func(_) = import.ty {
                        functions.push(Some(import.name.name));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    if let CanonicalFunction::Lift { .. } = function? {
                        functions.push(None);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::InstanceExport {
                        kind: ComponentExternalKind::Func,
                        ..
                    } = alias?
                    {
                        functions.push(None);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind != ComponentExternalKind::Func {
                        continue;
                    }
                    let import = functions.get(export.index as usize).copied().flatten();
                    if export.name.name == name {
                        return Ok(import);
                    }
                    functions.push(import);
                }
            }
            _ => {}
        }
    }
    Ok(None)
}
