//! The root directory of a guest. Nothing is in it; what is looked for there was not granted, and that is
//! recorded with its path. Without it a guest's library answers from the directories that it has, and never
//! asks the host.

use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue,
};

use crate::runtime::wasi::file_rights::Files;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::Directory;
use crate::security::resource::{Resource, without_detours};

/// Stands for the root in the table of what is open: no directory of the host is behind it.
pub struct Root;

/// Where guests see it.
pub const PATH: &str = "/";

/// What is known of it.
pub const FLAGS: DescriptorFlags = DescriptorFlags::READ;

/// What is known of it.
pub const STAT: DescriptorStat = DescriptorStat {
    type_: DescriptorType::Directory,
    link_count: 1,
    size: 0,
    data_access_timestamp: None,
    data_modification_timestamp: None,
    status_change_timestamp: None,
};

/// What is known of it.
pub const HASH: MetadataHashValue = MetadataHashValue { lower: 0, upper: 0 };

/// Whether a granted directory is where a guest sees the root: as `/`, or as the directory that relative
/// paths begin at, which libraries take for the same.
pub fn is_taken_by(directory: &Directory) -> bool {
    directory.guest().bytes().all(|byte| matches!(byte, b'/' | b'.'))
}

impl Files<'_> {
    /// Records what was looked for in the root; `path` is relative to it. For the guest nothing is there.
    pub(super) fn not_there(&self, action: Action, path: &str) -> FsError {
        let path = without_detours(&format!("/{path}")).into_owned();
        let decision = self.guard.decide(action, Resource::Text(&path));
        let basis = match decision.allowed {
            true => Basis::Never("granted, but this instance does not see it at this path"),
            false => decision.basis,
        };
        self.guard.refuse(action, Resource::Text(&path), basis);
        ErrorCode::NoEntry.into()
    }
}
