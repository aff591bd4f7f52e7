//! The types of a document, in one table: types refer to each other, and a type that is used a
//! thousand times is there once.

use std::collections::HashMap;

use serde::Serialize;
use wasmparser::PrimitiveValType;
use wasmparser::collections::IndexSet;
use wasmparser::component_types::{
    AliasableResourceId, ComponentAnyTypeId, ComponentDefinedType, ComponentValType, ResourceId,
};
use wasmparser::names::KebabString;
use wasmparser::types::Types;

use crate::runtime::inspection::wit::TypeDocs;

/// A type: the name of a primitive one, or a place in the table.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Type {
    Primitive(&'static str),
    At(usize),
}

/// A part of a type: a field, a case, a flag.
#[derive(Serialize)]
pub struct Part<'a> {
    name: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    ty: Option<Type>,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
}

/// An entry of the table.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry<'a> {
    Record {
        #[serde(flatten)]
        named: Named<'a>,
        fields: Vec<Part<'a>>,
    },
    Variant {
        #[serde(flatten)]
        named: Named<'a>,
        cases: Vec<Part<'a>>,
    },
    Enum {
        #[serde(flatten)]
        named: Named<'a>,
        cases: Vec<Part<'a>>,
    },
    Flags {
        #[serde(flatten)]
        named: Named<'a>,
        flags: Vec<Part<'a>>,
    },
    Resource {
        #[serde(flatten)]
        named: Named<'a>,
    },
    Tuple {
        types: Vec<Type>,
    },
    Option {
        #[serde(rename = "type")]
        ty: Type,
    },
    Result {
        ok: Option<Type>,
        err: Option<Type>,
    },
    List {
        #[serde(rename = "type")]
        ty: Type,
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
    },
    Map {
        key: Type,
        value: Type,
    },
    Own {
        resource: &'a str,
        #[serde(rename = "type")]
        ty: Type,
    },
    Borrow {
        resource: &'a str,
        #[serde(rename = "type")]
        ty: Type,
    },
    Future {
        #[serde(rename = "type")]
        ty: Option<Type>,
    },
    Stream {
        #[serde(rename = "type")]
        ty: Option<Type>,
    },
}

/// A name, the interface that the name is from, and the comment there.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Named<'a> {
    name: &'a str,
    interface: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
    #[serde(skip)]
    parts: Option<TypeDocs<'a>>,
}

/// What tells one type from another. Aliases of a type are that type.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Identity {
    Defined(usize),
    Resource(ResourceId),
}

/// A table being made.
pub struct Table<'a> {
    types: &'a Types,
    names: HashMap<Identity, Named<'a>>,
    known: HashMap<Identity, Type>,
    /// By what they say. A type that an interface uses of another may be defined in both.
    same: HashMap<String, Type>,
    entries: Vec<Entry<'a>>,
    /// For each entry, how many bytes WIT takes about where it is used.
    lengths: Vec<u64>,
    /// How many bytes WIT takes about for the definitions of the named types.
    definitions: u64,
}

impl<'a> Table<'a> {
    /// Creates a table without types.
    pub fn new(types: &'a Types) -> Self {
        let (names, known, same) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { types, names, known, same, entries: Vec::new(), lengths: Vec::new(), definitions: 0 }
    }

    /// Returns the entries.
    pub fn into_entries(self) -> Vec<Entry<'a>> {
        self.entries
    }

    /// Returns how many bytes WIT takes about for the definitions of the named types.
    pub fn definitions(&self) -> u64 {
        self.definitions
    }

    /// Returns how many bytes WIT takes about for a type where it is used.
    pub fn length(&self, ty: Type) -> u64 {
        match ty {
            Type::Primitive(name) => name.len() as u64,
            Type::At(at) => self.lengths.get(at).copied().unwrap_or_default(),
        }
    }

    /// Names a type. All names come before all uses; the first name of a type is the one.
    pub fn name(
        &mut self,
        id: ComponentAnyTypeId,
        interface: &'a str,
        name: &'a str,
        docs: Option<TypeDocs<'a>>,
    ) {
        if let Some(identity) = self.identity(id) {
            let whole = docs.and_then(TypeDocs::whole);
            let named = Named { name, interface, docs: whole, parts: docs };
            self.names.entry(identity).or_insert(named);
        }
    }

    fn identity(&self, id: ComponentAnyTypeId) -> Option<Identity> {
        match id {
            // An alias leads to the same definition.
            ComponentAnyTypeId::Defined(id) => {
                Some(Identity::Defined(std::ptr::from_ref(&self.types[id]).addr()))
            }
            ComponentAnyTypeId::Resource(id) => Some(Identity::Resource(id.resource())),
            _ => None,
        }
    }

    /// Returns a type by its name, and adds it if it is new. `None`: it is not one of values.
    pub fn any(&mut self, id: ComponentAnyTypeId) -> Option<Type> {
        match id {
            ComponentAnyTypeId::Defined(id) => Some(self.value(ComponentValType::Type(id))),
            ComponentAnyTypeId::Resource(id) => Some(self.resource(id).1),
            _ => None,
        }
    }

    /// Returns the type of a value, and adds it if it is new. The screen bounds the depth of types.
    pub fn value(&mut self, ty: ComponentValType) -> Type {
        let id = match ty {
            ComponentValType::Primitive(ty) => return primitive(ty),
            ComponentValType::Type(id) => id,
        };
        let types = self.types;
        let ty = &types[id];
        if let ComponentDefinedType::Primitive(ty) = ty {
            return primitive(*ty);
        }
        let identity = Identity::Defined(std::ptr::from_ref(ty).addr());
        if let Some(known) = self.known.get(&identity) {
            return *known;
        }
        let named = self.names.get(&identity).copied();
        let mut inside = 16;
        let interface = named.map_or("", |named| named.interface);
        let anywhere = Named { interface: "", ..named.unwrap_or_default() };
        let mut entry = self.entry(ty, anywhere, &mut inside);
        // An entry is always JSON.
        let content = serde_json::to_string(&entry).unwrap_or_default();
        if let Some(same) = self.same.get(&content) {
            self.known.insert(identity, *same);
            return *same;
        }
        if let Entry::Record { named, .. }
        | Entry::Variant { named, .. }
        | Entry::Enum { named, .. }
        | Entry::Flags { named, .. } = &mut entry
        {
            named.interface = interface;
        }
        let length = match named {
            Some(named) => {
                self.definitions = self.definitions.saturating_add(inside);
                named.name.len() as u64
            }
            None => inside,
        };
        let at = self.add(identity, entry, length);
        self.same.insert(content, at);
        at
    }

    fn add(&mut self, identity: Identity, entry: Entry<'a>, length: u64) -> Type {
        let at = Type::At(self.entries.len());
        self.entries.push(entry);
        self.lengths.push(length);
        self.known.insert(identity, at);
        at
    }

    fn resource(&mut self, id: AliasableResourceId) -> (&'a str, Type) {
        let identity = Identity::Resource(id.resource());
        let named = self.names.get(&identity).copied().unwrap_or_default();
        if let Some(known) = self.known.get(&identity) {
            return (named.name, *known);
        }
        let length = named.name.len() as u64;
        self.definitions = self.definitions.saturating_add(16 + length);
        (named.name, self.add(identity, Entry::Resource { named }, length))
    }

    /// Converts a definition; adds to `inside` how many bytes WIT takes for its parts.
    fn entry(
        &mut self,
        ty: &'a ComponentDefinedType,
        named: Named<'a>,
        inside: &mut u64,
    ) -> Entry<'a> {
        let mut part = |table: &mut Self, ty: ComponentValType| {
            let ty = table.value(ty);
            *inside = inside.saturating_add(table.length(ty) + 2);
            ty
        };
        let docs = |at: usize| named.parts.and_then(|docs| docs.part(at));
        let names = |names: &'a IndexSet<KebabString>| {
            let part = |(at, name): (usize, &'a KebabString)| Part {
                name: name.as_str(),
                ty: None,
                docs: docs(at),
            };
            names.iter().enumerate().map(part).collect::<Vec<_>>()
        };
        let entry = match ty {
            ComponentDefinedType::Record(record) => {
                let fields = record.fields.iter().enumerate().map(|(at, (name, ty))| Part {
                    name: name.as_str(),
                    ty: Some(part(self, *ty)),
                    docs: docs(at),
                });
                Entry::Record { named, fields: fields.collect() }
            }
            ComponentDefinedType::Variant(variant) => {
                let cases = variant.cases.iter().enumerate().map(|(at, (name, case))| {
                    let ty = case.ty.map(|ty| part(self, ty));
                    Part { name: name.as_str(), ty, docs: docs(at) }
                });
                Entry::Variant { named, cases: cases.collect() }
            }
            ComponentDefinedType::Enum(cases) => Entry::Enum { named, cases: names(cases) },
            ComponentDefinedType::Flags(flags) => Entry::Flags { named, flags: names(flags) },
            ComponentDefinedType::Tuple(tuple) => {
                Entry::Tuple { types: tuple.types.iter().map(|ty| part(self, *ty)).collect() }
            }
            ComponentDefinedType::Option { ty, .. } => Entry::Option { ty: part(self, *ty) },
            ComponentDefinedType::Result { ok, err, .. } => {
                Entry::Result { ok: ok.map(|ty| part(self, ty)), err: err.map(|ty| part(self, ty)) }
            }
            ComponentDefinedType::List { element, .. } => {
                Entry::List { ty: part(self, *element), length: None }
            }
            ComponentDefinedType::FixedLengthList { element, length, .. } => {
                Entry::List { ty: part(self, *element), length: Some(*length) }
            }
            ComponentDefinedType::Map { key, value, .. } => {
                Entry::Map { key: part(self, *key), value: part(self, *value) }
            }
            ComponentDefinedType::Future { ty, .. } => {
                Entry::Future { ty: ty.map(|ty| part(self, ty)) }
            }
            ComponentDefinedType::Stream { ty, .. } => {
                Entry::Stream { ty: ty.map(|ty| part(self, ty)) }
            }
            ComponentDefinedType::Own(id) => {
                let (resource, ty) = self.resource(*id);
                Entry::Own { resource, ty }
            }
            ComponentDefinedType::Borrow(id) => {
                let (resource, ty) = self.resource(*id);
                Entry::Borrow { resource, ty }
            }
            // The caller answers with its name.
            ComponentDefinedType::Primitive(_) => Entry::Tuple { types: Vec::new() },
        };
        let names = match &entry {
            Entry::Record { fields: parts, .. }
            | Entry::Variant { cases: parts, .. }
            | Entry::Enum { cases: parts, .. }
            | Entry::Flags { flags: parts, .. } => &parts[..],
            Entry::Own { resource, .. } | Entry::Borrow { resource, .. } => {
                *inside += resource.len() as u64;
                &[]
            }
            _ => &[],
        };
        let bytes = |part: &Part<'_>| {
            part.name.len() as u64 + 12 + part.docs.map_or(0, |docs| docs.len() as u64)
        };
        *inside = names.iter().map(bytes).fold(*inside, u64::saturating_add);
        entry
    }
}

fn primitive(ty: PrimitiveValType) -> Type {
    Type::Primitive(match ty {
        PrimitiveValType::Bool => "bool",
        PrimitiveValType::S8 => "s8",
        PrimitiveValType::U8 => "u8",
        PrimitiveValType::S16 => "s16",
        PrimitiveValType::U16 => "u16",
        PrimitiveValType::S32 => "s32",
        PrimitiveValType::U32 => "u32",
        PrimitiveValType::S64 => "s64",
        PrimitiveValType::U64 => "u64",
        PrimitiveValType::F32 => "f32",
        PrimitiveValType::F64 => "f64",
        PrimitiveValType::Char => "char",
        PrimitiveValType::String => "string",
        PrimitiveValType::ErrorContext => "error-context",
    })
}
