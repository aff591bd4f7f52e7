//! A directory that only this user and root can change, held open.
//!
//! The path is walked once from the root, and each directory is checked through the handle that
//! opens the next one. Afterwards files are reached through the directory's own handle: renaming
//! it, or a directory above it, moves its contents along.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, StatVfsMountFlags};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use rustix::process::geteuid;
use thiserror::Error;

/// The most symbolic links on a path.
const MAX_LINKS: usize = 40;

/// The mode bits that let others write.
const OTHERS_WRITE: u32 = 0o022;
const ANYONE_WRITES: u32 = 0o222;
const OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// Prefix and suffix of temporary names, which a crashed writer may leave behind.
const TEMPORARY: (&[u8], &[u8]) = (b".", b".tmp");

/// Flags that open a directory only as a starting point.
#[cfg(target_os = "linux")]
const TRAVERSE: OFlags = OFlags::PATH.union(DIRECTORY);
#[cfg(not(target_os = "linux"))]
const TRAVERSE: OFlags = DIRECTORY;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a directory cannot serve as a cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file system returned an error.
    #[error("cache-dir {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users could put code there.
    #[error("cache-dir {}: {reason}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// The problem and the remedy.
        reason: String,
    },
}

/// The permitted use of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing files.
    ReadWrite,
    /// Reading files only: the directory belongs to root, or no one may write to it.
    ReadOnly,
}

/// A file in a listing.
pub struct Listed {
    /// The name.
    pub name: OsString,
    /// The size in bytes.
    pub bytes: u64,
    /// The time of the last write or use.
    pub used: SystemTime,
}

/// A checked directory and its handle.
pub struct Directory {
    handle: OwnedFd,
    access: Access,
    /// The effective user of this process.
    user: u32,
}

impl Directory {
    /// Opens a directory; creates it and its parents if they are missing.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let user = geteuid().as_raw();
        let io_error = |source| CacheError::Io { path: path.to_owned(), source };
        let not_private = |reason| CacheError::NotPrivate { path: path.to_owned(), reason };
        let reached = Walk::to(path, user).map_err(|error| match error {
            WalkError::Io(source) => io_error(source),
            WalkError::Replaceable(reason) => not_private(reason),
        })?;
        let open = || -> io::Result<(OwnedFd, Metadata, bool)> {
            let handle = fs::openat(&reached, ".", DIRECTORY | OFlags::RDONLY, Mode::empty())?;
            let metadata = File::from(handle.try_clone()?).metadata()?;
            let mounted = fs::fstatvfs(&handle)?.f_flag;
            Ok((handle, metadata, mounted.contains(StatVfsMountFlags::RDONLY)))
        };
        let (handle, metadata, mounted_read_only) = open().map_err(io_error)?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if owner != user && owner != 0 {
            let reason = format!("belongs to user {owner}, not to {user} or root");
            return Err(not_private(reason));
        }
        let read_only = owner != user || mode & ANYONE_WRITES == 0 || mounted_read_only;
        let forbidden = if read_only { OTHERS_WRITE } else { OTHERS };
        if mode & forbidden != 0 {
            let needed = if read_only { "0755 or less" } else { "0700" };
            let reason = format!("is open to others (mode {mode:04o}, {needed} needed)");
            return Err(not_private(reason));
        }
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok(Self { handle, access, user })
    }

    /// Returns the permitted use.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Opens a file for reading, provided that only this user and root can have written it.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<(File, Metadata)> {
        // A blocking open would wait at a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.handle, name.as_ref(), flags, Mode::empty())?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        let owner = metadata.uid();
        let theirs = owner != self.user && owner != 0;
        if !metadata.is_file() || theirs || metadata.mode() & OTHERS_WRITE != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((file, metadata))
    }

    /// Reads such a file of at most `max_bytes`.
    pub fn read(&self, name: impl AsRef<OsStr>, max_bytes: u64) -> io::Result<(File, Vec<u8>)> {
        let (mut file, metadata) = self.open_file(name)?;
        if metadata.len() > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        let size = usize::try_from(metadata.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        (&mut file).take(metadata.len()).read_to_end(&mut bytes)?;
        Ok((file, bytes))
    }

    /// Writes a file under a temporary name; [`Temporary::publish`] gives it the final one. Its
    /// lock shows that it is in use.
    pub fn write_temporary(&self, parts: &[&[u8]], durable: bool) -> io::Result<Temporary<'_>> {
        let name = OsString::from(format!(".{:016x}.tmp", getrandom::u64()?));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.handle, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let temporary = Temporary { directory: self, name, file: File::from(file) };
        // On a file system without locks, files of crashed writers stay.
        let _ = fs::flock(&temporary.file, FlockOperation::NonBlockingLockExclusive);
        for part in parts {
            (&temporary.file).write_all(part)?;
        }
        if durable {
            temporary.file.sync_all()?;
        }
        Ok(temporary)
    }

    /// Removes a file; a missing one is no error.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match fs::unlinkat(&self.handle, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the regular files whose names are wanted.
    pub fn list(&self, wanted: impl Fn(&OsStr) -> bool) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !wanted(name) {
                continue;
            }
            // The file was removed in the meantime.
            let Ok(stat) = fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                let used = modified(&stat);
                listed.push(Listed { name: name.to_owned(), bytes, used });
            }
        }
        Ok(listed)
    }

    /// Removes temporary files of crashed writers.
    pub fn clear_leavings(&self) -> io::Result<()> {
        let (begin, end) = TEMPORARY;
        let left = self.list(|name| {
            let name = name.as_bytes();
            name.len() > begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        })?;
        for Listed { name, .. } in left {
            let Ok((file, _)) = self.open_file(&name) else { continue };
            if fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// A file being written, removed on drop unless it is published.
pub struct Temporary<'a> {
    directory: &'a Directory,
    name: OsString,
    file: File,
}

impl Temporary<'_> {
    /// Gives the file its final name, replacing an existing file.
    pub fn publish(self, name: &str) -> io::Result<()> {
        let handle = &self.directory.handle;
        Ok(fs::renameat(handle, &self.name, handle, name)?)
    }

    /// Gives the file its final name, unless the name is taken.
    pub fn publish_new(self, name: &str) -> io::Result<()> {
        let handle = &self.directory.handle;
        match fs::linkat(handle, &self.name, handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            // The file system has no hard links.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => self.publish(name),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let _ = self.directory.remove(&self.name);
    }
}

/// Marks a file as used now.
pub fn touch(file: &File) {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    // Fails for root's files, whose times belong to root too.
    let _ = fs::futimens(file, &Timestamps { last_access: omit, last_modification: now });
}

fn modified(stat: &fs::Stat) -> SystemTime {
    let since = std::time::Duration::new(
        u64::try_from(stat.st_mtime).unwrap_or(0),
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    );
    SystemTime::UNIX_EPOCH + since
}

/// A walk along a path, from the root.
struct Walk {
    /// The directories from the root to the current one.
    chain: Vec<(OwnedFd, OsString)>,
    user: u32,
}

enum WalkError {
    Io(io::Error),
    /// Other users could replace a directory on the path.
    Replaceable(String),
}

impl<E: Into<io::Error>> From<E> for WalkError {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl Walk {
    fn to(path: &Path, user: u32) -> Result<OwnedFd, WalkError> {
        let root = fs::open("/", TRAVERSE, Mode::empty())?;
        let mut walk = Self { chain: vec![(root, OsString::new())], user };
        let mut rest: VecDeque<OsString> = steps(&std::path::absolute(path)?).collect();
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            if step == ".." {
                if walk.chain.len() > 1 {
                    walk.chain.pop();
                }
                continue;
            }
            walk.check_last()?;
            let Some(target) = walk.link(&step)? else {
                walk.enter(step)?;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            if target.is_absolute() {
                walk.chain.truncate(1);
            }
            for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(step);
            }
        }
        walk.chain.pop().map(|(reached, _)| reached).ok_or_else(|| Errno::NOENT.into())
    }

    fn last(&self) -> &OwnedFd {
        // The chain always contains the root.
        &self.chain[self.chain.len() - 1].0
    }

    /// Refuses a directory in which other users could replace entries.
    fn check_last(&self) -> Result<(), WalkError> {
        let metadata = File::from(self.last().try_clone()?).metadata()?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        let shown = || match self.chain.len() {
            1 => "/".into(),
            _ => self.chain[1..].iter().fold(PathBuf::from("/"), |path, (_, name)| path.join(name)),
        };
        if owner != self.user && owner != 0 {
            return Err(WalkError::Replaceable(format!(
                "{} above it belongs to user {owner}, who could replace it; choose a path that \
                 leads only through directories of user {} and root",
                shown().display(),
                self.user
            )));
        }
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Err(WalkError::Replaceable(format!(
                "others may write to {} above it (mode {mode:04o}) and so replace it; remove \
                 that permission (chmod go-w), or choose another path",
                shown().display()
            )));
        }
        Ok(())
    }

    /// Returns the target of a step that is a symbolic link.
    fn link(&self, step: &OsStr) -> Result<Option<PathBuf>, WalkError> {
        let stat = match fs::statat(self.last(), step, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        if stat.st_uid != self.user && stat.st_uid != 0 {
            return Err(WalkError::Replaceable(format!(
                "the link {} on its path belongs to user {}, who could redirect it",
                step.display(),
                stat.st_uid
            )));
        }
        let target = fs::readlinkat(self.last(), step, Vec::new())?;
        Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
    }

    /// Enters a directory, creating it if it is missing.
    fn enter(&mut self, step: OsString) -> Result<(), WalkError> {
        let open = || fs::openat(self.last(), &step, TRAVERSE, Mode::empty());
        let entered = match open() {
            Err(Errno::NOENT) => {
                match fs::mkdirat(self.last(), &step, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open()?
            }
            entered => entered?,
        };
        self.chain.push((entered, step));
        Ok(())
    }
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
