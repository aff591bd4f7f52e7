//! The stored data of components, as the host reads and writes it.

use std::ffi::{c_char, c_void};
use std::ptr;

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::engine::{Engine, NO_BYTES, Outcome, c, check, take};

/// A key, its new value (`None` removes it), and when it expires.
pub type Change<'a> = (&'a str, Option<&'a [u8]>, u64);

/// Takes a piece of an export, or says why not.
type Takes<'a> = dyn FnMut(&[u8]) -> Result<(), String> + 'a;

/// Gives the next piece of an export, or says why not.
type Gives<'a> = dyn FnMut() -> Result<Vec<u8>, String> + 'a;

impl Engine {
    pub fn stored(&self, id: &str, key: &str) -> Outcome<Option<Vec<u8>>> {
        let (id, key, mut value) = (c(id), c(key), NO_BYTES);
        // SAFETY: a live engine, texts, and outputs that are valid for writing.
        check(|error| unsafe {
            let (id, key) = (id.as_ptr(), key.as_ptr());
            airssys_engine_storage_get(self.raw(), id, key, &raw mut value, error)
        })?;
        Ok(take(value))
    }

    pub fn store(&self, id: &str, key: &str, value: impl AsRef<[u8]>) -> Outcome {
        self.store_for(id, key, value, 0)
    }

    pub fn store_for(&self, id: &str, key: &str, value: impl AsRef<[u8]>, ttl_ms: u64) -> Outcome {
        let (id, key, value) = (c(id), c(key), value.as_ref());
        // SAFETY: a live engine, texts, bytes, and an output that is valid for writing.
        check(|error| unsafe {
            let (id, key, data) = (id.as_ptr(), key.as_ptr(), value.as_ptr());
            airssys_engine_storage_set(self.raw(), id, key, data, value.len(), ttl_ms, error)
        })
    }

    pub fn remove_stored(&self, id: &str, key: &str) -> Outcome {
        let (id, key) = (c(id), c(key));
        // SAFETY: a live engine, texts, and an output that is valid for writing.
        check(|error| unsafe {
            airssys_engine_storage_delete(self.raw(), id.as_ptr(), key.as_ptr(), error)
        })
    }

    pub fn stored_keys(
        &self,
        id: &str,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Outcome<Value> {
        let (id, prefix, after, mut out) = (c(id), prefix.map(c), after.map(c), NO_BYTES);
        let text =
            |text: &Option<std::ffi::CString>| text.as_ref().map_or(ptr::null(), |t| t.as_ptr());
        let (prefix, after) = (text(&prefix), text(&after));
        // SAFETY: a live engine, texts, and outputs that are valid for writing.
        check(|error| unsafe {
            let out = &raw mut out;
            airssys_engine_storage_list(self.raw(), id.as_ptr(), prefix, after, limit, out, error)
        })?;
        Ok(serde_json::from_slice(&take(out).expect("a document")).expect("JSON"))
    }

    /// Bytes and keys.
    pub fn stored_usage(&self, id: &str) -> Outcome<(u64, u64)> {
        let (id, mut bytes, mut keys) = (c(id), 0, 0);
        // SAFETY: a live engine, text, and outputs that are valid for writing.
        check(|error| unsafe {
            let (bytes, keys) = (&raw mut bytes, &raw mut keys);
            airssys_engine_storage_usage(self.raw(), id.as_ptr(), bytes, keys, error)
        })?;
        Ok((bytes, keys))
    }

    pub fn batch(&self, id: &str, changes: &[Change<'_>]) -> Outcome {
        let (id, keys): (_, Vec<_>) = (c(id), changes.iter().map(|(key, ..)| c(key)).collect());
        let changes: Vec<_> = changes
            .iter()
            .zip(&keys)
            .map(|((_, value, expires_ms), key)| airssys_storage_change_t {
                size: size_of::<airssys_storage_change_t>(),
                key: key.as_ptr(),
                value: value.map_or(ptr::null(), <[u8]>::as_ptr),
                value_len: value.map_or(0, <[u8]>::len),
                expires_ms: *expires_ms,
            })
            .collect();
        // SAFETY: a live engine, text, changes, and an output that is valid for writing.
        check(|error| unsafe {
            let (changes, count) = (changes.as_ptr(), changes.len());
            airssys_engine_storage_batch(self.raw(), id.as_ptr(), changes, count, error)
        })
    }

    /// An export of some namespaces, or of all.
    pub fn export(&self, namespaces: &[&str]) -> Outcome<String> {
        let mut export = Vec::new();
        self.export_to(namespaces, &mut |piece| {
            assert!(!piece.is_empty());
            export.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(String::from_utf8(export).expect("ASCII"))
    }

    pub fn export_to(&self, namespaces: &[&str], mut takes: &mut Takes<'_>) -> Outcome {
        let texts: Vec<_> = namespaces.iter().map(|name| c(name)).collect();
        let texts: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        let data = (&raw mut takes).cast();
        // SAFETY: a live engine, texts, and a function that fits its data.
        check(|error| unsafe {
            let (texts, count) = (texts.as_ptr(), texts.len());
            airssys_engine_storage_export(self.raw(), texts, count, Some(take_piece), data, error)
        })
    }

    pub fn import(&self, mode: airssys_import_mode_t, export: &str) -> Outcome<Value> {
        let mut pieces = export.as_bytes().chunks(100);
        self.import_from(mode, &mut || Ok(pieces.next().unwrap_or_default().to_vec()))
    }

    pub fn import_from(
        &self,
        mode: airssys_import_mode_t,
        mut gives: &mut Gives<'_>,
    ) -> Outcome<Value> {
        let (data, mut out) = ((&raw mut gives).cast(), NO_BYTES);
        // SAFETY: a live engine, a function that fits its data, and outputs that are valid for
        // writing.
        check(|error| unsafe {
            let out = &raw mut out;
            airssys_engine_storage_import(self.raw(), mode, Some(give_piece), data, out, error)
        })?;
        Ok(serde_json::from_slice(&take(out).expect("a document")).expect("JSON"))
    }
}

fn finish(out: *mut airssys_writer_t, answer: Result<Vec<u8>, String>) {
    let (status, bytes) = match answer {
        Ok(bytes) => (AIRSSYS_OK, bytes),
        Err(text) => (AIRSSYS_ERROR_IO, text.into_bytes()),
    };
    // SAFETY: the callback's own writer.
    unsafe {
        assert!(airssys_writer_write(out, bytes.as_ptr(), bytes.len()));
        airssys_writer_finish(out, status);
    }
}

unsafe extern "C" fn take_piece(
    user_data: *mut c_void,
    data: *const u8,
    len: usize,
    out: *mut airssys_writer_t,
) {
    // SAFETY: the data of `export_to`, and a piece of `len` bytes.
    let (takes, piece) = unsafe {
        (&mut *user_data.cast::<&mut Takes<'_>>(), std::slice::from_raw_parts(data, len))
    };
    finish(out, takes(piece).map(|()| Vec::new()));
}

unsafe extern "C" fn give_piece(user_data: *mut c_void, out: *mut airssys_writer_t) {
    // SAFETY: the data of `import_from`.
    let gives = unsafe { &mut *user_data.cast::<&mut Gives<'_>>() };
    finish(out, gives());
}
