//! Calls with arguments that no bindings generate, and results of that kind.

use std::arch::wasm32::memory_size;

use guest_kit::{Args, Reply, WasmError, text};

/// The functions as the Canonical ABI lowers them. The last parameter, except of `log`, is the
/// result pointer.
mod lowered {
    #[link(wasm_import_module = "airssys:core/host-services@1.0.0")]
    unsafe extern "C" {
        pub fn log(
            level: u32,
            message: usize,
            message_len: usize,
            has_context: u32,
            context: usize,
            context_len: usize,
        );
    }

    #[link(wasm_import_module = "airssys:core/storage@1.0.0")]
    unsafe extern "C" {
        pub fn get(key: usize, key_len: usize, result: usize);

        pub fn set(key: usize, key_len: usize, value: usize, value_len: usize, result: usize);
    }

    #[link(wasm_import_module = "airssys:core/host-messaging@1.0.0")]
    unsafe extern "C" {
        pub fn send(
            namespace: usize,
            namespace_len: usize,
            name: usize,
            name_len: usize,
            instance: usize,
            instance_len: usize,
            payload: usize,
            payload_len: usize,
            result: usize,
        );

        #[link_name = "cancel-request"]
        pub fn cancel_request(id: usize, id_len: usize, result: usize);

        pub fn broadcast(
            targets: usize,
            targets_len: usize,
            payload: usize,
            payload_len: usize,
            result: usize,
        );

        #[link_name = "self-id"]
        pub fn self_id(result: usize);
    }
}

/// Space for unused results, larger than any result.
#[repr(align(8))]
struct Results([u64; 16]);

pub fn handle(command: &str, mut args: Args<'_>) -> Reply {
    let mut results = Results([0; 16]);
    let result = &raw mut results.0 as usize;
    let (x, one) = ("x".as_ptr() as usize, 1);
    // SAFETY: the host must check its arguments. Results go to `results`, or to places that the
    // host must refuse.
    unsafe {
        match command {
            "raw-string" => {
                let (function, (start, size)) = (args.word()?, span(args.word()?)?);
                match function {
                    "log" => lowered::log(2, start, size, 0, 0, 0),
                    "get" => lowered::get(start, size, result),
                    "cancel" => lowered::cancel_request(start, size, result),
                    "send" => lowered::send(x, one, x, one, start, size, x, one, result),
                    other => return Args::unknown(other),
                }
            }
            "raw-bytes" => {
                let (function, (start, size)) = (args.word()?, span(args.word()?)?);
                match function {
                    "set" => lowered::set(x, one, start, size, result),
                    "send" => lowered::send(x, one, x, one, x, one, start, size, result),
                    other => return Args::unknown(other),
                }
            }
            "raw-list" => {
                let kind = args.word()?;
                // Three strings. The last one is malformed.
                let target = [x, one, x, one, INVALID.as_ptr() as usize, INVALID.len()];
                let (start, count) = match kind {
                    "inner" => (&raw const target as usize, 1),
                    "unaligned" => (result + 1, 1),
                    other => span(other)?,
                };
                lowered::broadcast(start, count, x, one, result);
            }
            "raw-enum" => lowered::log(args.number()?, x, one, 0, 0, 0),
            "raw-option" => lowered::log(2, x, one, args.number()?, result, 0),
            "raw-return" => {
                let place = match args.word()? {
                    "unaligned" => result + 1,
                    kind => span(kind)?.0,
                };
                lowered::self_id(place);
            }
            "raw-reply" => {
                return match args.word()? {
                    "invalid" => {
                        Err(WasmError::RuntimeError(String::from_utf8_unchecked(INVALID.into())))
                    }
                    kind => {
                        let (start, size) = span(kind)?;
                        Ok(Some(Vec::from_raw_parts(start as *mut u8, size, size)))
                    }
                };
            }
            other => return Args::unknown(other),
        }
    }
    text("ok")
}

const INVALID: &[u8] = b"app\xff\xfe";

/// The address and length of bytes that are invalid UTF-8 or out of bounds.
fn span(kind: &str) -> Result<(usize, usize), WasmError> {
    let end = memory_size(0) << 16;
    Ok(match kind {
        "invalid" => (INVALID.as_ptr() as usize, INVALID.len()),
        // A surrogate, which UTF-8 forbids.
        "surrogate" => (b"\xed\xa0\x80".as_ptr() as usize, 3),
        "out-of-range" => (usize::MAX - 0xffff, 8),
        "crossing" => (end - 8, 16),
        "wrapping" => (usize::MAX - 7, 16),
        "huge" => (8, usize::MAX),
        other => return Err(WasmError::RuntimeError(format!("unknown kind: {other}"))),
    })
}
