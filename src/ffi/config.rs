//! Configurations.

use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use crate::ffi::arguments::{Object, arguments, free};
use crate::ffi::boundary::{ErrorOut, boundary, quietly};
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
    /// Returns the current configuration.
    pub fn snapshot(&self) -> EngineConfig {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, EngineConfig> {
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
    arguments!(unsafe { out: Out, error: Out });
    boundary(error, || {
        let out = out.required()?;
        let config = Box::new(airssys_config_t { config: Mutex::default() });
        out.write(Box::into_raw(config));
        Ok(())
    })
}

/// Releases a configuration; NULL does nothing. Engines made from it are not affected.
///
/// Any thread. No other function may be using the configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_free(config: *mut airssys_config_t) {
    // SAFETY: by this function's contract NULL, or a configuration that is not used again.
    quietly(|| drop(unsafe { free(config) }));
}

/// Sets the options that a JSON document names. Other options keep their values, also those within
/// `limits`, `quotas` and `compile`. Arrays and `capabilities` are replaced as a whole.
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
    arguments!(unsafe { config: Object, json: Text, error: Out });
    boundary(error, || {
        let config = config.required()?;
        Ok(config.lock().apply(json.required()?)?)
    })
}

/// Sets callbacks of the host in a configuration, replacing earlier ones.
pub(super) fn replace<T>(
    config: Object<'_, airssys_config_t>,
    error: ErrorOut<'_>,
    callbacks: impl FnOnce() -> Result<T, Failure>,
    place: impl FnOnce(&mut EngineConfig) -> &mut Option<T>,
) -> airssys_status_t {
    boundary(error, || {
        let config = config.required()?;
        let callbacks = callbacks()?;
        let before = place(&mut config.lock()).replace(callbacks);
        // Outside the lock: the host's `drop` may use the configuration.
        drop(before);
        Ok(())
    })
}
