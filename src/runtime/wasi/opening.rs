//! Opens files and directories only: opening anything else may block until someone opens the other
//! end, or may be an interface of the system.

use std::fs::File;

use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::runtime::wasi::desk::{Desk, now};
use crate::runtime::wasi::file_rights::{AllowedPath, Files};
use crate::security::audit::Basis;
use crate::security::pseudo_files::pseudo_file_system;

/// A request to open a path.
pub struct Opening {
    /// The path, relative to a directory.
    pub path: String,
    /// Whether links are followed.
    pub path_flags: PathFlags,
    /// Which entries to create.
    pub open_flags: OpenFlags,
    /// The intended use.
    pub flags: DescriptorFlags,
}

/// The result of opening.
pub enum Found {
    /// It is open.
    Opened(Descriptor),
    /// It is not available to components.
    Special(Special),
}

/// Why something is not available to components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A device, a pipe, a socket.
    Kind,
    /// A file of a pseudo file system.
    Pseudo,
}

impl Default for Opening {
    fn default() -> Self {
        let (path_flags, open_flags) = (PathFlags::empty(), OpenFlags::empty());
        Self { path: String::new(), path_flags, open_flags, flags: DescriptorFlags::empty() }
    }
}

impl Opening {
    /// Opens the path in a directory.
    pub fn open(self, desk: &mut Desk, directory: Descriptor) -> FsResult<Found> {
        if let Some(special) = self.special(desk, directory.clone())? {
            return Ok(Found::Special(special));
        }
        let at = desk.lay(directory)?;
        let Self { path, path_flags, open_flags, flags } = self;
        let opened = now(desk.view().open_at(at, path_flags, path, open_flags, flags))?;
        let opened = desk.take(opened)?;
        // A different file may have been opened than the one checked.
        let handle: &File = match &opened {
            Descriptor::File(file) => &file.file,
            Descriptor::Dir(directory) => &directory.dir,
        };
        let kind = handle.metadata().map_err(FsError::from)?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Ok(Found::Special(Special::Kind));
        }
        if pseudo_file_system(handle).is_some() {
            return Ok(Found::Special(Special::Pseudo));
        }
        Ok(Found::Opened(opened))
    }

    /// Returns whether the path is of a kind that must not even be opened.
    pub fn special(&self, desk: &mut Desk, directory: Descriptor) -> FsResult<Option<Special>> {
        let at = desk.lay(directory)?;
        match now(desk.view().stat_at(at, self.path_flags, self.path.clone())) {
            Ok(stat) => Ok(match stat.type_ {
                DescriptorType::RegularFile
                | DescriptorType::Directory
                | DescriptorType::SymbolicLink => None,
                _ => Some(Special::Kind),
            }),
            // It does not exist: it will be created, or opening it will fail.
            Err(_) => Ok(None),
        }
    }
}

impl Files<'_> {
    /// Records that something is not available to components.
    pub(super) fn refuse_special(&self, special: Special, allowed: &AllowedPath) -> FsError {
        let never = match special {
            Special::Kind => "neither a file nor a directory",
            Special::Pseudo => "a file of a pseudo file system",
        };
        self.refuse(allowed.action, allowed.place.path(), Basis::Never(never))
    }
}
