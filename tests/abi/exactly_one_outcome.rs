//! An accepted request has exactly one outcome, whatever else happens and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use airssys_wasm::*;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, With, eventually};
use crate::harness::events::Events;
use crate::harness::properties::for_all;
use crate::harness::requests::Inbox;

const TARGETS: [&str; 3] = ["app/t/0", "app/t/1", "app/t/2"];
/// What the targets' mailboxes do when they are full.
const POLICIES: [&str; 3] = ["reject", "block", "drop-oldest"];
const COMMANDS: [&str; 6] =
    ["ok", "unreachable", "sleep 1", "sleep 4", "spin 100000", "no such command"];

#[derive(Debug, Clone)]
enum Step {
    /// Sent by the host or by the asker.
    Request {
        by_host: bool,
        target: usize,
        command: usize,
        timeout_ms: u64,
    },
    /// Cancels an earlier request.
    Cancel {
        by_host: bool,
        nth: usize,
    },
    Unload {
        target: usize,
    },
    Load {
        target: usize,
    },
    /// Fills a mailbox with sends.
    Flood {
        target: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// Wait for all outcomes.
    Wait,
    Free,
    Shutdown(u64),
}

#[derive(Debug, Clone)]
struct Case {
    workers: usize,
    capacity: usize,
    /// One script per thread of the host.
    steps: Vec<Vec<Step>>,
    end: End,
}

fn cases() -> impl Strategy<Value = Case> {
    let target = 0..TARGETS.len();
    // 0 is no deadline.
    let timeout = prop_oneof![Just(0_u64), Just(1), Just(3), Just(600_000)];
    let step = prop_oneof![
        10 => (any::<bool>(), target.clone(), 0..COMMANDS.len(), timeout).prop_map(
            |(by_host, target, command, timeout_ms)| Step::Request {
                by_host, target, command, timeout_ms
            }
        ),
        4 => (any::<bool>(), 0..100_usize).prop_map(|(by_host, nth)| Step::Cancel { by_host, nth }),
        1 => target.clone().prop_map(|target| Step::Unload { target }),
        2 => target.clone().prop_map(|target| Step::Load { target }),
        1 => target.prop_map(|target| Step::Flood { target }),
    ];
    let end = prop_oneof![
        2 => Just(End::Wait),
        1 => Just(End::Free),
        1 => Just(End::Shutdown(0)),
        1 => Just(End::Shutdown(60_000)),
    ];
    (1..3_usize, 1..4_usize, vec(vec(step, 1..30), 1..4), end)
        .prop_map(|(workers, capacity, steps, end)| Case { workers, capacity, steps, end })
}

/// The requests so far, and those that were cancelled.
#[derive(Default)]
struct Asked {
    host: Vec<u64>,
    host_cancelled: BTreeSet<u64>,
    component: Vec<String>,
    component_cancelled: BTreeSet<String>,
}

struct Play {
    engine: Engine,
    asker: u64,
    capacity: usize,
    inbox: Inbox,
    asked: Mutex<Asked>,
}

impl Play {
    fn load(&self, target: usize) {
        let options = json!({
            "mailbox": { "capacity": self.capacity, "when-full": POLICIES[target] },
            "instances": 1 + target % 2,
        });
        self.engine.load_with(TARGETS[target], "trapper", &options.to_string());
    }

    fn step(&self, step: &Step) {
        let engine = &self.engine;
        match *step {
            Step::Request { by_host: true, target, command, timeout_ms } => {
                let Ok(target) = engine.find(TARGETS[target]) else { return };
                let with = With { timeout_ms, ..With::default() };
                match engine.request_with(target, COMMANDS[command], with, self.inbox) {
                    Ok(id) => self.asked.lock().unwrap().host.push(id),
                    Err(failure) => assert!(
                        [AIRSSYS_ERROR_QUEUE_FULL, AIRSSYS_ERROR_COMPONENT_NOT_FOUND]
                            .contains(&failure.status),
                        "{failure}"
                    ),
                }
            }
            Step::Request { by_host: false, target, command, timeout_ms } => {
                let timeout = if timeout_ms == 0 { 600_000 } else { timeout_ms };
                let (target, command) = (TARGETS[target], COMMANDS[command]);
                let reply =
                    engine.text(self.asker, &format!("request {target} {timeout} {command}"));
                if reply.starts_with("error: ") {
                    let known = ["error: queue-full", "error: target-not-found("];
                    assert!(known.iter().any(|known| reply.starts_with(known)), "{reply}");
                } else {
                    self.asked.lock().unwrap().component.push(reply);
                }
            }
            Step::Cancel { by_host: true, nth } => {
                let mut asked = self.asked.lock().unwrap();
                let Some(id) =
                    asked.host.len().checked_sub(1).map(|last| asked.host[nth % (last + 1)])
                else {
                    return;
                };
                match engine.cancel(id) {
                    Ok(()) => assert!(asked.host_cancelled.insert(id), "cancelled twice"),
                    Err(failure) => assert_eq!(failure.status, AIRSSYS_ERROR_REQUEST_NOT_FOUND),
                }
            }
            Step::Cancel { by_host: false, nth } => {
                let asked = self.asked.lock().unwrap();
                let Some(last) = asked.component.len().checked_sub(1) else { return };
                let id = asked.component[nth % (last + 1)].clone();
                drop(asked);
                let reply = engine.text(self.asker, &format!("cancel {id}"));
                if reply == "ok" {
                    let cancelled = &mut self.asked.lock().unwrap().component_cancelled;
                    assert!(cancelled.insert(id), "cancelled twice");
                } else {
                    assert!(reply.starts_with("error: invalid-message("), "{reply}");
                }
            }
            Step::Unload { target } => {
                if let Ok(handle) = engine.find(TARGETS[target]) {
                    engine.unload(handle).unwrap();
                }
            }
            Step::Load { target } => self.load(target),
            Step::Flood { target } => {
                let Ok(handle) = engine.find(TARGETS[target]) else { return };
                for _ in 0..self.capacity + 2 {
                    let _ = engine.send(handle, "ok");
                }
            }
        }
    }

    fn check_host(&self) {
        let asked = self.asked.lock().unwrap();
        for (id, completed) in self.inbox.exactly(&asked.host) {
            let cancelled = asked.host_cancelled.contains(&id);
            assert_eq!(completed.status() == AIRSSYS_ERROR_CANCELLED, cancelled, "{completed:?}");
            let known = [
                AIRSSYS_OK,
                AIRSSYS_ERROR_RUNTIME,
                AIRSSYS_ERROR_TRAP,
                AIRSSYS_ERROR_TIMEOUT,
                AIRSSYS_ERROR_CANCELLED,
                AIRSSYS_ERROR_QUEUE_FULL,
                AIRSSYS_ERROR_COMPONENT_NOT_FOUND,
                AIRSSYS_ERROR_ENGINE_STOPPED,
            ];
            assert!(known.contains(&completed.status()), "{completed:?}");
        }
    }

    fn check_component(&self) {
        // A second outcome would arrive before the reply to `callbacks`.
        eventually("no request is open", || {
            (self.engine.stats()["requests"]["outstanding"] == 0).then_some(())
        });
        let asked = self.asked.lock().unwrap();
        let answered = asked.component.iter().filter(|id| !asked.component_cancelled.contains(*id));
        let expected: BTreeMap<_, _> = answered.map(|id| (id.clone(), 1)).collect();
        // A request is closed shortly before its callback is in the mailbox.
        let mut times = BTreeMap::<String, usize>::new();
        for callback in self.engine.callbacks(self.asker, expected.len()) {
            *times.entry(callback["correlation"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(times, expected);
    }
}

fn every_accepted_request_has_one_outcome(case: Case) {
    let config = Config::new().with(&json!({ "workers": case.workers }).to_string());
    crate::harness::log::set_logger(&config, AIRSSYS_LOG_OFF, |_| {});
    let events = Events::attach(&config, |_| {});
    let engine = config.engine();
    drop(config);
    let asker = engine.load("app/asker/0", "requester");
    let (inbox, asked) = (Inbox::new(), Mutex::default());
    let play = Play { engine, asker, capacity: case.capacity, inbox, asked };
    for target in 0..TARGETS.len() {
        play.load(target);
    }
    std::thread::scope(|scope| {
        for steps in &case.steps {
            let play = &play;
            scope.spawn(move || steps.iter().for_each(|step| play.step(step)));
        }
    });
    match case.end {
        End::Wait => {
            play.check_host();
            play.check_component();
        }
        End::Free => {}
        End::Shutdown(timeout_ms) => {
            if let Err(failure) = play.engine.shutdown(timeout_ms) {
                assert_eq!((failure.status, timeout_ms), (AIRSSYS_ERROR_TIMEOUT, 0), "{failure}");
            }
        }
    }
    play.engine.free();
    assert_eq!(play.inbox.all().len(), play.asked.lock().unwrap().host.len(), "all have come");
    play.check_host();
    assert_eq!(events.dropped.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn an_accepted_request_has_exactly_one_outcome() {
    for_all(300, cases(), every_accepted_request_has_one_outcome);
}
