//! Memory, threads and fuel that a guest can cost the host through WASI.

use std::fs;

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::stage::{Guest, Stage, hex};
use crate::harness::tree::Tree;

const MIB: u64 = 1 << 20;

/// The smallest `max-host-bytes`.
const LEAST: u64 = 256 << 10;

/// The peak growth of the process's memory while `act` runs.
fn growth(act: impl FnOnce()) -> u64 {
    // Resets the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    act();
    peak().saturating_sub(before)
}

fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A directory with this many files, and rights to it.
fn full_directory(files: usize) -> (tempfile::TempDir, Value) {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..files {
        fs::File::create(directory.path().join(format!("a-name-of-some-length-{number:08}")))
            .unwrap();
    }
    let path = directory.path().canonicalize().unwrap();
    let rights = json!({"filesystem": {path.to_str().unwrap(): ["read", "list-dir"]}});
    (directory, rights)
}

fn with_host_bytes(stage: &Stage, rights: Value) -> Guest {
    let options = json!({"limits": {"max-host-bytes": LEAST}, "capabilities": rights});
    stage.load_with("app/thief/0", "wasi", &options)
}

/// Expects that `command` ends the attacker's instance and names the limit.
#[track_caller]
fn exceeds_host_bytes(stage: &Stage, thief: &Guest, command: &str) {
    let failure = stage.ends(thief, command, &[]);
    assert_eq!(failure.status, AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, "{command}: {failure}");
    assert_eq!(failure.detail["limit"], "max-host-bytes", "{command}: {failure}");
    assert_eq!(stage.engine.text(thief.handle, "echo again"), "again", "{command}");
}

#[test]
fn listings_are_read_on_demand() {
    let (directory, rights) = full_directory(30_000);
    let stage = Stage::new();
    let options = json!({"limits": {"max-execution-time-ms": 60_000}, "capabilities": rights});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    assert_eq!(stage.engine.text(thief.handle, "list-hold 0 1"), "1");
    let grown = growth(|| assert_eq!(stage.engine.text(thief.handle, "list-hold 0 60"), "60"));
    assert!(grown < 48 * MIB, "{} MiB for 60 listings", grown / MIB);
    // Every file is listed once.
    let listed = stage.engine.text(thief.handle, "raw-list 0");
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(listed.lines().eq(names.iter().map(String::as_str)));
}

#[test]
fn a_listing_leaves_no_threads_behind() {
    let (_directory, rights) = full_directory(40_000);
    let stage = Stage::new();
    let options = json!({"limits": {"max-execution-time-ms": 20}, "capabilities": rights});
    let thieves: Vec<_> = (0..12)
        .map(|number| {
            let id: &'static str = format!("app/thief/{number}").leak();
            stage.load_with(id, "wasi", &options)
        })
        .collect();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let most = std::thread::scope(|scope| {
        let engine = &stage.engine;
        let calls = |handle| {
            for _ in 0..25 {
                // Either outcome is fine.
                let _ = engine.call(handle, "raw-list 0");
            }
        };
        let calling: Vec<_> =
            thieves.iter().map(|thief| scope.spawn(move || calls(thief.handle))).collect();
        let mut most = 0;
        while !calling.iter().all(|calls| calls.is_finished()) {
            most = most.max(threads());
            std::thread::yield_now();
        }
        most
    });
    // Per thief: the calling thread, and one it waits for or has just left.
    assert!(most < before + 4 * thieves.len(), "{before} threads before, {most} at most");
    stage.assert_intact("listings");
}

#[test]
fn open_files_are_charged() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let file = hex("own");
    fs::write(tree.at("granted/large"), vec![b'x'; 1 << 20]).unwrap();
    for command in [format!("open-many 0 {file} 200"), "list-many 0 50".into()] {
        let thief = with_host_bytes(&stage, tree.granted(&["read", "list-dir"]));
        exceeds_host_bytes(&stage, &thief, &command);
        stage.engine.unload(thief.handle).unwrap();
    }
    let thief = with_host_bytes(&stage, tree.granted(&["read", "list-dir"]));
    let open = format!("raw-open 0 {} read", hex("large"));
    let number = stage.engine.text(thief.handle, &open);
    exceeds_host_bytes(&stage, &thief, &format!("read-ahead {number} 20"));
    // Closing returns the charge.
    for _ in 0..100 {
        let read = format!("stat {}", tree.at("granted/own"));
        assert_eq!(stage.engine.text(thief.handle, &read), "file 4");
    }
}

#[test]
fn sockets_are_charged() {
    let stage = Stage::new();
    for kind in ["tcp", "udp"] {
        let thief = with_host_bytes(&stage, json!({"network": {"outbound": ["*"]}}));
        exceeds_host_bytes(&stage, &thief, &format!("sockets {kind} 50"));
        stage.engine.unload(thief.handle).unwrap();
    }
}

#[test]
fn random_bytes_are_charged_and_cost_fuel() {
    let stage = Stage::new();
    let thief = with_host_bytes(&stage, json!({}));
    for command in ["random 300000", "insecure-random 300000"] {
        exceeds_host_bytes(&stage, &thief, command);
    }
    stage.works(&thief, "random 100000", "100000", "random.read");
    let frugal = json!({"limits": {"max-fuel": 5_000_000}});
    let thief = stage.load_with("app/frugal/0", "wasi", &frugal);
    for command in ["random 6000000", "insecure-random 6000000"] {
        let failure = stage.ends(&thief, command, &[]);
        assert_eq!(failure.detail["limit"], "max-fuel", "{command}: {failure}");
    }
    stage.works(&thief, "random 100000", "100000", "random.read");
}

#[test]
fn a_poll_list_has_a_maximum_length() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "wasi", json!({}));
    let failure = stage.ends(&thief, "poll-many 1000000", &[]);
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert!(failure.message.contains("1000000 pollables, at most 16384 are allowed"), "{failure}");
    assert_eq!(stage.engine.text(thief.handle, "poll-many 16384"), "16384");
}

#[test]
fn a_write_takes_a_piece_of_its_data() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&["read", "write"]));
    let number = stage.engine.text(thief.handle, &format!("raw-open 0 {} read,write", hex("own")));
    let command = format!("write-large {number} 30000000");
    stage.works(&thief, &command, "1048576", "filesystem.write");
    assert_eq!(fs::metadata(tree.at("granted/own")).unwrap().len(), 1 << 20);
}

#[test]
fn a_path_beyond_the_maximum_is_not_copied() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&crate::harness::tree::ALL));
    assert_eq!(stage.engine.text(thief.handle, "long-path 0 5000"), "error: name-too-long");
    let mut reply = String::new();
    let grown = growth(|| reply = stage.engine.text(thief.handle, "long-path 0 30000000"));
    assert_eq!(reply, "error: name-too-long");
    assert!(grown < 45 * MIB, "{} MiB, of which 29 are the guest's", grown / MIB);
    let observed = stage.observe(&thief, "lookups 1 a");
    assert_eq!(observed.denials().len(), 1);
    tree.assert_untouched("a long path");
}

#[test]
fn datagrams_beyond_the_maximum_are_not_copied() {
    let stage = Stage::new();
    let rights = json!({"network": {"outbound": ["127.0.0.1"]}});
    let limits = json!({"max-memory-bytes": 256 * MIB, "max-execution-time-ms": 60_000});
    let options = json!({"limits": limits, "capabilities": rights});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    // The guest's own memory is as large as the datagram.
    assert_eq!(stage.engine.text(thief.handle, "udp-large 1 1000 127.0.0.1:9"), "1");
    let mut reply = String::new();
    let grown =
        growth(|| reply = stage.engine.text(thief.handle, "udp-large 16 2000000 127.0.0.1:9"));
    assert_eq!(reply, "error: datagram-too-large");
    assert!(grown < 48 * MIB, "{} MiB, of which 33 are the guest's", grown / MIB);
}
