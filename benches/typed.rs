//! The cost of typed calls over Wasmtime's own calls with dynamic values.
//!
//! Both call the same components, in turns within one run. Wasmtime gets and returns its `Val`s, made
//! once; the library gets JSON text and returns it.

mod common;

use std::ffi::{CStr, CString, c_void};
use std::hint::black_box;
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use airssys_wasm::*;
use wasmtime::component::{Component, Func, Linker, Val};
use wasmtime::{Config, Engine, Store};

use common::rounds::{calibrate, in_turns, nanoseconds, time};

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(20);

/// Wasmtime with one component, whose imports answer at once.
struct Raw {
    store: Store<()>,
    func: Func,
}

impl Raw {
    fn new(wasm: &[u8], interface: &str, function: &str) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).consume_fuel(true).epoch_interruption(true);
        config.memory_init_cow(false);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, wasm).unwrap();
        let mut linker = Linker::new(&engine);
        if interface.contains("commands") {
            let mut buffer = linker.instance("editor:api/buffer@1.2.0").unwrap();
            let count =
                |_: wasmtime::StoreContextMut<'_, ()>, _, _: &[Val], results: &mut [Val]| {
                    results[0] = Val::U32(5);
                    Ok(())
                };
            buffer.func_new("line-count", count).unwrap();
        }
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(u64::MAX).unwrap();
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(usize::MAX);
        let instance = ready(linker.instantiate_async(&mut store, &component)).unwrap();
        let interface = component.get_export_index(None, interface).unwrap();
        let index = component.get_export_index(Some(&interface), function).unwrap();
        let func = instance.get_func(&mut store, index).unwrap();
        Self { store, func }
    }

    fn call(&mut self, arguments: &[Val]) -> Val {
        self.store.set_fuel(u64::MAX).unwrap();
        let mut results = [Val::Bool(false)];
        ready(self.func.call_async(&mut self.store, arguments, &mut results)).unwrap();
        let [result] = results;
        result
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing waits"),
    }
}

/// The library with one component.
struct Ours {
    engine: *mut airssys_engine_t,
    component: u64,
    function: CString,
}

unsafe extern "C" fn five(
    _: *mut c_void,
    _: *const airssys_function_call_t,
    answer: *mut airssys_writer_t,
) {
    // SAFETY: the callback's own writer.
    unsafe {
        airssys_writer_write(answer, b"5".as_ptr(), 1);
        airssys_writer_finish(answer, AIRSSYS_OK);
    }
}

impl Ours {
    fn new(wasm: &[u8], interface: &str, function: &str) -> Self {
        let (mut config, mut engine, mut component) = (ptr::null_mut(), ptr::null_mut(), 0);
        let offered = airssys_interface_t {
            size: size_of::<airssys_interface_t>(),
            user_data: ptr::null_mut(),
            drop: None,
            call: Some(five),
        };
        let (id, name) = (c"bench/typed/0", c"editor:api/buffer");
        let options = c"{\"capabilities\": {\"host\": \"*/*\"}}";
        // SAFETY: valid arguments; the configuration is freed once, after its last use.
        unsafe {
            check(|error| airssys_config_new(&mut config, error));
            check(|error| {
                airssys_config_add_interface(config, name.as_ptr(), &raw const offered, error)
            });
            check(|error| airssys_engine_new(config, &mut engine, error));
            airssys_config_free(config);
            check(|error| {
                let (data, len, options) = (wasm.as_ptr(), wasm.len(), options.as_ptr());
                let id = id.as_ptr();
                airssys_engine_load(engine, id, data, len, options, &mut component, error)
            });
        }
        Self {
            engine,
            component,
            function: CString::new(format!("{interface}#{function}")).unwrap(),
        }
    }

    fn call(&self, arguments: &CStr) -> String {
        let mut json = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        self.invoke(arguments, &mut json);
        // SAFETY: the library's own bytes, freed once.
        unsafe {
            let text = std::slice::from_raw_parts(json.data, json.len).to_vec();
            airssys_bytes_free(&mut json);
            String::from_utf8(text).unwrap()
        }
    }

    fn call_and_free(&self, arguments: &CStr) {
        let mut json = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        self.invoke(arguments, &mut json);
        // SAFETY: the library's own bytes, freed once.
        unsafe { airssys_bytes_free(black_box(&mut json)) };
    }

    fn invoke(&self, arguments: &CStr, json: &mut airssys_bytes_t) {
        let options = airssys_message_options_t {
            size: size_of::<airssys_message_options_t>(),
            sender: ptr::null(),
            content_type: ptr::null(),
            timeout_ms: 0,
            flags: if arguments.to_bytes().starts_with(b"[\"") {
                AIRSSYS_MESSAGE_PACKED_LISTS
            } else {
                0
            },
            progress: None,
            progress_data: ptr::null_mut(),
        };
        // SAFETY: a live engine and valid arguments.
        check(|error| unsafe {
            let (function, arguments) = (self.function.as_ptr(), arguments.as_ptr());
            let options = &raw const options;
            airssys_engine_invoke(
                self.engine,
                self.component,
                function,
                arguments,
                options,
                json,
                error,
            )
        });
    }
}

fn check(call: impl FnOnce(*mut *mut airssys_error_t) -> airssys_status_t) {
    let mut error = ptr::null_mut();
    if call(&mut error) != AIRSSYS_OK {
        // SAFETY: an error that the library has just made.
        panic!("{:?}", unsafe { CStr::from_ptr(airssys_error_message(error)) });
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[bits as usize % 64]);
    assert_eq!(bytes.len() % 3, 0);
    let words = bytes.chunks(3).map(|it| u32::from_be_bytes([0, it[0], it[1], it[2]]));
    words.flat_map(|it| [it >> 18, it >> 12, it >> 6, it].map(letter)).collect()
}

fn row(what: &str, guest: &str, interface: &str, function: &str, theirs: &[Val], ours: &str) {
    let wasm = airssys_wasm_guests::bytes(guest);
    let mut raw = Raw::new(&wasm, interface, function);
    let host = Ours::new(&wasm, interface, function);
    let arguments = CString::new(ours).unwrap();
    raw.call(theirs);
    host.call(&arguments);
    let mut theirs = || drop(black_box(raw.call(theirs)));
    let ours = || host.call_and_free(&arguments);
    let count = calibrate(ROUND, &mut theirs).min(calibrate(ROUND, ours));
    let [[theirs], [ours]] = in_turns(
        ROUNDS,
        [&mut || [nanoseconds(time(count, &mut theirs), count)], &mut || {
            [nanoseconds(time(count, ours), count)]
        }],
    );
    let (their_time, our_time) = (theirs.median(), ours.median());
    println!("{what:<34} {their_time:>11.0} ns {our_time:>11.0} ns {:>7.2}x", ours.over(&theirs));
}

fn main() {
    println!(
        "one typed call: airssys_engine_invoke with JSON against wasmtime call_async with Val"
    );
    println!("(medians of {ROUNDS} rounds in turns; ratio: median of the ratios of each round)\n");
    println!("{:<34} {:>14} {:>14} {:>8}", "", "wasmtime", "airssys", "ratio");
    let (ops, echo) = ("docs:calc/ops@0.1.0", "docs:calc/echo@0.1.0");
    row("add(s32, s32)", "calculator", ops, "add", &[Val::S32(1), Val::S32(2)], "[1,2]");
    let ten = Val::Record(vec![
        ("a".into(), Val::U8(1)),
        ("b".into(), Val::S16(-2)),
        ("c".into(), Val::U32(3)),
        ("d".into(), Val::S64(-4)),
        ("e".into(), Val::Float32(0.5)),
        ("f".into(), Val::Float64(1.25)),
        ("g".into(), Val::Char('x')),
        ("h".into(), Val::Bool(true)),
        ("i".into(), Val::String("a string".into())),
        ("j".into(), Val::List(vec![Val::U8(0), Val::U8(1), Val::U8(2)])),
    ]);
    let ten_json = r#"[{"a":1,"b":-2,"c":3,"d":-4,"e":0.5,"f":1.25,"g":"x","h":true,"i":"a string","j":"AAEC"}]"#;
    row("a record of ten fields, and back", "calculator", echo, "tens", &[ten], ten_json);
    let numbers: Vec<i32> = (0..10_002).map(|number| number * 31).collect();
    let vals = [Val::List(numbers.iter().map(|number| Val::S32(*number)).collect())];
    let texts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    let json = format!("[[{}]]", texts.join(","));
    row("10,000 numbers, and back", "calculator", echo, "numbers", &vals, &json);
    let packed: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let packed = format!("[\"{}\"]", base64(&packed));
    row("the same, packed", "calculator", echo, "numbers", &vals, &packed);
    let bytes = vec![7_u8; 3 * 349_525];
    let vals = [Val::List(bytes.iter().map(|byte| Val::U8(*byte)).collect())];
    let json = format!("[\"{}\"]", base64(&bytes));
    row("1 MiB of bytes, and back", "calculator", echo, "bytes", &vals, &json);
    let commands = "editor:plugin/commands@0.1.0";
    row("a call with a call of the host", "plugin", commands, "line-count", &[], "[]");
}
