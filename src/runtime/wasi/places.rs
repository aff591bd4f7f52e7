//! Where the open files of an instance are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::security::directory::Directory;

/// A file or a directory, by the granted directory that it was reached through.
#[derive(Clone, Debug)]
pub struct Place {
    /// The granted directory.
    pub root: Arc<Directory>,
    /// Its path in there; empty for the directory itself.
    pub inside: String,
}

/// A path that leads out of its granted directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// The places of open descriptors and listings, by their numbers.
#[derive(Default)]
pub struct Places(HashMap<u32, Arc<Place>>);

impl Place {
    /// The place of a relative path, by its names alone: links are for whoever opens it.
    pub fn join(&self, path: &str) -> Result<Self, Outside> {
        if path.starts_with('/') {
            return Err(Outside);
        }
        let mut names: Vec<&str> = self.inside.split('/').filter(|name| !name.is_empty()).collect();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop().ok_or(Outside)?),
                name => names.push(name),
            }
        }
        Ok(Self { root: Arc::clone(&self.root), inside: names.join("/") })
    }
}

impl Places {
    /// Enters a descriptor or a listing.
    pub fn enter(&mut self, descriptor: u32, place: Arc<Place>) {
        self.0.insert(descriptor, place);
    }

    /// Where a descriptor is.
    pub fn of(&self, descriptor: u32) -> Option<&Arc<Place>> {
        self.0.get(&descriptor)
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
        let place = Place { root: Arc::new(root), inside: "a".into() };
        for (path, expected) in [
            ("b", Ok("a/b")),
            ("./b//c/", Ok("a/b/c")),
            (".", Ok("a")),
            ("..", Ok("")),
            ("../b", Ok("b")),
            ("b/../../c", Ok("c")),
            ("../..", Err(Outside)),
            ("../../a", Err(Outside)),
            ("/a", Err(Outside)),
            ("/", Err(Outside)),
        ] {
            let joined = place.join(path).map(|place| place.inside);
            assert_eq!(joined.as_deref().map_err(|outside| *outside), expected, "{path}");
        }
    }
}
