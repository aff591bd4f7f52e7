//! What a durable store writes to: its file, locked as long as it is open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::storage::durable::open_error::OpenProblem;

/// What a store writes to.
pub trait Medium: StorageBackend {
    /// Forgets what the system keeps of the file in memory. After a failed sync that is not what is
    /// on disk, and the system takes it for written.
    fn distrust_cache(&self) {}

    /// Releases the lock. Nothing is read or written any more.
    fn release(&self) {}
}

/// A medium that outlives the databases opened over it, and its length as far as it is known.
#[derive(Debug)]
pub struct Shared {
    /// The medium.
    pub medium: Arc<dyn Medium>,
    /// Its length.
    pub len: Arc<AtomicU64>,
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        let len = self.medium.len()?;
        self.len.store(len, Ordering::Relaxed);
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)?;
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.medium.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium.write(offset, data)
    }
}

/// An open and locked file. The lock stays while redb is closed and opened again over it.
#[derive(Debug)]
pub struct DataFile {
    /// Holds the lock.
    file: File,
    io: FileBackend,
}

impl DataFile {
    /// Opens the file at `path`. If there is none, makes it with `fill`, and under another name
    /// until it is complete.
    pub fn open(
        path: &Path,
        fill: impl FnOnce(Self) -> Result<Self, OpenProblem>,
    ) -> Result<Self, OpenProblem> {
        if path.file_name().is_none() {
            return Err(OpenProblem::NotAFile);
        }
        match Self::open_existing(path) {
            Err(OpenProblem::Io(error)) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        let unfinished = unfinished(path);
        let file = open_locked(&unfinished, true)?;
        if path.try_exists().map_err(OpenProblem::Io)? {
            // Another engine was faster.
            return Self::open_existing(path);
        }
        file.file.set_len(0).map_err(OpenProblem::Io)?;
        let filled = fill(file).and_then(|file| {
            fs::rename(&unfinished, path)
                .and_then(|()| sync_directory(path))
                .map_err(OpenProblem::Io)?;
            Ok(file)
        });
        if filled.is_err() {
            _ = fs::remove_file(&unfinished);
        }
        filled
    }

    fn open_existing(path: &Path) -> Result<Self, OpenProblem> {
        let file = open_locked(path, false)?;
        if file.io.len().map_err(OpenProblem::Io)? == 0 {
            return Err(OpenProblem::Empty);
        }
        Ok(file)
    }
}

/// Returns the name of a file that is being made.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn open_locked(path: &Path, create: bool) -> Result<DataFile, OpenProblem> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    // What components store is nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound if directory.is_some_and(|directory| !directory.exists()) => {
            OpenProblem::NoDirectory
        }
        ErrorKind::IsADirectory => OpenProblem::NotAFile,
        _ => OpenProblem::Io(error),
    })?;
    if !file.metadata().map_err(OpenProblem::Io)?.is_file() {
        return Err(OpenProblem::NotAFile);
    }
    file.try_lock().map_err(|refused| match refused {
        TryLockError::WouldBlock => OpenProblem::InUse,
        TryLockError::Error(error) => OpenProblem::NoLocks(error),
    })?;
    let io = file.try_clone().map_err(OpenProblem::Io)?;
    let io = FileBackend::new(io)
        .map_err(|error| OpenProblem::Io(io::Error::other(error.to_string())))?;
    Ok(DataFile { file, io })
}

/// Makes the name of a new file durable.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Medium for DataFile {
    #[cfg(target_os = "linux")]
    fn distrust_cache(&self) {
        _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn release(&self) {
        // Closing is not enough: a child of `fork` has the same lock.
        _ = self.file.unlock();
    }
}

impl StorageBackend for DataFile {
    fn len(&self) -> io::Result<u64> {
        self.io.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.io.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.io.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.io.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.io.write(offset, data)
    }
}
