//! The library through its C functions.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};

use airssys_wasm::*;

pub struct Host {
    pub engine: *mut airssys_engine_t,
}

// SAFETY: an engine may be used on any thread.
unsafe impl Send for Host {}
// SAFETY: as above, also concurrently.
unsafe impl Sync for Host {}

/// The default rights of components.
const GRANTED: &str = r#"{"capabilities": {
    "messaging": {"send": ["**"], "request": ["**"], "broadcast": ["**"]},
    "storage": ["read", "write", "delete"]
}}"#;

impl Host {
    pub fn new(config: &str) -> Self {
        Self::with(config, None)
    }

    /// Routes mail for ids that are not loaded to `router`.
    pub fn with(config: &str, router: Option<airssys_router_t>) -> Self {
        Self::of(config, router, None)
    }

    /// Stores in `storage`.
    pub fn over(storage: airssys_storage_t) -> Self {
        Self::of("{}", None, Some(storage))
    }

    fn of(
        config: &str,
        router: Option<airssys_router_t>,
        storage: Option<airssys_storage_t>,
    ) -> Self {
        let [granted, json] = [GRANTED, config].map(|text| CString::new(text).unwrap());
        let (mut config, mut engine) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: valid arguments; the configuration is freed once, after its last use.
        unsafe {
            check(|error| airssys_config_new(&mut config, error));
            check(|error| airssys_config_set_json(config, granted.as_ptr(), error));
            check(|error| airssys_config_set_json(config, json.as_ptr(), error));
            if let Some(router) = &router {
                check(|error| airssys_config_set_router(config, router, error));
            }
            if let Some(storage) = &storage {
                check(|error| airssys_config_set_storage(config, storage, error));
            }
            check(|error| airssys_engine_new(config, &mut engine, error));
            airssys_config_free(config);
        }
        Self { engine }
    }

    pub fn load(&self, id: &str, wasm: &[u8], options: &str) -> u64 {
        let (id, options) = (CString::new(id).unwrap(), CString::new(options).unwrap());
        let mut handle = 0;
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            airssys_engine_load(
                self.engine,
                id.as_ptr(),
                wasm.as_ptr(),
                wasm.len(),
                options.as_ptr(),
                &mut handle,
                error,
            )
        });
        handle
    }

    /// Loads a component; may fail.
    pub fn try_load(&self, id: &str, wasm: &[u8], options: &str) -> Option<u64> {
        let (id, options) = (CString::new(id).unwrap(), CString::new(options).unwrap());
        let (id, options, len) = (id.as_ptr(), options.as_ptr(), wasm.len());
        let (mut handle, error) = (0, ptr::null_mut());
        // SAFETY: a live engine and valid arguments.
        let status = unsafe {
            airssys_engine_load(self.engine, id, wasm.as_ptr(), len, options, &mut handle, error)
        };
        (status == AIRSSYS_OK).then_some(handle)
    }

    /// Calls a component and frees the reply; may fail.
    pub fn try_call(&self, handle: u64, payload: &[u8]) {
        let mut reply = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        let (data, len, error) = (payload.as_ptr(), payload.len(), ptr::null_mut());
        // SAFETY: a live engine and valid arguments; a reply that was just received, or none.
        unsafe {
            airssys_engine_call(self.engine, handle, data, len, ptr::null(), &mut reply, error);
            airssys_bytes_free(&mut reply);
        }
    }

    /// Unloads a component; may fail.
    pub fn try_unload(&self, handle: u64) {
        // SAFETY: a live engine.
        unsafe { airssys_engine_unload(self.engine, handle, ptr::null_mut()) };
    }

    pub fn unload(&self, handle: u64) {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_unload(self.engine, handle, error) });
    }

    pub fn restart(&self, handle: u64) {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_restart(self.engine, handle, u64::MAX, error) });
    }

    pub fn replace(&self, handle: u64, wasm: &[u8]) {
        // SAFETY: a live engine, and bytes.
        check(|error| unsafe {
            let (data, len) = (wasm.as_ptr(), wasm.len());
            airssys_engine_replace(self.engine, handle, data, len, ptr::null(), error)
        });
    }

    pub fn send(&self, handle: u64, payload: &[u8]) {
        let (data, len) = (payload.as_ptr(), payload.len());
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            airssys_engine_send(self.engine, handle, data, len, ptr::null(), error)
        });
    }

    /// Returns the reply, which the caller frees.
    pub fn raw_call(&self, handle: u64, payload: &[u8]) -> airssys_bytes_t {
        let mut reply = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        let (data, len) = (payload.as_ptr(), payload.len());
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            airssys_engine_call(self.engine, handle, data, len, ptr::null(), &mut reply, error)
        });
        reply
    }

    pub fn call_and_free(&self, handle: u64, payload: &[u8]) {
        let mut reply = self.raw_call(handle, payload);
        std::hint::black_box(reply.data);
        // SAFETY: a reply that was just received.
        unsafe { airssys_bytes_free(&mut reply) };
    }

    pub fn call(&self, handle: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let mut reply = self.raw_call(handle, payload);
        let copy = (!reply.data.is_null())
            // SAFETY: a reply that was just received.
            .then(|| unsafe { std::slice::from_raw_parts(reply.data, reply.len) }.to_vec());
        // SAFETY: as above.
        unsafe { airssys_bytes_free(&mut reply) };
        copy
    }

    /// Sends a request. `done` is called with `user_data` and the outcome.
    ///
    /// # Safety
    ///
    /// `done` may be called with `user_data` on any thread until the outcome has arrived.
    pub unsafe fn request(
        &self,
        handle: u64,
        payload: &[u8],
        done: unsafe extern "C" fn(*mut c_void, *const airssys_completion_t),
        user_data: *mut c_void,
    ) {
        let (data, len, mut id) = (payload.as_ptr(), payload.len(), 0);
        let (options, done) = (ptr::null(), Some(done));
        // SAFETY: a live engine and valid arguments; the rest is this function's contract.
        check(|error| unsafe {
            airssys_engine_request(
                self.engine,
                handle,
                data,
                len,
                options,
                done,
                user_data,
                &mut id,
                error,
            )
        });
    }

    pub fn stats(&self) -> serde_json::Value {
        let mut json = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe { airssys_engine_stats(self.engine, &mut json, error) });
        // SAFETY: a document that was just received.
        let bytes = unsafe { std::slice::from_raw_parts(json.data, json.len) };
        let stats = serde_json::from_slice(bytes).unwrap();
        // SAFETY: as above.
        unsafe { airssys_bytes_free(&mut json) };
        stats
    }

    /// Returns the text of the list of components.
    pub fn list(&self) -> Vec<u8> {
        let mut json = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe { airssys_engine_list(self.engine, &mut json, error) });
        // SAFETY: a document that was just received.
        let bytes = unsafe { std::slice::from_raw_parts(json.data, json.len) }.to_vec();
        // SAFETY: as above.
        unsafe { airssys_bytes_free(&mut json) };
        bytes
    }

    /// Reads a value that a component has stored.
    pub fn stored(&self, id: &CStr, key: &str) -> Vec<u8> {
        let key = CString::new(key).unwrap();
        let mut value = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            airssys_engine_storage_get(self.engine, id.as_ptr(), key.as_ptr(), &mut value, error)
        });
        // SAFETY: a value that was just received.
        let bytes = unsafe { std::slice::from_raw_parts(value.data, value.len) }.to_vec();
        // SAFETY: as above.
        unsafe { airssys_bytes_free(&mut value) };
        bytes
    }

    /// Stores a value for a component.
    pub fn store(&self, id: &CStr, key: &str, value: &[u8]) {
        let (key, data, len) = (CString::new(key).unwrap(), value.as_ptr(), value.len());
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            airssys_engine_storage_set(self.engine, id.as_ptr(), key.as_ptr(), data, len, 0, error)
        });
    }

    /// How many messages a `relay` has seen, including all that are waiting now.
    pub fn count(&self, relay: u64) -> u64 {
        let reply = self.call(relay, b"count").unwrap();
        String::from_utf8(reply).unwrap().parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: the engine is not used again.
        unsafe { airssys_engine_free(self.engine) };
    }
}

/// Panics with the library's error message if a function fails.
fn check(call: impl FnOnce(*mut *mut airssys_error_t) -> airssys_status_t) {
    let mut error = ptr::null_mut();
    let status = call(&mut error);
    if status != AIRSSYS_OK {
        // SAFETY: the library has just made the error.
        let message = unsafe { CStr::from_ptr(airssys_error_message(error)) };
        panic!("status {status}: {}", message.to_string_lossy());
    }
}

/// A router that accepts everything and sends one `()` per message.
pub fn doorbell() -> (airssys_router_t, Receiver<()>) {
    unsafe extern "C" fn route(
        bell: *mut c_void,
        _: *const airssys_envelope_t,
        answer: *mut airssys_writer_t,
    ) {
        // SAFETY: the box below, which only `free` drops.
        let bell = unsafe { &*bell.cast::<Sender<()>>() };
        let _ = bell.send(());
        // SAFETY: this callback's writer.
        unsafe { airssys_writer_finish(answer, AIRSSYS_OK) };
    }

    unsafe extern "C" fn free(bell: *mut c_void) {
        // SAFETY: the box below, dropped once.
        drop(unsafe { Box::from_raw(bell.cast::<Sender<()>>()) });
    }

    let (bell, rung) = mpsc::channel::<()>();
    let router = airssys_router_t {
        size: size_of::<airssys_router_t>(),
        user_data: Box::into_raw(Box::new(bell)).cast(),
        drop: Some(free),
        route: Some(route),
        cancel: None,
    };
    (router, rung)
}
