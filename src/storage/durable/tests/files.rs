//! Files that can not be opened, and what the error says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redb::{Database, TableDefinition};

use crate::storage::backend::Backend;
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::tests::opened::{open, options, reports};

/// Fails to open a file, and leaves it as it is.
fn refused(path: &Path) -> (&'static str, String) {
    let before = fs::read(path).ok();
    let error = DurableBackend::open(options(path), reports().0).map(drop).unwrap_err();
    assert_eq!(fs::read(path).ok(), before, "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    (error.problem.name(), text)
}

#[test]
fn a_file_is_open_once_and_free_again_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for n in 0..3 {
        let store = open(&path);
        let error = DurableBackend::open(options(&path), reports().0).map(drop).unwrap_err();
        assert_eq!(error.problem.name(), "in-use");
        assert!(error.to_string().contains("free that engine"), "{error}");
        store.set("app/a/0", &n.to_string(), Vec::new()).unwrap();
        assert_eq!(store.usage("app/a/0").unwrap().keys, n + 1);
    }
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_was_not_finished_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::write(directory.path().join("store.unfinished"), [0; 5000]).unwrap();
    let store = open(&path);
    store.set("app/a/0", "k", Vec::new()).unwrap();
}

#[test]
fn paths_that_name_no_store_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (problem, text) = refused(&at("missing/store"));
    assert_eq!(problem, "no-directory");
    assert!(text.contains("create it"), "{text}");
    assert_eq!(refused(directory.path()).0, "not-a-file");
    assert_eq!(refused(Path::new("")).0, "not-a-file");
    assert_eq!(refused(Path::new("/dev/null")).0, "not-a-file");

    fs::write(at("empty"), "").unwrap();
    let (problem, text) = refused(&at("empty"));
    assert_eq!(problem, "empty");
    assert!(text.contains("remove it"), "{text}");
    fs::write(at("text"), "a text of some length".repeat(1000)).unwrap();
    assert_eq!(refused(&at("text")).0, "not-a-store");
    fs::write(at("short"), "re").unwrap();
    assert_eq!(refused(&at("short")).0, "not-a-store");

    let error = DurableBackend::open(options(Path::new("/tmp/a\0b")), reports().0).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("nul"), "{error}");

    // The superuser may do everything.
    fs::write(at("private"), "x").unwrap();
    fs::set_permissions(at("private"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(at("private")).is_err() {
        assert_eq!(refused(&at("private")).0, "io");
    }
}

#[test]
fn databases_of_others_and_of_other_versions_are_refused() {
    const THEIRS: TableDefinition<'_, &str, u64> = TableDefinition::new("theirs");
    const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("airssys-wasm");
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str, table, value| {
        let path = directory.path().join(name);
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert("format", value).unwrap();
        transaction.commit().unwrap();
        path
    };
    let error = |path: &Path| {
        let error = DurableBackend::open(options(path), reports().0).map(drop).unwrap_err();
        (error.problem.name(), error.to_string())
    };
    assert_eq!(error(&make("theirs", THEIRS, 1)).0, "other-program");
    let (problem, text) = error(&make("newer", FORMAT, 2));
    assert_eq!(problem, "other-format");
    assert!(text.contains("has format 2") && text.contains("reads format 1"), "{text}");
}
