//! Compiled components on disk.
//!
//! Loading a compiled artefact means trusting it like a shared library, so artefacts are read
//! only from a directory that belongs to this user and is closed to all others, and only when
//! they are what was written: a torn or damaged file is compiled anew.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Opens every cache file; the number is that of the file's layout.
const MAGIC: &[u8; 16] = b"airssys-cwasm-2\n";

/// Why a directory can not serve as cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file system said no.
    #[error("cache-dir {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Others could put code there.
    #[error("cache-dir {}: {reason}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A directory of compiled components, named by the hash of their binary.
pub struct CompileCache {
    dir: PathBuf,
}

/// How many temporary files this process has named: caches of one directory must not share any.
static TEMPORARIES: AtomicU64 = AtomicU64::new(0);

impl CompileCache {
    /// Makes the directory if need be, and checks that it is this user's alone.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let io_error = |source| CacheError::Io { path: dir.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir).map_err(io_error)?;
        // Later changes of the working directory must not move the cache.
        let dir = dir.canonicalize().map_err(io_error)?;
        let cache = Self { dir };
        cache.check_private()?;
        Ok(cache)
    }

    #[cfg(unix)]
    fn check_private(&self) -> Result<(), CacheError> {
        use std::os::unix::fs::MetadataExt;

        let io_error = |source| CacheError::Io { path: self.dir.clone(), source };
        let not_private = |reason| CacheError::NotPrivate { path: self.dir.clone(), reason };
        let probe = self.temporary();
        fs::write(&probe, b"").map_err(io_error)?;
        let us = fs::metadata(&probe).map(|probe| probe.uid());
        fs::remove_file(&probe).map_err(io_error)?;
        let (us, dir) = (us.map_err(io_error)?, fs::metadata(&self.dir).map_err(io_error)?);
        if dir.uid() != us {
            return Err(not_private(format!("belongs to user {}, not to {us}", dir.uid())));
        }
        let mode = dir.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(not_private(format!("is open to others (mode {mode:04o}, 0700 needed)")));
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_private(&self) -> Result<(), CacheError> {
        Ok(())
    }

    /// The compiled form of the binary with this hash, if it is here and whole.
    #[expect(unsafe_code, reason = "Wasmtime's way to load compiled code")]
    pub fn get(&self, engine: &Engine, hash: &blake3::Hash) -> Option<Component> {
        let name = name(engine, hash);
        let file = fs::read(self.dir.join(&name)).ok()?;
        let (found, artefact) = file.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
        if checksum(&name, artefact) != blake3::Hash::from_bytes(*found) {
            return None;
        }
        // SAFETY: the file is from a directory that only this user can write to, checked when
        // the cache was opened, and has the checksum that `put` gave it, so the bytes are what
        // `Component::serialize` returned.
        unsafe { Component::deserialize(engine, artefact) }.ok()
    }

    /// Keeps a compiled component. That it can not be kept costs time at the next start and
    /// nothing else, so there is no error.
    pub fn put(&self, engine: &Engine, hash: &blake3::Hash, component: &Component) {
        let Ok(artefact) = component.serialize() else { return };
        let name = name(engine, hash);
        let file = [MAGIC.as_slice(), checksum(&name, &artefact).as_bytes(), &artefact].concat();
        let temporary = self.temporary();
        let kept =
            fs::write(&temporary, file).and_then(|()| fs::rename(&temporary, self.dir.join(name)));
        if kept.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    fn temporary(&self) -> PathBuf {
        let count = TEMPORARIES.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!(".{}-{count}.tmp", std::process::id()))
    }
}

/// The file of a binary. Version, target and settings of the compiler are part of the name.
fn name(engine: &Engine, hash: &blake3::Hash) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}.cwasm", hash.to_hex(), settings.finish())
}

/// Covers the name too, so that an entry is not taken for that of another binary.
fn checksum(name: &str, artefact: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(artefact);
    hasher.finalize()
}
