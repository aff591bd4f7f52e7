//! Where the open files of an instance are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::account::Charge;
use crate::security::directory::Directory;
use crate::security::resource::Resource;

/// A file or a directory, by the granted directory that it was reached through.
#[derive(Debug)]
pub struct Place {
    root: Arc<Directory>,
    /// Its path in there, by the names that led to it; empty for the directory itself.
    inside: String,
    /// The same as a path of the host.
    path: String,
}

/// A path that leads out of where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// Where open descriptors are, by their numbers.
#[derive(Default)]
pub struct Places(HashMap<u32, Entered>);

/// Where a descriptor is.
enum Entered {
    /// In a granted directory. `charge`: what the host holds for it.
    At { place: Arc<Place>, _charge: Charge },
    /// At the root, where nothing is granted.
    Root,
}

impl Place {
    /// A granted directory.
    pub fn root(root: Arc<Directory>) -> Self {
        let path = root.path("");
        Self { root, inside: String::new(), path }
    }

    /// The place of a relative path, and the path without detours. What is opened is what that path
    /// says, so that no `..` behind a link leads elsewhere than its names do.
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

    /// The granted directory.
    pub fn directory(&self) -> &Directory {
        &self.root
    }

    /// The path of the host, by the names that led there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes of its names.
    pub fn bytes(&self) -> u64 {
        (self.inside.len() + self.path.len()) as u64
    }

    /// For a decision.
    pub fn resource(&self) -> Resource<'_> {
        Resource::File { root: &self.root, inside: &self.inside, path: &self.path }
    }
}

impl Places {
    /// Enters a descriptor.
    pub fn enter(&mut self, descriptor: u32, place: Arc<Place>, charge: Charge) {
        self.0.insert(descriptor, Entered::At { place, _charge: charge });
    }

    /// Enters a descriptor of the root.
    pub fn enter_root(&mut self, descriptor: u32) {
        self.0.insert(descriptor, Entered::Root);
    }

    /// Where a descriptor is, if that is in a granted directory.
    pub fn of(&self, descriptor: u32) -> Option<&Arc<Place>> {
        match self.0.get(&descriptor)? {
            Entered::At { place, .. } => Some(place),
            Entered::Root => None,
        }
    }

    /// Whether a descriptor is of the root.
    pub fn is_root(&self, descriptor: u32) -> bool {
        matches!(self.0.get(&descriptor), Some(Entered::Root))
    }

    /// Forgets a descriptor.
    pub fn leave(&mut self, descriptor: u32) {
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
