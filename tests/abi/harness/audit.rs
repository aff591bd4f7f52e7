//! An audit callback that records decisions.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex};

use airssys_wasm::*;

use crate::harness::callback::text;
use crate::harness::engine::{Config, check};

/// A copied audit record. A record of losses has only its two counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    pub decision: i32,
    pub component: String,
    pub action: String,
    pub resource: String,
    pub by: String,
    pub rule: String,
    pub lost_allowed: u64,
    pub lost_denied: u64,
}

/// The decisions that the callback has received so far.
#[derive(Clone, Default)]
pub struct AuditTrail(Arc<Mutex<Vec<Decision>>>);

struct AuditData(Box<dyn Fn(Decision) + Send + Sync>);

impl AuditTrail {
    /// Everything after the first `seen` decisions.
    pub fn since(&self, seen: usize) -> Vec<Decision> {
        self.0.lock().unwrap()[seen..].to_vec()
    }

    pub fn push(&self, decision: Decision) {
        self.0.lock().unwrap().push(decision);
    }

    /// Records every denial and every permission.
    pub fn attach(&self, config: &Config) {
        let trail = self.clone();
        set_audit(config, 1, move |decision| trail.push(decision));
    }
}

/// Registers an audit callback. Its data is leaked.
pub fn set_audit(
    config: &Config,
    sample_allowed: u32,
    on_decision: impl Fn(Decision) + Send + Sync + 'static,
) {
    let audit = airssys_audit_t {
        size: size_of::<airssys_audit_t>(),
        user_data: Box::into_raw(Box::new(AuditData(Box::new(on_decision)))).cast(),
        drop: None,
        record: Some(record),
        sample_allowed,
    };
    // SAFETY: a live configuration, and a function that fits `user_data`.
    check(|error| unsafe { airssys_config_set_audit(config.raw(), &raw const audit, error) })
        .expect("a valid audit callback");
}

unsafe extern "C" fn record(user_data: *mut c_void, record: *const airssys_audit_record_t) {
    // SAFETY: made by `set_audit`, and a record that is valid until we return.
    let (data, record) = unsafe { (&*user_data.cast::<AuditData>(), &*record) };
    assert_eq!(record.size, size_of::<airssys_audit_record_t>());
    let lost = record.decision == AIRSSYS_AUDIT_LOST;
    let shown = |field: *const c_char| {
        assert_eq!(field.is_null(), lost, "a record has texts unless it reports losses");
        if lost { String::new() } else { text(field) }
    };
    (data.0)(Decision {
        decision: record.decision,
        component: shown(record.component),
        action: shown(record.action),
        resource: shown(record.resource),
        by: shown(record.by),
        rule: shown(record.rule),
        lost_allowed: record.lost_allowed,
        lost_denied: record.lost_denied,
    });
}
