//! The names of namespaces.

use std::fmt;
use std::sync::Arc;

use crate::core::id::{ComponentId, InvalidId};
use crate::storage::backend::ENGINE_NAMESPACE;

/// The name of a set of keys, in one of three forms that differ in their number of slashes:
/// `namespace/name/instance` of one component, `namespace/name` that components share, and
/// [`ENGINE_NAMESPACE`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// Which namespace a component uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageScope {
    /// The one of its id.
    #[default]
    Id,
    /// The one that all instances of its name share.
    Name,
}

impl Namespace {
    /// Returns the namespace of a component.
    pub fn of(id: &ComponentId, scope: StorageScope) -> Self {
        match scope {
            StorageScope::Id => Self(id.as_str().into()),
            StorageScope::Name => Self(format!("{}/{}", id.namespace(), id.name()).into()),
        }
    }

    /// Parses the namespace of a component, or one that components share.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        match text.split('/').collect::<Vec<_>>()[..] {
            // Any instance will do: the parts are checked one by one.
            [namespace, name] => _ = ComponentId::new(namespace, name, "0")?,
            _ => _ = ComponentId::parse(text)?,
        }
        Ok(Self(text.into()))
    }

    /// Parses a namespace of any form.
    pub fn parse_any(text: &str) -> Result<Self, InvalidId> {
        if text == ENGINE_NAMESPACE { Ok(Self(text.into())) } else { Self::parse(text) }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_its_own_namespace() {
        let id = ComponentId::parse("app/db/0").unwrap();
        assert_eq!(Namespace::of(&id, StorageScope::Id), Namespace::parse("app/db/0").unwrap());
        assert_eq!(Namespace::of(&id, StorageScope::Name), Namespace::parse("app/db").unwrap());
        assert_eq!(Namespace::parse_any(ENGINE_NAMESPACE).unwrap().as_str(), ENGINE_NAMESPACE);
        for invalid in
            [ENGINE_NAMESPACE, "", "app", "app/", "/db", "a/b/c/d", "a/*", "a/b/..", "a/\0"]
        {
            assert!(Namespace::parse(invalid).is_err(), "{invalid:?}");
        }
    }
}
