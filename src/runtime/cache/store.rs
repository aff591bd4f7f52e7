//! Compiled components by the hash of their binary.
//!
//! Loading a compiled artefact means trusting it like a shared library, so artefacts are read only
//! from a directory that nobody else can change, from files that nobody else can have written, and
//! only when their keyed checksum is right: what is torn, damaged or planted is compiled anew.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::runtime::cache::directory::{Access, CacheError, Directory, touch};
use crate::runtime::cache::key::{Key, key_of};

/// Opens every entry; the number is that of the file's layout.
const MAGIC: &[u8; 16] = b"airssys-cwasm-3\n";

/// The end of an entry's name, and how long the name is.
const SUFFIX: &str = ".cwasm";
const NAME_LEN: usize = 2 * blake3::OUT_LEN + 1 + 16 + SUFFIX.len();

/// A directory of compiled components.
pub struct CompileCache {
    directory: Directory,
    key: Key,
    max_bytes: u64,
    /// Held while room is made and filled, so that this process stays within the bound.
    filling: Mutex<()>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Of all entries, when they were last looked at.
    bytes: AtomicU64,
}

/// What a cache has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheCounts {
    /// Components that were found.
    pub hits: u64,
    /// Components that were not.
    pub misses: u64,
    /// Bytes of all entries, when they were last looked at.
    pub bytes: u64,
}

impl CompileCache {
    /// Opens the directory, and makes it if need be; in one that may be written to, entries are kept
    /// up to `max_bytes`.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, CacheError> {
        let io_error = |source| CacheError::Io { path: path.to_owned(), source };
        let directory = Directory::open(path)?;
        let key = key_of(&directory, path)?;
        let cache = Self {
            directory,
            key,
            max_bytes,
            filling: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        if cache.directory.access() == Access::ReadWrite {
            cache.directory.clear_leavings().map_err(io_error)?;
        }
        cache.make_room(0, "").map_err(io_error)?;
        Ok(cache)
    }

    /// What it has done so far.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// The compiled form of the binary with this hash, if it is here and whole.
    pub fn get(&self, engine: &Engine, hash: &blake3::Hash) -> Option<Component> {
        let found = self.load(engine, &name(engine, hash));
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    #[expect(unsafe_code, reason = "Wasmtime's way to load compiled code")]
    fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let (file, bytes) = self.directory.read(name, self.max_bytes).ok()?;
        let (found, artefact) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
        if self.checksum(name, artefact) != blake3::Hash::from_bytes(*found) {
            return None;
        }
        if self.directory.access() == Access::ReadWrite {
            touch(&file);
        }
        // SAFETY: owner and mode of the file were checked at its handle: only this user or root can
        // have written it. It has the checksum that `put` gave it, under the directory's key, so
        // the bytes are what `Component::serialize` returned.
        unsafe { Component::deserialize(engine, artefact) }.ok()
    }

    /// Keeps a compiled component. That it can not be kept costs time at the next start and
    /// nothing else, so there is no error.
    pub fn put(&self, engine: &Engine, hash: &blake3::Hash, component: &Component) {
        if self.directory.access() == Access::ReadOnly {
            return;
        }
        let Ok(artefact) = component.serialize() else { return };
        let name = name(engine, hash);
        let checksum = self.checksum(&name, &artefact);
        let size = (MAGIC.len() + blake3::OUT_LEN + artefact.len()) as u64;
        if size > self.max_bytes {
            return;
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = || -> io::Result<()> {
            self.make_room(size, &name)?;
            let parts = [MAGIC.as_slice(), checksum.as_bytes(), &artefact];
            self.directory.write_temporary(&parts, false)?.publish(&name)
        };
        if keep().is_ok() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// Removes what was not used for longest, until an entry of `size` bytes fits. That of the same
    /// name is about to be replaced.
    fn make_room(&self, size: u64, name: &str) -> io::Result<()> {
        let mut entries = self.directory.list(is_entry)?;
        entries.retain(|entry| entry.name != name);
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if self.directory.access() == Access::ReadWrite {
            entries.sort_unstable_by_key(|entry| entry.used);
            for entry in entries {
                if bytes <= self.max_bytes - size {
                    break;
                }
                // Who reads it meanwhile reads it to its end.
                if self.directory.remove(&entry.name).is_ok() {
                    bytes -= entry.bytes;
                }
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Covers the name too, so that an entry is not taken for that of another binary.
    fn checksum(&self, name: &str, artefact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(artefact);
        hasher.finalize()
    }
}

/// The file of a binary. Version, target and settings of the compiler are part of the name.
fn name(engine: &Engine, hash: &blake3::Hash) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}{SUFFIX}", hash.to_hex(), settings.finish())
}

/// Whether a file is one of ours; others in the directory are left alone.
fn is_entry(name: &OsStr) -> bool {
    name.len() == NAME_LEN && name.as_bytes().ends_with(SUFFIX.as_bytes())
}
