//! Functions of the host that components call.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::core::bounds::{MAX_ERROR_TEXT_BYTES, cut};
use crate::core::ports::{FunctionAnswer, FunctionCall, HostInterface};
use crate::ffi::arguments::{Sized0, Versioned, arguments};
use crate::ffi::boundary::boundary;
use crate::ffi::config::airssys_config_t;
use crate::ffi::error::{airssys_error_t, c_text};
use crate::ffi::failure::Failure;
use crate::ffi::host_call::HostFn;
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::on_engine;
use crate::ffi::status::{AIRSSYS_OK, airssys_status_t};
use crate::ffi::user_data::UserData;
use crate::ffi::writer::{airssys_writer_t, max_answer_bytes};
use crate::runtime::host::functions::OfferedInterface;

/// Result of `call` of an interface, for `airssys_writer_finish`: the host answers later, with
/// `airssys_engine_answer`.
pub const AIRSSYS_ANSWERS_LATER: i32 = -1;

/// A call of a function of the host. All pointers are valid until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_function_call_t {
    /// `sizeof(airssys_function_call_t)` in the library.
    pub size: usize,
    /// The interface as the component imports it, for example `editor:api/buffer@1.0.0`.
    pub interface: *const c_char,
    /// The function, for example `get-line`.
    pub function: *const c_char,
    /// The calling component, `namespace/name/instance`.
    pub caller: *const c_char,
    /// Its handle.
    pub handle: u64,
    /// The arguments, a JSON array without a final NUL. `airssys_engine_invoke` has the mapping.
    pub args_json: *const c_char,
    /// Its length in bytes.
    pub args_len: usize,
    /// The name of the call for `airssys_engine_answer`, in the engine of the component.
    pub token: u64,
}

/// The functions of an interface.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct airssys_interface_t {
    /// `sizeof(airssys_interface_t)`.
    pub size: usize,
    /// Passed to every callback.
    pub user_data: *mut c_void,
    /// Called once, after the last use of `user_data`; may be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Calls a function; the component waits for its answer. Required.
    ///
    /// It runs on any thread, several at once for different components, and always on a native
    /// stack. It may block: only the calling component waits, and its time limit ends the wait. It
    /// may call any function except `airssys_engine_shutdown` of its own engine, and must not
    /// unwind into the library.
    ///
    /// It must set its result with `airssys_writer_finish`:
    ///
    /// - `AIRSSYS_OK`: `airssys_writer_write` has written the result in JSON, or nothing if the
    ///   function has none. A result that does not fit the function's type is a trap of the
    ///   component.
    /// - `AIRSSYS_ANSWERS_LATER`: `airssys_engine_answer` follows, on any thread.
    /// - Any other status: an error, with the text that it wrote. A function whose type is
    ///   `result<T, string>` returns the text as its error, one of `result<T>` returns its error
    ///   without the text, and any other traps.
    pub call: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            call: *const airssys_function_call_t,
            answer: *mut airssys_writer_t,
        ),
    >,
}

// SAFETY: `repr(C)`, `size` comes first, pointers and optional functions may be zero.
unsafe impl Sized0 for airssys_interface_t {
    const FIRST_SIZE: usize = 4 * size_of::<usize>();
}

/// Offers an interface of the host, whose functions components import and call with typed values.
///
/// A component may call the functions that `"host"` of its capabilities covers:
///
///     { "capabilities": { "host": ["editor:api/buffer#get-line", "editor:api/b*"] } }
///
/// A function without a right fails as one with an error does, see `airssys_interface_t`. The audit
/// and policies know the calls as `host.function` on `editor:api/buffer#get-line`.
///
/// - `config`: borrowed. Engines made from it afterwards have the interface.
/// - `name`: borrowed text, `namespace:package/interface`, with or without `@version`. An interface
///   serves imports of its version and of older compatible ones, as semantic versioning has it; one
///   without a version serves all. `airssys:` and `wasi:` belong to this library.
/// - `interface_`: borrowed, copied. On success the library owns its `user_data`: it calls
///   `drop(user_data)` once, when neither the configuration nor an engine made from it uses it any
///   more. On an error it does not call `drop`.
/// - `error`: may be NULL.
///
/// The types are those that the component imports: the host gets and returns their JSON, see
/// `airssys_engine_invoke`. An interface has functions and types; a component that imports a
/// resource of it is refused.
///
/// Any thread; callable from callbacks.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `call`, a wrong `size`, a
/// malformed name, or one that is offered already) or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_config_add_interface(
    config: *mut airssys_config_t,
    name: *const c_char,
    interface_: *const airssys_interface_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { config: Object, name: Text, interface_: Versioned, error: Out });
    boundary(error, || {
        let (config, name) = (config.required()?, name.required()?);
        let mut config = config.lock();
        // The callbacks are taken over last: after an error their data is still the host's.
        let name = config
            .offered_name(name)
            .map_err(|error| Failure::argument("name", &error.to_string()))?;
        let interface = Arc::new(HostFunctions::new(&interface_)?);
        config.interfaces.push(OfferedInterface { name, interface });
        Ok(())
    })
}

/// Answers a call of a host function for which `call` returned `AIRSSYS_ANSWERS_LATER`.
///
/// - `engine`: borrowed, the engine of the calling component.
/// - `token`: from the call.
/// - `status`: `AIRSSYS_OK`, or any other status: an error.
/// - `data`, `len`: borrowed, copied: the result in JSON, or the text of the error; (NULL, 0) is
///   none.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks, `call` included.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (answered already, or the component does
/// not wait any more: its time passed, or it was interrupted), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
/// `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_answer(
    engine: *mut airssys_engine_t,
    token: u64,
    status: airssys_status_t,
    data: *const u8,
    len: usize,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, data[len]: Slice, error: Out });
    on_engine(engine, error, |engine| {
        let data = data.get()?;
        let outcome = match status {
            AIRSSYS_OK => Ok(data.to_vec()),
            _ => Err(text_of(data)),
        };
        Ok(engine.answer_function(token, outcome)?)
    })
}

/// Returns the text of an error of the host's.
fn text_of(bytes: &[u8]) -> String {
    match bytes {
        [] => "the host gave no reason".to_owned(),
        bytes => cut(&String::from_utf8_lossy(bytes), MAX_ERROR_TEXT_BYTES).into_owned(),
    }
}

/// The host's callbacks as an interface.
struct HostFunctions {
    user_data: UserData,
    call: unsafe extern "C" fn(*mut c_void, *const airssys_function_call_t, *mut airssys_writer_t),
}

impl HostFunctions {
    /// Takes over the host's callbacks, with their `user_data`.
    fn new(interface: &Versioned<'_, airssys_interface_t>) -> Result<Self, Failure> {
        let interface = interface.required()?;
        let call = interface.call.ok_or_else(|| Failure::argument("interface_.call", "is NULL"))?;
        Ok(Self { call, user_data: UserData::new(interface.user_data, interface.drop) })
    }
}

impl HostInterface for HostFunctions {
    fn call(&self, call: &FunctionCall<'_>) -> FunctionAnswer {
        let text = |text: &str| c_text(text.to_owned());
        let (interface, function) = (text(call.interface), text(call.function));
        let caller = text(call.caller.id.as_str());
        let c_call = airssys_function_call_t {
            size: size_of::<airssys_function_call_t>(),
            interface: interface.as_ptr(),
            function: function.as_ptr(),
            caller: caller.as_ptr(),
            handle: call.caller.handle.0,
            args_json: call.arguments.as_ptr().cast(),
            args_len: call.arguments.len(),
            token: call.token,
        };
        let asked = airssys_writer_t::ask("function", max_answer_bytes(), |answer| {
            // SAFETY: the host's own function and data, with a call and a writer that live until it
            // returns.
            unsafe { self.call.call((self.user_data.pointer(), &raw const c_call, answer)) }
        });
        match asked {
            Err(reason) => FunctionAnswer::Now(Err(reason)),
            Ok(answer) => match answer.result {
                AIRSSYS_OK => FunctionAnswer::Now(Ok(answer.bytes)),
                AIRSSYS_ANSWERS_LATER => FunctionAnswer::Later,
                _ => FunctionAnswer::Now(Err(text_of(&answer.bytes))),
            },
        }
    }
}
