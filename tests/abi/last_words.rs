//! What a component wrote to standard error before it trapped or exited, in the host's errors.

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::engine::{Config, Engine};
use crate::harness::log::set_logger;
use crate::harness::requests::{Completed, Inbox};

fn detail_of(completed: &Completed) -> Value {
    completed.outcome.as_ref().unwrap_err().detail.clone()
}

#[test]
fn a_trap_s_error_has_the_end_of_standard_error() {
    // Its log level does not matter, nor who asks.
    for level in [AIRSSYS_LOG_ERROR, AIRSSYS_LOG_TRACE] {
        let config = Config::new();
        set_logger(&config, level, |_| ());
        let engine = config.engine();
        let wasi = engine.load("app/wasi/0", "wasi");
        engine.text(wasi, "eprint Traceback:\n\n  File x\r\n");
        let failure = engine.failure(wasi, "panic ValueError: boom");
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP);
        assert_eq!(failure.detail["code"], "trap");
        let (reason, words) = failure.message.split_once("; its stderr ended with: ").unwrap();
        assert_eq!(reason, "app/wasi/0: wasm `unreachable` instruction executed");
        assert!(words.contains(" | ValueError: boom | note: "), "{failure}");
        assert!(!failure.message.contains('\n') && !words.contains("Traceback"), "{failure}");
        let stderr = failure.detail["stderr"].as_str().unwrap();
        assert!(stderr.starts_with("Traceback:\n  File x\n"), "{stderr}");
        assert!(stderr.contains("\nValueError: boom\n"), "{stderr}");

        // A new instance has said nothing yet.
        let inbox = Inbox::new();
        let request = engine.request(wasi, "exit 1", inbox).unwrap();
        let outcome = &inbox.exactly(&[request])[&request];
        assert_eq!(outcome.status(), AIRSSYS_ERROR_TRAP);
        let detail = detail_of(outcome);
        assert_eq!((&detail["code"], detail.get("stderr")), (&json!("exit"), None));
        let inbox = Inbox::new();
        let request = engine.request(wasi, "panic in a request", inbox).unwrap();
        let detail = detail_of(&inbox.exactly(&[request])[&request]);
        assert!(detail["stderr"].as_str().unwrap().contains("in a request"), "{detail}");
    }
}

#[test]
fn an_exit_has_its_status_and_the_end_of_standard_error() {
    let engine = Engine::new();
    let wasi = engine.load("app/wasi/0", "wasi");
    for (command, status) in [("exit 3", 1), ("exit 0", 0), ("exit-with 3", 3), ("exit-with 0", 0)]
    {
        engine.text(wasi, "eprint usage: tool FILE");
        let failure = engine.failure(wasi, command);
        assert_eq!(failure.status, AIRSSYS_ERROR_TRAP);
        assert_eq!(
            (&failure.detail["code"], &failure.detail["exit-code"]),
            (&json!("exit"), &json!(status))
        );
        assert_eq!(
            failure.message,
            format!(
                "app/wasi/0: the component exited with code {status}; its stderr ended with: usage: \
                 tool FILE"
            )
        );
    }
}

#[test]
fn the_end_of_standard_error_is_bounded_and_charged() {
    let engine = Engine::new();
    let wasi = engine.load("app/wasi/0", "wasi");
    let held = |it: &Engine| it.describe(wasi).unwrap()["host-bytes"].as_u64().unwrap();
    let before = held(&engine);
    for n in 0..200 {
        engine.text(wasi, &format!("eprint {n} {}", "ö".repeat(2000)));
    }
    assert_eq!(held(&engine) - before, 4096);
    let failure = engine.failure(wasi, "panic boom");
    let stderr = failure.detail["stderr"].as_str().unwrap();
    assert!(stderr.len() <= 4096 && stderr.contains("boom"), "{stderr}");
    assert!(!stderr.contains("198 "), "{stderr}");
    assert!(held(&engine) <= before + 4096, "the next one has a record of its own");
}

#[test]
fn other_components_do_not_see_it() {
    let engine = Engine::new();
    let wasi = engine.load("app/wasi/0", "wasi");
    engine.text(wasi, "eprint a secret");
    let requester = engine.load("app/requester/0", "requester");
    engine.text(requester, "request app/wasi/0 60000 panic boom");
    let callback = engine.callbacks(requester, 1).remove(0).to_string();
    assert!(callback.contains("trap") && !callback.contains("secret"), "{callback}");
}
