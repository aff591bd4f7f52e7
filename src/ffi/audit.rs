//! Audit trail, for the host's callback.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use crate::core::message::Timestamp;
use crate::ffi::arguments::{Sized0, Versioned, arguments};
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::{airssys_error_t, c_text};
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::status::airssys_status_t;
use crate::ffi::user_data::UserData;
use crate::security::audit::AuditRecord;
use crate::system::audit::{AuditConfig, AuditSink};

/// Decision: allowed.
pub const AIRSSYS_AUDIT_ALLOWED: i32 = 1;
/// Decision: denied, because no grant covers it, a policy refuses it, or a quota is exhausted.
pub const AIRSSYS_AUDIT_DENIED: i32 = 2;
/// A record of losses: it stands for the records counted in `lost_allowed` and `lost_denied`.
pub const AIRSSYS_AUDIT_LOST: i32 = 3;

/// One decision. All pointers are valid until the callback returns. In a record of losses the texts
/// are NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_audit_record_t {
    /// `sizeof(airssys_audit_record_t)` in the library.
    pub size: usize,
    /// `AIRSSYS_AUDIT_ALLOWED`, `AIRSSYS_AUDIT_DENIED` or `AIRSSYS_AUDIT_LOST`.
    pub decision: i32,
    /// Time of the decision, or of reporting losses: nanoseconds of the second, accurate to a few
    /// milliseconds.
    pub nanoseconds: u32,
    /// The same time: seconds since 1970, UTC.
    pub seconds: u64,
    /// Id of the component.
    pub component: *const c_char,
    /// The action, for example `messaging.send`; see POLICIES in OPTIONS below.
    pub action: *const c_char,
    /// The resource, as a grant names it where there can be one; at most 4,096 bytes of it.
    pub resource: *const c_char,
    /// What decided: "grant", "policy", "ambient", "not-granted", "quota" or "never".
    pub by: *const c_char,
    /// The rule: `grant app/db/0`, `policy rules[2] deny: reason`, `quota messages-per-second 100`.
    pub rule: *const c_char,
    /// In a record of losses: the number of lost records that allowed something.
    pub lost_allowed: u64,
    /// In a record of losses: the number of lost records that denied something.
    pub lost_denied: u64,
}

/// The host's callback for decisions on what components may do.
///
/// It is called on a thread of the library, one call at a time, in the order of the decisions.
/// Nothing waits for it. Up to 16,384 records or 16 MiB of them wait for a slow host. Records that
/// allowed something may be half of them. Records of one component may be a quarter, and an eighth
/// if they allowed something. The rest is counted, and a record of losses takes its place in the
/// order.
///
/// Resources are texts that components chose. They can hold control characters, and long ones are
/// cut.
///
/// The callback may call any function except `airssys_engine_shutdown` of its own engine, and must
/// not unwind into the library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_audit_t {
    /// `sizeof(airssys_audit_t)`.
    pub size: usize,
    /// Passed to the callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Receives one record. Required.
    pub record:
        Option<unsafe extern "C" fn(user_data: *mut c_void, record: *const airssys_audit_record_t)>,
    /// Sampling of decisions that allow something: every Nth is recorded; 1 records all, 0 none.
    /// Denials are all recorded, with one exception: while log records are dropped for lack of
    /// quota, only the first is recorded, each time.
    pub sample_allowed: u32,
}

// SAFETY: `repr(C)`, `size` comes first, pointers, optional functions and numbers may be zero.
unsafe impl Sized0 for airssys_audit_t {
    const FIRST_SIZE: usize = 5 * size_of::<usize>();
}

/// Sets the host's callback for the audit trail.
///
/// `audit`: borrowed, copied; see `airssys_audit_t`. On success the library owns its
/// `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
/// made from it uses it any more: after they are freed, or after another callback replaces this
/// one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `record`, a wrong
/// `size`) or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_audit(
    config: *mut airssys_config_t,
    audit: *const airssys_audit_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, audit: Versioned, error: Out });
    let callbacks = || {
        let (audit, sample_allowed) = HostAudit::new(&audit)?;
        Ok(AuditConfig { sink: Arc::new(audit), sample_allowed })
    };
    replace(config, error, callbacks, |config| &mut config.audit)
}

/// The host's callback as a sink.
pub struct HostAudit {
    user_data: UserData,
    record: unsafe extern "C" fn(*mut c_void, *const airssys_audit_record_t),
}

impl HostAudit {
    /// Takes over the host's callback, with its `user_data`, and returns its sampling.
    pub fn new(audit: &Versioned<'_, airssys_audit_t>) -> Result<(Self, u32), Failure> {
        let audit = audit.required()?;
        let record = audit.record.ok_or_else(|| Failure::argument("audit.record", "is NULL"))?;
        let user_data = UserData::new(audit.user_data, audit.drop);
        Ok((Self { record, user_data }, audit.sample_allowed))
    }

    fn tell(&self, record: &airssys_audit_record_t) {
        // SAFETY: the host's own function and data, with a record whose pointers live until it
        // returns.
        unsafe { self.record.call((self.user_data.pointer(), ptr::from_ref(record))) }
    }
}

const NOTHING: airssys_audit_record_t = airssys_audit_record_t {
    size: size_of::<airssys_audit_record_t>(),
    decision: AIRSSYS_AUDIT_LOST,
    nanoseconds: 0,
    seconds: 0,
    component: ptr::null(),
    action: ptr::null(),
    resource: ptr::null(),
    by: ptr::null(),
    rule: ptr::null(),
    lost_allowed: 0,
    lost_denied: 0,
};

impl AuditSink for HostAudit {
    fn decision(&self, record: &AuditRecord) {
        let texts = [
            record.component.as_str(),
            record.action.name(),
            &record.resource,
            record.basis.kind(),
            &record.basis.to_string(),
        ]
        .map(|text| c_text(text.to_owned()));
        let [component, action, resource, by, rule] = texts.each_ref().map(|text| text.as_ptr());
        let allowed = [AIRSSYS_AUDIT_DENIED, AIRSSYS_AUDIT_ALLOWED];
        self.tell(&airssys_audit_record_t {
            decision: allowed[usize::from(record.allowed)],
            nanoseconds: record.at.nanoseconds(),
            seconds: record.at.seconds(),
            component,
            action,
            resource,
            by,
            rule,
            ..NOTHING
        });
    }

    fn lost(&self, allowed: u64, denied: u64) {
        let now = Timestamp::now();
        self.tell(&airssys_audit_record_t {
            seconds: now.seconds(),
            nanoseconds: now.nanoseconds(),
            lost_allowed: allowed,
            lost_denied: denied,
            ..NOTHING
        });
    }
}
