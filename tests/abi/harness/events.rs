//! An event callback that records events.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::callback::{bytes, text};
use crate::harness::engine::{Config, PATIENCE, check, eventually};

/// A copied event.
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: String,
    pub json: Value,
    pub payload: Option<Vec<u8>>,
}

type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// Records events. It is never freed.
pub struct Events {
    all: Mutex<Vec<Event>>,
    /// Changes of states, which most tests do not look at.
    states: Mutex<Vec<Event>>,
    more: Condvar,
    on_event: OnEvent,
    pub dropped: AtomicUsize,
    /// How many callbacks are running.
    running: AtomicUsize,
    pub overlapped: AtomicUsize,
}

impl Events {
    pub fn attach(
        config: &Config,
        on_event: impl Fn(&Event) + Send + Sync + 'static,
    ) -> &'static Self {
        let events: &'static Self = Box::leak(Box::new(Self {
            all: Mutex::default(),
            states: Mutex::default(),
            more: Condvar::new(),
            on_event: Box::new(on_event),
            dropped: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            overlapped: AtomicUsize::new(0),
        }));
        let vtable = airssys_events_t {
            size: size_of::<airssys_events_t>(),
            user_data: ptr::from_ref(events).cast_mut().cast(),
            drop: Some(drop_events),
            event: Some(event),
        };
        // SAFETY: a live configuration, and functions that fit `user_data`.
        check(|error| unsafe { airssys_config_set_events(config.raw(), &raw const vtable, error) })
            .expect("valid events");
        events
    }

    pub fn all(&self) -> Vec<Event> {
        self.all.lock().unwrap().clone()
    }

    /// The changes of a component's states so far, as `from to cause`.
    pub fn states(&self, component: &str) -> Vec<String> {
        let states = self.states.lock().unwrap();
        let its = states.iter().filter(|event| event.json["component"] == component);
        let word = |event: &Event, key: &str| event.json[key].as_str().unwrap().to_owned();
        its.map(|it| ["from", "to", "cause"].map(|key| word(it, key)).join(" ")).collect()
    }

    /// Waits until `count` changes of the component's states, or more, were told.
    pub fn states_told(&self, component: &str, count: usize) -> Vec<String> {
        eventually("the changes are told", || {
            let told = self.states(component);
            (told.len() >= count).then_some(told)
        })
    }

    /// Those changes as they came.
    pub fn state_events(&self) -> Vec<Event> {
        self.states.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        // Cleared lists would keep their room.
        *self.all.lock().unwrap() = Vec::new();
        *self.states.lock().unwrap() = Vec::new();
    }

    /// Waits for `count` of them.
    pub fn wait(&self, count: usize) -> Vec<Event> {
        let all = self.all.lock().unwrap();
        let (all, waited) =
            self.more.wait_timeout_while(all, PATIENCE, |all| all.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} events came", all.len());
        all.clone()
    }
}

fn events<'a>(user_data: *mut c_void) -> &'a Events {
    // SAFETY: made by `Events::attach`, and never freed.
    unsafe { &*user_data.cast::<Events>() }
}

unsafe extern "C" fn drop_events(user_data: *mut c_void) {
    events(user_data).dropped.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn event(user_data: *mut c_void, event: *const airssys_event_t) {
    // SAFETY: an event that is valid until we return.
    let (events, event) = (events(user_data), unsafe { &*event });
    assert_eq!(event.size, size_of::<airssys_event_t>());
    let at_once = events.running.fetch_add(1, Ordering::SeqCst);
    events.overlapped.fetch_max(at_once, Ordering::SeqCst);
    let event = Event {
        kind: text(event.kind),
        json: serde_json::from_str(&text(event.json)).expect("JSON"),
        payload: bytes(event.payload, event.payload_len),
    };
    if event.kind == "state" {
        events.states.lock().unwrap().push(event);
        events.running.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    (events.on_event)(&event);
    events.running.fetch_sub(1, Ordering::SeqCst);
    events.all.lock().unwrap().push(event);
    events.more.notify_all();
}
