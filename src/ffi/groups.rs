//! Groups of components.

use std::ffi::c_char;

use crate::ffi::arguments::arguments;
use crate::ffi::bytes::airssys_bytes_t;
use crate::ffi::error::airssys_error_t;
use crate::ffi::on_engine::{airssys_engine_t, answer, document};
use crate::ffi::status::airssys_status_t;

/// Adds a group, whose members are restarted together. Components and groups become members by the
/// option `group`.
///
/// A component that loses its instance is restarted by its own supervision, within its own budget.
/// A group adds two things:
///
/// - Its `strategy`: with `one-for-all` the loss restarts all members, with `rest-for-one` those
///   that came into the group after the one that was lost, with `one-for-one` none.
/// - A budget of its own. It counts the restarts that the group makes: of a member whose own budget
///   is exhausted, which then begins a new one, and, with the other strategies, all. If it is
///   exhausted, the group gives up: the group around it restarts it as a whole, within the budget of
///   that group. If there is none, the members that would have been restarted are `failed`; all
///   others go on.
///
/// A restart follows the pause of the component that was lost, see supervision in OPTIONS. The other
/// members that take part end in reverse order, each after its current message, and then all begin
/// in order. Messages wait meanwhile. Members that are stopped or have failed take no part. A
/// passive one stays passive, and its state is forgotten; a `temporary` one fails. What the host
/// does to a member (a stop, a restart, a replacement) does not concern the others, and comes first:
/// a lost component that the host restarts during its pause restarts alone. After
/// `airssys_engine_interrupt` the group restarts as after a crash, and no budget is charged.
///
/// The handle of a group stands for its members, those of groups in it included, in these functions:
///
///     airssys_engine_stop      the members stop at a time, beginning with the last
///     airssys_engine_start     they start in order; all budgets begin anew
///     airssys_engine_restart   one after another, in order
///     airssys_engine_wait      until all instances of all members have the state
///     airssys_engine_status    see airssys_engine_groups
///     airssys_engine_unload    the members are unloaded, the last first, and the group is removed
///                              with the groups in it
///
/// `AIRSSYS_ALL_COMPONENTS` and `airssys_engine_shutdown` keep the members of a group together, at
/// the place where the group was made.
///
/// - `engine`: borrowed.
/// - `name`: borrowed text; 1 to 255 bytes without `/`, `*` and control characters, and neither `.`
///   nor `..`. No other group of the engine may have it.
/// - `options_json`: see OPTIONS; may be NULL.
/// - `out_group`: set on success, to a handle from the same numbers as those of components.
/// - `error`: may be NULL.
///
/// Any thread; callable from callbacks. Does not block.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also: `group` names none),
/// `AIRSSYS_ERROR_INVALID_ARGUMENT` (also: the name is in use, groups would be nested more than 32
/// deep), `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_add_group(
    engine: *mut airssys_engine_t,
    name: *const c_char,
    options_json: *const c_char,
    out_group: *mut u64,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, name: Text, options_json: Text, out_group: Out, error: Out });
    answer(engine, out_group, error, |engine| {
        Ok(engine.add_group(name.required()?, options_json.optional()?)?.0)
    })
}

/// Returns all groups as JSON, in the order in which they were made.
///
///     [ { "handle": 1, "group": "pipeline", "state": "running", "strategy": "rest-for-one",
///         "max-restarts": 10, "window-ms": 60000, "restarts": 0, "restarts-in-window": 0,
///         "within": null,
///         "members": [ { "handle": 2, "id": "app/reader/0" },
///                      { "handle": 3, "group": "workers" } ] } ]
///
/// `state` is `running`, `restarting`, `failing` once the group has given up, or `failed` when its
/// members have failed, until `airssys_engine_start`. `restarts` counts those that the group has
/// made. `within` names the group around it. `airssys_engine_status` of a group returns one of these
/// objects.
///
/// `engine`: borrowed. `out_json`: set on success; release it with `airssys_bytes_free`. `error`:
/// may be NULL. Any thread; callable from callbacks. Does not block.
///
/// Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
/// `AIRSSYS_ERROR_PANIC`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airssys_engine_groups(
    engine: *mut airssys_engine_t,
    out_json: *mut airssys_bytes_t,
    error: *mut *mut airssys_error_t,
) -> airssys_status_t {
    arguments!(unsafe { engine: Object, out_json: Out, error: Out });
    document(engine, out_json, error, |engine| Ok(engine.group_list()))
}
