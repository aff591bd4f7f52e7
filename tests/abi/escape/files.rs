//! Files beyond what was granted: out of a directory, into a part of it that is closed, with another right.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::escape::stage::{Denial, Guest, Stage, hex, never, not_granted, policy};

/// What the standard library makes of `not-permitted`.
const DENIED: &str = "error: Operation not permitted (os error 63)";
/// And of a path that is in no directory that was granted.
const NOT_THERE: &str = "error: No such file or directory (os error 44)";
/// What `preopens` shows to who was granted none.
pub const ROOT_ONLY: &str = "0 / DescriptorFlags(READ)";
const OUTSIDE: &str = "outside of the granted directory";
const NO_LINKS: &str = "components cannot create links";

/// `granted` with what belongs to a component, beside a secret that does not.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for directory in ["granted", "granted/sub", "granted/private", "outside"] {
            fs::create_dir(tree.at(directory)).unwrap();
        }
        for (file, content) in [
            ("secret", "treasure"),
            ("outside/secret", "treasure"),
            ("granted/own", "mine"),
            ("granted/a.csv", "1,2"),
            ("granted/sub/deep", "deeper"),
            ("granted/private/secret", "treasure"),
        ] {
            fs::write(tree.at(file), content).unwrap();
        }
        tree
    }

    pub fn at(&self, path: &str) -> String {
        let root = self.0.path().canonicalize().unwrap();
        root.join(path).to_str().unwrap().into()
    }

    pub fn granted(&self, actions: &[&str]) -> Value {
        json!({"filesystem": {self.at("granted"): actions}})
    }

    /// The secrets are as they were, and nothing new is beside the granted directory.
    #[track_caller]
    pub fn assert_untouched(&self, attempt: &str) {
        for secret in ["secret", "outside/secret", "granted/private/secret"] {
            let content = fs::read_to_string(self.at(secret)).unwrap_or_default();
            assert_eq!(content, "treasure", "{attempt}: {secret}");
        }
        let names = |path: &str| fs::read_dir(self.at(path)).unwrap().count();
        assert_eq!((names(""), names("outside"), names("granted/private")), (3, 1, 1), "{attempt}");
    }
}

pub const ALL: [&str; 4] = ["read", "write", "delete", "list-dir"];

/// One component with these rights to `granted`.
fn with_rights(stage: &Stage, tree: &Tree, actions: &[&str]) -> Guest {
    stage.load("app/thief/0", "wasi", tree.granted(actions))
}

#[test]
fn no_path_leads_out_of_a_directory() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    let (absolute, root) = (tree.at("secret"), tree.at(""));
    let (secret, root) = (absolute.as_str(), root.trim_end_matches('/'));
    // Each with the path that is recorded, which is without detours.
    for (path, at) in [
        ("../secret", secret),
        ("./../secret", secret),
        ("../granted/../secret", secret),
        ("sub/../../secret", secret),
        ("sub/.././/../secret", secret),
        ("own/../../secret", secret),
        ("nothing/../../secret", secret),
        ("..", root),
        ("../", root),
        ("/", "/"),
        ("/etc/passwd", "/etc/passwd"),
        ("/proc/self/environ", "/proc/self/environ"),
        ("/proc/self/root/etc/passwd", "/proc/self/root/etc/passwd"),
        ("/dev/null", "/dev/null"),
        ("own\0/../../secret", secret),
        (secret, secret),
    ] {
        let (path, own) = (hex(path), hex("own"));
        for (command, action) in [
            (format!("raw-open 0 {path} follow,read"), "read"),
            (format!("raw-open 0 {path} follow,create,write"), "write"),
            (format!("raw-open 0 {path} directory,read"), "list-dir"),
            (format!("raw-stat-at 0 {path}"), "read"),
            (format!("raw-times-at 0 {path}"), "write"),
            (format!("raw-read-link 0 {path}"), "read"),
            (format!("raw-delete 0 {path}"), "delete"),
            (format!("raw-mkdir 0 {path}"), "write"),
            (format!("raw-rmdir 0 {path}"), "delete"),
            (format!("raw-rename 0 {path} 0 {}", hex("stolen")), "read"),
            (format!("raw-rename 0 {own} 0 {path}"), "write"),
        ] {
            let denial = never(&format!("filesystem.{action}"), at, OUTSIDE);
            stage.denied(&thief, &command, "error: not-permitted", denial);
        }
        tree.assert_untouched(at);
    }
    assert_eq!(fs::read_to_string(tree.at("granted/own")).unwrap(), "mine");
}

#[test]
fn names_that_only_look_like_a_way_out_are_names() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    for path in [
        "..\\secret",
        "\u{2024}\u{2024}/secret",
        "..\u{2215}secret",
        "%2e%2e/secret",
        "~/secret",
        "...",
        ".. ",
    ] {
        let command = format!("raw-open 0 {} follow,read", hex(path));
        stage.rejected(&thief, &command, "error: no-entry");
    }
    for path in ["own\0", "\0", "../secret\0/../granted/own"] {
        let text = stage.observe(&thief, &format!("raw-open 0 {} follow,read", hex(path))).text();
        assert!(text.starts_with("error: "), "{path:?}: {text}");
    }
    tree.assert_untouched("names");
}

#[test]
fn paths_of_the_host_that_were_not_granted_are_not_there() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    let preopens = stage.observe(&thief, "preopens").text();
    assert_eq!(preopens.lines().count(), 2, "{preopens}");
    let secret = tree.at("secret");
    for (path, at) in [
        (secret.as_str(), secret.as_str()),
        ("/etc/passwd", "/etc/passwd"),
        ("/proc/self/maps", "/proc/self/maps"),
        ("/dev/urandom", "/dev/urandom"),
        ("/", "/"),
        (".", "/"),
    ] {
        for (command, action) in [("read", "read"), ("list-dir", "list-dir"), ("stat", "read")] {
            let command = format!("{command} {path}");
            stage.denied(&thief, &command, NOT_THERE, refused(action, at));
        }
    }
    tree.assert_untouched("paths");
}

#[test]
fn links_that_lead_out_are_not_followed() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    let out =
        |link: &str, target: &str| symlink(target, tree.at(&format!("granted/{link}"))).unwrap();
    out("relative", "../secret");
    out("absolute", &tree.at("secret"));
    out("directory", "../outside");
    out("root", "/");
    out("up", "..");
    out("chain", "up/secret");
    out("proc", "/proc/self");
    out("within", "sub/deep");
    for path in [
        "relative",
        "absolute",
        "directory/secret",
        "root/etc/passwd",
        "up/secret",
        "chain",
        "proc/environ",
        "proc/root/etc/passwd",
        "sub/../up/secret",
        "up/outside/secret",
    ] {
        let path = hex(path);
        for command in [
            format!("raw-open 0 {path} follow,read"),
            format!("raw-open 0 {path} follow,write,truncate"),
            format!("raw-open 0 {path} follow,create,write"),
            format!("raw-stat-at 0 {path}"),
            format!("raw-times-at 0 {path}"),
        ] {
            let text = stage.observe(&thief, &command).text();
            assert!(text.starts_with("error: "), "{command}: {text}");
        }
        tree.assert_untouched(&path);
    }
    for command in [
        format!("raw-mkdir 0 {}", hex("directory/new")),
        format!("raw-delete 0 {}", hex("directory/secret")),
        format!("raw-rename 0 {} 0 {}", hex("directory/secret"), hex("stolen")),
        format!("raw-rename 0 {} 0 {}", hex("own"), hex("directory/secret")),
        format!("raw-open 0 {} follow,directory,read", hex("up")),
        format!("raw-open 0 {} follow,directory,read,mutate", hex("directory")),
    ] {
        let text = stage.observe(&thief, &command).text();
        assert!(text.starts_with("error: "), "{command}: {text}");
    }
    tree.assert_untouched("links");
    let within = tree.at("granted/within");
    stage.works(&thief, &format!("read {within}"), "deeper", "filesystem.read");
}

#[test]
fn components_make_no_links() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    let link = tree.at("granted/link");
    let denial = || never("filesystem.write", &link, NO_LINKS);
    for target in ["../secret", "/etc/passwd", "own", "private"] {
        let command = format!("raw-symlink 0 {} {}", hex(target), hex("link"));
        stage.denied(&thief, &command, "error: not-permitted", denial());
    }
    let own = tree.at("granted/own");
    stage.denied(&thief, &format!("symlink {own} {link}"), DENIED, denial());
    stage.denied(&thief, &format!("hard-link {own} {link}"), DENIED, denial());
    let command = format!("raw-link 0 {} 0 {}", hex("private/secret"), hex("link"));
    stage.denied(&thief, &command, "error: not-permitted", denial());
    assert!(fs::symlink_metadata(&link).is_err());
}

/// Commands on `granted`, with the right that the first refusal is about and where.
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

fn refused(action: &str, path: &str) -> Denial {
    not_granted(&format!("filesystem.{action}"), path)
}

#[test]
fn a_right_to_read_changes_nothing() {
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
fn open_flags_are_no_way_around() {
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
    // A directory that was opened to be read is not changed through it.
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
    // Nor is a file: not written, not cut.
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
fn a_right_to_write_neither_reads_nor_removes() {
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
fn a_right_to_remove_does_nothing_else() {
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
fn a_right_to_list_reads_nothing() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["list-dir"]);
    let (own, granted) = (tree.at("granted/own"), tree.at("granted"));
    stage.denied(&thief, &format!("read {own}"), DENIED, refused("read", &own));
    stage.denied(&thief, &format!("write {own} x"), DENIED, refused("write", &own));
    let link = format!("raw-read-link 0 {}", hex("own"));
    stage.denied(&thief, &link, "error: not-permitted", refused("read", &own));
    // A directory is opened, and what is in it is not read.
    assert_eq!(
        stage.observe(&thief, &format!("raw-open 0 {} directory,read", hex("sub"))).text(),
        "1"
    );
    let command = format!("raw-open 1 {} read", hex("deep"));
    let denial = refused("read", &tree.at("granted/sub/deep"));
    stage.denied(&thief, &command, "error: not-permitted", denial);
    // Opened without any right, a file is not readable either.
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
fn what_takes_a_place_needs_the_right_to_it() {
    let (stage, tree) = (Stage::new(), Tree::new());
    // No right to remove: what is there is not to be replaced by a rename.
    let thief = with_rights(&stage, &tree, &["read", "write"]);
    let (own, other) = (tree.at("granted/own"), tree.at("granted/a.csv"));
    let command = format!("rename {own} {other}");
    stage.denied(&thief, &command, DENIED, refused("delete", &own));
    // From one directory to another, each with rights of its own.
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
fn a_grant_on_a_file_is_on_no_other() {
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
fn a_file_that_a_link_takes_the_place_of_is_not_followed() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let own = tree.at("granted/own");
    let rights = json!({"filesystem": {&own: ["read", "write"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    stage.works(&thief, &format!("read {own}"), "mine", "filesystem.read");
    for target in ["private/secret", "a.csv", "../secret"] {
        fs::remove_file(&own).unwrap();
        symlink(target, &own).unwrap();
        for flags in ["follow,read", "read", "follow,write,truncate", "follow,create,write"] {
            let command = format!("raw-open 0 {} {flags}", hex("own"));
            let text = stage.observe(&thief, &command).text();
            assert!(text.starts_with("error: "), "{target}: {command}: {text}");
        }
        assert_eq!(fs::read_to_string(tree.at("granted/a.csv")).unwrap(), "1,2");
        tree.assert_untouched(target);
    }
}

#[test]
fn wildcards_are_on_names_in_one_directory() {
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
    // Links are not followed, whatever they are called.
    for name in ["link.csv", "dirlink.csv"] {
        for flags in ["follow,read", "follow,directory,read"] {
            let text = stage.observe(&thief, &format!("raw-open 0 {} {flags}", hex(name))).text();
            assert!(text.starts_with("error: "), "{name}: {text}");
        }
    }
    // A directory with such a name is opened, and nothing in it.
    let number =
        stage.observe(&thief, &format!("raw-open 0 {} directory,read", hex("e.csv"))).text();
    let command = format!("raw-open {number} {} read", hex("inner"));
    let denial = refused("read", &tree.at("granted/e.csv/inner"));
    stage.denied(&thief, &command, "error: not-permitted", denial);
    let command = format!("raw-open {number} {} read", hex("../own"));
    let denial = never("filesystem.read", &tree.at("granted/own"), OUTSIDE);
    stage.denied(&thief, &command, "error: not-permitted", denial);
    // The others are not even seen.
    let listed = stage.observe(&thief, &format!("list-dir {}", tree.at("granted"))).text();
    assert_eq!(listed, ".csv\na.csv\ndirlink.csv\ne.csv\nlink.csv");
    stage.works(&thief, &format!("read {}", tree.at("granted/a.csv")), "1,2", "filesystem.read");
    tree.assert_untouched("wildcards");
}

#[test]
fn two_components_in_one_directory_have_each_their_own_rights() {
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
fn a_held_file_and_a_stream_end_with_the_right() {
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
    // A new instance does not even have the directory.
    stage.engine.call(thief.handle, "exit 1").unwrap_err();
    stage.rejected(&thief, "preopens", ROOT_ONLY);
    stage.denied(&thief, &format!("read {own}"), NOT_THERE, refused("read", &own));
}

#[test]
fn a_policy_that_is_set_later_reaches_files_that_are_open() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &["read", "list-dir"]);
    let secret = tree.at("granted/private/secret");
    stage.works(&thief, &format!("hold {secret}"), "ok", "filesystem.read");
    stage.works(&thief, "read-held", "treasure", "filesystem.read");
    let rule = json!({"effect": "deny", "action": "filesystem.*", "reason": "closed",
                      "resource": tree.at("granted/private/**")});
    stage.engine.set_policies(&json!({"rules": [rule]}).to_string()).unwrap();
    let denial = || policy("filesystem.read", &secret, 0, "closed");
    let observed = stage.observe(&thief, "read-held");
    assert_eq!(observed.text(), DENIED);
    let denials = observed.denials();
    assert!(!denials.is_empty() && denials.iter().all(|one| *one == denial()), "{denials:?}");
    stage.denied(&thief, &format!("read {secret}"), DENIED, denial());
}

/// All rights to `granted`, and a policy that closes what is in `granted/private`.
fn with_closed_part() -> (Stage, Tree, Guest) {
    let tree = Tree::new();
    let rule = json!({"effect": "deny", "action": "filesystem.*", "reason": "closed",
                      "resource": tree.at("granted/private/**")});
    let stage = Stage::with_policies(json!([rule]));
    symlink("private", tree.at("granted/link")).unwrap();
    symlink("private/secret", tree.at("granted/file-link")).unwrap();
    symlink("../link", tree.at("granted/sub/chain")).unwrap();
    let thief = with_rights(&stage, &tree, &ALL);
    (stage, tree, thief)
}

#[test]
fn a_part_that_a_policy_closes_is_closed_by_all_its_names() {
    let (stage, tree, thief) = with_closed_part();
    let closed = |action: &str| {
        let path = tree.at("granted/private/secret");
        policy(&format!("filesystem.{action}"), &path, 0, "closed")
    };
    for path in [
        "private/secret",
        "./private//secret",
        "sub/../private/secret",
        "link/secret",
        "file-link",
        "sub/chain/secret",
        "link/../private/secret",
        "link/../link/secret",
        "sub/chain/../chain/secret",
    ] {
        let hexed = hex(path);
        for (command, action) in [
            (format!("raw-open 0 {hexed} follow,read"), "read"),
            (format!("raw-open 0 {hexed} follow,write,truncate"), "write"),
            (format!("raw-stat-at 0 {hexed}"), "read"),
            (format!("raw-times-at 0 {hexed}"), "write"),
            (format!("raw-delete 0 {hexed}"), "delete"),
            (format!("raw-rename 0 {hexed} 0 {}", hex("stolen")), "read"),
            (format!("raw-rename 0 {} 0 {hexed}", hex("own")), "write"),
        ] {
            stage.denied(&thief, &command, "error: not-permitted", closed(action));
        }
        tree.assert_untouched(path);
    }
    let private = tree.at("granted/private");
    let denied = |action: &str| policy(&format!("filesystem.{action}"), &private, 0, "closed");
    stage.denied(&thief, &format!("list-dir {private}"), DENIED, denied("list-dir"));
    let to = tree.at("granted/moved");
    stage.denied(&thief, &format!("rename {private} {to}"), DENIED, denied("read"));
    let made = policy("filesystem.write", &tree.at("granted/private/new"), 0, "closed");
    for path in ["private/new", "link/new", "sub/chain/new"] {
        let command = format!("raw-open 0 {} follow,create,write", hex(path));
        stage.denied(&thief, &command, "error: not-permitted", made.clone());
        let command = format!("raw-mkdir 0 {}", hex(path));
        stage.denied(&thief, &command, "error: not-permitted", made.clone());
    }
    tree.assert_untouched("a closed part");
    stage.works(&thief, &format!("read {}", tree.at("granted/own")), "mine", "filesystem.read");
}

#[test]
fn a_directory_that_a_policy_names_is_closed_with_all_that_is_in_it() {
    let tree = Tree::new();
    for resource in ["granted/private", "granted/private/", "granted/priv*"] {
        let rule = json!({"effect": "deny", "action": "filesystem.*", "reason": "closed",
                          "resource": tree.at("") + resource});
        let stage = Stage::with_policies(json!([rule]));
        let thief = with_rights(&stage, &tree, &ALL);
        let (secret, closed) = (tree.at("granted/private/secret"), |action: &str, path: &str| {
            policy(&format!("filesystem.{action}"), path, 0, "closed")
        });
        let command = format!("read {secret}");
        stage.denied(&thief, &command, DENIED, closed("read", &secret));
        let private = tree.at("granted/private");
        let command = format!("list-dir {private}");
        let observed = stage.observe(&thief, &command);
        assert!(observed.text().starts_with("error: "), "{}", observed.text());
        let new = tree.at("granted/private/new");
        stage.denied(&thief, &format!("mkdir {new}"), DENIED, closed("write", &new));
        stage.works(&thief, &format!("read {}", tree.at("granted/own")), "mine", "filesystem.read");
        tree.assert_untouched(resource);
    }
}

#[test]
fn a_path_that_is_too_long_for_a_check_is_not_followed_unchecked() {
    let (stage, tree, thief) = with_closed_part();
    let secret = tree.at("granted/private/secret");
    // The longest ones are longer than the system takes with the directory in front.
    for slack in [1000, 40, 20, 16, 12, 10, 8] {
        let dots = "./".repeat((4096 - slack - "link/secret".len()) / 2);
        let command = format!("raw-open 0 {} follow,read", hex(&format!("link/{dots}secret")));
        let denial = policy("filesystem.read", &secret, 0, "closed");
        stage.denied(&thief, &command, "error: not-permitted", denial);
    }
    tree.assert_untouched("long paths");
}

#[test]
fn a_directory_that_another_replaces_is_not_followed_to_where_a_link_leads() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let sub = tree.at("granted/sub");
    fs::write(tree.at("granted/sub/secret"), "mine").unwrap();
    symlink("../outside", tree.at("granted/link")).unwrap();
    let mover = stage.load("app/mover/0", "wasi", tree.granted(&ALL));
    let victim =
        stage.load("app/victim/0", "wasi", json!({"filesystem": {&sub: ["read", "write"]}}));
    stage.works(&victim, &format!("read {sub}/secret"), "mine", "filesystem.read");
    let (link, moved) = (tree.at("granted/link"), tree.at("granted/moved"));
    stage.works(&mover, &format!("rename {sub} {moved}"), "ok", "filesystem.delete");
    // Of the link the mover may have the name; where it leads is not its to see.
    let renamed = stage.observe(&mover, &format!("rename {link} {sub}")).text();
    assert!(renamed == "ok" || renamed.starts_with("error"), "{renamed}");
    if renamed != "ok" {
        symlink("../outside", &sub).unwrap();
    }
    for _ in 0..2 {
        stage.works(&victim, &format!("read {sub}/secret"), "mine", "filesystem.read");
        let text = stage.observe(&victim, &format!("write {sub}/new x")).text();
        assert_eq!(text, "ok");
        tree.assert_untouched("a replaced directory");
        stage.engine.call(victim.handle, "exit 1").unwrap_err();
    }
    assert_eq!(fs::read_to_string(tree.at("granted/moved/new")).unwrap(), "x");
}

/// One component swaps a directory and a link that leads to `target`, another does `command`. What
/// the other has seen comes first.
pub fn race(stage: &Stage, tree: &Tree, target: &str, command: &str) -> (String, String) {
    symlink(target, tree.at("granted/race-link")).unwrap();
    fs::create_dir(tree.at("granted/race-directory")).unwrap();
    let limits = json!({"max-execution-time-ms": 60_000});
    let both = json!({"limits": limits, "capabilities": tree.granted(&ALL)});
    let mover = stage.load_with("app/mover/0", "wasi", &both);
    let racer = stage.load_with("app/racer/0", "wasi", &both);
    let swaps = format!("swap-race {} {target} 3000", tree.at("granted"));
    std::thread::scope(|scope| {
        let (engine, mover) = (&stage.engine, mover.handle);
        let swapping = scope.spawn(move || engine.text(mover, &swaps));
        let mut seen = String::new();
        while !swapping.is_finished() {
            seen.push_str(&engine.text(racer.handle, command));
            seen.push('\n');
        }
        (seen, swapping.join().unwrap())
    })
}

#[test]
fn a_race_of_two_components_reads_nothing_outside() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let command = format!("read-race {} 200", tree.at("granted/race/secret"));
    let (seen, swapped) = race(&stage, &tree, "../outside", &command);
    assert!(!seen.contains("treasure") && !swapped.contains("treasure"), "{seen}{swapped}");
    assert!(seen.contains("error") && swapped.contains("error"), "{seen}{swapped}");
    tree.assert_untouched("a race");
    stage.assert_intact("a race");
}

#[test]
fn a_race_of_two_components_writes_nothing_outside() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let command = format!("write-race {} 200 stolen", tree.at("granted/race/secret"));
    race(&stage, &tree, "../outside", &command);
    tree.assert_untouched("a race");
    stage.assert_intact("a race");
}

pub fn deny(tree: &Tree, component: &str, action: &str) -> Value {
    json!([{"effect": "deny", "component": component, "action": action, "reason": "closed",
            "resource": tree.at("granted/private/**")}])
}

/// All rights to `granted`, a policy on `granted/private`, and links of the host's that lead there.
fn closed(action: &str) -> (Stage, Tree, Guest) {
    let tree = Tree::new();
    let stage = Stage::with_policies(deny(&tree, "**", action));
    symlink("private", tree.at("granted/link")).unwrap();
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&ALL));
    (stage, tree, thief)
}

/// Nobody may learn the secret; however it is refused, the audit names the policy.
#[track_caller]
fn stays_closed(stage: &Stage, thief: &Guest, command: &str) {
    let observed = stage.observe(thief, command);
    let text = observed.text();
    assert!(!text.contains("treasure") && text.contains("error: "), "{command}: {text}");
    let denials = observed.denials();
    assert!(denials.iter().any(|denial| denial.by == "policy"), "{command}: {denials:?}");
}

#[test]
fn a_closed_part_is_not_opened_by_renaming_what_it_is_in() {
    let tree = Tree::new();
    fs::create_dir(tree.at("granted/sub/closed")).unwrap();
    fs::write(tree.at("granted/sub/closed/secret"), "treasure").unwrap();
    let rule = json!({"effect": "deny", "action": "filesystem.*", "reason": "closed",
                      "resource": tree.at("granted/sub/closed/**")});
    let stage = Stage::with_policies(json!([rule]));
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&ALL));
    stays_closed(&stage, &thief, &format!("read {}", tree.at("granted/sub/closed/secret")));
    stage.observe(
        &thief,
        &format!("rename {} {}", tree.at("granted/sub"), tree.at("granted/moved")),
    );
    let text =
        stage.observe(&thief, &format!("read {}", tree.at("granted/moved/closed/secret"))).text();
    assert!(!text.contains("treasure"), "read by another name: {text}");
}

#[test]
fn a_policy_against_listing_holds_through_links() {
    let (stage, tree, thief) = closed("filesystem.list-dir");
    stays_closed(&stage, &thief, &format!("list-dir {}", tree.at("granted/private")));
    let text = stage.observe(&thief, &format!("list-dir {}", tree.at("granted/link"))).text();
    assert!(!text.contains("secret"), "listed through a link: {text}");
}

#[test]
fn a_policy_that_is_set_later_reaches_files_that_were_opened_through_links() {
    let tree = Tree::new();
    let stage = Stage::new();
    symlink("private", tree.at("granted/link")).unwrap();
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&ALL));
    let command = format!("hold {}", tree.at("granted/link/secret"));
    stage.works(&thief, &command, "ok", "filesystem.read");
    let rules = json!({"rules": deny(&tree, "**", "filesystem.*")});
    stage.engine.set_policies(&rules.to_string()).unwrap();
    stays_closed(&stage, &thief, "read-held");
}

#[test]
fn nothing_is_made_in_a_closed_part_through_a_link_that_leads_to_nothing_yet() {
    let (stage, tree, thief) = closed("filesystem.*");
    symlink("private/new", tree.at("granted/dangling")).unwrap();
    let command = format!("raw-open 0 {} follow,create,write", hex("dangling"));
    let observed = stage.observe(&thief, &command);
    assert!(!fs::exists(tree.at("granted/private/new")).unwrap(), "made: {}", observed.text());
    let unknown = "the target of its path is unknown";
    let denial = never("filesystem.write", &tree.at("granted/dangling"), unknown);
    assert_eq!(
        (observed.text().as_str(), observed.denials()),
        ("error: not-permitted", vec![denial])
    );
}

#[test]
fn a_name_that_is_no_utf_8_is_not_followed_unchecked() {
    let (stage, tree, thief) = closed("filesystem.*");
    let odd = OsStr::from_bytes(b"odd\xff");
    let inside = Path::new("private").join(odd);
    let at = PathBuf::from(tree.at("granted")).join(&inside);
    fs::create_dir(&at).unwrap();
    fs::write(at.join("secret"), "treasure").unwrap();
    symlink(&inside, tree.at("granted/odd-link")).unwrap();
    let command = format!("read {}", tree.at("granted/odd-link/secret"));
    let text = stage.observe(&thief, &command).text();
    assert!(!text.contains("treasure"), "{text}");
}

#[test]
fn where_wildcards_are_named_links_are_not_followed_by_a_dot_either() {
    let (stage, tree) = (Stage::new(), Tree::new());
    symlink("sub", tree.at("granted/link.csv")).unwrap();
    let rights = json!({"filesystem": {tree.at("granted/*.csv"): ["read", "write", "list-dir"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    for path in ["link.csv", "link.csv/", "link.csv/.", "./link.csv/./"] {
        let command = format!("raw-open 0 {} directory,read", hex(path));
        let text = stage.observe(&thief, &command).text();
        assert!(text.starts_with("error: "), "{path}: opened as {text}");
    }
}

#[test]
fn links_that_are_found_by_wildcards_are_not_followed_with_another_right_either() {
    let (stage, tree) = (Stage::new(), Tree::new());
    symlink("sub", tree.at("granted/link.csv")).unwrap();
    let rights = json!({"filesystem": {tree.at("granted"): ["write"],
                                       tree.at("granted/*.csv"): ["list-dir"]}});
    let thief = stage.load("app/thief/0", "wasi", rights);
    let command = format!("raw-open 0 {} follow,directory,read", hex("link.csv"));
    let opened = stage.observe(&thief, &command).text();
    let text = stage.observe(&thief, &format!("raw-list {opened}")).text();
    assert!(!text.contains("deep"), "{text}");
}

#[test]
fn a_pipe_that_nobody_writes_to_keeps_no_threads_of_the_host() {
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
    // Other tests have threads too, though not that many.
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
