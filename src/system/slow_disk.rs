//! Tests of components over a file whose disk is slow or fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::core::id::ComponentHandle;
use crate::core::message::Outcome;
use crate::storage::backend::Backend;
use crate::storage::durable::backend::DurableBackend;
use crate::storage::durable::options::DurableOptions;
use crate::storage::durable::tests::disk::{Disk, Gate, Plan, Trouble};
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::sending::{HostMessage, Patience};

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    engine: Engine,
    disk: Arc<Disk>,
    store: Arc<DurableBackend>,
}

impl Scene {
    fn new() -> Self {
        let disk = Disk::new();
        let options = DurableOptions::new(Path::new("disk").into());
        let store = DurableBackend::on(disk.clone(), options, Arc::new(|_| {})).unwrap();
        let store = Arc::new(store);
        let config =
            EngineConfig { workers: 1, storage: Some(store.clone()), ..EngineConfig::default() };
        Self { engine: Engine::new(&config).unwrap(), disk, store }
    }

    fn load(&self, id: &str, limits: &str) -> ComponentHandle {
        let guest = airssys_wasm_guests::bytes("storage-user");
        let options = format!(
            r#"{{"capabilities": {{"storage": ["read", "write", "delete"]}}, "limits": {limits}}}"#
        );
        self.engine.load(id, &guest, Some(&options), 0).unwrap()
    }

    fn call(&self, user: ComponentHandle, text: &str) -> Result<String, EngineError> {
        let reply = self.engine.call(user, message(text), Patience::default(), 0)?;
        Ok(String::from_utf8(reply.unwrap_or_default()).unwrap())
    }

    /// Runs on the one worker, not on the caller's thread.
    fn request(&self, user: ComponentHandle, text: &str) -> Receiver<Outcome> {
        let (tell, told) = channel();
        let completion = Box::new(move |_, outcome| _ = tell.send(outcome));
        self.engine.request(user, message(text), Patience::default(), completion).unwrap();
        told
    }
}

fn message(text: &str) -> HostMessage<'_> {
    HostMessage { payload: text.as_bytes(), sender: None, content_type: None, invocation: None }
}

fn answer(outcome: &Receiver<Outcome>) -> Outcome {
    outcome.recv_timeout(PATIENCE).expect("exactly one outcome")
}

#[test]
fn a_slow_disk_delays_only_those_who_store() {
    let scene = Scene::new();
    let (slow, other) = (scene.load("app/slow/0", "{}"), scene.load("app/other/0", "{}"));
    scene.disk.set_gate(Gate::Shut);
    let outcome = scene.request(slow, "set k v");
    scene.disk.wait_for(Gate::Waiting);
    // The one worker is free, and reads need no sync.
    assert_eq!(answer(&scene.request(other, "exists k")).unwrap().as_deref(), Some(&b"false"[..]));
    assert_eq!(scene.call(other, "list").unwrap(), "");
    assert!(outcome.try_recv().is_err(), "not acknowledged before the sync");
    scene.disk.set_gate(Gate::Open);
    assert_eq!(answer(&outcome).unwrap().as_deref(), Some(&b"ok"[..]));
    assert_eq!(scene.call(slow, "get k").unwrap(), "v");
}

#[test]
fn an_unload_treats_the_disk_as_a_callback_of_the_host() {
    let scene = Scene::new();
    let user = scene.load("app/user/0", r#"{"max-execution-time-ms": 3600000}"#);
    scene.disk.set_gate(Gate::Shut);
    let outcome = scene.request(user, "set k v");
    scene.disk.wait_for(Gate::Waiting);
    let unloaded = scene.engine.unload(user, 0, Some(Duration::ZERO));
    // Before any assertion: the end of the engine waits for the disk.
    scene.disk.set_gate(Gate::Open);
    assert!(matches!(unloaded, Err(EngineError::StillInCallback { .. })), "{unloaded:?}");
    assert!(answer(&outcome).is_err());
    scene.store.flush().unwrap();
    assert_eq!(scene.store.exists("app/user/0", "k"), Ok(true), "a write is not cut short");
    scene.store.recount().unwrap();
}

#[test]
fn an_error_of_the_disk_at_any_call_is_an_error_of_storage_and_nothing_else() {
    let scene = Scene::new();
    let user = scene.load("app/user/0", "{}");
    let mut told = Vec::new();
    for call in 0..60 {
        for trouble in [Trouble::Error, Trouble::Half, Trouble::NoRoom] {
            while scene.call(user, "set k v").unwrap() != "ok" {
                std::thread::yield_now();
            }
            scene.disk.set_plan(Plan::Once(call, trouble));
            for command in ["set k v", "fill large 40000", "get k", "delete large", "usage"] {
                let text = scene.call(user, command).unwrap();
                if text.starts_with("error: ") {
                    told.push(text);
                }
            }
        }
    }
    assert!(told.iter().any(|text| text.starts_with("error: io-error")), "{told:?}");
    assert!(told.iter().any(|text| text.starts_with("error: quota-exceeded")), "{told:?}");
    // What failed, and not where the file is.
    let known = |text: &String| text.contains("quota-exceeded") || text.contains("storage's file");
    assert!(told.iter().all(|text| known(text) && !text.contains("fake")), "{told:?}");
    while scene.call(user, "set k last").unwrap() != "ok" {
        std::thread::yield_now();
    }
    assert_eq!(scene.call(user, "get k").unwrap(), "last");
    scene.store.recount().unwrap();
}

#[test]
fn a_freed_engine_has_released_its_file() {
    let scene = Scene::new();
    let user = scene.load("app/user/0", "{}");
    assert_eq!(scene.call(user, "set k v").unwrap(), "ok");
    drop(scene.engine);
    assert!(scene.disk.is_released());
}
