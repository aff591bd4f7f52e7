//! Interfaces that the tests offer to components.

use std::ffi::c_void;

use airssys_wasm::*;
use serde_json::Value;

use crate::harness::callback::text;
use crate::harness::engine::{Config, Engine, Outcome, c, check};

/// A call as the host sees it.
pub struct Call {
    pub interface: String,
    pub function: String,
    pub caller: String,
    pub handle: u64,
    pub args: Value,
    pub token: u64,
}

/// What a test answers: a status, and what is written.
pub type Answer = (i32, String);

type Functions = dyn Fn(Call) -> Answer + Send + Sync;

pub fn ok(value: &Value) -> Answer {
    (AIRSSYS_OK, value.to_string())
}

pub fn failed(text: &str) -> Answer {
    (AIRSSYS_ERROR_RUNTIME, text.to_owned())
}

pub const LATER: i32 = AIRSSYS_ANSWERS_LATER;

unsafe extern "C" fn called(
    user_data: *mut c_void,
    call: *const airssys_function_call_t,
    answer: *mut airssys_writer_t,
) {
    // SAFETY: what `offer` passed, a call and a writer, valid until we return.
    let (functions, call) = unsafe { (&*user_data.cast::<Box<Functions>>(), &*call) };
    assert_eq!(call.size, size_of::<airssys_function_call_t>());
    // SAFETY: `args_len` bytes.
    let args = unsafe { std::slice::from_raw_parts(call.args_json.cast::<u8>(), call.args_len) };
    let (status, written) = functions(Call {
        interface: text(call.interface),
        function: text(call.function),
        caller: text(call.caller),
        handle: call.handle,
        args: serde_json::from_slice(args).expect("JSON"),
        token: call.token,
    });
    // SAFETY: the callback's own writer, on its thread.
    unsafe {
        airssys_writer_write(answer, written.as_ptr(), written.len());
        airssys_writer_finish(answer, status);
    }
}

unsafe extern "C" fn dropped(user_data: *mut c_void) {
    // SAFETY: made by `try_offer`, dropped once.
    drop(unsafe { Box::from_raw(user_data.cast::<Box<Functions>>()) });
}

impl Config {
    pub fn try_offer(
        &self,
        name: &str,
        functions: impl Fn(Call) -> Answer + Send + Sync + 'static,
    ) -> Outcome {
        let functions: Box<Functions> = Box::new(functions);
        let user_data = Box::into_raw(Box::new(functions)).cast::<c_void>();
        let interface = airssys_interface_t {
            size: size_of::<airssys_interface_t>(),
            user_data,
            drop: Some(dropped),
            call: Some(called),
        };
        let name = c(name);
        // SAFETY: a live configuration, a text, and functions that fit their data.
        check(|error| unsafe {
            airssys_config_add_interface(self.raw(), name.as_ptr(), &raw const interface, error)
        })
        .inspect_err(|_| {
            // SAFETY: the library has not taken it over.
            unsafe { dropped(user_data) }
        })
    }

    pub fn offering(
        self,
        name: &str,
        functions: impl Fn(Call) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.try_offer(name, functions).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        self
    }
}

impl Engine {
    pub fn answer(&self, token: u64, (status, data): &Answer) -> Outcome {
        // SAFETY: a live engine and bytes.
        check(|error| unsafe {
            let (engine, len) = (self.raw(), data.len());
            airssys_engine_answer(engine, token, *status, data.as_ptr(), len, error)
        })
    }
}
