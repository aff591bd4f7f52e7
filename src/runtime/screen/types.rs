//! Type sections of components, in which types nest.
//!
//! Wasmtime's readers for these types recurse, so they are used only for types without nested ones.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentDefinedType, ComponentExternName, ComponentExternalKind,
    ComponentFuncType, ComponentImport, ComponentType, ComponentTypeRef, ComponentValType,
    CoreType,
};

use crate::runtime::screen::pass::Pass;
use crate::runtime::screen::refusal::Refusal;
use crate::runtime::screen::scope::{Item, Scope, push_alias};

const SECTION: &str = "component type";

const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;

/// Reads a section of component types into the innermost scope of the pass.
pub fn read_component_types(pass: &mut Pass<'_>, section: &[u8], at: usize) -> Result<(), Refusal> {
    let mut reader = BinaryReader::new(section, at);
    // The declarations left in each open type, starting with the section itself.
    let mut open = vec![reader.read_var_u32()?];
    while let Some(left) = open.last_mut() {
        if *left > 0 {
            *left -= 1;
            let declared = open.len() > 1;
            if let Some(count) = read_one(pass, &mut reader, declared)? {
                open.push(count);
                let nested = open.len() as u64 - 1;
                pass.check_type_depth(nested, reader.original_position())?;
                pass.scopes.push(Scope::default());
            }
            continue;
        }
        open.pop();
        if !open.is_empty()
            && let Some(closed) = pass.scopes.pop()
        {
            define(pass, closed.depth + 1, reader.original_position())?;
        }
    }
    Ok(())
}

/// Reads a type, or a declaration in one; returns the number of declarations if a type opens here.
fn read_one(
    pass: &mut Pass<'_>,
    reader: &mut BinaryReader<'_>,
    declared: bool,
) -> Result<Option<u32>, Refusal> {
    let at = reader.original_position();
    if !declared {
        return read_type(pass, reader);
    }
    match reader.read_u8()? {
        0x00 => read_core_type(pass, reader)?,
        0x01 => return read_type(pass, reader),
        0x02 => {
            let alias = reader.read::<ComponentAlias>()?;
            push_alias(&mut pass.scopes, &alias);
        }
        0x03 => {
            let import = reader.read::<ComponentImport>()?;
            declare(pass, import.ty);
        }
        0x04 => {
            reader.read::<ComponentExternName>()?;
            let ty = reader.read::<ComponentTypeRef>()?;
            declare(pass, ty);
        }
        // An unknown type has no known size, so nothing behind it can be read.
        _ => return Err(pass.unknown(SECTION, at)),
    }
    pass.count_definitions(1, SECTION, at)?;
    Ok(None)
}

fn declare(pass: &mut Pass<'_>, ty: ComponentTypeRef) {
    let scope = pass.scope();
    let (kind, item) = scope.declared(ty);
    scope.push(kind, item);
}

fn read_type(pass: &mut Pass<'_>, reader: &mut BinaryReader<'_>) -> Result<Option<u32>, Refusal> {
    let at = reader.original_position();
    let nests = matches!(reader.clone().read_u8()?, COMPONENT_TYPE | INSTANCE_TYPE);
    if nests {
        reader.read_u8()?;
        return Ok(Some(reader.read_var_u32()?));
    }
    let ty = reader.read::<ComponentType>()?;
    let (depth, parts) = depth_and_parts(pass.scope(), &ty);
    pass.count_definitions(parts, SECTION, at)?;
    define(pass, depth, at)?;
    Ok(None)
}

/// Adds a type of this depth.
fn define(pass: &mut Pass<'_>, depth: u32, at: usize) -> Result<(), Refusal> {
    pass.check_type_depth(depth.into(), at)?;
    pass.count_definitions(1, SECTION, at)?;
    pass.scope().push(ComponentExternalKind::Type, Item::of_depth(depth));
    Ok(())
}

/// Returns the depth and the number of parts of a type without scopes of its own.
fn depth_and_parts(scope: &Scope, ty: &ComponentType<'_>) -> (u32, u64) {
    let (mut depth, mut parts) = (0, 0);
    let mut part = |value: Option<ComponentValType>| {
        parts += 1;
        depth = depth.max(value.map_or(0, |value| scope.value(value)));
    };
    match ty {
        ComponentType::Func(ComponentFuncType { params, result, .. }) => {
            params.iter().for_each(|(_, value)| part(Some(*value)));
            part(*result);
        }
        ComponentType::Defined(defined) => match defined {
            ComponentDefinedType::Primitive(_) => {}
            ComponentDefinedType::Record(fields) => {
                fields.iter().for_each(|(_, value)| part(Some(*value)));
            }
            ComponentDefinedType::Variant(cases) => cases.iter().for_each(|case| part(case.ty)),
            ComponentDefinedType::Tuple(values) => {
                values.iter().for_each(|value| part(Some(*value)));
            }
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => {
                names.iter().for_each(|_| part(None));
            }
            ComponentDefinedType::List(value)
            | ComponentDefinedType::FixedLengthList(value, _)
            | ComponentDefinedType::Option(value) => part(Some(*value)),
            ComponentDefinedType::Map(key, value) => {
                part(Some(*key));
                part(Some(*value));
            }
            ComponentDefinedType::Result { ok, err } => {
                part(*ok);
                part(*err);
            }
            ComponentDefinedType::Own(index) | ComponentDefinedType::Borrow(index) => {
                part(Some(ComponentValType::Type(*index)));
            }
            ComponentDefinedType::Future(value) | ComponentDefinedType::Stream(value) => {
                part(*value);
            }
        },
        ComponentType::Resource { .. }
        // The caller opens types with scopes.
        | ComponentType::Component(_)
        | ComponentType::Instance(_) => {}
    }
    (depth + 1, parts)
}

/// Reads a core type; module types cannot nest.
pub fn read_core_type(pass: &mut Pass<'_>, reader: &mut BinaryReader<'_>) -> Result<(), Refusal> {
    let at = reader.original_position();
    let parts = match reader.read::<CoreType>()? {
        CoreType::Rec(group) => group.types().len(),
        CoreType::Module(declarations) => declarations.len(),
    };
    pass.count_definitions(parts as u64, "core type", at)
}
