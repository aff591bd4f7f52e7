//! A storage of the host: a map behind the C callbacks.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::RwLock;

use airssys_wasm::*;

/// Values by namespace and key.
type Map = RwLock<HashMap<CString, HashMap<CString, Vec<u8>>>>;

/// Returns a new, empty storage.
pub fn storage() -> airssys_storage_t {
    airssys_storage_t {
        size: size_of::<airssys_storage_t>(),
        user_data: Box::into_raw(Box::<Map>::default()).cast(),
        drop: Some(free),
        get: Some(get),
        set: Some(set),
        del: Some(del),
        list: Some(list),
        exists: None,
        usage: None,
        flags: 0,
        batch: None,
        flush: None,
        namespaces: None,
    }
}

unsafe extern "C" fn free(map: *mut c_void) {
    // SAFETY: the box of `storage`, dropped once.
    drop(unsafe { Box::from_raw(map.cast::<Map>()) });
}

fn map<'a>(user_data: *mut c_void) -> &'a Map {
    // SAFETY: the box of `storage`, which only `free` drops.
    unsafe { &*user_data.cast::<Map>() }
}

fn text<'a>(text: *const c_char) -> &'a CStr {
    // SAFETY: a text of the library, which lives until the callback returns.
    unsafe { CStr::from_ptr(text) }
}

fn finish(out: *mut airssys_writer_t, result: airssys_storage_result_t) {
    // SAFETY: this callback's writer.
    unsafe { airssys_writer_finish(out, result) };
}

unsafe extern "C" fn get(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let map = map(user_data).read().unwrap();
    let value = map.get(text(ns)).and_then(|keys| keys.get(text(key)));
    let Some(value) = value else { return finish(out, AIRSSYS_STORAGE_NOT_FOUND) };
    // SAFETY: this callback's writer, and bytes.
    unsafe { airssys_writer_write(out, value.as_ptr(), value.len()) };
    finish(out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn set(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    value: *const u8,
    len: usize,
    out: *mut airssys_writer_t,
) {
    // SAFETY: bytes of the library, which live until the callback returns.
    let value = unsafe { std::slice::from_raw_parts(value, len) }.to_vec();
    let mut map = map(user_data).write().unwrap();
    if !map.contains_key(text(ns)) {
        map.insert(text(ns).into(), HashMap::new());
    }
    let keys = map.get_mut(text(ns)).unwrap();
    match keys.get_mut(text(key)) {
        Some(old) => *old = value,
        None => drop(keys.insert(text(key).into(), value)),
    }
    finish(out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn del(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let mut map = map(user_data).write().unwrap();
    map.get_mut(text(ns)).and_then(|keys| keys.remove(text(key)));
    finish(out, AIRSSYS_STORAGE_OK);
}

unsafe extern "C" fn list(
    user_data: *mut c_void,
    ns: *const c_char,
    prefix: *const c_char,
    keys: *mut airssys_keys_t,
    out: *mut airssys_writer_t,
) {
    let map = map(user_data).read().unwrap();
    for key in map.get(text(ns)).into_iter().flat_map(HashMap::keys) {
        if key.to_bytes().starts_with(text(prefix).to_bytes()) {
            // SAFETY: this callback's list, and a text.
            unsafe { airssys_keys_push(keys, key.as_ptr()) };
        }
    }
    finish(out, AIRSSYS_STORAGE_OK);
}
