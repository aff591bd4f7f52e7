//! What a `call` through the C ABI costs on top of Wasmtime.
//!
//! The same component is called by the library and by Wasmtime's own `call_async`, with the same
//! engine configuration, in turns within one run: the machines are noisy, ratios are not.

use std::ffi::CString;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use airssys_wasm::*;
use wasmtime::component::{Component, Func, InstancePre, Linker, TypedFunc};
use wasmtime::{Config, Engine, Store};

const LIFECYCLE: &str = "airssys:core/component-lifecycle@1.0.0";

/// The types of `handle-message`, borrowing as the library's own do.
mod contract {
    use wasmtime::component::{ComponentType, Lift, Lower};

    #[derive(ComponentType, Lower, Clone, Copy)]
    #[component(record)]
    pub struct ComponentId<'a> {
        pub namespace: &'a str,
        pub name: &'a str,
        pub instance: &'a str,
    }

    #[derive(ComponentType, Lower, Clone, Copy)]
    #[component(record)]
    pub struct Timestamp {
        pub seconds: u64,
        pub nanoseconds: u32,
    }

    #[derive(ComponentType, Lower)]
    #[component(record)]
    pub struct MessageMetadata<'a> {
        #[component(name = "correlation-id")]
        pub correlation_id: Option<&'a str>,
        #[component(name = "reply-to")]
        pub reply_to: Option<ComponentId<'a>>,
        pub timestamp: Timestamp,
        #[component(name = "content-type")]
        pub content_type: Option<&'a str>,
    }

    #[derive(ComponentType, Lower)]
    #[component(record)]
    pub struct ComponentMessage<'a> {
        pub sender: ComponentId<'a>,
        pub payload: &'a [u8],
        pub metadata: MessageMetadata<'a>,
    }

    #[derive(ComponentType, Lift, Debug)]
    #[component(variant)]
    #[expect(dead_code, reason = "the echo component answers with none of them")]
    pub enum WasmError {
        #[component(name = "component-not-found")]
        ComponentNotFound(String),
        #[component(name = "instantiation-failed")]
        InstantiationFailed(String),
        #[component(name = "export-not-found")]
        ExportNotFound(String),
        #[component(name = "timeout")]
        Timeout,
        #[component(name = "resource-limit-exceeded")]
        ResourceLimitExceeded(String),
        #[component(name = "invalid-component")]
        InvalidComponent(String),
        #[component(name = "runtime-error")]
        RuntimeError(String),
    }
}

type Answer = (Result<Option<Vec<u8>>, contract::WasmError>,);

const ROUNDS: usize = 40;
const ROUND_TIME: Duration = Duration::from_millis(20);

fn main() {
    let wasm = airssys_wasm_guests::bytes("echo");
    let (raw, ours) = (Raw::new(&wasm), Ours::new(&wasm));
    println!("one call, echo component: airssys_engine_call against wasmtime call_async");
    println!("(medians of {ROUNDS} rounds in turns; ratio: median of the ratios of each round)\n");
    println!("{:>10} {:>14} {:>14} {:>8}", "payload", "wasmtime", "airssys", "ratio");
    let mut raw = raw;
    for size in [16, 1 << 10, 64 << 10, 1 << 20] {
        let payload = vec![7_u8; size];
        assert_eq!(raw.call(&payload).as_deref(), Some(payload.as_slice()));
        assert_eq!(ours.call(&payload).as_deref(), Some(payload.as_slice()));
        let [raw_time, our_time, ratio] =
            compare(|| drop(black_box(raw.call(&payload))), || ours.call_and_free(&payload));
        println!("{size:>8} B {raw_time:>11.0} ns {our_time:>11.0} ns {ratio:>7.2}x");
    }

    println!("\nloading the same binary again: instantiate, initialize, metadata, health");
    let [raw_time, our_time, ratio] = compare(|| raw.instantiate(), || ours.load_and_unload());
    println!("{:>10} {raw_time:>11.0} ns {our_time:>11.0} ns {ratio:>7.2}x", "");
    println!("(wasmtime: store and instantiate_async only; airssys: load and unload)");
}

/// Median nanoseconds of both, and the median of their ratios.
fn compare(mut baseline: impl FnMut(), mut subject: impl FnMut()) -> [f64; 3] {
    let iterations = calibrate(&mut baseline).min(calibrate(&mut subject));
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let (a, b) = (time(&mut baseline, iterations), time(&mut subject, iterations));
        for (samples, sample) in samples.iter_mut().zip([a, b, b / a]) {
            samples.push(sample);
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    })
}

fn calibrate(work: &mut impl FnMut()) -> u32 {
    let mut iterations = 1;
    loop {
        let start = Instant::now();
        (0..iterations).for_each(|_| work());
        if start.elapsed() >= ROUND_TIME {
            return iterations;
        }
        iterations *= 2;
    }
}

fn time(work: &mut impl FnMut(), iterations: u32) -> f64 {
    let start = Instant::now();
    (0..iterations).for_each(|_| work());
    start.elapsed().as_nanos() as f64 / f64::from(iterations)
}

/// Wasmtime as the library uses it, and nothing else.
struct Raw {
    engine: Engine,
    pre: InstancePre<()>,
    store: Store<()>,
    handle_message: Func,
}

impl Raw {
    fn new(wasm: &[u8]) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false).consume_fuel(true).epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, wasm).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let mut store = Self::store(&engine);
        let instance = ready(pre.instantiate_async(&mut store)).unwrap();
        let lifecycle = component.get_export_index(None, LIFECYCLE).unwrap();
        let export = component.get_export_index(Some(&lifecycle), "handle-message").unwrap();
        let handle_message = instance.get_func(&mut store, export).unwrap();
        handle_message.typed::<(contract::ComponentMessage<'_>,), Answer>(&store).unwrap();
        Self { engine, pre, store, handle_message }
    }

    fn store(engine: &Engine) -> Store<()> {
        let mut store = Store::new(engine, ());
        store.set_fuel(u64::MAX).unwrap();
        store.set_epoch_deadline(1);
        store
    }

    fn instantiate(&self) {
        let mut store = Self::store(&self.engine);
        black_box(ready(self.pre.instantiate_async(&mut store)).unwrap());
    }

    fn call(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let message = contract::ComponentMessage {
            sender: contract::ComponentId { namespace: "host", name: "bench", instance: "0" },
            payload,
            metadata: contract::MessageMetadata {
                correlation_id: None,
                reply_to: None,
                timestamp: contract::Timestamp { seconds: 0, nanoseconds: 0 },
                content_type: None,
            },
        };
        // SAFETY: `new` has held the function against these types.
        let call = unsafe {
            TypedFunc::<(contract::ComponentMessage<'_>,), Answer>::new_unchecked(
                self.handle_message,
            )
        };
        ready(call.call_async(&mut self.store, (message,))).unwrap().0.unwrap()
    }
}

/// Polls a future that has nothing to wait for.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

/// The library, through its C functions.
struct Ours {
    engine: *mut airssys_engine_t,
    echo: u64,
    wasm: Vec<u8>,
}

impl Ours {
    fn new(wasm: &[u8]) -> Self {
        let mut engine = ptr::null_mut();
        // SAFETY: valid arguments.
        let status = unsafe { airssys_engine_new(ptr::null(), &mut engine, ptr::null_mut()) };
        assert_eq!(status, AIRSSYS_OK);
        let mut ours = Self { engine, echo: 0, wasm: wasm.to_vec() };
        ours.echo = ours.load("bench/echo/0");
        ours
    }

    fn load(&self, id: &str) -> u64 {
        let (id, mut handle) = (CString::new(id).unwrap(), 0);
        // SAFETY: a live engine and valid arguments.
        let status = unsafe {
            airssys_engine_load(
                self.engine,
                id.as_ptr(),
                self.wasm.as_ptr(),
                self.wasm.len(),
                ptr::null(),
                &mut handle,
                ptr::null_mut(),
            )
        };
        assert_eq!(status, AIRSSYS_OK);
        handle
    }

    fn load_and_unload(&self) {
        let handle = self.load("bench/echo/1");
        // SAFETY: a live engine.
        let status = unsafe { airssys_engine_unload(self.engine, handle, ptr::null_mut()) };
        assert_eq!(status, AIRSSYS_OK);
    }

    fn raw_call(&self, payload: &[u8]) -> airssys_bytes_t {
        let mut reply = airssys_bytes_t { data: ptr::null_mut(), len: 0, capacity: 0 };
        // SAFETY: a live engine and valid arguments.
        let status = unsafe {
            airssys_engine_call(
                self.engine,
                self.echo,
                payload.as_ptr(),
                payload.len(),
                ptr::null(),
                &mut reply,
                ptr::null_mut(),
            )
        };
        assert_eq!(status, AIRSSYS_OK);
        reply
    }

    fn call_and_free(&self, payload: &[u8]) {
        let mut reply = self.raw_call(payload);
        black_box(reply.data);
        // SAFETY: a reply that was just received.
        unsafe { airssys_bytes_free(&mut reply) };
    }

    fn call(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut reply = self.raw_call(payload);
        let copy = (!reply.data.is_null())
            // SAFETY: a reply that was just received.
            .then(|| unsafe { std::slice::from_raw_parts(reply.data, reply.len) }.to_vec());
        // SAFETY: as above.
        unsafe { airssys_bytes_free(&mut reply) };
        copy
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // SAFETY: the engine is not used again.
        unsafe { airssys_engine_free(self.engine) };
    }
}
