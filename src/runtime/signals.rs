//! Handlers that the host installs after Wasmtime's: without those a guest's trap is the end of the process.
//!
//! Wasmtime passes on what is no guest's to the handler that was there before it. That is one of this library,
//! which knows the host's, whenever they came: so Wasmtime's can be put back in front of them.

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

/// Runs a guest, in which a fault is a trap.
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

    /// What becomes of one signal. Actions are never freed, because a handler may be using them.
    struct Slot {
        signal: c_int,
        /// Wasmtime's; null while there is none to put back.
        wasmtimes: AtomicPtr<Action>,
        /// What was there before.
        original: AtomicPtr<Action>,
        /// What was found in the place of Wasmtime's.
        later: AtomicPtr<Action>,
        /// The thread that is in `later`: what that passes on is for `original`.
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

    /// Puts this library's handlers where Wasmtime will find them; once in the process.
    pub fn before_first_engine() {
        BEFORE.call_once(|| {
            for slot in &SLOTS {
                slot.original.store(leaked(current(slot.signal)), Ordering::Release);
                install(slot.signal, &own());
            }
        });
    }

    /// Remembers Wasmtime's handlers; once in the process.
    pub fn after_first_engine() {
        AFTER.call_once(|| {
            for slot in &SLOTS {
                let found = current(slot.signal);
                if found.sa_sigaction == own().sa_sigaction {
                    // None has come: this signal is none of Wasmtime's here, or it has others before.
                    let original = slot.original.load(Ordering::Acquire);
                    // SAFETY: it was stored before, and is never freed.
                    install(slot.signal, unsafe { &*original });
                } else {
                    slot.wasmtimes.store(leaked(found), Ordering::Release);
                }
            }
        });
    }

    /// Puts Wasmtime's handlers back in front of those that have taken their place.
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

    /// What Wasmtime passes on goes to the host's latest handler. Uses nothing but atomics and system calls.
    extern "C" fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let Some(slot) = SLOTS.iter().find(|slot| slot.signal == signal) else { return };
        if super::IN_GUEST.get() && is_raised(info) {
            // By a handler of the host that got a guest's trap, has put Wasmtime's back, and wants the process
            // to end: the instruction runs again, and is Wasmtime's then.
            return;
        }
        // SAFETY: a system call without memory of ours.
        let thread = unsafe { libc::gettid() };
        let later = slot.later.load(Ordering::Acquire);
        if later.is_null() || slot.inside.load(Ordering::Relaxed) == thread {
            return call(slot.original.load(Ordering::Acquire), signal, info, context);
        }
        slot.inside.store(thread, Ordering::Relaxed);
        call(later, signal, info, context);
        slot.inside.store(0, Ordering::Relaxed);
    }

    /// Whether this process has sent the signal to itself.
    fn is_raised(info: *const libc::siginfo_t) -> bool {
        // SAFETY: the system hands a live struct over, whose sender is set where a process has sent it.
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
        // SAFETY: every action that is stored is one that the system has given, and never freed.
        let action = unsafe { &*action };
        if matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
            // The faulting instruction runs again, and what the system does then is done.
            return install(signal, action);
        }
        if action.sa_flags & libc::SA_SIGINFO == 0 {
            // SAFETY: without that flag the host has installed a function of one argument.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(action.sa_sigaction) };
            return handler(signal);
        }
        // SAFETY: with that flag the host has installed a function of three arguments.
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(action.sa_sigaction) };
        handler(signal, info, context);
    }

    fn own() -> Action {
        // SAFETY: all zeros is an action, with an empty mask.
        let mut action: Action = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = (pass_on as *const ()).addr();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
        action
    }

    fn current(signal: c_int) -> Action {
        // SAFETY: as in `own`; that is the default if the call should fail.
        let mut action: Action = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: no action is set, and the output is valid for writing.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        action
    }

    fn install(signal: c_int, action: &Action) {
        // SAFETY: an action that was the system's, or `own`, whose handler does what a handler may.
        unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    }

    fn leaked(action: Action) -> *mut Action {
        Box::leak(Box::new(action))
    }
}
