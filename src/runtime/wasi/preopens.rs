//! The directories that an instance starts with.

use std::io;
use std::sync::Arc;

use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Dir, OpenMode};

use crate::security::directory::Directory;

/// A granted directory, opened for one instance.
pub struct Preopen {
    /// The granted directory.
    pub directory: Arc<Directory>,
    /// The guest's handle of it.
    pub dir: Dir,
}

impl Preopen {
    /// Opens the directory; `changes` allows writes.
    pub fn new(directory: Arc<Directory>, changes: bool) -> io::Result<Self> {
        let (rights, mode) = match changes {
            false => (FsPerms::ReadOnly, OpenMode::READ),
            true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        // A duplicate of the handle that the grant holds open.
        let dir = Dir::new(directory.handle().try_clone()?, rights, mode, true);
        Ok(Self { directory, dir })
    }
}
