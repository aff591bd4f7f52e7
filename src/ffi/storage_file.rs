//! The file of the storage.

use crate::ffi::arguments::arguments;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::{airssys_engine_t, on_engine};
use crate::ffi::status::airssys_status_t;

/// Compacts the file of `"storage": {"path"}`: gives the room of removed and replaced values back to
/// the file system. Any other storage needs no compaction, and nothing is done.
///
/// Storage functions of components wait meanwhile, for a time in proportion to what the file holds.
/// An engine compacts unasked as well, see `compact-above-ratio` in OPTIONS. `storage` in
/// `airssys_engine_stats` shows what there is to gain.
///
/// `engine`: borrowed. `error`: may be NULL. Any thread; callable from callbacks. Blocks until the
/// file is compacted.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_IO`: the disk failed or has no room. The file is as it was.
/// - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
///   `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_compact(
    engine: *mut airssys_engine_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, error: Out });
    on_engine(engine, error, |engine| Ok(engine.compact_storage()?))
}
