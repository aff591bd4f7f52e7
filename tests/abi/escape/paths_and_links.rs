//! Paths and links that lead out of a granted directory.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::stage::{Stage, hex, never};
use crate::harness::tree::{
    ALL, DENIED, NO_LINKS, NOT_THERE, OUTSIDE, Tree, race, refused, with_rights,
};

#[test]
fn no_path_leads_out_of_a_directory() {
    let (stage, tree) = (Stage::new(), Tree::new());
    let thief = with_rights(&stage, &tree, &ALL);
    let (absolute, root) = (tree.at("secret"), tree.at(""));
    let (secret, root) = (absolute.as_str(), root.trim_end_matches('/'));
    // Each with the normalized path that is recorded.
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
fn names_that_look_like_a_way_out_are_ordinary_names() {
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
fn paths_that_were_not_granted_do_not_exist() {
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
fn links_out_of_the_directory_are_not_followed() {
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
fn components_cannot_create_links() {
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

#[test]
fn a_link_that_replaces_a_granted_file_is_not_followed() {
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
fn a_link_that_replaces_a_granted_directory_is_not_followed() {
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
    // The mover may rename the link but not see where it leads.
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

#[test]
fn links_matched_by_wildcards_are_not_followed_through_a_dot() {
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
fn links_matched_by_wildcards_are_not_followed_with_another_right() {
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
