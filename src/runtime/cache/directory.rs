//! A directory that only this user and root can change, held open.
//!
//! The path is walked once, from the root, and each directory on the way is checked by the handle
//! through which the next one is opened. Afterwards files are reached through the directory's own
//! handle: whoever renames it, or a directory above it, moves it together with its contents.

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

/// How many symbolic links a path may lead through.
const MAX_LINKS: usize = 40;

/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
const ANYONE_WRITES: u32 = 0o222;
const OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// Names that a crashed writer may have left begin and end so.
const TEMPORARY: (&[u8], &[u8]) = (b".", b".tmp");

/// What opens a directory only to reach what is in it.
#[cfg(target_os = "linux")]
const TRAVERSE: OFlags = OFlags::PATH.union(DIRECTORY);
#[cfg(not(target_os = "linux"))]
const TRAVERSE: OFlags = DIRECTORY;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a directory can not serve as cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("cache-dir {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others could put code there.
    #[error("cache-dir {}: {reason}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

/// What may be done with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Files are read and written.
    ReadWrite,
    /// Files are read: the directory is root's, or nobody's to write to.
    ReadOnly,
}

/// A file in a directory, as a list shows it.
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// Its size.
    pub bytes: u64,
    /// When it was last written or used.
    pub used: SystemTime,
}

/// A directory that was checked, and its handle.
pub struct Directory {
    handle: OwnedFd,
    access: Access,
    /// The user that this process acts as.
    user: u32,
}

impl Directory {
    /// Opens a directory, and makes it, and those above it, if they are missing.
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

    /// What may be done with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Opens a file for reading that nobody but this user and root can have written.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<(File, Metadata)> {
        // A pipe would have its reader wait.
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

    /// Reads such a file, if it has no more than `max_bytes`.
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

    /// Writes a file under a name of its own, which [`Temporary::publish`] makes final. Its lock says
    /// that somebody is at it.
    pub fn write_temporary(&self, parts: &[&[u8]], durable: bool) -> io::Result<Temporary<'_>> {
        let name = OsString::from(format!(".{:016x}.tmp", getrandom::u64()?));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.handle, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let temporary = Temporary { directory: self, name, file: File::from(file) };
        // A file system without locks keeps the leavings of crashes.
        let _ = fs::flock(&temporary.file, FlockOperation::NonBlockingLockExclusive);
        for part in parts {
            (&temporary.file).write_all(part)?;
        }
        if durable {
            temporary.file.sync_all()?;
        }
        Ok(temporary)
    }

    /// Removes a file; one that is missing is no error.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match fs::unlinkat(&self.handle, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The regular files whose names are wanted.
    pub fn list(&self, wanted: impl Fn(&OsStr) -> bool) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !wanted(name) {
                continue;
            }
            // One that went meanwhile is none.
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

    /// Removes what writers have left that ended before their time.
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

/// A file that is being written, and goes if it is not published.
pub struct Temporary<'a> {
    directory: &'a Directory,
    name: OsString,
    file: File,
}

impl Temporary<'_> {
    /// Gives it its final name, in the place of what has it.
    pub fn publish(self, name: &str) -> io::Result<()> {
        let handle = &self.directory.handle;
        Ok(fs::renameat(handle, &self.name, handle, name)?)
    }

    /// Gives it its final name, unless something has it.
    pub fn publish_new(self, name: &str) -> io::Result<()> {
        let handle = &self.directory.handle;
        match fs::linkat(handle, &self.name, handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            // No links here.
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
    // Of one that is root's the time is root's too.
    let _ = fs::futimens(file, &Timestamps { last_access: omit, last_modification: now });
}

fn modified(stat: &fs::Stat) -> SystemTime {
    let since = std::time::Duration::new(
        u64::try_from(stat.st_mtime).unwrap_or(0),
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    );
    SystemTime::UNIX_EPOCH + since
}

/// A path on the way from the root to its end.
struct Walk {
    /// The directories from the root to where it has come.
    chain: Vec<(OwnedFd, OsString)>,
    user: u32,
}

enum WalkError {
    Io(io::Error),
    /// Somebody could put another directory in the place of one on the way.
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
        // The root is never taken out before the end.
        &self.chain[self.chain.len() - 1].0
    }

    /// Refuses a directory in which others could put something in the place of what is in it.
    fn check_last(&self) -> Result<(), WalkError> {
        let metadata = File::from(self.last().try_clone()?).metadata()?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        let shown = || match self.chain.len() {
            1 => "/".into(),
            _ => self.chain[1..].iter().fold(PathBuf::from("/"), |path, (_, name)| path.join(name)),
        };
        if owner != self.user && owner != 0 {
            return Err(WalkError::Replaceable(format!(
                "{} above it belongs to user {owner}, who could put another directory in its \
                 place; choose a path that leads only through directories of user {} and root",
                shown().display(),
                self.user
            )));
        }
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Err(WalkError::Replaceable(format!(
                "others may write to {} above it (mode {mode:04o}), and so put another directory \
                 in its place; take that right away (chmod go-w), or choose another path",
                shown().display()
            )));
        }
        Ok(())
    }

    /// Where a step leads if it is a symbolic link.
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
                "the link {} on its path belongs to user {}, who could have it lead elsewhere",
                step.display(),
                stat.st_uid
            )));
        }
        let target = fs::readlinkat(self.last(), step, Vec::new())?;
        Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
    }

    /// Goes into a directory, and makes it if it is missing.
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
