//! The key of a directory's checksums.
//!
//! In a directory of this user's it is a secret: who can put a file there and can not read the key
//! can make no entry. A read-only directory is filled for many to read, its key with it, and there the
//! key only ties the entries to their directory: what is trusted is that root, or this user, owns it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::runtime::cache::directory::{Access, CacheError, Directory};

/// The file with the key.
pub const KEY_FILE: &str = "key";

/// A key for keyed BLAKE3.
pub type Key = [u8; blake3::KEY_LEN];

/// Other engines get in the way while they open the directory, once each.
const MAX_ATTEMPTS: usize = 64;

/// Reads the key of a directory, and makes one for a directory of this user's that has none.
pub fn key_of(directory: &Directory, path: &Path) -> Result<Key, CacheError> {
    let io_error = |source| CacheError::Io { path: path.to_owned(), source };
    if directory.access() == Access::ReadOnly {
        return read(directory, 0).map_err(|error| {
            io_error(io::Error::new(
                error.kind(),
                format!(
                    "it is read-only, and its file {KEY_FILE:?} can not be used: {error}; have an \
                     engine fill it that may write to it, then let others read all of it"
                ),
            ))
        });
    }
    for _ in 0..MAX_ATTEMPTS {
        match read(directory, 0o077) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Damaged, or known to others.
            Err(_) => directory.remove(KEY_FILE).map_err(io_error)?,
        }
        match make(directory) {
            // Between its creation and its lock, another engine takes the temporary file for one that was
            // left behind, and removes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            made => made.map_err(io_error)?,
        }
    }
    Err(io_error(io::Error::other(format!("its file {KEY_FILE:?} does not stay"))))
}

/// Reads a key; `forbidden`: bits that its mode must not have.
fn read(directory: &Directory, forbidden: u32) -> io::Result<Key> {
    let (_, metadata) = directory.open_file(KEY_FILE)?;
    if metadata.mode() & forbidden != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (_, bytes) = directory.read(KEY_FILE, blake3::KEY_LEN as u64)?;
    Key::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn make(directory: &Directory) -> io::Result<()> {
    let mut key = Key::default();
    getrandom::fill(&mut key)?;
    // Durable before it has its name: a torn key would cost all entries.
    directory.write_temporary(&[&key], true)?.publish_new(KEY_FILE)
}
