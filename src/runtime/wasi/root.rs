//! The root directory of a guest. It is empty: a look-up in it is for something that was not
//! granted, and is recorded with its path. Without it, a guest's library would answer from the
//! directories that it has and never ask the host.

use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue,
};

use crate::runtime::wasi::file_rights::Files;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::Directory;
use crate::security::resource::{Resource, without_detours};

/// The root in the resource table. No host directory is behind it.
pub struct Root;

/// The root's guest path.
pub const PATH: &str = "/";

/// The flags of the root.
pub const FLAGS: DescriptorFlags = DescriptorFlags::READ;

/// The attributes of the root.
pub const STAT: DescriptorStat = DescriptorStat {
    type_: DescriptorType::Directory,
    link_count: 1,
    size: 0,
    data_access_timestamp: None,
    data_modification_timestamp: None,
    status_change_timestamp: None,
};

/// The metadata hash of the root.
pub const HASH: MetadataHashValue = MetadataHashValue { lower: 0, upper: 0 };

/// Returns whether a granted directory takes the guest's place of the root: as `/`, or as the
/// directory of relative paths, which libraries treat the same.
pub fn is_taken_by(directory: &Directory) -> bool {
    directory.guest().bytes().all(|byte| matches!(byte, b'/' | b'.'))
}

impl Files<'_> {
    /// Records a look-up in the root and returns the guest's error, that nothing is there. `path`
    /// is relative to the root.
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
