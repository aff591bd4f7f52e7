//! Typed calls of exported functions.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::core::id::ComponentHandle;
use crate::core::message::Invocation;
use crate::ffi::arguments::{Text, Versioned, arguments};
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::failure::Failure;
use crate::ffi::message::{
    AIRSSYS_MESSAGE_ENDS_WITH_SENDER, AIRSSYS_MESSAGE_PACKED_LISTS, airssys_message_options_t,
    message_of,
};
use crate::ffi::on_engine::airssys_engine_t;
use crate::ffi::on_engine::answer;
use crate::ffi::request::{airssys_reply_fn_t, completion};
use crate::ffi::stack;
use crate::ffi::status::airssys_status_t;
use crate::system::sending::{HostMessage, Patience};

/// The longest name of a function, in bytes.
const MAX_FUNCTION_BYTES: usize = 1024;

/// Returns a typed call as a message.
fn invocation<'a>(
    function: &Text<'a>,
    args_json: &Text<'a>,
    options: &Versioned<'a, airssys_message_options_t>,
) -> Result<(HostMessage<'a>, Patience), Failure> {
    let function = function.required()?;
    if function.len() > MAX_FUNCTION_BYTES {
        let problem = format!("is longer than {MAX_FUNCTION_BYTES} bytes");
        return Err(Failure::argument("function", &problem));
    }
    let json = args_json.optional()?.unwrap_or_default();
    let known = AIRSSYS_MESSAGE_ENDS_WITH_SENDER | AIRSSYS_MESSAGE_PACKED_LISTS;
    let (message, patience, flags) = message_of(json.as_bytes(), options, known)?;
    let packed = flags & AIRSSYS_MESSAGE_PACKED_LISTS != 0;
    let invocation = Some(Arc::new(Invocation { function: function.into(), packed }));
    Ok((HostMessage { invocation, ..message }, patience))
}

/// Calls an exported function of a component with typed values, and waits for the result.
///
/// It works for every component, with or without `component-lifecycle`. The call is a message like
/// any other: mailbox, order, limits, supervision and counters apply, and a trap ends the instance.
///
/// - `engine`: borrowed. `handle`: the receiver.
/// - `function`: borrowed text. `add` is a function of the component itself;
///   `docs:calc/ops@0.1.0#add` is one of an exported interface, whose version may be left out if
///   only one is exported; `docs:calc/ops#[constructor]list`, `...#[method]list.push` and
///   `...#[static]list.of` are those of a resource. `docs:calc/ops#[resource-drop]list` drops the
///   resource of a handle, its only argument.
/// - `args_json`: borrowed text: an array of the arguments in order, or an object of them by the
///   names of the parameters. NULL: no arguments.
/// - `options`: borrowed, may be NULL.
/// - `out_json`: receives the result, which the caller owns: JSON without a final NUL; `null` if
///   the function has none.
/// - `error`: may be NULL.
///
/// Any thread, several at once; callable from callbacks. Blocks as `airssys_engine_call` does, and
/// runs on the same stacks.
///
/// Values and their JSON, in both directions:
///
///     bool                      true, false
///     s8 ... s32, u8 ... u32    a number
///     s64, u64                  a number with all its digits; a string of digits is accepted too
///     f32, f64                  a number, or "NaN", "Infinity", "-Infinity"
///     char                      a string of one character
///     string                    a string
///     list<u8>                  a string, base64 with padding; an array is accepted too
///     list<T>                   an array; of numbers or bools also a string, see below
///     record                    an object by field; a missing option field is none
///     tuple                     an array
///     option<T>                 null, or the value; in option<option<T>> also {"some": value}
///     result<T, E>              {"ok": value} or {"err": value}, with null for no value
///     variant                   "case", or {"case": value} for a case with a payload
///     enum                      "case"
///     flags                     an array of the names that are set
///     own<T>, borrow<T>         a number, the handle of the resource
///
/// A list of numbers or bools may also be passed as base64 of its elements, little-endian and
/// without gaps, which is much faster for long ones. With `AIRSSYS_MESSAGE_PACKED_LISTS` results
/// have this form.
///
/// A handle stands for a resource of one instance, so a component with resources should have one
/// instance. It is valid until it is dropped, passed on as `own`, or its instance ends; handles are
/// never reused. An instance can have 65,536.
///
/// Arguments are checked before the component is entered.
///
/// `wasi:cli/run` without `#run` runs the component as a command-line program, in an instance of
/// its own that begins anew and ends with the run: a trap ends the run and is no crash of the
/// component. `args_json` is an array of strings, the arguments after the program's name, or
/// `{"args": [...], "stdin": "..."}`. The program's name is that of the component. The result is
/// `{"status": 0, "stdout": "...", "stderr": "..."}`: the exit status, and the output as text, with
/// U+FFFD for what is not UTF-8. With `AIRSSYS_MESSAGE_PACKED_LISTS` input and output are base64.
/// Output counts against `max-host-bytes`, and the result against `max-message-bytes`.
///
/// Returns `AIRSSYS_OK`, also if the function returns a `result` that is an error, or:
///
/// - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: no such function. The message names near ones.
/// - `AIRSSYS_ERROR_INVALID_ARGUMENT`: an argument does not fit. The message has its place and what
///   was expected: `args[1].name: expected string, got 3`.
/// - `AIRSSYS_ERROR_UNSUPPORTED`: the function is asynchronous.
/// - `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
///   `AIRSSYS_ERROR_INTERRUPTED`, `AIRSSYS_ERROR_RUNTIME`.
/// - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: no such handle, or unloaded before it answered.
/// - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
///   `airssys_engine_start`.
/// - `AIRSSYS_ERROR_INSTANTIATION_FAILED`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_INVALID_ID`,
///   `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
///   `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`: as of `airssys_engine_call`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_invoke(
    engine: *mut airssys_engine_t,
    handle: u64,
    function: *const c_char,
    args_json: *const c_char,
    options: *const airssys_message_options_t,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe {
        engine: Object,
        function: Text,
        args_json: Text,
        options: Versioned,
        out_json: Out,
        error: Out,
    });
    answer(engine, out_json, error, |engine| {
        let (message, patience) = invocation(&function, &args_json, &options)?;
        let result = engine.call(ComponentHandle(handle), message, patience, stack::left())?;
        Ok(airssys_bytes_t::new(result))
    })
}

/// Calls an exported function with typed values. The result goes to a callback, exactly once.
///
/// `engine`: borrowed. `handle`: the receiver. `function`, `args_json`: as of
/// `airssys_engine_invoke`, copied. `options`: borrowed, may be NULL. `reply_fn`, `user_data`,
/// `out_id`: as of `airssys_engine_request`; `reply` of the completion is the result in JSON.
/// `error`: may be NULL. Any thread; callable from callbacks. Blocks as `airssys_engine_send` does.
///
/// What is wrong with the function or the arguments is the status of the completion.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_COMPONENT_STOPPED`,
/// `AIRSSYS_ERROR_COMPONENT_FAILED`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
/// `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`,
/// `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`, as of `airssys_engine_request`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_invoke_request(
    engine: *mut airssys_engine_t,
    handle: u64,
    function: *const c_char,
    args_json: *const c_char,
    options: *const airssys_message_options_t,
    reply_fn: airssys_reply_fn_t,
    user_data: *mut c_void,
    out_id: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe {
        engine: Object,
        function: Text,
        args_json: Text,
        options: Versioned,
        out_id: Out,
        error: Out,
    });
    answer(engine, out_id, error, |engine| {
        let target = ComponentHandle(handle);
        let completion = completion(reply_fn, user_data, || engine.id_of(target))?;
        let (message, patience) = invocation(&function, &args_json, &options)?;
        Ok(engine.request(target, message, patience, completion)?.0.get())
    })
}
