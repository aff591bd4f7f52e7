//! Tests of a panic in the middle of a message, provoked by a defective storage backend.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::core::error::CallError;
use crate::core::id::ComponentHandle;
use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::core::message::Outcome;
use crate::storage::backend::{Backend, Listing, Page, Placement, StorageError, Usage, Value};
use crate::system::config::EngineConfig;
use crate::system::engine::Engine;
use crate::system::error::EngineError;
use crate::system::sending::HostMessage;
use crate::system::sending::Patience;

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panics at one key. Runs on a native thread, or within the guest's call.
struct Defective {
    placement: Placement,
}

impl Backend for Defective {
    fn get(&self, _: &str, key: &str, _: u64) -> Result<Option<Value>, StorageError> {
        assert_ne!(key, "defect", "its words");
        Ok(Some(Arc::new(b"value".to_vec())))
    }

    fn set(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(), StorageError> {
        Ok(())
    }

    fn delete(&self, _: &str, _: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn exists(&self, _: &str, _: &str) -> Result<bool, StorageError> {
        Ok(true)
    }

    fn list(&self, _: &str, _: &Listing<'_>) -> Result<Page, StorageError> {
        Ok(Page { is_last: true, ..Page::default() })
    }

    fn usage(&self, _: &str) -> Result<Usage, StorageError> {
        Ok(Usage::default())
    }

    fn placement(&self) -> Placement {
        self.placement
    }
}

/// Keeps log records.
#[derive(Default)]
struct Journal(Mutex<Vec<(LogLevel, String)>>);

impl LogSink for Journal {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Warn
    }

    fn write(&self, record: &LogRecord<'_>) {
        assert_eq!(record.component.map(|id| id.as_str()), Some("app/user/0"));
        self.0.lock().unwrap().push((record.level, record.message.to_owned()));
    }

    fn runs_host_code(&self) -> bool {
        true
    }
}

struct Scene {
    engine: Engine,
    user: ComponentHandle,
    journal: Arc<Journal>,
}

impl Scene {
    fn new(placement: Placement) -> Self {
        let journal = Arc::<Journal>::default();
        let engine = Engine::new(&EngineConfig {
            workers: 1,
            storage: Some(Arc::new(Defective { placement })),
            log: Some(journal.clone()),
            ..EngineConfig::default()
        })
        .unwrap();
        let guest = airssys_wasm_guests::bytes("storage-user");
        let options = r#"{"capabilities": {"storage": ["read"]}}"#;
        let user = engine.load("app/user/0", &guest, Some(options), 0).unwrap();
        Self { engine, user, journal }
    }

    fn call(&self, text: &str, timeout: Option<Duration>) -> Result<Option<Vec<u8>>, EngineError> {
        self.engine.call(self.user, message(text), Patience { timeout, ..Patience::default() }, 0)
    }

    /// Runs on a worker, not on the caller's thread.
    fn request(&self, text: &str) -> Outcome {
        let (tell, told) = channel();
        let completion = Box::new(move |_, outcome| tell.send(outcome).unwrap());
        self.engine.request(self.user, message(text), Patience::default(), completion).unwrap();
        told.recv_timeout(PATIENCE).expect("exactly one outcome")
    }

    /// Checks that log and counts show this many defects, each at the cost of one instance.
    fn check(&self, defects: u64) {
        assert_eq!(self.request("get k").unwrap().as_deref(), Some(&b"value"[..]));
        let journal = self.journal.0.lock().unwrap();
        assert_eq!(journal.len() as u64, defects, "{journal:?}");
        for (level, text) in &*journal {
            assert_eq!(*level, LogLevel::Error);
            assert!(
                text.starts_with("crashed: internal error") && text.contains("its words"),
                "{text}"
            );
        }
        let described: serde_json::Value =
            serde_json::from_str(&self.engine.describe(self.user).unwrap()).unwrap();
        assert_eq!(described["messages"]["failed"], defects);
        assert_eq!(
            (&described["restarts"], &described["state"]),
            (&defects.into(), &"running".into())
        );
    }
}

fn message(text: &str) -> HostMessage<'_> {
    HostMessage { payload: text.as_bytes(), sender: None, content_type: None, invocation: None }
}

fn is_told(error: &EngineError) -> bool {
    matches!(error, EngineError::Call { error: CallError::Internal { .. }, .. })
}

#[test]
fn a_panic_on_a_worker_is_logged_and_counted_and_costs_one_message() {
    for placement in [Placement::OnFiber, Placement::OffFiber] {
        let scene = Scene::new(placement);
        scene.check(0);
        for defects in 1..=2 {
            let outcome = scene.request("get defect");
            assert!(matches!(outcome, Err(CallError::Internal { .. })), "{outcome:?}");
            scene.check(defects);
        }
    }
}

#[test]
fn a_panic_on_a_caller_s_thread_is_logged_and_counted_and_costs_one_message() {
    for placement in [Placement::OnFiber, Placement::OffFiber] {
        let scene = Scene::new(placement);
        // The short timeout makes the workers continue a waiting call.
        for (defects, timeout) in [(1, None), (2, Some(Duration::from_secs(4)))] {
            let error = scene.call("get defect", timeout).unwrap_err();
            assert!(is_told(&error), "{error:?}");
            scene.check(defects);
        }
    }
}
