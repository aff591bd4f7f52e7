//! The C ABI in Rust: owned results, errors as values, handles freed once.

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use airssys_wasm::*;
use serde_json::{Value, json};

/// How long a test waits for anything asynchronous.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A status and the error object that came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub status: airssys_status_t,
    pub message: String,
    pub detail: Value,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", status_name(self.status), self.message, self.detail)
    }
}

pub type Outcome<T = ()> = Result<T, Failure>;

pub fn status_name(status: airssys_status_t) -> String {
    // SAFETY: the text is static.
    unsafe { CStr::from_ptr(airssys_status_name(status)) }.to_string_lossy().into_owned()
}

/// Makes a call with an error output and checks that status and error agree.
pub fn check(call: impl FnOnce(*mut *mut airssys_error_t) -> airssys_status_t) -> Outcome {
    let mut error = ptr::null_mut();
    let status = call(&raw mut error);
    if status == AIRSSYS_OK {
        assert!(error.is_null(), "an error was written on success");
        return Ok(());
    }
    assert!(!error.is_null(), "no error was written with {}", status_name(status));
    // SAFETY: the library has just made the error, and it is freed once.
    let failure = unsafe {
        let text = |text| CStr::from_ptr(text).to_str().expect("UTF-8").to_owned();
        let failure = Failure {
            status: airssys_error_status(error),
            message: text(airssys_error_message(error)),
            detail: serde_json::from_str(&text(airssys_error_detail_json(error))).expect("JSON"),
        };
        airssys_error_free(error);
        failure
    };
    assert_eq!(failure.status, status, "error and return value differ");
    assert!(failure.detail.is_object(), "{failure}");
    assert!(!failure.message.is_empty(), "{failure}");
    Err(failure)
}

/// Takes ownership of the library's bytes; `None` is "no reply".
pub fn take(mut bytes: airssys_bytes_t) -> Option<Vec<u8>> {
    let owned = (!bytes.data.is_null()).then(|| {
        // SAFETY: not NULL, so it has `len` bytes.
        unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }.to_vec()
    });
    // SAFETY: bytes of the library, freed twice because that is allowed.
    unsafe {
        airssys_bytes_free(&raw mut bytes);
        airssys_bytes_free(&raw mut bytes);
    }
    assert!(bytes.data.is_null() && bytes.len == 0);
    owned
}

pub const NO_BYTES: airssys_bytes_t =
    airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };

pub fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

pub struct Config(*mut airssys_config_t);

impl Config {
    /// For tests that are not about rights: components may send to each other and use storage.
    pub fn new() -> Self {
        let messages = json!({ "send": "**", "request": "**", "broadcast": "**" });
        let granted = json!({ "messaging": messages, "storage": ["read", "write", "delete"] });
        Self::closed().with(&json!({ "capabilities": granted }).to_string())
    }

    /// Grants nothing, as the library does by default. All tests share a cache directory because
    /// compiling the guests takes most of their time.
    pub fn closed() -> Self {
        let dir = concat!(env!("CARGO_TARGET_TMPDIR"), "/abi-cache");
        Self::bare().with(&json!({ "cache-dir": dir }).to_string())
    }

    /// The library's defaults, without the cache.
    pub fn bare() -> Self {
        let mut config = ptr::null_mut();
        // SAFETY: both outputs are valid for writing.
        check(|error| unsafe { airssys_config_new(&raw mut config, error) }).expect("a config");
        Self(config)
    }

    pub fn raw(&self) -> *mut airssys_config_t {
        self.0
    }

    pub fn set(&self, json: &str) -> Outcome {
        let json = c(json);
        // SAFETY: a live configuration and text.
        check(|error| unsafe { airssys_config_set_json(self.0, json.as_ptr(), error) })
    }

    pub fn with(self, json: &str) -> Self {
        self.set(json).expect("valid configuration");
        self
    }

    pub fn try_engine(&self) -> Outcome<Engine> {
        let mut engine = ptr::null_mut();
        // SAFETY: a live configuration, and outputs that are valid for writing.
        check(|error| unsafe { airssys_engine_new(self.0, &raw mut engine, error) })?;
        Ok(Engine(AtomicPtr::new(engine)))
    }

    pub fn engine(&self) -> Engine {
        self.try_engine().unwrap_or_else(|failure| panic!("{failure}"))
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: not used again.
        unsafe { airssys_config_free(self.0) }
    }
}

/// The progress callback: true if the caller gives up.
pub type GivesUp<'a> = dyn Fn() -> bool + Sync + 'a;

/// What a message carries besides its payload.
#[derive(Default, Clone, Copy)]
pub struct With<'a> {
    pub sender: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub timeout_ms: u64,
    pub flags: u64,
    pub gives_up: Option<&'a GivesUp<'a>>,
}

impl With<'static> {
    pub const fn nothing() -> Self {
        Self { sender: None, content_type: None, timeout_ms: 0, flags: 0, gives_up: None }
    }
}

/// An engine, freed on drop at the latest.
pub struct Engine(AtomicPtr<airssys_engine_t>);

impl Engine {
    pub fn new() -> Self {
        Config::new().engine()
    }

    /// An engine without a configuration.
    pub fn bare() -> Self {
        let mut engine = ptr::null_mut();
        // SAFETY: no configuration, and outputs that are valid for writing.
        check(|error| unsafe { airssys_engine_new(ptr::null(), &raw mut engine, error) })
            .unwrap_or_else(|failure| panic!("{failure}"));
        Self(AtomicPtr::new(engine))
    }

    pub fn raw(&self) -> *mut airssys_engine_t {
        self.0.load(Ordering::SeqCst)
    }

    /// Frees the engine, possibly during calls on other threads.
    pub fn free(&self) {
        let engine = self.0.swap(ptr::null_mut(), Ordering::SeqCst);
        // SAFETY: not used again: whoever comes later gets NULL.
        unsafe { airssys_engine_free(engine) }
    }

    pub fn try_load(&self, id: &str, wasm: &[u8], options: Option<&str>) -> Outcome<u64> {
        let (id, options) = (c(id), options.map(c));
        let options = options.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let mut handle = 0;
        let (wasm, len) = (wasm.as_ptr(), wasm.len());
        // SAFETY: a live engine, texts, bytes, and outputs that are valid for writing.
        let load = |error| unsafe {
            airssys_engine_load(self.raw(), id.as_ptr(), wasm, len, options, &raw mut handle, error)
        };
        check(load).inspect_err(|_| assert_eq!(handle, 0, "written on failure"))?;
        assert_ne!(handle, 0, "0 is no handle");
        Ok(handle)
    }

    /// Compiles without a load; `gives_up` is asked while that takes long.
    pub fn precompile(&self, wasm: &[u8], gives_up: Option<&GivesUp<'_>>) -> Outcome {
        let asks = gives_up.map(|_| progress as _);
        let data = gives_up.as_ref();
        let data =
            data.map_or(ptr::null_mut(), |it| ptr::from_ref::<&GivesUp<'_>>(it).cast_mut().cast());
        // SAFETY: a live engine and bytes, and a function that fits its data.
        check(|error| unsafe {
            let (raw, len) = (self.raw(), wasm.len());
            airssys_engine_precompile(raw, wasm.as_ptr(), len, asks, data, error)
        })
    }

    pub fn load(&self, id: &str, guest: &str) -> u64 {
        self.load_with(id, guest, "{}")
    }

    pub fn load_with(&self, id: &str, guest: &str, options: &str) -> u64 {
        self.try_load(id, &airssys_wasm_guests::bytes(guest), Some(options))
            .unwrap_or_else(|failure| panic!("{id}: {failure}"))
    }

    pub fn try_load_file(&self, id: &str, path: &str) -> Outcome<u64> {
        let (id, path, mut handle) = (c(id), c(path), 0);
        // SAFETY: a live engine, texts, and outputs that are valid for writing.
        let load = |error| unsafe {
            let (id, path) = (id.as_ptr(), path.as_ptr());
            airssys_engine_load_file(self.raw(), id, path, ptr::null(), &raw mut handle, error)
        };
        check(load).map(|()| handle)
    }

    pub fn unload(&self, handle: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_unload(self.raw(), handle, error) })
    }

    pub fn unload_within(&self, handle: u64, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe {
            airssys_engine_unload_within(self.raw(), handle, timeout_ms, error)
        })
    }

    pub fn restart(&self, handle: u64, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_restart(self.raw(), handle, timeout_ms, error) })
    }

    pub fn replace(&self, handle: u64, wasm: &[u8], options: Option<&str>) -> Outcome {
        let options = options.map(c);
        let options = options.as_ref().map_or(ptr::null(), |options| options.as_ptr());
        // SAFETY: a live engine, bytes, and text or NULL.
        check(|error| unsafe {
            let raw = self.raw();
            airssys_engine_replace(raw, handle, wasm.as_ptr(), wasm.len(), options, error)
        })
    }

    pub fn reconfigure(&self, handle: u64, options: &str) -> Outcome {
        let options = c(options);
        // SAFETY: a live engine, no bytes, and text.
        check(|error| unsafe {
            airssys_engine_replace(self.raw(), handle, ptr::null(), 0, options.as_ptr(), error)
        })
    }

    pub fn replace_file(&self, handle: u64, path: &str) -> Outcome {
        let path = c(path);
        // SAFETY: a live engine, text and NULL.
        check(|error| unsafe {
            let raw = self.raw();
            airssys_engine_replace_file(raw, handle, path.as_ptr(), ptr::null(), error)
        })
    }

    pub fn roll_back(&self, handle: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_rollback(self.raw(), handle, error) })
    }

    pub fn promote(&self, handle: u64, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_promote(self.raw(), handle, timeout_ms, error) })
    }

    pub fn abort(&self, handle: u64, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_abort(self.raw(), handle, timeout_ms, error) })
    }

    pub fn stop(&self, handle: u64, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_stop(self.raw(), handle, timeout_ms, error) })
    }

    pub fn start(&self, handle: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_start(self.raw(), handle, error) })
    }

    pub fn add_group(&self, name: &str, options: &str) -> Outcome<u64> {
        let (name, options, mut group) = (c(name), c(options), 0);
        // SAFETY: a live engine, texts, and a place for the handle.
        check(|error| unsafe {
            let out = &raw mut group;
            airssys_engine_add_group(self.raw(), name.as_ptr(), options.as_ptr(), out, error)
        })?;
        Ok(group)
    }

    pub fn groups(&self) -> Value {
        // SAFETY: a live engine, and a place for the document.
        document(|out, error| unsafe { airssys_engine_groups(self.raw(), out, error) })
            .expect("groups")
    }

    pub fn status(&self, handle: u64) -> Outcome<Value> {
        // SAFETY: a live engine, and a place for the document.
        document(|out, error| unsafe { airssys_engine_status(self.raw(), handle, out, error) })
    }

    pub fn wait(&self, handle: u64, state: &str, timeout_ms: u64) -> Outcome {
        let state = CString::new(state).unwrap();
        // SAFETY: a live engine, and a text.
        check(|error| unsafe {
            airssys_engine_wait(self.raw(), handle, state.as_ptr(), timeout_ms, error)
        })
    }

    pub fn interrupt(&self, handle: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_interrupt(self.raw(), handle, error) })
    }

    pub fn shutdown(&self, timeout_ms: u64) -> Outcome {
        // SAFETY: a live engine.
        check(|error| unsafe { airssys_engine_shutdown(self.raw(), timeout_ms, error) })
    }

    pub fn call(&self, handle: u64, payload: impl AsRef<[u8]>) -> Outcome<Option<Vec<u8>>> {
        self.call_with(handle, payload, With::default())
    }

    pub fn call_with(
        &self,
        handle: u64,
        payload: impl AsRef<[u8]>,
        with: With<'_>,
    ) -> Outcome<Option<Vec<u8>>> {
        let payload = payload.as_ref();
        let mut reply = NO_BYTES;
        with_options(with, |options| {
            let (data, len) = (payload.as_ptr(), payload.len());
            // SAFETY: a live engine, bytes, options, and outputs that are valid for writing.
            check(|error| unsafe {
                airssys_engine_call(self.raw(), handle, data, len, options, &raw mut reply, error)
            })
        })
        .inspect_err(|_| assert!(reply.data.is_null(), "written on failure"))?;
        Ok(take(reply))
    }

    /// The reply to a command, as text.
    pub fn text(&self, handle: u64, command: &str) -> String {
        let reply = self.call(handle, command).unwrap_or_else(|e| panic!("{command}: {e}"));
        String::from_utf8(reply.unwrap_or_else(|| panic!("{command}: no reply"))).expect("UTF-8")
    }

    /// The reply to a command, as JSON.
    pub fn json(&self, handle: u64, command: &str) -> Value {
        serde_json::from_str(&self.text(handle, command)).expect("JSON")
    }

    /// How a command failed.
    pub fn failure(&self, handle: u64, command: &str) -> Failure {
        match self.call(handle, command) {
            Err(failure) => failure,
            Ok(reply) => panic!("{command}: {:?}", reply.map(|reply| reply.len())),
        }
    }

    pub fn send(&self, handle: u64, payload: impl AsRef<[u8]>) -> Outcome {
        self.send_with(handle, payload, With::default())
    }

    pub fn send_with(&self, handle: u64, payload: impl AsRef<[u8]>, with: With<'_>) -> Outcome {
        let payload = payload.as_ref();
        with_options(with, |options| {
            let (data, len) = (payload.as_ptr(), payload.len());
            // SAFETY: a live engine, bytes, options, and an output that is valid for writing.
            check(|error| unsafe {
                airssys_engine_send(self.raw(), handle, data, len, options, error)
            })
        })
    }

    pub fn find(&self, id: &str) -> Outcome<u64> {
        let (id, mut handle) = (c(id), 0);
        // SAFETY: a live engine, text, and outputs that are valid for writing.
        check(|error| unsafe {
            airssys_engine_find(self.raw(), id.as_ptr(), &raw mut handle, error)
        })?;
        Ok(handle)
    }

    pub fn set_policies(&self, json: &str) -> Outcome {
        let json = c(json);
        // SAFETY: a live engine and text.
        check(|error| unsafe { airssys_engine_set_policies(self.raw(), json.as_ptr(), error) })
    }

    pub fn grant(&self, handle: u64, json: &str) -> Outcome {
        let json = c(json);
        // SAFETY: a live engine and text.
        check(|error| unsafe { airssys_engine_grant(self.raw(), handle, json.as_ptr(), error) })
    }

    /// Revokes grants; `None` revokes all of them.
    pub fn revoke(&self, handle: u64, json: Option<&str>) -> Outcome {
        let json = json.map(c);
        let json = json.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        // SAFETY: a live engine, and text or NULL.
        check(|error| unsafe { airssys_engine_revoke(self.raw(), handle, json, error) })
    }

    pub fn explain(&self, handle: u64, action: &str, resource: &str) -> Outcome<Value> {
        let (action, resource) = (c(action), c(resource));
        let (action, resource) = (action.as_ptr(), resource.as_ptr());
        // SAFETY: as in `describe`, and texts.
        document(|out, error| unsafe {
            airssys_engine_explain(self.raw(), handle, action, resource, out, error)
        })
    }

    pub fn describe(&self, handle: u64) -> Outcome<Value> {
        // SAFETY: a live engine, and outputs that are valid for writing.
        document(|out, error| unsafe { airssys_engine_describe(self.raw(), handle, out, error) })
    }

    pub fn inspect(&self, handle: u64) -> Outcome<Value> {
        // SAFETY: as in `describe`.
        document(|out, error| unsafe { airssys_engine_inspect(self.raw(), handle, out, error) })
    }

    pub fn health(&self, handle: u64) -> Outcome<Value> {
        // SAFETY: as in `describe`.
        document(|out, error| unsafe { airssys_engine_health(self.raw(), handle, out, error) })
    }

    pub fn list(&self) -> Value {
        // SAFETY: as in `describe`.
        document(|out, error| unsafe { airssys_engine_list(self.raw(), out, error) })
            .expect("a list")
    }

    pub fn stats(&self) -> Value {
        // SAFETY: as in `describe`.
        document(|out, error| unsafe { airssys_engine_stats(self.raw(), out, error) })
            .expect("stats")
    }

    /// Waits until the component has accepted `accepted` messages, of which `waiting` are in its
    /// mailbox.
    pub fn until_busy(&self, handle: u64, accepted: u64, waiting: u64) {
        eventually("the component is busy", || {
            let described = self.describe(handle).expect("it is loaded");
            let state = (&described["messages"]["accepted"], &described["mailbox"]["depth"]);
            (state == (&accepted.into(), &waiting.into())).then_some(())
        });
    }

    /// The callbacks that a requester has received, once there are `count`.
    pub fn callbacks(&self, requester: u64, count: usize) -> Vec<Value> {
        eventually("the callbacks came", || {
            let reply = match self.call(requester, "callbacks") {
                // The mailbox is still full: ask again.
                Err(Failure { status: AIRSSYS_ERROR_QUEUE_FULL, .. }) => return None,
                reply => reply.unwrap().expect("a reply"),
            };
            let callbacks: Vec<Value> = serde_json::from_slice(&reply).expect("a list");
            (callbacks.len() >= count).then_some(callbacks)
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.free();
    }
}

pub fn with_options<R>(
    with: With<'_>,
    run: impl FnOnce(*const airssys_message_options_t) -> R,
) -> R {
    let (sender, content_type) = (with.sender.map(c), with.content_type.map(c));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |t| t.as_ptr());
    let options = airssys_message_options_t {
        size: size_of::<airssys_message_options_t>(),
        sender: pointer(&sender),
        content_type: pointer(&content_type),
        timeout_ms: with.timeout_ms,
        flags: with.flags,
        progress: with.gives_up.as_ref().map(|_| progress as _),
        progress_data: with
            .gives_up
            .as_ref()
            .map_or(ptr::null_mut(), |it| ptr::from_ref::<&GivesUp<'_>>(it).cast_mut().cast()),
    };
    run(&raw const options)
}

unsafe extern "C" fn progress(gives_up: *mut c_void) -> i32 {
    // SAFETY: the closure of the options, which outlive the call.
    let gives_up = unsafe { &*gives_up.cast::<&GivesUp<'_>>() };
    gives_up().into()
}

/// Empty message options.
pub fn no_options() -> airssys_message_options_t {
    airssys_message_options_t {
        size: size_of::<airssys_message_options_t>(),
        sender: ptr::null(),
        content_type: ptr::null(),
        timeout_ms: 0,
        flags: 0,
        progress: None,
        progress_data: ptr::null_mut(),
    }
}

/// The document that a function of the library writes.
pub fn document(
    call: impl FnOnce(*mut airssys_bytes_t, *mut *mut airssys_error_t) -> airssys_status_t,
) -> Outcome<Value> {
    let mut out = NO_BYTES;
    check(|error| call(&raw mut out, error))?;
    // SAFETY: a document is followed by a NUL that its length does not count.
    assert_eq!(unsafe { out.data.add(out.len).read() }, 0, "no NUL behind the document");
    Ok(serde_json::from_slice(&take(out).expect("a document")).expect("JSON"))
}

/// The `messages` counts of a component that refused, dropped and sent nothing.
pub fn message_counts(accepted: u64, handled: u64, failed: u64) -> Value {
    json!({
        "accepted": accepted, "refused": 0, "dropped": 0, "handled": handled, "failed": failed,
        "sent": 0,
    })
}

/// Polls until `poll` returns something; panics after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
