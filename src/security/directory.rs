//! Directories of the host that components see.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::security::pattern::{InvalidPattern, Pattern};
use crate::security::pseudo_files::pseudo_file_system;

/// A directory, held open: a later replacement at the same path is not covered by the grant.
#[derive(Debug)]
pub struct Directory {
    /// The host path, without symbolic links.
    host: String,
    /// The guest path.
    guest: String,
    handle: File,
    /// Device and inode: the identity of the directory, whatever its path.
    identity: (u64, u64),
}

/// The granted part of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// Everything at any depth, the directory included.
    Tree,
    /// Entries directly in it with matching names. Symbolic links are not followed.
    Entries(Pattern),
}

/// Why a path pattern cannot be granted.
#[derive(Debug, Error)]
pub enum InvalidPath {
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    #[error("{0:?}: wildcards are for the end, as in /data/**, /data/* and /data/*.csv")]
    Wildcard(String),
    #[error("{path}: {source}")]
    Unreachable {
        /// The directory.
        path: String,
        /// The error.
        source: io::Error,
    },
    #[error("{path}: {source}; {}", DescriptorLimit)]
    NoDescriptor {
        /// The directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    #[error("{0:?} is not UTF-8, so no component could name it")]
    NotUnicode(PathBuf),
    #[error("{0:?} is not absolute")]
    Relative(String),
    #[error(
        "{path} is in {system}, whose files are interfaces of the system and cannot be granted"
    )]
    Pseudo {
        /// The directory.
        path: String,
        /// The file system.
        system: &'static str,
    },
}

/// Formats the current limit on open files, and the remedy.
#[derive(Debug)]
pub struct DescriptorLimit;

impl fmt::Display for DescriptorLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(unix)]
        if let Some(count) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            return write!(f, "RLIMIT_NOFILE (ulimit -n) is {count}: raise it, or close files");
        }
        f.write_str("raise the system's limit on open files, or close some")
    }
}

/// Returns whether the process or the system has reached its limit on open files.
#[cfg(unix)]
fn is_want_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_want_of_descriptors(_: &io::Error) -> bool {
    false
}

/// Splits a path pattern into a directory and the granted part of it, and opens the directory.
/// `guest` is the guest path; `None` means the path of the pattern.
pub fn open(pattern: &str, guest: Option<&str>) -> Result<(Directory, Within), InvalidPath> {
    Pattern::compile(pattern)?;
    if !Path::new(pattern).is_absolute() {
        return Err(InvalidPath::Relative(pattern.to_owned()));
    }
    let trimmed = match pattern.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    let (parent, last) = match trimmed.rsplit_once('/') {
        Some(("", last)) => ("/", last),
        Some((parent, last)) => (parent, last),
        None => (".", trimmed),
    };
    if parent.contains('*') {
        return Err(InvalidPath::Wildcard(pattern.to_owned()));
    }
    let (directory, within) = match last {
        "**" => (parent, Within::Tree),
        last if last.contains('*') => (parent, Within::Entries(Pattern::compile(last)?)),
        _ => match fs::metadata(trimmed) {
            Ok(found) if found.is_dir() => (trimmed, Within::Tree),
            Ok(_) => (parent, Within::Entries(Pattern::compile(last)?)),
            Err(source) => {
                return Err(InvalidPath::Unreachable { path: trimmed.to_owned(), source });
            }
        },
    };
    Ok((Directory::open(directory, guest.unwrap_or(directory))?, within))
}

impl Directory {
    fn open(path: &str, guest: &str) -> Result<Self, InvalidPath> {
        let unreachable = |source| match is_want_of_descriptors(&source) {
            true => InvalidPath::NoDescriptor { path: path.to_owned(), source },
            false => InvalidPath::Unreachable { path: path.to_owned(), source },
        };
        let found = fs::canonicalize(path).map_err(unreachable)?;
        let handle = File::open(&found).map_err(unreachable)?;
        let metadata = handle.metadata().map_err(unreachable)?;
        if !metadata.is_dir() {
            return Err(unreachable(io::ErrorKind::NotADirectory.into()));
        }
        if let Some(system) = pseudo_file_system(&handle) {
            return Err(InvalidPath::Pseudo { path: path.to_owned(), system });
        }
        // The path of the opened directory: another may have replaced the one found above.
        let host = match held_path(&handle) {
            Some(held) => fs::read_link(held).map_err(unreachable)?,
            None => found,
        };
        let host = host.into_os_string().into_string();
        let host = host.map_err(|path| InvalidPath::NotUnicode(path.into()))?;
        let mut guest = guest;
        while let Some(shorter) = guest.strip_suffix('/').or_else(|| guest.strip_suffix("/."))
            && !shorter.is_empty()
        {
            guest = shorter;
        }
        Ok(Self { host, guest: guest.to_owned(), handle, identity: identity(&metadata) })
    }

    /// Returns the host path at the time of the grant, without symbolic links.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the guest path.
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// Returns the open handle.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Returns the host path for the relative path `inside`; an empty one is the directory itself.
    pub fn path(&self, inside: &str) -> String {
        match (self.host.as_str(), inside) {
            (host, "") => host.to_owned(),
            ("/", inside) => format!("/{inside}"),
            (host, inside) => format!("{host}/{inside}"),
        }
    }

    /// Returns the relative path for a host path in this directory.
    pub fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.host == "/" {
            return path.strip_prefix('/');
        }
        match path.strip_prefix(self.host.as_str())? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }

    /// Returns whether both are the same directory at the same guest path.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity && self.host == other.host && self.guest == other.guest
    }
}

impl Within {
    /// Returns whether the relative path `inside` is part of the grant.
    pub fn contains(&self, inside: &str) -> bool {
        match self {
            Self::Tree => true,
            Self::Entries(names) => {
                !inside.is_empty() && !inside.contains('/') && names.matches(inside)
            }
        }
    }
}

/// Returns the current path of an open file or directory, without links; `None` where the system
/// has no way to tell.
pub fn real_path_of(handle: &File) -> Option<String> {
    let path = fs::read_link(held_path(handle)?).ok()?.into_os_string().into_string().ok()?;
    // Linux marks a file without a name.
    Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
}

/// Returns a path that leads to an open handle. Other systems reach directories by their own path.
#[cfg(target_os = "linux")]
fn held_path(handle: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    Some(Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()))
}

#[cfg(not(target_os = "linux"))]
fn held_path(_: &File) -> Option<PathBuf> {
    None
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_splits_into_a_directory_and_a_part_of_it() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let root = root.to_str().unwrap();
        fs::create_dir(format!("{root}/sub")).unwrap();
        fs::write(format!("{root}/file.csv"), "x").unwrap();
        let entries = |names: &str| Within::Entries(Pattern::compile(names).unwrap());
        for (pattern, host, within) in [
            (format!("{root}/sub"), format!("{root}/sub"), Within::Tree),
            (format!("{root}/sub/"), format!("{root}/sub"), Within::Tree),
            (format!("{root}/**"), root.to_owned(), Within::Tree),
            (format!("{root}/*.csv"), root.to_owned(), entries("*.csv")),
            (format!("{root}/file.csv"), root.to_owned(), entries("file.csv")),
        ] {
            let (directory, found) = open(&pattern, Some("/in")).unwrap();
            assert_eq!((directory.host(), directory.guest()), (&*host, "/in"), "{pattern}");
            assert_eq!(found, within, "{pattern}");
        }
        let (missing, inner) = (format!("{root}/none"), format!("{root}/*/x"));
        for pattern in [&*missing, &*inner, &format!("{root}/**/x"), "relative", "**"] {
            assert!(open(pattern, None).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_replacement_of_a_directory_is_not_reached() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("granted")).unwrap();
        fs::write(path("granted").join("inside"), "x").unwrap();
        let granted = path("granted");
        let (directory, _) = open(granted.to_str().unwrap(), None).unwrap();
        fs::rename(&granted, path("moved")).unwrap();
        std::os::unix::fs::symlink("/", &granted).unwrap();
        assert!(held_path(directory.handle()).unwrap().join("inside").exists());
    }

    #[test]
    fn paths_inside_are_relative_and_whole_segments() {
        let root = tempfile::tempdir().unwrap();
        let (directory, _) = open(root.path().to_str().unwrap(), None).unwrap();
        let host = directory.host().to_owned();
        assert_eq!(directory.inside(&format!("{host}/a/b")), Some("a/b"));
        assert_eq!(directory.inside(&host), Some(""));
        assert_eq!(directory.inside(&format!("{host}x/a")), None);
        assert_eq!(directory.path("a"), format!("{host}/a"));
        let names = Within::Entries(Pattern::compile("*.csv").unwrap());
        assert!(names.contains("a.csv"));
        assert!(!names.contains("") && !names.contains("d/a.csv") && Within::Tree.contains(""));
    }
}
