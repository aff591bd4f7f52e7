//! Failures that need no host function.

use std::alloc::{Layout, alloc};
use std::hint::black_box;
use std::num::NonZeroU32;

use crate::{Args, Reply, text};

/// The commands of [`misbehave`].
pub const COMMANDS: [&str; 9] =
    ["ok", "unreachable", "panic", "loop", "recurse", "alloc", "oob", "div0", "spin"];

/// Executes one of [`COMMANDS`]. `payload` is the whole command.
pub fn misbehave(command: &str, mut args: Args<'_>, payload: &[u8]) -> Reply {
    match command {
        "ok" => {}
        "unreachable" => std::process::abort(),
        "panic" => panic!("{}", args.rest_text()?),
        #[expect(clippy::empty_loop, reason = "only a limit may end it")]
        "loop" => loop {},
        "recurse" => return text(recurse(black_box(u32::MAX)).to_string()),
        "alloc" if payload == b"alloc" => exhaust_memory(),
        "alloc" => {
            black_box(vec![1_u8; args.number()?]);
        }
        "oob" => return text(read_out_of_bounds().to_string()),
        "div0" => return text(divide_by_zero().to_string()),
        "spin" => {
            black_box(spin(args.number()?));
        }
        other => return Args::unknown(other),
    }
    text("ok")
}

/// Not a tail call, nor a sum that could become one: every level takes a frame of the real stack
/// and nothing of the stack in linear memory.
fn recurse(depth: u32) -> u32 {
    if depth == 0 { 1 } else { recurse(depth - 1).rotate_left(5) ^ depth }
}

/// Allocates and touches memory until there is none left.
fn exhaust_memory() -> ! {
    let piece = Layout::new::<[u8; 1 << 20]>();
    loop {
        // SAFETY: the layout is not empty, and the write is in bounds.
        unsafe {
            let start = alloc(piece);
            if start.is_null() {
                std::process::abort();
            }
            start.write_bytes(1, piece.size());
            black_box(start);
        }
    }
}

fn read_out_of_bounds() -> u8 {
    let last = usize::MAX as *const u8;
    // SAFETY: none for Rust; the address is out of bounds, and the sandbox turns the read into a
    // trap.
    unsafe { black_box(last).read_volatile() }
}

fn divide_by_zero() -> u32 {
    // SAFETY: none; the false promise removes Rust's own check so that the instruction itself traps. The
    // zero is hidden from the optimizer, which therefore cannot build on it.
    let zero = unsafe { NonZeroU32::new_unchecked(black_box(0)) };
    black_box(7) / zero
}

/// Xorshift: each round needs the result of the previous one.
fn spin(rounds: u64) -> u64 {
    (0..rounds).fold(0x9E37_79B9, |mut x, _| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^ x << 17
    })
}
