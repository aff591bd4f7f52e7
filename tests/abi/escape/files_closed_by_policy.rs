//! Files in a part of a granted directory that a policy closes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::stage::{Guest, Stage, hex, never, policy};
use crate::harness::tree::{ALL, DENIED, Tree, deny, with_rights};

#[test]
fn a_later_policy_applies_to_open_files() {
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

/// A component with all rights to `granted`, and a policy that closes `granted/private`.
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
fn a_closed_part_is_closed_under_every_name() {
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
fn a_policy_on_a_directory_closes_everything_in_it() {
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
fn a_path_too_long_to_check_is_not_followed() {
    let (stage, tree, thief) = with_closed_part();
    let secret = tree.at("granted/private/secret");
    // The longest paths exceed PATH_MAX once the directory is prepended.
    for slack in [1000, 40, 20, 16, 12, 10, 8] {
        let dots = "./".repeat((4096 - slack - "link/secret".len()) / 2);
        let command = format!("raw-open 0 {} follow,read", hex(&format!("link/{dots}secret")));
        let denial = policy("filesystem.read", &secret, 0, "closed");
        stage.denied(&thief, &command, "error: not-permitted", denial);
    }
    tree.assert_untouched("long paths");
}

/// A component with all rights to `granted`, a policy on `granted/private`, and a link of the host
/// to it.
fn closed(action: &str) -> (Stage, Tree, Guest) {
    let tree = Tree::new();
    let stage = Stage::with_policies(deny(&tree, "**", action));
    symlink("private", tree.at("granted/link")).unwrap();
    let thief = stage.load("app/thief/0", "wasi", tree.granted(&ALL));
    (stage, tree, thief)
}

/// Expects that the secret stays secret and that the audit names the policy.
#[track_caller]
fn stays_closed(stage: &Stage, thief: &Guest, command: &str) {
    let observed = stage.observe(thief, command);
    let text = observed.text();
    assert!(!text.contains("treasure") && text.contains("error: "), "{command}: {text}");
    let denials = observed.denials();
    assert!(denials.iter().any(|denial| denial.by == "policy"), "{command}: {denials:?}");
}

#[test]
fn renaming_a_parent_does_not_open_a_closed_part() {
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
fn a_later_policy_applies_to_files_opened_through_links() {
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
fn nothing_is_created_in_a_closed_part_through_a_dangling_link() {
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
fn a_name_that_is_not_utf_8_is_not_followed() {
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
