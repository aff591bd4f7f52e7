//! States of a component: restarts by call, waits, and an event for each change.

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, eventually};
use crate::harness::events::Events;
use crate::harness::gates::Gate;
use crate::harness::log::Journal;

const TRAPPER: &str = "app/trapper/0";

fn told(config: &Config) -> &'static Events {
    Events::attach(config, |_| ())
}

#[test]
fn each_change_is_one_event_in_order() {
    let config = Config::new();
    let events = told(&config);
    let engine = config.engine();
    let trapper = engine.load(TRAPPER, "trapper");
    assert_eq!(engine.failure(trapper, "unreachable").status, AIRSSYS_ERROR_TRAP);
    assert_eq!(engine.text(trapper, "ok"), "ok");
    engine.restart(trapper, 60_000).unwrap();
    engine.unload(trapper).unwrap();
    let expected = [
        "initializing running loaded",
        "running crashed crash",
        "crashed restarting mail",
        "restarting running restarted",
        "running restarting restart",
        "restarting running restarted",
        "running unloading close",
        "unloading unloaded end",
    ];
    eventually("all changes are told", || {
        (events.states(TRAPPER).len() == expected.len()).then_some(())
    });
    assert_eq!(events.states(TRAPPER), expected);
    let all = events.state_events();
    for event in &all {
        assert_eq!(event.json["event"], "state");
        assert_eq!((&event.json["handle"], &event.json["instance"]), (&trapper.into(), &0.into()));
        assert!(event.json["time"]["seconds"].as_u64() > Some(0) && event.payload.is_none());
    }
    let codes: Vec<_> = all.iter().map(|event| event.json["code"].as_str()).collect();
    assert_eq!(codes.iter().flatten().count(), 1, "{codes:?}");
    assert_eq!(all[1].json["code"], "trap");
    let restarts = all.iter().map(|event| event.json["restarts"].as_u64().unwrap());
    assert_eq!(restarts.collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2, 2]);
}

#[test]
fn the_number_of_an_instance_tells_those_of_a_pool_apart() {
    let config = Config::new();
    let events = told(&config);
    let engine = config.engine();
    let pool = engine.load_with(TRAPPER, "trapper", r#"{"instances": 3}"#);
    engine.restart(pool, 60_000).unwrap();
    let stats = engine.describe(pool).unwrap();
    assert_eq!((&stats["state"], &stats["restarts"]), (&"running".into(), &3.into()));
    eventually("all changes are told", || (events.state_events().len() == 9).then_some(()));
    for instance in 0..3 {
        let its = events.state_events();
        let its = its.iter().filter(|event| event.json["instance"] == instance);
        let to: Vec<_> = its.map(|event| event.json["to"].as_str().unwrap()).collect();
        assert_eq!(to, ["running", "restarting", "running"]);
    }
}

#[test]
fn a_restart_forgets_the_memory_and_keeps_everything_else() {
    let engine = Engine::new();
    let counter = engine.load("app/counter/0", "counter");
    let count = || engine.text(counter, "get");
    let first = count();
    for _ in 0..3 {
        engine.text(counter, "inc");
    }
    assert_ne!(count(), first);
    engine.restart(counter, 60_000).unwrap();
    assert_eq!(count(), first, "a new memory");
    assert_eq!(engine.find("app/counter/0").unwrap(), counter);
    assert_eq!(engine.describe(counter).unwrap()["restarts"], 1);
    let failure = engine.restart(counter + 1000, 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
}

#[test]
fn mail_that_waits_goes_to_the_new_instance_in_order() {
    let (gate, config) = (Gate::default(), Config::new());
    let journal = gate.attach(&config);
    let engine = config.engine();
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.send(wasi, "print gate").unwrap();
    gate.reached();
    for n in 0..5 {
        engine.send(wasi, format!("print before {n}")).unwrap();
    }
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| engine.restart(wasi, u64::MAX));
        let depth = || engine.describe(wasi).unwrap()["mailbox"]["depth"] == 6;
        eventually("the restart waits", || depth().then_some(()));
        for n in 0..5 {
            engine.send(wasi, format!("print after {n}")).unwrap();
        }
        gate.open();
        restart.join().unwrap().unwrap();
    });
    let handled = || engine.describe(wasi).unwrap()["messages"]["handled"] == 11;
    eventually("all is handled", || handled().then_some(()));
    let printed = journal.of("app/wasi/0");
    let numbers = |when: &'static str| (0..5).map(move |n| format!("{when} {n}"));
    let expected = ["gate".to_owned()].into_iter().chain(numbers("before")).chain(numbers("after"));
    assert!(printed.iter().zip(expected).all(|(got, want)| got.contains(&want)), "{printed:?}");
    assert_eq!(engine.describe(wasi).unwrap()["restarts"], 1);
}

#[test]
fn a_restart_comes_before_the_mail_that_waits() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let events = told(&config);
    let engine = config.engine();
    let counter = engine.load("app/counter/0", "counter");
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.text(counter, "inc");
    engine.send(wasi, "print gate").unwrap();
    gate.reached();
    // Whatever waits for the old instance finds the new one.
    engine.send(wasi, "exit 7").unwrap();
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| engine.restart(wasi, u64::MAX));
        let depth = || engine.describe(wasi).unwrap()["mailbox"]["depth"] == 2;
        eventually("the restart waits", || depth().then_some(()));
        gate.open();
        restart.join().unwrap().unwrap();
    });
    let causes = || events.states("app/wasi/0");
    eventually("the exit is told", || (causes().len() == 4).then_some(()));
    assert_eq!(
        causes()[1..],
        ["running restarting restart", "restarting running restarted", "running crashed crash"]
    );
    engine.restart(counter, 0).unwrap();
    assert_eq!(engine.text(counter, "inc"), "1", "an idle component is not interrupted");
}

#[test]
fn a_restart_interrupts_what_does_not_end() {
    let engine = Engine::new();
    let options = r#"{"limits": {"max-execution-time-ms": 3600000, "max-fuel": null}}"#;
    let trapper = engine.load_with(TRAPPER, "trapper", options);
    engine.send(trapper, "loop").unwrap();
    let begun = || engine.describe(trapper).unwrap()["mailbox"]["depth"] == 0;
    eventually("the loop begins", || begun().then_some(()));
    engine.restart(trapper, 0).unwrap();
    assert_eq!(engine.text(trapper, "ok"), "ok");
    assert_eq!(engine.describe(trapper).unwrap()["state"], "running");
}

#[test]
fn a_restart_does_not_depend_on_how_the_old_instance_ended() {
    let (config, journal) = (Config::new(), Journal::default());
    journal.attach(&config);
    let events = told(&config);
    let engine = config.engine();
    let options = r#"{"env": {"AT_SHUTDOWN": "unreachable"}}"#;
    let hermit = engine.load_with("app/hermit/0", "hermit", options);
    engine.restart(hermit, 60_000).unwrap();
    assert_eq!(engine.text(hermit, "ok"), "ok");
    let warned = journal.of("app/hermit/0");
    assert!(warned.iter().any(|text| text.contains("shutdown before a restart")), "{warned:?}");
    eventually("all changes are told", || (events.states("app/hermit/0").len() == 3).then_some(()));
}

#[test]
fn a_wait_ends_with_the_state_and_names_another_one() {
    let engine = Engine::new();
    let trapper = engine.load(TRAPPER, "trapper");
    engine.wait(trapper, "running", 0).unwrap();
    let failure = engine.wait(trapper, "crashed", 1).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT);
    assert_eq!(
        (&failure.detail["state"], &failure.detail["wanted"]),
        (&"running".into(), &"crashed".into())
    );
    assert!(failure.message.contains("app/trapper/0 is running"), "{failure}");
    std::thread::scope(|scope| {
        let crashed = scope.spawn(|| engine.wait(trapper, "crashed", u64::MAX));
        engine.failure(trapper, "unreachable");
        crashed.join().unwrap().unwrap();
        let unloaded = scope.spawn(|| engine.wait(trapper, "unloaded", u64::MAX));
        let running = scope.spawn(|| engine.wait(trapper, "running", u64::MAX));
        engine.unload(trapper).unwrap();
        // Each may also come too late to find it.
        for wait in [unloaded, running] {
            let outcome = wait.join().unwrap();
            let status = outcome.err().map(|failure| failure.status);
            assert!(matches!(status, None | Some(AIRSSYS_ERROR_COMPONENT_NOT_FOUND)), "{status:?}");
        }
    });
    let failure = engine.wait(trapper, "Running", 0).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("initializing, running, passive"), "{failure}");
}

#[test]
fn a_wait_ends_with_the_engine() {
    let engine = Engine::new();
    let trapper = engine.load(TRAPPER, "trapper");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.wait(trapper, "crashed", u64::MAX));
        engine.shutdown(60_000).unwrap();
        let status = waiting.join().unwrap().unwrap_err().status;
        let ended = [AIRSSYS_ERROR_ENGINE_STOPPED, AIRSSYS_ERROR_COMPONENT_NOT_FOUND];
        assert!(ended.contains(&status), "{status}");
    });
    assert_eq!(engine.restart(trapper, 0).unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
}
