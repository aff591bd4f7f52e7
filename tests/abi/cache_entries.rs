//! Entries of the cache directory: used again, made anew when damaged, kept apart by settings.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use airssys_wasm::*;

use crate::harness::engine::Config;

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

/// Echo with a custom section that makes it large. Entries of large components are mapped.
fn large_echo() -> Vec<u8> {
    let content = [&[4][..], b"fill", &[0; 2 << 20]].concat();
    let mut size = content.len();
    let mut section = vec![0];
    while size > 0 {
        section.push(u8::from(size > 0x7f) << 7 | (size & 0x7f) as u8);
        size >>= 7;
    }
    [airssys_wasm_guests::bytes("echo"), section, content].concat()
}

/// Loads echo with this cache, checks that it works, and returns the only entry.
fn echo_through(dir: &Path) -> PathBuf {
    through(dir, &airssys_wasm_guests::bytes("echo"))
}

fn through(dir: &Path, echo: &[u8]) -> PathBuf {
    let engine = cached(dir).engine();
    let echo = engine.try_load("app/echo/0", echo, None).unwrap();
    assert_eq!(engine.text(echo, "cached"), "cached");
    match &entries(dir)[..] {
        [entry] => entry.clone(),
        other => panic!("{} entries", other.len()),
    }
}

#[test]
fn the_cache_is_private_to_its_user_and_its_entries_are_reused() {
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
fn a_damaged_entry_is_recompiled_and_replaced() {
    damage(&airssys_wasm_guests::bytes("echo"));
    damage(&large_echo());
}

fn damage(wasm: &[u8]) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let entry = through(&dir, wasm);
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
        assert_eq!(through(&dir, wasm), entry);
        let inode = fs::metadata(&entry).unwrap().ino();
        assert!(fs::read(&entry).unwrap() != *damaged, "damage {n} is still there");
        assert_eq!(through(&dir, wasm), entry);
        assert_eq!(fs::metadata(&entry).unwrap().ino(), inode, "damage {n}: not repaired");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_entry_of_a_large_component_is_mapped_and_that_of_a_small_one_copied() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let mapped = |wasm: &[u8]| {
        let engine = cached(&dir).engine();
        let echo = engine.try_load("app/echo/0", wasm, None).unwrap();
        assert_eq!(engine.text(echo, "x"), "x");
        let is_hit = engine.stats()["cache"]["hits"] == 1;
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        (is_hit, maps.lines().filter(|line| line.contains(dir.to_str().unwrap())).count() > 0)
    };
    let (small, large) = (airssys_wasm_guests::bytes("echo"), large_echo());
    assert_eq!([mapped(&small), mapped(&small)], [(false, false), (true, false)]);
    assert_eq!([mapped(&large), mapped(&large)], [(false, false), (true, true)]);
    // What is mapped stays usable when its entry is gone.
    let engine = cached(&dir).engine();
    let echo = engine.try_load("app/echo/0", &large, None).unwrap();
    entries(&dir).iter().for_each(|entry| fs::remove_file(entry).unwrap());
    engine.restart(echo, 60_000).unwrap();
    assert_eq!(engine.text(echo, "still"), "still");
}

#[test]
fn an_entry_under_the_name_of_another_binary_is_not_loaded() {
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
fn an_entry_that_cannot_be_written_costs_only_time() {
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
fn settings_that_change_the_code_have_separate_entries() {
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
    // The mode of a link's target counts.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    assert!(cached(&link).try_engine().is_err());
}

#[test]
fn a_cache_path_that_is_not_a_directory_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let failure = cached(&path).try_engine().err().expect("a file");
        assert_eq!(failure.status, AIRSSYS_ERROR_IO, "{failure}");
        assert!(failure.message.contains(file.to_str().unwrap()), "{failure}");
    }
}
