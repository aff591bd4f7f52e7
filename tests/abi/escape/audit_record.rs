//! Attacks on the audit record itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_wasm::*;
use serde_json::json;

use crate::harness::audit::{AuditTrail, set_audit};
use crate::harness::engine::{Config, eventually};
use crate::harness::gates::Gate;
use crate::harness::stage::{Stage, hex};

#[test]
fn a_flood_of_denials_is_counted_when_it_cannot_be_kept() {
    let (config, gate, trail) = (Config::closed(), Gate::default(), AuditTrail::default());
    let (pass, keep) = (gate.clone(), trail.clone());
    // The host is slow to take the first record.
    set_audit(&config, 0, move |decision| {
        if decision.resource == "app/first/0" {
            pass.pass();
        }
        keep.push(decision);
    });
    let engine = config.engine();
    let thief = engine.load("app/thief/0", "hostile");
    engine.text(thief, "send-many 1 app/first/0 x");
    gate.reached();
    engine.text(thief, "send-many 50000 app/bank/0 x");
    // The denial that the flood should hide comes last.
    let hidden = engine.text(thief, "send-many 1 app/hidden/0 x");
    assert!(hidden.contains("capability denied"), "{hidden}");
    gate.open();
    let all = eventually("all denials are recorded or counted", || {
        let decisions = trail.since(0);
        let told = decisions.iter().filter(|d| d.decision == AIRSSYS_AUDIT_DENIED).count() as u64;
        let lost: u64 = decisions.iter().map(|d| d.lost_denied).sum();
        (told + lost >= 50_002).then_some(decisions)
    });
    let lost: Vec<_> = all.iter().filter(|d| d.decision == AIRSSYS_AUDIT_LOST).collect();
    assert!(!lost.is_empty() && lost.iter().all(|d| d.lost_denied > 0), "{lost:?}");
    let told = all.iter().filter(|d| d.decision == AIRSSYS_AUDIT_DENIED).count() as u64;
    assert_eq!(told + lost.iter().map(|d| d.lost_denied).sum::<u64>(), 50_002);
    assert!(told >= 4_000, "{told}");
}

#[test]
fn permissions_do_not_displace_denials() {
    let (config, gate, trail) = (Config::closed(), Gate::default(), AuditTrail::default());
    let (pass, keep) = (gate.clone(), trail.clone());
    set_audit(&config, 1, move |decision| {
        if decision.resource == "app/first/0" {
            pass.pass();
        }
        keep.push(decision);
    });
    let engine = config.engine();
    let rights = r#"{"capabilities": {"storage": ["read"]}}"#;
    let thief = engine.load_with("app/thief/0", "hostile", rights);
    engine.text(thief, "send-many 1 app/first/0 x");
    gate.reached();
    for _ in 0..30_000 {
        engine.text(thief, "raw-get 6b");
    }
    engine.text(thief, "send-many 1 app/hidden/0 x");
    gate.open();
    // The last decision arrives, whether those before it were recorded or lost.
    engine.text(thief, "send-many 1 app/last/0 x");
    let lost = eventually("the losses are reported", || {
        let lost: Vec<_> =
            trail.since(0).into_iter().filter(|d| d.decision == AIRSSYS_AUDIT_LOST).collect();
        (!lost.is_empty()).then_some(lost)
    });
    assert!(lost.iter().all(|d| d.lost_denied == 0), "{lost:?}");
}

#[test]
fn a_resource_s_name_is_recorded_whole_even_with_a_nul() {
    let stage = Stage::new();
    let thief = stage.load("app/thief/0", "hostile", json!({}));
    for name in ["a\0b", "0000000000000001\0", "\n2026 allowed app/thief/0", "\u{202e}x", "\"}"] {
        let observed = stage.observe(&thief, &format!("raw-cancel {}", hex(name)));
        let denials = observed.denials();
        assert_eq!(denials.len(), 1);
        assert_eq!(denials[0].resource, name.replace('\0', "\\0"));
    }
}

#[test]
fn the_record_names_only_existing_rules() {
    // Reasons and patterns come from the host. Ids may contain any text.
    let called = Arc::new(AtomicBool::new(false));
    let (config, seen) = (Config::closed(), Arc::clone(&called));
    set_audit(&config, 1, move |decision| {
        assert_eq!(decision.rule, "no grant");
        assert_eq!(decision.by, "not-granted");
        seen.store(true, Ordering::SeqCst);
    });
    let engine = config.engine();
    let thief = engine.load("app/policy rules[0] allow: all/0", "hostile");
    engine.text(thief, "send-many 1 app/grant/0 grant app/grant/0");
    eventually("it was told", || called.load(Ordering::SeqCst).then_some(()));
}
