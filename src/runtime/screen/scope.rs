//! The index spaces of a component, or of a type with declarations.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef,
    ComponentValType, TypeBounds,
};

/// What is known of an indexed item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Item {
    /// The nesting depth of its type.
    pub depth: u32,
    /// The cost of instantiating it; `None` if it is defined elsewhere.
    pub cost: Option<Instantiation>,
}

/// What an instantiation creates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instantiation {
    /// The number of definitions.
    pub definitions: u64,
    /// The number of component functions made callable for modules.
    pub adapters: u64,
}

impl Instantiation {
    /// Adds the counts of another instantiation.
    pub fn add(&mut self, other: Self) {
        self.definitions = self.definitions.saturating_add(other.definitions);
        self.adapters = self.adapters.saturating_add(other.adapters);
    }
}

impl Item {
    /// Creates an item with a type of this depth.
    pub fn of_depth(depth: u32) -> Self {
        Self { depth, cost: None }
    }
}

/// The index spaces of a component, or of a type with declarations.
#[derive(Debug, Default)]
pub struct Scope {
    types: Vec<Item>,
    functions: Vec<Item>,
    instances: Vec<Item>,
    components: Vec<Item>,
    modules: Vec<Item>,
    /// The depth of its deepest type.
    pub depth: u32,
    /// What instantiating it creates.
    pub cost: Instantiation,
}

impl Scope {
    /// Adds an item to the space of its kind.
    pub fn push(&mut self, kind: ComponentExternalKind, item: Item) {
        self.depth = self.depth.max(item.depth);
        if let Some(space) = self.space_mut(kind) {
            space.push(item);
        }
    }

    /// Returns the item at an index. An invalid index, which a validator refuses later, yields the
    /// worst case.
    pub fn get(&self, kind: ComponentExternalKind, index: u32) -> Item {
        let space = match kind {
            ComponentExternalKind::Type => &self.types,
            ComponentExternalKind::Func => &self.functions,
            ComponentExternalKind::Instance => &self.instances,
            ComponentExternalKind::Component => &self.components,
            ComponentExternalKind::Module => &self.modules,
            ComponentExternalKind::Value => return Item::of_depth(self.depth),
        };
        space.get(index as usize).copied().unwrap_or_else(|| Item::of_depth(self.depth))
    }

    /// Returns the depth of a value's type.
    pub fn value(&self, value: ComponentValType) -> u32 {
        match value {
            ComponentValType::Primitive(_) => 0,
            ComponentValType::Type(index) => self.get(ComponentExternalKind::Type, index).depth,
        }
    }

    /// Returns kind and depth of what an import or export declares.
    pub fn declared(&self, declared: ComponentTypeRef) -> (ComponentExternalKind, Item) {
        let of_type = |index| Item::of_depth(self.get(ComponentExternalKind::Type, index).depth);
        match declared {
            ComponentTypeRef::Module(_) => (ComponentExternalKind::Module, Item::default()),
            ComponentTypeRef::Func(index) => (ComponentExternalKind::Func, of_type(index)),
            ComponentTypeRef::Value(value) => {
                (ComponentExternalKind::Value, Item::of_depth(self.value(value)))
            }
            ComponentTypeRef::Type(TypeBounds::Eq(index)) => {
                (ComponentExternalKind::Type, of_type(index))
            }
            ComponentTypeRef::Type(TypeBounds::SubResource) => {
                (ComponentExternalKind::Type, Item::of_depth(1))
            }
            ComponentTypeRef::Instance(index) => (ComponentExternalKind::Instance, of_type(index)),
            ComponentTypeRef::Component(index) => {
                (ComponentExternalKind::Component, of_type(index))
            }
        }
    }

    fn space_mut(&mut self, kind: ComponentExternalKind) -> Option<&mut Vec<Item>> {
        match kind {
            ComponentExternalKind::Type => Some(&mut self.types),
            ComponentExternalKind::Func => Some(&mut self.functions),
            ComponentExternalKind::Instance => Some(&mut self.instances),
            ComponentExternalKind::Component => Some(&mut self.components),
            ComponentExternalKind::Module => Some(&mut self.modules),
            ComponentExternalKind::Value => None,
        }
    }
}

/// Adds the target of an alias to the innermost of `scopes`.
pub fn push_alias(scopes: &mut [Scope], alias: &ComponentAlias<'_>) {
    let Some((innermost, outer)) = scopes.split_last_mut() else { return };
    match *alias {
        ComponentAlias::InstanceExport { kind, instance_index, .. } => {
            // No deeper than the instance that contains it.
            let depth = innermost.get(ComponentExternalKind::Instance, instance_index).depth;
            innermost.push(kind, Item::of_depth(depth));
        }
        ComponentAlias::Outer { kind, count, index } => {
            let kind = match kind {
                ComponentOuterAliasKind::CoreModule => ComponentExternalKind::Module,
                ComponentOuterAliasKind::Type => ComponentExternalKind::Type,
                ComponentOuterAliasKind::Component => ComponentExternalKind::Component,
                ComponentOuterAliasKind::CoreType => return,
            };
            let item = match count.checked_sub(1) {
                None => innermost.get(kind, index),
                Some(up) => {
                    let from = outer.len().checked_sub(up as usize + 1);
                    from.map_or_else(Item::default, |from| outer[from].get(kind, index))
                }
            };
            innermost.push(kind, item);
        }
        ComponentAlias::CoreInstanceExport { .. } => {}
    }
}
