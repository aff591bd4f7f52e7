//! Compiled components by the hash of their binary.
//!
//! Loading compiled code trusts it like a shared library. Entries are therefore read only from a
//! directory and from files that no other user can have written, and only if their keyed checksum
//! is right. Torn, damaged or planted entries are compiled again.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::runtime::cache::directory::{Access, CacheError, Directory, touch};
use crate::runtime::cache::key::{Key, key_of};

/// The end of every entry. The number is the version of the file layout: the artefact, its
/// checksum, and this. An artefact at the start can be mapped.
const MAGIC: &[u8; 16] = b"airssys-cwasm-4\n";

/// The bytes behind the artefact.
const TRAILER_BYTES: usize = blake3::OUT_LEN + MAGIC.len();

/// The suffix of an entry's name, and the length of the whole name.
const SUFFIX: &str = ".cwasm";
const NAME_LEN: usize = 2 * blake3::OUT_LEN + 1 + 16 + SUFFIX.len();

/// Where this process finds its open files.
#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
const DESCRIPTORS: &str = "/dev/fd";

/// How an entry comes into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// Copied, which takes no descriptor.
    Copied,
    /// Mapped; the descriptor stays open with the component.
    Mapped,
}

/// A directory of compiled components.
pub struct CompileCache {
    directory: Directory,
    key: Key,
    max_bytes: u64,
    /// Held while making room and filling it, so that this process stays within the bound.
    filling: Mutex<()>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// The bytes of all entries, as last measured.
    bytes: AtomicU64,
}

/// The counts of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheCounts {
    /// Components found.
    pub hits: u64,
    /// Components not found.
    pub misses: u64,
    /// The bytes of all entries, as last measured.
    pub bytes: u64,
}

impl CompileCache {
    /// Opens the directory, creating it if needed. In a writable one, entries are kept up to
    /// `max_bytes`.
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

    /// Returns the counts so far.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the compiled form of the binary with this hash, if there is an intact entry.
    pub fn get(&self, engine: &Engine, hash: &blake3::Hash, how: Loading) -> Option<Component> {
        let name = name(engine, hash);
        let found = match how {
            Loading::Copied => self.load_copy(engine, &name),
            Loading::Mapped => self.map(engine, &name),
        };
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    #[expect(unsafe_code, reason = "Wasmtime's way to load compiled code")]
    fn load_copy(&self, engine: &Engine, name: &str) -> Option<Component> {
        let (file, bytes) = self.directory.read(name, self.max_bytes).ok()?;
        let (artefact, checksum) = bytes.strip_suffix(MAGIC)?.split_last_chunk::<32>()?;
        if self.checksum(name).update(artefact).finalize() != blake3::Hash::from_bytes(*checksum) {
            return None;
        }
        self.note_use(&file);
        // SAFETY: owner and mode of the file were checked through its handle, so only this user or
        // root can have written it. It has the checksum that `put` computed with the directory's
        // key, so the bytes are the output of `Component::serialize`.
        unsafe { Component::deserialize(engine, artefact) }.ok()
    }

    /// Maps an entry. Its pages are shared with other processes and need no memory of their own.
    #[expect(unsafe_code, reason = "Wasmtime's way to load compiled code")]
    fn map(&self, engine: &Engine, name: &str) -> Option<Component> {
        let (file, metadata) = self.directory.open_file(name).ok()?;
        let artefact_bytes = metadata.len().checked_sub(TRAILER_BYTES as u64)?;
        if metadata.len() > self.max_bytes {
            return None;
        }
        let mut checksum = self.checksum(name);
        checksum.update_reader((&file).take(artefact_bytes)).ok()?;
        let mut trailer = [0; TRAILER_BYTES];
        (&file).read_exact(&mut trailer).ok()?;
        let found = trailer.strip_suffix(MAGIC)?;
        if checksum.finalize().as_bytes().as_slice() != found {
            return None;
        }
        self.note_use(&file);
        // Wasmtime opens a path, and this one leads to the file that was checked.
        let path = format!("{DESCRIPTORS}/{}", file.as_raw_fd());
        // SAFETY: as in `load_copy`. The file has its final content: an entry gets its name when it
        // is complete, and is replaced or removed, never changed.
        let mapped = unsafe { Component::deserialize_file(engine, &path) };
        match mapped {
            Ok(component) => Some(component),
            // Without a file system for descriptors.
            Err(_) => self.load_copy(engine, name),
        }
    }

    fn note_use(&self, file: &File) {
        if self.directory.access() == Access::ReadWrite {
            touch(file);
        }
    }

    /// Stores a compiled component. A failure only costs time at the next start, so there is no
    /// error.
    pub fn put(&self, engine: &Engine, hash: &blake3::Hash, component: &Component) {
        if self.directory.access() == Access::ReadOnly {
            return;
        }
        let Ok(artefact) = component.serialize() else { return };
        let name = name(engine, hash);
        let checksum = self.checksum(&name).update(&artefact).finalize();
        let size = (artefact.len() + TRAILER_BYTES) as u64;
        if size > self.max_bytes {
            return;
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = || -> io::Result<()> {
            self.make_room(size, &name)?;
            let parts = [&artefact, checksum.as_bytes().as_slice(), MAGIC];
            self.directory.write_temporary(&parts, false)?.publish(&name)
        };
        if keep().is_ok() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// Removes the least recently used entries until one of `size` bytes fits. An entry called
    /// `name` is about to be replaced.
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
                // A concurrent reader still reads it to the end.
                if self.directory.remove(&entry.name).is_ok() {
                    bytes -= entry.bytes;
                }
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Begins a checksum with the name, so that an entry cannot pass for another binary's.
    fn checksum(&self, name: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        hasher
    }
}

/// Returns the file name for a binary. It includes version, target and settings of the compiler.
fn name(engine: &Engine, hash: &blake3::Hash) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}{SUFFIX}", hash.to_hex(), settings.finish())
}

/// Returns whether a file is an entry; other files in the directory are left alone.
fn is_entry(name: &OsStr) -> bool {
    name.len() == NAME_LEN && name.as_bytes().ends_with(SUFFIX.as_bytes())
}
