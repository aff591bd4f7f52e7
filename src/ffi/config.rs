//! Configurations.

use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use crate::ffi::arguments::{free, object, output, text, write_output};
use crate::ffi::boundary::{boundary, quietly};
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::airssys_status_t;
use crate::system::config::EngineConfig;

/// What an engine is made with; released with `airssys_config_free`. Several engines may be made
/// from one configuration.
pub struct airssys_config_t {
    config: Mutex<EngineConfig>,
}

impl airssys_config_t {
    /// What is configured now.
    pub fn snapshot(&self) -> EngineConfig {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, EngineConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a configuration with defaults: storage in memory, warnings and errors to stderr, as many
/// workers as cores, and the limits of the design.
///
/// That log goes to what stderr is when the engine is made, of which the engine holds a duplicate; where
/// it is closed then, nothing is written. A pipe that nobody reads any more is no SIGPIPE.
///
/// `out`: receives the configuration, which the caller owns. `error`: may be NULL. Any thread.
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

/// Releases a configuration; NULL does nothing. Engines made from it go on. Any thread, when no
/// other function uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_free(config: *mut airssys_config_t) {
    // SAFETY: by this function's contract NULL, or a configuration that is not used again.
    quietly(|| drop(unsafe { free(config) }));
}

/// Sets what a JSON document names, and leaves the rest as it is:
///
///     {
///       "name": "engine",               names the host as a sender, host/<name>/0
///       "workers": 2,                   threads that run components (default: cores); behind them as
///                                       many of lower priority, made as they are needed, for
///                                       components that compute for more than 2 ms
///       "callback-threads": 1024,       the most threads for callbacks that components wait for, and
///                                       the most for all others, 1 to 65536; see Threads above
///       "cache-dir": "/path",           keeps compiled components between runs, see below
///       "cache-max-bytes": 1073741824,  what is kept there; the entries that were not used for
///                                       longest go first
///       "max-component-bytes": 67108864,
///       "compile": {                    what compiling a binary may take; beyond the first it is
///                                       AIRSSYS_ERROR_TIMEOUT, beyond the next two
///                                       AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED:
///         "max-time-ms": 300000,
///         "max-memory-bytes": 2147483648,   an estimate, for all compiles under way
///         "max-code-bytes": 268435456,  initial memories and tables included
///                                       beyond these AIRSSYS_ERROR_INVALID_COMPONENT:
///         "max-functions": 100000,      in all modules
///         "max-function-bytes": 4194304,
///         "max-function-blocks": 65536, blocks, branches, and targets of branch tables
///         "max-block-depth": 5000,      blocks within blocks
///         "max-function-locals": 10000, parameters included
///         "max-function-values": 200000,    values of blocks and branches, and locals used in loops
///         "max-function-cost": 4194304, predicted effort, in bytes of plain code
///         "max-cost": 67108864,         the same, for all functions
///         "max-definitions": 250000,    types, fields, imports, exports, segments and the like, once
///                                       for each instance of their component
///         "max-type-depth": 100,        types within types, 1 to 100
///         "max-component-depth": 64,    modules and components within components
///         "max-components": 1000,       modules and components at any depth
///                                       and of code that no component uses any more, least recently
///                                       used goes first, 32 binaries at most:
///         "max-unused-code-bytes": 67108864
///       },
///       "signals-based-traps": true,    false: no handlers of signals (see Signals above), slower
///                                       guests
///       "memory-reservation": "automatic",  address space for each memory: "large" is 4 GiB and
///                                       guards; "small" is little more than the memory has, its
///                                       guest is slower, and it is copied when it grows by more than
///                                       1 MiB; "automatic" is "small" where the process has a limit
///                                       (RLIMIT_AS) or the system gives no large one
///       "guard-before-memory": true,    false: each component takes 6 of the mappings that the system
///                                       allows a process (vm.max_map_count) and not 7, and a
///                                       defence in depth against faults of the compiler is gone
///       "host-error-texts": false,      true: what callbacks of a storage or a router write as the
///                                       text of an error reaches the component; false: it goes to
///                                       the log, and the component learns only that one failed
///       "limits": { ... },              defaults for every load, see airssys_engine_load
///       "quotas": { ... },              the same
///       "capabilities": { ... },        of loads that name none; without it they have none
///       "policies": { "rules": [] }     see airssys_engine_set_policies
///     }
///
/// What is in `cache-dir` is loaded as code. The directory is made if it is missing. It must belong
/// to this user and be closed to others (mode 0700), and no directory on the way to it may be one
/// that others can write to, unless that has the sticky bit, as `/tmp` has. It is opened once, by
/// `airssys_engine_new`, and held open. Entries have a checksum with a secret key, the file `key` in
/// the directory; an entry that is damaged, or is not a regular file of this user's or root's that
/// only its owner can write to, is compiled anew. Any number of engines and processes may share the
/// directory.
///
/// A directory that belongs to root where the process does not run as root, that nobody may write to
/// (mode 0555), or that is mounted read-only, is used as it is: nothing is written, replaced or
/// removed. Others may read it. Its key is then no secret, and its owner is trusted. To make one,
/// fill a directory with an engine, and let others read all of it, `key` included.
///
/// `json`: borrowed text. `error`: may be NULL. On an error nothing has changed. Any thread.
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

/// Runs a function that puts the host's callbacks into a configuration, in the place of earlier ones.
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
