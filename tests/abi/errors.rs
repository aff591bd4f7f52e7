//! Error objects and statuses.

use std::ptr::{self, null_mut};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Engine, status_name};

#[test]
fn an_error_may_be_ignored() {
    let engine = Engine::new();
    let none = null_mut();
    // SAFETY: a live engine, and NULL in place of the error.
    unsafe {
        let shown = airssys_engine_describe(engine.raw(), 1, null_mut(), none);
        assert_eq!(shown, AIRSSYS_ERROR_INVALID_ARGUMENT);
        let sent = airssys_engine_send(engine.raw(), 1, ptr::null(), 0, ptr::null(), none);
        assert_eq!(sent, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
        assert_eq!(airssys_engine_unload(engine.raw(), 1, none), AIRSSYS_OK);
    }
}

#[test]
fn status_values_and_names_never_change() {
    let pinned = [
        (0, "AIRSSYS_OK"),
        (1, "AIRSSYS_ERROR_INVALID_ARGUMENT"),
        (2, "AIRSSYS_ERROR_INVALID_ID"),
        (3, "AIRSSYS_ERROR_INVALID_OPTIONS"),
        (4, "AIRSSYS_ERROR_INVALID_COMPONENT"),
        (5, "AIRSSYS_ERROR_INSTANTIATION_FAILED"),
        (6, "AIRSSYS_ERROR_INITIALIZATION_FAILED"),
        (7, "AIRSSYS_ERROR_COMPONENT_NOT_FOUND"),
        (8, "AIRSSYS_ERROR_EXPORT_NOT_FOUND"),
        (9, "AIRSSYS_ERROR_TIMEOUT"),
        (10, "AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED"),
        (11, "AIRSSYS_ERROR_RUNTIME"),
        (12, "AIRSSYS_ERROR_TRAP"),
        (13, "AIRSSYS_ERROR_QUEUE_FULL"),
        (14, "AIRSSYS_ERROR_WOULD_DEADLOCK"),
        (15, "AIRSSYS_ERROR_SHUTDOWN_FAILED"),
        (16, "AIRSSYS_ERROR_ENGINE_STOPPED"),
        (17, "AIRSSYS_ERROR_FORKED"),
        (18, "AIRSSYS_ERROR_PANIC"),
        (19, "AIRSSYS_ERROR_IO"),
        (20, "AIRSSYS_ERROR_INVALID_MESSAGE"),
        (21, "AIRSSYS_ERROR_REQUEST_NOT_FOUND"),
        (22, "AIRSSYS_ERROR_CANCELLED"),
        (23, "AIRSSYS_ERROR_DELIVERY_FAILED"),
        (24, "AIRSSYS_ERROR_INTERRUPTED"),
        (25, "AIRSSYS_ERROR_COMPONENT_STOPPED"),
        (26, "AIRSSYS_ERROR_COMPONENT_FAILED"),
        (27, "AIRSSYS_ERROR_UNSUPPORTED"),
        (28, "AIRSSYS_ERROR_NOT_CONFORMING"),
        (29, "AIRSSYS_ERROR_CANARY_UNDER_WAY"),
    ];
    for (value, name) in pinned {
        assert_eq!(status_name(value), name);
    }
    for unknown in [30, -1, i32::MIN, i32::MAX] {
        assert_eq!(status_name(unknown), "AIRSSYS_ERROR_UNKNOWN");
    }
}

#[test]
fn an_error_outlives_its_engine_and_moves_to_other_threads() {
    let mut error = std::ptr::null_mut();
    let engine = Engine::new();
    // SAFETY: a live engine and an output that is valid for writing.
    let status = unsafe {
        airssys_engine_send(engine.raw(), 5, std::ptr::null(), 0, std::ptr::null(), &raw mut error)
    };
    assert_eq!(status, AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    drop(engine);
    let address = error.expose_provenance();
    std::thread::spawn(move || {
        let error = std::ptr::with_exposed_provenance_mut::<airssys_error_t>(address);
        // SAFETY: a live error, freed once.
        unsafe {
            let text = std::ffi::CStr::from_ptr(airssys_error_message(error));
            assert!(text.to_str().unwrap().contains("handle 5"));
            assert_eq!(airssys_error_status(error), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
            airssys_error_free(error);
        }
    })
    .join()
    .unwrap();
}

#[test]
fn every_guest_error_has_its_status_and_message() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    for (kind, status) in [
        ("component-not-found", AIRSSYS_ERROR_COMPONENT_NOT_FOUND),
        ("instantiation-failed", AIRSSYS_ERROR_INSTANTIATION_FAILED),
        ("export-not-found", AIRSSYS_ERROR_EXPORT_NOT_FOUND),
        ("resource-limit-exceeded", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED),
        ("invalid-component", AIRSSYS_ERROR_INVALID_COMPONENT),
        ("runtime-error", AIRSSYS_ERROR_RUNTIME),
        ("timeout", AIRSSYS_ERROR_TIMEOUT),
    ] {
        let failure = engine.failure(probe, &format!("fail {kind} zu spät"));
        assert_eq!(failure.status, status, "{failure}");
        assert_eq!(failure.detail["origin"], "guest", "{failure}");
        assert_eq!(failure.detail["code"], kind, "{failure}");
        assert_eq!(failure.message.contains("zu spät"), kind != "timeout", "{failure}");
    }
    let described = engine.describe(probe).unwrap();
    assert_eq!((&described["restarts"], &described["state"]), (&json!(0), &json!("running")));
    assert_eq!(engine.json(probe, "calls")["initialize"], 1, "its instance is the same");
}

#[test]
fn a_guest_error_message_is_not_cut_at_a_nul() {
    let engine = Engine::new();
    let probe = engine.load("app/probe/0", "probe");
    let failure = engine.failure(probe, "fail runtime-error before\0after");
    assert!(failure.message.contains("after"), "{failure}");
}
