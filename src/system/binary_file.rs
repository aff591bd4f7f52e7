//! Component binaries in files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::security::pseudo_files::pseudo_file_system;

/// Reads a file, but no more than one byte beyond `limit`: enough to see that it is too large.
///
/// Only regular files: reading others may wait for ever, and opening them may do something. Some that
/// call themselves regular are made by the system when they are read; those have no size, and an end
/// perhaps neither.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    size(&std::fs::metadata(path)?)?;
    let file = open(path)?;
    // Once more, of what was opened: another file may have taken the place of the first.
    let size = size(&file.metadata()?)?;
    if let Some(name) = pseudo_file_system(&file) {
        return Err(io::Error::other(format!("in {name}, whose files the system makes up")));
    }
    let mut binary = Vec::new();
    file.take(size.min(limit.saturating_add(1))).read_to_end(&mut binary)?;
    Ok(binary)
}

fn size(file: &Metadata) -> io::Result<u64> {
    if file.is_file() { Ok(file.len()) } else { Err(io::Error::other("not a regular file")) }
}

/// Opens without waiting for the other end of a pipe, and without becoming a terminal's process.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC);
    }
    options.read(true).open(path)
}
