//! The WIT of a component, with its comments.

use std::collections::HashMap;
use std::panic::catch_unwind;

use wit_component::{DecodedWasm, OutputToString, WitPrinter};
use wit_parser::{Docs, Interface, Resolve, TypeDef, TypeDefKind, WorldItem, WorldKey};

/// The name of the world: a component does not tell it.
pub const WORLD: &str = "root";

/// The WIT of a component.
pub struct Wit {
    /// The text.
    pub text: String,
    resolve: Resolve,
    imports: HashMap<String, WorldItem>,
    exports: HashMap<String, WorldItem>,
}

/// The imports or the exports.
#[derive(Clone, Copy)]
pub enum Side {
    Imports,
    Exports,
}

impl Wit {
    /// Reads the WIT of a valid outline. `None`: it has parts that WIT has no words for, such as an
    /// exported module.
    pub fn of(outline: &[u8]) -> Option<Self> {
        // It panics at names that WIT does not have.
        let decoded = catch_unwind(|| wit_component::decode(outline)).ok()?.ok()?;
        let DecodedWasm::Component(resolve, world) = decoded else { return None };
        let main = resolve.worlds.get(world)?.package?;
        let others: Vec<_> =
            resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
        let mut printer = WitPrinter::new(OutputToString::default());
        printer.print(&resolve, main, &others).ok()?;
        let text = printer.output.to_string();
        let named = |items: &wit_parser::IndexMap<WorldKey, WorldItem>| {
            let named = items.iter().map(|(key, item)| (resolve.name_world_key(key), item.clone()));
            named.collect::<HashMap<_, _>>()
        };
        let world = resolve.worlds.get(world)?;
        let (imports, exports) = (named(&world.imports), named(&world.exports));
        Some(Self { text, imports, exports, resolve })
    }

    fn item(&self, side: Side, name: &str) -> Option<&WorldItem> {
        match side {
            Side::Imports => self.imports.get(name),
            Side::Exports => self.exports.get(name),
        }
    }

    fn interface(&self, side: Side, name: &str) -> Option<&Interface> {
        match self.item(side, name)? {
            WorldItem::Interface { id, .. } => self.resolve.interfaces.get(*id),
            _ => None,
        }
    }

    /// Returns the comment of an interface.
    pub fn of_interface(&self, side: Side, name: &str) -> Option<&str> {
        text(&self.interface(side, name)?.docs)
    }

    /// Returns the comment of a function; the world's own are in the interface "".
    pub fn of_function(&self, side: Side, interface: &str, name: &str) -> Option<&str> {
        match interface {
            "" => match self.item(side, name)? {
                WorldItem::Function(function) => text(&function.docs),
                _ => None,
            },
            _ => text(&self.interface(side, interface)?.functions.get(name)?.docs),
        }
    }

    /// Returns the comments of a type.
    pub fn of_type(&self, side: Side, interface: &str, name: &str) -> Option<TypeDocs<'_>> {
        let id = match interface {
            "" => match self.item(side, name)? {
                WorldItem::Type { id, .. } => *id,
                _ => return None,
            },
            _ => *self.interface(side, interface)?.types.get(name)?,
        };
        self.resolve.types.get(id).map(TypeDocs)
    }
}

/// The comments of a type and of its parts.
#[derive(Clone, Copy)]
pub struct TypeDocs<'a>(&'a TypeDef);

impl<'a> TypeDocs<'a> {
    /// Returns the comment of the type.
    pub fn whole(self) -> Option<&'a str> {
        text(&self.0.docs)
    }

    /// Returns the comment of a field, a case or a flag.
    pub fn part(self, at: usize) -> Option<&'a str> {
        text(match &self.0.kind {
            TypeDefKind::Record(record) => &record.fields.get(at)?.docs,
            TypeDefKind::Variant(variant) => &variant.cases.get(at)?.docs,
            TypeDefKind::Enum(cases) => &cases.cases.get(at)?.docs,
            TypeDefKind::Flags(flags) => &flags.flags.get(at)?.docs,
            _ => return None,
        })
    }
}

fn text(docs: &Docs) -> Option<&str> {
    docs.contents.as_deref().map(str::trim)
}
