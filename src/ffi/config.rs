//! Configurations.

use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use crate::ffi::arguments::{free, object, output, text, write_output};
use crate::ffi::boundary::{boundary, quietly};
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;
use crate::system::config::EngineConfig;

/// What an engine is made from. Release it with `airssys_config_free`. Several engines may be made
/// from one configuration.
pub struct airssys_config_t {
    config: Mutex<EngineConfig>,
}

impl airssys_config_t {
    /// The current configuration.
    pub fn snapshot(&self) -> EngineConfig {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, EngineConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a configuration with defaults: storage in memory, warnings and errors to stderr, one
/// worker per core, the default limits.
///
/// The default log writes to the stderr of the time when the engine is made; the engine holds a
/// duplicate of the descriptor. If stderr is closed then, nothing is written. If it is a pipe that
/// nobody reads, no SIGPIPE is raised.
///
/// `out`: receives the configuration, which the caller owns. `error`: may be NULL. Any thread;
/// callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_new(
    out: *mut *mut airssys_config_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        let out = output(out, "out")?;
        let config = Box::new(airssys_config_t { config: Mutex::default() });
        // SAFETY: not NULL, and by this function's contract valid for writing.
        unsafe { write_output(out, Box::into_raw(config)) };
        Ok(())
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Releases a configuration; NULL does nothing. Engines made from it are not affected.
///
/// Any thread. No other function may be using the configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_free(config: *mut airssys_config_t) {
    // SAFETY: by this function's contract NULL, or a configuration that is not used again.
    quietly(|| drop(unsafe { free(config) }));
}

/// Sets the options that a JSON document names. Other options keep their values.
///
/// `json`: borrowed text; see CONFIGURATION in OPTIONS below. `error`: may be NULL. On an error
/// nothing changes. Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS` (the message names the place and, for an
/// unknown key, the nearest known one), `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_set_json(
    config: *mut airssys_config_t,
    json: *const c_char,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    let body = || {
        // SAFETY: by this function's contract NULL or a live configuration.
        let config = unsafe { object(config, "config") }?;
        // SAFETY: by this function's contract NULL or a NUL-terminated text.
        let json = unsafe { text(json, "json") }?;
        Ok(config.lock().apply(json)?)
    };
    // SAFETY: by this function's contract `error` is NULL or valid for writing.
    unsafe { boundary(error, body) }
}

/// Puts callbacks of the host into a configuration, in place of earlier ones.
///
/// # Safety
///
/// `config` is NULL or live; `error` is NULL or valid for writing.
pub(super) unsafe fn replace<T>(
    config: *const airssys_config_t,
    error: *mut *mut airssys_error_t,
    callbacks: impl FnOnce() -> Result<T, Failure>,
    place: impl FnOnce(&mut EngineConfig) -> &mut Option<T>,
) -> airssys_status_t {
    let body = || {
        // SAFETY: this function's contract.
        let config = unsafe { object(config, "config") }?;
        let callbacks = callbacks()?;
        let before = place(&mut config.lock()).replace(callbacks);
        // Outside the lock: the host's `drop` may use the configuration.
        drop(before);
        Ok(())
    };
    // SAFETY: this function's contract.
    unsafe { boundary(error, body) }
}
