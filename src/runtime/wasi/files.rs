//! `wasi:filesystem`: Wasmtime keeps a component within its directories, and each operation is held
//! against what it was granted there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use crate::runtime::state::HostState;
use crate::runtime::wasi::guarded_streams::{FileRight, GuardedInput, GuardedOutput};
use crate::runtime::wasi::places::{Outside, Place, Places};
use crate::security::action::Action;
use crate::security::audit::Basis;
use crate::security::directory::Directory;
use crate::security::guard::Guard;
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
const LOOK: &[Action] = &[
    Action::FilesystemRead,
    Action::FilesystemListDir,
    Action::FilesystemWrite,
    Action::FilesystemDelete,
];
const CHANGE: &[Action] = &[Action::FilesystemWrite, Action::FilesystemDelete];

/// The longest path that is looked at, that of Linux.
const MAX_PATH_BYTES: usize = 4096;

/// After how many entries that are not shown others get their turn.
const HIDDEN_A_TURN: usize = 64;

/// A path that something may be done with.
struct Allowed {
    place: Place,
    /// Relative to its descriptor, without detours.
    path: String,
    /// Whether links may be followed: where single names are granted, they could lead to others.
    follows_links: bool,
}

impl Files<'_> {
    fn place(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<Place>> {
        let place = self.places.of(descriptor.rep());
        place.cloned().ok_or_else(|| ErrorCode::BadDescriptor.into())
    }

    /// A path that one of `actions` may be done with.
    fn allowed(
        &self,
        descriptor: &Resource<Descriptor>,
        path: &str,
        actions: &[Action],
    ) -> FsResult<Allowed> {
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
            match real_path(&base.reachable().join(&path)) {
                Some(real) => self.check_policies(action, &real)?,
                None => {
                    let unknown = Basis::Never("where its path leads is not known");
                    return Err(self.refuse(action, place.path(), unknown));
                }
            }
        }
        Ok(Allowed { place, path, follows_links })
    }

    /// Decides by the first of `actions` that is allowed, which is returned.
    fn check(&self, actions: &[Action], place: &Place) -> FsResult<Action> {
        let resource = place.resource();
        let allowed = |action: &&Action| self.guard.decide(**action, resource).allowed;
        let action = actions.iter().find(allowed).copied().unwrap_or(first(actions));
        match self.guard.check_once(action, resource) {
            Ok(_) => Ok(action),
            Err(_) => Err(not_permitted()),
        }
    }

    fn check_policies(&self, action: Action, path: &str) -> FsResult<()> {
        self.guard.check_policies(action, path).map_err(|_| not_permitted())
    }

    /// Whether one of `actions` may be done with what is open.
    fn check_open(
        &self,
        descriptor: &Resource<Descriptor>,
        actions: &[Action],
    ) -> FsResult<Arc<Place>> {
        let place = self.place(descriptor)?;
        let action = self.check(actions, &place)?;
        if let Some(real) = place.real() {
            self.check_policies(action, real)?;
        }
        Ok(place)
    }

    fn refuse(&self, action: Action, path: &str, basis: Basis) -> FsError {
        self.guard.refuse(action, resource::Resource::Text(path), basis);
        not_permitted()
    }

    /// Links are not made: a link in a directory that others read too could lead them astray.
    fn refuse_link(&self, descriptor: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        let base = self.place(descriptor)?;
        let never = Basis::Never("components make no links");
        Err(self.refuse(Action::FilesystemWrite, &format!("{}/{path}", base.path()), never))
    }

    /// What is opened must be a file or a directory: another kind may hold a thread of the host for
    /// as long as nobody is at its other end.
    async fn check_kind(
        &mut self,
        descriptor: &Resource<Descriptor>,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<()> {
        let descriptor = Resource::new_borrow(descriptor.rep());
        match self.inner.stat_at(descriptor, flags, path.to_owned()).await {
            Ok(stat) => match stat.type_ {
                DescriptorType::RegularFile
                | DescriptorType::Directory
                | DescriptorType::SymbolicLink => Ok(()),
                _ => Err(not_permitted()),
            },
            // To be made, or to fail when it is opened.
            Err(_) => Ok(()),
        }
    }

    /// A directory takes all that is in it along, so all of that must be allowed, at both ends.
    async fn check_directory_renamed(
        &mut self,
        descriptor: &Resource<Descriptor>,
        from: &Allowed,
        to: &Allowed,
    ) -> FsResult<bool> {
        let descriptor = Resource::new_borrow(descriptor.rep());
        let stat = self.inner.stat_at(descriptor, PathFlags::empty(), from.path.clone()).await?;
        if stat.type_ == DescriptorType::RegularFile {
            return Ok(false);
        }
        let trees = [
            (Action::FilesystemRead, from),
            (Action::FilesystemDelete, from),
            (Action::FilesystemWrite, to),
            (Action::FilesystemDelete, to),
        ];
        for (action, end) in trees {
            let whole = self.guard.grants_tree(action, end.place.directory());
            if !whole || self.guard.policies_may_deny(action) {
                let part = Basis::Never("not all that is in the directory may be moved");
                return Err(self.refuse(action, end.place.path(), part));
            }
        }
        Ok(true)
    }

    fn right(&self, place: &Arc<Place>, action: Action) -> FileRight {
        FileRight::new(Arc::clone(self.guard), Arc::clone(place), action)
    }

    fn guarded_output(
        &mut self,
        stream: Resource<DynOutputStream>,
        place: &Arc<Place>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let right = self.right(place, Action::FilesystemWrite);
        let inner = self.inner.table.delete(stream)?;
        let guarded: DynOutputStream = Box::new(GuardedOutput { inner, right });
        Ok(self.inner.table.push(guarded)?)
    }
}

impl Allowed {
    fn flags(&self, flags: PathFlags) -> PathFlags {
        if self.follows_links { flags } else { flags & !PathFlags::SYMLINK_FOLLOW }
    }
}

fn first(actions: &[Action]) -> Action {
    actions.first().copied().unwrap_or(Action::FilesystemRead)
}

fn not_permitted() -> FsError {
    ErrorCode::NotPermitted.into()
}

/// The path of the host without links; of what does not exist yet, by the directory it would be in.
fn real_path(path: &Path) -> Option<String> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        // A link to nothing: what is made through it would be elsewhere.
        Err(_) if fs::symlink_metadata(path).is_ok() => return None,
        Err(_) => fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?),
    };
    real.into_os_string().into_string().ok()
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories = preopens::Host::get_directories(&mut self.inner)?;
        for ((descriptor, _), root) in directories.iter().zip(self.roots) {
            let place = Arc::new(Place::root(Arc::clone(root)));
            self.places.enter(descriptor.rep(), place);
        }
        Ok(directories)
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.inner.convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.inner.filesystem_error_code(error)
    }
}

impl HostDescriptor for Files<'_> {
    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemRead])?;
        let stream = self.inner.read_via_stream(descriptor, offset)?;
        let right = self.right(&place, Action::FilesystemRead);
        let inner = self.inner.table.delete(stream)?;
        let guarded: DynInputStream = Box::new(GuardedInput { inner, right });
        Ok(self.inner.table.push(guarded)?)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        let stream = self.inner.write_via_stream(descriptor, offset)?;
        self.guarded_output(stream, &place)
    }

    fn append_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        let stream = self.inner.append_via_stream(descriptor)?;
        self.guarded_output(stream, &place)
    }

    async fn advise(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.inner.advise(descriptor, offset, length, advice).await
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.sync_data(descriptor).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.inner.get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.inner.get_type(descriptor).await
    }

    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.set_size(descriptor, size).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.set_times(descriptor, accessed, modified).await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.check_open(&descriptor, &[Action::FilesystemRead])?;
        self.inner.read(descriptor, length, offset).await
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.write(descriptor, bytes, offset).await
    }

    async fn read_directory(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemListDir])?;
        let stream = self.inner.read_directory(descriptor).await?;
        self.places.enter(stream.rep(), place);
        Ok(stream)
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.sync(descriptor).await
    }

    async fn create_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemWrite])?;
        self.inner.create_directory_at(descriptor, allowed.path).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.check_open(&descriptor, LOOK)?;
        self.inner.stat(descriptor).await
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let allowed = self.allowed(&descriptor, &path, LOOK)?;
        let flags = allowed.flags(flags);
        self.inner.stat_at(descriptor, flags, allowed.path).await
    }

    async fn set_times_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemWrite])?;
        let flags = allowed.flags(flags);
        self.inner.set_times_at(descriptor, flags, allowed.path, accessed, modified).await
    }

    async fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        self.refuse_link(&new_descriptor, &new_path)
    }

    async fn open_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let creates = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        let writes = flags.contains(DescriptorFlags::WRITE) || open_flags.intersects(creates);
        let directory = open_flags.contains(OpenFlags::DIRECTORY);
        let mut wanted = vec![];
        if writes {
            wanted.push(&[Action::FilesystemWrite][..]);
        }
        if flags.contains(DescriptorFlags::MUTATE_DIRECTORY) {
            wanted.push(CHANGE);
        }
        if flags.contains(DescriptorFlags::READ) && !directory {
            wanted.push(&[Action::FilesystemRead]);
        }
        if wanted.is_empty() {
            wanted.push(LOOK);
        }
        let (mut path_flags, mut last) = (path_flags, None);
        for actions in wanted {
            let allowed = self.allowed(&descriptor, &path, actions)?;
            path_flags = allowed.flags(path_flags);
            last = Some(allowed);
        }
        let allowed = last.ok_or_else(not_permitted)?;
        self.check_kind(&descriptor, path_flags, &allowed.path).await?;
        let named = self.place(&descriptor)?.reachable().join(&allowed.path);
        let opened =
            self.inner.open_at(descriptor, path_flags, allowed.path, open_flags, flags).await?;
        let place = allowed.place.opened(real_path(&named));
        self.places.enter(opened.rep(), Arc::new(place));
        Ok(opened)
    }

    async fn readlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<String> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemRead])?;
        self.inner.readlink_at(descriptor, allowed.path).await
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemDelete])?;
        self.inner.remove_directory_at(descriptor, allowed.path).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        old_path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        // It goes from one place, and may take the place of what is at the other.
        self.allowed(&descriptor, &old_path, &[Action::FilesystemRead])?;
        let from = self.allowed(&descriptor, &old_path, &[Action::FilesystemDelete])?;
        self.allowed(&new_descriptor, &new_path, &[Action::FilesystemWrite])?;
        let to = self.allowed(&new_descriptor, &new_path, &[Action::FilesystemDelete])?;
        let directory = self.check_directory_renamed(&descriptor, &from, &to).await?;
        let (from_path, to_path) = (from.path.clone(), to.path.clone());
        self.inner.rename_at(descriptor, from_path, new_descriptor, to_path).await?;
        if directory {
            self.places.forget(&from.place);
            self.places.forget(&to.place);
        }
        Ok(())
    }

    async fn symlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        _: String,
        new_path: String,
    ) -> FsResult<()> {
        self.refuse_link(&descriptor, &new_path)
    }

    async fn unlink_file_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemDelete])?;
        self.inner.unlink_file_at(descriptor, allowed.path).await
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.inner.is_same_object(a, b).await
    }

    async fn metadata_hash(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<MetadataHashValue> {
        self.check_open(&descriptor, LOOK)?;
        self.inner.metadata_hash(descriptor).await
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let allowed = self.allowed(&descriptor, &path, LOOK)?;
        let flags = allowed.flags(flags);
        self.inner.metadata_hash_at(descriptor, flags, allowed.path).await
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.places.leave(descriptor.rep());
        HostDescriptor::drop(&mut self.inner, descriptor)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let Some(place) = self.places.of(stream.rep()).cloned() else {
            return Err(ErrorCode::BadDescriptor.into());
        };
        self.check(&[Action::FilesystemListDir], &place)?;
        let mut hidden = 0_usize;
        loop {
            let stream = Resource::new_borrow(stream.rep());
            let Some(entry) = self.inner.read_directory_entry(stream).await? else {
                return Ok(None);
            };
            // Of a directory of which single names are granted, the others are not seen.
            if let Ok((at, _)) = place.join(&entry.name)
                && LOOK.iter().any(|action| self.guard.decide(*action, at.resource()).allowed)
            {
                return Ok(Some(entry));
            }
            hidden += 1;
            if hidden.is_multiple_of(HIDDEN_A_TURN) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.places.leave(stream.rep());
        HostDirectoryEntryStream::drop(&mut self.inner, stream)
    }
}
