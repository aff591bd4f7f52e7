//! Log of the host.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use crate::core::log::{LogLevel, LogRecord, LogSink};
use crate::ffi::arguments::{Sized0, Versioned, arguments};
use crate::ffi::config::{airssys_config_t, replace};
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::status::airssys_status_t;
use crate::ffi::user_data::UserData;

/// The severity of a log record, in the order and with the names of the WIT enum `log-level`. No
/// level will be added below `AIRSSYS_LOG_OFF`.
pub type airssys_log_level_t = i32;

/// The finest detail.
pub const AIRSSYS_LOG_TRACE: airssys_log_level_t = 0;
/// Information for debugging.
pub const AIRSSYS_LOG_DEBUG: airssys_log_level_t = 1;
/// Normal operation. The standard output of components has this level.
pub const AIRSSYS_LOG_INFO: airssys_log_level_t = 2;
/// Unexpected events. The standard error of components has this level.
pub const AIRSSYS_LOG_WARN: airssys_log_level_t = 3;
/// Failures.
pub const AIRSSYS_LOG_ERROR: airssys_log_level_t = 4;

/// As `min_level`: no records. No record has this level.
pub const AIRSSYS_LOG_OFF: airssys_log_level_t = 5;

/// One log record. All pointers are borrowed and valid until the callback returns.
#[repr(C)]
pub struct airssys_log_record_t {
    /// Size of the record in this library. Fields beyond those in your header are newer.
    pub size: usize,
    /// Severity.
    pub level: airssys_log_level_t,
    /// Id of the component that wrote it, `namespace/name/instance`; NULL: the engine.
    pub component: *const c_char,
    /// UTF-8, followed by a NUL. Untrusted text: it can hold NULs, line breaks and control
    /// characters before `message_len`; escape them before printing. At most 64 KiB; a longer text
    /// is cut, and its end states the original length.
    pub message: *const c_char,
    /// Length of the message in bytes.
    pub message_len: usize,
    /// `context_len` keys, NUL-terminated, with NULs inside shown as `\0`; NULL if there are none.
    pub context_keys: *const *const c_char,
    /// The values of these keys, likewise.
    pub context_values: *const *const c_char,
    /// Number of keys and values.
    pub context_len: usize,
    /// Time of writing: seconds since 1970, UTC.
    pub seconds: u64,
    /// Time of writing: nanoseconds of the second.
    pub nanoseconds: u32,
}

/// The host's log.
///
/// `log` runs on any thread, several at once, and always on a native stack. Records of one
/// component arrive in the order in which they were written. A slow callback delays only the
/// component that logs. It may call any function except `airssys_engine_shutdown` of its own
/// engine, and must not unwind into the library (no C++ exception, no longjmp).
///
/// The engine writes records about components, in their names: for each crash, and for each failed
/// message or callback whose sender is not told. In its own name it writes the error texts of
/// storage and router callbacks. These records count against the `log-bytes-per-second` of the
/// component that they are about. There are at most 5 per component and second, whatever its
/// quotas; the next one is preceded by the number of dropped ones. They repeat at most 4 KiB of an
/// error. If the component is denied `log.write`, they name only the kind of the error, without its
/// text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_logger_t {
    /// `sizeof(airssys_logger_t)`.
    pub size: usize,
    /// Passed to every callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Receives a record. Required.
    pub log:
        Option<unsafe extern "C" fn(user_data: *mut c_void, record: *const airssys_log_record_t)>,
    /// Records below this level are not built. 0 is `AIRSSYS_LOG_TRACE`: all records.
    pub min_level: airssys_log_level_t,
}

// SAFETY: `repr(C)`, `size` comes first, pointers, an optional function and an integer may be zero.
unsafe impl Sized0 for airssys_logger_t {
    const FIRST_SIZE: usize = 5 * size_of::<usize>();
}

/// Sets the log of the host, in place of stderr.
///
/// `logger`: borrowed, copied; see `airssys_logger_t`. On success the library owns its
/// `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
/// made from it uses it any more: after they are freed, or after another logger replaces this
/// one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
/// thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `log`, a wrong `size` or
/// `min_level`) or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_logger(
    config: *mut airssys_config_t,
    logger: *const airssys_logger_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, logger: Versioned, error: Out });
    let callbacks = || Ok(Arc::new(HostLogger::new(&logger)?) as Arc<dyn LogSink>);
    replace(config, error, callbacks, |config| &mut config.log)
}

/// The host's callback as a sink.
pub struct HostLogger {
    user_data: UserData,
    log: unsafe extern "C" fn(*mut c_void, *const airssys_log_record_t),
    min_level: airssys_log_level_t,
}

impl HostLogger {
    /// Takes over the host's callback, with its `user_data`.
    pub fn new(logger: &Versioned<'_, airssys_logger_t>) -> Result<Self, Failure> {
        let logger = logger.required()?;
        let log = logger.log.ok_or_else(|| Failure::argument("logger.log", "is NULL"))?;
        if !(AIRSSYS_LOG_TRACE..=AIRSSYS_LOG_OFF).contains(&logger.min_level) {
            let problem = format!("is {}, 0 to 5 was expected", logger.min_level);
            return Err(Failure::argument("logger.min_level", &problem));
        }
        Ok(Self {
            log,
            min_level: logger.min_level,
            user_data: UserData::new(logger.user_data, logger.drop),
        })
    }
}

fn level(level: LogLevel) -> airssys_log_level_t {
    match level {
        LogLevel::Trace => AIRSSYS_LOG_TRACE,
        LogLevel::Debug => AIRSSYS_LOG_DEBUG,
        LogLevel::Info => AIRSSYS_LOG_INFO,
        LogLevel::Warn => AIRSSYS_LOG_WARN,
        LogLevel::Error => AIRSSYS_LOG_ERROR,
    }
}

impl LogSink for HostLogger {
    fn enabled(&self, of: LogLevel) -> bool {
        level(of) >= self.min_level
    }

    fn write(&self, record: &LogRecord<'_>) {
        // Only the message has a length. NULs in the other texts are shown.
        let c_text = |text: &str| crate::ffi::error::c_text(text.to_owned());
        let component = record.component.map(|id| c_text(id.as_str()));
        let message: Vec<u8> = record.message.bytes().chain([0]).collect();
        let texts: Vec<(CString, CString)> =
            record.context.iter().map(|(key, value)| (c_text(key), c_text(value))).collect();
        let keys: Vec<*const c_char> = texts.iter().map(|(key, _)| key.as_ptr()).collect();
        let values: Vec<*const c_char> = texts.iter().map(|(_, value)| value.as_ptr()).collect();
        let pointers = |texts: &[*const c_char]| {
            if texts.is_empty() { std::ptr::null() } else { texts.as_ptr() }
        };
        let record = airssys_log_record_t {
            size: size_of::<airssys_log_record_t>(),
            level: level(record.level),
            component: component.as_ref().map_or(std::ptr::null(), |id| id.as_ptr()),
            message: message.as_ptr().cast(),
            message_len: record.message.len(),
            context_keys: pointers(&keys),
            context_values: pointers(&values),
            context_len: texts.len(),
            seconds: record.time.seconds(),
            nanoseconds: record.time.nanoseconds(),
        };
        // SAFETY: the host's own function and data, with a record whose pointers live until it
        // returns.
        unsafe { self.log.call((self.user_data.pointer(), &raw const record)) }
    }

    fn runs_host_code(&self) -> bool {
        true
    }
}
