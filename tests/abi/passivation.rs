//! Passivation: idle components give up their instance, and get one with their next message.

use airssys_wasm::*;
use airssys_wasm_guests::bytes;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::requests::Inbox;

const FOREVER: u64 = u64::MAX;
const ID: &str = "app/ledger/0";

fn is_in(engine: &Engine, handle: u64, state: &str) -> bool {
    engine.status(handle).unwrap()["state"] == state
}

fn idle(millis: u64) -> String {
    json!({ "idle-timeout-ms": millis }).to_string()
}

#[test]
fn an_idle_component_becomes_passive_and_keeps_its_state() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "ledger", &idle(20));
    for round in 1..=3_u64 {
        assert_eq!(engine.text(it, "add 7"), (7 * round).to_string());
        engine.wait(it, "passive", FOREVER).unwrap();
        let described = engine.describe(it).unwrap();
        assert_eq!(described["memory-bytes"], 0);
        assert_eq!(described["metadata"]["name"], "ledger");
    }
    assert_eq!(engine.text(it, "history"), "8 bytes from 0.1.0");
    assert_eq!(engine.describe(it).unwrap()["restarts"], 0, "an activation is no restart");
    let told = || events.states(ID);
    eventually("the changes are told", || (told().len() >= 4).then_some(()));
    assert_eq!(
        told()[1..4],
        ["running passive idle", "passive activating mail", "activating running activated"]
    );
}

#[test]
fn a_component_without_the_interface_begins_anew() {
    let engine = Engine::new();
    let counter = engine.load_with("app/counter/0", "counter", &idle(20));
    assert_eq!(engine.text(counter, "inc"), "1");
    engine.wait(counter, "passive", FOREVER).unwrap();
    assert_eq!(engine.text(counter, "inc"), "1");
}

#[test]
fn every_way_of_mail_activates() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "ledger", &idle(20));
    let passive = || engine.wait(it, "passive", FOREVER).unwrap();
    passive();
    engine.send(it, "add 1").unwrap();
    eventually("it is handled", || {
        (engine.describe(it).unwrap()["messages"]["handled"] == 1).then_some(())
    });
    passive();
    let inbox = Inbox::new();
    let request = engine.request(it, "add 1", inbox).unwrap();
    assert_eq!(inbox.exactly(&[request])[&request].status(), AIRSSYS_OK);
    passive();
    let options = r#"{"capabilities": {"messaging": {"request": ["app/**"]}}}"#;
    let requester = engine.load_with("app/requester/0", "requester", options);
    engine.text(requester, "request app/ledger/0 60000 add 1");
    engine.callbacks(requester, 1);
    passive();
    assert_eq!(engine.health(it).unwrap()["health"], "healthy");
    assert_eq!(engine.text(it, "sum"), "3");
}

#[test]
fn a_component_that_is_used_stays() {
    let engine = Engine::new();
    let it = engine.load_with("app/counter/0", "counter", &idle(3_600_000));
    let witness = engine.load_with(ID, "ledger", &idle(5));
    for n in 1..=20_u64 {
        engine.wait(witness, "passive", FOREVER).unwrap();
        engine.text(witness, "sum");
        assert_eq!(engine.text(it, "inc"), n.to_string());
    }
}

#[test]
fn a_component_that_waits_for_an_outcome_is_not_passivated() {
    let engine = Engine::new();
    engine.load("app/sleeper/0", "trapper");
    let options = r#"{"idle-timeout-ms": 5,
                      "capabilities": {"messaging": {"request": ["app/**"]}}}"#;
    let asker = engine.load_with("app/asker/0", "requester", options);
    engine.text(asker, "request app/sleeper/0 60000 sleep 300");
    let callbacks = engine.callbacks(asker, 1);
    assert_eq!(callbacks[0]["sender"], "app/sleeper/0", "the callback reached the same instance");
    engine.wait(asker, "passive", FOREVER).unwrap();
}

#[test]
fn a_component_on_demand_is_made_by_its_first_message() {
    let config = Config::new();
    let events = Events::attach(&config, |_| ());
    let engine = config.engine();
    let it = engine.load_with(ID, "probe", r#"{"activation": "on-demand", "env": {"A": "1"}}"#);
    let described = engine.describe(it).unwrap();
    assert_eq!((&described["state"], &described["metadata"]), (&"passive".into(), &Value::Null));
    assert_eq!(engine.find(ID).unwrap(), it);
    let calls = engine.json(it, "calls");
    assert_eq!((&calls["initialize"], &calls["handle-message"]), (&1.into(), &1.into()));
    assert_eq!(engine.describe(it).unwrap()["metadata"]["name"], "probe");
    let told = || events.states(ID);
    eventually("the changes are told", || (told().len() == 3).then_some(()));
    assert_eq!(told()[0], "initializing passive registered");
}

#[test]
fn an_activation_that_fails_is_an_error_of_the_message() {
    let engine = Engine::new();
    let options = r#"{"activation": "on-demand", "env": {"REFUSE": "because"}}"#;
    let it = engine.load_with(ID, "probe", options);
    let failure = engine.failure(it, "calls");
    assert_eq!(failure.status, AIRSSYS_ERROR_INSTANTIATION_FAILED);
    assert!(failure.message.contains("because"), "{failure}");
    assert_eq!(engine.status(it).unwrap()["state"], "crashed");
}

#[test]
fn a_state_that_can_not_be_restored_stays_saved() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "ledger", &idle(20));
    engine.text(it, "add 9");
    engine.wait(it, "passive", FOREVER).unwrap();
    let refuses = r#"{"env": {"AT_RESTORE": "refuse"}}"#;
    let failure = engine.reconfigure(it, refuses).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_RUNTIME, "{failure}");
    assert!(is_in(&engine, it, "passive"));
    engine.replace(it, &bytes("ledger"), None).unwrap();
    assert_eq!(engine.text(it, "sum"), "9", "a replacement gets the saved state");
}

#[test]
fn a_start_forgets_a_state_that_could_not_be_restored() {
    let engine = Engine::new();
    let options = r#"{"idle-timeout-ms": 20,
                      "supervision": {"restart": "temporary"}}"#;
    let it = engine.load_with(ID, "ledger", options);
    engine.text(it, "fill-state 10000000");
    engine.text(it, "add 9");
    engine.wait(it, "passive", FOREVER).unwrap();
    // No version restores it any more: the next one may use too little time.
    let failure = engine.reconfigure(it, r#"{"env": {"AT_RESTORE": "trap"}}"#).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert!(is_in(&engine, it, "passive"));
    engine.stop(it, FOREVER).unwrap();
    engine.start(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "0");
    engine.failure(it, "unreachable");
    engine.start(it).unwrap();
    assert_eq!(engine.text(it, "sum"), "0", "nothing of the past comes back");
}

#[test]
fn a_state_that_can_not_be_saved_keeps_the_instance() {
    let engine = Engine::new();
    let it = engine.load_with(ID, "ledger", &idle(5));
    let witness = engine.load_with("app/ledger/1", "ledger", &idle(5));
    engine.text(it, "at-save refuse");
    engine.text(it, "add 9");
    for _ in 0..5 {
        engine.wait(witness, "passive", FOREVER).unwrap();
        engine.text(witness, "sum");
    }
    assert!(is_in(&engine, it, "running"));
    assert_eq!(engine.text(it, "sum"), "9");
}

#[test]
fn calls_of_the_life_cycle_work_on_a_passive_component() {
    let engine = Engine::new();
    let load = |n| {
        let id = format!("app/ledger/{n}");
        let it = engine.load_with(&id, "ledger", &idle(5));
        engine.text(it, "add 5");
        engine.wait(it, "passive", FOREVER).unwrap();
        it
    };
    let restarted = load(0);
    engine.restart(restarted, FOREVER).unwrap();
    assert_eq!(engine.text(restarted, "sum"), "0", "the host wants it to begin anew");
    let stopped = load(1);
    engine.stop(stopped, FOREVER).unwrap();
    assert!(is_in(&engine, stopped, "stopped"));
    engine.start(stopped).unwrap();
    engine.wait(stopped, "passive", FOREVER).unwrap();
    assert_eq!(engine.text(stopped, "sum"), "0");
    let unloaded = load(2);
    engine.unload(unloaded).unwrap();
    load(3);
    engine.shutdown(60_000).unwrap();
}

#[test]
fn the_least_recently_used_make_room_for_others() {
    const MOST: usize = 8;
    let config = Config::new().with(r#"{"max-live-instances": 8}"#);
    let engine = config.engine();
    let load = |n: u64| {
        let id = format!("app/ledger/{n}");
        engine.load_with(&id, "ledger", r#"{"activation": "on-demand"}"#)
    };
    let all: Vec<_> = (0..100).map(load).collect();
    let live = || all.iter().filter(|it| is_in(&engine, **it, "running")).count();
    assert_eq!(live(), 0);
    for round in 1..=2_u64 {
        for it in &all {
            assert_eq!(engine.text(*it, "add 1"), round.to_string());
        }
        eventually("the others become passive", || (live() <= MOST).then_some(()));
        assert!(live() > MOST / 2, "{} of {MOST} are left", live());
        assert!(is_in(&engine, all[99], "running"), "the last one used stays");
    }
    // Those that come back, while no other does, count again.
    for _ in 0..3 {
        for it in &all[..2 * MOST] {
            engine.text(*it, "add 1");
        }
        eventually("the others become passive", || (live() <= MOST).then_some(()));
    }
    // A component that may not be passivated does not count.
    let eager: Vec<_> =
        (0..20).map(|n| engine.load(&format!("app/eager/{n}"), "counter")).collect();
    assert!(eager.iter().all(|it| is_in(&engine, *it, "running")));
}

#[test]
fn mail_and_passivation_race_without_loss() {
    let engine = Engine::new();
    let ledgers: Vec<_> =
        (0..4).map(|n| engine.load_with(&format!("app/ledger/{n}"), "ledger", &idle(1))).collect();
    let sent = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4_u64)
            .map(|seed| {
                let (engine, ledgers) = (&engine, &ledgers);
                scope.spawn(move || {
                    let mut pause = seed;
                    for n in 0..150_u64 {
                        let it = ledgers[(n % 4) as usize];
                        engine.call(it, "add 1").unwrap();
                        // As long as it takes them to become passive, more or less.
                        pause = pause * 7 % 11;
                        std::thread::sleep(std::time::Duration::from_micros(300 * pause));
                    }
                    150
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum::<u64>()
    });
    let sums: u64 = ledgers.iter().map(|it| engine.text(*it, "sum").parse::<u64>().unwrap()).sum();
    assert_eq!(sums, sent);
}

#[test]
fn ten_thousand_components_wait_for_their_first_message() {
    let engine = Engine::new();
    let load = |n: u64| {
        let id = format!("app/ledger/{n}");
        engine.load_with(&id, "ledger", r#"{"activation": "on-demand", "idle-timeout-ms": 60000}"#)
    };
    let all: Vec<_> = (0..10_000).map(load).collect();
    for it in all.iter().step_by(97) {
        assert_eq!(engine.text(*it, "add 1"), "1");
    }
    assert_eq!(engine.stats()["components"], 10_000);
}
