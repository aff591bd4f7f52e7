//! An engine with neighbours that an attack must not affect, and an audit to check attacks against.

use std::cell::{Cell, RefCell};

use airssys_wasm::*;
use serde_json::{Value, json};

use crate::harness::audit::{AuditTrail, Decision};
use crate::harness::engine::{Config, Engine, Failure, Outcome, eventually};
use crate::harness::gates::Gate;
use crate::harness::log::Journal;

/// The attacker.
pub struct Guest {
    pub id: &'static str,
    pub handle: u64,
}

/// A denial as the audit records it, without the component.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    pub action: String,
    pub resource: String,
    pub by: String,
    pub rule: String,
}

fn denial(action: &str, resource: &str, by: &str, rule: &str) -> Denial {
    let [action, resource, by, rule] = [action, resource, by, rule].map(str::to_owned);
    Denial { action, resource, by, rule }
}

/// No grant covers it.
pub fn not_granted(action: &str, resource: &str) -> Denial {
    denial(action, resource, "not-granted", "no grant")
}

/// Nobody can be granted it.
pub fn never(action: &str, resource: &str, rule: &str) -> Denial {
    denial(action, resource, "never", rule)
}

/// Rule number `at` denies it.
pub fn policy(action: &str, resource: &str, at: usize, reason: &str) -> Denial {
    denial(action, resource, "policy", &format!("policy rules[{at}] deny: {reason}"))
}

/// The quota is used up.
pub fn quota(action: &str, resource: &str, name: &str, value: u64) -> Denial {
    denial(action, resource, "quota", &format!("quota {name} {value}"))
}

/// The result of an attempt.
pub struct Observed {
    pub reply: Outcome<Option<Vec<u8>>>,
    /// The decisions about the attacker, in order.
    pub decisions: Vec<Decision>,
}

impl Observed {
    pub fn denials(&self) -> Vec<Denial> {
        let denied = self.decisions.iter().filter(|d| d.decision == AIRSSYS_AUDIT_DENIED);
        denied.map(|d| denial(&d.action, &d.resource, &d.by, &d.rule)).collect()
    }

    pub fn text(&self) -> String {
        match &self.reply {
            Ok(Some(reply)) => String::from_utf8_lossy(reply).into(),
            other => format!("no reply: {other:?}"),
        }
    }
}

/// The engine and two neighbours: one stores a secret, one counts.
pub struct Stage {
    pub engine: Engine,
    pub trail: AuditTrail,
    pub journal: Journal,
    /// A component that logs `gate` waits here.
    pub gate: Gate,
    keeper: u64,
    counter: u64,
    marker: u64,
    counted: Cell<u64>,
    marks: Cell<u64>,
    /// How many decisions were looked at.
    seen: RefCell<usize>,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(&json!({}), |_| ())
    }

    pub fn with_policies(rules: Value) -> Self {
        Self::with(&json!({ "policies": { "rules": rules } }), |_| ())
    }

    pub fn with(options: &Value, configure: impl FnOnce(&Config)) -> Self {
        let (config, trail, gate) = (Config::closed(), AuditTrail::default(), Gate::default());
        config.set(&options.to_string()).expect("valid configuration");
        let journal = gate.attach(&config);
        trail.attach(&config);
        configure(&config);
        let engine = config.engine();
        let storage = r#"{"capabilities": {"storage": ["read", "write"]}}"#;
        let keeper = engine.load_with("neighbour/keeper/0", "storage-user", storage);
        let counter = engine.load("neighbour/counter/0", "counter");
        let marker = engine.load("neighbour/marker/0", "requester");
        assert_eq!(engine.text(keeper, "set secret treasure"), "ok");
        let (counted, marks, seen) = (Cell::new(0), Cell::new(0), RefCell::new(0));
        Self { engine, trail, journal, gate, keeper, counter, marker, counted, marks, seen }
    }

    pub fn load(&self, id: &'static str, guest: &str, capabilities: Value) -> Guest {
        self.load_with(id, guest, &json!({ "capabilities": capabilities }))
    }

    pub fn load_with(&self, id: &'static str, guest: &str, options: &Value) -> Guest {
        Guest { id, handle: self.engine.load_with(id, guest, &options.to_string()) }
    }

    /// Waits until the audit has every decision made so far, and returns the new ones.
    fn told(&self) -> Vec<Decision> {
        let mark = format!("mark/number/{}", self.marks.replace(self.marks.get() + 1));
        let reply = self.engine.text(self.marker, &format!("send {mark} x"));
        assert!(reply.contains("capability denied"), "the marker: {reply}");
        let mut seen = self.seen.borrow_mut();
        let (since, end) = eventually("the audit has the mark", || {
            let decisions = self.trail.since(*seen);
            let at = decisions.iter().position(|decision| decision.resource == mark)?;
            Some((decisions[..at].to_vec(), *seen + at + 1))
        });
        *seen = end;
        since
    }

    /// The decisions about `guest` since the last attempt.
    pub fn decided(&self, guest: &Guest) -> Vec<Decision> {
        let mut decisions = self.told();
        // A flood may lose records of permissions.
        assert!(decisions.iter().all(|d| d.lost_denied == 0), "denials were lost");
        decisions.retain(|decision| decision.component == guest.id);
        decisions
    }

    /// The denials of `guest` since the last attempt.
    pub fn denials_of(&self, guest: &Guest) -> Vec<Denial> {
        Observed { reply: Ok(None), decisions: self.decided(guest) }.denials()
    }

    /// Checks that the neighbours' data and state are unchanged and that they still work.
    #[track_caller]
    pub fn assert_intact(&self, attempt: &str) {
        let keeper = |command: &str| self.engine.text(self.keeper, command);
        assert_eq!(keeper("get secret"), "treasure", "{attempt}: a neighbour's data");
        assert_eq!(keeper("list"), "secret", "{attempt}: a neighbour's keys");
        self.counted.set(self.counted.get() + 1);
        let count = self.engine.text(self.counter, "inc");
        assert_eq!(count, self.counted.get().to_string(), "{attempt}: a neighbour's state");
        for handle in [self.keeper, self.counter, self.marker] {
            let described = self.engine.describe(handle).unwrap();
            assert_eq!(described["restarts"], 0, "{attempt}: {described}");
        }
    }

    /// Sends `command` to a guest and checks the neighbours.
    #[track_caller]
    pub fn observe(&self, guest: &Guest, command: &str) -> Observed {
        drop(self.told());
        let reply = self.engine.call(guest.handle, command);
        let decisions = self.decided(guest);
        self.assert_intact(command);
        Observed { reply, decisions }
    }

    /// Expects `reply` and exactly these denials.
    #[track_caller]
    pub fn denied_all(&self, guest: &Guest, command: &str, reply: &str, denials: &[Denial]) {
        let observed = self.observe(guest, command);
        assert_eq!(observed.text(), reply, "{command}: the reply");
        assert_eq!(observed.denials(), denials, "{command}: the audit");
    }

    #[track_caller]
    pub fn denied(&self, guest: &Guest, command: &str, reply: &str, denial: Denial) {
        self.denied_all(guest, command, reply, &[denial]);
    }

    /// Expects `reply` without a denial: the input is malformed or names nothing, so no right is
    /// checked.
    #[track_caller]
    pub fn rejected(&self, guest: &Guest, command: &str, reply: &str) {
        self.denied_all(guest, command, reply, &[]);
    }

    /// Expects that `command` ends the attacker's instance.
    #[track_caller]
    pub fn ends(&self, guest: &Guest, command: &str, denials: &[Denial]) -> Failure {
        let observed = self.observe(guest, command);
        assert_eq!(observed.denials(), denials, "{command}: the audit");
        observed.reply.map(drop).expect_err(command)
    }

    /// Expects `reply`, and an audit record that allows `action`.
    #[track_caller]
    pub fn works(&self, guest: &Guest, command: &str, reply: &str, action: &str) {
        self.works_like(guest, command, action, |text| text == reply);
    }

    #[track_caller]
    pub fn works_like(
        &self,
        guest: &Guest,
        command: &str,
        action: &str,
        expected: impl FnOnce(&str) -> bool,
    ) {
        let observed = self.observe(guest, command);
        assert!(expected(&observed.text()), "{command}: {}", observed.text());
        assert_eq!(observed.denials(), [], "{command}: the audit");
        let allowed = observed.decisions.iter().any(|decision| decision.action == action);
        assert!(allowed, "{command}: no decision about {action} in {:?}", observed.decisions);
    }
}

/// Text in the hexadecimal form that the guests read; `-` is empty.
pub fn hex(text: &str) -> String {
    if text.is_empty() {
        return "-".into();
    }
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
