//! Direct calls of `wasi:filesystem`, with paths and flags that the standard library would not pass
//! on. A number names a directory or file: first the preopened directories, then what `raw-open`
//! opened, in order. `root` is the directory in which everything not granted is looked up.

use std::cell::{Cell, RefCell};

use guest_kit::{Args, Reply, WasmError, text};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, DirectoryEntryStream, ErrorCode,
    NewTimestamp, OpenFlags, PathFlags,
};
use wasip2::io::streams::OutputStream;

use crate::failure::{Failure, done, keep, show};

pub const COMMANDS: &[&str] = &[
    "preopens",
    "raw-open",
    "raw-read",
    "raw-write",
    "raw-resize",
    "raw-list",
    "raw-stat",
    "raw-stat-at",
    "raw-dated",
    "raw-dated-at",
    "raw-times-at",
    "raw-times",
    "raw-hash",
    "raw-hash-at",
    "raw-sync",
    "raw-advise",
    "raw-delete",
    "raw-mkdir",
    "raw-rmdir",
    "raw-rename",
    "raw-link",
    "raw-symlink",
    "raw-read-link",
    "open-many",
    "list-many",
    "list-hold",
    "long-path",
    "write-large",
    "stream-hold",
    "stream-write",
];

/// The size of a read of `raw-read`.
const PIECE: u64 = 64 << 10;

thread_local! {
    static OPEN: RefCell<Vec<Descriptor>> = const { RefCell::new(Vec::new()) };
    static ROOT: Cell<Option<&'static Descriptor>> = const { Cell::new(None) };
    static FLOOD: RefCell<Vec<Descriptor>> = const { RefCell::new(Vec::new()) };
    static LISTINGS: RefCell<Vec<DirectoryEntryStream>> = const { RefCell::new(Vec::new()) };
    static STREAM: RefCell<Option<OutputStream>> = const { RefCell::new(None) };
}

pub fn handle(command: &str, args: Args<'_>) -> Reply {
    with_open(|open| act(command, args, open))
}

/// Open descriptors, by number.
pub fn with_open(act: impl FnOnce(&mut Vec<Descriptor>) -> Reply) -> Reply {
    OPEN.with_borrow_mut(|open| {
        if open.is_empty() {
            for (directory, path) in preopens::get_directories() {
                match &*path {
                    "/" => ROOT.set(Some(Box::leak(Box::new(directory)))),
                    _ => open.push(directory),
                }
            }
        }
        act(open)
    })
}

fn act(command: &str, mut args: Args<'_>, open: &mut Vec<Descriptor>) -> Reply {
    match command {
        "preopens" => list_preopens(),
        "raw-open" => {
            let (directory, path, flags) = (pick(open, &mut args)?, args.hex()?, args.word()?);
            let (lookup, how, rights) = flags_of(flags)?;
            show(directory.open_at(lookup, &path, how, rights), |descriptor| {
                open.push(descriptor);
                (open.len() - 1).to_string()
            })
        }
        "raw-read" => show(read(pick(open, &mut args)?), |content| content),
        "raw-write" => {
            show(pick(open, &mut args)?.write(args.rest(), 0), |written| written.to_string())
        }
        "raw-resize" => done(pick(open, &mut args)?.set_size(args.number()?)),
        "raw-list" => show(list(pick(open, &mut args)?), |names| names.join("\n")),
        "raw-stat" => {
            let descriptor = pick(open, &mut args)?;
            let rights = descriptor.get_flags().map_or("-".into(), |flags| format!("{flags:?}"));
            show(descriptor.stat(), |found| format!("{:?} {} {rights}", found.type_, found.size))
        }
        "raw-stat-at" => {
            let (directory, path) = place(open, &mut args)?;
            let found = directory.stat_at(PathFlags::SYMLINK_FOLLOW, &path);
            show(found, |found| format!("{:?} {}", found.type_, found.size))
        }
        "raw-dated" => show(pick(open, &mut args)?.stat(), dated),
        "raw-dated-at" => {
            let (directory, path) = place(open, &mut args)?;
            show(directory.stat_at(PathFlags::empty(), &path), dated)
        }
        "raw-times-at" => {
            let (directory, path) = place(open, &mut args)?;
            let now = NewTimestamp::Now;
            done(directory.set_times_at(PathFlags::SYMLINK_FOLLOW, &path, now, now))
        }
        "raw-times" => {
            let now = NewTimestamp::Now;
            done(pick(open, &mut args)?.set_times(now, now))
        }
        "raw-hash" => show(pick(open, &mut args)?.metadata_hash(), |_| "a hash".into()),
        "raw-hash-at" => {
            let (directory, path) = place(open, &mut args)?;
            show(directory.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, &path), |_| "a hash".into())
        }
        "raw-sync" => done(pick(open, &mut args)?.sync()),
        "raw-advise" => {
            let file = pick(open, &mut args)?;
            done(file.advise(0, 1, Advice::WillNeed))
        }
        "raw-delete" => done(at(open, &mut args, Descriptor::unlink_file_at)?),
        "raw-mkdir" => done(at(open, &mut args, Descriptor::create_directory_at)?),
        "raw-rmdir" => done(at(open, &mut args, Descriptor::remove_directory_at)?),
        "raw-rename" => {
            let ((from, old), (to, new)) = (place(open, &mut args)?, place(open, &mut args)?);
            done(from.rename_at(&old, to, &new))
        }
        "raw-link" => {
            let ((from, old), (to, new)) = (place(open, &mut args)?, place(open, &mut args)?);
            done(from.link_at(PathFlags::empty(), &old, to, &new))
        }
        "raw-symlink" => {
            let (directory, target, link) = (pick(open, &mut args)?, args.hex()?, args.hex()?);
            done(directory.symlink_at(&target, &link))
        }
        "raw-read-link" => {
            let (directory, path) = place(open, &mut args)?;
            show(directory.readlink_at(&path), |target| target)
        }
        "open-many" => {
            let ((directory, path), count) = (place(open, &mut args)?, args.number()?);
            let (lookup, how, rights) = flags_of("follow,read")?;
            let again = || directory.open_at(lookup, &path, how, rights);
            FLOOD.with_borrow_mut(|flood| keep(flood, count, again))
        }
        "list-many" => {
            let (directory, count) = (pick(open, &mut args)?, args.number()?);
            LISTINGS.with_borrow_mut(|flood| keep(flood, count, || directory.read_directory()))
        }
        "list-hold" => {
            let (directory, count) = (pick(open, &mut args)?, args.number()?);
            // Started and never read to the end.
            let begin = || {
                let listing = directory.read_directory()?;
                listing.read_directory_entry()?;
                Ok::<_, ErrorCode>(listing)
            };
            LISTINGS.with_borrow_mut(|flood| keep(flood, count, begin))
        }
        "long-path" => {
            let (directory, size) = (pick(open, &mut args)?, args.number()?);
            done(directory.rename_at("own", directory, &"x".repeat(size)))
        }
        "write-large" => {
            let (file, size) = (pick(open, &mut args)?, args.number()?);
            show(file.write(&vec![b'x'; size], 0), |written| written.to_string())
        }
        "stream-hold" => {
            done(pick(open, &mut args)?.append_via_stream().map(|stream| STREAM.set(Some(stream))))
        }
        "stream-write" => STREAM.with_borrow(|stream| {
            let stream = stream.as_ref().ok_or(Failure::from("nothing is held"));
            done(stream.and_then(|it| Ok(it.blocking_write_and_flush(args.rest())?)))
        }),
        other => Args::unknown(other),
    }
}

pub fn pick<'a>(open: &'a [Descriptor], args: &mut Args<'_>) -> Result<&'a Descriptor, WasmError> {
    let number = args.word()?;
    if number == "root" {
        return ROOT.get().ok_or_else(|| invalid("no root"));
    }
    let number: usize = number.parse().map_err(|_| invalid("no number"))?;
    open.get(number).ok_or_else(|| invalid(&format!("nothing open is number {number}")))
}

/// A directory and a path in it.
fn place<'a>(
    open: &'a [Descriptor],
    args: &mut Args<'_>,
) -> Result<(&'a Descriptor, String), WasmError> {
    Ok((pick(open, args)?, args.hex()?))
}

type Operation = fn(&Descriptor, &str) -> Result<(), ErrorCode>;

fn at(
    open: &[Descriptor],
    args: &mut Args<'_>,
    operation: Operation,
) -> Result<Result<(), ErrorCode>, WasmError> {
    place(open, args).map(|(directory, path)| operation(directory, &path))
}

fn flags_of(names: &str) -> Result<(PathFlags, OpenFlags, DescriptorFlags), WasmError> {
    let mut flags = (PathFlags::empty(), OpenFlags::empty(), DescriptorFlags::empty());
    for name in names.split(',') {
        match name {
            "-" => {}
            "follow" => flags.0 |= PathFlags::SYMLINK_FOLLOW,
            "create" => flags.1 |= OpenFlags::CREATE,
            "directory" => flags.1 |= OpenFlags::DIRECTORY,
            "exclusive" => flags.1 |= OpenFlags::EXCLUSIVE,
            "truncate" => flags.1 |= OpenFlags::TRUNCATE,
            "read" => flags.2 |= DescriptorFlags::READ,
            "write" => flags.2 |= DescriptorFlags::WRITE,
            "mutate" => flags.2 |= DescriptorFlags::MUTATE_DIRECTORY,
            other => return Err(invalid(&format!("unknown flag: {other}"))),
        }
    }
    Ok(flags)
}

fn list_preopens() -> Reply {
    let directories = preopens::get_directories();
    let lines = directories.iter().enumerate().map(|(number, (directory, path))| {
        let rights = directory.get_flags().map_or("-".into(), |flags| format!("{flags:?}"));
        format!("{number} {path} {rights}")
    });
    text(lines.collect::<Vec<_>>().join("\n"))
}

fn read(file: &Descriptor) -> Result<String, ErrorCode> {
    let mut content = Vec::new();
    loop {
        let (piece, at_end) = file.read(PIECE, content.len() as u64)?;
        content.extend(piece);
        if at_end {
            return Ok(String::from_utf8_lossy(&content).into());
        }
    }
}

fn list(directory: &Descriptor) -> Result<Vec<String>, ErrorCode> {
    let entries = directory.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        names.push(entry.name);
    }
    names.sort();
    Ok(names)
}

fn invalid(text: &str) -> WasmError {
    WasmError::RuntimeError(text.into())
}

/// How many timestamps a file has.
fn dated(stat: DescriptorStat) -> String {
    let times = [
        stat.data_access_timestamp,
        stat.data_modification_timestamp,
        stat.status_change_timestamp,
    ];
    times.iter().flatten().count().to_string()
}
