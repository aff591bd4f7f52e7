//! The guest's `cabi_realloc`, which the host calls to allocate arguments and results.

use std::alloc::{Layout, alloc, realloc};
use std::cell::Cell;

use guest_kit::types::LogLevel;
use guest_kit::{WasmError, host_services};

#[derive(Clone, Copy)]
enum Answer {
    Honest,
    Null,
    OutOfRange,
    Unaligned,
    Same,
    Trap,
    Loop,
    Reenter,
}

thread_local! {
    static ANSWER: Cell<Answer> = const { Cell::new(Answer::Honest) };
}

/// Answers the host's next allocation as `kind` says.
pub fn arm(kind: &str) -> Result<(), WasmError> {
    ANSWER.set(match kind {
        "null" => Answer::Null,
        "out-of-range" => Answer::OutOfRange,
        "unaligned" => Answer::Unaligned,
        "same" => Answer::Same,
        "trap" => Answer::Trap,
        "loop" => Answer::Loop,
        "reenter" => Answer::Reenter,
        other => return Err(WasmError::RuntimeError(format!("unknown answer: {other}"))),
    });
    Ok(())
}

/// Overrides the one that wit-bindgen links weakly.
///
/// # Safety
///
/// That of `std::alloc`. If it is armed, nobody in this guest may use the result.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    size: usize,
) -> *mut u8 {
    match ANSWER.replace(Answer::Honest) {
        Answer::Honest => {}
        Answer::Null => return std::ptr::null_mut(),
        Answer::OutOfRange => return 0xffff_0000_usize as *mut u8,
        Answer::Unaligned => return 3 as *mut u8,
        Answer::Same => {
            // Until the instance ends, everything the host writes overlaps, in unused memory.
            ANSWER.set(Answer::Same);
            return 16 as *mut u8;
        }
        Answer::Trap => std::process::abort(),
        #[expect(clippy::empty_loop, reason = "only a limit may end it")]
        Answer::Loop => loop {},
        Answer::Reenter => host_services::log(LogLevel::Info, "reentered", None),
    }
    if size == 0 {
        return align as *mut u8;
    }
    // SAFETY: sizes and alignment come from the host, as the Canonical ABI requires.
    unsafe {
        if old_size == 0 {
            alloc(Layout::from_size_align_unchecked(size, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_size, align), size)
        }
    }
}
