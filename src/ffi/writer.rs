//! How callbacks of the host answer.

use thiserror::Error;

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, cut};
use crate::ffi::arguments::arguments;
use crate::ffi::boundary::quietly;

/// The most bytes that one callback may write, or one listing of keys may hold. A function, because
/// constants of this file become part of the header.
pub const fn max_answer_bytes() -> usize {
    256 << 20
}

/// The answer of a callback. It is valid only until the callback returns, and only on its thread.
pub struct airssys_writer_t {
    bytes: Vec<u8>,
    most_bytes: usize,
    result: Option<i32>,
    refused: Option<Refused>,
}

/// Why an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// An argument was NULL or not UTF-8.
    #[error("an impossible {0}")]
    Impossible(&'static str),
    /// The answer exceeds the room.
    #[error("more than {most_bytes} bytes")]
    TooMuch {
        /// The room.
        most_bytes: usize,
    },
}

/// The answer of a callback.
pub struct Answer {
    /// The argument of `airssys_writer_finish`.
    pub result: i32,
    /// The bytes that it wrote.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Returns an error, with the text of the callback if there is one.
    pub fn error<E>(
        &self,
        operation: &str,
        in_words: impl FnOnce(String) -> E,
        without: impl FnOnce(String) -> E,
    ) -> E {
        if self.bytes.is_empty() {
            return without(format!("the host's {operation} failed"));
        }
        let text = String::from_utf8_lossy(&self.bytes);
        in_words(cut(&text, MAX_ERROR_TEXT_BYTES).into_owned())
    }
}

impl airssys_writer_t {
    /// Runs a callback and returns its answer of at most `most_bytes`, or why there is none.
    pub fn ask(
        operation: &str,
        most_bytes: usize,
        callback: impl FnOnce(*mut airssys_writer_t),
    ) -> Result<Answer, String> {
        let mut writer = Self { bytes: Vec::new(), most_bytes, result: None, refused: None };
        callback(&raw mut writer);
        match (writer.result, writer.refused) {
            (None, _) => Err(format!("the host's {operation} gave no answer")),
            (Some(_), Some(refused)) => Err(format!("the host's {operation} gave {refused}")),
            (Some(result), None) => Ok(Answer { result, bytes: writer.bytes }),
        }
    }
}

/// Appends bytes to the answer of a callback.
///
/// `writer`: from the callback. `data`: borrowed; (NULL, 0) is empty. On the callback's thread
/// only; does not block.
///
/// Returns false and appends nothing if an argument is NULL, or if the answer would exceed 256 MiB
/// or, in `get`, what the component's `max-host-bytes` leaves. The component then gets an error,
/// whatever follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_writer_write(
    writer: *mut airssys_writer_t,
    data: *const u8,
    len: usize,
) -> bool {
    arguments!(unsafe { data[len]: Slice });
    quietly(|| {
        // SAFETY: by this function's contract NULL, or the callback's own writer, which only the
        // callback's thread uses meanwhile.
        let Some(writer) = (unsafe { writer.as_mut() }) else { return false };
        match data.get() {
            Ok(data) if data.len() <= writer.most_bytes - writer.bytes.len() => {
                writer.bytes.extend_from_slice(data);
            }
            Ok(_) => {
                let most_bytes = writer.most_bytes;
                writer.refused.get_or_insert(Refused::TooMuch { most_bytes });
            }
            Err(_) => _ = writer.refused.get_or_insert(Refused::Impossible("answer")),
        }
        writer.refused.is_none()
    })
}

/// Sets the result of a callback. Every callback with a writer must call it, on every path.
///
/// The last of several calls counts. Bytes written after it still belong to the answer.
///
/// `writer`: from the callback; NULL does nothing. `result`: an `airssys_storage_result_t` in
/// storage callbacks, an `airssys_status_t` in `route` of a router. On the callback's thread only;
/// does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_writer_finish(writer: *mut airssys_writer_t, result: i32) {
    // SAFETY: by this function's contract NULL, or the callback's own writer, which only the
    // callback's thread uses meanwhile.
    if let Some(writer) = unsafe { writer.as_mut() } {
        writer.result = Some(result);
    }
}
