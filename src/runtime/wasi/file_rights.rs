//! What an instance may do with files: each path is taken without detours, held against grants by the
//! directory that it was reached through, and against policies by where it really is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorStat, DescriptorType, ErrorCode, HostDescriptor, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult};

use crate::runtime::state::HostState;
use crate::runtime::wasi::guarded_streams::{FileRight, GuardedOutput};
use crate::runtime::wasi::places::{Outside, Place, Places};
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::{Directory, real_path_of};
use crate::security::guard::{Guard, Refused};
use crate::security::resource;

/// What an instance sees of files.
pub struct Files<'a> {
    /// Does what is allowed.
    pub inner: WasiFilesystemCtxView<'a>,
    /// Says what is allowed.
    pub guard: &'a Arc<Guard>,
    /// Where descriptors are.
    pub places: &'a mut Places,
    /// The directories that the instance was made with.
    pub roots: &'a [Arc<Directory>],
}

/// Names [`Files`] for linkers.
pub struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

/// What an instance sees of files.
pub fn files(state: &mut HostState) -> Files<'_> {
    state.wasi().files()
}

/// Looking at a file, which whoever may list its directory or change it may do too.
pub(super) const LOOK: &[Action] = &[
    Action::FilesystemRead,
    Action::FilesystemListDir,
    Action::FilesystemWrite,
    Action::FilesystemDelete,
];
pub(super) const CHANGE: &[Action] = &[Action::FilesystemWrite, Action::FilesystemDelete];

/// The longest path that is looked at, that of Linux.
const MAX_PATH_BYTES: usize = 4096;

/// A path that something may be done with.
pub(super) struct Allowed {
    pub(super) action: Action,
    pub(super) place: Place,
    /// Relative to its descriptor, without detours.
    pub(super) path: String,
    /// Whether links may be followed: where single names are granted, they could lead to others.
    follows_links: bool,
}

impl Files<'_> {
    /// What is known of a file as the component may know it: who may write a file could read the clock
    /// in its times.
    pub fn shown(&self, stat: DescriptorStat) -> DescriptorStat {
        if self.guard.allows_own(Action::ClockRead) {
            return stat;
        }
        DescriptorStat {
            data_access_timestamp: None,
            data_modification_timestamp: None,
            status_change_timestamp: None,
            ..stat
        }
    }

    pub(super) fn place(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<Place>> {
        let place = self.places.of(descriptor.rep());
        place.cloned().ok_or_else(|| ErrorCode::BadDescriptor.into())
    }

    /// A path that one of `actions` may be done with.
    pub(super) fn allowed(
        &self,
        descriptor: &Resource<Descriptor>,
        path: &str,
        actions: &[Action],
    ) -> FsResult<Allowed> {
        if path.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(ErrorCode::NameTooLong.into());
        }
        let base = self.place(descriptor)?;
        let (place, path) = base.join(path).map_err(|Outside| {
            let outside = Basis::Never("outside of the granted directory");
            self.refuse(first(actions), &format!("{}/{path}", base.path()), outside)
        })?;
        let action = self.check(actions, &place)?;
        let follows_links = self.guard.grants_tree(action, place.directory());
        if !follows_links && path.contains('/') {
            return Err(not_permitted());
        }
        if self.guard.policies_may_deny(action) {
            // A policy about a part of a directory holds whatever links lead there.
            let base = real_path_of(&*self.handle(descriptor)?);
            let paths = base.and_then(|base| real_paths(&Path::new(&base).join(&path)));
            let unknown = Basis::Never("where its path leads is not known");
            let paths = paths.ok_or_else(|| self.refuse(action, place.path(), unknown))?;
            for path in &paths {
                self.guard.check_policies(action, path).map_err(|_| not_permitted())?;
            }
        }
        Ok(Allowed { action, place, path, follows_links })
    }

    /// What a descriptor is for the system.
    pub(super) fn handle(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<fs::File>> {
        Ok(match self.inner.table.get(descriptor)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(directory) => Arc::clone(&directory.dir),
        })
    }

    /// Decides by the first of `actions` that is allowed, which is returned.
    pub(super) fn check(&self, actions: &[Action], place: &Place) -> FsResult<Action> {
        let resource = place.resource();
        let allowed = |action: &&Action| self.guard.decide(**action, resource).allowed;
        let action = actions.iter().find(allowed).copied().unwrap_or(first(actions));
        match self.guard.check_once(action, resource) {
            Ok(_) => Ok(action),
            Err(_) => Err(not_permitted()),
        }
    }

    /// Whether one of `actions` may be done with what is open.
    pub(super) fn check_open(
        &self,
        descriptor: &Resource<Descriptor>,
        actions: &[Action],
    ) -> FsResult<Arc<Place>> {
        let place = self.place(descriptor)?;
        let action = self.check(actions, &place)?;
        let handle = self.handle(descriptor)?;
        check_real_path(self.guard, action, &handle, &place).map_err(|_| not_permitted())?;
        Ok(place)
    }

    pub(super) fn refuse(&self, action: Action, path: &str, basis: Basis) -> FsError {
        self.guard.refuse(action, resource::Resource::Text(path), basis);
        not_permitted()
    }

    /// Links are not made: a link in a directory that others read too could lead them astray.
    pub(super) fn refuse_link(
        &self,
        descriptor: &Resource<Descriptor>,
        path: &str,
    ) -> FsResult<()> {
        let base = self.place(descriptor)?;
        let never = Basis::Never("components make no links");
        Err(self.refuse(Action::FilesystemWrite, &format!("{}/{path}", base.path()), never))
    }

    /// What is opened must be a file or a directory: another kind may hold a thread of the host for
    /// as long as nobody is at its other end.
    pub(super) async fn check_kind(
        &mut self,
        descriptor: &Resource<Descriptor>,
        flags: PathFlags,
        allowed: &Allowed,
    ) -> FsResult<()> {
        let descriptor = Resource::new_borrow(descriptor.rep());
        match self.inner.stat_at(descriptor, flags, allowed.path.clone()).await {
            Ok(stat) => match stat.type_ {
                DescriptorType::RegularFile
                | DescriptorType::Directory
                | DescriptorType::SymbolicLink => Ok(()),
                _ => {
                    let never = Basis::Never("neither a file nor a directory");
                    Err(self.refuse(allowed.action, allowed.place.path(), never))
                }
            },
            // To be made, or to fail when it is opened.
            Err(_) => Ok(()),
        }
    }

    /// Records what Wasmtime has refused after it was allowed here: a link that leads out.
    pub(super) fn recorded<T>(&self, done: FsResult<T>, allowed: &Allowed) -> FsResult<T> {
        done.map_err(|error| match error.downcast_ref() {
            Some(ErrorCode::NotPermitted) => {
                let outside = Basis::Never("outside of the granted directory, or read-only");
                self.refuse(allowed.action, allowed.place.path(), outside)
            }
            _ => error,
        })
    }

    /// A directory takes all that is in it along, so all of that must be allowed, at both ends.
    pub(super) async fn check_directory_renamed(
        &mut self,
        descriptor: &Resource<Descriptor>,
        from: &Allowed,
        to: &Allowed,
    ) -> FsResult<()> {
        let descriptor = Resource::new_borrow(descriptor.rep());
        let stat = self.inner.stat_at(descriptor, PathFlags::empty(), from.path.clone()).await?;
        if stat.type_ == DescriptorType::RegularFile {
            return Ok(());
        }
        let trees = [
            (Action::FilesystemRead, from),
            (Action::FilesystemDelete, from),
            (Action::FilesystemWrite, to),
            (Action::FilesystemDelete, to),
        ];
        let listed = self.guard.policies_may_deny(Action::FilesystemListDir);
        for (action, end) in trees {
            let whole = self.guard.grants_tree(action, end.place.directory());
            if !whole || listed || self.guard.policies_may_deny(action) {
                let part = Basis::Never("not all that is in the directory may be moved");
                return Err(self.refuse(action, end.place.path(), part));
            }
        }
        Ok(())
    }

    pub(super) fn right(
        &self,
        descriptor: &Resource<Descriptor>,
        place: Arc<Place>,
        action: Action,
    ) -> FsResult<FileRight> {
        Ok(FileRight::new(Arc::clone(self.guard), place, self.handle(descriptor)?, action))
    }

    pub(super) fn guarded_output(
        &mut self,
        stream: Resource<DynOutputStream>,
        right: FileRight,
    ) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.inner.table.delete(stream)?;
        let guarded: DynOutputStream = Box::new(GuardedOutput { inner, right });
        Ok(self.inner.table.push(guarded)?)
    }
}

impl Allowed {
    pub(super) fn flags(&self, flags: PathFlags) -> PathFlags {
        if self.follows_links { flags } else { flags & !PathFlags::SYMLINK_FOLLOW }
    }
}

fn first(actions: &[Action]) -> Action {
    actions.first().copied().unwrap_or(Action::FilesystemRead)
}

pub(super) fn not_permitted() -> FsError {
    ErrorCode::NotPermitted.into()
}

/// Whether policies allow an action on what is open, wherever it is by now; recorded if not.
pub fn check_real_path(
    guard: &Guard,
    action: Action,
    handle: &fs::File,
    place: &Place,
) -> Result<(), Refused> {
    if !guard.policies_may_deny(action) {
        return Ok(());
    }
    match real_path_of(handle) {
        Some(real) => guard.check_policies(action, &real),
        None => {
            let unknown = Basis::Never("where it is is not known");
            Err(guard.refuse(action, resource::Resource::Text(place.path()), unknown))
        }
    }
}

/// What a path may be for an operation, without links: itself, for those that act on a link, and
/// where it leads. `None` if that is not known.
fn real_paths(path: &Path) -> Option<Vec<String>> {
    let direct = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => fs::canonicalize(parent).ok()?.join(name),
        _ => path.to_owned(),
    };
    let leads_to = match fs::canonicalize(&direct) {
        Ok(real) => Some(real),
        // A link to nothing: what is made through it would be elsewhere.
        Err(_) if fs::symlink_metadata(&direct).is_ok() => return None,
        Err(_) => None,
    };
    [Some(direct), leads_to]
        .into_iter()
        .flatten()
        .map(|path| path.into_os_string().into_string().ok())
        .collect()
}
