//! Registered components without an instance hold little more than their ids, and nobody can tell.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::child::passes;
use crate::harness::engine::{Config, Engine, PATIENCE, eventually};
use crate::harness::events::Events;
use crate::harness::requests::Inbox;

const ALL: u64 = u64::MAX;
const FOREVER: u64 = u64::MAX;
const ON_DEMAND: &str = r#"{"activation": "on-demand"}"#;

fn id(n: usize) -> String {
    format!("app/many/{n}")
}

fn many(engine: &Engine, guest: &str, count: usize, options: &str) -> Vec<u64> {
    let wasm = bytes(guest);
    (0..count).map(|n| engine.try_load(&id(n), &wasm, Some(options)).unwrap()).collect()
}

/// A component that may send to all others, and lists them.
fn asker(engine: &Engine) -> u64 {
    engine.load("app/asker/0", "requester")
}

#[test]
fn registrations_take_little_memory_and_give_it_back() {
    passes("dormancy::fifty_thousand_in_little_memory");
}

#[test]
#[ignore = "run by registrations_take_little_memory_and_give_it_back"]
fn fifty_thousand_in_little_memory() {
    const COUNT: usize = 50_000;
    const ENTRY: u64 = 600;
    const USED_ENTRY: u64 = 1200;
    let engine = Config::new().with(r#"{"max-live-instances": 16}"#).engine();
    for n in 0..100 {
        let it = engine.load_with(&format!("app/first/{n}"), "ledger", ON_DEMAND);
        engine.text(it, "add 1");
    }
    let before = allocated();
    let all = many(&engine, "ledger", COUNT, ON_DEMAND);
    let each = || allocated().saturating_sub(before) / COUNT as u64;
    assert!(each() < ENTRY, "{} bytes for each registration", each());

    // Looking at them does not change that.
    assert_eq!(engine.list()[COUNT + 99]["state"], "passive");
    assert_eq!(engine.stats()["components"], COUNT + 100);
    assert_eq!(engine.status(ALL).unwrap().as_array().unwrap().len(), COUNT + 100);
    assert_eq!(engine.health(ALL).unwrap()["ready"], true);
    assert_eq!(engine.describe(all[7]).unwrap()["metadata"], Value::Null);
    assert!(each() < ENTRY, "{} bytes for each after a look", each());

    // All are called in turn; each keeps its state and counts.
    for (n, it) in all.iter().enumerate() {
        assert_eq!(engine.text(*it, &format!("add {n}")), n.to_string());
    }
    eventually("they give up their actors", || (each() < USED_ENTRY).then_some(()));
    for n in (0..COUNT).step_by(997) {
        assert_eq!(engine.text(all[n], "sum"), n.to_string());
        let described = engine.describe(all[n]).unwrap();
        assert_eq!(described["messages"]["handled"], 2);
        assert_eq!(described["metadata"]["name"], "ledger");
    }

    engine.stop(ALL, FOREVER).unwrap();
    assert_eq!(engine.status(all[1]).unwrap()["state"], "stopped");
    assert!(each() < USED_ENTRY, "{} bytes for each stopped component", each());
    for it in &all {
        engine.unload(*it).unwrap();
    }
    assert_eq!(engine.stats()["components"], 100);
    assert!(each() < 100, "{} bytes remain of each", each());
}

/// The bytes that the allocator has given out.
fn allocated() -> u64 {
    // SAFETY: it takes no memory of ours.
    let all = unsafe { libc::mallinfo2() };
    (all.uordblks + all.hblkhd) as u64
}

#[test]
fn any_one_is_reached_in_every_way() {
    let engine = Engine::new();
    let all = many(&engine, "counter", 40, ON_DEMAND);
    let asker = asker(&engine);
    let inc = |it: u64| engine.text(it, "inc");

    let listed = engine.text(asker, "list");
    assert_eq!(listed.lines().filter(|line| line.starts_with("app/many/")).count(), 40);
    let known = engine.text(asker, "metadata app/many/0");
    assert!(known.contains("app/many/0") && known.contains("unknown"), "{known}");
    assert!(all.iter().all(|it| engine.is_passive(*it)));

    assert_eq!(engine.find(&id(0)).unwrap(), all[0]);
    assert_eq!(inc(all[0]), "1");
    engine.send(all[1], "inc").unwrap();
    let inbox = Inbox::new();
    let request = engine.request(all[2], "inc", inbox).unwrap();
    inbox.exactly(&[request]);
    engine.broadcast(&all[3..6], "inc", Default::default()).unwrap();
    engine.text(asker, &format!("send {} inc", id(6)));
    engine.text(asker, &format!("request {} 60000 inc", id(7)));
    engine.callbacks(asker, 1);
    engine.text(asker, &format!("broadcast {},{} inc", id(8), id(9)));
    let letter = crate::harness::router::Letter {
        source: "far/sender/0".into(),
        target: id(10),
        payload: "inc".into(),
        ..Default::default()
    };
    engine.deliver(&letter, None).unwrap();
    for (n, it) in all.iter().enumerate().take(11) {
        eventually("it has handled the message", || {
            (engine.describe(*it).unwrap()["messages"]["handled"] == 1).then_some(())
        });
        assert_eq!(inc(*it), "2", "{n}");
    }
    assert_eq!(engine.health(all[11]).unwrap()["health"], "healthy");
    engine.restart(all[12], FOREVER).unwrap();
    engine.replace(all[13], &bytes("echo"), None).unwrap();
    assert_eq!(engine.text(all[13], "inc"), "inc", "it is another component now");
    engine.roll_back(all[13]).unwrap();
    assert_eq!(inc(all[13]), "1");
    engine.interrupt(all[14]).unwrap();
    assert!(all[14..].iter().all(|it| engine.is_passive(*it)));
}

impl Engine {
    fn is_passive(&self, handle: u64) -> bool {
        self.status(handle).unwrap()["state"] == "passive"
    }
}

#[test]
fn grants_changed_while_dormant_stay_changed() {
    let engine = Config::closed().engine();
    let all = many(&engine, "storage-user", 3, ON_DEMAND);
    let may = |it: u64| engine.explain(it, "storage.write", &id(0)).unwrap()["allowed"] == true;
    assert!(!may(all[0]));
    engine.grant(all[0], r#"{"storage": ["read", "write"]}"#).unwrap();
    assert!(may(all[0]) && engine.is_passive(all[0]));
    assert_eq!(engine.text(all[0], "set k v"), "ok");
    assert_ne!(engine.text(all[1], "set k v"), "ok", "another one has its own grants");
    engine.grant(all[2], r#"{"storage": ["read", "write"]}"#).unwrap();
    engine.revoke(all[2], Some(r#"{"storage": ["write"]}"#)).unwrap();
    assert_ne!(engine.text(all[2], "set k v"), "ok");
    engine.revoke(all[0], None).unwrap();
    assert_eq!(engine.describe(all[0]).unwrap()["grants"], json!([]));
}

#[test]
fn a_dormant_component_stops_starts_and_ends_with_its_events() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let all = many(&engine, "counter", 3, ON_DEMAND);
    engine.stop(all[0], FOREVER).unwrap();
    engine.stop(all[0], FOREVER).unwrap();
    assert_eq!(engine.status(all[0]).unwrap()["state"], "stopped");
    engine.wait(all[0], "stopped", 0).unwrap();
    assert_eq!(engine.failure(all[0], "inc").status, AIRSSYS_ERROR_COMPONENT_STOPPED);
    engine.start(all[0]).unwrap();
    assert_eq!(engine.text(all[0], "inc"), "1");
    engine.stop(ALL, FOREVER).unwrap();
    engine.start(ALL).unwrap();
    assert_eq!(engine.text(all[1], "inc"), "1");
    engine.unload(all[0]).unwrap();
    let more = engine.load_with("app/more/0", "counter", ON_DEMAND);
    engine.unload(more).unwrap();
    engine.unload(more).unwrap();
    assert_eq!(engine.failure(more, "inc").status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    assert!(engine.find("app/more/0").is_err());
    engine.load_with("app/more/1", "counter", ON_DEMAND);
    engine.shutdown(60_000).unwrap();
    let told = |component: &str, count: usize| {
        eventually("the changes are told", || {
            let told = events.states(component);
            (told.len() >= count).then_some(told)
        })
    };
    assert_eq!(
        told(&id(0), 9)[..5],
        [
            "initializing passive registered",
            "passive stopping stop",
            "stopping stopped stopped",
            "stopped initializing start",
            "initializing running loaded",
        ]
    );
    let ends = ["passive unloading close", "unloading unloaded end"];
    assert_eq!(told("app/more/0", 3)[1..], ends);
    assert_eq!(told("app/more/1", 3)[1..], ends);
}

#[test]
fn nobody_can_tell_a_dormant_component_from_a_passive_one() {
    let engine = Config::new().with(r#"{"max-live-instances": 1}"#).engine();
    let [dormant, held] =
        [0, 1].map(|n| engine.load_with(&id(n), "ledger", r#"{"activation": "on-demand"}"#));
    // A sender that remembers its receiver keeps it from being dormant.
    let asker = asker(&engine);
    engine.text(asker, &format!("send {} add 5", id(1)));
    engine.send(dormant, "add 5").unwrap();
    for it in [dormant, held] {
        eventually("it has handled the message", || {
            (engine.describe(it).unwrap()["messages"]["handled"] == 1).then_some(())
        });
        assert_eq!(engine.text(it, "sum"), "5");
    }
    let other = engine.load_with("app/other/0", "counter", ON_DEMAND);
    engine.text(other, "inc");
    for it in [dormant, held] {
        engine.wait(it, "passive", FOREVER).unwrap();
    }
    let strip = |mut document: Value| {
        for key in ["id", "handle", "fuel", "time-ns", "storage-namespace"] {
            document.as_object_mut().unwrap().remove(key);
        }
        document
    };
    let of = |it: u64| {
        let stats = engine.stats();
        let mut all = stats["per-component"].as_array().unwrap().iter();
        let stats = all.find(|entry| entry["handle"] == it).unwrap().clone();
        [engine.describe(it).unwrap(), engine.status(it).unwrap(), stats].map(strip)
    };
    assert_eq!(of(dormant), of(held));
    let metadata = |n| engine.text(asker, &format!("metadata {}", id(n))).replace(&id(n), "");
    assert_eq!(metadata(0), metadata(1));
    let listed = engine.list();
    let entry = |at: usize| strip(listed[at].clone());
    assert_eq!(entry(0), entry(1));
    for it in [dormant, held] {
        assert_eq!(engine.text(it, "sum"), "5");
        assert_eq!(engine.text(it, "history"), engine.text(dormant, "history"));
    }
}

#[test]
fn components_of_one_id_are_not_confused() {
    let engine = Engine::new();
    let first = engine.load_with(&id(0), "counter", ON_DEMAND);
    let second = engine.load_with(&id(0), "counter", ON_DEMAND);
    let third = engine.load(&id(0), "counter");
    let asker = asker(&engine);
    for _ in 0..9 {
        engine.text(asker, &format!("request {} 60000 inc", id(0)));
    }
    engine.callbacks(asker, 9);
    let count = |it| engine.text(it, "get").parse::<u64>().unwrap();
    assert_eq!([first, second, third].map(count).iter().sum::<u64>(), 9);
    engine.unload(third).unwrap();
    engine.unload(first).unwrap();
    assert_eq!(engine.find(&id(0)).unwrap(), second);
    engine.unload(second).unwrap();
    assert!(engine.find(&id(0)).is_err());
    assert_eq!(engine.list().as_array().unwrap().len(), 1);
}

#[test]
fn first_messages_from_many_threads_reach_one_instance() {
    const THREADS: usize = 8;
    let engine = Engine::new();
    let all = many(&engine, "counter", 200, ON_DEMAND);
    let asker = asker(&engine);
    for (n, it) in all.iter().enumerate() {
        let start = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (engine, start) = (&engine, &start);
                scope.spawn(move || {
                    start.wait();
                    match thread % 3 {
                        0 => drop(engine.text(*it, "inc")),
                        1 => engine.send(*it, "inc").unwrap(),
                        _ => drop(engine.text(asker, &format!("send {} inc", id(n)))),
                    }
                });
            }
        });
    }
    for it in all {
        eventually("all have arrived", || {
            (engine.text(it, "get") == THREADS.to_string()).then_some(())
        });
    }
}

#[test]
fn messages_race_the_end_of_dormancy_without_loss() {
    const THREADS: usize = 4;
    const COUNT: usize = 24;
    // Fewer live than used at a time: components become dormant and come back all the time.
    let engine = Config::new().with(r#"{"max-live-instances": 2}"#).engine();
    let all = many(&engine, "ledger", COUNT, ON_DEMAND);
    let asker = asker(&engine);
    let sent: Vec<AtomicU64> = (0..COUNT).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let (engine, all, sent) = (&engine, &all, &sent);
            scope.spawn(move || {
                for round in 0..600 {
                    let at = (round * 7 + seed * 5 + round / 11) % COUNT;
                    match round % 4 {
                        0 | 1 => drop(engine.text(all[at], "add 1")),
                        2 => engine.send(all[at], "add 1").unwrap(),
                        _ => {
                            let sends = format!("send {} add 1", id(at));
                            assert_eq!(engine.text(asker, &sends), "ok");
                        }
                    }
                    sent[at].fetch_add(1, Ordering::Relaxed);
                    // What the host changes meanwhile is not lost either.
                    if round % 50 == 0 {
                        engine.grant(all[at], r#"{"storage": ["read"]}"#).unwrap();
                        engine.describe(all[at]).unwrap();
                    }
                }
            });
        }
    });
    for (at, it) in all.iter().enumerate() {
        let sent = sent[at].load(Ordering::Relaxed);
        eventually("all messages are handled", || {
            (engine.describe(*it).unwrap()["messages"]["handled"] == sent).then_some(())
        });
        assert_eq!(engine.text(*it, "sum"), sent.to_string(), "{at}");
        assert_eq!(engine.describe(*it).unwrap()["messages"]["handled"], sent + 1);
    }
    engine.shutdown(60_000).unwrap();
}

#[test]
fn first_messages_race_unloading() {
    let engine = Engine::new();
    let asker = asker(&engine);
    let (reached, gone) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for n in 0..150 {
        let it = engine.load_with(&id(n), "counter", ON_DEMAND);
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                match engine.call(it, "inc") {
                    Ok(_) => reached.fetch_add(1, Ordering::Relaxed),
                    Err(failure) => {
                        assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{failure}");
                        gone.fetch_add(1, Ordering::Relaxed)
                    }
                };
            });
            scope.spawn(|| {
                start.wait();
                engine.text(asker, &format!("send {} inc", id(n)));
            });
            start.wait();
            engine.unload(it).unwrap();
        });
        assert!(engine.find(&id(n)).is_err());
        assert_eq!(engine.list().as_array().unwrap().len(), 1);
    }
    assert_eq!(reached.into_inner() + gone.into_inner(), 150);
}

#[test]
fn the_end_of_an_engine_races_the_end_of_dormancy() {
    for round in 0..20 {
        let engine = Engine::new();
        let all = many(&engine, "counter", 300, ON_DEMAND);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for it in &all {
                    if let Err(failure) = engine.call(*it, "inc") {
                        let over = [AIRSSYS_ERROR_ENGINE_STOPPED, AIRSSYS_ERROR_INVALID_ARGUMENT];
                        assert!(over.contains(&failure.status), "{failure}");
                    }
                }
            });
            while engine.stats()["messages"]["handled"] == 0 {
                std::thread::yield_now();
            }
            match round % 2 {
                0 => engine.free(),
                _ => engine.shutdown(PATIENCE.as_millis() as u64).unwrap(),
            }
        });
    }
}

#[test]
fn grants_that_expire_count_from_each_load() {
    let engine = Config::closed().engine();
    let options = r#"{"activation": "on-demand",
                      "capabilities": {"storage": ["read"], "expires-in-ms": 3600000}}"#;
    let expiry = |n: usize| {
        let it = engine.load_with(&id(n), "storage-user", options);
        engine.describe(it).unwrap()["grants"][0]["expires-at-ms"].as_u64().unwrap()
    };
    let first = expiry(0);
    eventually("the clock goes on", || (expiry(1) > first).then_some(()));
}
