//! Wrong arguments of a host: each is an error, and the engine works on.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{self, null_mut};

use airssys_wasm::*;

use crate::harness::engine::{Config, Engine, NO_BYTES, Outcome, With, c, check, no_options, take};
use crate::harness::log::{Journal, set_logger, try_set_logger};
use crate::harness::store::Store;

/// Checks that the error names `argument`.
fn assert_argument(outcome: Outcome, argument: &str) {
    let failure = outcome.expect_err(argument);
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ARGUMENT, "{argument}: {failure}");
    assert_eq!(failure.detail["argument"], argument, "{failure}");
    assert!(failure.message.contains(argument), "{failure}");
}

#[test]
fn a_null_that_is_not_allowed_is_refused_and_named() {
    let (config, engine) = (Config::new(), Engine::new());
    let (cfg, eng) = (config.raw(), engine.raw());
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("echo");
    let (id, path) = (c("app/echo/1"), c("echo.wasm"));
    let (id, path, none) = (id.as_ptr(), path.as_ptr(), ptr::null::<c_char>());
    let (bytes, len) = (wasm.as_ptr(), wasm.len());
    let (nocfg, noeng) = (null_mut(), null_mut());
    let mut handle = 77;
    let h = &raw mut handle;
    let mut out = NO_BYTES;
    let o = &raw mut out;

    // SAFETY: the functions check for NULL; everything else is live or valid for writing.
    unsafe {
        assert_argument(check(|e| airssys_config_new(null_mut(), e)), "out");
        assert_argument(check(|e| airssys_config_set_json(nocfg, id, e)), "config");
        assert_argument(check(|e| airssys_config_set_json(cfg, none, e)), "json");
        assert_argument(check(|e| airssys_config_set_storage(cfg, ptr::null(), e)), "storage");
        assert_argument(check(|e| airssys_config_set_logger(cfg, ptr::null(), e)), "logger");
        let storage = Store::new().vtable(true);
        let set = |e| airssys_config_set_storage(nocfg, &raw const storage, e);
        assert_argument(check(set), "config");

        assert_argument(check(|e| airssys_engine_new(cfg, null_mut(), e)), "out");
        assert_argument(check(|e| airssys_engine_shutdown(noeng, 0, e)), "engine");
        let load =
            |eng, id, bytes, h| check(|e| airssys_engine_load(eng, id, bytes, len, none, h, e));
        assert_argument(load(noeng, id, bytes, h), "engine");
        assert_argument(load(eng, none, bytes, h), "id");
        assert_argument(load(eng, id, ptr::null(), h), "wasm");
        assert_argument(load(eng, id, bytes, null_mut()), "out_handle");
        let load_file =
            |eng, id, path, h| check(|e| airssys_engine_load_file(eng, id, path, none, h, e));
        assert_argument(load_file(noeng, id, path, h), "engine");
        assert_argument(load_file(eng, none, path, h), "id");
        assert_argument(load_file(eng, id, none, h), "path");
        assert_argument(load_file(eng, id, path, null_mut()), "out_handle");
        assert_argument(check(|e| airssys_engine_unload(noeng, echo, e)), "engine");

        let no_options = ptr::null();
        let send = |eng, data| check(|e| airssys_engine_send(eng, echo, data, 3, no_options, e));
        assert_argument(send(noeng, bytes), "engine");
        assert_argument(send(eng, ptr::null()), "payload");
        let call =
            |eng, data, o| check(|e| airssys_engine_call(eng, echo, data, 3, no_options, o, e));
        assert_argument(call(noeng, bytes, o), "engine");
        assert_argument(call(eng, ptr::null(), o), "payload");
        assert_argument(call(eng, bytes, null_mut()), "out_reply");

        assert_argument(check(|e| airssys_engine_find(noeng, id, h, e)), "engine");
        assert_argument(check(|e| airssys_engine_find(eng, none, h, e)), "id");
        assert_argument(check(|e| airssys_engine_find(eng, id, null_mut(), e)), "out_handle");
        assert_argument(check(|e| airssys_engine_list(noeng, o, e)), "engine");
        assert_argument(check(|e| airssys_engine_list(eng, null_mut(), e)), "out_json");
        assert_argument(check(|e| airssys_engine_describe(noeng, echo, o, e)), "engine");
        assert_argument(check(|e| airssys_engine_describe(eng, echo, null_mut(), e)), "out_json");
        assert_argument(check(|e| airssys_engine_inspect(noeng, echo, o, e)), "engine");
        assert_argument(check(|e| airssys_engine_inspect(eng, echo, null_mut(), e)), "out_json");
        let inspect = |bytes, o| check(|e| airssys_component_inspect(bytes, len, o, e));
        assert_argument(inspect(ptr::null(), o), "wasm");
        assert_argument(inspect(bytes, null_mut()), "out_json");
        assert_argument(check(|e| airssys_engine_health(noeng, echo, o, e)), "engine");
        assert_argument(check(|e| airssys_engine_health(eng, echo, null_mut(), e)), "out_json");
        assert_argument(check(|e| airssys_engine_stats(noeng, o, e)), "engine");
        assert_argument(check(|e| airssys_engine_stats(eng, null_mut(), e)), "out_json");
    }
    assert_eq!(handle, 77, "outputs are written on success only");
    assert!(out.data.is_null());
    let counts = engine.describe(echo).unwrap()["messages"]["accepted"].clone();
    assert_eq!(counts, 0, "a refused message does not reach its component");
}

#[test]
fn null_is_accepted_where_there_is_nothing_to_do() {
    // SAFETY: each function takes NULL.
    unsafe {
        airssys_config_free(null_mut());
        airssys_engine_free(null_mut());
        airssys_error_free(null_mut());
        airssys_bytes_free(null_mut());
        airssys_writer_finish(null_mut(), AIRSSYS_STORAGE_OK);
        assert_eq!(airssys_error_status(ptr::null()), AIRSSYS_OK);
        let text = |text: *const c_char| std::ffi::CStr::from_ptr(text).to_str().unwrap();
        assert_eq!(text(airssys_error_message(ptr::null())), "");
        assert_eq!(text(airssys_error_detail_json(ptr::null())), "{}");
        assert!(!airssys_writer_write(null_mut(), ptr::null(), 0));
        assert!(!airssys_keys_push(null_mut(), c"k".as_ptr()));
    }
}

#[test]
fn empty_bytes_may_be_null_or_not() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    for payload in [ptr::null(), b"x".as_ptr()] {
        let mut reply = NO_BYTES;
        let (engine, out) = (engine.raw(), &raw mut reply);
        // SAFETY: a live engine, no bytes, and outputs that are valid for writing.
        check(|e| unsafe { airssys_engine_call(engine, echo, payload, 0, ptr::null(), out, e) })
            .unwrap();
        assert_eq!(take(reply), Some(Vec::new()));
    }
}

#[test]
fn impossible_lengths_are_refused() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let (raw, data, id, mut handle) = (engine.raw(), b"x".as_ptr(), c("a/b/c"), 0);
    for len in [usize::MAX, isize::MAX as usize + 1] {
        // SAFETY: a live engine and outputs; the length is refused before a byte is read.
        unsafe {
            let send = |e| airssys_engine_send(raw, echo, data, len, ptr::null(), e);
            assert_argument(check(send), "payload");
            let (id, h) = (id.as_ptr(), &raw mut handle);
            let load = |e| airssys_engine_load(raw, id, data, len, ptr::null(), h, e);
            assert_argument(check(load), "wasm");
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_and_located() {
    let (config, engine) = (Config::new(), Engine::new());
    let echo = engine.load("app/echo/0", "echo");
    let bad = CString::new(b"app/\xff/0".to_vec()).unwrap();
    let (bad, id, raw) = (bad.as_ptr(), c("app/echo/1"), engine.raw());
    let (id, wasm, mut handle) = (id.as_ptr(), airssys_wasm_guests::bytes("echo"), 0);
    let (data, len, h, none) = (wasm.as_ptr(), wasm.len(), &raw mut handle, ptr::null());
    // SAFETY: live objects, NUL-terminated texts, and outputs that are valid for writing.
    unsafe {
        assert_argument(check(|e| airssys_config_set_json(config.raw(), bad, e)), "json");
        let load = |id, options| check(|e| airssys_engine_load(raw, id, data, len, options, h, e));
        assert_argument(load(bad, none), "id");
        assert_argument(load(id, bad), "options_json");
        let file = |id, path| check(|e| airssys_engine_load_file(raw, id, path, none, h, e));
        assert_argument(file(bad, id), "id");
        assert_argument(file(id, bad), "path");
        assert_argument(check(|e| airssys_engine_find(raw, bad, h, e)), "id");
        for (sender, content_type, name) in
            [(bad, none, "options.sender"), (none, bad, "options.content_type")]
        {
            let options = airssys_message_options_t { sender, content_type, ..no_options() };
            let send = |e| airssys_engine_send(raw, echo, data, 1, &raw const options, e);
            assert_argument(check(send), name);
        }
        let failure = check(|e| airssys_engine_find(raw, bad, h, e)).unwrap_err();
        assert!(failure.message.contains("byte 4"), "{failure}");
    }
}

#[test]
fn malformed_ids_are_refused_everywhere() {
    let engine = Engine::new();
    let echo = engine.load("app/echo/0", "echo");
    let wasm = airssys_wasm_guests::bytes("echo");
    let part = |part: String| format!("app/{part}/0");
    for id in [
        String::new(),
        "/".into(),
        "//".into(),
        "app".into(),
        "app/echo".into(),
        "app/echo/0/".into(),
        "app/echo/0/1".into(),
        "/echo/0".into(),
        "app//0".into(),
        "app/echo/".into(),
        "app/../0".into(),
        "./echo/0".into(),
        "app/*/0".into(),
        "app/ec\nho/0".into(),
        "app/\u{7f}/0".into(),
        part("x".repeat(256)),
        part("x".repeat(10_000)),
        part("ü".repeat(128)),
        "x".repeat(10_000),
    ] {
        let failures = [
            engine.try_load(&id, &wasm, None).map(drop).unwrap_err(),
            engine.find(&id).map(drop).unwrap_err(),
            engine.send_with(echo, "x", With { sender: Some(&id), ..With::default() }).unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ID, "{failure}");
            assert!(failure.message.len() < 400, "an error repeats too much of its input");
        }
    }
    let longest = part("x".repeat(255));
    let handle = engine.try_load(&longest, &wasm, None).unwrap();
    assert_eq!(engine.find(&longest), Ok(handle));
}

/// A buffer with `value` at the front, its `size` field set, and `tail` behind it.
fn padded<T>(value: &T, size: usize, tail: &[u8]) -> Vec<u64> {
    let mut words = vec![0_u64; 1024];
    let bytes = words.as_mut_ptr().cast::<u8>();
    // SAFETY: the words have room for the struct and the tail.
    unsafe {
        bytes.copy_from_nonoverlapping(ptr::from_ref(value).cast(), size_of::<T>());
        bytes.add(size_of::<T>()).copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        bytes.cast::<usize>().write(size);
    }
    words
}

/// Passes a struct of every size to `set`. `first` is the size of its first version.
fn try_sizes<T>(value: &T, first: usize, name: &str, set: impl Fn(*const T) -> Outcome) {
    let own = size_of::<T>();
    for size in [0, 1, 8, first - 1, 4097, usize::MAX] {
        assert_argument(set(padded(value, size, &[]).as_ptr().cast()), name);
    }
    set(padded(value, first, &[]).as_ptr().cast())
        .expect("fields that an older host lacks are zero");
    set(padded(value, own + 64, &[0; 64]).as_ptr().cast()).expect("a zero tail is accepted");
    for place in [0, 31, 63] {
        let mut tail = [0; 64];
        tail[place] = 1;
        let outcome = set(padded(value, own + 64, &tail).as_ptr().cast());
        assert!(outcome.as_ref().unwrap_err().message.contains("newer"), "{outcome:?}");
        assert_argument(outcome, name);
        set(padded(value, own, &tail).as_ptr().cast())
            .expect("bytes behind the struct are not read");
    }
}

#[test]
fn structs_are_read_or_refused_at_every_size() {
    let (config, engine) = (Config::new(), Engine::new());
    let echo = engine.load("app/echo/0", "echo");
    let options = airssys_message_options_t { size: 0, ..no_options() };
    try_sizes(&options, 4 * size_of::<usize>(), "options", |options| {
        // SAFETY: a live engine, and as many bytes as `options` says or the refusal of its size.
        check(|e| unsafe { airssys_engine_send(engine.raw(), echo, ptr::null(), 0, options, e) })
    });
    let storage = Store::new().vtable(true);
    try_sizes(&storage, 9 * size_of::<usize>(), "storage", |storage| {
        // SAFETY: as above.
        check(|e| unsafe { airssys_config_set_storage(config.raw(), storage, e) })
    });
    unsafe extern "C" fn log(_: *mut std::ffi::c_void, _: *const airssys_log_record_t) {}
    let logger = airssys_logger_t {
        size: 0,
        user_data: null_mut(),
        drop: None,
        log: Some(log),
        min_level: 0,
    };
    try_sizes(&logger, size_of_val(&logger), "logger", |logger| {
        // SAFETY: as above.
        check(|e| unsafe { airssys_config_set_logger(config.raw(), logger, e) })
    });
}

#[test]
fn missing_callbacks_are_named() {
    let (config, store) = (Config::new(), Store::new());
    let whole = store.vtable(false);
    for (name, storage) in [
        ("storage.get", airssys_storage_t { get: None, ..whole }),
        ("storage.set", airssys_storage_t { set: None, ..whole }),
        ("storage.del", airssys_storage_t { del: None, ..whole }),
        ("storage.list", airssys_storage_t { list: None, ..whole }),
    ] {
        // SAFETY: a live configuration and struct.
        let set = |e| unsafe { airssys_config_set_storage(config.raw(), &raw const storage, e) };
        assert_argument(check(set), name);
    }
    let logger = airssys_logger_t {
        size: size_of::<airssys_logger_t>(),
        user_data: null_mut(),
        drop: None,
        log: None,
        min_level: 0,
    };
    // SAFETY: a live configuration and struct.
    let set = |e| unsafe { airssys_config_set_logger(config.raw(), &raw const logger, e) };
    assert_argument(check(set), "logger.log");
    let dropped = store.dropped.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(dropped, 0, "after an error the data still belongs to the host");
    drop(config);
    assert_eq!(store.dropped.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn unknown_log_levels_are_refused_and_leave_the_data_with_the_host() {
    let config = Config::new();
    for level in [-1, AIRSSYS_LOG_OFF + 1, i32::MAX, i32::MIN] {
        // `try_set_logger` checks that the data was not dropped.
        let failure = try_set_logger(&config, level, |_| ()).unwrap_err();
        assert_eq!(failure.detail["argument"], "logger.min_level", "{failure}");
    }
    let journal = Journal::default();
    let keep = journal.clone();
    set_logger(&config, AIRSSYS_LOG_OFF, move |record| keep.push(record));
    let engine = config.engine();
    let chatty = engine.load("app/chatty/0", "chatty");
    engine.text(chatty, "log error nobody hears");
    assert_eq!(journal.messages(), [""; 0]);
}

#[test]
fn components_may_not_use_the_namespace_of_hosts() {
    let engine = Engine::new();
    let wasm = airssys_wasm_guests::bytes("echo");
    let failure = engine.try_load("host/engine/0", &wasm, None).unwrap_err();
    assert_eq!(failure.status, AIRSSYS_ERROR_INVALID_ID, "{failure}");
    engine.try_load("hosts/engine/0", &wasm, None).unwrap();
}

unsafe extern "C" fn no_reply(_: *mut c_void, _: *const airssys_completion_t) {
    unreachable!("a refused request has no outcome");
}

unsafe extern "C" fn no_event(_: *mut c_void, _: *const airssys_event_t) {}

unsafe extern "C" fn no_route(
    _: *mut c_void,
    _: *const airssys_envelope_t,
    _: *mut airssys_writer_t,
) {
}

const EVENTS: airssys_events_t = airssys_events_t {
    size: size_of::<airssys_events_t>(),
    user_data: null_mut(),
    drop: None,
    event: Some(no_event),
};

const ROUTER: airssys_router_t = airssys_router_t {
    size: size_of::<airssys_router_t>(),
    user_data: null_mut(),
    drop: None,
    route: Some(no_route),
    cancel: None,
};

const ENVELOPE: airssys_envelope_t = airssys_envelope_t {
    size: size_of::<airssys_envelope_t>(),
    source: c"far/away/0".as_ptr(),
    target: c"app/echo/0".as_ptr(),
    kind: AIRSSYS_KIND_MESSAGE,
    correlation: 0,
    token: 0,
    deadline_ms: 0,
    content_type: ptr::null(),
    payload: ptr::null(),
    payload_len: 0,
};

#[test]
fn missing_arguments_of_requests_and_routers_are_named() {
    let (config, engine) = (Config::new(), Engine::new());
    let (cfg, eng) = (config.raw(), engine.raw());
    let echo = engine.load("app/echo/0", "echo");
    let (nocfg, noeng, no_options) = (null_mut(), null_mut(), ptr::null());
    let mut id = 77;
    let out = &raw mut id;
    // SAFETY: the functions check for NULL and invalid numbers; everything else is live or valid
    // for writing.
    unsafe {
        let request = |eng, data, reply_fn, out| {
            check(|e| {
                let (user_data, len) = (null_mut(), 3);
                airssys_engine_request(
                    eng, echo, data, len, no_options, reply_fn, user_data, out, e,
                )
            })
        };
        let (data, reply_fn) = (b"abc".as_ptr(), Some(no_reply as _));
        assert_argument(request(noeng, data, reply_fn, out), "engine");
        assert_argument(request(eng, ptr::null(), reply_fn, out), "payload");
        assert_argument(request(eng, data, None, out), "reply_fn");
        assert_argument(request(eng, data, reply_fn, null_mut()), "out_id");
        assert_argument(check(|e| airssys_engine_cancel(noeng, 1, e)), "engine");
        let broadcast = |eng, handles, count, data| {
            check(|e| airssys_engine_broadcast(eng, handles, count, data, 3, no_options, e))
        };
        assert_argument(broadcast(noeng, &raw const echo, 1, data), "engine");
        assert_argument(broadcast(eng, ptr::null(), 1, data), "handles");
        assert_argument(broadcast(eng, &raw const echo, usize::MAX, data), "handles");
        assert_argument(broadcast(eng, &raw const echo, 1, ptr::null()), "payload");
        let deliver = |eng, envelope: *const airssys_envelope_t, reply_fn| {
            check(|e| airssys_engine_deliver(eng, envelope, reply_fn, null_mut(), out, e))
        };
        assert_argument(deliver(noeng, &ENVELOPE, None), "engine");
        assert_argument(deliver(eng, ptr::null(), None), "envelope");
        let bad = "\u{e9}".as_bytes()[..1].iter().copied().chain([0]).collect::<Vec<_>>();
        for (name, envelope) in [
            ("envelope.source", airssys_envelope_t { source: ptr::null(), ..ENVELOPE }),
            ("envelope.target", airssys_envelope_t { target: ptr::null(), ..ENVELOPE }),
            ("envelope.target", airssys_envelope_t { target: bad.as_ptr().cast(), ..ENVELOPE }),
            (
                "envelope.content_type",
                airssys_envelope_t { content_type: bad.as_ptr().cast(), ..ENVELOPE },
            ),
            ("envelope.payload", airssys_envelope_t { payload_len: 1, ..ENVELOPE }),
            ("envelope.kind", airssys_envelope_t { kind: 2, ..ENVELOPE }),
            ("envelope.kind", airssys_envelope_t { kind: -1, ..ENVELOPE }),
            ("reply_fn", airssys_envelope_t { kind: AIRSSYS_KIND_REQUEST, ..ENVELOPE }),
        ] {
            assert_argument(deliver(eng, &raw const envelope, None), name);
        }
        let complete = |eng, data, len, text| {
            check(|e| airssys_engine_complete(eng, 1, AIRSSYS_OK, data, len, text, e))
        };
        assert_argument(complete(noeng, data, 3, ptr::null()), "engine");
        assert_argument(complete(eng, ptr::null(), 3, ptr::null()), "reply");
        assert_argument(complete(eng, data, 3, bad.as_ptr().cast()), "message");
        let events = |cfg, events: *const _| check(|e| airssys_config_set_events(cfg, events, e));
        assert_argument(events(nocfg, &EVENTS), "config");
        assert_argument(events(cfg, ptr::null()), "events");
        let none = airssys_events_t { event: None, ..EVENTS };
        assert_argument(events(cfg, &raw const none), "events.event");
        let router = |cfg, router: *const _| check(|e| airssys_config_set_router(cfg, router, e));
        assert_argument(router(nocfg, &ROUTER), "config");
        assert_argument(router(cfg, ptr::null()), "router");
        let none = airssys_router_t { route: None, ..ROUTER };
        assert_argument(router(cfg, &raw const none), "router.route");
    }
    assert_eq!(id, 77, "outputs are written on success only");
    assert_eq!(engine.describe(echo).unwrap()["messages"]["accepted"], 0);
    assert_eq!(engine.stats()["requests"]["outstanding"], 0);
}

#[test]
fn structs_of_events_and_routers_are_read_or_refused_at_every_size() {
    let (config, engine) = (Config::new(), Engine::new());
    engine.load("app/echo/0", "echo");
    try_sizes(&EVENTS, size_of_val(&EVENTS), "events", |events| {
        // SAFETY: as many bytes as `events` says, or the refusal of its size.
        check(|e| unsafe { airssys_config_set_events(config.raw(), events, e) })
    });
    try_sizes(&ROUTER, size_of_val(&ROUTER), "router", |router| {
        // SAFETY: as above.
        check(|e| unsafe { airssys_config_set_router(config.raw(), router, e) })
    });
    try_sizes(&ENVELOPE, size_of_val(&ENVELOPE), "envelope", |envelope| {
        // SAFETY: as above, and a live engine.
        check(|e| unsafe {
            airssys_engine_deliver(engine.raw(), envelope, None, null_mut(), null_mut(), e)
        })
    });
}
