//! The cache directory: what code is loaded from it, who may write to it, how much it keeps.

use std::fs;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure};

/// A user who is neither root nor the user of the tests.
const STRANGER: u32 = 54_321;

fn cached(dir: &Path) -> Config {
    Config::bare().with(&json!({ "cache-dir": dir.to_str().unwrap() }).to_string())
}

fn refused(dir: &Path) -> Failure {
    let failure = cached(dir).try_engine().err().expect("a directory that can not be trusted");
    assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    assert!(failure.message.contains(dir.to_str().unwrap()), "{failure}");
    failure
}

/// The entries, least recently used first.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect();
    entries.sort_by_key(|path| path.symlink_metadata().unwrap().modified().unwrap());
    entries
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn lookups(engine: &Engine) -> (u64, u64) {
    let cache = &engine.stats()["cache"];
    (cache["hits"].as_u64().unwrap(), cache["misses"].as_u64().unwrap())
}

/// Loads echo in a new engine, checks that it works, and returns the number of cache hits.
fn hits(dir: &Path) -> u64 {
    let engine = cached(dir).engine();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "cached"), "cached");
    let (hits, misses) = lookups(&engine);
    assert_eq!(hits + misses, 1);
    hits
}

/// A component that no other test loads; all of them compile to the same size.
fn numbered(number: usize) -> Vec<u8> {
    wat::parse_str(format!(r#"(component (core module (func (export "f{number:03}"))))"#)).unwrap()
}

/// A cache directory with one entry, echo.
fn filled() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    assert_eq!(hits(&dir), 0);
    let [entry] = &entries(&dir)[..] else { panic!("not one entry") };
    let entry = entry.clone();
    assert_eq!(hits(&dir), 1);
    (parent, dir, entry)
}

/// Changes the owner of a file. Returns false unless this user is root.
fn give_away(path: &Path, user: u32) -> bool {
    match chown(path, Some(user), None) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{error}"),
    }
}

/// Runs `run` on a thread that acts as another user.
fn as_user<R: Send>(user: u32, run: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            // The C library's function would change every thread of the process.
            // SAFETY: a system call without pointers.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
            assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
            run()
        });
        acting.join().unwrap()
    })
}

#[test]
fn a_directory_that_replaces_the_cache_is_not_used() {
    let (parent, dir, entry) = filled();
    let engine = cached(&dir).engine();
    let moved = parent.path().join("moved");
    fs::rename(&dir, &moved).unwrap();
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    fs::write(dir.join(entry.file_name().unwrap()), "planted").unwrap();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
    assert_eq!(lookups(&engine), (1, 0), "the entry is in the directory that was opened");
    engine.try_load("app/other/0", &numbered(0), None).unwrap();
    assert_eq!((entries(&moved).len(), entries(&dir).len()), (2, 1));
}

#[test]
fn an_entry_made_without_the_key_is_not_loaded() {
    let (parent, dir, echo) = filled();
    let counter = {
        let engine = cached(&dir).engine();
        engine.load("app/counter/0", "counter");
        entries(&dir).into_iter().find(|entry| *entry != echo).unwrap()
    };
    // What an attacker with write access who knows the format would do.
    let whole = fs::read(&echo).unwrap();
    let (artefact, trailer) = whole.split_at(whole.len() - 48);
    let magic = &trailer[32..];
    let mut hasher = blake3::Hasher::new();
    hasher.update(counter.file_name().unwrap().as_encoded_bytes()).update(artefact);
    fs::write(&counter, [artefact, hasher.finalize().as_bytes(), magic].concat()).unwrap();
    let engine = cached(&dir).engine();
    let handle = engine.load("app/counter/0", "counter");
    assert_eq!(engine.text(handle, "inc"), "1");
    assert_eq!(lookups(&engine).0, 0);

    // A complete entry of another directory, made with that directory's key.
    let other = parent.path().join("other");
    assert_eq!(hits(&other), 0);
    let theirs = other.join(echo.file_name().unwrap());
    fs::copy(&theirs, &echo).unwrap();
    assert_eq!(hits(&dir), 0);
    assert_eq!(hits(&dir), 1, "it was replaced");
}

#[test]
fn a_damaged_or_exposed_key_is_replaced() {
    let (_parent, dir, _) = filled();
    let key = dir.join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read(&key).unwrap();
    assert_eq!(first.len(), 32);
    let spoilt: [&dyn Fn(); 5] = [
        &|| fs::write(&key, &first[..31]).unwrap(),
        &|| fs::write(&key, "").unwrap(),
        &|| fs::remove_file(&key).unwrap(),
        &|| set_mode(&key, 0o644),
        &|| {
            fs::rename(&key, dir.join("elsewhere")).unwrap();
            symlink("elsewhere", &key).unwrap();
        },
    ];
    for (n, spoil) in spoilt.iter().enumerate() {
        let before = fs::read(&key).unwrap();
        spoil();
        assert_eq!(hits(&dir), 0, "{n}: entries of the old key");
        assert_eq!(hits(&dir), 1, "{n}: entries of the new key");
        let after = fs::read(&key).unwrap();
        assert!(after.len() == 32 && after != before, "{n}");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&key).unwrap().is_file());
    }
}

#[test]
fn an_entry_that_others_could_have_written_is_not_loaded() {
    let (parent, dir, entry) = filled();
    let spoilt: [&dyn Fn(); 6] = [
        &|| set_mode(&entry, 0o620),
        &|| set_mode(&entry, 0o602),
        &|| {
            let outside = parent.path().join("outside");
            fs::rename(&entry, &outside).unwrap();
            symlink(&outside, &entry).unwrap();
        },
        &|| {
            fs::remove_file(&entry).unwrap();
            let made = Command::new("mkfifo").arg(&entry).status().unwrap();
            assert!(made.success());
        },
        &|| {
            let whole = fs::read(&entry).unwrap();
            fs::write(&entry, &whole[..whole.len() - 1]).unwrap();
        },
        &|| {
            give_away(&entry, STRANGER);
            // Makes the entry unsafe if the tests do not run as root.
            set_mode(&entry, 0o606);
        },
    ];
    for (n, spoil) in spoilt.iter().enumerate() {
        spoil();
        assert_eq!(hits(&dir), 0, "{n}: it was loaded");
        assert_eq!(hits(&dir), 1, "{n}: it was not replaced");
        assert!(fs::symlink_metadata(&entry).unwrap().is_file());
    }
    if give_away(&entry, STRANGER) {
        assert_eq!(hits(&dir), 0, "another user's file was loaded");
    }
}

#[test]
fn a_directory_that_others_could_replace_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let (above, dir) = (parent.path().join("above"), parent.path().join("above/deep/cache"));
    assert_eq!(hits(&dir), 0);
    for mode in [0o777, 0o707, 0o770, 0o730] {
        set_mode(&above, mode);
        let failure = refused(&dir);
        for part in [above.to_str().unwrap(), &format!("mode {mode:04o}"), "chmod go-w"] {
            assert!(failure.message.contains(part), "{failure}");
        }
    }
    // In a sticky directory only the owner of a file can rename it.
    set_mode(&above, 0o1777);
    assert_eq!(hits(&dir), 1);
    // Whoever can write to the directory of a link decides where the link leads.
    set_mode(&above, 0o755);
    let open = parent.path().join("open");
    fs::create_dir(&open).unwrap();
    symlink(&dir, open.join("link")).unwrap();
    assert_eq!(hits(&open.join("link")), 1);
    set_mode(&open, 0o777);
    assert!(refused(&open.join("link")).message.contains(open.to_str().unwrap()));
    set_mode(&open, 0o755);
    if give_away(&above, STRANGER) {
        let failure = refused(&dir);
        assert!(failure.message.contains(&format!("user {STRANGER}")), "{failure}");
        chown(&above, Some(0), None).unwrap();
        give_away(&dir, STRANGER);
        let failure = refused(&dir);
        assert!(failure.message.contains(&format!("user {STRANGER}")), "{failure}");
    }
}

#[test]
fn a_path_may_contain_links_and_dot_dot() {
    let (parent, dir, _) = filled();
    let at = parent.path();
    fs::create_dir(at.join("side")).unwrap();
    symlink("../cache", at.join("side/relative")).unwrap();
    symlink("side/relative", at.join("chained")).unwrap();
    symlink(&dir, at.join("absolute")).unwrap();
    symlink("loop", at.join("loop")).unwrap();
    for path in
        ["side/relative", "chained", "absolute", "side/../cache", "cache/./", "cache/../cache"]
    {
        assert_eq!(hits(&at.join(path)), 1, "{path}");
    }
    refused(&at.join("loop"));
    refused(&at.join("loop/below"));
    assert_eq!(hits(&at.join("side/new/cache")), 0);
}

#[test]
fn a_read_only_directory_is_used_unchanged() {
    let (_parent, dir, entry) = filled();
    let key = dir.join("key");
    for path in [&entry, &key] {
        set_mode(path, 0o444);
    }
    let left = dir.join(".0123456789abcdef.tmp");
    fs::write(&left, "x").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    File::open(&entry).unwrap().set_modified(old).unwrap();
    set_mode(&dir, 0o555);
    assert_eq!(hits(&dir), 1);
    let engine = cached(&dir).with(r#"{"cache-max-bytes": 1000000}"#).engine();
    engine.try_load("app/other/0", &numbered(0), None).unwrap();
    assert_eq!(lookups(&engine), (0, 1));
    assert_eq!(entries(&dir), std::slice::from_ref(&entry), "something was written or removed");
    assert!(left.exists());
    assert_eq!(fs::metadata(&entry).unwrap().modified().unwrap(), old);
    set_mode(&dir, 0o575);
    refused(&dir);
    set_mode(&dir, 0o755);
    fs::remove_file(&key).unwrap();
    set_mode(&dir, 0o555);
    assert!(refused(&dir).message.contains("\"key\""));
    // Lets other users than root remove it.
    set_mode(&dir, 0o755);
}

#[test]
fn root_s_directory_serves_other_users_but_theirs_does_not_serve_root() {
    let (parent, dir, entry) = filled();
    if !give_away(&entry, 0) {
        return;
    }
    set_mode(parent.path(), 0o755);
    let echo = airssys_wasm_guests::bytes("echo");
    let load = |binary: &[u8]| {
        let engine = cached(&dir).try_engine()?;
        engine.try_load("app/echo/0", binary, None)?;
        Ok::<_, Failure>(lookups(&engine))
    };
    set_mode(&dir, 0o755);
    let failure = as_user(STRANGER, || load(&echo)).unwrap_err();
    assert!(failure.message.contains("\"key\""), "{failure}");
    set_mode(&dir.join("key"), 0o644);
    set_mode(&entry, 0o644);
    assert_eq!(as_user(STRANGER, || load(&echo)).unwrap(), (1, 0));
    assert_eq!(as_user(STRANGER, || load(&numbered(0))).unwrap(), (0, 1));
    assert_eq!(entries(&dir), [entry]);
    set_mode(&dir, 0o777);
    assert!(as_user(STRANGER, || load(&echo)).is_err(), "others can write to it");
    set_mode(&dir, 0o700);
    chown(&dir, Some(STRANGER), None).unwrap();
    refused(&dir);
}

#[test]
fn the_least_recently_used_entry_is_evicted() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let engine = cached(&dir).engine();
    for number in 0..4 {
        engine.try_load("app/numbered/0", &numbered(number), None).unwrap();
    }
    let all = entries(&dir);
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let sizes: Vec<u64> = all.iter().map(size).collect();
    assert_eq!(engine.stats()["cache"]["bytes"].as_u64(), Some(sizes.iter().sum()));
    drop(engine);
    for (age, entry) in all.iter().enumerate() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age as u64);
        File::open(entry).unwrap().set_modified(time).unwrap();
    }
    let largest = sizes.iter().max().unwrap();
    let bounded = |bytes: u64| {
        let bound = json!({ "cache-max-bytes": bytes }).to_string();
        cached(&dir).with(&bound).engine()
    };
    // A hit on the oldest makes it the youngest.
    let engine = bounded(4 * largest);
    let first = (0..4).find(|n| {
        engine.try_load("app/numbered/0", &numbered(*n), None).unwrap();
        let used = entries(&dir).last() == Some(&all[0]);
        // The others keep their age.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + *n as u64);
        if !used {
            File::open(entries(&dir).last().unwrap()).unwrap().set_modified(time).unwrap();
        }
        used
    });
    assert!(first.is_some(), "a hit does not count as use");
    assert_eq!(lookups(&engine).1, 0);
    engine.try_load("app/numbered/0", &numbered(4), None).unwrap();
    let kept = entries(&dir);
    assert_eq!(kept.len(), 4);
    assert!(kept.contains(&all[0]) && !kept.contains(&all[1]), "{kept:?}");
    assert!(kept.iter().map(size).sum::<u64>() <= 4 * largest);
    drop(engine);
    // A smaller bound applies at once, and an entry larger than the bound is not kept.
    let engine = bounded(2 * largest);
    assert_eq!(entries(&dir), kept[2..]);
    drop(engine);
    let engine = bounded(100);
    assert_eq!(entries(&dir).len(), 0);
    engine.try_load("app/numbered/0", &numbered(5), None).unwrap();
    assert_eq!(engine.stats()["cache"], json!({ "hits": 0, "misses": 1, "bytes": 0 }));
    assert_eq!(entries(&dir).len(), 0);
}

#[test]
fn engines_share_a_directory_and_leave_other_files_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let engines = [cached(&dir).engine(), cached(&dir).engine()];
    fs::write(dir.join("notes.cwasm"), "of the user").unwrap();
    for (hits, engine) in engines.iter().enumerate() {
        let echo = engine.load("app/echo/0", "echo");
        assert_eq!(engine.text(echo, "x"), "x");
        assert_eq!(lookups(engine), (hits as u64, 1 - hits as u64));
    }
    drop(cached(&dir).with(r#"{"cache-max-bytes": 1}"#).engine());
    assert_eq!(entries(&dir), [dir.join("notes.cwasm")]);
    assert_eq!(Engine::bare().stats()["cache"], json!(null));
}

#[test]
fn leftovers_of_a_crashed_writer_are_removed_and_files_being_written_are_kept() {
    let (_parent, dir, _) = filled();
    let [left, written] = ["left", "written"].map(|name| dir.join(format!(".{name}.tmp")));
    fs::write(&left, "half of an en").unwrap();
    let mut file = File::create(&written).unwrap();
    file.write_all(b"half of an en").unwrap();
    file.lock().unwrap();
    assert_eq!(hits(&dir), 1);
    assert!(!left.exists() && written.exists());
    drop(file);
    assert_eq!(hits(&dir), 1);
    assert!(!written.exists());
}
