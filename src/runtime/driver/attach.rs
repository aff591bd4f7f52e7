//! Adds the loop to a component.
//!
//! For a short message, Wasmtime's overhead of a call from outside exceeds the work inside: a fiber
//! is set up and torn down, and the stack is checked and switched. So a component gets a small
//! module appended to its own sections, which stay byte for byte as they are. `driver.wat` asks for
//! messages and calls the component's handlers as Wasmtime would, by the Canonical ABI.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentImportSection, ComponentSection, ComponentSectionId,
    ComponentTypeRef, ComponentTypeSection, ComponentValType, ExportKind, InstanceSection,
    ModuleArg, PrimitiveValType, RawSection,
};

use crate::runtime::driver::outline::{HandlerOutline, Outline};
use crate::runtime::driver::small::{SMALL_WORDS, TINY_WORDS};

/// The import that asks for the next message.
pub const NEXT: &str = "airssys-driver-next";
/// The import that takes the message.
pub const TAKE: &str = "airssys-driver-take";
/// The import that takes a small message.
pub const TAKE_SMALL: &str = "airssys-driver-take-small";
/// The import that takes a tiny message.
pub const TAKE_TINY: &str = "airssys-driver-take-tiny";
/// The import that delivers the handler's answer.
pub const ANSWER: &str = "airssys-driver-answer";
/// All imports of the loop.
pub const IMPORTS: [&str; 5] = [NEXT, TAKE, TAKE_SMALL, TAKE_TINY, ANSWER];
/// The export that runs the loop.
pub const RUN: &str = "airssys-driver-run";
/// Names that no component may use itself.
const RESERVED: [&str; 6] = [NEXT, TAKE, TAKE_SMALL, TAKE_TINY, ANSWER, RUN];

const DRIVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/driver.wasm"));
const NOTHING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nothing.wasm"));

/// A component with the loop attached.
#[derive(Debug, PartialEq, Eq)]
pub struct Attached {
    /// The binary.
    pub component: Vec<u8>,
    /// The number of core instances added.
    pub instances: usize,
}

/// Attaches the loop. Returns `None` for a component that sends no messages and so is called
/// without a fiber, or only rarely; and for one that the loop does not fit, see
/// [`Outline::handlers`].
pub fn attached(component: &[u8]) -> Option<Attached> {
    let outline = Outline::read(component, &RESERVED).ok()??;
    let handlers = outline.handlers()?;
    let mut component = component.to_vec();
    let instances = append(&mut component, &outline, &handlers);
    Some(Attached { component, instances })
}

/// Appends the loop and returns the number of core instances added.
fn append(component: &mut Vec<u8>, outline: &Outline<'_>, handlers: &[HandlerOutline; 2]) -> usize {
    let [message, callback] = handlers;
    let (memory, realloc) = (message.memory, message.realloc);
    let function = outline.functions.len() as u32;
    let imported = IMPORTS.len() as u32;
    let Types { functions, run } = append_types(component, outline.types);

    let mut imports = ComponentImportSection::new();
    for (name, of) in IMPORTS.into_iter().zip(functions) {
        imports.import(name, ComponentTypeRef::Func(of));
    }
    imports.append_to_component(component);

    for data in [DRIVER, NOTHING] {
        let section = RawSection { id: ComponentSectionId::CoreModule.into(), data };
        section.append_to_component(component);
    }
    let [driver, nothing] = [0, 1].map(|n| outline.core_modules.len() as u32 + n);

    let mut lowered = CanonicalFunctionSection::new();
    let options = [CanonicalOption::UTF8, CanonicalOption::Memory(memory)];
    let allocating = [options[0], options[1], CanonicalOption::Realloc(realloc)];
    lowered.lower(function, []);
    lowered.lower(function + 1, allocating);
    (2..imported).for_each(|at| _ = lowered.lower(function + at, options));
    lowered.append_to_component(component);
    let [next, take, take_small, take_tiny, answer, mut free] =
        [0, 1, 2, 3, 4, 5].map(|n| outline.core_functions.len() as u32 + n);

    let mut instance = outline.core_instances.len() as u32;
    let mut export = |component: &mut Vec<u8>, instance, name| {
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name });
        aliases.append_to_component(component);
        free += 1;
        free - 1
    };
    let missing = [message.post, callback.post].contains(&None).then(|| {
        let mut instances = InstanceSection::new();
        instances.instantiate::<_, &str>(nothing, []);
        instances.append_to_component(component);
        instance += 1;
        export(component, instance - 1, "post")
    });
    let [message_post, callback_post] =
        [message.post, callback.post].map(|post| post.or(missing).unwrap_or_default());

    let mut instances = InstanceSection::new();
    instances.export_items([
        ("memory", ExportKind::Memory, memory),
        ("realloc", ExportKind::Func, realloc),
        ("handle-message", ExportKind::Func, message.function),
        ("handle-message-post", ExportKind::Func, message_post),
        ("handle-callback", ExportKind::Func, callback.function),
        ("handle-callback-post", ExportKind::Func, callback_post),
    ]);
    instances.export_items([
        ("next", ExportKind::Func, next),
        ("take", ExportKind::Func, take),
        ("take-small", ExportKind::Func, take_small),
        ("take-tiny", ExportKind::Func, take_tiny),
        ("answer", ExportKind::Func, answer),
    ]);
    let [component_side, host_side] = [0, 1].map(|n| ModuleArg::Instance(instance + n));
    instances.instantiate(driver, [("component", component_side), ("host", host_side)]);
    instances.append_to_component(component);

    let core_run = export(component, instance + 2, "run");
    let mut lifted = CanonicalFunctionSection::new();
    lifted.lift(core_run, run, []);
    lifted.append_to_component(component);

    let mut exports = ComponentExportSection::new();
    exports.export(RUN, ComponentExportKind::Func, function + imported, None);
    exports.append_to_component(component);
    1 + usize::from(missing.is_some())
}

/// The types of the loop's functions.
struct Types {
    /// Those of [`IMPORTS`].
    functions: [u32; IMPORTS.len()],
    run: u32,
}

/// Appends the types of the loop's functions. Tuples stand for records, which have the same layout
/// but would have to be imported as named types.
fn append_types(component: &mut Vec<u8>, first: u32) -> Types {
    let mut types = ComponentTypeSection::new();
    let mut count = first;
    let mut next = || {
        count += 1;
        count - 1
    };
    let defined = ComponentValType::Type;
    let primitive = ComponentValType::Primitive;
    let string = primitive(PrimitiveValType::String);
    let number = primitive(PrimitiveValType::U32);

    types.defined_type().list(primitive(PrimitiveValType::U8));
    let bytes = defined(next());
    types.defined_type().tuple([string; 3]);
    let id = defined(next());
    types.defined_type().option(string);
    let text = defined(next());
    types.defined_type().option(id);
    let reply_to = defined(next());
    types.defined_type().tuple([primitive(PrimitiveValType::U64), number]);
    let timestamp = defined(next());
    types.defined_type().tuple([text, reply_to, timestamp, text]);
    let metadata = defined(next());
    types.defined_type().tuple([id, bytes, metadata]);
    let message = defined(next());

    types.defined_type().tuple([primitive(PrimitiveValType::U64); SMALL_WORDS]);
    let small = defined(next());
    types.defined_type().tuple([primitive(PrimitiveValType::U64); TINY_WORDS]);
    let tiny = defined(next());

    types.defined_type().option(bytes);
    let reply = defined(next());
    types.defined_type().tuple([number, string]);
    let error = defined(next());
    types.defined_type().result(Some(reply), Some(error));
    let outcome = defined(next());

    let none = || [] as [(&str, ComponentValType); 0];
    for result in [primitive(PrimitiveValType::U64), message, small, tiny] {
        types.function().params(none()).result(Some(result));
    }
    types.function().params([("outcome", outcome)]).result(None);
    types.function().params(none()).result(None);
    types.append_to_component(component);
    Types { functions: IMPORTS.map(|_| next()), run: next() }
}

#[cfg(test)]
mod tests {
    use airssys_wasm_guests::bytes;
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    fn valid(component: &[u8]) -> Result<(), String> {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        validator.validate_all(component).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_component_that_sends_gets_the_loop_behind_its_own_sections() {
        for guest in ["requester", "relay", "probe", "words"] {
            let component = bytes(guest);
            let driven = attached(&component).unwrap_or_else(|| panic!("{guest}"));
            assert!(driven.component.starts_with(&component), "{guest}");
            assert_eq!(driven.instances, 1, "{guest}");
            assert_eq!(valid(&driven.component), Ok(()), "{guest}");
            assert_eq!(attached(&driven.component), None, "the names are taken");
        }
    }

    #[test]
    fn other_components_stay_as_they_are() {
        // These send no messages; the last one's allocator calls an import.
        for guest in ["echo", "hermit", "minimal", "hostile"] {
            assert_eq!(attached(&bytes(guest)), None, "{guest}");
        }
        for text in [
            r#"(component)"#,
            r#"(component (import "airssys:core/host-messaging@1.0.0" (instance)))"#,
            r#"(component (import "airssys:core/host-messaging@1.0.0" (instance $i))
                (export "airssys:core/component-lifecycle@1.0.0" (instance $i)))"#,
            r#"(component (import "airssys-driver-next" (func)))"#,
        ] {
            assert_eq!(attached(&wat::parse_str(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn anything_but_a_component_is_left_alone() {
        let component = bytes("relay");
        for length in (0..component.len()).step_by(7) {
            drop(attached(&component[..length]));
        }
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2_000 {
            let mut broken = component.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let at = (random >> 33) as usize % broken.len();
                broken[at] = random as u8;
            }
            drop(attached(&broken));
        }
    }
}
