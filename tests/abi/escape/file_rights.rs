//! Uses of files that need another right than the granted one.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::stage::{Stage, hex, never};
use crate::harness::tree::{
    ALL, DENIED, NO_LINKS, NOT_THERE, OUTSIDE, ROOT_ONLY, Tree, refused, with_rights,
};

/// Commands on `granted`, each with the right and the path of its first denial.
fn changes(tree: &Tree) -> Vec<(String, &'static str, String)> {
    let at = |name: &str| tree.at(&format!("granted/{name}"));
    let (own, new, sub) = (at("own"), at("new"), at("sub"));
    vec![
        (format!("write {own} x"), "write", own.clone()),
        (format!("append {own} x"), "write", own.clone()),
        (format!("truncate {own} 0"), "write", own.clone()),
        (format!("create-new {new} x"), "write", new.clone()),
        (format!("mkdir {new}"), "write", new.clone()),
        (format!("hold-write {own}"), "write", own.clone()),
        (format!("set-times {own}"), "write", own.clone()),
        (format!("delete {own}"), "delete", own.clone()),
        (format!("rmdir {sub}"), "delete", sub),
        (format!("rename {own} {new}"), "delete", own),
    ]
}

#[test]
fn the_right_to_read_permits_no_change() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["read"]);
    for (command, action, path) in changes(&tree) {
        stage.denied(&thief, &command, DENIED, refused(action, &path));
    }
    let (own, granted) = (tree.at("granted/own"), tree.at("granted"));
    stage.denied(&thief, &format!("list-dir {granted}"), DENIED, refused("list-dir", &granted));
    stage.works(&thief, &format!("read {own}"), "mine", "filesystem.read");
    stage.works(&thief, &format!("stat {own}"), "file 4", "filesystem.read");
    tree.assert_untouched("reading");
}

#[test]
fn open_flags_do_not_circumvent_rights() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["read", "list-dir"]);
    let (own, new, sub) = (tree.at("granted/own"), tree.at("granted/new"), tree.at("granted/sub"));
    for (name, path, flags) in [
        ("own", &own, "truncate"),
        ("own", &own, "truncate,read"),
        ("own", &own, "write"),
        ("own", &own, "read,write"),
        ("own", &own, "exclusive"),
        ("new", &new, "create"),
        ("new", &new, "create,read"),
        ("new", &new, "create,exclusive,read"),
        ("new", &new, "create,directory"),
        ("sub", &sub, "mutate"),
        ("sub", &sub, "directory,mutate"),
        ("sub", &sub, "directory,read,write"),
    ] {
        let command = format!("raw-open 0 {} {flags}", hex(name));
        stage.denied(&thief, &command, "error: not-permitted", refused("write", path));
    }
    // A directory opened for reading cannot be changed through its descriptor.
    let number = stage.observe(&thief, &format!("raw-open 0 {} directory,read", hex("sub"))).text();
    assert_eq!(number, "1");
    let (made, deep) = (tree.at("granted/sub/x"), tree.at("granted/sub/deep"));
    let x = hex("x");
    stage.denied(
        &thief,
        &format!("raw-mkdir 1 {x}"),
        "error: not-permitted",
        refused("write", &made),
    );
    let command = format!("raw-delete 1 {}", hex("deep"));
    stage.denied(&thief, &command, "error: not-permitted", refused("delete", &deep));
    // A file opened for reading can be neither written nor truncated.
    let number = stage.observe(&thief, &format!("raw-open 0 {} read", hex("own"))).text();
    stage.denied(
        &thief,
        &format!("raw-write {number} x"),
        "error: not-permitted",
        refused("write", &own),
    );
    stage.denied(
        &thief,
        &format!("raw-resize {number} 0"),
        "error: not-permitted",
        refused("write", &own),
    );
    let command = format!("stream-hold {number}");
    stage.denied(&thief, &command, "error: not-permitted", refused("write", &own));
    stage.works(&thief, &format!("raw-read {number}"), "mine", "filesystem.read");
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
    assert!(!fs::exists(&new).unwrap());
}

#[test]
fn the_right_to_write_permits_neither_reading_nor_removing() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["write"]);
    let (own, granted, sub) = (tree.at("granted/own"), tree.at("granted"), tree.at("granted/sub"));
    stage.denied(&thief, &format!("read {own}"), DENIED, refused("read", &own));
    stage.denied(&thief, &format!("delete {own}"), DENIED, refused("delete", &own));
    stage.denied(&thief, &format!("rmdir {sub}"), DENIED, refused("delete", &sub));
    stage.denied(&thief, &format!("list-dir {granted}"), DENIED, refused("list-dir", &granted));
    let command = format!("rename {own} {granted}/new");
    stage.denied(&thief, &command, DENIED, refused("read", &own));
    let link = format!("raw-read-link 0 {}", hex("own"));
    stage.denied(&thief, &link, "error: not-permitted", refused("read", &own));
    stage.works(&thief, &format!("write {own} new"), "ok", "filesystem.write");
    assert_eq!(fs::read_to_string(&own).unwrap(), "new");
}

#[test]
fn the_right_to_delete_permits_nothing_else() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["delete"]);
    let (own, new) = (tree.at("granted/own"), tree.at("granted/new"));
    stage.denied(&thief, &format!("write {own} x"), DENIED, refused("write", &own));
    stage.denied(&thief, &format!("mkdir {new}"), DENIED, refused("write", &new));
    stage.denied(&thief, &format!("read {own}"), DENIED, refused("read", &own));
    let truncate = format!("raw-open 0 {} truncate", hex("own"));
    stage.denied(&thief, &truncate, "error: not-permitted", refused("write", &own));
    stage.works(&thief, &format!("delete {own}"), "ok", "filesystem.delete");
    assert!(!fs::exists(&own).unwrap());
}

#[test]
fn the_right_to_list_permits_no_reading() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["list-dir"]);
    let (own, granted) = (tree.at("granted/own"), tree.at("granted"));
    stage.denied(&thief, &format!("read {own}"), DENIED, refused("read", &own));
    stage.denied(&thief, &format!("write {own} x"), DENIED, refused("write", &own));
    let link = format!("raw-read-link 0 {}", hex("own"));
    stage.denied(&thief, &link, "error: not-permitted", refused("read", &own));
    // A directory can be opened, but its files cannot be read.
    assert_eq!(
        stage.observe(&thief, &format!("raw-open 0 {} directory,read", hex("sub"))).text(),
        "1"
    );
    let command = format!("raw-open 1 {} read", hex("deep"));
    let denial = refused("read", &tree.at("granted/sub/deep"));
    stage.denied(&thief, &command, "error: not-permitted", denial);
    // A file opened without access flags cannot be read either.
    let number = stage.observe(&thief, &format!("raw-open 0 {} -", hex("own"))).text();
    stage.denied(
        &thief,
        &format!("raw-read {number}"),
        "error: not-permitted",
        refused("read", &own),
    );
    let all = "a.csv\nown\nprivate\nsub";
    stage.works(&thief, &format!("list-dir {granted}"), all, "filesystem.list-dir");
}

#[test]
fn a_rename_needs_rights_to_both_names() {
    let (stage, tree) = (Stage::new(), Tree::new());
    // A rename replaces its target, which needs the right to delete.
    let thief = with_rights(&stage, &tree, &["read", "write"]);
    let (own, other) = (tree.at("granted/own"), tree.at("granted/a.csv"));
    let command = format!("rename {own} {other}");
    stage.denied(&thief, &command, DENIED, refused("delete", &own));
    // Renames between directories with different rights.
    let rights = json!({"filesystem": {tree.at("granted"): ALL, tree.at("outside"): ["read"]}});
    let mover = stage.load("app/mover/0", "wasi", rights);
    let (secret, stolen) = (tree.at("outside/secret"), tree.at("granted/stolen"));
    let command = format!("rename {secret} {stolen}");
    stage.denied(&mover, &command, DENIED, refused("delete", &secret));
    let command = format!("rename {own} {secret}");
    stage.denied(&mover, &command, DENIED, refused("write", &secret));
    let command = format!("hard-link {secret} {stolen}");
    stage.denied(&mover, &command, DENIED, never("filesystem.write", &stolen, NO_LINKS));
    tree.assert_untouched("renames");
    stage.works(&mover, &format!("rename {own} {other}"), "ok", "filesystem.write");
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
}

#[test]
fn a_grant_on_a_file_covers_no_other_file() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let own = tree.at("granted/own");
    symlink("own", tree.at("granted/alias")).unwrap();
    let rights = json!({"filesystem": {&own: ["read", "write"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for name in ["a.csv", "alias", "OWN", "own ", "sub/deep", "private/secret", "new"] {
        let path = tree.at(&format!("granted/{name}"));
        for (flags, action) in [("follow,read", "read"), ("follow,create,write", "write")] {
            let command = format!("raw-open 0 {} {flags}", hex(name));
            stage.denied(&thief, &command, "error: not-permitted", refused(action, &path));
        }
    }
    let granted = tree.at("granted");
    stage.denied(&thief, &format!("list-dir {granted}"), DENIED, refused("list-dir", &granted));
    stage.denied(&thief, &format!("delete {own}"), DENIED, refused("delete", &own));
    let command = format!("raw-open 0 {} read", hex("../granted/own"));
    let outside = never("filesystem.read", &own, OUTSIDE);
    stage.denied(&thief, &command, "error: not-permitted", outside);
    stage.works(&thief, &format!("read {own}"), "mine", "filesystem.read");
    stage.works(&thief, &format!("write {own} new"), "ok", "filesystem.write");
    assert!(!fs::exists(tree.at("granted/new")).unwrap());
    tree.assert_untouched("one file");
}

#[test]
fn wildcards_match_names_in_one_directory() {
    let (stage, tree) = (Stage::new(), Tree::new());
    for (file, content) in [("sub/b.csv", "3"), ("c.csv.bak", "4"), (".csv", "5"), ("d.CSV", "6")] {
        fs::write(tree.at(&format!("granted/{file}")), content).unwrap();
    }
    fs::create_dir(tree.at("granted/e.csv")).unwrap();
    fs::write(tree.at("granted/e.csv/inner"), "7").unwrap();
    symlink("private/secret", tree.at("granted/link.csv")).unwrap();
    symlink("sub", tree.at("granted/dirlink.csv")).unwrap();
    let rights = json!({"filesystem": {tree.at("granted/*.csv"): ["read", "list-dir"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for name in ["own", "c.csv.bak", "d.CSV", "sub/b.csv", "e.csv/inner", "dirlink.csv/deep"] {
        let path = tree.at(&format!("granted/{name}"));
        let command = format!("raw-open 0 {} follow,read", hex(name));
        stage.denied(&thief, &command, "error: not-permitted", refused("read", &path));
    }
    // Links that match are not followed.
    for name in ["link.csv", "dirlink.csv"] {
        for flags in ["follow,read", "follow,directory,read"] {
            let text = stage.observe(&thief, &format!("raw-open 0 {} {flags}", hex(name))).text();
            assert!(text.starts_with("error: "), "{name}: {text}");
        }
    }
    // A directory that matches can be opened, but nothing in it.
    let number =
        stage.observe(&thief, &format!("raw-open 0 {} directory,read", hex("e.csv"))).text();
    let command = format!("raw-open {number} {} read", hex("inner"));
    let denial = refused("read", &tree.at("granted/e.csv/inner"));
    stage.denied(&thief, &command, "error: not-permitted", denial);
    let command = format!("raw-open {number} {} read", hex("../own"));
    let denial = never("filesystem.read", &tree.at("granted/own"), OUTSIDE);
    stage.denied(&thief, &command, "error: not-permitted", denial);
    // Other names are not even listed.
    let listed = stage.observe(&thief, &format!("list-dir {}", tree.at("granted"))).text();
    assert_eq!(listed, ".csv\na.csv\ndirlink.csv\ne.csv\nlink.csv");
    stage.works(&thief, &format!("read {}", tree.at("granted/a.csv")), "1,2", "filesystem.read");
    tree.assert_untouched("wildcards");
}

#[test]
fn two_components_in_one_directory_have_separate_rights() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let reader = stage.load("app/reader/0", "wasi", tree.granted(&["read"]));
    let writer = stage.load("app/writer/0", "wasi", tree.granted(&["write"]));
    let own = tree.at("granted/own");
    for _ in 0..2 {
        stage.works(&writer, &format!("write {own} shared"), "ok", "filesystem.write");
        stage.works(&reader, &format!("read {own}"), "shared", "filesystem.read");
        stage.denied(&reader, &format!("write {own} x"), DENIED, refused("write", &own));
        stage.denied(&writer, &format!("read {own}"), DENIED, refused("read", &own));
    }
}

#[test]
fn open_files_and_streams_end_with_the_right() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let rights = tree.granted(&["read", "write"]);
    let thief = stage.load("app/thief/0", "wasi", rights.clone());
    let own = tree.at("granted/own");
    stage.works(&thief, &format!("hold-write {own}"), "ok", "filesystem.write");
    stage.works(&thief, "read-held", "mine", "filesystem.read");
    let number = stage.observe(&thief, &format!("raw-open 0 {} read,write", hex("own"))).text();
    stage.works(&thief, &format!("stream-hold {number}"), "ok", "filesystem.write");
    stage.works(&thief, "stream-write !", "ok", "filesystem.write");
    stage.engine.revoke(thief.handle, Some(&rights.to_string())).unwrap();
    for (command, action) in [
        ("read-held".to_owned(), "read"),
        ("write-held x".into(), "write"),
        ("stream-write x".into(), "write"),
        (format!("raw-read {number}"), "read"),
        (format!("raw-write {number} x"), "write"),
        (format!("raw-resize {number} 0"), "write"),
        (format!("raw-stat {number}"), "read"),
        (format!("read {own}"), "read"),
    ] {
        let observed = stage.observe(&thief, &command);
        assert!(observed.text().contains("error: "), "{command}: {}", observed.text());
        let denials = observed.denials();
        assert!(!denials.is_empty(), "{command}");
        assert!(denials.iter().all(|one| *one == refused(action, &own)), "{command}: {denials:?}");
    }
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine!");
    // A new instance does not even see the directory.
    stage.engine.call(thief.handle, "exit 1").unwrap_err();
    stage.rejected(&thief, "preopens", ROOT_ONLY);
    stage.denied(&thief, &format!("read {own}"), NOT_THERE, refused("read", &own));
}

#[test]
fn a_pipe_without_a_writer_holds_no_threads() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let made = std::process::Command::new("mkfifo").arg(tree.at("granted/pipe")).status().unwrap();
    assert!(made.success());
    let options = json!({"limits": {"max-execution-time-ms": 60_000},
                         "capabilities": tree.granted(&["read"])});
    let thief = stage.load_with("app/thief/0", "wasi", &options);
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let command = format!("read {}", tree.at("granted/pipe"));
    for _ in 0..300 {
        assert_eq!(stage.engine.text(thief.handle, &command), DENIED);
    }
    // Leaves room for threads that come and go.
    let after = threads();
    stage.assert_intact("reading a pipe");
    assert!(after < before + 150, "{before} threads before, {after} after");
}

#[test]
fn all_that_is_granted_works() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let user = with_rights(&stage, &tree, &ALL);
    let at = |name: &str| tree.at(&format!("granted/{name}"));
    for (command, reply, action) in [
        (format!("read {}", at("own")), "mine", "read"),
        (format!("write {} new", at("own")), "ok", "write"),
        (format!("append {} er", at("own")), "ok", "write"),
        (format!("read {}", at("own")), "newer", "read"),
        (format!("mkdir {}", at("dir")), "ok", "write"),
        (format!("rename {} {}", at("own"), at("dir/moved")), "ok", "delete"),
        (format!("list-dir {}", at("dir")), "moved", "list-dir"),
        (format!("set-times {}", at("dir/moved")), "ok", "write"),
        (format!("truncate {} 3", at("dir/moved")), "ok", "write"),
        (format!("stat {}", at("dir/moved")), "file 3", "read"),
        (format!("delete {}", at("dir/moved")), "ok", "delete"),
        (format!("rmdir {}", at("dir")), "ok", "delete"),
    ] {
        stage.works(&user, &command, reply, &format!("filesystem.{action}"));
    }
}
