//! The document of an inspection.

use std::collections::HashSet;
use std::io::{self, Write};

use serde::{Serialize, Serializer};
use wasmparser::component_types::{ComponentEntityType, ComponentFuncTypeId, ComponentItem};
use wasmparser::types::Types;

use crate::runtime::contract;
use crate::runtime::inspection::needs;
use crate::runtime::inspection::producers::Producers;
use crate::runtime::inspection::types::{Entry, Table, Type};
use crate::runtime::inspection::wit::{Side, WORLD, Wit};

/// The most bytes of a document. The names in it are a binary's own, and some are there twice.
const MAX_BYTES: usize = 64 << 20;

/// The most bytes of WIT, by estimate: it has the types of values in full wherever they are used.
const MAX_WIT_BYTES: u64 = 4 << 20;

/// A component is larger than its document may be.
pub struct TooLarge {
    /// The bound.
    pub limit: usize,
}

/// What a component is.
#[derive(Serialize)]
pub struct Document<'a> {
    world: &'static str,
    size: u64,
    sha256: String,
    producers: Producers<'a>,
    lifecycle: Option<&'a str>,
    state: bool,
    needs: Vec<&'static str>,
    imports: Vec<Interface<'a>>,
    exports: Vec<Interface<'a>>,
    types: Vec<Entry<'a>>,
    wit: Option<&'a str>,
}

/// The functions and types of an interface; those of the component itself have the name "".
#[derive(Serialize)]
struct Interface<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
    functions: Vec<Function<'a>>,
    types: Vec<NamedType<'a>>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    call: Call<'a>,
    params: Vec<Param<'a>>,
    result: Option<Type>,
    #[serde(rename = "async")]
    is_async: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
}

#[derive(Serialize)]
struct Param<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: Type,
}

#[derive(Serialize)]
struct NamedType<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: Type,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<&'a str>,
}

/// The name by which a function is called.
struct Call<'a> {
    interface: &'a str,
    name: &'a str,
}

impl Serialize for Call<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.interface {
            "" => serializer.serialize_str(self.name),
            interface => serializer.collect_str(&format_args!("{interface}#{}", self.name)),
        }
    }
}

/// The imports and exports of a component, in their order.
pub struct Externs<'a> {
    pub types: &'a Types,
    pub imports: Vec<(&'a str, &'a ComponentItem)>,
    pub exports: Vec<(&'a str, &'a ComponentItem)>,
}

impl<'a> Externs<'a> {
    fn side(&self, side: Side) -> &[(&'a str, &'a ComponentItem)] {
        match side {
            Side::Imports => &self.imports,
            Side::Exports => &self.exports,
        }
    }

    /// Calls `see` with the interface and the name of everything that is imported or exported.
    fn each(&self, side: Side, mut see: impl FnMut(&'a str, &'a str, &'a ComponentItem)) {
        for (name, item) in self.side(side) {
            match item.ty {
                ComponentEntityType::Instance(id) => {
                    let within = self.types[id].exports.iter();
                    within.for_each(|(inner, item)| see(name, inner, item));
                }
                _ => see("", name, item),
            }
        }
    }

    /// Returns whether WIT of the types and functions has a reasonable size.
    pub fn fit_wit(&self) -> bool {
        let mut table = Table::new(self.types);
        self.name_types(&mut table, None);
        let mut bytes = 0_u64;
        for side in [Side::Imports, Side::Exports] {
            self.each(side, |interface, name, item| {
                // A type that an interface uses is there by the name of its interface.
                let names = name.len() + 2 * interface.len() + 16;
                let types = match item.ty {
                    ComponentEntityType::Func(id) => {
                        let ty = &self.types[id];
                        let params = ty.params.iter().map(|(name, ty)| {
                            let ty = table.value(*ty);
                            name.len() as u64 + 4 + table.length(ty)
                        });
                        let params = params.fold(0, u64::saturating_add);
                        let result = ty.result.map(|ty| table.value(ty));
                        params.saturating_add(result.map_or(0, |ty| table.length(ty)))
                    }
                    ComponentEntityType::Type { created, .. } => {
                        table.any(created).map_or(0, |ty| table.length(ty))
                    }
                    _ => 0,
                };
                bytes = bytes.saturating_add(types).saturating_add(names as u64);
            });
        }
        bytes.saturating_add(table.definitions()) <= MAX_WIT_BYTES
    }

    fn name_types(&self, table: &mut Table<'a>, wit: Option<&'a Wit>) {
        for side in [Side::Imports, Side::Exports] {
            self.each(side, |interface, name, item| {
                if let ComponentEntityType::Type { created, .. } = item.ty {
                    let docs = wit.and_then(|wit| wit.of_type(side, interface, name));
                    table.name(created, interface, name, docs);
                }
            });
        }
    }

    fn interfaces(
        &self,
        side: Side,
        table: &mut Table<'a>,
        wit: Option<&'a Wit>,
    ) -> Vec<Interface<'a>> {
        let interface = |name: &'a str| Interface {
            name,
            docs: wit.and_then(|wit| wit.of_interface(side, name)),
            functions: Vec::new(),
            types: Vec::new(),
        };
        let mut own = interface("");
        let mut interfaces = Vec::new();
        for (name, item) in self.side(side) {
            match item.ty {
                ComponentEntityType::Instance(id) => {
                    let mut interface = interface(name);
                    for (name, item) in &self.types[id].exports {
                        self.add(side, &mut interface, name, item, table, wit);
                    }
                    interfaces.push(interface);
                }
                _ => self.add(side, &mut own, name, item, table, wit),
            }
        }
        if !(own.functions.is_empty() && own.types.is_empty()) {
            interfaces.insert(0, own);
        }
        interfaces
    }

    fn add(
        &self,
        side: Side,
        to: &mut Interface<'a>,
        name: &'a str,
        item: &ComponentItem,
        table: &mut Table<'a>,
        wit: Option<&'a Wit>,
    ) {
        match item.ty {
            ComponentEntityType::Func(id) => {
                let docs = wit.and_then(|wit| wit.of_function(side, to.name, name));
                to.functions.push(self.function(id, to.name, name, docs, table));
            }
            ComponentEntityType::Type { created, .. } => {
                if let Some(ty) = table.any(created) {
                    let docs = wit.and_then(|wit| wit.of_type(side, to.name, name));
                    let docs = docs.and_then(|docs| docs.whole());
                    to.types.push(NamedType { name, ty, docs });
                }
            }
            _ => {}
        }
    }

    fn function(
        &self,
        id: ComponentFuncTypeId,
        interface: &'a str,
        name: &'a str,
        docs: Option<&'a str>,
        table: &mut Table<'a>,
    ) -> Function<'a> {
        let ty = &self.types[id];
        let param = |(name, ty): &'a (_, _)| Param { name: as_str(name), ty: table.value(*ty) };
        let params = ty.params.iter().map(param).collect();
        let result = ty.result.map(|ty| table.value(ty));
        let call = Call { interface, name };
        Function { name, call, params, result, is_async: ty.async_, docs }
    }

    fn needs(&self) -> Vec<&'static str> {
        let mut found = HashSet::new();
        self.each(Side::Imports, |interface, name, item| {
            if let ComponentEntityType::Func(_) = item.ty {
                found.extend(needs::need(interface, name));
            }
        });
        needs::ALL.into_iter().filter(|need| found.contains(need)).collect()
    }

    /// Returns the version of an exported interface of this contract.
    fn version(&self, of: &str) -> Option<&'a str> {
        let mut exports = self.exports.iter();
        let (name, _) = exports.find(|(name, _)| contract::is_of(of, name))?;
        name.split_once('@').map(|(_, version)| version)
    }
}

fn as_str(name: &wasmparser::names::KebabString) -> &str {
    name.as_str()
}

/// A binary by its size and SHA-256.
pub struct Binary {
    pub size: u64,
    pub sha256: String,
}

/// Returns the document of a component.
pub fn write(
    externs: &Externs<'_>,
    binary: Binary,
    producers: Producers<'_>,
    wit: Option<&Wit>,
) -> Result<String, TooLarge> {
    let mut table = Table::new(externs.types);
    externs.name_types(&mut table, wit);
    let imports = externs.interfaces(Side::Imports, &mut table, wit);
    let exports = externs.interfaces(Side::Exports, &mut table, wit);
    let document = Document {
        world: WORLD,
        size: binary.size,
        sha256: binary.sha256,
        producers,
        lifecycle: externs.version(contract::LIFECYCLE),
        state: externs.version(contract::STATE).is_some(),
        needs: externs.needs(),
        imports,
        exports,
        types: table.into_entries(),
        wit: wit.map(|wit| &*wit.text),
    };
    let mut bounded = Bounded(Vec::new());
    // Only the bound can fail.
    let too_large = |_| TooLarge { limit: MAX_BYTES };
    serde_json::to_writer(&mut bounded, &document).map_err(too_large)?;
    String::from_utf8(bounded.0).map_err(|_| TooLarge { limit: MAX_BYTES })
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
