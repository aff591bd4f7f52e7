//! A host's log and storage, as callbacks in Rust: they record, and do what a test tells them to.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use airssys_wasm::*;

use crate::harness::{Config, Outcome, PATIENCE, check};

/// A log record, copied.
#[derive(Debug, Clone)]
pub struct Record {
    pub level: airssys_log_level_t,
    pub component: Option<String>,
    pub message: String,
    pub context: Vec<(String, String)>,
    pub seconds: u64,
    pub nanoseconds: u32,
    /// Whether the callback ran on the stack that its thread was made with.
    pub native_stack: bool,
    pub thread: std::thread::ThreadId,
}

/// What a logger does with a record.
pub type OnRecord = Box<dyn Fn(&Record) + Send + Sync>;

struct LoggerData {
    on_record: OnRecord,
    dropped: Arc<AtomicUsize>,
}

/// The records that came so far.
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

    /// A logger that keeps everything.
    pub fn attach(&self, config: &Config) {
        let journal = self.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |record| journal.push(record));
    }
}

/// Registers a logger; the counter says how often its `user_data` was dropped.
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
            assert_eq!(dropped.load(Ordering::SeqCst), 0, "dropped in spite of the error");
            // SAFETY: on an error it still belongs to us.
            drop(unsafe { Box::from_raw(user_data.cast::<LoggerData>()) });
        })?;
    Ok(dropped)
}

unsafe extern "C" fn drop_logger(user_data: *mut c_void) {
    // SAFETY: made by `try_set_logger`; a second call would be caught by the allocator or the
    // counter, which is why the box is leaked instead of freed.
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

fn text(text: *const c_char) -> String {
    // SAFETY: every text of a callback is NUL-terminated and lives until it returns.
    unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned()
}

/// A decision of the record, copied; of a record of losses only the numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    pub decision: i32,
    pub component: String,
    pub action: String,
    pub resource: String,
    pub by: String,
    pub rule: String,
    pub lost_allowed: u64,
    pub lost_denied: u64,
}

/// What a host's audit callback has got so far.
#[derive(Clone, Default)]
pub struct AuditTrail(Arc<Mutex<Vec<Decision>>>);

struct AuditData(Box<dyn Fn(Decision) + Send + Sync>);

impl AuditTrail {
    /// Those behind the first `seen`.
    pub fn since(&self, seen: usize) -> Vec<Decision> {
        self.0.lock().unwrap()[seen..].to_vec()
    }

    pub fn push(&self, decision: Decision) {
        self.0.lock().unwrap().push(decision);
    }

    /// Keeps all that was refused, and all that was allowed too.
    pub fn attach(&self, config: &Config) {
        let trail = self.clone();
        set_audit(config, 1, move |decision| trail.push(decision));
    }
}

/// Registers an audit callback; its data is leaked, as others are when they are dropped.
pub fn set_audit(
    config: &Config,
    sample_allowed: u32,
    on_decision: impl Fn(Decision) + Send + Sync + 'static,
) {
    let audit = airssys_audit_t {
        size: size_of::<airssys_audit_t>(),
        user_data: Box::into_raw(Box::new(AuditData(Box::new(on_decision)))).cast(),
        drop: None,
        record: Some(record),
        sample_allowed,
    };
    // SAFETY: a live configuration, and a function that fits `user_data`.
    check(|error| unsafe { airssys_config_set_audit(config.raw(), &raw const audit, error) })
        .expect("a valid audit callback");
}

unsafe extern "C" fn record(user_data: *mut c_void, record: *const airssys_audit_record_t) {
    // SAFETY: made by `set_audit`, and a record that is valid until we return.
    let (data, record) = unsafe { (&*user_data.cast::<AuditData>(), &*record) };
    assert_eq!(record.size, size_of::<airssys_audit_record_t>());
    let lost = record.decision == AIRSSYS_AUDIT_LOST;
    let shown = |field: *const c_char| {
        assert_eq!(field.is_null(), lost, "texts are there unless records were lost");
        if lost { String::new() } else { text(field) }
    };
    (data.0)(Decision {
        decision: record.decision,
        component: shown(record.component),
        action: shown(record.action),
        resource: shown(record.resource),
        by: shown(record.by),
        rule: shown(record.rule),
        lost_allowed: record.lost_allowed,
        lost_denied: record.lost_denied,
    });
}

/// Whether the caller runs on the stack that the system knows for this thread.
pub fn on_native_stack() -> bool {
    let local = 0_u8;
    let address = (&raw const local).addr();
    let (mut bottom, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialized by the first call and destroyed once.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::uninit();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()), 0);
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut bottom, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    (bottom.addr()..bottom.addr() + size).contains(&address)
}

/// A place where a callback waits until the test lets it go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// In the callback: says that it is there, and waits.
    pub fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_timeout_while(state, PATIENCE, |(_, open)| !*open).unwrap());
    }

    /// In the test: waits until a callback is there.
    pub fn reached(&self) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let waited = changed.wait_timeout_while(state, PATIENCE, |(count, _)| *count == 0);
        assert!(!waited.unwrap().1.timed_out(), "no callback came to the gate");
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }

    /// A logger whose callback waits at the gate for every record that says `gate`.
    pub fn attach(&self, config: &Config) -> Journal {
        let (gate, journal) = (self.clone(), Journal::default());
        let keep = journal.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |record| {
            if record.message == "gate" {
                gate.pass();
            }
            keep.push(record);
        });
        journal
    }
}

/// As a result: the callback returns without one.
pub const NO_RESULT: airssys_storage_result_t = -12_345;

/// Where two log callbacks wait for each other, so that both have to run at the same time.
#[derive(Clone, Default)]
pub struct Meeting(Arc<(Mutex<usize>, Condvar)>);

impl Meeting {
    pub fn attach(&self, config: &Config) {
        let here = self.clone();
        set_logger(config, AIRSSYS_LOG_TRACE, move |_| {
            *here.0.0.lock().unwrap() += 1;
            here.0.1.notify_all();
            here.wait();
        });
    }

    fn wait(&self) -> bool {
        let there = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(there, PATIENCE, |count| *count < 2);
        !waited.unwrap().1.timed_out()
    }

    pub fn assert_met(&self) {
        assert!(self.wait(), "no two callbacks ran at the same time");
    }
}

/// What a scripted storage callback answers instead of the store: a result, and what is written.
pub type Answer = (airssys_storage_result_t, Vec<u8>);

type Script = Box<dyn Fn(&str, &str, &str) -> Option<Answer> + Send + Sync>;

/// A store in memory that records what it is asked.
pub struct Store {
    pub values: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub calls: Mutex<Vec<String>>,
    pub native_stack: Mutex<Vec<bool>>,
    pub dropped: AtomicUsize,
    /// Asked first, with operation, namespace and key.
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

    /// The callbacks; `exists` and `usage` only if they are wanted.
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
    // The reference stays, so that a second call is counted and not a crash.
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
        // Only what is large may be more than the component can hold.
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
            // SAFETY: the callback's own list, and text. After a refusal nothing is taken.
            assert_eq!(unsafe { airssys_keys_push(keys, key.as_ptr()) }, all_text);
        }
        return done(out);
    }
    // Backwards, because any order is allowed.
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
