//! Directory listings, one page at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use nix::dir::{Dir, Entry, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use crate::core::account::Charge;
use crate::runtime::threads::job::NotRun;
use crate::runtime::wasi::blocking::{BlockingJobs, Waits};
use crate::runtime::wasi::descriptor_table::Place;

/// Entries read per job.
const PAGE: usize = 96;

/// Memory of a listing: a page of the longest names, and the system's buffer.
pub const LISTING_BYTES: u64 = 64 << 10;

/// A listing. Concurrently added or removed names may or may not appear.
pub struct Listing {
    place: Arc<Place>,
    directory: Arc<File>,
    page: VecDeque<Result<DirectoryEntry, ErrorCode>>,
    rest: Rest,
    _charge: Charge,
}

/// The unread rest.
enum Rest {
    All,
    From(Reader),
    Nothing,
}

type Page = VecDeque<Result<DirectoryEntry, ErrorCode>>;

impl Listing {
    /// Creates a listing of an open directory without reading it. `charge` covers
    /// [`LISTING_BYTES`].
    pub fn new(place: Arc<Place>, directory: Arc<File>, charge: Charge) -> Self {
        Self { place, directory, page: Page::new(), rest: Rest::All, _charge: charge }
    }

    /// Returns the place of the directory.
    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Returns the next entry, or an error for an entry that cannot be described.
    pub async fn next(&mut self, jobs: &BlockingJobs) -> FsResult<Option<DirectoryEntry>> {
        if self.page.is_empty() {
            self.turn(jobs).await?;
        }
        Ok(self.page.pop_front().transpose()?)
    }

    /// Reads a page. A listing abandoned in the meantime ends.
    async fn turn(&mut self, jobs: &BlockingJobs) -> FsResult<()> {
        let rest = std::mem::replace(&mut self.rest, Rest::Nothing);
        if matches!(rest, Rest::Nothing) {
            return Ok(());
        }
        let no_thread = |_: NotRun| ErrorCode::InsufficientMemory;
        let slot = jobs.slot(Waits::Files).await.map_err(no_thread)?;
        let directory = Arc::clone(&self.directory);
        let running = slot.run(move || read_page(rest, &directory)).map_err(no_thread)?;
        let (page, rest) = running.await.map_err(no_thread)??;
        (self.page, self.rest) = (page, rest);
        Ok(())
    }
}

fn read_page(rest: Rest, directory: &File) -> std::io::Result<(Page, Rest)> {
    let mut reader = match rest {
        Rest::All => Reader::open(directory)?,
        Rest::From(reader) => reader,
        Rest::Nothing => return Ok((Page::new(), Rest::Nothing)),
    };
    let mut page = Page::with_capacity(PAGE);
    while page.len() < PAGE {
        match reader.next(directory)? {
            Some(entry) => page.push_back(entry),
            None => return Ok((page, Rest::Nothing)),
        }
    }
    Ok((page, Rest::From(reader)))
}

struct Reader(OwningIter);

impl Reader {
    /// Opens the directory again, for a position of its own.
    fn open(directory: &File) -> std::io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(Dir::openat(directory, ".", flags, Mode::empty())?.into_iter()))
    }

    fn next(
        &mut self,
        directory: &File,
    ) -> std::io::Result<Option<Result<DirectoryEntry, ErrorCode>>> {
        for entry in self.0.by_ref() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let told = match std::str::from_utf8(name) {
                Ok(name) => kind(directory, &entry)?.map(|type_| {
                    let name = name.to_owned();
                    Ok(DirectoryEntry { type_, name })
                }),
                Err(_) => Some(Err(ErrorCode::IllegalByteSequence)),
            };
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }
}

/// Returns the type of an entry; `None` if it is gone.
fn kind(directory: &File, entry: &Entry) -> std::io::Result<Option<DescriptorType>> {
    Ok(Some(match entry.file_type() {
        Some(Type::Directory) => DescriptorType::Directory,
        Some(Type::File) => DescriptorType::RegularFile,
        Some(Type::Symlink) => DescriptorType::SymbolicLink,
        Some(Type::CharacterDevice) => DescriptorType::CharacterDevice,
        Some(Type::BlockDevice) => DescriptorType::BlockDevice,
        Some(Type::Fifo | Type::Socket) => DescriptorType::Unknown,
        // Not all file systems report the type.
        None => match fstatat(directory, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => kind_of_mode(SFlag::from_bits_truncate(stat.st_mode)),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    }))
}

fn kind_of_mode(mode: SFlag) -> DescriptorType {
    match mode & SFlag::S_IFMT {
        SFlag::S_IFDIR => DescriptorType::Directory,
        SFlag::S_IFREG => DescriptorType::RegularFile,
        SFlag::S_IFLNK => DescriptorType::SymbolicLink,
        SFlag::S_IFCHR => DescriptorType::CharacterDevice,
        SFlag::S_IFBLK => DescriptorType::BlockDevice,
        _ => DescriptorType::Unknown,
    }
}
