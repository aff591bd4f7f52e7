//! The boundary to C: no panic crosses it, and a failure becomes a status and an error object.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ffi::arguments::Out;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};

/// The error output of a function.
pub type ErrorOut<'a> = Out<'a, *mut airssys_error_t>;

/// Runs the body of a function that returns a status.
pub fn boundary(
    error: ErrorOut<'_>,
    body: impl FnOnce() -> Result<(), Failure>,
) -> airssys_status_t {
    // After a panic, poisoned locks still work (see the uses of `PoisonError::into_inner`), and
    // instances are replaced (see the actor's right to run).
    let result =
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Failure::panic(&*panic)));
    let Err(failure) = result else { return AIRSSYS_OK };
    let status = failure.status;
    if let Some(error) = error.optional() {
        error.write(Box::into_raw(Box::new(airssys_error_t::from(failure))));
    }
    status
}

/// Runs the body of a function that cannot fail. A panic ends it.
pub fn quietly<R: Default>(body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_default()
}
