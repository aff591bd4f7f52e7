//! `wasi:filesystem`: Wasmtime keeps a component within its directories, and each operation is held
//! against what it was granted there.

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

impl Files<'_> {
    fn place(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<Place>> {
        let place = self.places.of(descriptor.rep());
        place.cloned().ok_or_else(|| ErrorCode::BadDescriptor.into())
    }

    /// The place of a path that one of `actions` may be done with.
    fn place_at(
        &self,
        descriptor: &Resource<Descriptor>,
        path: &str,
        actions: &[Action],
    ) -> FsResult<Place> {
        let base = self.place(descriptor)?;
        let joined = base.join(path).map_err(|Outside| {
            let path = format!("{}/{path}", base.root.path(&base.inside));
            let outside = Basis::Never("outside of the granted directory");
            self.guard.refuse(first(actions), resource::Resource::Text(&path), outside);
            not_permitted()
        })?;
        self.check(actions, &joined)?;
        self.check_real_path(actions, &joined, &base, path)?;
        Ok(joined)
    }

    /// Decides by the first of `actions` that is allowed.
    fn check(&self, actions: &[Action], place: &Place) -> FsResult<()> {
        let resource = resource::Resource::File { root: &place.root, inside: &place.inside };
        let allowed = |action: &&Action| self.guard.decide(**action, resource).allowed;
        let action = actions.iter().find(allowed).copied().unwrap_or(first(actions));
        self.guard.check_once(action, resource).map(drop).map_err(|_| not_permitted())
    }

    /// A policy about a part of a directory holds whatever links lead there.
    fn check_real_path(
        &self,
        actions: &[Action],
        joined: &Place,
        base: &Place,
        path: &str,
    ) -> FsResult<()> {
        let action = first(actions);
        if !self.guard.policies_may_deny(action) {
            return Ok(());
        }
        let named = joined.root.reachable().join(&base.inside).join(path);
        match real_path(&named) {
            Some(real) => self.guard.check_policies(action, &real).map_err(|_| not_permitted()),
            // There is nothing, or nothing that could be reached.
            None => Ok(()),
        }
    }

    fn check_descriptor(
        &self,
        descriptor: &Resource<Descriptor>,
        actions: &[Action],
    ) -> FsResult<Arc<Place>> {
        let place = self.place(descriptor)?;
        self.check(actions, &place)?;
        Ok(place)
    }

    /// Links are not made: a link in a directory that others read too could lead them astray.
    fn refuse_link(&self, descriptor: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        let base = self.place(descriptor)?;
        let path = format!("{}/{path}", base.root.path(&base.inside));
        let never = Basis::Never("components make no links");
        self.guard.refuse(Action::FilesystemWrite, resource::Resource::Text(&path), never);
        Err(not_permitted())
    }

    /// The flags for a path that one of `actions` may be done with. Where single names are granted
    /// for that, links are not followed: they could lead to others.
    fn path_flags(
        &self,
        flags: PathFlags,
        place: &Place,
        path: &str,
        actions: &[Action],
    ) -> FsResult<PathFlags> {
        if actions.iter().any(|action| self.guard.grants_tree(*action, &place.root)) {
            return Ok(flags);
        }
        if path.split('/').filter(|name| !matches!(*name, "" | ".")).count() > 1 {
            return Err(not_permitted());
        }
        Ok(flags & !PathFlags::SYMLINK_FOLLOW)
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

fn first(actions: &[Action]) -> Action {
    actions.first().copied().unwrap_or(Action::FilesystemRead)
}

fn not_permitted() -> FsError {
    ErrorCode::NotPermitted.into()
}

/// The path of the host without links; of what does not exist yet, by the directory it is in.
fn real_path(path: &Path) -> Option<String> {
    let real = std::fs::canonicalize(path).ok().or_else(|| {
        let parent = std::fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    });
    real?.into_os_string().into_string().ok()
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let directories = preopens::Host::get_directories(&mut self.inner)?;
        for ((descriptor, _), root) in directories.iter().zip(self.roots) {
            let place = Place { root: Arc::clone(root), inside: String::new() };
            self.places.enter(descriptor.rep(), Arc::new(place));
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
        let place = self.check_descriptor(&descriptor, &[Action::FilesystemRead])?;
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
        let place = self.check_descriptor(&descriptor, &[Action::FilesystemWrite])?;
        let stream = self.inner.write_via_stream(descriptor, offset)?;
        self.guarded_output(stream, &place)
    }

    fn append_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let place = self.check_descriptor(&descriptor, &[Action::FilesystemWrite])?;
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
        self.check_descriptor(&descriptor, LOOK)?;
        self.inner.sync_data(descriptor).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.inner.get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.inner.get_type(descriptor).await
    }

    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.check_descriptor(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.set_size(descriptor, size).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.check_descriptor(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.set_times(descriptor, accessed, modified).await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.check_descriptor(&descriptor, &[Action::FilesystemRead])?;
        self.inner.read(descriptor, length, offset).await
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        self.check_descriptor(&descriptor, &[Action::FilesystemWrite])?;
        self.inner.write(descriptor, bytes, offset).await
    }

    async fn read_directory(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let place = self.check_descriptor(&descriptor, &[Action::FilesystemListDir])?;
        let stream = self.inner.read_directory(descriptor).await?;
        self.places.enter(stream.rep(), place);
        Ok(stream)
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.check_descriptor(&descriptor, LOOK)?;
        self.inner.sync(descriptor).await
    }

    async fn create_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let place = self.place_at(&descriptor, &path, &[Action::FilesystemWrite])?;
        self.path_flags(PathFlags::empty(), &place, &path, &[Action::FilesystemWrite])?;
        self.inner.create_directory_at(descriptor, path).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.check_descriptor(&descriptor, LOOK)?;
        self.inner.stat(descriptor).await
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let place = self.place_at(&descriptor, &path, LOOK)?;
        let flags = self.path_flags(flags, &place, &path, LOOK)?;
        self.inner.stat_at(descriptor, flags, path).await
    }

    async fn set_times_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let place = self.place_at(&descriptor, &path, &[Action::FilesystemWrite])?;
        let flags = self.path_flags(flags, &place, &path, &[Action::FilesystemWrite])?;
        self.inner.set_times_at(descriptor, flags, path, accessed, modified).await
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
        let (mut path_flags, mut place) = (path_flags, self.place(&descriptor)?.join(&path).ok());
        for actions in wanted {
            let allowed = self.place_at(&descriptor, &path, actions)?;
            path_flags = self.path_flags(path_flags, &allowed, &path, actions)?;
            place = Some(allowed);
        }
        let place = place.ok_or_else(not_permitted)?;
        let opened = self.inner.open_at(descriptor, path_flags, path, open_flags, flags).await?;
        self.places.enter(opened.rep(), Arc::new(place));
        Ok(opened)
    }

    async fn readlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<String> {
        let place = self.place_at(&descriptor, &path, &[Action::FilesystemRead])?;
        self.path_flags(PathFlags::empty(), &place, &path, &[Action::FilesystemRead])?;
        self.inner.readlink_at(descriptor, path).await
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let place = self.place_at(&descriptor, &path, &[Action::FilesystemDelete])?;
        self.path_flags(PathFlags::empty(), &place, &path, &[Action::FilesystemDelete])?;
        self.inner.remove_directory_at(descriptor, path).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        old_path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        // It goes from one place, and may take the place of what is at the other.
        for action in [Action::FilesystemRead, Action::FilesystemDelete] {
            let place = self.place_at(&descriptor, &old_path, &[action])?;
            self.path_flags(PathFlags::empty(), &place, &old_path, &[action])?;
        }
        for action in [Action::FilesystemWrite, Action::FilesystemDelete] {
            let place = self.place_at(&new_descriptor, &new_path, &[action])?;
            self.path_flags(PathFlags::empty(), &place, &new_path, &[action])?;
        }
        self.inner.rename_at(descriptor, old_path, new_descriptor, new_path).await
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
        let place = self.place_at(&descriptor, &path, &[Action::FilesystemDelete])?;
        self.path_flags(PathFlags::empty(), &place, &path, &[Action::FilesystemDelete])?;
        self.inner.unlink_file_at(descriptor, path).await
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
        self.check_descriptor(&descriptor, LOOK)?;
        self.inner.metadata_hash(descriptor).await
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let place = self.place_at(&descriptor, &path, LOOK)?;
        let flags = self.path_flags(flags, &place, &path, LOOK)?;
        self.inner.metadata_hash_at(descriptor, flags, path).await
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
        loop {
            let stream = Resource::new_borrow(stream.rep());
            let Some(entry) = self.inner.read_directory_entry(stream).await? else {
                return Ok(None);
            };
            // Of a directory of which single names are granted, the others are not seen.
            let Ok(at) = place.join(&entry.name) else { continue };
            let file = resource::Resource::File { root: &at.root, inside: &at.inside };
            if LOOK.iter().any(|action| self.guard.decide(*action, file).allowed) {
                return Ok(Some(entry));
            }
        }
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.places.leave(stream.rep());
        HostDirectoryEntryStream::drop(&mut self.inner, stream)
    }
}
