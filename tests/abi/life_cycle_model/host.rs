//! The same on a real engine, and what the host sees of it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use super::component::{Component, KEPT_VERSIONS, MAX_RESTARTS, Mail, Policy, Tally};
use super::world::{Deed, Item, Outcome, Strategy, Target, World};
use crate::harness::engine::{Config, Engine, PATIENCE};
use crate::harness::events::{Event, Events};
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
/// Longer than a test.
const WINDOW_MS: u64 = 3_600_000;

pub struct Host {
    engine: Engine,
    events: &'static Events,
}

/// One case: the handles of its groups and components.
pub struct Life<'a> {
    host: &'a Host,
    groups: Vec<u64>,
    components: Vec<u64>,
}

impl Host {
    pub fn new() -> Self {
        let config = Config::new();
        let events = Events::attach(&config, |_| ());
        Self { engine: config.engine(), events }
    }

    pub fn begin(&self, items: &[Item]) -> Life<'_> {
        let mut life = Life { host: self, groups: Vec::new(), components: Vec::new() };
        for item in items {
            match *item {
                Item::Group { within, strategy, budget } => {
                    let mut options = json!({
                        "strategy": match strategy {
                            Strategy::OneForOne => "one-for-one",
                            Strategy::OneForAll => "one-for-all",
                            Strategy::RestForOne => "rest-for-one",
                        },
                        "max-restarts": budget,
                        "window-ms": WINDOW_MS,
                    });
                    if let Some(group) = within {
                        options["group"] = group_name(group).into();
                    }
                    let name = group_name(life.groups.len());
                    let group = self.engine.add_group(&name, &options.to_string());
                    life.groups.push(group.unwrap_or_else(|failure| panic!("{failure}")));
                }
                Item::Component { within, policy } => {
                    let id = format!("app/ledger/{}", life.components.len());
                    let options = load_options(within, policy).to_string();
                    life.components.push(self.engine.load_with(&id, "ledger", &options));
                }
            }
        }
        life
    }
}

fn group_name(number: usize) -> String {
    format!("group-{number}")
}

fn load_options(within: Option<usize>, policy: Policy) -> Value {
    let mut options = json!({ "kept-versions": KEPT_VERSIONS });
    let restart = match policy {
        Policy::Unsupervised => None,
        Policy::OnDemand => Some("on-demand"),
        Policy::Permanent => Some("permanent"),
        Policy::Temporary => Some("temporary"),
    };
    if let Some(restart) = restart {
        options["supervision"] = json!({
            "restart": restart, "max-restarts": MAX_RESTARTS, "window-ms": WINDOW_MS,
            "backoff": { "growth": "none" },
        });
    }
    if let Some(group) = within {
        options["group"] = group_name(group).into();
    }
    options
}

impl Life<'_> {
    pub fn act(&self, deed: Deed) -> Outcome {
        let engine = &self.host.engine;
        let outcome = match deed {
            Deed::Send(at, mail) => return self.send(self.components[at], mail),
            Deed::Stop(target) => engine.stop(self.handle(target), FOREVER),
            Deed::Start(target) => engine.start(self.handle(target)),
            Deed::Restart(target) => engine.restart(self.handle(target), FOREVER),
            Deed::Replace(at, None) => engine.replace(self.components[at], b"garbage", None),
            Deed::Replace(at, Some(refuses)) => {
                let options = json!({ "env": env(refuses) }).to_string();
                engine.replace(self.components[at], &bytes("ledger"), Some(&options))
            }
            Deed::RollBack(at) => engine.roll_back(self.components[at]),
            Deed::TryOut(at, terms, refuses) => {
                let promote = if terms.by_call { "by-call" } else { "automatic" };
                let canary = json!({
                    "share-percent": terms.share, "messages": terms.messages,
                    "max-error-percent": terms.max_error_percent, "promote": promote,
                });
                let options = json!({ "env": env(refuses), "canary": canary }).to_string();
                engine.replace(self.components[at], &bytes("ledger"), Some(&options))
            }
            Deed::Decide { component, promote: true } => {
                engine.promote(self.components[component], FOREVER)
            }
            Deed::Decide { component, promote: false } => {
                engine.abort(self.components[component], FOREVER)
            }
        };
        (outcome.err().map_or(AIRSSYS_OK, |failure| failure.status), None)
    }

    fn send(&self, to: u64, mail: Mail) -> Outcome {
        let engine = &self.host.engine;
        let outcome = match mail {
            Mail::Add(more) => engine.call(to, format!("add {more}")),
            Mail::Crash => engine.call(to, "unreachable"),
            Mail::Loop => {
                let accepted = &engine.describe(to).unwrap()["messages"]["accepted"];
                let accepted = accepted.as_u64().unwrap();
                let inbox = Inbox::new();
                engine.request(to, "loop", inbox).unwrap();
                engine.until_busy(to, accepted + 1, 0);
                engine.interrupt(to).unwrap();
                inbox.only().outcome
            }
        };
        match outcome {
            Ok(reply) => {
                let reply = String::from_utf8(reply.unwrap()).unwrap();
                (AIRSSYS_OK, Some(reply.parse().unwrap()))
            }
            Err(failure) => (failure.status, None),
        }
    }

    fn handle(&self, target: Target) -> u64 {
        match target {
            Target::One(component) => self.components[component],
            Target::Group(group) => self.groups[group],
            Target::All => AIRSSYS_ALL_COMPONENTS,
        }
    }

    /// Waits until the host sees what the model says.
    pub fn check(&self, world: &World, deed: Deed) {
        let engine = &self.host.engine;
        for (group, handle) in world.groups.iter().zip(&self.groups) {
            let expected = json!({
                "state": if group.has_failed { "failed" } else { "running" },
                "restarts": group.restarts, "restarts-in-window": group.used,
            });
            let seen = || some_of(&engine.status(*handle).unwrap(), &expected);
            becomes(seen, &expected, &(deed, world));
        }
        for (component, handle) in world.components.iter().zip(&self.components) {
            let seen = || {
                let status = engine.status(*handle).unwrap();
                let instance = &status["instances"][0];
                json!({
                    "state": status["state"], "restarts": instance["restarts"],
                    "version": [instance["version"], engine.describe(*handle).unwrap()["version"]],
                    "canary": some_of(&status["canary"], &expected_canary(component)),
                })
            };
            let expected = json!({
                "state": component.state.name(), "restarts": component.restarts,
                "version": [component.version.number, component.version.number],
                "canary": expected_canary(component),
            });
            becomes(seen, &expected, &(deed, world));
        }
    }

    /// Unloads everything; then all that the host was told follows from the model.
    pub fn end(self, world: World) {
        let engine = &self.host.engine;
        self.components.iter().for_each(|it| engine.unload(*it).unwrap());
        self.groups.iter().rev().for_each(|it| engine.unload(*it).unwrap());
        for (mut component, handle) in world.components.into_iter().zip(&self.components) {
            component.abort("close");
            let seen = || canary_changes(&self.host.events.all(), *handle);
            becomes(seen, &component.told.clone(), &component);
            let is_its = |event: &Event| event.json["handle"] == *handle;
            let states = || {
                let all = self.host.events.state_events().into_iter();
                all.filter(is_its).map(|event| event.json).collect::<Vec<_>>()
            };
            let last = || states().last().map(|last| last["to"].clone());
            becomes(last, &Some("unloaded".into()), &component);
            let states = states();
            for pair in states.windows(2) {
                assert_eq!(pair[0]["to"], pair[1]["from"], "{states:#?}");
            }
            let restarted = states.iter().filter(|it| it["cause"] == "restarted").count();
            assert_eq!(restarted as u64, component.restarts, "{states:#?}");
        }
        self.host.events.forget();
    }
}

impl Drop for Life<'_> {
    /// After a failed case: the next one has the same names.
    fn drop(&mut self) {
        let engine = &self.host.engine;
        for handle in self.components.iter().chain(self.groups.iter().rev()) {
            // What was unloaded before is unloaded already.
            let _ = engine.unload(*handle);
        }
    }
}

fn env(refuses: bool) -> Value {
    if refuses { json!({ "AT_RESTORE": "refuse" }) } else { json!({}) }
}

/// The keys of `like`, of a document.
fn some_of(document: &Value, like: &Value) -> Value {
    let (Some(_), Some(like)) = (document.as_object(), like.as_object()) else {
        return document.clone();
    };
    like.keys().map(|key| (key.clone(), document[key].clone())).collect()
}

fn expected_canary(component: &Component) -> Value {
    let Some(canary) = &component.canary else { return Value::Null };
    let Tally { messages, errors } = canary.own;
    json!({
        "version": canary.version.number, "messages": messages, "errors": errors,
        "stable": { "messages": canary.stable.messages, "errors": canary.stable.errors },
    })
}

fn canary_changes(events: &[Event], handle: u64) -> Vec<String> {
    let its = events.iter().filter(|it| it.kind == "canary" && it.json["handle"] == handle);
    let change = |event: &Event| {
        let (version, change) = (&event.json["version"], event.json["change"].as_str().unwrap());
        match event.json["reason"].as_str() {
            Some(reason) => format!("{version} {change} {reason}"),
            None => format!("{version} {change}"),
        }
    };
    its.map(change).collect()
}

fn becomes<T: PartialEq + Debug>(seen: impl Fn() -> T, expected: &T, why: &dyn Debug) {
    let start = Instant::now();
    let mut last = seen();
    while last != *expected {
        assert!(start.elapsed() < PATIENCE, "{last:#?}\nexpected: {expected:#?}\n{why:#?}");
        std::thread::sleep(Duration::from_millis(1));
        last = seen();
    }
}
