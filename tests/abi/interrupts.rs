//! Interrupts end whatever a component runs, name themselves in its outcome, and end nothing else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Config, Engine, Failure, With, eventually};
use crate::harness::gates::Gate;
use crate::harness::requests::Inbox;

/// No limit ends these messages.
const ENDLESS: &str = r#"{"limits": {"max-execution-time-ms": 3600000, "max-fuel": null}}"#;

fn assert_interrupted(failure: &Failure) {
    assert_eq!(failure.status, AIRSSYS_ERROR_INTERRUPTED, "{failure}");
    assert!(failure.message.contains("the host interrupted it"), "{failure}");
}

/// Expects an interrupt as the only completion.
fn interrupted(inbox: Inbox) {
    assert_interrupted(&inbox.only().outcome.expect_err("it was interrupted"));
}

#[test]
fn a_running_message_ends_and_the_next_gets_a_new_instance() {
    // Guests that compute or wait, with and without the loop.
    for (guest, command) in [
        ("trapper", "loop"),
        ("trapper", "sleep 3600000"),
        ("requester", "loop"),
        ("requester", "sleep-then 3600000 ok"),
        ("hermit", "loop"),
        ("wasi", "sleep 3600000"),
    ] {
        let engine = Engine::new();
        let component = engine.load_with("app/busy/0", guest, ENDLESS);
        let (first, behind) = (Inbox::new(), Inbox::new());
        engine.request(component, command, first).unwrap();
        engine.until_busy(component, 1, 0);
        engine.request(component, command, behind).unwrap();
        engine.until_busy(component, 2, 1);
        engine.interrupt(component).unwrap();
        interrupted(first);
        engine.until_busy(component, 2, 0);
        assert!(behind.all().is_empty(), "{guest}: {command}: it was waiting at the interrupt");
        engine.interrupt(component).unwrap();
        interrupted(behind);
        let described = engine.describe(component).unwrap();
        assert_eq!(described["messages"]["failed"], 2, "{described}");
    }
}

#[test]
fn a_call_ends_on_the_thread_that_waits_for_it() {
    let timed = With { timeout_ms: 3_000_000, ..With::default() };
    for (guest, command) in [
        ("trapper", "loop"),
        ("trapper", "sleep 3600000"),
        ("hermit", "loop"),
        ("requester", "loop"),
    ] {
        for with in [With::default(), timed] {
            let engine = Engine::new();
            let component = engine.load_with("app/busy/0", guest, ENDLESS);
            thread::scope(|scope| {
                let call = scope.spawn(|| engine.call_with(component, command, with));
                engine.until_busy(component, 1, 0);
                engine.interrupt(component).unwrap();
                assert_interrupted(&call.join().unwrap().unwrap_err());
            });
            assert_eq!(engine.text(component, "ok"), "ok", "{guest}: {command}");
        }
    }
}

#[test]
fn a_message_that_waits_for_a_busy_worker_ends_too() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let load = |n: usize| engine.load_with(&format!("app/busy/{n}"), "trapper", ENDLESS);
    let busy: Vec<u64> = (0..40).map(load).collect();
    let inboxes: Vec<Inbox> = busy.iter().map(|_| Inbox::new()).collect();
    for (component, inbox) in busy.iter().zip(&inboxes) {
        engine.request(*component, "loop", *inbox).unwrap();
    }
    busy.iter().for_each(|component| engine.until_busy(*component, 1, 0));
    for (component, inbox) in busy.iter().zip(&inboxes) {
        engine.interrupt(*component).unwrap();
        interrupted(*inbox);
    }
}

#[test]
fn an_idle_component_is_not_changed() {
    let engine = Engine::new();
    let requester = engine.load("app/requester/0", "requester");
    let counter = engine.load("app/counter/0", "counter");
    for n in 1..=3 {
        engine.interrupt(counter).unwrap();
        engine.interrupt(requester).unwrap();
        assert_eq!(engine.text(counter, "inc"), n.to_string(), "its memory is kept");
        engine.text(requester, "ok");
    }
    assert_eq!(engine.describe(counter).unwrap()["restarts"], 0);
    assert_eq!(engine.describe(requester).unwrap()["restarts"], 0);
}

#[test]
fn all_instances_of_a_pool_are_interrupted() {
    let engine = Config::new().with(r#"{"workers": 1}"#).engine();
    let options = json!({ "instances": 3, "limits": { "max-execution-time-ms": 3_600_000, "max-fuel": null } });
    let pool = engine.load_with("app/pool/0", "trapper", &options.to_string());
    let inboxes = [(); 3].map(|()| Inbox::new());
    for inbox in inboxes {
        engine.request(pool, "sleep 3600000", inbox).unwrap();
    }
    engine.until_busy(pool, 3, 0);
    engine.interrupt(pool).unwrap();
    inboxes.into_iter().for_each(interrupted);
}

#[test]
fn a_running_host_callback_returns_first() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let chatty = engine.load_with("app/chatty/0", "chatty", ENDLESS);
    let inbox = Inbox::new();
    engine.request(chatty, "log info gate", inbox).unwrap();
    gate.reached();
    engine.interrupt(chatty).unwrap();
    assert!(inbox.all().is_empty());
    gate.open();
    interrupted(inbox);
}

#[test]
fn unknown_and_unloaded_components_cannot_be_interrupted() {
    let engine = Engine::new();
    let trapper = engine.load("app/trapper/0", "trapper");
    assert_eq!(engine.interrupt(0).unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    engine.unload(trapper).unwrap();
    assert_eq!(engine.interrupt(trapper).unwrap_err().status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    engine.shutdown(1000).unwrap();
    assert_eq!(engine.interrupt(trapper).unwrap_err().status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

#[test]
fn an_unload_with_a_timeout_ends_the_running_message() {
    for command in ["loop", "sleep 3600000"] {
        let engine = Engine::new();
        let trapper = engine.load_with("app/trapper/0", "trapper", ENDLESS);
        let (running, waiting) = (Inbox::new(), Inbox::new());
        engine.request(trapper, command, running).unwrap();
        engine.until_busy(trapper, 1, 0);
        engine.request(trapper, command, waiting).unwrap();
        let failure = engine.unload_within(trapper, 10).unwrap_err();
        assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
        assert!(failure.message.contains("the host interrupted it"), "{failure}");
        interrupted(running);
        let unloaded = waiting.only().outcome.unwrap_err();
        assert_eq!(unloaded.status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "{unloaded}");
        assert_eq!(engine.stats()["components"], 0);
    }
}

#[test]
fn an_unload_with_a_timeout_ends_a_running_shutdown_function() {
    let engine = Engine::new();
    let options = json!({
        "env": { "LOOP_SHUTDOWN": "1" },
        "limits": { "max-execution-time-ms": 3_600_000, "max-fuel": null },
    });
    let probe = engine.load_with("app/probe/0", "probe", &options.to_string());
    let failure = engine.unload_within(probe, 10).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_SHUTDOWN_FAILED, "{failure}");
    assert!(failure.message.contains("the host interrupted it"), "{failure}");
}

#[test]
fn an_unload_within_its_timeout_is_like_any_other() {
    let engine = Engine::new();
    let counter = engine.load("app/counter/0", "counter");
    engine.unload_within(counter, 3_600_000).unwrap();
    engine.unload_within(counter, 0).unwrap();
    let counter = engine.load("app/counter/0", "counter");
    thread::scope(|scope| {
        let unloads = [(); 2].map(|()| scope.spawn(|| engine.unload_within(counter, 3_600_000)));
        unloads.into_iter().for_each(|unload| unload.join().unwrap().unwrap());
    });
}

#[test]
fn an_unload_with_a_timeout_does_not_wait_forever_for_a_host_callback() {
    let (gate, config) = (Gate::default(), Config::new());
    gate.attach(&config);
    let engine = config.engine();
    let chatty = engine.load_with("app/chatty/0", "chatty", ENDLESS);
    let inbox = Inbox::new();
    engine.request(chatty, "log info gate", inbox).unwrap();
    gate.reached();
    let failure = engine.unload_within(chatty, 10).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TIMEOUT, "{failure}");
    assert!(failure.message.contains("host callback that runs for it"), "{failure}");
    assert_eq!(engine.stats()["components"], 0, "it is unloaded");
    let again = engine.load("app/chatty/0", "chatty");
    gate.open();
    interrupted(inbox);
    eventually("the new component answers", || engine.call(again, "time").ok());
}

const ENDS: With<'static> = With { flags: AIRSSYS_MESSAGE_ENDS_WITH_SENDER, ..With::nothing() };

#[test]
fn cancelling_a_request_ends_its_message_if_the_flag_says_so() {
    for command in ["loop", "sleep 3600000"] {
        let engine = Engine::new();
        let trapper = engine.load_with("app/trapper/0", "trapper", ENDLESS);
        let inboxes = [(); 3].map(|()| Inbox::new());
        let ids = inboxes.map(|inbox| engine.request_with(trapper, command, ENDS, inbox).unwrap());
        engine.until_busy(trapper, 3, 2);
        // First the waiting one is withdrawn; then the running one ends and the last one starts.
        for (index, waiting) in [(1, 1), (0, 0), (2, 0)] {
            engine.cancel(ids[index]).unwrap();
            let cancelled = inboxes[index].only();
            assert_eq!(cancelled.status(), AIRSSYS_ERROR_CANCELLED);
            engine.until_busy(trapper, 3, waiting);
        }
        assert_eq!(engine.text(trapper, "ok"), "ok");
        let described = engine.describe(trapper).unwrap();
        assert_eq!(described["messages"]["dropped"], 1, "{described}");
        assert_eq!(described["messages"]["failed"], 2, "{described}");
    }
}

#[test]
fn cancelling_a_request_without_the_flag_leaves_its_message_alone() {
    let engine = Engine::new();
    let trapper = engine.load_with("app/trapper/0", "trapper", ENDLESS);
    let inbox = Inbox::new();
    let id = engine.request(trapper, "loop", inbox).unwrap();
    engine.until_busy(trapper, 1, 0);
    engine.cancel(id).unwrap();
    assert_eq!(inbox.only().status(), AIRSSYS_ERROR_CANCELLED);
    let described = engine.describe(trapper).unwrap();
    assert_eq!(described["messages"]["failed"], 0, "it runs: {described}");
    engine.interrupt(trapper).unwrap();
    assert_eq!(engine.text(trapper, "ok"), "ok");
}

#[test]
fn a_timeout_ends_the_message_if_the_flag_says_so() {
    let with = With { timeout_ms: 30, ..ENDS };
    for (guest, command) in [("trapper", "loop"), ("hermit", "loop"), ("trapper", "sleep 3600000")]
    {
        let engine = Engine::new();
        let component = engine.load_with("app/busy/0", guest, ENDLESS);
        let timed_out = engine.call_with(component, command, with).unwrap_err();
        assert_eq!(timed_out.status, AIRSSYS_ERROR_TIMEOUT, "{timed_out}");
        assert_eq!(engine.text(component, "ok"), "ok");
        let inbox = Inbox::new();
        engine.request_with(component, command, with, inbox).unwrap();
        assert_eq!(inbox.only().status(), AIRSSYS_ERROR_TIMEOUT);
        assert_eq!(engine.text(component, "ok"), "ok");
        let described = engine.describe(component).unwrap();
        assert_eq!(described["messages"]["failed"], 2, "{guest}: {command}: {described}");
    }
}

/// Gives up at the third query.
fn third(asked: &AtomicU32) -> bool {
    asked.fetch_add(1, Ordering::Relaxed) == 2
}

#[test]
fn a_caller_is_asked_whether_it_gives_up() {
    // On the caller's stack, on a fiber and on a worker; computing and waiting.
    for (guest, command) in [
        ("hermit", "loop"),
        ("trapper", "loop"),
        ("trapper", "sleep 3600000"),
        ("wasi", "sleep 3600000"),
        ("requester", "loop"),
    ] {
        for timeout_ms in [0, 3_000_000] {
            let engine = Engine::new();
            let component = engine.load_with("app/busy/0", guest, ENDLESS);
            let (asked, caller) = (AtomicU32::new(0), thread::current().id());
            let gives_up = || {
                assert_eq!(thread::current().id(), caller);
                assert!(crate::harness::callback::on_native_stack());
                third(&asked)
            };
            let with = With { timeout_ms, gives_up: Some(&gives_up), ..With::default() };
            let failure = engine.call_with(component, command, with).unwrap_err();
            assert_interrupted(&failure);
            assert_eq!(asked.load(Ordering::Relaxed), 3, "{guest}: {command}");
            assert_eq!(engine.describe(component).unwrap()["messages"]["failed"], 1);
        }
    }
}

#[test]
fn a_caller_whose_message_waits_may_give_up_too() {
    let engine = Engine::new();
    let options = json!({
        "limits": { "max-execution-time-ms": 3_600_000, "max-fuel": null },
        "mailbox": { "capacity": 1, "when-full": "block" },
    });
    let trapper = engine.load_with("app/trapper/0", "trapper", &options.to_string());
    let running = Inbox::new();
    engine.request(trapper, "loop", running).unwrap();
    engine.until_busy(trapper, 1, 0);
    for timeout_ms in [0, 3_000_000] {
        let asked = AtomicU32::new(0);
        let gives_up = || third(&asked);
        let with = With { timeout_ms, gives_up: Some(&gives_up), ..With::default() };
        assert_interrupted(&engine.call_with(trapper, "ok", with).unwrap_err());
        engine.until_busy(trapper, 2 + u64::from(timeout_ms > 0), 0);
    }
    // The mailbox is full, so the call waits for room.
    engine.send(trapper, "ok").unwrap();
    for timeout_ms in [0, 3_000_000] {
        let asked = AtomicU32::new(0);
        let gives_up = || third(&asked);
        let with = With { timeout_ms, gives_up: Some(&gives_up), ..With::default() };
        assert_interrupted(&engine.call_with(trapper, "ok", with).unwrap_err());
        engine.until_busy(trapper, 4, 1);
    }
    assert!(running.all().is_empty(), "the running message goes on");
    engine.interrupt(trapper).unwrap();
    interrupted(running);
}

#[test]
fn a_caller_that_does_not_give_up_gets_its_reply() {
    let engine = Engine::new();
    let trapper = engine.load_with("app/trapper/0", "trapper", ENDLESS);
    let asked = AtomicU32::new(0);
    let gives_up = || {
        asked.fetch_add(1, Ordering::Relaxed);
        false
    };
    let with = With { gives_up: Some(&gives_up), ..With::default() };
    assert_eq!(engine.call_with(trapper, "sleep 200", with).unwrap().unwrap(), b"ok");
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn unknown_flags_are_refused() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let failure = engine.call_with(echo, "x", With { flags: 1 << 40, ..ENDS }).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{failure}");
    assert!(failure.message.contains("options.flags"), "{failure}");
}
