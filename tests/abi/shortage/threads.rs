//! Shortage of threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::json;

use crate::harness::audit::AuditTrail;
use crate::harness::child::{
    Limited, assert_names_the_limit, become_somebody, config, named, passes, threads,
};
use crate::harness::engine::{PATIENCE, eventually};
use crate::harness::requests::Inbox;
use crate::harness::store::Store;

const ECHOES: usize = 101;

#[test]
fn creating_an_engine_without_threads_fails_and_works_later() {
    passes("shortage::threads::makes_engines");
}

#[test]
#[ignore = "run by creating_an_engine_without_threads_fails_and_works_later"]
fn makes_engines() {
    become_somebody();
    let config = config();
    let before = threads().len();
    {
        let _none = Limited::to_more_threads(0);
        assert_names_the_limit(&config.try_engine().map(drop).expect_err("no thread"));
    }
    assert_eq!(threads().len(), before);
    let engine = config.engine();
    let echo = engine.load("app/echo/0", "echo");
    assert_eq!(engine.text(echo, "x"), "x");
}

#[test]
fn a_load_without_threads_fails_cleanly_and_works_later() {
    passes("shortage::threads::loads");
}

#[test]
#[ignore = "run by a_load_without_threads_fails_cleanly_and_works_later"]
fn loads() {
    become_somebody();
    let cache = tempfile::tempdir().unwrap();
    let config = config().with(&json!({ "cache-dir": cache.path().join("cache") }).to_string());
    let wasm = airssys_wasm_guests::bytes("echo");
    // From here on nothing is compiled: this test is not about compiler threads.
    config.engine().try_load("app/echo/0", &wasm, None).unwrap();
    eventually("all are gone", || (named("airssys") == 0).then_some(()));
    let mut refused = 0;
    for more in (0..12).chain([0, 1, 2, 3]) {
        let engine = config.engine();
        let before = threads().len();
        let limited = Limited::to_more_threads(more);
        let loaded = engine.try_load("app/echo/0", &wasm, None);
        drop(limited);
        let echo = match loaded {
            Ok(echo) => echo,
            Err(failure) => {
                refused += 1;
                assert_names_the_limit(&failure);
                eventually("no thread is left", || (threads().len() == before).then_some(()));
                assert_eq!(engine.list(), json!([]));
                engine.try_load("app/echo/0", &wasm, None).unwrap()
            }
        };
        assert_eq!(engine.text(echo, "x"), "x");
        assert_eq!(named("airssys-worker"), 2, "{more} more");
        drop(engine);
        eventually("all are gone", || (named("airssys") == 0).then_some(()));
    }
    assert!(refused >= 5, "{refused}");
}

#[test]
fn accepted_work_proceeds_without_new_threads() {
    passes("shortage::threads::requests_and_records");
}

#[test]
#[ignore = "run by accepted_work_proceeds_without_new_threads"]
fn requests_and_records() {
    become_somebody();
    let (config, trail, store) = (config(), AuditTrail::default(), Store::new());
    trail.attach(&config);
    store.attach(&config);
    let engine = config.engine();
    let echo = engine.load("app/echo/0", "echo");
    let user = engine.load("app/user/0", "storage-user");
    let _none = Limited::to_more_threads(0);
    let inbox = Inbox::new();
    let ids: Vec<u64> = (0..ECHOES).map(|_| engine.request(echo, "x", inbox).unwrap()).collect();
    inbox.exactly(&ids);
    // A callback for a guest on a worker.
    engine.send(user, "set k v").unwrap();
    eventually("it is stored", || store.value("app/user/0", "k"));
    eventually("it is recorded", || (!trail.since(0).is_empty()).then_some(()));
    let requester = engine.request(user, "get k", inbox).unwrap();
    inbox.exactly(&[ids, vec![requester]].concat());
    engine.shutdown(60_000).unwrap();
    assert!(engine.stats()["components"] == 0);
}

#[test]
fn threads_are_added_once_the_system_has_some() {
    passes("shortage::threads::callbacks_that_wait_for_each_other");
}

#[test]
#[ignore = "run by threads_are_added_once_the_system_has_some"]
fn callbacks_that_wait_for_each_other() {
    become_somebody();
    let config = config();
    let (tell, told) = mpsc::channel();
    let open = Arc::<AtomicBool>::default();
    let waits = Arc::clone(&open);
    // The first callback holds the only thread until the second one starts.
    let store = Store::scripted(move |_, _, key| {
        if key == "first" {
            tell.send(()).unwrap();
            let began = std::time::Instant::now();
            while !waits.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            waits.store(true, Ordering::SeqCst);
        }
        None
    });
    store.attach(&config);
    let engine = config.engine();
    let [a, b] = ["app/a/0", "app/b/0"].map(|id| engine.load(id, "storage-user"));
    let limited = Limited::to_more_threads(0);
    engine.send(a, "get first").unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    engine.send(b, "get second").unwrap();
    drop(limited);
    eventually("the second came", || open.load(Ordering::SeqCst).then_some(()));
    assert_eq!(named("airssys-calls"), 2);
}

#[test]
fn a_file_operation_that_got_no_thread_is_not_done_later() {
    passes("shortage::threads::writes_files");
}

#[test]
#[ignore = "run by a_file_operation_that_got_no_thread_is_not_done_later"]
fn writes_files() {
    become_somebody();
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    let engine = config().engine();
    let granted = json!({ "filesystem": { path.to_str().unwrap(): ["read", "write", "delete"] } });
    let options = json!({ "capabilities": granted }).to_string();
    let wasi = engine.load_with("app/wasi/0", "wasi", &options);
    let at = |name: &str| format!("{}/{name}", path.display());
    {
        let _none = Limited::to_more_threads(0);
        let failed = engine.text(wasi, &format!("write {} x", at("first")));
        assert!(failed.starts_with("error: "), "{failed}");
    }
    let done = engine.text(wasi, &format!("write {} x", at("second")));
    assert!(!done.starts_with("error: "), "{done}");
    assert!(path.join("second").exists() && !path.join("first").exists());
}
