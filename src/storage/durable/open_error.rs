//! Why a durable store can not be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the file of a durable store can not be opened.
#[derive(Debug, Error)]
#[error("storage.path {}: {problem}", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub problem: OpenProblem,
}

impl OpenProblem {
    /// Returns the name of the reason.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoDirectory => "no-directory",
            Self::NotAFile => "not-a-file",
            Self::Empty => "empty",
            Self::InUse => "in-use",
            Self::NoLocks(_) => "no-locks",
            Self::NotAStore => "not-a-store",
            Self::OtherProgram => "other-program",
            Self::OtherFormat { .. } | Self::OldRedb(_) => "other-format",
            Self::Damaged(_) => "damaged",
            Self::Io(_) => "io",
            Self::Thread(_) => "threads",
        }
    }
}

/// The reason.
#[derive(Debug, Error)]
pub enum OpenProblem {
    /// The directory is missing.
    #[error("the directory does not exist; create it, or name another path")]
    NoDirectory,
    /// The path is not that of a regular file.
    #[error("this is not a regular file; name a file, which the engine makes if it is missing")]
    NotAFile,
    /// The file has no bytes.
    #[error("the file is empty; remove it to begin anew, or restore it from a backup")]
    Empty,
    /// Another engine has the file open.
    #[error(
        "another engine, of this process or of another one, has the file open; free that engine, \
         or give each engine a file of its own"
    )]
    InUse,
    /// The file system has no locks.
    #[error("the file system can not lock the file ({0}); use another file system")]
    NoLocks(#[source] io::Error),
    /// The file is no database of redb.
    #[error("the file is not a store of this library; it was left as it is: name another path")]
    NotAStore,
    /// The file is a database of redb, with other contents.
    #[error("the file is a redb database of another program; name another path")]
    OtherProgram,
    /// The file has another format.
    #[error(
        "the file has format {found}, and this library reads format {known}; use the version of \
         the library that wrote it, and export its contents there"
    )]
    OtherFormat {
        /// The format of the file.
        found: u64,
        /// The format of this library.
        known: u64,
    },
    /// The file has an older format of redb.
    #[error(
        "the file has format {0} of redb, which this library does not read; use the version of \
         the library that wrote it, and export its contents there"
    )]
    OldRedb(u8),
    /// The file is damaged.
    #[error(
        "the file is damaged ({0}); it was not emptied: restore it from a backup, or move it away \
         to begin anew"
    )]
    Damaged(String),
    /// The system refused the file.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The system refused a thread.
    #[error("no thread for the store: {0}")]
    Thread(#[source] io::Error),
}
