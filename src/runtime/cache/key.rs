//! The key of a directory's checksums.
//!
//! In a directory of this user, the key is secret: an attacker who can place files there but
//! cannot read the key cannot forge an entry. A read-only directory is shared with its key; there
//! the key only ties entries to the directory, and the trust rests on its ownership by root or this
//! user.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::runtime::cache::directory::{Access, CacheError, Directory};

/// The name of the key file.
pub const KEY_FILE: &str = "key";

/// A key for keyed BLAKE3.
pub type Key = [u8; blake3::KEY_LEN];

/// Each engine that opens the directory at the same time may interfere once.
const MAX_ATTEMPTS: usize = 64;

/// Reads the key of a directory. Creates a missing key if the directory is writable.
pub fn key_of(directory: &Directory, path: &Path) -> Result<Key, CacheError> {
    let io_error = |source| CacheError::Io { path: path.to_owned(), source };
    if directory.access() == Access::ReadOnly {
        return read(directory, 0).map_err(|error| {
            io_error(io::Error::new(
                error.kind(),
                format!(
                    "it is read-only, and its file {KEY_FILE:?} cannot be used: {error}; let an \
                     engine with write access fill it, then make all of it readable"
                ),
            ))
        });
    }
    for _ in 0..MAX_ATTEMPTS {
        match read(directory, 0o077) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The key is damaged or was readable by others.
            Err(_) => directory.remove(KEY_FILE).map_err(io_error)?,
        }
        match make(directory) {
            // Between creation and locking, another engine may mistake the temporary file for an
            // abandoned one and remove it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            made => made.map_err(io_error)?,
        }
    }
    Err(io_error(io::Error::other(format!("its file {KEY_FILE:?} keeps disappearing"))))
}

/// Reads a key. `forbidden` are mode bits that must not be set.
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
    // Made durable before it gets its name: a torn key would invalidate every entry.
    directory.write_temporary(&[&key], true)?.publish_new(KEY_FILE)
}
