//! Exports of stored data, and their imports.

use std::ffi::{c_char, c_void};

use crate::ffi::arguments::arguments;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::on_engine::{airssys_engine_t, document, on_engine};
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};
use crate::ffi::writer::{airssys_writer_t, max_answer_bytes};
use crate::runtime::off_fiber::{current_component, run_host_code};
use crate::storage::namespace::Namespace;
use crate::system::error::EngineError;
use crate::system::storage_transfer::Existing;

/// Takes the next bytes of an export, and finishes with `AIRSSYS_OK`.
///
/// `user_data`: as passed to the export. `data`, `len`: valid until the callback returns. `out`:
/// with any other status, the text written to it is the reason, and the export ends. Called on
/// the thread of the export.
pub type airssys_export_fn_t = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        data: *const u8,
        len: usize,
        out: *mut airssys_writer_t,
    ),
>;

/// Writes the next bytes of an export to `out`, 64 KiB for example, and finishes with
/// `AIRSSYS_OK`.
///
/// No bytes are the end. `user_data`: as passed to the import. `out`: with any other status, the
/// text written to it is the reason, and the import ends. Called on the thread of the import.
pub type airssys_import_fn_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, out: *mut airssys_writer_t)>;

/// What an import does with keys that exist.
pub type airssys_import_mode_t = i32;

/// The import fails at a key that exists.
pub const AIRSSYS_IMPORT_REFUSE: airssys_import_mode_t = 0;
/// A key that exists takes the value of the export.
pub const AIRSSYS_IMPORT_REPLACE: airssys_import_mode_t = 1;
/// A key that exists keeps its value.
pub const AIRSSYS_IMPORT_KEEP: airssys_import_mode_t = 2;
/// Nothing is stored: the import only reads the whole export and checks it.
pub const AIRSSYS_IMPORT_CHECK: airssys_import_mode_t = 3;

/// Writes the stored data of components as text, in the format of docs/storage-format.md.
///
/// - `engine`: borrowed.
/// - `namespaces`, `count`: borrowed texts: ids, `namespace/name` of shared data,
///   `airssys.engine` for the engine's own data. (NULL, 0): everything that is stored.
/// - `write_fn`: called for each piece of the export, of about 64 KiB.
/// - `user_data`: passed to `write_fn`.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Components may run meanwhile. Each value is one that its
/// key had during the export; keys that are stored or removed meanwhile may be in it or not, and
/// changes of several keys may be in it in part. Stop the components to export one moment.
///
/// The export has its end line, with a checksum, only if this function succeeds.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_UNSUPPORTED`: the host's storage has no `namespaces`, and none were given.
/// - `AIRSSYS_ERROR_IO`: the storage or `write_fn` failed.
/// - `AIRSSYS_ERROR_INVALID_ID`: one of `namespaces`.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: see `airssys_engine_storage_get`.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_export(
    engine: *mut airssys_engine_t,
    namespaces: *const *const c_char,
    count: usize,
    write_fn: airssys_export_fn_t,
    user_data: *mut c_void,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, namespaces[count]: Texts, error: Out });
    on_engine(engine, error, |engine| {
        let write_fn = write_fn.ok_or_else(|| Failure::argument("write_fn", "is NULL"))?;
        let names = namespaces.get()?;
        let named = names.into_iter().map(Namespace::parse_any).collect::<Result<Vec<_>, _>>();
        let named = named.map_err(EngineError::from)?;
        let write = |piece: &[u8]| {
            let answer = airssys_writer_t::ask("write_fn", max_answer_bytes(), |out| {
                let (data, len) = (piece.as_ptr(), piece.len());
                // SAFETY: the host's own function and data, with bytes that live until it returns.
                unsafe { write_fn.call((user_data, data, len, out)) }
            })?;
            match answer.result {
                AIRSSYS_OK => Ok(()),
                _ => Err(answer.error("write_fn", |text| text, |text| text)),
            }
        };
        let named = (!named.is_empty()).then_some(named);
        in_callbacks(|| Ok(engine.export_storage(named, write)?))
    })
}

/// Stores the data of an export, in the namespaces that it names.
///
/// An import stores as it reads, up to 1,000 keys at once: what precedes an error stays. To find
/// a damaged export beforehand, import it with `AIRSSYS_IMPORT_CHECK` first. Keys whose time to
/// live is over are left out. Quotas do not apply. At the end, the storage is flushed.
///
///     { "keys": 5, "stored": 3, "kept": 1, "expired": 1 }
///
/// - `engine`: borrowed.
/// - `mode`: an `airssys_import_mode_t`.
/// - `read_fn`: called for each piece of the export.
/// - `user_data`: passed to `read_fn`.
/// - `out_json`: receives the document, which the caller owns.
/// - `error`: may be NULL. The details have `line`, `code`, and the counts of the document.
///
/// Any thread; callable from callbacks. Components may run meanwhile.
///
/// Returns `AIRSSYS_OK` or:
///
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: the export is damaged, cut off, of another version or
///   something else (`code` is `defect`), or a key exists (`exists`). The message has the line.
/// - `AIRSSYS_ERROR_UNSUPPORTED`: a key expires, and the storage is the host's.
/// - `AIRSSYS_ERROR_IO`: the storage or `read_fn` failed.
/// - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: the storage has no room.
/// - `AIRSSYS_ERROR_WOULD_DEADLOCK`: see `airssys_engine_storage_get`.
/// - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_storage_import(
    engine: *mut airssys_engine_t,
    mode: airssys_import_mode_t,
    read_fn: airssys_import_fn_t,
    user_data: *mut c_void,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| {
        let read_fn = read_fn.ok_or_else(|| Failure::argument("read_fn", "is NULL"))?;
        let existing = match mode {
            AIRSSYS_IMPORT_REFUSE => Some(Existing::Refused),
            AIRSSYS_IMPORT_REPLACE => Some(Existing::Replaced),
            AIRSSYS_IMPORT_KEEP => Some(Existing::Kept),
            AIRSSYS_IMPORT_CHECK => None,
            other => {
                return Err(Failure::argument("mode", &format!("is {other}, 0 to 3 are known")));
            }
        };
        let read = || {
            let answer = airssys_writer_t::ask("read_fn", max_answer_bytes(), |out| {
                // SAFETY: the host's own function and data.
                unsafe { read_fn.call((user_data, out)) }
            })?;
            match answer.result {
                AIRSSYS_OK => Ok(answer.bytes),
                _ => Err(answer.error("read_fn", |text| text, |text| text)),
            }
        };
        in_callbacks(|| Ok(engine.import_storage(existing, read)?.json().to_string()))
    })
}

/// Runs code that calls the host on this thread.
fn in_callbacks<T>(code: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let caller = current_component().unwrap_or_default();
    run_host_code(&caller, code)
}
