//! Interfaces of WASI 0.2 that nobody can be granted: components that import them load but reach
//! nothing.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::stage::{Stage, never};

const NOBODY: &str = "this interface cannot be granted";

/// A component that calls an import during its instantiation.
fn caller(interface: &str, function: &str) -> Vec<u8> {
    let wat = format!(
        r#"(component
            (import "{interface}" (instance $i (export "{function}" (func))))
            (core func $f (canon lower (func $i "{function}")))
            (core module $m (import "" "f" (func $f)) (start $f))
            (core instance (instantiate $m (with "" (instance (export "f" (func $f)))))))"#
    );
    wat::parse_str(wat).unwrap()
}

#[test]
fn an_ungranted_interface_is_refused_when_it_is_called() {
    let stage = Stage::new();
    let all = json!({"capabilities": {"network": {"outbound": ["**"], "inbound": ["**"]}}});
    for (interface, function) in [
        ("wasi:http/outgoing-handler@0.2.0", "handle"),
        ("wasi:http/types@0.2.12", "http-error-code"),
        ("wasi:clocks/timezone@0.2.9", "utc-offset"),
        ("wasi:blobstore/container@0.2.0-draft", "open"),
        ("wasi:random/other@0.2.99", "get"),
    ] {
        let (wasm, options) = (caller(interface, function), all.to_string());
        let loaded = stage.engine.try_load("app/thief/0", &wasm, Some(&options));
        let failure = loaded.expect_err("the call is refused");
        let name = format!("{interface}#{function}");
        assert!(
            failure.message.contains(&format!("capability denied: host.call {name}")),
            "{failure}"
        );
        let thief = crate::harness::stage::Guest { id: "app/thief/0", handle: 0 };
        assert_eq!(stage.denials_of(&thief), [never("host.call", &name, NOBODY)]);
        stage.assert_intact(interface);
    }
}

#[test]
fn a_compiled_component_that_imports_http_reaches_nothing() {
    let stage = Stage::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let thief = stage.load("app/thief/0", "wasi", json!({"network": {"outbound": [address]}}));
    let observed = stage.observe(&thief, &format!("http {address}"));
    let denials = observed.denials();
    assert_eq!(denials.len(), 1, "{denials:?}");
    assert!(denials[0].resource.starts_with("wasi:http/types@0.2."), "{denials:?}");
    let failure = observed.reply.unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_TRAP, "{failure}");
    assert!(server.accept().is_err(), "somebody connected");
    assert_eq!(stage.engine.text(thief.handle, "echo again"), "again");
}

#[test]
fn resources_shared_by_interfaces_are_the_same_type() {
    let stage = Stage::new();
    let wat = r#"(component
        (import "wasi:io/streams@0.2.3" (instance $io (export "input-stream" (type (sub resource)))))
        (alias export $io "input-stream" (type $input))
        (import "wasi:http/types@0.2.3" (instance $http
            (export "input-stream" (type $same (eq $input)))
            (export "fields" (type $fields (sub resource)))
            (export "[constructor]fields" (func (result (own $fields))))
            (export "body" (func (result (own $same))))))
        (alias export $http "fields" (type $again))
        (import "wasi:http/outgoing-handler@0.2.3" (instance
            (export "fields" (type $f (eq $again)))
            (export "handle" (func (param "f" (borrow $f)))))))"#;
    let wasm = wat::parse_str(wat).unwrap();
    stage.engine.try_load("app/shared/0", &wasm, None).unwrap();
}

#[test]
fn unlimited_resources_are_refused() {
    let stage = Stage::new();
    for (count, loads) in [(900, true), (1_100, false), (20_000, false)] {
        let exports: String =
            (0..count).map(|n| format!(r#"(export "r{n}" (type (sub resource)))"#)).collect();
        let wat = format!(r#"(component (import "wasi:http/types@0.2.0" (instance {exports})))"#);
        let loaded = stage.engine.try_load("app/thief/0", &wat::parse_str(wat).unwrap(), None);
        assert_eq!(loaded.is_ok(), loads, "{count}: {loaded:?}");
        if let Err(failure) = loaded {
            assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
        }
    }
}

#[test]
fn interfaces_outside_wasi_0_2_do_not_exist() {
    let stage = Stage::new();
    for interface in [
        "wasi:http/outgoing-handler@0.3.0",
        "wasi:http/outgoing-handler@0.20.0",
        "wasi:http/outgoing-handler",
        "wasix:http/outgoing-handler@0.2.0",
        "other:pkg/iface@0.2.0",
    ] {
        let loaded = stage.engine.try_load("app/thief/0", &caller(interface, "handle"), None);
        let failure = loaded.expect_err(interface);
        assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{interface}: {failure}");
    }
}
