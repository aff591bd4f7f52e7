//! The grants of a component.

use std::net::IpAddr;
use std::sync::Arc;

use crate::core::id::ComponentId;
use crate::security::action::Action;
use crate::security::address::is_public;
use crate::security::directory::{Directory, Within};
use crate::security::host_pattern::{Endpoint, EndpointPattern};
use crate::security::pattern::Pattern;
use crate::security::resource::Resource;

/// One action on a set of resources.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The action.
    pub action: Action,
    /// The resources.
    pub scope: Scope,
    /// When the grant expires, in milliseconds since the Unix epoch.
    pub expires: Option<u64>,
    /// The pattern as written. Together with action and guest path it identifies the grant.
    pub text: Arc<str>,
    /// The guest path, if one was given.
    pub seen_at: Option<Arc<str>>,
}

/// The resources of a grant.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Components, storage namespaces, or functions of the host.
    Ids(Pattern),
    /// The component's own storage namespace.
    OwnNamespace,
    /// Files.
    Files { directory: Arc<Directory>, within: Within },
    /// Nothing. Only used to name a grant.
    Nothing,
    /// Hosts. `private_too`: including names that resolve to private addresses.
    Hosts { pattern: EndpointPattern, private_too: bool },
}

/// All grants of a component.
#[derive(Clone, Debug, Default)]
pub struct Capabilities(Vec<Grant>);

/// A grant to be revoked that is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHeld {
    /// The action of the grant.
    pub action: Action,
    /// The pattern of the grant.
    pub text: Arc<str>,
}

impl Grant {
    fn names(&self, other: &Self) -> bool {
        self.action == other.action && self.text == other.text && self.seen_at == other.seen_at
    }

    /// Returns whether the grant has expired at `now`.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Returns whether the grant covers a whole directory.
    pub fn is_tree_of(&self, root: &Directory) -> bool {
        matches!(&self.scope, Scope::Files { directory, within: Within::Tree } if directory.is_same(root))
    }

    /// A directory with granted names may be listed; the listing shows those names only.
    fn is_within(&self, within: &Within, inside: &str) -> bool {
        within.contains(inside) || (self.action == Action::FilesystemListDir && inside.is_empty())
    }

    fn covers(&self, own: &ComponentId, resource: Resource<'_>) -> bool {
        match (&self.scope, resource) {
            (Scope::Ids(pattern), Resource::Text(text)) => pattern.matches(text),
            (Scope::OwnNamespace, Resource::Text(text)) => own.as_str() == text,
            (Scope::Files { directory, within }, Resource::Text(path)) => {
                directory.inside(path).is_some_and(|inside| self.is_within(within, inside))
            }
            (Scope::Files { directory, within }, Resource::File { root, inside, .. }) => {
                directory.is_same(root) && self.is_within(within, inside)
            }
            (Scope::Hosts { pattern, private_too }, Resource::Endpoint(endpoint)) => {
                pattern.matches(endpoint, *private_too)
            }
            (Scope::Hosts { pattern, private_too }, Resource::Found { name, port, address }) => {
                let name = Endpoint::Name { name, port };
                let lead_there = *private_too || is_public(address);
                (lead_there && pattern.matches(name, *private_too))
                    || pattern.matches(address_at(address, port), *private_too)
            }
            _ => false,
        }
    }
}

fn address_at(address: IpAddr, port: Option<u16>) -> Endpoint<'static> {
    match port {
        Some(port) => Endpoint::Address((address, port).into()),
        None => Endpoint::Host(address),
    }
}

impl Capabilities {
    /// Creates a set of grants.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// Returns the grant that covers a resource at `now`; of several, the one that expires last.
    pub fn find(
        &self,
        own: &ComponentId,
        action: Action,
        resource: Resource<'_>,
        now: u64,
    ) -> Option<&Grant> {
        let covering = self.0.iter().filter(|grant| {
            grant.action == action && !grant.is_expired(now) && grant.covers(own, resource)
        });
        let mut longest: Option<&Grant> = None;
        for grant in covering {
            if grant.expires.is_none() {
                return Some(grant);
            }
            if longest.is_none_or(|longest| longest.expires < grant.expires) {
                longest = Some(grant);
            }
        }
        longest
    }

    /// Adds grants; a grant already held takes the new expiry.
    pub fn add(&mut self, grants: Vec<Grant>) {
        self.0.retain(|held| !grants.iter().any(|grant| grant.names(held)));
        self.0.extend(grants);
    }

    /// Removes grants by action and pattern. Changes nothing on an error.
    pub fn remove(&mut self, grants: &[Grant]) -> Result<(), NotHeld> {
        for grant in grants {
            if !self.0.iter().any(|held| held.names(grant)) {
                return Err(NotHeld { action: grant.action, text: Arc::clone(&grant.text) });
            }
        }
        self.0.retain(|held| !grants.iter().any(|grant| grant.names(held)));
        Ok(())
    }

    /// Removes all grants.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns all grants.
    pub fn all(&self) -> &[Grant] {
        &self.0
    }

    /// Returns the directories of all file grants valid at `now`, without duplicates, each with
    /// whether anything in it may be changed.
    pub fn directories(&self, now: u64) -> Vec<(Arc<Directory>, bool)> {
        let mut found: Vec<(Arc<Directory>, bool)> = Vec::new();
        for grant in self.0.iter().filter(|grant| !grant.is_expired(now)) {
            let Scope::Files { directory, .. } = &grant.scope else { continue };
            let changes =
                matches!(grant.action, Action::FilesystemWrite | Action::FilesystemDelete);
            match found.iter_mut().find(|(known, _)| known.is_same(directory)) {
                Some((_, changeable)) => *changeable |= changes,
                None => found.push((Arc::clone(directory), changes)),
            }
        }
        found
    }
}
