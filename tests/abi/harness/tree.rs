//! A granted directory beside secrets that are not granted.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::stage::{Denial, Guest, Stage, not_granted};

/// How the guest's standard library prints `not-permitted`.
pub const DENIED: &str = "error: Operation not permitted (os error 63)";
/// How it prints the error for a path outside every granted directory.
pub const NOT_THERE: &str = "error: No such file or directory (os error 44)";
/// The reply to `preopens` without grants.
pub const ROOT_ONLY: &str = "0 / DescriptorFlags(READ)";
pub const OUTSIDE: &str = "outside of the granted directory";
pub const NO_LINKS: &str = "components cannot create links";

/// A directory `granted` with the component's files, beside a secret.
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

    /// Checks that the secrets are unchanged and that nothing new is beside `granted`.
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

/// A component with the rights `actions` on `granted`.
pub fn with_rights(stage: &Stage, tree: &Tree, actions: &[&str]) -> Guest {
    stage.load("app/thief/0", "wasi", tree.granted(actions))
}

pub fn refused(action: &str, path: &str) -> Denial {
    not_granted(&format!("filesystem.{action}"), path)
}

/// One component swaps a directory and a link to `target` while another runs `command`. Returns
/// what the second one saw, then the reply of the first.
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

pub fn deny(tree: &Tree, component: &str, action: &str) -> Value {
    json!([{"effect": "deny", "component": component, "action": action, "reason": "closed",
            "resource": tree.at("granted/private/**")}])
}
