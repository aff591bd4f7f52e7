//! The engine of the C ABI, and functions that take one.

use std::ops::Deref;
use std::sync::Arc;

use crate::ffi::arguments::{Object, Out};
use crate::ffi::boundary::{ErrorOut, boundary};
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::failure::Failure;
use crate::ffi::fork;
use crate::ffi::rundown::{Rundown, RundownGuard};
use crate::ffi::status::airssys_status_t;
use crate::system::engine::Engine;

/// An engine: components, their workers, storage and log. Release it with `airssys_engine_free`.
pub struct airssys_engine_t {
    pub(super) engine: Engine,
    pub(super) rundown: Arc<Rundown<airssys_engine_t>>,
    /// See `fork::generation`.
    pub(super) made_at: u64,
}

/// A call inside an engine, which is not freed during the call.
pub struct Entered<'a> {
    engine: &'a Engine,
    _guard: RundownGuard<'a, airssys_engine_t>,
}

impl Deref for Entered<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine
    }
}

impl airssys_engine_t {
    /// Enters the engine, unless this process is a child of the one that made it.
    pub fn enter(&self) -> Result<Entered<'_>, Failure> {
        if self.is_from_before_a_fork() {
            return Err(Failure::forked());
        }
        Ok(Entered { engine: &self.engine, _guard: self.rundown.protect() })
    }

    pub(super) fn is_from_before_a_fork(&self) -> bool {
        fork::generation() != self.made_at
    }
}

/// Runs the body of a function without an output.
pub fn on_engine(
    engine: Object<'_, airssys_engine_t>,
    error: ErrorOut<'_>,
    body: impl FnOnce(&Engine) -> Result<(), Failure>,
) -> airssys_status_t {
    boundary(error, || {
        let engine = engine.required()?.enter()?;
        body(&engine)
    })
}

/// Runs the body of a function with an output.
pub fn answer<T>(
    engine: Object<'_, airssys_engine_t>,
    out: Out<'_, T>,
    error: ErrorOut<'_>,
    body: impl FnOnce(&Engine) -> Result<T, Failure>,
) -> airssys_status_t {
    on_engine(engine, error, |engine| {
        let out = out.required()?;
        out.write(body(engine)?);
        Ok(())
    })
}

/// Runs the body of a function whose output is a JSON document.
pub fn document(
    engine: Object<'_, airssys_engine_t>,
    out_json: Out<'_, airssys_bytes_t>,
    error: ErrorOut<'_>,
    make: impl FnOnce(&Engine) -> Result<String, Failure>,
) -> airssys_status_t {
    answer(engine, out_json, error, |engine| Ok(airssys_bytes_t::document(make(engine)?)))
}
