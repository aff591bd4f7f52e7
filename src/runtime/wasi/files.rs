//! `wasi:filesystem`: Wasmtime keeps a component within its directories, and each operation is held
//! against what it was granted there.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use crate::runtime::wasi::file_rights::{CHANGE, Files, LOOK, check_real_path, not_permitted};
use crate::runtime::wasi::guarded_streams::GuardedInput;
use crate::runtime::wasi::places::Place;
use crate::security::action::Action;

/// After how many entries that are not shown others get their turn.
const HIDDEN_A_TURN: usize = 64;

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
        let right = self.right(&descriptor, place, Action::FilesystemRead)?;
        let stream = self.inner.read_via_stream(descriptor, offset)?;
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
        let right = self.right(&descriptor, place, Action::FilesystemWrite)?;
        let stream = self.inner.write_via_stream(descriptor, offset)?;
        self.guarded_output(stream, right)
    }

    fn append_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        let right = self.right(&descriptor, place, Action::FilesystemWrite)?;
        let stream = self.inner.append_via_stream(descriptor)?;
        self.guarded_output(stream, right)
    }

    async fn advise(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.check_open(&descriptor, LOOK)?;
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
        let done = self.inner.create_directory_at(descriptor, allowed.path.clone()).await;
        self.recorded(done, &allowed)
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.check_open(&descriptor, LOOK)?;
        let stat = self.inner.stat(descriptor).await?;
        Ok(self.shown(stat))
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let allowed = self.allowed(&descriptor, &path, LOOK)?;
        let flags = allowed.flags(flags);
        let done = self.inner.stat_at(descriptor, flags, allowed.path.clone()).await;
        self.recorded(done.map(|stat| self.shown(stat)), &allowed)
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
        self.check_kind(&descriptor, flags, &allowed).await?;
        let done = self
            .inner
            .set_times_at(descriptor, flags, allowed.path.clone(), accessed, modified)
            .await;
        self.recorded(done, &allowed)
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
        let (mut path_flags, mut actions, mut last) = (path_flags, Vec::new(), None);
        for wanted in wanted {
            let allowed = self.allowed(&descriptor, &path, wanted)?;
            path_flags = allowed.flags(path_flags);
            actions.push(allowed.action);
            last = Some(allowed);
        }
        let allowed = last.ok_or_else(not_permitted)?;
        self.check_kind(&descriptor, path_flags, &allowed).await?;
        let mut open_flags = open_flags;
        if path.ends_with('/') {
            open_flags |= OpenFlags::DIRECTORY;
        }
        let path = allowed.path.clone();
        let opened = self.inner.open_at(descriptor, path_flags, path, open_flags, flags).await;
        let opened = self.recorded(opened, &allowed)?;
        // What was opened may be something else than what was looked at.
        let handle = self.handle(&opened)?;
        for action in actions {
            if check_real_path(self.guard, action, &handle, &allowed.place).is_err() {
                HostDescriptor::drop(&mut self.inner, opened).map_err(FsError::trap)?;
                return Err(not_permitted());
            }
        }
        self.places.enter(opened.rep(), Arc::new(allowed.place));
        Ok(opened)
    }

    async fn readlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<String> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemRead])?;
        let done = self.inner.readlink_at(descriptor, allowed.path.clone()).await;
        self.recorded(done, &allowed)
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemDelete])?;
        let done = self.inner.remove_directory_at(descriptor, allowed.path.clone()).await;
        self.recorded(done, &allowed)
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
        if !from.place.directory().is_same(to.place.directory()) {
            // Other names of the same file may stay behind.
            self.allowed(&descriptor, &old_path, &[Action::FilesystemWrite])?;
        }
        self.check_directory_renamed(&descriptor, &from, &to).await?;
        let (old_path, new_path) = (from.path.clone(), to.path);
        let done = self.inner.rename_at(descriptor, old_path, new_descriptor, new_path).await;
        self.recorded(done, &from)
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
        let done = self.inner.unlink_file_at(descriptor, allowed.path.clone()).await;
        self.recorded(done, &allowed)
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
        let done = self.inner.metadata_hash_at(descriptor, flags, allowed.path.clone()).await;
        self.recorded(done, &allowed)
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
