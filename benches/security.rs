//! The cost of checking rights.
//!
//! First the check alone, compiled from the library's sources: cached decisions and new ones. Then
//! messages between components and calls through the C ABI, with few and with many rights, in turns
//! within one run.

#[expect(dead_code, unused_imports, reason = "the check uses a part of it, without its tests")]
#[path = "../src/core/mod.rs"]
mod core;
#[expect(dead_code, unused_imports, reason = "the check is a part of it, without its tests")]
#[path = "../src/security/mod.rs"]
mod security;

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use common::host::Host;
use common::pairs::{BURST, PAYLOAD};
use common::rounds::{calibrate, in_turns, nanoseconds, time};
use core::id::ComponentId;
use security::action::{Action, ActionSet};
use security::audit::{AuditLog, AuditRecord};
use security::capability::{Capabilities, Grant, Scope};
use security::guard::{Authority, Guard};
use security::pattern::Pattern;
use security::policy::{Effect, Policies, Rule};
use security::quota::Quotas;
use security::resource::Resource;
use serde_json::{Value, json};

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(10);
/// The numbers of rules and grants.
const MANY: usize = 100;
/// More than a component's outbox caches, fewer than its guard caches.
const TARGETS: usize = 64;

fn main() {
    the_check();
    messages();
    calls();
}

/// Records are made and dropped.
struct Nowhere;

impl AuditLog for Nowhere {
    fn samples_allowed(&self) -> bool {
        true
    }

    fn take(&self, record: AuditRecord) {
        black_box(record);
    }
}

/// A component that needs the last of `count` grants and passes `count` rules about others.
fn guard(count: usize, audit: Option<Arc<dyn AuditLog>>) -> Guard {
    let rules = (0..count).map(|n| {
        let actions = ActionSet::parse("messaging.*").unwrap();
        let component = format!("other/*-{n}/**");
        Rule::compile(&component, actions, "bench/**", Effect::Deny, None).unwrap()
    });
    let grants = (1..=count).map(|n| {
        let text = if n == count { "bench/*/*".to_owned() } else { format!("app/*-{n}/0") };
        Grant {
            action: Action::MessagingSend,
            scope: Scope::Ids(Pattern::for_ids(&text).unwrap()),
            expires: None,
            seen_at: None,
            text: text.into(),
        }
    });
    let authority = Authority::new(Arc::new(Policies::new(rules.collect())), audit);
    let own = Arc::new(ComponentId::parse("bench/source/0").unwrap());
    let grants = Arc::new(Capabilities::new(grants.collect()));
    Guard::new(own, Arc::new(authority), grants, Quotas::default())
}

fn the_check() {
    println!(
        "one check: messaging.send to one of {TARGETS} targets (medians of {ROUNDS} rounds)\n"
    );
    println!(
        "{:>16} {:>14} {:>14} {:>14}",
        "rules + grants", "remembered", "made anew", "recorded"
    );
    let all_targets: Vec<_> = (0..TARGETS).map(|n| format!("bench/target/{n}")).collect();
    let targets = &all_targets;
    for count in [1, MANY] {
        let (plain, audited) = (guard(count, None), guard(count, Some(Arc::new(Nowhere))));
        let remembered = |target: &str| assert!(plain.check(Action::MessagingSend, target).is_ok());
        let anew = |target: &str| {
            let decision = plain.decide(Action::MessagingSend, Resource::Text(target));
            assert!(black_box(decision).allowed);
        };
        let recorded = |target: &str| assert!(audited.check(Action::MessagingSend, target).is_ok());
        let each = |check: &dyn Fn(&str)| {
            let all = || targets.iter().for_each(|target| check(target));
            let count = calibrate(ROUND / 4, all);
            [nanoseconds(time(count, all), u64::from(count) * TARGETS as u64)]
        };
        let [[remembered], [anew], [recorded]] = in_turns(
            ROUNDS,
            [&mut || each(&remembered), &mut || each(&anew), &mut || each(&recorded)],
        );
        let times = [remembered, anew, recorded].map(|samples| samples.median());
        println!(
            "{:>16} {:>11.0} ns {:>11.0} ns {:>11.0} ns",
            format!("{count} + {count}"),
            times[0],
            times[1],
            times[2]
        );
    }
}

/// As [`guard`], in JSON.
fn documents(count: usize) -> (Value, String) {
    let rules: Vec<_> = (0..count)
        .map(|n| {
            json!({ "component": format!("other/*-{n}/**"), "action": "messaging.*",
                    "resource": "bench/**", "effect": "deny" })
        })
        .collect();
    let grants: Vec<_> = (1..=count)
        .map(|n| if n == count { "bench/*/*".to_owned() } else { format!("app/*-{n}/0") })
        .collect();
    (
        json!({ "messaging": { "send": grants } }),
        json!({ "policies": { "rules": rules } }).to_string(),
    )
}

fn messages() {
    let wasm = airssys_wasm_guests::bytes("relay");
    let sides = [1, MANY].map(|count| {
        let (capabilities, config) = documents(count);
        let host = Host::new(&config);
        let load = |id: &str, options: Value| host.load(id, &wasm, &options.to_string());
        let mailbox = json!({ "when-full": "block" });
        let sink = load("bench/sink/0", json!({ "mailbox": mailbox }));
        let env = json!({ "TARGET": "bench/sink/0" });
        let options = json!({ "env": env, "capabilities": capabilities, "mailbox": mailbox });
        let source = load("bench/source/0", options);
        (host, source, sink)
    });
    let command = format!("burst {BURST} {PAYLOAD}");
    let burst = |(host, source, sink): &(Host, u64, u64)| {
        let before = host.count(*sink);
        let burst = time(1, || {
            host.send(*source, command.as_bytes());
            host.count(*source);
            host.count(*sink);
        });
        assert_eq!(host.count(*sink) - before, BURST);
        [nanoseconds(burst, BURST)]
    };
    let [few, many] = &sides;
    let [[few], [many]] = in_turns(ROUNDS, [&mut || burst(few), &mut || burst(many)]);
    println!(
        "\na message from component to component, {BURST} at once (medians, ratio of rounds)\n"
    );
    println!("{:>16} {:>11.0} ns", "1 + 1", few.median());
    println!(
        "{:>16} {:>11.0} ns {:>7.3}x",
        format!("{MANY} + {MANY}"),
        many.median(),
        many.over(&few)
    );
}

fn calls() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let payload = [7; 16];
    let sides = [0, MANY].map(|count| {
        let (capabilities, config) = documents(count);
        let host = Host::new(&config);
        let options = json!({ "capabilities": capabilities }).to_string();
        let echo = host.load("bench/source/0", &wasm, &options);
        assert_eq!(host.call(echo, &payload).as_deref(), Some(&payload[..]));
        (host, echo)
    });
    let [none, many] = &sides;
    let count = calibrate(ROUND, || none.0.call_and_free(none.1, &payload));
    let call = |(host, echo): &(Host, u64)| {
        [nanoseconds(time(count, || host.call_and_free(*echo, &payload)), count)]
    };
    let [[none], [many]] = in_turns(ROUNDS, [&mut || call(none), &mut || call(many)]);
    println!("\na call of the echo component, 16 B (medians, ratio of rounds)\n");
    println!("{:>16} {:>11.0} ns", "0 + 0", none.median());
    println!(
        "{:>16} {:>11.0} ns {:>7.3}x",
        format!("{MANY} + {MANY}"),
        many.median(),
        many.over(&none)
    );
}
