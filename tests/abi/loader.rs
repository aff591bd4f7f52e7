//! Binaries: what is refused, what is compiled once, and what is kept on disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use airssys_wasm::*;

use crate::harness::{Config, Engine, Failure};

fn refused(engine: &Engine, wasm: &[u8]) -> Failure {
    let failure = engine.try_load("app/bad/0", wasm, None).expect_err("it can not be loaded");
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert_eq!(failure.detail["component"], "app/bad/0", "{failure}");
    failure
}

#[test]
fn what_is_no_component_is_refused_with_a_reason() {
    let engine = Config::bare().with(r#"{"max-component-bytes": 100000}"#).engine();
    let module = wat::parse_str("(module)").unwrap();
    for (wasm, reason) in [
        (&b""[..], "empty"),
        (b"\0", "does not start"),
        (b"\0asm", "ends after 4 bytes"),
        (b"\0asm\x0d\0\x01", "ends after 7 bytes"),
        (&module, "core module"),
        (b"(component)", "text"),
        (b"\x7fELF\x02\x01\x01\0 and so on", "does not start"),
        (b"\0asm\x0d\0\x02\0", ""),
        (&[0x5a; 5000], "does not start"),
        (&[0; 100_001], "max-component-bytes 100000"),
    ] {
        let failure = refused(&engine, wasm);
        assert!(failure.message.contains(reason), "{reason}: {failure}");
    }
    assert_eq!(engine.stats()["binaries"], 0, "what can not be compiled is not kept");
    let limit = airssys_wasm_guests::bytes("echo");
    engine.try_load("app/echo/0", &limit, None).unwrap();
}

#[test]
fn a_binary_of_exactly_the_largest_size_is_loaded() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let limit = |bytes: usize| {
        Config::bare().with(&format!(r#"{{"max-component-bytes": {bytes}}}"#)).engine()
    };
    limit(wasm.len()).try_load("app/echo/0", &wasm, None).unwrap();
    let failure = refused(&limit(wasm.len() - 1), &wasm);
    assert!(failure.message.contains(&(wasm.len() - 1).to_string()), "{failure}");
}

#[test]
fn a_truncated_binary_is_refused_wherever_it_ends() {
    let engine = Engine::bare();
    let wasm = airssys_wasm_guests::bytes("echo");
    let ends = (1..16).map(|n| wasm.len() * n / 16).chain([9, 20, wasm.len() - 1]);
    for end in ends {
        refused(&engine, &wasm[..end]);
    }
}

#[test]
fn a_corrupt_binary_is_refused_or_runs_and_breaks_nothing() {
    let engine = Engine::bare();
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("counter");
    let options = r#"{"limits": {"max-execution-time-ms": 200}}"#;
    let mut refusals = 0;
    for n in 0..60 {
        let mut corrupt = wasm.clone();
        let place = 8 + (wasm.len() - 8) * n / 60;
        corrupt[place] ^= 1 << (n % 8);
        match engine.try_load("app/corrupt/0", &corrupt, Some(options)) {
            // A flipped bit in a name or a constant is still a component.
            Ok(handle) => {
                let _ = engine.call(handle, "inc");
                let _ = engine.unload(handle);
            }
            Err(failure) => {
                assert_ne!(failure.status, AIRSSYS_ERROR_PANIC, "byte {place}: {failure}");
                refusals += 1;
            }
        }
    }
    assert!(refusals > 5, "only {refusals} were refused");
    assert_eq!(engine.text(echo, "still here"), "still here");
}

#[test]
fn files_are_loaded_and_their_errors_name_the_path() {
    let engine = Engine::bare();
    let file = airssys_wasm_guests::component("echo");
    let handle = engine.try_load_file("app/echo/0", file.to_str().unwrap()).unwrap();
    assert_eq!(engine.text(handle, "from a file"), "from a file");
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.wasm");
    for path in [missing.to_str().unwrap(), directory.path().to_str().unwrap(), ""] {
        let failure = engine.try_load_file("app/echo/1", path).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert_eq!(failure.detail["path"], path);
        assert!(failure.message.contains(path), "{failure}");
    }
}

#[test]
fn files_that_are_none_are_not_read() {
    let engine = Engine::bare();
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated text.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let (pipe, link) = (pipe.to_str().unwrap(), link.to_str().unwrap());
    for path in [pipe, link, "/dev/zero", "/dev/null", "/dev/tty", "/dev/stdin"] {
        let failure = engine.try_load_file("app/echo/0", path).expect_err(path);
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
    }
    // The system makes these up; reading the first waits for ever.
    for path in ["/proc/kmsg", "/proc/self/status"] {
        let failure = engine.try_load_file("app/echo/0", path).expect_err(path);
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains("in procfs, whose files the system generates"));
    }
}

#[test]
fn a_binary_is_compiled_once_for_all_that_load_it() {
    let engine = Engine::bare();
    let handles: Vec<u64> = (0..5).map(|n| engine.load(&format!("app/echo/{n}"), "echo")).collect();
    assert_eq!(engine.stats()["binaries"], 1);
    assert_eq!(engine.stats()["components"], 5);
    engine.load("app/counter/0", "counter");
    assert_eq!(engine.stats()["binaries"], 2);
    for handle in handles {
        engine.unload(handle).unwrap();
    }
    let again = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(again, "x"), "x");
    assert_eq!(engine.stats()["binaries"], 2, "it was kept for this load");
}

/// A component that differs from those of other numbers.
fn numbered(n: usize) -> Vec<u8> {
    let text = format!("(component (core module (memory {n})))");
    wat::parse_str(text).unwrap()
}

#[test]
fn binaries_that_nobody_uses_do_not_pile_up() {
    let engine = Engine::bare();
    let used = engine.load("app/echo/0", "echo");
    for n in 0..80 {
        let handle = engine.try_load("app/numbered/0", &numbered(n), None).unwrap();
        engine.unload(handle).unwrap();
    }
    let kept = engine.stats()["binaries"].as_u64().unwrap();
    assert!((1..=40).contains(&kept), "{kept} are kept");
    assert_eq!(engine.text(used, "in use"), "in use");
    assert_eq!(engine.load("app/echo/1", "echo"), used + 81);
    let all: Vec<u64> =
        (0..60).map(|n| engine.try_load("app/numbered/0", &numbered(n), None).unwrap()).collect();
    assert!(engine.stats()["binaries"].as_u64().unwrap() >= 61, "those in use are all kept");
    assert_eq!(all.len(), 60);
}

fn cached(dir: &Path) -> Config {
    let json = serde_json::json!({ "cache-dir": dir.to_str().unwrap() });
    Config::bare().with(&json.to_string())
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = all.filter(|path| !path.ends_with("key")).collect();
    entries.sort();
    entries
}

/// Loads echo with a cache, checks that it works, and returns the one entry that there is then.
fn echo_through(dir: &Path) -> PathBuf {
    let engine = cached(dir).engine();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "cached"), "cached");
    match &entries(dir)[..] {
        [entry] => entry.clone(),
        other => panic!("{} entries", other.len()),
    }
}

#[test]
fn the_cache_is_made_for_this_user_only_and_its_entries_are_used_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/cache");
    let entry = echo_through(&dir);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let before = fs::metadata(&entry).unwrap();
    assert_eq!(echo_through(&dir), entry);
    let after = fs::metadata(&entry).unwrap();
    assert_eq!(before.ino(), after.ino(), "an entry that is written anew is another file");
}

#[test]
fn a_damaged_entry_is_compiled_anew_and_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let entry = echo_through(&dir);
    let whole = fs::read(&entry).unwrap();
    let flip = |place: usize| {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        damaged
    };
    let damages = [
        Vec::new(),
        b"x".to_vec(),
        whole[..16].to_vec(),
        whole[..47].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"more"].concat(),
        flip(3),
        flip(20),
        flip(48),
        flip(whole.len() / 2),
        flip(whole.len() - 1),
    ];
    for (n, damaged) in damages.iter().enumerate() {
        fs::write(&entry, damaged).unwrap();
        assert_eq!(echo_through(&dir), entry);
        let inode = fs::metadata(&entry).unwrap().ino();
        assert!(fs::read(&entry).unwrap() != *damaged, "damage {n} is still there");
        assert_eq!(echo_through(&dir), entry);
        assert_eq!(fs::metadata(&entry).unwrap().ino(), inode, "damage {n}: not whole again");
    }
}

#[test]
fn an_entry_under_the_name_of_another_binary_is_not_taken_for_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let echo = echo_through(&dir);
    let engine = cached(&dir).engine();
    engine.load("app/counter/0", "counter");
    let counter = entries(&dir).into_iter().find(|entry| *entry != echo).unwrap();
    drop(engine);
    fs::copy(&echo, &counter).unwrap();
    let engine = cached(&dir).engine();
    let handle = engine.load("app/counter/0", "counter");
    assert_eq!(engine.text(handle, "inc"), "1");
}

#[test]
fn an_entry_that_can_not_be_written_costs_nothing_but_time() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let entry = echo_through(&dir);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    let engine = cached(&dir).engine();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
    assert_eq!(entries(&dir), [entry], "no temporary file is left behind");
}

#[test]
fn settings_that_change_the_code_have_entries_of_their_own() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    echo_through(&dir);
    let engine = cached(&dir).with(r#"{"signals-based-traps": false}"#).engine();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
    assert_eq!(entries(&dir).len(), 2);
}

#[test]
fn a_cache_that_others_could_write_to_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    fs::create_dir(&dir).unwrap();
    for mode in [0o755, 0o770, 0o701, 0o777, 0o720] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let failure = cached(&dir).try_engine().err().expect("an open directory");
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains(dir.to_str().unwrap()), "{failure}");
        assert!(failure.message.contains("0700"), "{failure}");
        assert_eq!(entries(&dir).len(), 0, "nothing was left in it");
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    cached(&dir).engine();
    // Through a link it is the directory that counts.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    assert!(cached(&link).try_engine().is_err());
}

#[test]
fn a_cache_that_is_no_directory_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let failure = cached(&path).try_engine().err().expect("a file");
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains(file.to_str().unwrap()), "{failure}");
    }
}

/// A component within a component, and so on, around nothing.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
    let mut binary = HEADER.to_vec();
    for _ in 0..depth {
        let mut outer = HEADER.to_vec();
        // Section 4 is a component, of that many bytes.
        outer.push(4);
        outer.extend_from_slice(unsigned_varint::encode::usize(
            binary.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        outer.append(&mut binary);
        binary = outer;
    }
    binary
}

#[test]
fn nesting_beyond_what_toolchains_make_is_refused_before_it_takes_time() {
    let engine = Engine::bare();
    engine.try_load("app/nested/0", &nested(64), None).unwrap();
    for depth in [65, 20_000] {
        let failure = refused(&engine, &nested(depth));
        assert_eq!(failure.detail["limit"], "compile.max-component-depth", "{failure}");
    }
    let wide = format!("(component {})", "(component)".repeat(1001));
    let failure = refused(&engine, &wat::parse_str(wide).unwrap());
    assert_eq!(failure.detail["limit"], "compile.max-components", "{failure}");
}
