//! `wasi:filesystem`: Wasmtime confines a component to its directories; every operation is checked
//! against the grants on them.

use std::io;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use crate::runtime::wasi::descriptor_table::Place;
use crate::runtime::wasi::desk::{Desk, now};
use crate::runtime::wasi::file_rights::{
    CHANGE, Files, LOOK, LOOK_IN, check_real_path, not_permitted,
};
use crate::runtime::wasi::file_streams::{FileInput, PIECE};
use crate::runtime::wasi::guarded_streams::GuardedInput;
use crate::runtime::wasi::listing::{LISTING_BYTES, Listing};
use crate::runtime::wasi::opening::{Found, Opening};
use crate::runtime::wasi::preopens::Preopen;
use crate::runtime::wasi::root::{self, Root};
use crate::security::action::Action;

/// The number of hidden entries skipped per turn.
const HIDDEN_A_TURN: usize = 64;

/// The most bytes that `write` accepts at once.
pub const MAX_WRITE_BYTES: usize = 1 << 20;

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = Vec::new();
        let roots = self.roots.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        for Preopen { directory, dir } in roots {
            let place = Place::root(Arc::clone(directory));
            let descriptor = self.track(place, Descriptor::Dir(dir.clone()))?;
            directories.push((descriptor, directory.guest().to_owned()));
        }
        if !roots.iter().any(|root| root::is_taken_by(&root.directory)) {
            let descriptor = self.inner.table.push(Root)?.rep();
            self.descriptors.insert_root(descriptor);
            directories.push((Resource::new_own(descriptor), root::PATH.to_owned()));
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
        let inner = Box::new(FileInput::new(inner, self.means.clone()));
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
        self.on(&descriptor, async move |view, at| view.advise(at, offset, length, advice).await)
            .await
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.on(&descriptor, async move |view, at| view.sync_data(at).await).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        if self.descriptors.is_root(descriptor.rep()) {
            return Ok(root::FLAGS);
        }
        // Answered from the open flags, without asking the file system.
        self.inner.get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        if self.descriptors.is_root(descriptor.rep()) {
            return Ok(DescriptorType::Directory);
        }
        self.on(&descriptor, async move |view, at| view.get_type(at).await).await
    }

    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.on(&descriptor, async move |view, at| view.set_size(at, size).await).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.on(&descriptor, async move |view, at| view.set_times(at, accessed, modified).await)
            .await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.check_open(&descriptor, &[Action::FilesystemRead])?;
        // Wasmtime reads at most one piece.
        let length = length.min(PIECE as u64);
        // Charged until the job ends, even if abandoned.
        let charge = self.charge(length)?;
        let read = async move |view: &mut WasiFilesystemCtxView<'_>, at| {
            Ok((view.read(at, length, offset).await?, charge))
        };
        let (read, _charge) = self.on(&descriptor, read).await?;
        Ok(read)
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        mut bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        bytes.truncate(MAX_WRITE_BYTES);
        let charge = self.charge(bytes.len() as u64)?;
        let write = async move |view: &mut WasiFilesystemCtxView<'_>, at| {
            let _charge = charge;
            view.write(at, bytes, offset).await
        };
        self.on(&descriptor, write).await
    }

    async fn read_directory(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<DirectoryEntryStream>> {
        let place = self.check_open(&descriptor, &[Action::FilesystemListDir])?;
        let Descriptor::Dir(directory) = self.opened(&descriptor)? else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let charge = self.charge(LISTING_BYTES + place.bytes())?;
        let listing = self.inner.table.push(Listing::new(place, directory.dir, charge))?;
        Ok(Resource::new_own(listing.rep()))
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.check_open(&descriptor, &[Action::FilesystemWrite])?;
        self.on(&descriptor, async move |view, at| view.sync(at).await).await
    }

    async fn create_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemWrite]).await?;
        let path = allowed.path.clone();
        let done = self
            .on(&descriptor, async move |view, at| view.create_directory_at(at, path).await)
            .await;
        self.recorded(done, &allowed)
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        if self.descriptors.is_root(descriptor.rep()) {
            return Ok(root::STAT);
        }
        self.check_open(&descriptor, LOOK)?;
        let stat = self.on(&descriptor, async move |view, at| view.stat(at).await).await?;
        Ok(self.shown(stat))
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let allowed = self.allowed(&descriptor, &path, LOOK).await?;
        let flags = allowed.flags(flags);
        let path = allowed.path.clone();
        let done =
            self.on(&descriptor, async move |view, at| view.stat_at(at, flags, path).await).await;
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
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemWrite]).await?;
        let flags = allowed.flags(flags);
        let (at, path) = (self.opened(&descriptor)?, allowed.path.clone());
        // Wasmtime opens the file for this.
        let opening = Opening { path, path_flags: flags, ..Opening::default() };
        let done = self
            .on_thread(move |desk| {
                if let Some(special) = opening.special(desk, at.clone())? {
                    return Ok(Err(special));
                }
                let at = desk.lay(at)?;
                let path = opening.path;
                Ok(Ok(now(desk.view().set_times_at(at, flags, path, accessed, modified))?))
            })
            .await;
        self.recorded(done, &allowed)?.map_err(|special| self.refuse_special(special, &allowed))
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
            wanted.push(if directory { LOOK_IN } else { LOOK });
        }
        let (mut path_flags, mut actions, mut last) = (path_flags, Vec::new(), None);
        for wanted in wanted {
            let allowed = self.allowed(&descriptor, &path, wanted).await?;
            path_flags = allowed.flags(path_flags);
            actions.push(allowed.action);
            last = Some(allowed);
        }
        let allowed = last.ok_or_else(not_permitted)?;
        let mut open_flags = open_flags;
        if path.ends_with('/') {
            open_flags |= OpenFlags::DIRECTORY;
        }
        let opening = Opening { path: allowed.path.clone(), path_flags, open_flags, flags };
        let at = self.opened(&descriptor)?;
        let found = self.on_thread(move |desk| opening.open(desk, at)).await;
        let opened = match self.recorded(found, &allowed)? {
            Found::Opened(opened) => opened,
            Found::Special(special) => return Err(self.refuse_special(special, &allowed)),
        };
        // A different file may have been opened than the one checked.
        let handle = match &opened {
            Descriptor::File(file) => &file.file,
            Descriptor::Dir(directory) => &directory.dir,
        };
        for action in actions {
            check_real_path(self.guard, action, handle, &allowed.place)
                .map_err(|_| not_permitted())?;
        }
        self.track(allowed.place, opened)
    }

    async fn readlink_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<String> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemRead]).await?;
        let path = allowed.path.clone();
        let done =
            self.on(&descriptor, async move |view, at| view.readlink_at(at, path).await).await;
        self.recorded(done, &allowed)
    }

    async fn remove_directory_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemDelete]).await?;
        let path = allowed.path.clone();
        let done = self
            .on(&descriptor, async move |view, at| view.remove_directory_at(at, path).await)
            .await;
        self.recorded(done, &allowed)
    }

    async fn rename_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        old_path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        // It disappears from one path and may replace something at the other.
        self.allowed(&descriptor, &old_path, &[Action::FilesystemRead]).await?;
        let from = self.allowed(&descriptor, &old_path, &[Action::FilesystemDelete]).await?;
        self.allowed(&new_descriptor, &new_path, &[Action::FilesystemWrite]).await?;
        let to = self.allowed(&new_descriptor, &new_path, &[Action::FilesystemDelete]).await?;
        if !from.place.directory().is_same(to.place.directory()) {
            // Other names of the same file may stay behind.
            self.allowed(&descriptor, &old_path, &[Action::FilesystemWrite]).await?;
        }
        self.check_directory_renamed(&descriptor, &from, &to).await?;
        let (old_path, new_path) = (from.path.clone(), to.path);
        let (old, new) = (self.opened(&descriptor)?, self.opened(&new_descriptor)?);
        let job = move |desk: &mut Desk| {
            let (old, new) = (desk.lay(old)?, desk.lay(new)?);
            now(desk.view().rename_at(old, old_path, new, new_path))
        };
        let done = self.on_thread(job).await;
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
        let allowed = self.allowed(&descriptor, &path, &[Action::FilesystemDelete]).await?;
        let path = allowed.path.clone();
        let done =
            self.on(&descriptor, async move |view, at| view.unlink_file_at(at, path).await).await;
        self.recorded(done, &allowed)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let roots = [&a, &b].map(|descriptor| self.descriptors.is_root(descriptor.rep()));
        if roots.contains(&true) {
            return Ok(roots == [true, true]);
        }
        let (a, b) = (self.opened(&a)?, self.opened(&b)?);
        let job = move |desk: &mut Desk| {
            let (a, b) = (desk.lay(a)?, desk.lay(b)?);
            now(desk.view().is_same_object(a, b)).map_err(FsError::trap)
        };
        Ok(self.on_thread(job).await?)
    }

    async fn metadata_hash(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<MetadataHashValue> {
        if self.descriptors.is_root(descriptor.rep()) {
            return Ok(root::HASH);
        }
        self.check_open(&descriptor, LOOK)?;
        self.on(&descriptor, async move |view, at| view.metadata_hash(at).await).await
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let allowed = self.allowed(&descriptor, &path, LOOK).await?;
        let flags = allowed.flags(flags);
        let path = allowed.path.clone();
        let done = self
            .on(&descriptor, async move |view, at| view.metadata_hash_at(at, flags, path).await)
            .await;
        self.recorded(done, &allowed)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        let root = self.descriptors.is_root(descriptor.rep());
        if root {
            self.inner.table.delete(Resource::<Root>::new_own(descriptor.rep()))?;
        } else {
            HostDescriptor::drop(&mut self.inner, Resource::new_own(descriptor.rep()))?;
        }
        self.descriptors.remove(descriptor.rep());
        Ok(())
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listing = Resource::<Listing>::new_borrow(stream.rep());
        let place = Arc::clone(self.inner.table.get(&listing)?.place());
        self.check(&[Action::FilesystemListDir], &place)?;
        let listing = self.inner.table.get_mut(&listing)?;
        let mut hidden = 0_usize;
        loop {
            let Some(entry) = listing.next(&self.means.jobs).await? else {
                return Ok(None);
            };
            // In a directory with granted names, other names are hidden.
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
        self.inner.table.delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}
