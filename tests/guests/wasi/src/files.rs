//! Files through the standard library. It strips the guest path of a preopened directory from a
//! path and passes on the rest unchanged.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use guest_kit::{Args, Reply};

use crate::failure::{Tally, done, show};

pub const COMMANDS: &[&str] = &[
    "read",
    "write",
    "append",
    "truncate",
    "create-new",
    "delete",
    "list-dir",
    "mkdir",
    "rmdir",
    "rename",
    "symlink",
    "hard-link",
    "read-link",
    "stat",
    "set-times",
    "hold",
    "hold-write",
    "read-held",
    "write-held",
    "swap-race",
    "read-race",
    "write-race",
];

thread_local! {
    /// The file that stays open between messages.
    static HELD: RefCell<Option<File>> = const { RefCell::new(None) };
}

pub fn handle(command: &str, mut args: Args<'_>) -> Reply {
    match command {
        "read" => show(fs::read_to_string(args.word()?), |content| content),
        "write" => done(fs::write(args.word()?, args.rest())),
        "append" => done(write_with(OpenOptions::new().append(true), args.word()?, args.rest())),
        "truncate" => {
            let (path, size) = (args.word()?, args.number()?);
            done(OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(size)))
        }
        "create-new" => {
            let mut options = OpenOptions::new();
            done(write_with(options.write(true).create_new(true), args.word()?, args.rest()))
        }
        "delete" => done(fs::remove_file(args.word()?)),
        "list-dir" => show(list_dir(args.word()?), |names| names.join("\n")),
        "mkdir" => done(fs::create_dir(args.word()?)),
        "rmdir" => done(fs::remove_dir(args.word()?)),
        "rename" => done(fs::rename(args.word()?, args.word()?)),
        "symlink" => done(symlink(args.word()?, args.word()?)),
        "hard-link" => done(fs::hard_link(args.word()?, args.word()?)),
        "read-link" => show(fs::read_link(args.word()?), |target| target.display().to_string()),
        "stat" => show(fs::metadata(args.word()?), |found| {
            let kind = if found.is_dir() { "directory" } else { "file" };
            format!("{kind} {}", found.len())
        }),
        "set-times" => done(set_times(args.word()?)),
        "hold" => done(File::open(args.word()?).map(keep)),
        "hold-write" => {
            let mut options = OpenOptions::new();
            done(options.read(true).write(true).create(true).open(args.word()?).map(keep))
        }
        "read-held" => show(with_held(read_from_start), |content| content),
        "write-held" => done(with_held(|file| file.write_all(args.rest()))),
        "swap-race" => swap_race(args.word()?, args.word()?, args.number()?),
        "read-race" => {
            let (path, rounds) = (args.word()?, args.number()?);
            race(rounds, || fs::read_to_string(path))
        }
        "write-race" => {
            let (path, rounds, content) = (args.word()?, args.number()?, args.rest());
            race(rounds, || {
                fs::write(path, content)?;
                Ok("ok".into())
            })
        }
        other => Args::unknown(other),
    }
}

fn write_with(options: &mut OpenOptions, path: &str, content: &[u8]) -> io::Result<()> {
    options.open(path)?.write_all(content)
}

fn list_dir(path: &str) -> io::Result<Vec<String>> {
    let entries =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[expect(deprecated, reason = "the one for WASI is not stable")]
fn symlink(target: &str, link: &str) -> io::Result<()> {
    fs::soft_link(target, link)
}

/// One day after the start of 1970.
fn set_times(path: &str) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(86400);
    File::open(path)?.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time))
}

fn keep(file: File) {
    HELD.set(Some(file));
}

fn with_held<T>(act: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    HELD.with_borrow_mut(|held| match held {
        Some(file) => act(file),
        None => Err(io::Error::other("nothing is held")),
    })
}

fn read_from_start(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut content = String::new();
    file.read_to_string(&mut content)?;
    Ok(content)
}

/// Alternates `DIR/race` between a directory and a symlink to `target`, and reads `DIR/race/secret`
/// each time. A second component that runs `read-race` at the same time makes it a race.
fn swap_race(directory: &str, target: &str, rounds: u64) -> Reply {
    let at = |name: &str| format!("{directory}/{name}");
    let (race_path, plain, link) = (at("race"), at("race-directory"), at("race-link"));
    // Both may be left over from the last run.
    let _ = fs::create_dir(&plain);
    let _ = symlink(target, &link);
    let mut turn = 0;
    race(rounds, || {
        let stand_in = if turn % 2 == 0 { &link } else { &plain };
        turn += 1;
        fs::rename(stand_in, &race_path)?;
        let read = fs::read_to_string(format!("{race_path}/secret"));
        fs::rename(&race_path, stand_in)?;
        read
    })
}

fn race(rounds: u64, mut step: impl FnMut() -> io::Result<String>) -> Reply {
    let mut tally = Tally::default();
    for _ in 0..rounds {
        tally.count(step());
    }
    tally.reply()
}
