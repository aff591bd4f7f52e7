//! Reads component binaries from files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::security::pseudo_files::pseudo_file_system;

/// Reads a file up to one byte beyond `limit`, enough to detect that it is too large.
///
/// Reads regular files only: reading others may block forever, and opening them may have effects.
/// Pseudo files claim to be regular but are generated on each read; they report no size and may
/// have no end.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    size(&std::fs::metadata(path)?)?;
    let file = open(path)?;
    // Checked again after opening: another file may have replaced the first.
    let size = size(&file.metadata()?)?;
    if let Some(name) = pseudo_file_system(&file) {
        return Err(io::Error::other(format!("in {name}, whose files the system generates")));
    }
    let mut binary = Vec::new();
    file.take(size.min(limit.saturating_add(1))).read_to_end(&mut binary)?;
    Ok(binary)
}

fn size(file: &Metadata) -> io::Result<u64> {
    if file.is_file() { Ok(file.len()) } else { Err(io::Error::other("not a regular file")) }
}

/// Opens without blocking on a pipe and without acquiring a controlling terminal.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC);
    }
    options.read(true).open(path)
}
