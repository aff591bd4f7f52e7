//! Random sequences of calls and crashes on one component, against a model of its life cycle.

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::engine::Engine;
use crate::harness::properties::for_all;

const FOREVER: u64 = u64::MAX;
const MAX_RESTARTS: usize = 2;
const KEPT_VERSIONS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Unsupervised,
    Permanent,
    Temporary,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Add(u64),
    Crash,
    Stop,
    Start,
    Restart,
    Replace { refuses: bool },
    ReplaceByGarbage,
    RollBack,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// With this sum.
    Running(u64),
    Crashed,
    Stopped,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    number: u64,
    /// Whether its `restore` fails.
    refuses: bool,
}

struct Model {
    policy: Policy,
    state: State,
    restarts: u64,
    /// Restarts that count against the budget.
    counted: usize,
    version: Version,
    earlier: Vec<Version>,
    last_number: u64,
}

impl Model {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::Running(0),
            restarts: 0,
            counted: 0,
            version: Version { number: 1, refuses: false },
            earlier: Vec::new(),
            last_number: 1,
        }
    }

    /// A message arrives; returns why it is refused. A crashed component gets an instance.
    fn receive(&mut self) -> Result<u64, airssys_status_t> {
        match self.state {
            State::Running(sum) => Ok(sum),
            State::Crashed => {
                self.restarts += 1;
                Ok(0)
            }
            State::Stopped => Err(AIRSSYS_ERROR_COMPONENT_STOPPED),
            State::Failed => Err(AIRSSYS_ERROR_COMPONENT_FAILED),
        }
    }

    fn crash(&mut self) {
        self.state = match self.policy {
            Policy::Unsupervised => State::Crashed,
            Policy::Permanent if self.counted < MAX_RESTARTS => {
                self.counted += 1;
                self.restarts += 1;
                State::Running(0)
            }
            Policy::Permanent | Policy::Temporary => State::Failed,
        };
    }

    /// A version takes over, if the state can be handed over.
    fn take_over(&mut self, version: Version) -> airssys_status_t {
        self.state = match self.state {
            State::Running(_) if version.refuses => return AIRSSYS_ERROR_RUNTIME,
            State::Running(sum) => State::Running(sum),
            _ => State::Running(0),
        };
        self.counted = 0;
        AIRSSYS_OK
    }

    /// Returns the status that the deed has, and the reply of a message.
    fn act(&mut self, deed: Deed) -> (airssys_status_t, Option<u64>) {
        let status = match deed {
            Deed::Add(more) => match self.receive() {
                Ok(sum) => {
                    self.state = State::Running(sum + more);
                    return (AIRSSYS_OK, Some(sum + more));
                }
                Err(refused) => refused,
            },
            Deed::Crash => match self.receive() {
                Ok(_) => {
                    self.crash();
                    AIRSSYS_ERROR_TRAP
                }
                Err(refused) => refused,
            },
            Deed::Stop => {
                if self.state != State::Failed {
                    self.state = State::Stopped;
                }
                AIRSSYS_OK
            }
            Deed::Start => {
                if matches!(self.state, State::Stopped | State::Failed) {
                    (self.state, self.counted) = (State::Running(0), 0);
                }
                AIRSSYS_OK
            }
            Deed::Restart => match self.state {
                State::Running(_) | State::Crashed => {
                    self.restarts += 1;
                    self.state = State::Running(0);
                    AIRSSYS_OK
                }
                State::Stopped => AIRSSYS_ERROR_COMPONENT_STOPPED,
                State::Failed => AIRSSYS_ERROR_COMPONENT_FAILED,
            },
            Deed::Replace { refuses } => {
                self.last_number += 1;
                let version = Version { number: self.last_number, refuses };
                let status = self.take_over(version);
                if status == AIRSSYS_OK {
                    self.earlier.push(std::mem::replace(&mut self.version, version));
                    let surplus = self.earlier.len().saturating_sub(KEPT_VERSIONS);
                    self.earlier.drain(..surplus);
                }
                status
            }
            Deed::ReplaceByGarbage => AIRSSYS_ERROR_INVALID_COMPONENT,
            Deed::RollBack => match self.earlier.last().copied() {
                None => AIRSSYS_ERROR_INVALID_ARGUMENT,
                Some(version) => {
                    let status = self.take_over(version);
                    if status == AIRSSYS_OK {
                        self.version = version;
                        self.earlier.pop();
                    }
                    status
                }
            },
        };
        (status, None)
    }
}

fn load(engine: &Engine, policy: Policy) -> u64 {
    let mut options = json!({ "kept-versions": KEPT_VERSIONS });
    let restart = match policy {
        Policy::Unsupervised => None,
        Policy::Permanent => Some("permanent"),
        Policy::Temporary => Some("temporary"),
    };
    if let Some(restart) = restart {
        options["supervision"] = json!({
            "restart": restart, "max-restarts": MAX_RESTARTS, "window-ms": 3_600_000,
            "backoff": { "growth": "none" },
        });
    }
    engine.load_with("app/ledger/0", "ledger", &options.to_string())
}

fn act(engine: &Engine, it: u64, deed: Deed) -> (airssys_status_t, Option<u64>) {
    let outcome = match deed {
        Deed::Add(more) => match engine.call(it, format!("add {more}")) {
            Ok(reply) => {
                let reply = String::from_utf8(reply.unwrap()).unwrap();
                return (AIRSSYS_OK, Some(reply.parse().unwrap()));
            }
            Err(failure) => Err(failure),
        },
        Deed::Crash => engine.call(it, "unreachable").map(drop),
        Deed::Stop => engine.stop(it, FOREVER),
        Deed::Start => engine.start(it),
        Deed::Restart => engine.restart(it, FOREVER),
        Deed::Replace { refuses } => {
            let env = if refuses { json!({ "AT_RESTORE": "refuse" }) } else { json!({}) };
            let options = json!({ "env": env }).to_string();
            engine.replace(it, &bytes("ledger"), Some(&options))
        }
        Deed::ReplaceByGarbage => engine.replace(it, b"garbage", None),
        Deed::RollBack => engine.roll_back(it),
    };
    (outcome.err().map_or(AIRSSYS_OK, |failure| failure.status), None)
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (1..9_u64).prop_map(Deed::Add),
        3 => Just(Deed::Crash),
        1 => Just(Deed::Stop),
        2 => Just(Deed::Start),
        1 => Just(Deed::Restart),
        2 => any::<bool>().prop_map(|refuses| Deed::Replace { refuses }),
        1 => Just(Deed::ReplaceByGarbage),
        2 => Just(Deed::RollBack),
    ];
    prop::collection::vec(deed, 1..40)
}

#[test]
fn a_life_goes_as_the_model_says() {
    let policies =
        prop_oneof![Just(Policy::Unsupervised), Just(Policy::Permanent), Just(Policy::Temporary)];
    let engine = Engine::new();
    for_all(600, (policies, deeds()), |(policy, deeds)| {
        let (mut model, it) = (Model::new(policy), load(&engine, policy));
        for deed in deeds {
            let expected = model.act(deed);
            assert_eq!(act(&engine, it, deed), expected, "{deed:?}");
            let state = match model.state {
                State::Running(_) => "running",
                State::Crashed => "crashed",
                State::Stopped => "stopped",
                State::Failed => "failed",
            };
            engine.wait(it, state, 20_000).unwrap();
            let instance = engine.status(it).unwrap()["instances"][0].clone();
            assert_eq!(instance["version"], model.version.number, "{deed:?}");
            assert_eq!(instance["restarts"], model.restarts, "{deed:?}");
        }
        engine.unload(it).unwrap();
    });
}
