//! The rundown of an engine, used as `ffi/engine.rs` uses it.
//!
//! With loom every order of the threads is tried. Without it each model runs once, for Miri, which
//! sees what is freed and who may point there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

#[cfg(feature = "loom")]
use loom::{cell::UnsafeCell, model, thread};
#[cfg(not(feature = "loom"))]
use std::thread;

use airssys_wasm_models::ffi::rundown::{Owned, Rundown, RundownGuard};

#[cfg(not(feature = "loom"))]
fn model(run: impl Fn() + Send + Sync + 'static) {
    run();
}

/// What is freed.
struct Object {
    rundown: Arc<Rundown<Object>>,
    /// Loom objects to a change that does not come after all uses.
    #[cfg(feature = "loom")]
    content: UnsafeCell<()>,
    uses: AtomicUsize,
    drops: Arc<AtomicUsize>,
}

impl Drop for Object {
    fn drop(&mut self) {
        #[cfg(feature = "loom")]
        self.content.with_mut(|_| ());
        self.drops.fetch_add(1, SeqCst);
    }
}

/// The handle that a host has.
#[derive(Clone, Copy)]
struct Handle(*mut Object);

// SAFETY: the object may be used and dropped on any thread.
unsafe impl Send for Handle {}

/// A call that is inside. References to what may be freed during a function must not be arguments
/// of it: as an argument, or what a closure has captured, a call goes in a box.
struct Call {
    object: &'static Object,
    _guard: RundownGuard<'static, Object>,
}

impl Handle {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        Self(Box::into_raw(Box::new(Object {
            rundown: Arc::default(),
            #[cfg(feature = "loom")]
            content: UnsafeCell::new(()),
            uses: AtomicUsize::new(0),
            drops: Arc::clone(drops),
        })))
    }

    fn enter(self) -> Box<Call> {
        // SAFETY: no model enters after `free`.
        let object = unsafe { &*self.0 };
        Box::new(Call { object, _guard: object.rundown.protect() })
    }

    fn free(self, wait: bool) {
        // SAFETY: comes from `Box::into_raw`, and no model frees twice.
        let object = unsafe { Owned::new(self.0) }.unwrap();
        let rundown = Arc::clone(&object.rundown);
        rundown.close();
        if wait {
            rundown.wait_empty();
        }
        rundown.drop_when_empty(object);
    }
}

impl Call {
    fn use_object(&self) {
        #[cfg(feature = "loom")]
        self.object.content.with(|_| ());
        self.object.uses.fetch_add(1, Relaxed);
        assert_eq!(self.object.drops.load(SeqCst), 0, "used after it was freed");
    }
}

#[test]
fn who_frees_waits_for_two_calls() {
    model(|| {
        let drops = Arc::default();
        let handle = Handle::new(&drops);
        let calls = [(); 2].map(|()| {
            let call = handle.enter();
            thread::spawn(move || call.use_object())
        });
        handle.free(true);
        assert_eq!(drops.load(SeqCst), 1, "freed when `free` returns");
        for call in calls {
            call.join().unwrap();
        }
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn the_last_to_leave_frees() {
    model(|| {
        let drops = Arc::default();
        let handle = Handle::new(&drops);
        let calls = [(); 2].map(|()| {
            let call = handle.enter();
            thread::spawn(move || call.use_object())
        });
        handle.free(false);
        for call in calls {
            call.join().unwrap();
        }
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn a_call_frees_what_it_is_inside_of() {
    model(|| {
        let drops = Arc::default();
        let handle = Handle::new(&drops);
        let (first, second) = (handle.enter(), handle.enter());
        let first = thread::spawn(move || {
            handle.free(false);
            first.use_object();
        });
        second.use_object();
        drop(second);
        first.join().unwrap();
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn calls_come_and_go_before() {
    model(|| {
        let drops = Arc::default();
        let handle = Handle::new(&drops);
        let (long, short) = (handle.enter(), handle.enter());
        let caller = thread::spawn(move || {
            short.use_object();
            drop(short);
            // May enter, because `free` is called only after this.
            handle.enter().use_object();
        });
        long.use_object();
        drop(long);
        handle.enter().use_object();
        caller.join().unwrap();
        handle.free(true);
        assert_eq!(drops.load(SeqCst), 1);
    });
}
