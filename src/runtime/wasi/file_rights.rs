//! The rights of an instance to files: each path is normalized, checked against grants by the
//! directory it was reached through, and against policies by its real location.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorStat, DescriptorType, ErrorCode, HostDescriptor, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult, StreamResult};

use crate::core::account::Charge;
use crate::core::versioned::Versioned;
use crate::runtime::threads::job::NotRun;
use crate::runtime::wasi::blocking::Waits;
use crate::runtime::wasi::descriptor_table::{DescriptorTable, Outside, Place};
use crate::runtime::wasi::desk::{Desk, now};
use crate::runtime::wasi::file_streams::{FileOutput, Means};
use crate::runtime::wasi::guarded_streams::{GuardedOutput, Right, denied};
use crate::runtime::wasi::preopens::Preopen;
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::real_path_of;
use crate::security::guard::{AllowedUntil, Guard, Refused};
use crate::security::resource::{self, without_detours};

/// An instance's view of files.
pub struct Files<'a> {
    /// Performs the allowed operations.
    pub inner: WasiFilesystemCtxView<'a>,
    /// Decides which operations are allowed.
    pub guard: &'a Arc<Guard>,
    /// The descriptor table.
    pub descriptors: &'a mut DescriptorTable,
    /// The directories that the instance started with.
    pub roots: &'a io::Result<Vec<Preopen>>,
    /// Runs blocking system calls and charges for what the host holds.
    pub means: &'a Means,
    /// `None` while a job has it, and for good once that job is abandoned.
    pub desk: &'a mut Option<Box<Desk>>,
}

/// The linker's key for [`Files`].
pub struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

/// Reading a file's attributes, also implied by the rights to list its directory or to change it.
pub(super) const LOOK: &[Action] = &[
    Action::FilesystemRead,
    Action::FilesystemListDir,
    Action::FilesystemWrite,
    Action::FilesystemDelete,
];
/// Reading a directory's attributes.
pub(super) const LOOK_IN: &[Action] = &[
    Action::FilesystemListDir,
    Action::FilesystemRead,
    Action::FilesystemWrite,
    Action::FilesystemDelete,
];
pub(super) const CHANGE: &[Action] = &[Action::FilesystemWrite, Action::FilesystemDelete];

/// The longest path accepted, Linux's limit.
pub const MAX_PATH_BYTES: usize = 4096;

/// Host memory held per descriptor besides its names: the system's and this library's state.
const DESCRIPTOR_BYTES: u64 = 2048;

/// A path with an allowed action.
pub(super) struct AllowedPath {
    pub(super) action: Action,
    pub(super) place: Place,
    /// The normalized path, relative to its descriptor.
    pub(super) path: String,
    /// Whether links may be followed: not where single names are granted, since links could lead to
    /// others.
    follows_links: bool,
}

impl Files<'_> {
    /// Returns a file's attributes as the component may see them. Timestamps are withheld without
    /// the right to clocks, because a component could write a file and read the time from it.
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
        let place = self.descriptors.of(descriptor.rep());
        place.cloned().ok_or_else(|| ErrorCode::BadDescriptor.into())
    }

    /// Returns an open descriptor, for a job.
    pub(super) fn opened(&self, descriptor: &Resource<Descriptor>) -> FsResult<Descriptor> {
        Ok(self.inner.table.get(descriptor)?.clone())
    }

    /// Runs `work` on a thread that may block.
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

    /// Runs one of Wasmtime's operations on a descriptor.
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

    /// Adds an opened descriptor to the table and charges for it.
    pub(super) fn track(
        &mut self,
        place: Place,
        descriptor: Descriptor,
    ) -> FsResult<Resource<Descriptor>> {
        let charge = self.charge(DESCRIPTOR_BYTES + place.bytes())?;
        let descriptor = self.inner.table.push(descriptor)?;
        self.descriptors.insert(descriptor.rep(), Arc::new(place), charge);
        Ok(descriptor)
    }

    pub(super) fn charge(&self, bytes: u64) -> FsResult<Charge> {
        self.means.account.charge(bytes).map_err(FsError::trap)
    }

    /// Returns a path if one of `actions` is allowed on it.
    pub(super) async fn allowed(
        &mut self,
        descriptor: &Resource<Descriptor>,
        path: &str,
        actions: &[Action],
    ) -> FsResult<AllowedPath> {
        if path.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(ErrorCode::NameTooLong.into());
        }
        if self.descriptors.is_root(descriptor.rep()) {
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
            // A policy on a part of a directory applies whatever links lead there.
            let (base, inside) = (self.handle(descriptor)?, path.clone());
            let real = move |_: &mut Desk| {
                let base = real_path_of(&base);
                Ok(base.and_then(|base| real_paths(&Path::new(&base).join(inside))))
            };
            let paths = self.on_thread(real).await?;
            let unknown = Basis::Never("the target of its path is unknown");
            let paths = paths.ok_or_else(|| self.refuse(action, place.path(), unknown))?;
            for path in &paths {
                self.guard.check_policies(action, path).map_err(|_| not_permitted())?;
            }
        }
        Ok(AllowedPath { action, place, path, follows_links })
    }

    /// Returns the system's handle of a descriptor.
    pub(super) fn handle(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<fs::File>> {
        Ok(match self.inner.table.get(descriptor)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(directory) => Arc::clone(&directory.dir),
        })
    }

    /// Decides by the first of `actions` that is allowed, and returns it.
    pub(super) fn check(&self, actions: &[Action], place: &Place) -> FsResult<Action> {
        let resource = place.resource();
        let allowed = |action: &&Action| self.guard.decide(**action, resource).allowed;
        let action = actions.iter().find(allowed).copied().unwrap_or(first(actions));
        match self.guard.check_once(action, resource) {
            Ok(_) => Ok(action),
            Err(_) => Err(not_permitted()),
        }
    }

    /// Checks that one of `actions` is allowed on an open descriptor.
    pub(super) fn check_open(
        &self,
        descriptor: &Resource<Descriptor>,
        actions: &[Action],
    ) -> FsResult<Arc<Place>> {
        if self.descriptors.is_root(descriptor.rep()) {
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

    /// Refuses to create a link: in a directory with other readers it could redirect them.
    pub(super) fn refuse_link(
        &self,
        descriptor: &Resource<Descriptor>,
        path: &str,
    ) -> FsResult<()> {
        let never = Basis::Never("components cannot create links");
        if self.descriptors.is_root(descriptor.rep()) {
            let path = without_detours(&format!("/{path}")).into_owned();
            return Err(self.refuse(Action::FilesystemWrite, &path, never));
        }
        let base = self.place(descriptor)?;
        Err(self.refuse(Action::FilesystemWrite, &named_in(&base, path), never))
    }

    /// Records a refusal by Wasmtime of what was allowed here: a link that leads out.
    pub(super) fn recorded<T>(&self, done: FsResult<T>, allowed: &AllowedPath) -> FsResult<T> {
        done.map_err(|error| match error.downcast_ref() {
            Some(ErrorCode::NotPermitted) => {
                let outside = Basis::Never("outside of the granted directory, or read-only");
                self.refuse(allowed.action, allowed.place.path(), outside)
            }
            _ => error,
        })
    }

    /// Checks the rename of a directory: it moves everything inside, so all of that must be allowed
    /// at both ends.
    pub(super) async fn check_directory_renamed(
        &mut self,
        descriptor: &Resource<Descriptor>,
        from: &AllowedPath,
        to: &AllowedPath,
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
                let part = Basis::Never("not everything in the directory may be moved");
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

impl AllowedPath {
    pub(super) fn flags(&self, flags: PathFlags) -> PathFlags {
        if self.follows_links { flags } else { flags & !PathFlags::SYMLINK_FOLLOW }
    }
}

fn first(actions: &[Action]) -> Action {
    actions.first().copied().unwrap_or(Action::FilesystemRead)
}

/// Returns the normalized path of a relative path.
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

/// The right to read or write one file, checked again when rights change.
pub struct FileRight {
    guard: Arc<Guard>,
    place: Arc<Place>,
    handle: Arc<fs::File>,
    action: Action,
    /// How long the last decision holds, for the version of the rights that it was made on.
    known: Versioned<u64, Option<AllowedUntil>>,
}

impl FileRight {
    /// Creates a right that is still undecided.
    pub fn new(
        guard: Arc<Guard>,
        place: Arc<Place>,
        handle: Arc<fs::File>,
        action: Action,
    ) -> Self {
        Self { guard, place, handle, action, known: Versioned::default() }
    }
}

impl Right for FileRight {
    fn check(&mut self) -> StreamResult<()> {
        let version = self.guard.version();
        if self.known.at(version).is_some_and(AllowedUntil::holds) {
            return Ok(());
        }
        let denied = |_| denied();
        let allowed = self.guard.check_once(self.action, self.place.resource()).map_err(denied)?;
        check_real_path(&self.guard, self.action, &self.handle, &self.place).map_err(denied)?;
        *self.known.at(version) = Some(allowed);
        Ok(())
    }
}

/// Checks an open descriptor's current path against policies; records a refusal.
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
            let unknown = Basis::Never("its current path is unknown");
            Err(guard.refuse(action, resource::Resource::Text(place.path()), unknown))
        }
    }
}

/// Returns the real paths that an operation may reach, links resolved: the path itself, for
/// operations on links, and its target. `None` if these cannot be determined.
fn real_paths(path: &Path) -> Option<Vec<String>> {
    let direct = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => fs::canonicalize(parent).ok()?.join(name),
        _ => path.to_owned(),
    };
    let leads_to = match fs::canonicalize(&direct) {
        Ok(real) => Some(real),
        // A dangling link: creating a file through it would put the file elsewhere.
        Err(_) if fs::symlink_metadata(&direct).is_ok() => return None,
        Err(_) => None,
    };
    [Some(direct), leads_to]
        .into_iter()
        .flatten()
        .map(|path| path.into_os_string().into_string().ok())
        .collect()
}
