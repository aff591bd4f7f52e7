//! Keeps Wasmtime's signal handlers in front of handlers that the host installs later; without them
//! a guest's trap would end the process.
//!
//! Wasmtime forwards signals that no guest caused to the handler installed before its own. That one
//! belongs to this library, which forwards to the host's handlers, no matter when they were
//! installed. So Wasmtime's handlers can be reinstalled in front of them.

use std::cell::Cell;

#[cfg(not(target_os = "linux"))]
pub fn before_first_engine() {}

#[cfg(not(target_os = "linux"))]
pub fn after_first_engine() {}

#[cfg(not(target_os = "linux"))]
pub fn put_back() {}

thread_local! {
    static IN_GUEST: Cell<bool> = const { Cell::new(false) };
}

/// Runs a guest: a fault within `run` is a trap.
#[inline(always)]
pub fn in_guest<R>(run: impl FnOnce() -> R) -> R {
    let _outer = Outer(IN_GUEST.replace(true));
    run()
}

struct Outer(bool);

impl Drop for Outer {
    #[inline(always)]
    fn drop(&mut self) {
        IN_GUEST.set(self.0);
    }
}

#[cfg(target_os = "linux")]
pub use linux::{after_first_engine, before_first_engine, put_back};

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "signal handlers are a matter of system calls")]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::Once;
    use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

    type Action = libc::sigaction;

    /// The handlers of one signal. Actions are never freed: a handler may be using them.
    struct Slot {
        signal: c_int,
        /// Wasmtime's; null if there is none to reinstall.
        wasmtimes: AtomicPtr<Action>,
        /// The handler before this library's.
        original: AtomicPtr<Action>,
        /// The host's handler found in place of Wasmtime's.
        later: AtomicPtr<Action>,
        /// The thread running `later`. What `later` forwards goes to `original`.
        inside: AtomicI32,
    }

    impl Slot {
        const fn new(signal: c_int) -> Self {
            Self {
                signal,
                wasmtimes: AtomicPtr::new(ptr::null_mut()),
                original: AtomicPtr::new(ptr::null_mut()),
                later: AtomicPtr::new(ptr::null_mut()),
                inside: AtomicI32::new(0),
            }
        }
    }

    static SLOTS: [Slot; 3] =
        [Slot::new(libc::SIGSEGV), Slot::new(libc::SIGILL), Slot::new(libc::SIGFPE)];

    static BEFORE: Once = Once::new();
    static AFTER: Once = Once::new();

    /// Installs this library's handlers where Wasmtime will find them. Runs once per process.
    pub fn before_first_engine() {
        BEFORE.call_once(|| {
            for slot in &SLOTS {
                slot.original.store(leaked(current(slot.signal)), Ordering::Release);
                install(slot.signal, &own());
            }
        });
    }

    /// Records Wasmtime's handlers. Runs once per process.
    pub fn after_first_engine() {
        AFTER.call_once(|| {
            for slot in &SLOTS {
                let found = current(slot.signal);
                if found.sa_sigaction == own().sa_sigaction {
                    // Wasmtime installed none: it does not handle this signal here, or it was
                    // initialized earlier with other handlers before it.
                    let original = slot.original.load(Ordering::Acquire);
                    // SAFETY: it was stored above and is never freed.
                    install(slot.signal, unsafe { &*original });
                } else {
                    slot.wasmtimes.store(leaked(found), Ordering::Release);
                }
            }
        });
    }

    /// Reinstalls Wasmtime's handlers in front of those that replaced them.
    pub fn put_back() {
        for slot in &SLOTS {
            let wasmtimes = slot.wasmtimes.load(Ordering::Acquire);
            if wasmtimes.is_null() {
                continue;
            }
            // SAFETY: not null, and never freed.
            let wasmtimes = unsafe { &*wasmtimes };
            let found = current(slot.signal);
            if found.sa_sigaction == wasmtimes.sa_sigaction {
                continue;
            }
            let later = slot.later.load(Ordering::Acquire);
            // SAFETY: not null, and never freed.
            if later.is_null() || unsafe { (*later).sa_sigaction } != found.sa_sigaction {
                slot.later.store(leaked(found), Ordering::Release);
            }
            install(slot.signal, wasmtimes);
        }
    }

    /// Forwards what Wasmtime does not handle to the host's latest handler. Async-signal-safe: uses
    /// only atomics and system calls.
    extern "C" fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let Some(slot) = SLOTS.iter().find(|slot| slot.signal == signal) else { return };
        if super::IN_GUEST.get() && is_raised(info) {
            // A host handler received a guest's trap, reinstalled Wasmtime's handler, and wants the
            // process to end. Returning reruns the instruction, and Wasmtime handles the trap.
            return;
        }
        // SAFETY: a system call that touches none of our memory.
        let thread = unsafe { libc::gettid() };
        let later = slot.later.load(Ordering::Acquire);
        if later.is_null() || slot.inside.load(Ordering::Relaxed) == thread {
            return call(slot.original.load(Ordering::Acquire), signal, info, context);
        }
        slot.inside.store(thread, Ordering::Relaxed);
        call(later, signal, info, context);
        slot.inside.store(0, Ordering::Relaxed);
    }

    /// Returns whether this process sent the signal to itself.
    fn is_raised(info: *const libc::siginfo_t) -> bool {
        // SAFETY: the system passes a live struct, and sets its sender where a process sent the
        // signal.
        unsafe {
            let sent = (*info).si_code == libc::SI_TKILL || (*info).si_code == libc::SI_USER;
            sent && (*info).si_pid() == libc::getpid()
        }
    }

    fn call(
        action: *const Action,
        signal: c_int,
        info: *mut libc::siginfo_t,
        context: *mut c_void,
    ) {
        // SAFETY: every stored action came from the system and is never freed.
        let action = unsafe { &*action };
        if matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
            // The faulting instruction runs again and gets the system's treatment.
            return install(signal, action);
        }
        if action.sa_flags & libc::SA_SIGINFO == 0 {
            // SAFETY: without that flag the host installed a function of one argument.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(action.sa_sigaction) };
            return handler(signal);
        }
        // SAFETY: with that flag the host installed a function of three arguments.
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(action.sa_sigaction) };
        handler(signal, info, context);
    }

    fn own() -> Action {
        // SAFETY: all zeros is a valid action with an empty mask.
        let mut action: Action = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = (pass_on as *const ()).addr();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
        action
    }

    fn current(signal: c_int) -> Action {
        // SAFETY: as in `own`; the zeroed action is the default if the call fails.
        let mut action: Action = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: no action is set, and the output is valid for writing.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        action
    }

    fn install(signal: c_int, action: &Action) {
        // SAFETY: the action came from the system or from `own`, whose handler is
        // async-signal-safe.
        unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    }

    fn leaked(action: Action) -> *mut Action {
        Box::leak(Box::new(action))
    }
}
