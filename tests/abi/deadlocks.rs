//! Calls from callbacks to pools of which some members wait for the caller.

use std::sync::{Arc, Mutex, OnceLock};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::{Config, Engine, Outcome, With, eventually};
use crate::hosts::{Gate, set_logger};

/// Ends a test whose deadlock the library does not see.
const PATIENT: With<'static> = With { timeout_ms: 10_000, ..With::nothing() };

/// A component `app/caller/0` and a pool of two with room for one message each. Whatever logs `call`
/// calls the pool, what logs `back` the caller.
struct Scene {
    engine: Arc<OnceLock<Engine>>,
    caller: u64,
    pool: u64,
    begin: Gate,
    gates: [Gate; 2],
    called: Arc<Mutex<Vec<Outcome>>>,
}

impl Scene {
    fn new(when_full: &str) -> Self {
        let engine = Arc::<OnceLock<Engine>>::default();
        let (begin, gates) = (Gate::default(), [Gate::default(), Gate::default()]);
        let called = Arc::<Mutex<Vec<Outcome>>>::default();
        let config = Config::new();
        let (within, first, others, kept) =
            (Arc::clone(&engine), begin.clone(), gates.clone(), Arc::clone(&called));
        set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
            let engine = within.get().unwrap();
            match &*record.message {
                "gate 0" => others[0].pass(),
                "gate 1" => others[1].pass(),
                "back" => {
                    let caller = engine.find("app/caller/0").unwrap();
                    let _ = engine.call(caller, "millis");
                }
                "call" => {
                    first.pass();
                    let pool = engine.find("app/pool/0").unwrap();
                    let outcome = engine.call_with(pool, "millis", PATIENT).map(drop);
                    kept.lock().unwrap().push(outcome);
                }
                _ => {}
            }
        });
        let made = engine.get_or_init(|| config.engine());
        let limits = json!({ "max-execution-time-ms": 600_000 });
        let caller =
            made.load_with("app/caller/0", "chatty", &json!({ "limits": limits }).to_string());
        let mailbox = json!({ "capacity": 1, "when-full": when_full });
        let options = json!({ "instances": 2, "mailbox": mailbox, "limits": limits }).to_string();
        let pool = made.load_with("app/pool/0", "chatty", &options);
        made.send(caller, "log info call").unwrap();
        begin.reached();
        Self { engine, caller, pool, begin, gates, called }
    }

    fn engine(&self) -> &Engine {
        self.engine.get().unwrap()
    }

    /// One member is at its gate and full, the other waits for the caller and has room.
    fn one_full_and_one_waiting(&self) {
        for (n, gate) in self.gates.iter().enumerate() {
            self.engine().send(self.pool, format!("log info gate {n}")).unwrap();
            gate.reached();
        }
        for _ in 0..2 {
            self.engine().send(self.pool, "log info back").unwrap();
        }
        self.gates[1].open();
        self.until_waited_for(1);
    }

    fn until_waited_for(&self, callers: u64) {
        eventually("members wait for the caller", || {
            let described = self.engine().describe(self.caller).unwrap();
            (described["mailbox"]["depth"] == callers).then_some(())
        });
    }

    fn outcome(&self) -> Outcome {
        eventually("the call has ended", || self.called.lock().unwrap().first().cloned())
    }
}

#[test]
fn a_call_waits_for_room_where_it_can_wait_for_the_outcome_too() {
    let scene = Scene::new("block");
    scene.one_full_and_one_waiting();
    scene.begin.open();
    eventually("the call waits for room, or has ended", || {
        let described = scene.engine().describe(scene.pool).unwrap();
        let ended = !scene.called.lock().unwrap().is_empty();
        (ended || described["mailbox"]["waiting"] == 1 || described["mailbox"]["depth"] == 2)
            .then_some(())
    });
    scene.gates[0].open();
    assert_eq!(scene.outcome(), Ok(()));
}

#[test]
fn a_call_is_refused_where_only_a_member_that_waits_for_it_has_room() {
    let scene = Scene::new("reject");
    scene.one_full_and_one_waiting();
    scene.begin.open();
    assert_eq!(scene.outcome().unwrap_err().status, AIRSSYS_ERROR_QUEUE_FULL);
    scene.gates[0].open();
}

#[test]
fn a_call_to_a_pool_whose_members_all_wait_for_it_would_deadlock() {
    for when_full in ["block", "reject", "drop-oldest"] {
        let scene = Scene::new(when_full);
        for callers in 1..=2 {
            scene.engine().send(scene.pool, "log info back").unwrap();
            scene.until_waited_for(callers);
        }
        scene.begin.open();
        let failure = scene.outcome().unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_WOULD_DEADLOCK, "{when_full}: {failure}");
        assert_eq!(failure.detail["component"], "app/pool/0");
    }
}
