//! The descriptor table: where an instance's open files are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::account::Charge;
use crate::security::directory::Directory;
use crate::security::resource::Resource;

/// A file or directory, by the granted directory it was reached through.
#[derive(Debug)]
pub struct Place {
    root: Arc<Directory>,
    /// The path inside, by the names that led to it; empty for the directory itself.
    inside: String,
    /// The same as a host path.
    path: String,
}

/// A path that leads out of its starting directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// The places of open descriptors, by number.
#[derive(Default)]
pub struct DescriptorTable(HashMap<u32, Entry>);

/// The place of a descriptor.
enum Entry {
    /// In a granted directory, with the charge for the descriptor.
    At { place: Arc<Place>, _charge: Charge },
    /// The guest's root, where nothing is granted.
    Root,
}

impl Place {
    /// Creates the place of a granted directory.
    pub fn root(root: Arc<Directory>) -> Self {
        let path = root.path("");
        Self { root, inside: String::new(), path }
    }

    /// Returns the place of a relative path, and the normalized path. Files are opened by the
    /// normalized path, so a `..` behind a link cannot lead elsewhere than its names say.
    pub fn join(&self, path: &str) -> Result<(Self, String), Outside> {
        if path.starts_with('/') {
            return Err(Outside);
        }
        let mut names = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop().ok_or(Outside)?),
                name => names.push(name),
            }
        }
        let direct = names.join("/");
        let inside = match (&*self.inside, &*direct) {
            (base, "") => base.to_owned(),
            ("", direct) => direct.to_owned(),
            (base, direct) => format!("{base}/{direct}"),
        };
        let path = self.root.path(&inside);
        let direct = if direct.is_empty() { ".".to_owned() } else { direct };
        Ok((Self { root: Arc::clone(&self.root), inside, path }, direct))
    }

    /// Returns the granted directory.
    pub fn directory(&self) -> &Directory {
        &self.root
    }

    /// Returns the host path, by the names that led there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the bytes of its names.
    pub fn bytes(&self) -> u64 {
        (self.inside.len() + self.path.len()) as u64
    }

    /// Returns the resource for a decision.
    pub fn resource(&self) -> Resource<'_> {
        Resource::File { root: &self.root, inside: &self.inside, path: &self.path }
    }
}

impl DescriptorTable {
    /// Adds a descriptor.
    pub fn insert(&mut self, descriptor: u32, place: Arc<Place>, charge: Charge) {
        self.0.insert(descriptor, Entry::At { place, _charge: charge });
    }

    /// Adds a descriptor of the root.
    pub fn insert_root(&mut self, descriptor: u32) {
        self.0.insert(descriptor, Entry::Root);
    }

    /// Returns the place of a descriptor in a granted directory.
    pub fn of(&self, descriptor: u32) -> Option<&Arc<Place>> {
        match self.0.get(&descriptor)? {
            Entry::At { place, .. } => Some(place),
            Entry::Root => None,
        }
    }

    /// Returns whether a descriptor is of the root.
    pub fn is_root(&self, descriptor: u32) -> bool {
        matches!(self.0.get(&descriptor), Some(Entry::Root))
    }

    /// Removes a descriptor.
    pub fn remove(&mut self, descriptor: u32) {
        self.0.remove(&descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::directory;

    #[test]
    fn paths_do_not_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let (root, _) = directory::open(directory.path().to_str().unwrap(), None).unwrap();
        let (place, _) = Place::root(Arc::new(root)).join("a").unwrap();
        for (path, expected) in [
            ("b", Ok(("a/b", "b"))),
            ("./b//c/", Ok(("a/b/c", "b/c"))),
            (".", Ok(("a", "."))),
            ("", Ok(("a", "."))),
            ("b/..", Ok(("a", "."))),
            ("b/../c", Ok(("a/c", "c"))),
            ("..", Err(Outside)),
            ("../b", Err(Outside)),
            ("b/../../c", Err(Outside)),
            ("/a", Err(Outside)),
            ("/", Err(Outside)),
        ] {
            let joined = place.join(path).map(|(place, direct)| (place.inside, direct));
            let joined = joined.as_ref().map(|(inside, direct)| (&**inside, &**direct));
            assert_eq!(joined.map_err(|outside| *outside), expected, "{path}");
        }
    }
}
