//! Storage callbacks over an in-memory store that records calls and can be scripted.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use airssys_wasm::*;

use crate::harness::callback::{on_native_stack, text};
use crate::harness::engine::{Config, check};

/// Makes the callback return without a result.
pub const NO_RESULT: airssys_storage_result_t = -12_345;

/// A scripted answer: the result, and the bytes to write.
pub type Answer = (airssys_storage_result_t, Vec<u8>);

type Script = Box<dyn Fn(&str, &str, &str) -> Option<Answer> + Send + Sync>;

/// An in-memory store that records calls.
pub struct Store {
    pub values: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub calls: Mutex<Vec<String>>,
    pub native_stack: Mutex<Vec<bool>>,
    pub dropped: AtomicUsize,
    /// Called first, with operation, namespace and key. `None`: the store answers.
    script: Script,
}

impl Store {
    pub fn new() -> Arc<Self> {
        Self::scripted(|_, _, _| None)
    }

    pub fn scripted(
        script: impl Fn(&str, &str, &str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            values: Mutex::default(),
            calls: Mutex::default(),
            native_stack: Mutex::default(),
            dropped: AtomicUsize::new(0),
            script: Box::new(script),
        })
    }

    pub fn value(&self, ns: &str, key: &str) -> Option<Vec<u8>> {
        self.values.lock().unwrap().get(&(ns.into(), key.into())).cloned()
    }

    pub fn put(&self, ns: &str, key: &str, value: impl Into<Vec<u8>>) {
        self.values.lock().unwrap().insert((ns.into(), key.into()), value.into());
    }

    /// The callbacks. Only a `complete` table has `exists` and `usage`.
    pub fn vtable(self: &Arc<Self>, complete: bool) -> airssys_storage_t {
        airssys_storage_t {
            size: size_of::<airssys_storage_t>(),
            user_data: Arc::into_raw(Arc::clone(self)).cast_mut().cast(),
            drop: Some(drop_store),
            get: Some(get),
            set: Some(set),
            del: Some(del),
            list: Some(list),
            exists: if complete { Some(exists) } else { None },
            usage: if complete { Some(usage) } else { None },
            flags: 0,
            batch: if complete { Some(batch) } else { None },
            flush: if complete { Some(flush) } else { None },
            namespaces: if complete { Some(namespaces) } else { None },
        }
    }

    pub fn attach(self: &Arc<Self>, config: &Config) {
        let storage = self.vtable(true);
        // SAFETY: a live configuration, and functions that fit `user_data`.
        check(|error| unsafe {
            airssys_config_set_storage(config.raw(), &raw const storage, error)
        })
        .expect("a valid storage");
    }

    fn ask(&self, operation: &str, ns: &str, key: &str) -> Option<Answer> {
        self.calls.lock().unwrap().push(format!("{operation} {ns} {key}"));
        self.native_stack.lock().unwrap().push(on_native_stack());
        (self.script)(operation, ns, key)
    }
}

unsafe extern "C" fn drop_store(user_data: *mut c_void) {
    // The reference is kept, so that a second call is counted instead of a crash.
    store(user_data).dropped.fetch_add(1, Ordering::SeqCst);
}

fn store<'a>(user_data: *mut c_void) -> &'a Store {
    // SAFETY: made by `vtable`, which leaves a reference behind.
    unsafe { &*user_data.cast::<Store>() }
}

fn answer(out: *mut airssys_writer_t, (result, text): Answer) {
    // SAFETY: the callback's own writer.
    unsafe {
        let written = airssys_writer_write(out, text.as_ptr(), text.len());
        // Only a large value can exceed the component's account.
        assert!(written || text.len() > 1 << 20);
        if result != NO_RESULT {
            airssys_writer_finish(out, result);
        }
    }
}

fn done(out: *mut airssys_writer_t) {
    answer(out, (AIRSSYS_STORAGE_OK, Vec::new()));
}

unsafe extern "C" fn get(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let (store, ns, key) = (store(user_data), text(ns), text(key));
    let scripted = store.ask("get", &ns, &key);
    let found = || store.value(&ns, &key).map(|value| (AIRSSYS_STORAGE_OK, value));
    answer(out, scripted.or_else(found).unwrap_or((AIRSSYS_STORAGE_NOT_FOUND, Vec::new())))
}

unsafe extern "C" fn set(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    value: *const u8,
    len: usize,
    out: *mut airssys_writer_t,
) {
    let (store, ns, key) = (store(user_data), text(ns), text(key));
    assert!(!value.is_null(), "value is never NULL");
    // SAFETY: the value has `len` bytes.
    let value = unsafe { std::slice::from_raw_parts(value, len) };
    if let Some(scripted) = store.ask("set", &ns, &key) {
        return answer(out, scripted);
    }
    store.put(&ns, &key, value);
    done(out);
}

unsafe extern "C" fn del(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    out: *mut airssys_writer_t,
) {
    let (store, ns, key) = (store(user_data), text(ns), text(key));
    if let Some(scripted) = store.ask("del", &ns, &key) {
        return answer(out, scripted);
    }
    let removed = store.values.lock().unwrap().remove(&(ns, key));
    let result = if removed.is_some() { AIRSSYS_STORAGE_OK } else { AIRSSYS_STORAGE_NOT_FOUND };
    answer(out, (result, Vec::new()));
}

unsafe extern "C" fn list(
    user_data: *mut c_void,
    ns: *const c_char,
    prefix: *const c_char,
    keys: *mut airssys_keys_t,
    out: *mut airssys_writer_t,
) {
    let (store, ns, prefix) = (store(user_data), text(ns), text(prefix));
    if let Some((result, pushed)) = store.ask("list", &ns, &prefix) {
        if result != AIRSSYS_STORAGE_OK {
            return answer(out, (result, pushed));
        }
        let mut all_text = true;
        for key in pushed.split(|byte| *byte == b'\n') {
            let key = CString::new(key).expect("no NUL");
            all_text &= key.to_str().is_ok();
            // SAFETY: the callback's own list, and text. After one refusal the list takes no more
            // keys.
            assert_eq!(unsafe { airssys_keys_push(keys, key.as_ptr()) }, all_text);
        }
        return done(out);
    }
    // In reverse, because any order is allowed.
    for (owner, key) in store.values.lock().unwrap().keys().rev() {
        if *owner == ns && key.starts_with(&prefix) {
            let key = CString::new(key.as_str()).expect("no NUL");
            // SAFETY: the callback's own list, and text.
            assert!(unsafe { airssys_keys_push(keys, key.as_ptr()) });
        }
    }
    done(out);
}

unsafe extern "C" fn exists(
    user_data: *mut c_void,
    ns: *const c_char,
    key: *const c_char,
    exists: *mut bool,
    out: *mut airssys_writer_t,
) {
    let (store, ns, key) = (store(user_data), text(ns), text(key));
    if let Some(scripted) = store.ask("exists", &ns, &key) {
        return answer(out, scripted);
    }
    // SAFETY: the callback's own output.
    unsafe { exists.write(store.value(&ns, &key).is_some()) };
    done(out);
}

unsafe extern "C" fn usage(
    user_data: *mut c_void,
    ns: *const c_char,
    bytes: *mut u64,
    keys: *mut u64,
    out: *mut airssys_writer_t,
) {
    let (store, ns) = (store(user_data), text(ns));
    if let Some(scripted) = store.ask("usage", &ns, "") {
        return answer(out, scripted);
    }
    let values = store.values.lock().unwrap();
    let own = values.iter().filter(|((owner, _), _)| *owner == ns);
    let (count, size) = own.fold((0, 0), |(count, size), ((_, key), value)| {
        (count + 1, size + (key.len() + value.len()) as u64)
    });
    // SAFETY: the callback's own outputs.
    unsafe {
        bytes.write(size);
        keys.write(count);
    }
    done(out);
}

unsafe extern "C" fn batch(
    user_data: *mut c_void,
    ns: *const c_char,
    batch: *const airssys_storage_batch_t,
    out: *mut airssys_writer_t,
) {
    let (store, ns) = (store(user_data), text(ns));
    // SAFETY: the callback's own changes.
    let changes = unsafe { std::slice::from_raw_parts((*batch).changes, (*batch).count) };
    // SAFETY: as above.
    let changes = changes.iter().map(|change| unsafe { &**change });
    if let Some(scripted) = store.ask("batch", &ns, &changes.len().to_string()) {
        return answer(out, scripted);
    }
    let mut values = store.values.lock().unwrap();
    for change in changes {
        assert_eq!((change.size, change.expires_ms), (size_of_val(change), 0));
        let place = (ns.clone(), text(change.key));
        if change.value.is_null() {
            values.remove(&place);
        } else {
            // SAFETY: the value has `value_len` bytes.
            let value = unsafe { std::slice::from_raw_parts(change.value, change.value_len) };
            values.insert(place, value.to_vec());
        }
    }
    done(out);
}

unsafe extern "C" fn flush(user_data: *mut c_void, out: *mut airssys_writer_t) {
    match store(user_data).ask("flush", "", "") {
        Some(scripted) => answer(out, scripted),
        None => done(out),
    }
}

unsafe extern "C" fn namespaces(
    user_data: *mut c_void,
    names: *mut airssys_keys_t,
    out: *mut airssys_writer_t,
) {
    let store = store(user_data);
    if let Some(scripted) = store.ask("namespaces", "", "") {
        return answer(out, scripted);
    }
    let values = store.values.lock().unwrap();
    let all: std::collections::BTreeSet<_> = values.keys().map(|(ns, _)| ns).collect();
    for name in all.into_iter().rev() {
        let name = CString::new(name.as_str()).expect("no NUL");
        // SAFETY: the callback's own list, and text.
        assert!(unsafe { airssys_keys_push(names, name.as_ptr()) });
    }
    done(out);
}
