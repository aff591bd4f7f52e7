//! Loggers that record, or run a closure of the test.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use airssys_wasm::*;

use crate::harness::callback::{on_native_stack, text};
use crate::harness::engine::{Config, Engine, Outcome, check};

/// A copied log record.
#[derive(Debug, Clone)]
pub struct Record {
    pub level: airssys_log_level_t,
    pub component: Option<String>,
    pub message: String,
    pub context: Vec<(String, String)>,
    pub seconds: u64,
    pub nanoseconds: u32,
    /// Whether the callback ran on its thread's native stack.
    pub native_stack: bool,
    pub thread: std::thread::ThreadId,
}

pub type OnRecord = Box<dyn Fn(&Record) + Send + Sync>;

struct LoggerData {
    on_record: OnRecord,
    dropped: Arc<AtomicUsize>,
}

/// The records received so far.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Record>>>);

impl Journal {
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    pub fn messages(&self) -> Vec<String> {
        self.records().into_iter().map(|record| record.message).collect()
    }

    /// The messages of one component.
    pub fn of(&self, component: &str) -> Vec<String> {
        let records = self.records().into_iter();
        let of = records.filter(|record| record.component.as_deref() == Some(component));
        of.map(|record| record.message).collect()
    }

    pub fn push(&self, record: &Record) {
        self.0.lock().unwrap().push(record.clone());
    }

    /// Registers a logger that records everything.
    pub fn attach(&self, config: &Config) {
        let journal = self.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |record| journal.push(record));
    }
}

/// Registers a logger. The counter is the number of times that its `user_data` was dropped.
pub fn set_logger(
    config: &Config,
    min_level: airssys_log_level_t,
    on_record: impl Fn(&Record) + Send + Sync + 'static,
) -> Arc<AtomicUsize> {
    try_set_logger(config, min_level, on_record).expect("a valid logger")
}

pub fn try_set_logger(
    config: &Config,
    min_level: airssys_log_level_t,
    on_record: impl Fn(&Record) + Send + Sync + 'static,
) -> Outcome<Arc<AtomicUsize>> {
    let dropped = Arc::new(AtomicUsize::new(0));
    let data = LoggerData { on_record: Box::new(on_record), dropped: Arc::clone(&dropped) };
    let user_data = Box::into_raw(Box::new(data)).cast();
    let logger = airssys_logger_t {
        size: size_of::<airssys_logger_t>(),
        user_data,
        drop: Some(drop_logger),
        log: Some(log),
        min_level,
    };
    // SAFETY: a live configuration, and functions that fit `user_data`.
    check(|error| unsafe { airssys_config_set_logger(config.raw(), &raw const logger, error) })
        .inspect_err(|_| {
            assert_eq!(dropped.load(Ordering::SeqCst), 0, "dropped despite the error");
            // SAFETY: after an error the data still belongs to the caller.
            drop(unsafe { Box::from_raw(user_data.cast::<LoggerData>()) });
        })?;
    Ok(dropped)
}

unsafe extern "C" fn drop_logger(user_data: *mut c_void) {
    // SAFETY: made by `try_set_logger` and never freed, so that the counter can show a second call.
    let data = unsafe { &*user_data.cast::<LoggerData>() };
    data.dropped.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn log(user_data: *mut c_void, record: *const airssys_log_record_t) {
    // SAFETY: made by `try_set_logger`, and a record that is valid until we return.
    let (data, record) = unsafe { (&*user_data.cast::<LoggerData>(), &*record) };
    assert_eq!(record.size, size_of::<airssys_log_record_t>());
    // SAFETY: the message has that many bytes and a NUL behind them.
    let message = unsafe {
        assert_eq!(record.message.add(record.message_len).read(), 0);
        std::slice::from_raw_parts(record.message.cast::<u8>(), record.message_len)
    };
    assert_eq!(record.context_keys.is_null(), record.context_len == 0);
    let pair = |n: usize| {
        // SAFETY: `n` is below `context_len`.
        unsafe { (text(*record.context_keys.add(n)), text(*record.context_values.add(n))) }
    };
    (data.on_record)(&Record {
        level: record.level,
        component: (!record.component.is_null()).then(|| text(record.component)),
        message: String::from_utf8(message.to_vec()).expect("UTF-8"),
        context: (0..record.context_len).map(pair).collect(),
        seconds: record.seconds,
        nanoseconds: record.nanoseconds,
        native_stack: on_native_stack(),
        thread: std::thread::current().id(),
    });
}

/// An engine whose log callback can use the engine. The results of the callback are kept. The
/// engine is leaked because its own callback may be its last user.
pub fn with_callback<R: Send + 'static>(
    act: impl Fn(&Engine, &Record) -> Option<R> + Send + Sync + 'static,
) -> (&'static Engine, Arc<Mutex<Vec<R>>>) {
    let engine: Arc<OnceLock<&'static Engine>> = Arc::default();
    let results: Arc<Mutex<Vec<R>>> = Arc::default();
    let (config, within, kept) = (Config::new(), Arc::clone(&engine), Arc::clone(&results));
    set_logger(&config, AIRSSYS_LOG_TRACE, move |record| {
        if let Some(result) = act(within.get().expect("it was made"), record) {
            kept.lock().unwrap().push(result);
        }
    });
    let made = Box::leak(Box::new(config.engine()));
    assert!(engine.set(made).is_ok());
    (made, results)
}

pub fn own_handle(engine: &Engine, record: &Record) -> u64 {
    engine.find(record.component.as_deref().unwrap()).unwrap()
}
