//! Components that do not fit the host are refused with what is missing and what helps.

use airssys_wasm::*;
use serde_json::json;

use crate::harness::engine::{Engine, Failure};
use crate::harness::published::{CODE, WIT, component_of};

fn refused(text: &str) -> Failure {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let failure = Engine::bare().try_load("app/strange/0", &wasm, None).expect_err(text);
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    assert!(failure.message.len() < 5000);
    failure
}

fn says(text: &str, expected: &[&str]) {
    let failure = refused(text);
    for part in expected {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
}

/// A component that imports a function of an interface.
fn importing(interface: &str) -> String {
    format!(r#"(component (import "{interface}" (instance (export "f" (func)))))"#)
}

#[test]
fn an_interface_that_is_not_offered_is_named_with_near_ones() {
    let interface = "acme:thing/api@1.0.0";
    says(
        &importing(interface),
        &[
            "this host does not offer acme:thing/api@1.0.0 (imported function `f`); it offers ",
            " other interfaces",
        ],
    );
    let failure = refused(&importing("airssys:core/storage-2@1.0.0"));
    let (_, offered) = failure.message.split_once("it offers ").unwrap();
    assert!(offered.starts_with("airssys:core/storage@1.0.0, "), "{failure}");
    let imports = [interface, "a:b/c", "a:b/d"]
        .map(|name| format!(r#"(import "{name}" (instance (export "f" (func))))"#));
    says(
        &format!("(component {})", imports.join(" ")),
        &["does not offer acme:thing/api@1.0.0 ", "; nor does it offer a:b/c, a:b/d"],
    );
    says(
        r#"(component (import "f" (func)))"#,
        &["this host offers no function outside of an interface, and the component imports `f`"],
    );
    let long = format!("acme:{}/api", "x".repeat(3000));
    assert!(refused(&importing(&long)).message.len() < 1500);
}

#[test]
fn another_version_of_an_offered_interface_is_named_with_those_that_are() {
    says(
        &importing("wasi:keyvalue/store@0.3.0"),
        &[
            "this host offers wasi:keyvalue/store @0.2.0-draft and @0.2.0-draft2, and the component \
             wants @0.3.0 (imported function `f`)",
        ],
    );
    for wanted in [
        "wasi:keyvalue/batch@0.2.0-draft3",
        "wasi:config/store@0.2.0",
        "wasi:logging/logging@0.2.0",
        "airssys:core/storage@2.0.0",
        "wasi:cli/stdout@0.1.0",
    ] {
        let (name, version) = wanted.split_once('@').unwrap();
        says(
            &importing(wanted),
            &[&format!("this host offers {name} "), &format!("the component wants @{version} ")],
        );
    }
    says(&importing("wasi:keyvalue/store"), &["the component wants no version"]);
    says(&importing("wasi:logging/logging@1.0.0"), &["@0.1.0-draft and no version"]);
}

#[test]
fn wasi_0_3_and_the_async_abi_are_named_with_what_avoids_them() {
    for interface in ["wasi:cli/stdout@0.3.0", "wasi:http/handler@0.3.0-rc-2026-01-01"] {
        says(
            &importing(interface),
            &["made for WASI 0.3", interface, "this host offers WASI 0.2", "wasm32-wasip2"],
        );
    }
    let expected = ["it needs what this host does not have: async functions", "wasm32-wasip2"];
    says(r#"(component (import "a:b/c" (instance (export "f" (func async)))))"#, &expected);
    says(r#"(component (type $t (stream u8)) (core func (canon stream.new $t)))"#, &expected);
}

#[test]
fn a_proposal_that_is_off_is_named() {
    for (module, name) in [
        ("(tag $e) (func (throw $e))", "exception-handling; build it without exceptions"),
        ("(tag $e) (func (try_table (catch_all 0)))", "exception-handling; "),
        ("(func try catch_all end)", "exception-handling; "),
        ("(type $s (struct (field i32))) (func (drop (struct.new_default $s)))", "gc; "),
        ("(memory 1 1 shared)", "threads; build it without shared memory"),
        ("(memory 1 (pagesize 1))", "custom-page-sizes; "),
        ("(func (drop (i64.mul_wide_s (i64.const 1) (i64.const 2))) drop)", "wide-arithmetic; "),
    ] {
        let text = format!("(component (core module {module}))");
        says(&text, &[&format!("it needs what this host does not have: {name}")]);
    }
    let bare = refused("(component (core module (func (drop (i32.const 1)) drop)))");
    assert!(!bare.message.contains("does not have"), "{bare}");
}

#[test]
fn a_function_that_the_host_lacks_or_has_otherwise_is_named() {
    let import = |function: &str| {
        format!(r#"(component (import "airssys:core/host-services@1.0.0" (instance {function})))"#)
    };
    says(
        &import(r#"(export "nap" (func))"#),
        &["`nap` is not in the airssys:core/host-services@1.0.0 of this host"],
    );
    says(
        &import(r#"(export "current-time-millis" (func (result s64)))"#),
        &[
            "`current-time-millis` of airssys:core/host-services@1.0.0 has another type in this host: ",
            "s64",
        ],
    );
}

#[test]
fn another_version_of_the_life_cycle_is_named_with_the_known_one() {
    let wit = WIT.replace("@1.0.0", "@2.0.0");
    let wasm = component_of(&wit, &CODE.replace("@1.0.0", "@2.0.0"));
    let engine = Engine::bare();
    let failure = engine.try_load("app/new/0", &wasm, None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT);
    let expected = "it exports airssys:core/component-lifecycle@2.0.0, and this host calls \
                    airssys:core/component-lifecycle@1.0.0 and later minor versions";
    assert!(failure.message.contains(expected), "{failure}");
}

#[test]
fn a_load_can_require_a_life_cycle() {
    let engine = Engine::bare();
    let minimal = airssys_wasm_guests::bytes("minimal");
    let required = json!({"require-lifecycle": true}).to_string();
    let failure = engine.try_load("app/none/0", &minimal, Some(&required)).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_COMPONENT, "{failure}");
    let expected = "it exports no airssys:core/component-lifecycle@1.0.0, which \
                    \"require-lifecycle\" asks for";
    assert!(failure.message.contains(expected), "{failure}");
    assert_eq!(engine.stats()["components"], 0);
    engine.try_load("app/none/0", &minimal, Some(r#"{"require-lifecycle": false}"#)).unwrap();
    engine.load_with("app/echo/0", "echo", &required);
}
