//! What an instance may do with files: each path is taken without detours, held against grants by the
//! directory that it was reached through, and against policies by where it really is.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorStat, DescriptorType, ErrorCode, HostDescriptor, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult};

use crate::core::account::Charge;
use crate::runtime::state::HostState;
use crate::runtime::threads::job::NotRun;
use crate::runtime::wasi::blocking::Waits;
use crate::runtime::wasi::context::Opened;
use crate::runtime::wasi::desk::{Desk, now};
use crate::runtime::wasi::file_streams::{FileOutput, Means};
use crate::runtime::wasi::guarded_streams::{FileRight, GuardedOutput};
use crate::runtime::wasi::places::{Outside, Place, Places};
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::real_path_of;
use crate::security::guard::{Guard, Refused};
use crate::security::resource::{self, without_detours};

/// What an instance sees of files.
pub struct Files<'a> {
    /// Does what is allowed.
    pub inner: WasiFilesystemCtxView<'a>,
    /// Says what is allowed.
    pub guard: &'a Arc<Guard>,
    /// Where descriptors are.
    pub places: &'a mut Places,
    /// The directories that the instance was made with.
    pub roots: &'a io::Result<Vec<Opened>>,
    /// Runs what waits for the system, and pays for what is held.
    pub means: &'a Means,
    /// `None` while a job has it, or once one that was abandoned has.
    pub desk: &'a mut Option<Box<Desk>>,
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
/// Looking at a directory.
pub(super) const LOOK_IN: &[Action] = &[
    Action::FilesystemListDir,
    Action::FilesystemRead,
    Action::FilesystemWrite,
    Action::FilesystemDelete,
];
pub(super) const CHANGE: &[Action] = &[Action::FilesystemWrite, Action::FilesystemDelete];

/// The longest path that is looked at, that of Linux.
pub const MAX_PATH_BYTES: usize = 4096;

/// What the host holds for a descriptor, beside its names: the system's, and what knows of it here.
const DESCRIPTOR_BYTES: u64 = 2048;

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

    /// What is open, for a job.
    pub(super) fn opened(&self, descriptor: &Resource<Descriptor>) -> FsResult<Descriptor> {
        Ok(self.inner.table.get(descriptor)?.clone())
    }

    /// Does something on a thread that may wait for the system.
    pub(super) async fn on_thread<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Desk) -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        let slot = self.means.jobs.slot(Waits::Files).await.map_err(no_thread)?;
        let mut desk = self.desk.take().unwrap_or_else(Desk::new);
        let running = slot.run(move || {
            let done = job(&mut desk);
            desk.clear();
            (desk, done)
        });
        let (desk, done) = running.map_err(no_thread)?.await.map_err(no_thread)?;
        *self.desk = Some(desk);
        done
    }

    /// Does one of Wasmtime's operations on what is open.
    pub(super) async fn on<R: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        operation: impl AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<R>
        + Send
        + 'static,
    ) -> FsResult<R> {
        let at = self.opened(descriptor)?;
        let job = move |desk: &mut Desk| {
            let at = desk.lay(at)?;
            now(operation(&mut desk.view(), at))
        };
        self.on_thread(job).await
    }

    /// Enters what was opened, and pays for it.
    pub(super) fn enter(
        &mut self,
        place: Place,
        descriptor: Descriptor,
    ) -> FsResult<Resource<Descriptor>> {
        let charge = self.charge(DESCRIPTOR_BYTES + place.bytes())?;
        let descriptor = self.inner.table.push(descriptor)?;
        self.places.enter(descriptor.rep(), Arc::new(place), charge);
        Ok(descriptor)
    }

    pub(super) fn charge(&self, bytes: u64) -> FsResult<Charge> {
        self.means.account.charge(bytes).map_err(FsError::trap)
    }

    /// A path that one of `actions` may be done with.
    pub(super) async fn allowed(
        &mut self,
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
        if self.places.is_root(descriptor.rep()) {
            return Err(self.not_there(first(actions), path));
        }
        let base = self.place(descriptor)?;
        let (place, path) = base.join(path).map_err(|Outside| {
            let outside = Basis::Never("outside of the granted directory");
            self.refuse(first(actions), &named_in(&base, path), outside)
        })?;
        let action = self.check(actions, &place)?;
        let follows_links = self.guard.grants_tree(action, place.directory());
        if !follows_links && path.contains('/') {
            return Err(not_permitted());
        }
        if self.guard.policies_may_deny(action) {
            // A policy about a part of a directory holds whatever links lead there.
            let (base, inside) = (self.handle(descriptor)?, path.clone());
            let real = move |_: &mut Desk| {
                let base = real_path_of(&base);
                Ok(base.and_then(|base| real_paths(&Path::new(&base).join(inside))))
            };
            let paths = self.on_thread(real).await?;
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
        if self.places.is_root(descriptor.rep()) {
            return Err(self.not_there(first(actions), ""));
        }
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
        let never = Basis::Never("components make no links");
        if self.places.is_root(descriptor.rep()) {
            let path = without_detours(&format!("/{path}")).into_owned();
            return Err(self.refuse(Action::FilesystemWrite, &path, never));
        }
        let base = self.place(descriptor)?;
        Err(self.refuse(Action::FilesystemWrite, &named_in(&base, path), never))
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
        let (path, flags) = (from.path.clone(), PathFlags::empty());
        let look = async move |view: &mut WasiFilesystemCtxView<'_>, at| {
            view.stat_at(at, flags, path).await
        };
        let stat = self.on(descriptor, look).await?;
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
        let inner = Box::new(FileOutput::new(inner, self.means.clone()));
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

/// The path of a relative path, however it leads there.
fn named_in(base: &Place, path: &str) -> String {
    match path.starts_with('/') {
        true => without_detours(path).into_owned(),
        false => without_detours(&format!("{}/{path}", base.path())).into_owned(),
    }
}

fn no_thread(_: NotRun) -> FsError {
    ErrorCode::InsufficientMemory.into()
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
