/*
 * airssys_wasm.h - WebAssembly components as actors, inside any program.
 *
 * A host makes an engine, loads components into it, and sends them messages. A component is a
 * binary of the WebAssembly Component Model that exports `component-lifecycle` of the WIT package
 * `airssys:core@1.0.0`. Each component has an id, a mailbox, its own storage, and limits. A failure
 * of one component affects neither the others nor the host.
 *
 *     airssys_engine_t *engine = NULL;
 *     airssys_error_t *error = NULL;
 *     uint64_t echo = 0;
 *     airssys_bytes_t reply = {0};
 *     const uint8_t *hi = (const uint8_t *)"hi";
 *
 *     if (airssys_engine_new(NULL, &engine, &error) == AIRSSYS_OK &&
 *         airssys_engine_load_file(engine, "app/echo/0", "echo.wasm", NULL, &echo, &error)
 *             == AIRSSYS_OK &&
 *         airssys_engine_call(engine, echo, hi, 2, NULL, &reply, &error) == AIRSSYS_OK) {
 *         if (reply.data) printf("%.*s\n", (int)reply.len, (const char *)reply.data);
 *     } else {
 *         fprintf(stderr, "%s\n", airssys_error_message(error));
 *     }
 *     airssys_error_free(error);
 *     airssys_bytes_free(&reply);
 *     airssys_engine_free(engine);
 *
 * CONTENTS
 *
 * Version; status and errors; configuration, with the host's storage, log, events and audit trail;
 * engines and components; options (the reference of the JSON documents); messages; requests;
 * rights; inspection; router; bytes and writers; codecs.
 *
 * NAMES
 *
 * All names begin with `airssys_` or `AIRSSYS_`. The library exports nothing else.
 *
 * OBJECTS AND OWNERSHIP
 *
 * Objects are opaque. A `_new` function makes an object, and the caller owns it. A `_free` function
 * releases it; `_free(NULL)` does nothing. The object is the first parameter of its functions.
 * `_free` must be the last call with an object: no other call with it may begin afterwards.
 *
 * Input strings are NUL-terminated UTF-8. Input bytes are a pointer and a length; (NULL, 0) is
 * empty. Both are borrowed for the call: the library copies what it keeps.
 *
 * Outputs are written on success only, and must not be NULL unless the function says so. Initialize
 * them with `{0}`, NULL or 0, so that they can be released in every case. What an output held
 * before is overwritten, not released. Output bytes are an `airssys_bytes_t`. The library and the
 * host share no allocator: the library must free what the library allocated.
 *
 * A handle names a component of one engine. Each engine counts its own handles.
 *
 * ERRORS
 *
 * Every function that can fail returns an `airssys_status_t`. Its last parameter is an
 * `airssys_error_t **`, which may be NULL. On failure only, the function stores an error object
 * there, which the caller owns. It does not read the variable, and a success leaves it as it is.
 * The host must set it to NULL before the first use, and free the error and set it to NULL again
 * before it reuses the variable. Error messages repeat text from components: it is untrusted, and
 * can hold line breaks and control characters.
 *
 * Invalid arguments (NULL, invalid UTF-8, an unknown handle) cause an error status, never a crash;
 * only `airssys_engine_unload` accepts an unknown handle. The library cannot check pointers: they
 * must point to what the declaration says.
 *
 * STRUCTS
 *
 * A struct that the host fills begins with its `size`, so that later versions can add fields. Zero
 * the struct, set `size`, then set the other fields:
 *
 *     airssys_storage_t storage = {0};
 *     storage.size = sizeof storage;
 *
 * A struct larger than the library's is accepted if the fields that the library does not know are
 * zero.
 *
 * THREADS
 *
 * Any function may be called on any thread, several at once. Exceptions: `_free`, see above, and
 * `airssys_engine_shutdown`, which must not be called from callbacks of the engine's components.
 *
 * Callbacks run on a thread of the host (for example the one inside `airssys_engine_call`) or on a
 * thread of the library, always on its native stack. Several run at once for different components,
 * also for components with the same id. A callback may call any other function, unless its own
 * comment says otherwise. If a callback makes a blocking call that would wait for the component
 * that it serves, the call fails with `AIRSSYS_ERROR_WOULD_DEADLOCK`. The library does not see what
 * a callback waits for by other means (another thread, the completion of a request).
 *
 * A callback must not unwind into the library: no C++ exception, no `longjmp`. On Linux with glibc,
 * if a thread exits inside a callback (`pthread_exit`, `pthread_cancel`, the shutdown of a language
 * runtime), the library parks it for good where the callback would have returned. The process
 * continues, and what waits for the callback waits until the process ends.
 *
 * The library bounds its own threads. Options are those of the configuration:
 *
 *     1                        for the clock
 *     "workers"                run components, from the first load on
 *     at most "workers"        of lower priority, for components that compute
 *     at most "callback-threads"  for callbacks that components wait for: storage, log, router;
 *                              one of them stays
 *     at most "callback-threads"  for other callbacks: completions, events, audit trail; one of
 *                              them stays
 *     at most 64               for blocking file operations, 64 more for name lookups
 *     "workers"                for each binary, while it is compiled
 *
 * A callback waits while all threads of its kind are busy. A callback that a component waits for is
 * not started once its message has timed out. Where the system has no more threads, the existing
 * ones do all the work.
 *
 * USER DATA
 *
 * The library passes `user_data` to callbacks and does not use it otherwise. It calls
 * `drop(user_data)` once, on any thread, after its last use. That call can come while the engine is
 * being released, and must not use the engine. Data on a stack, or data that the host frees itself,
 * must live until `drop` was called. `airssys_engine_free` can return earlier: `drop` also waits
 * for callbacks that still run, and for the configuration and each engine made with it.
 *
 * SIGNALS
 *
 * Unless `"signals-based-traps"` is false, the first engine installs handlers for SIGSEGV, SIGILL
 * and SIGFPE, and outside Linux for SIGBUS. They handle traps of guests and pass all other signals
 * to the previous handlers. They stay installed.
 *
 * On Linux, the library detects handlers that the host installs later (as Python's
 * `faulthandler.enable()` does): when an engine is made, and at most 10 ms after guests run again.
 * It puts the engine's handlers back in front, and passes signals that are not traps of guests to
 * the host's latest. Until then, and always on other systems, a trap reaches the host's handlers.
 * They must pass on signals that are not theirs. A handler that restores the engine's and raises
 * the signal again, as Python's does, only reports the trap.
 *
 * FORK
 *
 * A child process cannot use engines of its parent (`AIRSSYS_ERROR_FORKED`). It must make its own,
 * from its own configuration or from the parent's.
 *
 * This file is generated from the comments and types in src/ffi/. Change those.
 */

#ifndef AIRSSYS_WASM_H
#define AIRSSYS_WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- TYPES ------------------------------------------------------------------------------------- */

typedef struct airssys_error_t airssys_error_t;
typedef struct airssys_config_t airssys_config_t;
typedef struct airssys_keys_t airssys_keys_t;
typedef struct airssys_storage_change_t airssys_storage_change_t;
typedef struct airssys_storage_batch_t airssys_storage_batch_t;
typedef struct airssys_storage_t airssys_storage_t;
typedef struct airssys_log_record_t airssys_log_record_t;
typedef struct airssys_logger_t airssys_logger_t;
typedef struct airssys_event_t airssys_event_t;
typedef struct airssys_events_t airssys_events_t;
typedef struct airssys_audit_record_t airssys_audit_record_t;
typedef struct airssys_audit_t airssys_audit_t;
typedef struct airssys_engine_t airssys_engine_t;
typedef struct airssys_message_options_t airssys_message_options_t;
typedef struct airssys_completion_t airssys_completion_t;
typedef struct airssys_function_call_t airssys_function_call_t;
typedef struct airssys_interface_t airssys_interface_t;
typedef struct airssys_envelope_t airssys_envelope_t;
typedef struct airssys_router_t airssys_router_t;
typedef struct airssys_bytes_t airssys_bytes_t;
typedef struct airssys_writer_t airssys_writer_t;

/* -- VERSION ----------------------------------------------------------------------------------- */

/** Major version of this header. */
#define AIRSSYS_VERSION_MAJOR 0

/** Minor version of this header. */
#define AIRSSYS_VERSION_MINOR 1

/** Patch version of this header. */
#define AIRSSYS_VERSION_PATCH 0

/**
 * Version of the binary interface, the number in the SONAME `libairssys_wasm.so.0`. It changes
 * only when programs must be recompiled.
 */
#define AIRSSYS_ABI_VERSION 0

/**
 * Returns the version of the loaded library, for example `"0.1.0"`.
 *
 * The text is static and must not be freed. Any thread; callable from callbacks.
 */
const char *airssys_version(void);

/**
 * Returns the ABI version of the loaded library.
 *
 * A host that opens the library at run time must compare it with `AIRSSYS_ABI_VERSION`. Any
 * thread; callable from callbacks.
 */
uint32_t airssys_abi_version(void);

/* -- STATUS AND ERRORS ------------------------------------------------------------------------- */

/**
 * The result of a function: `AIRSSYS_OK` or an `AIRSSYS_ERROR_...` value.
 *
 * Values never change, and values of retired errors are not reused. A newer library may return
 * values that this header does not name.
 */
typedef int32_t airssys_status_t;

/** Success. Outputs are written. */
#define AIRSSYS_OK 0

/**
 * An argument is NULL where NULL is not allowed, a text is not UTF-8, or a struct has an
 * impossible size.
 */
#define AIRSSYS_ERROR_INVALID_ARGUMENT 1

/** A component id is not `namespace/name/instance`. */
#define AIRSSYS_ERROR_INVALID_ID 2

/** A JSON document has a syntax error, an unknown key, a wrong type, or a value out of range. */
#define AIRSSYS_ERROR_INVALID_OPTIONS 3

/**
 * The binary is not a component, does not match `airssys:core@1.0.0`, or exceeds a limit on its
 * shape (`compile` in OPTIONS below).
 */
#define AIRSSYS_ERROR_INVALID_COMPONENT 4

/** The component could not be instantiated, or not be restarted or started. */
#define AIRSSYS_ERROR_INSTANTIATION_FAILED 5

/** The component's `initialize` returned an error. The message holds its text. */
#define AIRSSYS_ERROR_INITIALIZATION_FAILED 6

/** No component has this handle or id, or the component is gone. */
#define AIRSSYS_ERROR_COMPONENT_NOT_FOUND 7

/** The component does not export `component-lifecycle`, so it handles no messages. */
#define AIRSSYS_ERROR_EXPORT_NOT_FOUND 8

/**
 * The caller's `timeout_ms` or the component's `max-execution-time-ms` is over. The message names
 * which, with its value, as do `limit` and `value` in the details. After `max-execution-time-ms`
 * the instance is gone, and the next message gets a new one; after `timeout_ms` it lives.
 *
 * The details' `started` tells whether the message had begun when its caller's time was over.
 * If not, it never begins: `waited-ms` is how long it waited, and `behind` is the number of
 * messages that were still ahead of it then, including the running one.
 */
#define AIRSSYS_ERROR_TIMEOUT 9

/**
 * The component reached a limit: memory, fuel, stack, tables, instances, message size, host-call
 * data. The message names the limit and its value. If the component had begun the call, its
 * instance is gone, and the next message gets a new one.
 */
#define AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED 10

/** The component returned an error. The message holds its text. */
#define AIRSSYS_ERROR_RUNTIME 11

/** The component trapped or exited. Its instance is gone; the next message gets a new one. */
#define AIRSSYS_ERROR_TRAP 12

/** The component's mailbox is full. Nothing was queued. */
#define AIRSSYS_ERROR_QUEUE_FULL 13

/** A callback made a blocking call that would have waited for the component that it serves. */
#define AIRSSYS_ERROR_WOULD_DEADLOCK 14

/** The component's `shutdown` failed. The component is unloaded or stopped nevertheless. */
#define AIRSSYS_ERROR_SHUTDOWN_FAILED 15

/** The engine was shut down or freed. */
#define AIRSSYS_ERROR_ENGINE_STOPPED 16

/** The engine was made before a `fork` and used in the child. */
#define AIRSSYS_ERROR_FORKED 17

/** A bug in this library. Please report it. The engine stays usable. */
#define AIRSSYS_ERROR_PANIC 18

/** The operating system refused a file, a directory, a thread, memory or a descriptor. */
#define AIRSSYS_ERROR_IO 19

/**
 * The payload begins with a multicodec that is not among the receiver's `codecs`, or begins with
 * none where one is required.
 */
#define AIRSSYS_ERROR_INVALID_MESSAGE 20

/** The host has no request with this id, or the request already has its outcome. */
#define AIRSSYS_ERROR_REQUEST_NOT_FOUND 21

/** The request was ended by `airssys_engine_cancel`. */
#define AIRSSYS_ERROR_CANCELLED 22

/** A message was not delivered: to some targets of a broadcast, or by the router. */
#define AIRSSYS_ERROR_DELIVERY_FAILED 23

/**
 * `airssys_engine_interrupt`, or the `progress` callback of a call, ended the message. The
 * instance is gone; the next message gets a new one. Or `progress` ended the wait of
 * `airssys_engine_precompile`.
 */
#define AIRSSYS_ERROR_INTERRUPTED 24

/**
 * The component is stopped, or was stopped before it answered. `airssys_engine_start` starts it.
 */
#define AIRSSYS_ERROR_COMPONENT_STOPPED 25

/**
 * The component has failed: its `supervision` allows no further restart, or it could not be
 * started. `airssys_engine_status` says why, and `airssys_engine_start` starts it.
 */
#define AIRSSYS_ERROR_COMPONENT_FAILED 26

/** The storage has no such operation. */
#define AIRSSYS_ERROR_UNSUPPORTED 27

/** The storage does not do what a storage must. The message lists the broken rules. */
#define AIRSSYS_ERROR_NOT_CONFORMING 28

/**
 * The component has a canary, see `airssys_engine_replace`: another version can take over after
 * `airssys_engine_promote` or `airssys_engine_abort`.
 */
#define AIRSSYS_ERROR_CANARY_UNDER_WAY 29

/**
 * Returns the name of a status, for example `"AIRSSYS_ERROR_TIMEOUT"`.
 *
 * The name of a value that this library does not know is `"AIRSSYS_ERROR_UNKNOWN"`. The text is
 * static and must not be freed. Any thread; callable from callbacks.
 */
const char *airssys_status_name(airssys_status_t status);

/**
 * An error: a status, a text and JSON details.
 *
 * The caller that received it through an `error` parameter owns it, and must release it with
 * `airssys_error_free`. It may be used on any thread, also after its engine is freed.
 */
struct airssys_error_t;

/**
 * Returns the status of the function that failed.
 *
 * `error`: borrowed; the status of NULL is `AIRSSYS_OK`. Any thread; callable from callbacks.
 */
airssys_status_t airssys_error_status(const airssys_error_t *error);

/**
 * Returns the text of an error, for people.
 *
 * It names the component, the limit and its value, the guest's own words, or the key of the JSON
 * document. It can hold text of a component or names from a binary, with line breaks and control
 * characters: escape it before printing. It has at most 64 KiB.
 *
 * `error`: borrowed; the text of NULL is `""`. The error owns the text, which is valid until the
 * error is freed. Any thread; callable from callbacks.
 */
const char *airssys_error_message(const airssys_error_t *error);

/**
 * Returns the details of an error, for programs: a JSON object, `{}` if there are none.
 *
 * Members, where they apply:
 *
 *     component, handle, argument, path, request, resource
 *     place, key, nearest, known      of a JSON document
 *     limit, value                    the limit that was reached
 *     code                            case name of the WIT variant wasm-error or messaging-error,
 *                                     or "trap" or "exit"
 *     origin                          "guest" if the component itself returned the error
 *     during                          the step of loading: "instantiation", "initialize",
 *                                     "metadata", "health" or "replacement"
 *     backtrace                       of a trap
 *     exit-code                       of an exit; 0 or 1 unless the component uses exit-with-code
 *                                     of wasi:cli/exit, which is new in WASI 0.2.12
 *     stderr                          of a trap or an exit: the last lines that the component wrote
 *                                     to standard error, at most 4 KiB; the message has three
 *     state, wanted                   of a component that does not run, or not yet
 *     version                         that a component keeps after a failed replacement
 *     health                          of a version that did not become healthy in time
 *     started, waited-ms, behind      of a timeout, see AIRSSYS_ERROR_TIMEOUT
 *     unfinished, components          their number, and { handle, id, state, depth } of the first
 *                                     1,000 components that a shutdown did not finish
 *     codec, accepted                 of a payload that the receiver does not accept
 *     failed                          of a broadcast, or a function for all components: array of
 *                                     { handle, status, message }
 *
 * `error`: borrowed; the details of NULL are `"{}"`. The error owns the text, which is valid until
 * the error is freed. Any thread; callable from callbacks.
 */
const char *airssys_error_detail_json(const airssys_error_t *error);

/**
 * Releases an error; NULL does nothing. Set the variable to NULL afterwards if it is used again.
 * Any thread; callable from callbacks.
 */
void airssys_error_free(airssys_error_t *error);

/* -- CONFIGURATION ----------------------------------------------------------------------------- */

/**
 * What an engine is made from. Release it with `airssys_config_free`. Several engines may be made
 * from one configuration.
 */
struct airssys_config_t;

/**
 * Makes a configuration with defaults: storage in memory, warnings and errors to stderr, one
 * worker per core, the default limits.
 *
 * The default log writes to the stderr of the time when the engine is made; the engine holds a
 * duplicate of the descriptor. If stderr is closed then, nothing is written. If it is a pipe that
 * nobody reads, no SIGPIPE is raised.
 *
 * `out`: receives the configuration, which the caller owns. `error`: may be NULL. Any thread;
 * callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_new(airssys_config_t **out, airssys_error_t **error);

/**
 * Releases a configuration; NULL does nothing. Engines made from it are not affected.
 *
 * Any thread. No other function may be using the configuration.
 */
void airssys_config_free(airssys_config_t *config);

/**
 * Sets the options that a JSON document names. Other options keep their values, also those within
 * `limits`, `quotas` and `compile`. Arrays and `capabilities` are replaced as a whole.
 *
 * `json`: borrowed text; see CONFIGURATION in OPTIONS below. `error`: may be NULL. On an error
 * nothing changes. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS` (the message names the place and, for an
 * unknown key, the nearest known one), `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_json(airssys_config_t *config,
                                         const char *json,
                                         airssys_error_t **error);

/* -- STORAGE ----------------------------------------------------------------------------------- */

/**
 * For `flags` of a storage: the library makes one call at a time, and the others wait their
 * turn, first come, first served. A callback that waits for another use of the same storage
 * gets an error for that use (`AIRSSYS_ERROR_WOULD_DEADLOCK` from a function of the library).
 */
#define AIRSSYS_STORAGE_SERIALIZE 1

/**
 * The result of a storage callback, for `airssys_writer_finish`. Any other value counts as
 * `AIRSSYS_STORAGE_IO_ERROR`.
 */
typedef int32_t airssys_storage_result_t;

/** Done. */
#define AIRSSYS_STORAGE_OK 0

/** `get`, `exists`: the key does not exist. `del`: the same as `AIRSSYS_STORAGE_OK`. */
#define AIRSSYS_STORAGE_NOT_FOUND 1

/** `set`: there is no room. */
#define AIRSSYS_STORAGE_QUOTA_EXCEEDED 2

/** The backend does not accept this key. The text written to `out` is the reason. */
#define AIRSSYS_STORAGE_INVALID_KEY 3

/** The operation failed. The text written to `out` is the reason. */
#define AIRSSYS_STORAGE_IO_ERROR 4

/**
 * The list of keys that a `list` callback fills. It is valid only until the callback returns,
 * and only on its thread.
 */
struct airssys_keys_t;

/**
 * A change of one key.
 *
 * The host fills it for `airssys_engine_storage_batch`; the library fills it for `batch` of a
 * storage.
 */
struct airssys_storage_change_t {
  /** `sizeof(airssys_storage_change_t)`. */
  size_t size;
  /** The key, 1 to 1,024 bytes of UTF-8. */
  const char *key;
  /** The value to store; NULL removes the key. */
  const uint8_t *value;
  /** The bytes of `value`. An empty value is not NULL, and has a length of 0. */
  size_t value_len;
  /**
   * From this time on the key is missing, in milliseconds since 1970; 0: it never expires.
   * Always 0 in `batch` of a storage.
   */
  uint64_t expires_ms;
};

/** Changes of several keys of one namespace, each key once. Valid until the callback returns. */
struct airssys_storage_batch_t {
  /** `sizeof(airssys_storage_batch_t)`. */
  size_t size;
  /** Pointers to the changes. The library's struct can be larger than the host's. */
  const airssys_storage_change_t *const *changes;
  /** The number of changes, at least 1. */
  size_t count;
};

/**
 * The host's storage: a map from (namespace, key) to value.
 *
 * `ns` is a namespace: the id of the calling component, `namespace/name/instance`; or the
 * `namespace/name` that components share; or `airssys.engine` for the library's own data. The
 * backend must keep namespaces apart, whatever characters they contain. `key` is UTF-8 of 1 to
 * 1,024 bytes without NUL. All pointers are valid until the callback returns. Only components
 * with a right to `storage` cause calls. The library enforces their quotas; it asks `usage` at
 * each `set`.
 *
 * A callback answers through `out`. `airssys_writer_write` appends bytes.
 * `airssys_writer_finish` sets the result, and must be called on every path: a callback that
 * returns without a result has failed. This way a binding whose callback never ran (an
 * interrupt, an exception) does not report success.
 *
 * The meaning of the bytes depends on the result. With `AIRSSYS_STORAGE_OK` they are the value
 * in `get` (no bytes are an empty value), and are ignored in other callbacks. With any other
 * result they are the text of the error, so write a value only once it is complete. The text
 * goes to the log. The component receives it only if `"host-error-texts"` is true in the
 * configuration.
 *
 * `airssys_storage_selftest` checks a storage against these rules.
 *
 * Callbacks run on any thread, several at once unless `flags` say otherwise, also for one `ns`
 * if components share it, and always on a native stack. A slow callback delays only the
 * component that called. Callbacks may call any function except `airssys_engine_shutdown` of
 * their own engine, and must not unwind into the library (no C++ exception, no longjmp).
 */
struct airssys_storage_t {
  /** `sizeof(airssys_storage_t)`. */
  size_t size;
  /** Passed to every callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /** Writes the value of a key to `out`. Required. */
  void (*get)(void *user_data, const char *ns, const char *key, airssys_writer_t *out);
  /** Stores a value, or replaces it. `value` is never NULL. Required. */
  void (*set)(void *user_data,
              const char *ns,
              const char *key,
              const uint8_t *value,
              size_t len,
              airssys_writer_t *out);
  /** Removes a key. A missing key is not an error. Required. */
  void (*del)(void *user_data, const char *ns, const char *key, airssys_writer_t *out);
  /** Pushes all keys of a namespace that begin with `prefix`, in any order. Required. */
  void (*list)(void *user_data,
               const char *ns,
               const char *prefix,
               airssys_keys_t *keys,
               airssys_writer_t *out);
  /**
   * Tells whether a key exists: sets `*exists`, which is false at first, or finishes with
   * `AIRSSYS_STORAGE_NOT_FOUND`. If NULL, the library calls `get`.
   */
  void (*exists)(void *user_data,
                 const char *ns,
                 const char *key,
                 bool *exists,
                 airssys_writer_t *out);
  /**
   * Counts the bytes (keys and values) and the keys of a namespace. If NULL, the library sums
   * over `list` and `get`.
   */
  void (*usage)(void *user_data,
                const char *ns,
                uint64_t *bytes,
                uint64_t *keys,
                airssys_writer_t *out);
  /** 0 or `AIRSSYS_STORAGE_SERIALIZE`. */
  uint64_t flags;
  /**
   * Makes all changes, or none: no other call may see some of them. If NULL, the library
   * cannot change several keys at once, and `airssys_engine_storage_batch` fails with
   * `AIRSSYS_ERROR_UNSUPPORTED`.
   */
  void (*batch)(void *user_data,
                const char *ns,
                const airssys_storage_batch_t *batch,
                airssys_writer_t *out);
  /**
   * Makes everything that was finished before durable. The library calls it at the end of a
   * shutdown and of an import. May be NULL.
   */
  void (*flush)(void *user_data, airssys_writer_t *out);
  /**
   * Pushes the names of all namespaces that hold keys, in any order. If NULL,
   * `airssys_engine_storage_export` must be given the namespaces.
   */
  void (*namespaces)(void *user_data, airssys_keys_t *namespaces, airssys_writer_t *out);
};

/**
 * Adds a key to the answer of a `list` callback, or a name to that of `namespaces`.
 *
 * `keys`: from the callback. `key`: borrowed text. On the callback's thread only; does not
 * block.
 *
 * Returns false and adds nothing if an argument is NULL, if the key is not UTF-8, or if the
 * keys would exceed 256 MiB or what the component's `max-host-bytes` leaves; each key counts 24
 * bytes more than its length. The component then gets an error, whatever follows.
 */
bool airssys_keys_push(airssys_keys_t *keys, const char *key);

/**
 * Sets the storage of the host, in place of the one in memory.
 *
 * `storage`: borrowed, copied; see `airssys_storage_t`. On success the library owns its
 * `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
 * made from it uses it any more: after they are freed, or after another storage replaces this
 * one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing required callback, an
 * unknown flag, a wrong `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_storage(airssys_config_t *config,
                                            const airssys_storage_t *storage,
                                            airssys_error_t **error);

/**
 * Checks that a storage does what a storage must, without an engine.
 *
 * It stores keys in namespaces of its own, which begin with `airssys-selftest-`, and removes
 * them again. It takes about 10,000 calls, from up to 8 threads at once, and values of up to 16
 * MiB.
 *
 *     { "conforms": true, "rules": [
 *       { "rule": "empty-value", "text": "An empty value is a value, not a missing key.",
 *         "result": "held" } ] }
 *
 * A result is `held`, `skipped` (with a `reason`: the storage lacks what the rule is about) or
 * `broken` (with what it `did`, what was `expected`, and what was `found`).
 *
 * - `storage`: borrowed. `drop` is not called.
 * - `timeout_ms`: milliseconds for one rule; 0: 60,000.
 * - `out_report`: receives the document, which the caller owns. If rules are broken, the error
 *   has it as its details, and its message lists them.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks until all rules are checked.
 *
 * Returns `AIRSSYS_OK` if no rule is broken, or:
 *
 * - `AIRSSYS_ERROR_NOT_CONFORMING`: rules are broken.
 * - `AIRSSYS_ERROR_TIMEOUT`: a rule took longer. Its calls still run on threads of the library,
 *   so the storage and `user_data` must stay valid until the process ends.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: as for `airssys_config_set_storage`.
 * - `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_storage_selftest(const airssys_storage_t *storage,
                                          uint64_t timeout_ms,
                                          airssys_bytes_t *out_report,
                                          airssys_error_t **error);

/* -- LOG --------------------------------------------------------------------------------------- */

/**
 * The severity of a log record, in the order and with the names of the WIT enum `log-level`. No
 * level will be added below `AIRSSYS_LOG_OFF`.
 */
typedef int32_t airssys_log_level_t;

/** The finest detail. */
#define AIRSSYS_LOG_TRACE 0

/** Information for debugging. */
#define AIRSSYS_LOG_DEBUG 1

/** Normal operation. The standard output of components has this level. */
#define AIRSSYS_LOG_INFO 2

/** Unexpected events. The standard error of components has this level. */
#define AIRSSYS_LOG_WARN 3

/** Failures. */
#define AIRSSYS_LOG_ERROR 4

/** As `min_level`: no records. No record has this level. */
#define AIRSSYS_LOG_OFF 5

/** One log record. All pointers are borrowed and valid until the callback returns. */
struct airssys_log_record_t {
  /** Size of the record in this library. Fields beyond those in your header are newer. */
  size_t size;
  /** Severity. */
  airssys_log_level_t level;
  /** Id of the component that wrote it, `namespace/name/instance`; NULL: the engine. */
  const char *component;
  /**
   * UTF-8, followed by a NUL. Untrusted text: it can hold NULs, line breaks and control
   * characters before `message_len`; escape them before printing. At most 64 KiB; a longer text
   * is cut, and its end states the original length.
   */
  const char *message;
  /** Length of the message in bytes. */
  size_t message_len;
  /** `context_len` keys, NUL-terminated, with NULs inside shown as `\0`; NULL if there are none. */
  const char *const *context_keys;
  /** The values of these keys, likewise. */
  const char *const *context_values;
  /** Number of keys and values. */
  size_t context_len;
  /** Time of writing: seconds since 1970, UTC. */
  uint64_t seconds;
  /** Time of writing: nanoseconds of the second. */
  uint32_t nanoseconds;
};

/**
 * The host's log.
 *
 * `log` runs on any thread, several at once, and always on a native stack. Records of one
 * component arrive in the order in which they were written. A slow callback delays only the
 * component that logs. It may call any function except `airssys_engine_shutdown` of its own
 * engine, and must not unwind into the library (no C++ exception, no longjmp).
 *
 * The engine writes records about components, in their names: for each crash, and for each failed
 * message or callback whose sender is not told. In its own name it writes the error texts of
 * storage and router callbacks. These records count against the `log-bytes-per-second` of the
 * component that they are about. There are at most 5 per component and second, whatever its
 * quotas; the next one is preceded by the number of dropped ones. They repeat at most 4 KiB of an
 * error. If the component is denied `log.write`, they name only the kind of the error, without its
 * text.
 */
struct airssys_logger_t {
  /** `sizeof(airssys_logger_t)`. */
  size_t size;
  /** Passed to every callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /** Receives a record. Required. */
  void (*log)(void *user_data, const airssys_log_record_t *record);
  /** Records below this level are not built. 0 is `AIRSSYS_LOG_TRACE`: all records. */
  airssys_log_level_t min_level;
};

/**
 * Sets the log of the host, in place of stderr.
 *
 * `logger`: borrowed, copied; see `airssys_logger_t`. On success the library owns its
 * `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
 * made from it uses it any more: after they are freed, or after another logger replaces this
 * one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `log`, a wrong `size` or
 * `min_level`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_logger(airssys_config_t *config,
                                           const airssys_logger_t *logger,
                                           airssys_error_t **error);

/* -- EVENTS ------------------------------------------------------------------------------------ */

/** One event. All pointers are valid until the callback returns. */
struct airssys_event_t {
  /** `sizeof(airssys_event_t)` in the library. */
  size_t size;
  /**
   * `dead-letter`, `state`, `health`, `group`, `canary` or `events-lost`. A newer library may send
   * kinds that this header does not name.
   */
  const char *kind;
  /** The event as a JSON object, NUL-terminated. */
  const char *json;
  /** Payload of a dead letter; NULL if there is none. */
  const uint8_t *payload;
  /** Its length in bytes. */
  size_t payload_len;
};

/**
 * The host's callback for events.
 *
 * It is called on a thread of the library, one call at a time, in the order of the events. Nothing
 * waits for it. Up to 10,000 events or 64 MiB wait for a slow host, at most a quarter of that for
 * one receiver. The rest is counted, and `events-lost` reports the number.
 *
 * `dead-letter`: an accepted message will never be handled. Its receiver was unloaded or stopped,
 * or has failed, or it made room for a newer message (`drop-oldest`), or its sender's time was
 * over before its turn, or its engine was stopped:
 *
 *     { "event": "dead-letter", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "component": "app/echo/0", "source": "host/engine/0", "correlation": null,
 *       "content-type": null, "payload-bytes": 2,
 *       "code": "target-not-found", "reason": "it was unloaded before it answered" }
 *
 * A `reason` has at most 4 KiB.
 *
 * `state`: a component's instance has another state, see `airssys_engine_wait`:
 *
 *     { "event": "state", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "component": "app/echo/0", "handle": 1, "instance": 0,
 *       "from": "running", "to": "crashed", "cause": "crash",
 *       "code": "trap", "version": 1, "restarts": 0 }
 *
 * `instance` is the number within a pool. `code` names the error that ended the instance, or is
 * null. `version` is the number of the version, and `restarts` counts new instances so far. Events
 * of one instance come in the order of its changes. `cause` is one of:
 *
 *     loaded        a load or a start has succeeded
 *     registered    a load has, and the first message makes the first instance
 *     idle          the component has become passive
 *     activated     the instance for the message that waits is initialized
 *     crash         the instance is lost, or a new one could not be made
 *     exit          the component has ended by itself, see supervision in OPTIONS
 *     mail          a message waits for a crashed or passive component
 *     supervisor    the supervision wants a new instance
 *     give-up       the supervision allows no further restart
 *     restart       airssys_engine_restart wants a new instance
 *     group         the group of the component restarts it, or gives up
 *     recycle       a new instance is to take the place of this one, see OPTIONS
 *     restarted     the new instance is initialized
 *     replace       an instance of another version is ready
 *     replaced      it has taken over
 *     kept          it has not, or was not recycled; the old instance goes on
 *     stop          airssys_engine_stop
 *     stopped       the component is stopped
 *     start         airssys_engine_start
 *     close         the component is unloaded, or its engine shut down
 *     end           it is gone
 *
 * `health`: a component reports another health than before, see `health` in OPTIONS and
 * `airssys_engine_health`:
 *
 *     { "event": "health", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "component": "app/echo/0", "handle": 1, "instance": 0,
 *       "from": "healthy", "to": "degraded" }
 *
 * `group`: a group has another state, see `airssys_engine_groups`. `component` is the one whose
 * loss made the group act, or null:
 *
 *     { "event": "group", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "group": "pipeline", "handle": 1, "from": "running", "to": "restarting",
 *       "component": "app/reader/0", "restarts": 1 }
 *
 * `canary`: a version is tried beside the one before, or has been, see `airssys_engine_replace`:
 *
 *     { "event": "canary", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "component": "app/echo/0", "handle": 1,
 *       "change": "promoted", "reason": "messages",
 *       "version": 2, "messages": 100, "errors": 0,
 *       "stable": { "version": 1, "messages": 900, "errors": 1 } }
 *
 * `change` is `begun`, `promoted` or `aborted`. `reason` is null, or one of `call`, `messages` and
 * `time` (the terms of its options), `errors` (it had too many), `stop`, `restart` and `close`
 * (the component was stopped or has failed, was restarted, was unloaded). `messages` counts
 * messages and callbacks that the new version has handled, `errors` those that failed.
 *
 * `events-lost`: `{ "event": "events-lost", "count": 1 }`.
 *
 * The callback may call any function except `airssys_engine_shutdown` of its own engine, and must
 * not unwind into the library.
 */
struct airssys_events_t {
  /** `sizeof(airssys_events_t)`. */
  size_t size;
  /** Passed to the callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /** Receives one event. Required. */
  void (*event)(void *user_data, const airssys_event_t *event);
};

/**
 * Sets the host's callback for events.
 *
 * `events`: borrowed, copied; see `airssys_events_t`. On success the library owns its
 * `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
 * made from it uses it any more: after they are freed, or after another callback replaces this
 * one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `event`, a wrong `size`)
 * or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_events(airssys_config_t *config,
                                           const airssys_events_t *events,
                                           airssys_error_t **error);

/* -- AUDIT TRAIL ------------------------------------------------------------------------------- */

/** Decision: allowed. */
#define AIRSSYS_AUDIT_ALLOWED 1

/** Decision: denied, because no grant covers it, a policy refuses it, or a quota is exhausted. */
#define AIRSSYS_AUDIT_DENIED 2

/** A record of losses: it stands for the records counted in `lost_allowed` and `lost_denied`. */
#define AIRSSYS_AUDIT_LOST 3

/**
 * One decision. All pointers are valid until the callback returns. In a record of losses the texts
 * are NULL.
 */
struct airssys_audit_record_t {
  /** `sizeof(airssys_audit_record_t)` in the library. */
  size_t size;
  /** `AIRSSYS_AUDIT_ALLOWED`, `AIRSSYS_AUDIT_DENIED` or `AIRSSYS_AUDIT_LOST`. */
  int32_t decision;
  /**
   * Time of the decision, or of reporting losses: nanoseconds of the second, accurate to a few
   * milliseconds.
   */
  uint32_t nanoseconds;
  /** The same time: seconds since 1970, UTC. */
  uint64_t seconds;
  /** Id of the component. */
  const char *component;
  /** The action, for example `messaging.send`; see POLICIES in OPTIONS below. */
  const char *action;
  /** The resource, as a grant names it where there can be one; at most 4,096 bytes of it. */
  const char *resource;
  /** What decided: "grant", "policy", "ambient", "not-granted", "quota" or "never". */
  const char *by;
  /**
   * The rule: `grant app/db/0`, `policy rules[2] deny: reason`, `quota messages-per-second 100`.
   */
  const char *rule;
  /** In a record of losses: the number of lost records that allowed something. */
  uint64_t lost_allowed;
  /** In a record of losses: the number of lost records that denied something. */
  uint64_t lost_denied;
};

/**
 * The host's callback for decisions on what components may do.
 *
 * It is called on a thread of the library, one call at a time, in the order of the decisions.
 * Nothing waits for it. Up to 16,384 records or 16 MiB of them wait for a slow host. Records that
 * allowed something may be half of them. Records of one component may be a quarter, and an eighth
 * if they allowed something. The rest is counted, and a record of losses takes its place in the
 * order.
 *
 * Resources are texts that components chose. They can hold control characters, and long ones are
 * cut.
 *
 * The callback may call any function except `airssys_engine_shutdown` of its own engine, and must
 * not unwind into the library.
 */
struct airssys_audit_t {
  /** `sizeof(airssys_audit_t)`. */
  size_t size;
  /** Passed to the callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /** Receives one record. Required. */
  void (*record)(void *user_data, const airssys_audit_record_t *record);
  /**
   * Sampling of decisions that allow something: every Nth is recorded; 1 records all, 0 none.
   * Denials are all recorded, with one exception: while log records are dropped for lack of
   * quota, only the first is recorded, each time.
   */
  uint32_t sample_allowed;
};

/**
 * Sets the host's callback for the audit trail.
 *
 * `audit`: borrowed, copied; see `airssys_audit_t`. On success the library owns its
 * `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
 * made from it uses it any more: after they are freed, or after another callback replaces this
 * one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `record`, a wrong
 * `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_audit(airssys_config_t *config,
                                          const airssys_audit_t *audit,
                                          airssys_error_t **error);

/* -- ENGINES AND COMPONENTS -------------------------------------------------------------------- */

/** An engine: components, their workers, storage and log. Release it with `airssys_engine_free`. */
struct airssys_engine_t;

/**
 * Makes an engine. Its workers start with the first load.
 *
 * `config`: borrowed, copied; NULL: defaults. `out`: receives the engine, which the caller owns.
 * `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_INVALID_OPTIONS`: this machine cannot run the combination of options; or the
 *   configuration has a `storage` and one of `airssys_config_set_storage`.
 * - `AIRSSYS_ERROR_IO`: the system refused `cache-dir`, a thread, or a descriptor for the log; or
 *   the file of `storage` is in use by another engine, damaged, or not a storage (STORAGE in
 *   OPTIONS below). The message says what to do, `problem` in the details names the problem.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_new(const airssys_config_t *config,
                                    airssys_engine_t **out,
                                    airssys_error_t **error);

/**
 * Ends an engine gracefully. The engine must still be freed.
 *
 * The engine accepts nothing more from the host. The components handle their mail and the mail
 * that results from it. Components that keep sending to each other are cut off after half of the
 * time, at most 10 seconds; they finish the waiting mail. Then the engine calls `shutdown` of each:
 * of the one that was loaded last first, and of the others when it has returned or taken more than
 * its share of the time. After `timeout_ms` the rest is stopped at once. Requests that are open
 * then end with `AIRSSYS_ERROR_ENGINE_STOPPED`. At last the storage is flushed.
 *
 * `airssys_engine_complete` and `airssys_engine_cancel` are accepted meanwhile, so that a router
 * can still answer. Callbacks can come until `airssys_engine_free` has returned.
 *
 * `engine`: borrowed; a second shutdown has nothing left to do. `timeout_ms`: milliseconds; 0: no
 * time, `UINT64_MAX`: no limit. `error`: may be NULL. Any thread; must not be called from
 * callbacks of the engine's components. Blocks for at most `timeout_ms`, and then until the storage
 * is flushed: nothing cuts that off, as what was stored would be lost.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_TIMEOUT`: not all components had finished; the details list them.
 * - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: the error of the first component whose `shutdown` failed.
 * - `AIRSSYS_ERROR_IO`: the storage could not be flushed.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`: the engine was freed meanwhile.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_shutdown(airssys_engine_t *engine,
                                         uint64_t timeout_ms,
                                         airssys_error_t **error);

/**
 * Releases an engine and its components, in any state, without calling their `shutdown`; NULL does
 * nothing.
 *
 * No function may be entered with the engine after this one. Exception: callbacks that run
 * during this function (completions of open requests, dead letters) may enter functions. Those
 * that need a running engine return `AIRSSYS_ERROR_ENGINE_STOPPED`.
 *
 * Functions under way on other threads end with `AIRSSYS_ERROR_ENGINE_STOPPED`, and guests at
 * their next turn; this function returns after them. It waits up to 10 seconds for callbacks under
 * way on the library's threads, and runs those that still wait itself. When it returns, the
 * completion of every accepted request has been called, and no callback starts any more. The file
 * of `storage` is written and closed, so that another engine can open it. What a
 * callback uses, `user_data` included, is in every case released after it returns.
 *
 * Any thread. Called from a callback, it returns at once. The engine is then released when the
 * last function that uses it has returned, and callbacks on other threads must not enter a
 * function with it either. In a child of `fork` it releases nothing, because the resources belong
 * to threads that the child does not have.
 */
void airssys_engine_free(airssys_engine_t *engine);

/**
 * Loads a component: compiles, instantiates and initializes it, and publishes its id.
 *
 * Each distinct binary is compiled once. Loading calls the component's `initialize`. Several
 * components may have the same id; each has its own handle, and a message to the id goes to the
 * least busy.
 *
 * - `engine`: borrowed.
 * - `id`: borrowed text, `namespace/name/instance`. Each part has 1 to 255 bytes, contains no `/`,
 *   `*` or control characters, and is not `.` or `..`. The namespace `host` is reserved for hosts,
 *   as senders of messages.
 * - `wasm`: borrowed, the binary of a component (not of a core module, not text), `len` bytes, at
 *   most `max-component-bytes` of the configuration.
 * - `options_json`: borrowed text, see LOAD in OPTIONS below; NULL: `{}`.
 * - `out_handle`: receives the handle. It is never 0 and is not reused for another component.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks while it compiles and initializes.
 *
 * Compilation has limits, see `compile` in OPTIONS below. The limits on the shape of a binary are
 * checked before compilation, and the error names the place in the binary. A compilation cannot be
 * interrupted: when its time is over, or the engine stops, the load returns, and the compilation
 * continues in the background, at lower priority than all other threads. While two such
 * compilations of an engine run, the engine compiles nothing else.
 *
 * The library reserves system resources for running components: a sixteenth of the mappings that
 * the system allows the process (`vm.max_map_count`), and a stack for each component that has none
 * yet.
 *
 * Returns `AIRSSYS_OK` or the following; then nothing is loaded and nothing is left behind:
 *
 * - `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_INVALID_OPTIONS`.
 * - `AIRSSYS_ERROR_INVALID_COMPONENT`: not a component, or beyond a limit of `compile`.
 * - `AIRSSYS_ERROR_INSTANTIATION_FAILED`.
 * - `AIRSSYS_ERROR_INITIALIZATION_FAILED`: `initialize` returned an error.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`: of compilation,
 *   instantiation, `initialize`, `metadata` or `health`.
 * - `AIRSSYS_ERROR_TRAP`: in instantiation, `initialize`, `metadata` or `health`.
 * - `AIRSSYS_ERROR_IO`: the system has no thread, mapping, memory or descriptor left. The message
 *   names the limit and the remedy, and `"resource"` in the details is `"threads"`, `"mappings"`,
 *   `"memory"` or `"descriptors"`. A later load works once the resource is available.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_load(airssys_engine_t *engine,
                                     const char *id,
                                     const uint8_t *wasm,
                                     size_t len,
                                     const char *options_json,
                                     uint64_t *out_handle,
                                     airssys_error_t **error);

/**
 * Loads a component from a file; otherwise as `airssys_engine_load`.
 *
 * `path`: borrowed text, UTF-8, of a regular file; no more than its size is read. An unreadable
 * file, a device or a pipe is `AIRSSYS_ERROR_IO`. If a path is not UTF-8, read the file and use
 * `airssys_engine_load`.
 */
airssys_status_t airssys_engine_load_file(airssys_engine_t *engine,
                                          const char *id,
                                          const char *path,
                                          const char *options_json,
                                          uint64_t *out_handle,
                                          airssys_error_t **error);

/**
 * Unloads a component. Its stored data remains.
 *
 * The component accepts nothing more. The current message ends, waiting messages fail with
 * `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, and the component's `shutdown` is called.
 *
 * `engine`: borrowed. `handle`: of a component or a group, see `airssys_engine_add_group`; an
 * unknown, stale or zero handle does nothing, so that a second unload is harmless. `error`: may be
 * NULL. Any thread; callable from callbacks. Blocks until the component is gone: for the current
 * message and for `shutdown`, each at most the component's `max-execution-time-ms`.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: `shutdown` failed, trapped or took too long. The component is
 *   gone nevertheless.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also for `AIRSSYS_ALL_COMPONENTS`; `airssys_engine_shutdown`
 *   ends all.
 * - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_unload(airssys_engine_t *engine,
                                       uint64_t handle,
                                       airssys_error_t **error);

/**
 * Unloads a component as `airssys_engine_unload`, and interrupts what it still runs after
 * `timeout_ms`.
 *
 * `engine`, `handle`, `error`: as for `airssys_engine_unload`. `timeout_ms`: milliseconds, for
 * the current message and `shutdown` together; 0: interrupts at once. It interrupts the current
 * message or `shutdown`, but not a callback of the host: it waits for that up to two seconds
 * longer. Any thread; callable from callbacks.
 *
 * Returns what `airssys_engine_unload` returns, and:
 *
 * - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: something was interrupted, so that `shutdown` did not
 *   complete.
 * - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The component is unloaded,
 *   and its memory is released when the callback returns.
 */
airssys_status_t airssys_engine_unload_within(airssys_engine_t *engine,
                                              uint64_t handle,
                                              uint64_t timeout_ms,
                                              airssys_error_t **error);

/**
 * Interrupts what a component runs now.
 *
 * The current message, callback or lifecycle function ends with `AIRSSYS_ERROR_INTERRUPTED`, for
 * whoever waits for its outcome. A guest that waits ends at once, and one that computes within
 * milliseconds; a callback of the host that runs for it returns first. The instance is then gone,
 * and a new one handles the waiting messages. A component that runs nothing is not affected.
 *
 * `engine`: borrowed. `handle`: of a pool, all instances are interrupted. `error`: may be NULL.
 * Any thread; callable from callbacks, but not from signal handlers. Does not block.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_interrupt(airssys_engine_t *engine,
                                          uint64_t handle,
                                          airssys_error_t **error);

/**
 * Decides whether a function continues to wait: 0 continues, any other value ends the function with
 * `AIRSSYS_ERROR_INTERRUPTED`. For hosts that check signals, a terminal or a cancel button
 * meanwhile.
 *
 * A waiting message is then withdrawn, and a running one is interrupted, as by
 * `airssys_engine_interrupt`. A compilation continues in the background.
 *
 * `user_data`: `progress_data` of the function or its options. The callback must return soon and
 * must not unwind into the library. It must call no function of this library except
 * `airssys_engine_interrupt` and `airssys_engine_cancel`. It is not called while a callback of the
 * host runs on the calling thread.
 */
typedef int32_t (*airssys_progress_fn_t)(void *user_data);

/**
 * Compiles a component without loading it. A later load of the same binary compiles nothing: the
 * engine keeps the code (see `max-unused-code-bytes`), and with `cache-dir` so does that directory,
 * also for later processes.
 *
 * - `engine`: borrowed.
 * - `wasm`, `len`: borrowed, the binary.
 * - `progress`: called about every 50 ms while the function waits, on the calling thread; may be
 *   NULL. If it returns another value than 0, the function returns `AIRSSYS_ERROR_INTERRUPTED`; the
 *   compilation continues in the background, at lower priority than all other threads.
 * - `progress_data`: passed to `progress`.
 * - `error`: may be NULL.
 *
 * Any thread, several at once; callable from callbacks. Blocks while it compiles.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INTERRUPTED`, or as of `airssys_engine_load`:
 * `AIRSSYS_ERROR_INVALID_COMPONENT`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
 * `AIRSSYS_ERROR_TIMEOUT`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_precompile(airssys_engine_t *engine,
                                           const uint8_t *wasm,
                                           size_t len,
                                           airssys_progress_fn_t progress,
                                           void *progress_data,
                                           airssys_error_t **error);

/* -- LIFE CYCLE -------------------------------------------------------------------------------- */

/** Every component of an engine: a handle for functions whose documentation allows it. */
#define AIRSSYS_ALL_COMPONENTS UINT64_MAX

/**
 * Stops a component, which stays loaded.
 *
 * New messages are refused from now on. Those that wait are handled, and then `shutdown` is called
 * and the instance released. Id, handle, rights and storage stay; `airssys_engine_start` makes a
 * new instance. Outcomes of the component's own requests that arrive after `shutdown` are dropped.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, all instances stop. `AIRSSYS_ALL_COMPONENTS`, or of a group: all
 *   components at a time, beginning with the one that was loaded last.
 * - `timeout_ms`: milliseconds, after which the messages that still wait become dead letters, with
 *   `AIRSSYS_ERROR_COMPONENT_STOPPED` for whoever waits for an outcome, and the current one is
 *   interrupted; 0: at once, `UINT64_MAX`: never. `shutdown` then has one second. A callback of the
 *   host is not cut short.
 * - `error`: may be NULL. For several components the details' `failed` lists those that could not
 *   be stopped, with `handle`, `status` and `message`; the status is that of the
 *   first.
 *
 * Any thread; callable from callbacks. Blocks until the component is stopped. A component that is
 * stopped, or has failed, stays as it is.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
 * - `AIRSSYS_ERROR_SHUTDOWN_FAILED`: its `shutdown` failed, or was not called because something was
 *   interrupted; it is stopped nevertheless.
 * - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The stop follows it.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for. Nothing is
 *   stopped.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_stop(airssys_engine_t *engine,
                                     uint64_t handle,
                                     uint64_t timeout_ms,
                                     airssys_error_t **error);

/**
 * Starts a component that is stopped or has failed.
 *
 * A new instance is made from the compiled binary, and its `initialize` is called; then messages
 * are accepted. Its supervision forgets earlier restarts.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, all instances that are stopped or failed start. `AIRSSYS_ALL_COMPONENTS`,
 *   or of a group: all components, in the order of loading. The group forgets restarts as well.
 * - `error`: may be NULL; as for `airssys_engine_stop`.
 *
 * Any thread; callable from callbacks. Blocks until the instances are initialized, a stop under way
 * included. A component that is neither stopped nor failed stays as it is.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
 * - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: the new instance could not be made or initialized. The
 *   component is `failed`.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for. Nothing is
 *   started.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_start(airssys_engine_t *engine,
                                      uint64_t handle,
                                      airssys_error_t **error);

/**
 * Returns the state of a component as JSON, as known without asking it.
 *
 *     {
 *       "handle": 1, "id": "app/counter/0", "state": "running", "health": "healthy",
 *       "supervision": {
 *         "restart": "permanent", "max-restarts": 10, "window-ms": 60000,
 *         "backoff": { "growth": "exponential", "first-ms": 100, "max-ms": 30000,
 *                      "jitter-percent": 20, "quiet-ms": 60000 }
 *       },
 *       "group": null,
 *       "canary": { "version": 2, "sha256": "...", "share-percent": 10, "messages": 10,
 *                   "errors": 0, "stable": { "messages": 90, "errors": 0 } },
 *       "instances": [
 *         { "instance": 0, "state": "running", "health": "healthy", "version": 1,
 *           "restarts": 1, "restarts-in-window": 1,
 *           "last-failure": { "code": "trap", "message": "wasm `unreachable`...",
 *                             "time": { "seconds": 1767225600, "nanoseconds": 0 } } }
 *       ]
 *     }
 *
 * `canary` is what the new version and the `stable` one have handled since the new one is tried, or
 * null if none is.
 * `version` counts from 1, and grows with each replacement; a rollback returns to an earlier
 * number.
 * `state` is one of those of `airssys_engine_wait`; for several instances, that of one which does
 * not run. `supervision` and `restarts-in-window` are null without supervision, and `last-failure`
 * is null before the first. Its `message` is null if the component's `max-host-bytes` left no room
 * for it.
 *
 * `engine`: borrowed. `handle`: with `AIRSSYS_ALL_COMPONENTS` the result is an array of all, in the
 * order of loading; for a group see `airssys_engine_groups`. `out_json`: written on success;
 * release it with `airssys_bytes_free`. `error`: may be NULL. Any thread; callable from callbacks.
 * Does not block.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_status(airssys_engine_t *engine,
                                       uint64_t handle,
                                       airssys_bytes_t *out_json,
                                       airssys_error_t **error);

/**
 * Gives a component a new instance.
 *
 * The old instance finishes its current message, and its `shutdown` is called. A new instance is
 * made from the compiled binary, and its `initialize` is called. It handles the waiting messages,
 * in order. Id, handle, rights, storage and open requests stay. A failure of the old instance's
 * `shutdown` goes to the log.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, one instance at a time is replaced. `AIRSSYS_ALL_COMPONENTS`: all
 *   components, in the order of loading.
 * - `timeout_ms`: milliseconds, after which the old instance's current message is interrupted; 0:
 *   at once, `UINT64_MAX`: never. A callback of the host is not cut short.
 * - `error`: may be NULL; as for `airssys_engine_stop`.
 *
 * Any thread; callable from callbacks. Blocks until the new instances are initialized.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
 * - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: the new instance could not be made or initialized. The
 *   component is `crashed`; its `supervision` or the next message tries once more.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: `airssys_engine_start`
 *   starts it.
 * - `AIRSSYS_ERROR_TIMEOUT`: a callback of the host has not returned. The restart follows it.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_restart(airssys_engine_t *engine,
                                        uint64_t handle,
                                        uint64_t timeout_ms,
                                        airssys_error_t **error);

/**
 * Waits until a component is in a state; of a pool, until all instances are.
 *
 * - `engine`: borrowed.
 * - `state`: borrowed text: `initializing` (an instance is being made by a start), `running` (it
 *   handles messages), `passive` (it has no instance; the next message makes one), `activating`
 *   (that instance is being made), `crashed` (it has no instance; the next message or its
 *   supervision makes a new one), `restarting` (a new instance is being made), `replacing` (a new
 *   version takes over),
 *   `stopping` (it takes no new messages, and handles those that wait), `stopped` (it takes no
 *   messages, until it is started), `failed` (likewise, after too many restarts or a start that
 *   failed), `unloading` (it is closed, and `shutdown` is called) or `unloaded`.
 * - `timeout_ms`: milliseconds; 0: looks once, `UINT64_MAX`: no limit.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Short states can pass unseen: `state` events, see
 * `airssys_events_t`, name them all.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_TIMEOUT`: it is in another state, which the message names.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: it is unloaded, before or during the call, and `state` is
 *   not `unloaded`.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if there is no such state.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_wait(airssys_engine_t *engine,
                                     uint64_t handle,
                                     const char *state,
                                     uint64_t timeout_ms,
                                     airssys_error_t **error);

/**
 * Gives a running component another binary, another configuration, or both.
 *
 * The binary is compiled, and a new instance is made and initialized beside the old one. Between
 * two messages the new instance takes over; then `shutdown` of the old one is called. If both
 * export `component-state`, `save` of the old one and `restore` of the new one are called. Id,
 * handle, rights, limits, storage, mailbox and open requests stay. If anything fails until then,
 * the old instance stays as it was. A component that is stopped, has crashed or has failed runs
 * again with the new version, and its supervision forgets earlier restarts.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, one instance at a time is replaced. After a failure, those that were
 *   replaced get the old version back.
 * - `wasm`, `len`: borrowed bytes; with (NULL, 0) the binary stays.
 * - `options_json`: borrowed text, NULL for none; see `replace-options` in `docs/options.md`.
 * - `error`: may be NULL. The details' `version` is the number of the version that stays.
 *
 * With `canary` in the options the new version handles a share of the messages, beside the old one,
 * until it is promoted or aborted: by its error rate, or by `airssys_engine_promote` and
 * `airssys_engine_abort`. The call returns as soon as the messages are shared.
 *
 * Any thread; callable from callbacks. Blocks until the new version runs. Replacements of the same
 * component take turns.
 *
 * Returns `AIRSSYS_OK`, or for a binary that is unusable or an instance that cannot be made or
 * initialized what `airssys_engine_load` returns, or:
 *
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: also if it is unloaded meanwhile.
 * - `AIRSSYS_ERROR_INVALID_COMPONENT`: also if only one of the versions exports
 *   `component-lifecycle`, or it is not the expected one.
 * - `AIRSSYS_ERROR_RUNTIME`: also if `save` or `restore` returned an error.
 * - `AIRSSYS_ERROR_TIMEOUT`: also if the new instance was not healthy within `health-gate-ms`, or
 *   the message in progress did not end within `timeout-ms`.
 * - `AIRSSYS_ERROR_CANARY_UNDER_WAY`: the component has a canary.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: with `canary` only.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component, or a replacement of
 *   it, waits for.
 * - `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 *   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_replace(airssys_engine_t *engine,
                                        uint64_t handle,
                                        const uint8_t *wasm,
                                        size_t len,
                                        const char *options_json,
                                        airssys_error_t **error);

/**
 * Replaces a component with a binary from a file; otherwise as `airssys_engine_replace`.
 *
 * `engine`: borrowed. `handle`: as for `airssys_engine_replace`. `path`: borrowed text.
 * `options_json`: borrowed text, NULL for none. `error`: may be NULL. Any thread; callable from
 * callbacks.
 *
 * Returns `AIRSSYS_OK`, what `airssys_engine_replace` returns, or `AIRSSYS_ERROR_IO` if the file
 * cannot be read. Also: `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_replace_file(airssys_engine_t *engine,
                                             uint64_t handle,
                                             const char *path,
                                             const char *options_json,
                                             airssys_error_t **error);

/**
 * Returns a component to the version before its current one, as `airssys_engine_replace` does.
 *
 * The current version is forgotten: the next rollback returns to the version before that. How many
 * versions are kept is the load option `kept-versions`.
 *
 * `engine`: borrowed. `handle`: as for `airssys_engine_replace`. `error`: may be NULL. Any thread;
 * callable from callbacks. Blocks until the version before runs.
 *
 * Returns `AIRSSYS_OK`, what `airssys_engine_replace` returns, or `AIRSSYS_ERROR_INVALID_ARGUMENT`
 * if no version before the current one is kept. Also: `AIRSSYS_ERROR_FORKED`,
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_rollback(airssys_engine_t *engine,
                                         uint64_t handle,
                                         airssys_error_t **error);

/**
 * Promotes a component's canary: the new version takes over.
 *
 * It does so between two messages of each instance, as after `airssys_engine_replace`, and the old
 * version is kept for `airssys_engine_rollback`. If both versions export `component-state`, a new
 * instance gets the state of the old version; the canary's own state is dropped. Otherwise the
 * canary itself goes on. Outcomes of the old version's open requests go to the new one.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, the canaries of all instances are promoted.
 * - `timeout_ms`: milliseconds to wait for messages in progress, which are not interrupted; 0: does
 *   not wait, `UINT64_MAX`: no limit.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks until the new version has taken over.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if the component has no canary, or that was aborted.
 * - `AIRSSYS_ERROR_TIMEOUT`: a message in progress has not ended. The promotion follows it.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the component is not loaded.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_promote(airssys_engine_t *engine,
                                        uint64_t handle,
                                        uint64_t timeout_ms,
                                        airssys_error_t **error);

/**
 * Aborts a component's canary: the old version handles all messages again.
 *
 * The old version goes on as it was, with its state. `shutdown` of the canary is called. Its open
 * requests are cancelled, and outcomes that come all the same are dropped.
 *
 * - `engine`: borrowed.
 * - `handle`: of a pool, the canaries of all instances are aborted.
 * - `timeout_ms`: as for `airssys_engine_promote`.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks until the canary has ended.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also if the component has no canary, or that was promoted.
 * - `AIRSSYS_ERROR_TIMEOUT`: a message in progress has not ended. The abort follows it.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the component is not loaded.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback that the component waits for.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_abort(airssys_engine_t *engine,
                                      uint64_t handle,
                                      uint64_t timeout_ms,
                                      airssys_error_t **error);

/* -- GROUPS ------------------------------------------------------------------------------------ */

/**
 * Adds a group, whose members are restarted together. Components and groups become members by the
 * option `group`.
 *
 * A component that loses its instance is restarted by its own supervision, within its own budget.
 * A group adds two things:
 *
 * - Its `strategy`: with `one-for-all` the loss restarts all members, with `rest-for-one` those
 *   that came into the group after the one that was lost, with `one-for-one` none.
 * - A budget of its own. It counts the restarts that the group makes: of a member whose own budget
 *   is exhausted, which then begins a new one, and, with the other strategies, all. If it is
 *   exhausted, the group gives up: the group around it restarts it as a whole, within the budget of
 *   that group. If there is none, the members that would have been restarted are `failed`; all
 *   others go on.
 *
 * A restart follows the pause of the component that was lost, see supervision in OPTIONS. The other
 * members that take part end in reverse order, each after its current message, and then all begin
 * in order. Messages wait meanwhile. Members that are stopped or have failed take no part. A
 * passive one stays passive, and its state is forgotten; a `temporary` one fails. What the host
 * does to a member (a stop, a restart, a replacement) does not concern the others, and comes first:
 * a lost component that the host restarts during its pause restarts alone. After
 * `airssys_engine_interrupt` the group restarts as after a crash, and no budget is charged.
 *
 * The handle of a group stands for its members, those of groups in it included, in these functions:
 *
 *     airssys_engine_stop      the members stop at a time, beginning with the last
 *     airssys_engine_start     they start in order; all budgets begin anew
 *     airssys_engine_restart   one after another, in order
 *     airssys_engine_wait      until all instances of all members have the state
 *     airssys_engine_status    see airssys_engine_groups
 *     airssys_engine_unload    the members are unloaded, the last first, and the group is removed
 *                              with the groups in it
 *
 * `AIRSSYS_ALL_COMPONENTS` and `airssys_engine_shutdown` keep the members of a group together, at
 * the place where the group was made.
 *
 * - `engine`: borrowed.
 * - `name`: borrowed text; 1 to 255 bytes without `/`, `*` and control characters, and neither `.`
 *   nor `..`. No other group of the engine may have it.
 * - `options_json`: see OPTIONS; may be NULL.
 * - `out_group`: set on success, to a handle from the same numbers as those of components.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Does not block.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also: `group` names none),
 * `AIRSSYS_ERROR_INVALID_ARGUMENT` (also: the name is in use, groups would be nested more than 32
 * deep), `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_add_group(airssys_engine_t *engine,
                                          const char *name,
                                          const char *options_json,
                                          uint64_t *out_group,
                                          airssys_error_t **error);

/**
 * Returns all groups as JSON, in the order in which they were made.
 *
 *     [ { "handle": 1, "group": "pipeline", "state": "running", "strategy": "rest-for-one",
 *         "max-restarts": 10, "window-ms": 60000, "restarts": 0, "restarts-in-window": 0,
 *         "within": null,
 *         "members": [ { "handle": 2, "id": "app/reader/0" },
 *                      { "handle": 3, "group": "workers" } ] } ]
 *
 * `state` is `running`, `restarting`, `failing` once the group has given up, or `failed` when its
 * members have failed, until `airssys_engine_start`. `restarts` counts those that the group has
 * made. `within` names the group around it. `airssys_engine_status` of a group returns one of these
 * objects.
 *
 * `engine`: borrowed. `out_json`: set on success; release it with `airssys_bytes_free`. `error`:
 * may be NULL. Any thread; callable from callbacks. Does not block.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_groups(airssys_engine_t *engine,
                                       airssys_bytes_t *out_json,
                                       airssys_error_t **error);

/* -- OPTIONS ----------------------------------------------------------------------------------- */

/*
 * The reference of the JSON documents. All members are optional, unless noted. Examples show the
 * defaults. An unknown or duplicate key is an error that names the place and, for an unknown key,
 * the nearest known one. The JSON schema of all documents, airssys_wasm.schema.json, is installed
 * in share/airssys-wasm.
 *
 *
 * CONFIGURATION: airssys_config_set_json
 *
 *     {
 *       "name": "engine",                 the host, as a sender, is host/<name>/0
 *       "workers": 2,                     threads that run components, 1 to 1024; default: cores.
 *                                         As many threads of lower priority, made when needed, run
 *                                         components that compute for more than 2 ms
 *       "callback-threads": 1024,         limit of the threads for callbacks that components wait
 *                                         for, and of those for all others, 1 to 65536; see THREADS
 *       "cache-dir": "/path",             keeps compiled components between runs, see below;
 *                                         default: none
 *       "cache-max-bytes": 1073741824,    size of the cache; least recently used entries go first
 *       "max-component-bytes": 67108864,  size of a binary
 *       "compile": { ... },               see below
 *       "signals-based-traps": true,      false: no signal handlers (see SIGNALS), slower guests
 *       "memory-reservation": "automatic",  address space for each memory, see below
 *       "guard-before-memory": true,      false: a component that may wait takes 3 of the mappings
 *                                         that the system allows a process (vm.max_map_count), not
 *                                         4, and lacks a defence in depth against compiler bugs
 *       "host-error-texts": false,        true: components receive the error texts of storage and
 *                                         router callbacks. false: the texts go to the log, and
 *                                         the component learns only that the callback failed
 *       "limits": { ... },                defaults for loads, see LOAD
 *       "quotas": { ... },                defaults for loads, see LOAD
 *       "supervision": { ... },           default for loads, see LOAD; default: none
 *       "max-live-instances": 1000,       of components that may become passive: beyond it, those
 *                                         that were not used for longest do; default: no limit
 *       "trusted-keys": ["64 digits"],    public keys of those who may sign binaries, at most 256,
 *                                         see SIGNATURES; default: none
 *       "require-signature": false,       true: binaries without a signature are refused
 *       "capabilities": { ... },          for loads that name none, see CAPABILITIES; default: none
 *       "storage": { "path": "/path" },   keeps what components store in a file, see STORAGE;
 *                                         default: in memory
 *       "policies": { "rules": [] }       see POLICIES
 *     }
 *
 * "compile" bounds the compilation of a binary. A component beyond a limit is not loaded:
 *
 *     "compile": {
 *                                         beyond it AIRSSYS_ERROR_TIMEOUT:
 *       "max-time-ms": 300000,
 *                                         beyond them AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED:
 *       "max-memory-bytes": 2147483648,   an estimate, of all concurrent compilations together
 *       "max-code-bytes": 268435456,      with initial memories and tables
 *                                         beyond them AIRSSYS_ERROR_INVALID_COMPONENT:
 *       "max-functions": 100000,          in all modules
 *       "max-function-bytes": 4194304,
 *       "max-function-blocks": 65536,     blocks, branches, and targets of branch tables
 *       "max-block-depth": 5000,          nesting of blocks
 *       "max-function-locals": 10000,     with parameters
 *       "max-function-values": 200000,    values of blocks and branches, and locals used in loops
 *       "max-function-cost": 4194304,     predicted effort, in bytes of plain code
 *       "max-cost": 67108864,             the same, for all functions
 *       "max-definitions": 250000,        types, fields, imports, exports, segments and the like,
 *                                         once for each instance of their component
 *       "max-type-depth": 100,            nesting of types, 1 to 100
 *       "max-component-depth": 64,        nesting of modules and components
 *       "max-components": 1000,           modules and components at any depth
 *                                         not a limit of a load:
 *       "max-unused-code-bytes": 67108864 kept code that no component uses any more: least
 *                                         recently used goes first, at most 32 binaries
 *     }
 *
 * "memory-reservation": "large" reserves 4 GiB and guards for each memory. "small" reserves little
 * more than the memory's size: guests are slower, and a memory is copied when it grows by more than
 * 1 MiB. "automatic" is "small" if the process has a limit (RLIMIT_AS) or the system does not grant
 * a large reservation, and "large" otherwise.
 * "none" reserves nothing: memories lie side by side and share a few of the process's mappings, so
 * that tens of thousands of components fit. Guests are as slow as with "small". A memory has room
 * to grow by half, at least 1 MiB, before it is copied. Instances of large binaries do not share
 * their initial memory.
 *
 * "cache-dir": the library executes what is in this directory. It makes the directory if it is
 * missing. The directory must belong to this user and be closed to others (mode 0700). Others must
 * not be able to write to any directory on the path to it, unless that has the sticky bit, like
 * /tmp. `airssys_engine_new` opens the directory once and holds it open. Each entry has a checksum
 * with a secret key, the file `key` in the directory. The library recompiles an entry that is
 * damaged, or is not a regular file that belongs to this user or root and only its owner can write.
 * Any number of engines and processes may share the directory.
 *
 * A read-only cache is used as it is: nothing is written, replaced or removed, and others may read
 * it. A directory is read-only if it belongs to root and the process does not run as root, if
 * nobody may write to it (mode 0555), or if it is mounted read-only. Its key is then not secret,
 * and its owner is trusted. To make one, fill a directory with an engine, and make all of it
 * readable, `key` included.
 *
 *
 * LOAD: airssys_engine_load, airssys_engine_load_file
 *
 *     {
 *       "env": { "KEY": "value" },        passed to `initialize`; also the WASI environment
 *       "config": "text" or any JSON,     passed to `initialize`: a string as its bytes, any other
 *                                         value as JSON text
 *       "limits": { ... },                of each instance, see below
 *       "mailbox": {                      of each instance:
 *         "capacity": 1024,               waiting messages, 1 to 1048576
 *         "max-bytes": 67108864,          of waiting messages: payloads, content types, and 256 for
 *                                         each; a single message may exceed it
 *         "when-full": "reject"           "reject" refuses a message, "block" makes the sender wait
 *                                         for room, "drop-oldest" drops the oldest message, which
 *                                         becomes a dead letter
 *       },
 *       "instances": 1,                   size of the pool, 1 to 4096: the instances share handle,
 *                                         id, storage, quotas and work, least busy first. Each has
 *                                         its own mailbox, memory and limits
 *       "codecs": [],                     accepted codecs, by name (see CODECS): a payload that
 *                                         begins with another multicodec is refused when sent;
 *                                         empty: no check
 *       "capabilities": { ... },          what the component may do, see CAPABILITIES. null: none;
 *                                         default: those of the configuration
 *       "quotas": { ... },                how much of it, see below
 *       "supervision": { ... },           what follows a crash, see below. null: the next message
 *                                         makes a new instance; default: that of the configuration
 *       "group": "text",                  the group of the component, by the name given to
 *                                         airssys_engine_add_group; it must exist. A member has
 *                                         "supervision" even if nothing names one; default: none
 *       "kept-versions": 2,               versions for airssys_engine_rollback, 0 to 64
 *       "require-lifecycle": false,       true refuses a component that exports no
 *                                         component-lifecycle: AIRSSYS_ERROR_INVALID_COMPONENT
 *       "expect": { "name": "text",       what the metadata must be, "version" by the rules of
 *                   "version": "^1.2" },  semver; another is AIRSSYS_ERROR_INVALID_COMPONENT
 *       "sha256": "64 digits",            of the binary, likewise
 *       "signature": "128 digits",        of the binary, see SIGNATURES; default: none
 *       "health": {                       checks of `health`; default: none. They never come before
 *                                         messages that wait, and are left out while there are some
 *         "interval-ms": 10000,           1 to 86400000
 *         "timeout-ms": 1000,             beyond it the instance is lost, as after a trap
 *         "unhealthy-after": 3            "unhealthy" checks in a row, after which the instance is
 *                                         lost, as after a trap; 1 to 1000, null: never
 *       },
 *       "activation": "at-load",          "on-demand": the first message makes the first instance;
 *                                         the component is "passive" until then
 *       "idle-timeout-ms": 60000,         without a message, after which the component becomes
 *                                         "passive", see below; default: never
 *       "state": "volatile",              "durable": the state of a component that exports
 *                                         `component-state` outlives the process, see below
 *       "restore-after-crash": false,     true: after a crash as well, as it was saved last; needs
 *                                         "durable", as does
 *       "save-every": {                   saves of a running component; default: none
 *         "messages": 1000,               after so many messages and callbacks
 *         "ms": 60000                     and in this interval, if it has handled something
 *       },
 *       "recycle-above-bytes": 1048576,   of linear memory, beyond which a new instance takes the
 *                                         place of this one; default: no limit
 *       "recycle-after-messages": 1000,   likewise, messages and callbacks; default: no limit
 *       "storage": { "scope": "id" }      "name": its keys are those of "namespace/name", which all
 *                                         components of that name share; see CAPABILITIES
 *     }
 *
 * A passive component has no instance; its next message makes one. A component that waits for the
 * outcome of a request of its own does not become passive. A component that exports
 * `component-state` (wit/state) keeps its state: `save` of the old instance and `restore` of the
 * new one are called, also when an instance is recycled or replaced. The state counts against
 * "max-host-bytes". Other components begin anew.
 *
 * A durable state is saved in the engine's storage, in the namespace "airssys.engine", when the
 * component is stopped, unloaded, shut down with its engine or passivated. The next start of a
 * component with this id restores it: a load, airssys_engine_start, or the next message. After a
 * crash of the component, or of the process (`airssys_engine_free` without a shutdown included),
 * it begins anew, unless "restore-after-crash" is true. airssys_engine_restart forgets the state.
 * If the state cannot be restored, the load fails; load the component without "durable" to begin
 * anew. One component may keep a durable state under an id; each instance of a pool has its own.
 *
 *     "supervision": {                    of each instance, if the member is there:
 *       "restart": "permanent",           "permanent": a new instance at once. "transient": the
 *                                         same, but an exit with code 0 stops the component.
 *                                         "temporary": none, the component fails. "on-demand": with
 *                                         the next message
 *       "max-restarts": 10,               in "window-ms"; then the component fails: what waits
 *                                         becomes dead letters, and messages are refused, until
 *                                         airssys_engine_start. null: no limit
 *       "window-ms": 60000,               slides
 *       "backoff": {                      pauses before restarts; messages wait meanwhile
 *         "growth": "exponential",        "none": no pause, "fixed": always the first,
 *                                         "exponential": each twice as long as the one before
 *         "first-ms": 100,
 *         "max-ms": 30000,
 *         "jitter-percent": 20,           the share of a pause of which a random part is left out
 *         "quiet-ms": 60000               without a restart, after which the first pause is next
 *       }
 *     }
 *
 *     "limits": {
 *       "max-memory-bytes": 268435456,    all memories of the component together
 *       "max-host-bytes": 67108864,       host memory that the component occupies, from 262144:
 *                                         mail, open requests, metadata, in-memory storage.
 *                                         Default: at least "max-bytes" of the mailbox
 *       "max-message-bytes": 16777216,    payload of a message to it or from it, and of a reply; at
 *                                         most 1073741824
 *       "max-execution-time-ms": 5000,    for one message, with host functions and sleeps
 *       "max-fuel": null,                 for one message, about one unit per instruction; null: no
 *                                         limit
 *       "max-instances": 1000,            core instances inside the component, 1 to 100000
 *       "max-table-elements": 100000      all tables together
 *     }
 *
 * Fixed limits: 512 KiB of stack, 100 memories, 1,000 tables. A message that does not fit into the
 * receiver's memory is not delivered: it fails with `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`. If the
 * outcome of a component's own request does not fit, the component receives a small error instead.
 *
 * Texts of components have fixed bounds:
 *
 *     part of an id                     255 bytes
 *     storage key                       1,024 bytes
 *     text of an error                  4,096 bytes; longer ones are cut and state their length
 *     log record                        65,536 bytes, with 64 pairs of 4,096 bytes each; cut
 *     metadata                          4,096 bytes per text, 256 operations of 256 bytes each;
 *                                       more is AIRSSYS_ERROR_INVALID_COMPONENT
 *     broadcast                         10,000 targets
 *
 * A quota of null is unlimited; for the last two, null is the default:
 *
 *     "quotas": {
 *       "messages-per-second": null,      sends, requests, and targets of broadcasts
 *       "outstanding-requests": null,     requests without an outcome
 *       "storage-bytes": null,            keys and values
 *       "storage-keys": null,
 *       "log-bytes-per-second": null,     records and output, plus 64 for each record and each
 *                                         pair. The rest is dropped; a record states how much when
 *                                         there is room again
 *       "random-bytes-per-second": null,
 *       "host-functions-per-second": null, calls of functions that the host offers
 *       "host-call-data-bytes": 33554432, from the component to the host in one call, of a host
 *                                         function or of one of its own; at most 134217728.
 *                                         Default: at least twice "max-message-bytes"
 *       "wasi-resources": 256             open files, sockets, timers and streams, 1 to 1048576
 *     }
 *
 * A rate is a token bucket, one second deep. A larger amount passes when the bucket is full, and is
 * paid back afterwards. Waiting mail is bounded by the mailbox, not by a quota; the refusal of a
 * full mailbox is recorded as a breach of quota by the sender.
 *
 *
 * GROUP: airssys_engine_add_group
 *
 *     {
 *       "strategy": "one-for-one",        what the loss of a member takes along: "one-for-one":
 *                                         nothing, "one-for-all": all members, "rest-for-one":
 *                                         those that came into the group after it
 *       "max-restarts": 10,               by the group, in "window-ms"; then it gives up, see
 *                                         airssys_engine_add_group. null: no limit
 *       "window-ms": 60000,               slides
 *       "group": "text"                   the group around it, by name; default: none
 *     }
 *
 *
 * REPLACE: airssys_engine_replace, airssys_engine_replace_file
 *
 *     {
 *       "env": { "KEY": "value" },        in place of all earlier variables; default: they stay
 *       "config": "text" or any JSON,     as for a load; null: none; default: it stays
 *       "health-gate-ms": 1000,           the new instance must report itself healthy within this
 *                                         time; default: its health does not matter
 *       "timeout-ms": 1000,               the new instance waits this long for the message in
 *                                         progress, which is not interrupted; default: no limit
 *       "expect": { ... },                as for a load
 *       "newer": false,                   true: the version in the metadata must be newer than the
 *                                         one before, by the rules of semver
 *       "sha256": "64 digits",            as for a load
 *       "signature": "128 digits",        as for a load
 *       "canary": { ... }                 the new version is tried first, see below; default: it
 *                                         takes over at once
 *     }
 *
 * A canary: each instance gets one of the new version beside it, which handles a share of the
 * messages.
 *
 *     "canary": {
 *       "share-percent": 10,              of the messages, 1 to 100; exact for each instance
 *       "messages": 100,                  messages and callbacks after which the canary is
 *                                         promoted; 1 to 1000000000; default: 100 unless there is
 *                                         "time-ms"
 *       "time-ms": 60000,                 after which it is promoted, or aborted if it has handled
 *                                         nothing; 1 to 2592000000; default: no limit
 *       "max-error-percent": 0,           of what it has handled: with more errors it is aborted,
 *                                         as soon as "messages" cannot make up for them; null: any
 *       "promote": "automatic"            "by-call": only `airssys_engine_promote` promotes it, and
 *                                         after "time-ms" it is aborted
 *     }
 *
 * The order of messages stays, and one is handled at a time. Callbacks go to the version that made
 * the request. Errors are all that `airssys_engine_stats` counts as failed; what the host ends is
 * none. After a crash the canary gets a new instance with its next message; the supervision of the
 * component does not count that. If both versions export `component-state`, the canary begins with
 * the state of the old version; each has its own then, and at the promotion that of the old version
 * goes to a new instance of the new one. A canary is aborted when the component is stopped,
 * restarted, unloaded, or fails. A component with a canary is not passivated and not recycled, and
 * counts once for "max-live-instances".
 *
 *
 * SIGNATURES: "signature" of LOAD and REPLACE, "trusted-keys" and "require-signature" of
 * CONFIGURATION
 *
 * A signature is Ed25519 (RFC 8032) over 32 bytes: the SHA-256 of the binary, not its hexadecimal
 * text. Keys and signatures are hexadecimal digits, 64 and 128. A signature that is given must be
 * by one of the trusted keys. With "require-signature", a binary without one is refused as well.
 * Refused binaries are AIRSSYS_ERROR_INVALID_COMPONENT, and are never compiled. A replacement
 * without a new binary and a rollback need no signature: their binary was checked when it came.
 * `airssys_engine_describe` names the key that signed.
 *
 *
 * STORAGE: "storage" of CONFIGURATION
 *
 *     { "path": "/var/lib/app/state",     the file; its directory must exist. Default: memory, or
 *                                         the host
 *       "durability": "sync",             or "interval", see below
 *       "interval-ms": 1000,              between two syncs with "interval"
 *       "cache-bytes": 16777216,          of the file's pages, in memory
 *       "check-on-open": true,            false: verifies the file only after a crash
 *       "compact-above-ratio": 4,         compacts a file that is larger than 64 MiB and than this
 *                                         many times what is in it; 0: never
 *       "read-cache-bytes": 1048576 }     not for a file: memory for what was read from the host's
 *                                         storage, and for keys that it lacks: each is read once.
 *                                         Only for a storage that nobody else writes to; default:
 *                                         none
 *
 * airssys_engine_new opens the file, and makes it if it is missing, for this user only;
 * airssys_engine_free closes it. One engine at a time has it open. A file of another format or
 * program, and a damaged one, are refused and never changed. The object replaces one of an earlier
 * document as a whole. A "path" excludes a storage of the host.
 *
 * "sync": when set or delete returns to a component, the change is on disk, whatever happens to the
 * process or the system. Components that store at the same time share a sync. "interval": it is
 * there within "interval-ms", or when the engine ends; a crash of the process or the system, or an
 * error of the disk, loses all changes since the last sync. In both cases each change is complete
 * or not made, in the order in which a component made them.
 *
 * Components wait for the disk without holding a worker; only the one that asked waits. A full disk
 * is quota-exceeded to the component, any other error of the disk io-error, with the text in the
 * log. Such an error may be told of a change that was made nevertheless. The file is then opened
 * anew and verified as after a crash, which takes a time in proportion to its size; changes
 * meanwhile, and for 16 times as long, get the same error, and reads go on. A process with a limit
 * on the size of files (RLIMIT_FSIZE) must ignore SIGXFSZ, which otherwise ends it.
 *
 * Each value has a checksum, so that damage becomes an error and never wrong data. Damage of keys
 * is found when the file is opened. One case cannot be told from a crash in the middle of a change:
 * after a crash, damage of what the last change wrote undoes that change.
 *
 * A child of fork that lives on without exec keeps the file locked if its parent is killed.
 *
 *
 * CAPABILITIES: "capabilities" of LOAD and CONFIGURATION, airssys_engine_grant,
 * airssys_engine_revoke
 *
 * A component may do what its capabilities grant, and nothing else. Capabilities are a set of
 * grants, or an array of sets (in LOAD and CONFIGURATION). A set:
 *
 *     { "messaging": { "send": ["app/log/0"],         patterns of receivers' ids
 *                      "request": ["app/db/r*"], "broadcast": ["**"] },
 *       "storage": ["read", "write", "delete"],       in the component's own namespace
 *       "filesystem": { "/srv/in": ["read", "list-dir"],
 *                       "/srv/out/log*.csv": { "actions": ["read", "write", "delete"],
 *                                              "guest-path": "/out" } },
 *       "network": { "outbound": ["api.example.com:443", "10.1.0.0/16:5432"],
 *                    "inbound": ["127.0.0.1:8080"] },
 *       "host": ["editor:api/buffer#get-line"],       patterns of the host's functions
 *       "expires-in-ms": 60000 }                      from reading the document, by the system's
 *                                                     clock; or "expires-at-ms", since 1970
 *
 * The longer forms of wit/core/capabilities.wit are equivalent:
 *
 *     "messaging":  [{ "action": "send", "target-pattern": "app/log/0" }]
 *     "storage":    [{ "action", "namespace-pattern" }]
 *     "filesystem": [{ "action" or "actions", "path-pattern", "guest-path" }]
 *     "network":    [{ "action", "host-pattern", "port", "private" }]
 *
 * Storage. "read" covers get, exists, list-keys and usage; "write" covers set; "delete" covers
 * delete. Without a pattern, the grant is for the component's own namespace, its id. A component
 * with "storage": { "scope": "name" } uses the namespace "namespace/name" instead, and needs a
 * grant whose pattern matches that: "storage": { "read": "app/db", "write": "app/db" }.
 *
 * Host. The functions of interfaces that the host offers, see airssys_config_add_interface, without
 * versions: "editor:api/buffer#get-line", "editor:api/buffer#*". A * matches as in ids.
 *
 * Patterns. * matches any characters within a segment. A segment ** matches any number of segments,
 * also none.
 *
 * Files. A path is absolute. It names a directory with everything in it, a file, or a directory
 * followed by a name with wildcards: the files directly in the directory with such a name. The
 * directory must exist. The library holds it open: a later replacement is not reached, and neither
 * symbolic links nor ".." lead out of it. If the path names a file or has wildcards, no symbolic
 * link is followed. Components cannot make links. "guest-path" is where the component sees the
 * directory; default: its own path.
 *
 * Network. A host is a name, *.example.com, **.example.com, an address, addr/bits or *, each with
 * :port or for all ports. A name and * reach public addresses only. They reach any address with
 * "private": true, or if a grant covers the address itself. An instance remembers the addresses
 * that its lookups found: the grant of a name does not reach other addresses. The host of an
 * inbound grant is the address to listen on.
 *
 *
 * POLICIES: airssys_engine_set_policies, "policies" of CONFIGURATION
 *
 *     { "rules": [
 *       { "effect": "deny",               required; "deny" or "allow"
 *         "component": "plugins/seo/v*",  pattern of ids; default: "**", all
 *         "action": "messaging.send",     or a group, "storage.*"; default: "*", all
 *         "resource": "app/billing/0",    pattern of resources; default: "**", all
 *         "reason": "plugins must not write to billing" } ] }
 *
 * The first rule that applies decides. "deny" refuses, regardless of grants. "allow" exempts from
 * later rules. Neither grants anything: capabilities do. Actions and their resources:
 *
 *     messaging.send, .request, .broadcast            id of the receiver
 *     messaging.cancel                                id of the request
 *     directory.list                                  id of the listed component
 *     storage.read, .write, .delete                   namespace
 *     filesystem.read, .write, .delete, .list-dir     path of the host, without symbolic links
 *     network.outbound, .inbound                      host or address, with or without ":port"
 *     host.function                                   "editor:api/buffer#get-line", no version
 *     environment.read, random.read, clock.read       none; "**" applies
 *     log.write                                       none; "**" applies
 *     host.call                                       none; only in records, of quotas on calls
 *
 * environment.read, random.read, clock.read, log.write and messaging.cancel are allowed to every
 * component unless a rule refuses them. A refused clock or random number ends the call as a trap. A
 * refused environment is empty. Refused log records are dropped.
 *
 * A rule that denies a directory denies everything in it; a rule that allows a directory allows
 * only itself. A rule that can match nothing, because no id, path or host is like its pattern, is
 * an error. A component sees the components that it may send to, unless a rule refuses
 * directory.list; the record of a list has the resource "**". A rule with a port does not refuse
 * lookups of names. A rule for a name does not refuse connections to an address that was found
 * otherwise.
 */

/* -- MESSAGES ---------------------------------------------------------------------------------- */

/**
 * Ends the message when its sender stops waiting.
 *
 * When the call's timeout or the request's deadline passes, or the request is cancelled, a running
 * message is interrupted, as by `airssys_engine_interrupt`, and a waiting one is withdrawn.
 */
#define AIRSSYS_MESSAGE_ENDS_WITH_SENDER 1

/**
 * Of a typed call: every list of numbers or bools in the result is base64, see
 * `airssys_engine_invoke`.
 */
#define AIRSSYS_MESSAGE_PACKED_LISTS 2

/**
 * What a message carries besides its payload. Zero the struct, set `size`, then set the other
 * fields.
 */
struct airssys_message_options_t {
  /** `sizeof(airssys_message_options_t)`. */
  size_t size;
  /**
   * The sender, `namespace/name/instance`; NULL: `host/<engine name>/0`. Any id is accepted: the
   * host vouches for it.
   */
  const char *sender;
  /**
   * Type of the payload, for example `application/json`, at most 1,024 bytes; NULL: unspecified.
   */
  const char *content_type;
  /**
   * Milliseconds, the wait in the mailbox included; 0: no limit except the component's own.
   *
   * Of a call: the longest wait. Of a request: its deadline. A message that has begun by then
   * runs to its end on a thread of the library, and its reply is dropped, unless it has
   * `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`. A message that has not begun is never handled and
   * becomes a dead letter. A host callback that runs on the calling thread is not cut short.
   *
   * Of a send: the longest wait for room, if the mailbox blocks its senders; 0: no limit.
   */
  uint64_t timeout_ms;
  /** `AIRSSYS_MESSAGE_...` flags, or 0. */
  uint64_t flags;
  /**
   * Of a call: called about every 50 ms while the call waits, on the calling thread and its
   * native stack; may be NULL.
   */
  airssys_progress_fn_t progress;
  /** Passed to `progress`. The library does not use it otherwise. */
  void *progress_data;
};

/**
 * Queues a message without waiting for an outcome. If its handling fails, the log records it.
 *
 * `engine`: borrowed. `handle`: the receiver. `payload`, `len`: borrowed, copied; (NULL, 0) is
 * empty. `options`: borrowed, may be NULL. `error`: may be NULL. Any thread; callable from
 * callbacks. Blocks only while it waits for room in a mailbox that blocks its senders.
 *
 * Messages from one thread to one component are handled in the order of sending. The instances of
 * a pool share the messages, and only each instance keeps the order.
 *
 * Returns `AIRSSYS_OK` once the message is queued, or:
 *
 * - `AIRSSYS_ERROR_QUEUE_FULL`: no room, or no room in time.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
 *   `airssys_engine_start`.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: beyond the receiver's `max-message-bytes`.
 * - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the receiver handles no messages.
 * - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
 *   `codecs`.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: a callback would wait for room in the mailbox of the component
 *   that waits for the callback.
 * - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 *   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_send(airssys_engine_t *engine,
                                     uint64_t handle,
                                     const uint8_t *payload,
                                     size_t len,
                                     const airssys_message_options_t *options,
                                     airssys_error_t **error);

/**
 * Queues one message for several components. It tries all of them; they share the payload.
 *
 * `engine`: borrowed. `handles`: borrowed, `count` of them; (NULL, 0) is none. `payload`, `len`:
 * borrowed, copied once; (NULL, 0) is empty. `options`: borrowed, may be NULL; `timeout_ms` is for
 * all targets together. `error`: may be NULL. Any thread; callable from callbacks. Blocks as
 * `airssys_engine_send` does.
 *
 * Returns `AIRSSYS_OK` if all have accepted it, or:
 *
 * - `AIRSSYS_ERROR_DELIVERY_FAILED`: some have not. The details' `failed` lists each with its
 *   status and message.
 * - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_broadcast(airssys_engine_t *engine,
                                          const uint64_t *handles,
                                          size_t count,
                                          const uint8_t *payload,
                                          size_t len,
                                          const airssys_message_options_t *options,
                                          airssys_error_t **error);

/**
 * Sends a message to a component and waits for the reply.
 *
 * - `engine`: borrowed. `handle`: the receiver.
 * - `payload`, `len`: borrowed; (NULL, 0) is empty. Nobody may change the bytes during the call.
 * - `options`: borrowed, may be NULL.
 * - `out_reply`: receives the reply, which the caller owns. Its `data` is NULL if the component
 *   handled the message without a reply.
 * - `error`: may be NULL.
 *
 * Any thread, several at once; callable from callbacks. Blocks until the component has replied.
 * Calls to one instance wait for each other; calls to different instances, also of a pool, do not.
 *
 * An idle component runs on the calling thread. The call needs at most 64 KiB of its stack, plus
 * what the host's callbacks use: guests have their own stacks. A component without imports in
 * which it can wait runs on the thread's stack if 768 KiB are left there.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_RUNTIME`, or the status of another `wasm-error` case: the component returned an
 *   error.
 * - `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
 *   `AIRSSYS_ERROR_INTERRUPTED`.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: no such handle, or unloaded before it replied.
 * - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the receiver handles no messages.
 * - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
 *   `codecs`.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
 *   `airssys_engine_start`.
 * - `AIRSSYS_ERROR_INSTANTIATION_FAILED`: no new instance after a crash.
 * - `AIRSSYS_ERROR_IO`: no memory for the guest's stack. The message has not begun.
 * - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
 * - `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 *   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_call(airssys_engine_t *engine,
                                     uint64_t handle,
                                     const uint8_t *payload,
                                     size_t len,
                                     const airssys_message_options_t *options,
                                     airssys_bytes_t *out_reply,
                                     airssys_error_t **error);

/* -- REQUESTS ---------------------------------------------------------------------------------- */

/** The outcome of a request. All pointers are valid until the callback returns. */
struct airssys_completion_t {
  /** `sizeof(airssys_completion_t)` in the library. */
  size_t size;
  /**
   * Id of the request, from `airssys_engine_request` or `airssys_engine_deliver`. Components and
   * events show it as 16 hexadecimal digits.
   */
  uint64_t request;
  /**
   * `AIRSSYS_OK`, or why there is no reply: the status of `airssys_engine_call` for the same
   * reason, `AIRSSYS_ERROR_TIMEOUT` for the request's deadline, `AIRSSYS_ERROR_CANCELLED`,
   * `AIRSSYS_ERROR_QUEUE_FULL` if the message made room for a newer one, or
   * `AIRSSYS_ERROR_ENGINE_STOPPED`.
   */
  airssys_status_t status;
  /** The reply; NULL if there is none. */
  const uint8_t *reply;
  /** Its length in bytes. */
  size_t reply_len;
  /** The error; NULL with `AIRSSYS_OK`. The library owns it. */
  const airssys_error_t *error;
};

/**
 * Receives the outcome of a request. It is called exactly once for each accepted request.
 *
 * It runs on a thread of the library, or, for requests that are open when an engine is freed,
 * on the thread that frees it. Several run at once for different requests. It may block. While
 * eight completions block, each further one may be delayed by 20 milliseconds, until a thread
 * is added. It may call any function except `airssys_engine_shutdown` of its own engine, and
 * must not unwind into the library.
 */
typedef void (*airssys_reply_fn_t)(void *user_data, const airssys_completion_t *completion);

/**
 * Sends a message to a component. The outcome goes to a callback, exactly once.
 *
 * - `engine`: borrowed. `handle`: the receiver.
 * - `payload`, `len`: borrowed, copied; (NULL, 0) is empty.
 * - `options`: borrowed, may be NULL. `timeout_ms` is the deadline of the request, the wait for
 *   room in a blocking mailbox included; 0: only the component's own limits. A message that has
 *   begun at the deadline runs to its end, unless it has `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`;
 *   its reply is dropped and counted in `airssys_engine_stats`. A message that has not begun is
 *   never handled, see `AIRSSYS_ERROR_TIMEOUT`.
 * - `reply_fn`: see `airssys_reply_fn_t`. On an error it is not called.
 * - `user_data`: passed to `reply_fn`. The library does not use it otherwise.
 * - `out_id`: receives the id of the request; must not be NULL. The id is never 0 and is not
 *   reused. The callback can run before it is written, and receives the id too.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks as `airssys_engine_send` does. If the receiver
 * handles no messages, the completion reports `AIRSSYS_ERROR_EXPORT_NOT_FOUND`.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_QUEUE_FULL`: no room, no room in time, or too many open requests.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
 *   `airssys_engine_start`.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: beyond the receiver's `max-message-bytes`.
 * - `AIRSSYS_ERROR_INVALID_MESSAGE`: begins with a multicodec that is not among the receiver's
 *   `codecs`.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: a callback would wait for room in the mailbox of the component
 *   that waits for the callback.
 * - `AIRSSYS_ERROR_INVALID_ID`: `options.sender`.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 *   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_request(airssys_engine_t *engine,
                                        uint64_t handle,
                                        const uint8_t *payload,
                                        size_t len,
                                        const airssys_message_options_t *options,
                                        airssys_reply_fn_t reply_fn,
                                        void *user_data,
                                        uint64_t *out_id,
                                        airssys_error_t **error);

/**
 * Ends a request of `airssys_engine_request` or `airssys_engine_deliver` with
 * `AIRSSYS_ERROR_CANCELLED`.
 *
 * The message is still handled, unless it has `AIRSSYS_MESSAGE_ENDS_WITH_SENDER`. The
 * completion may run before this function returns.
 *
 * `engine`: borrowed. `id`: the request. `error`: may be NULL. Any thread; callable from
 * callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (it has its outcome already, although its
 * completion may still be to come, or is not
 * the host's), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_cancel(airssys_engine_t *engine,
                                       uint64_t id,
                                       airssys_error_t **error);

/* -- TYPED CALLS ------------------------------------------------------------------------------- */

/**
 * Calls an exported function of a component with typed values, and waits for the result.
 *
 * It works for every component, with or without `component-lifecycle`. The call is a message like
 * any other: mailbox, order, limits, supervision and counters apply, and a trap ends the instance.
 *
 * - `engine`: borrowed. `handle`: the receiver.
 * - `function`: borrowed text. `add` is a function of the component itself;
 *   `docs:calc/ops@0.1.0#add` is one of an exported interface, whose version may be left out if
 *   only one is exported; `docs:calc/ops#[constructor]list`, `...#[method]list.push` and
 *   `...#[static]list.of` are those of a resource. `docs:calc/ops#[resource-drop]list` drops the
 *   resource of a handle, its only argument.
 * - `args_json`: borrowed text: an array of the arguments in order, or an object of them by the
 *   names of the parameters. NULL: no arguments.
 * - `options`: borrowed, may be NULL.
 * - `out_json`: receives the result, which the caller owns: JSON without a final NUL; `null` if
 *   the function has none.
 * - `error`: may be NULL.
 *
 * Any thread, several at once; callable from callbacks. Blocks as `airssys_engine_call` does, and
 * runs on the same stacks.
 *
 * Values and their JSON, in both directions:
 *
 *     bool                      true, false
 *     s8 ... s32, u8 ... u32    a number
 *     s64, u64                  a number with all its digits; a string of digits is accepted too
 *     f32, f64                  a number, or "NaN", "Infinity", "-Infinity"
 *     char                      a string of one character
 *     string                    a string
 *     list<u8>                  a string, base64 with padding; an array is accepted too
 *     list<T>                   an array; of numbers or bools also a string, see below
 *     record                    an object by field; a missing option field is none
 *     tuple                     an array
 *     option<T>                 null, or the value; in option<option<T>> also {"some": value}
 *     result<T, E>              {"ok": value} or {"err": value}, with null for no value
 *     variant                   "case", or {"case": value} for a case with a payload
 *     enum                      "case"
 *     flags                     an array of the names that are set
 *     own<T>, borrow<T>         a number, the handle of the resource
 *
 * A list of numbers or bools may also be passed as base64 of its elements, little-endian and
 * without gaps, which is much faster for long ones. With `AIRSSYS_MESSAGE_PACKED_LISTS` results
 * have this form.
 *
 * A handle stands for a resource of one instance, so a component with resources should have one
 * instance. It is valid until it is dropped, passed on as `own`, or its instance ends; handles are
 * never reused. An instance can have 65,536.
 *
 * Arguments are checked before the component is entered.
 *
 * `wasi:cli/run` without `#run` runs the component as a command-line program, in an instance of
 * its own that begins anew and ends with the run: a trap ends the run and is no crash of the
 * component. `args_json` is an array of strings, the arguments after the program's name, or
 * `{"args": [...], "stdin": "..."}`. The program's name is that of the component. The result is
 * `{"status": 0, "stdout": "...", "stderr": "..."}`: the exit status, and the output as text, with
 * U+FFFD for what is not UTF-8. With `AIRSSYS_MESSAGE_PACKED_LISTS` input and output are base64.
 * Output counts against `max-host-bytes`, and the result against `max-message-bytes`.
 *
 * Returns `AIRSSYS_OK`, also if the function returns a `result` that is an error, or:
 *
 * - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: no such function. The message names near ones.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: an argument does not fit. The message has its place and what
 *   was expected: `args[1].name: expected string, got 3`.
 * - `AIRSSYS_ERROR_UNSUPPORTED`: the function is asynchronous.
 * - `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
 *   `AIRSSYS_ERROR_INTERRUPTED`, `AIRSSYS_ERROR_RUNTIME`.
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: no such handle, or unloaded before it answered.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
 *   `airssys_engine_start`.
 * - `AIRSSYS_ERROR_INSTANTIATION_FAILED`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_INVALID_ID`,
 *   `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 *   `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`: as of `airssys_engine_call`.
 */
airssys_status_t airssys_engine_invoke(airssys_engine_t *engine,
                                       uint64_t handle,
                                       const char *function,
                                       const char *args_json,
                                       const airssys_message_options_t *options,
                                       airssys_bytes_t *out_json,
                                       airssys_error_t **error);

/**
 * Calls an exported function with typed values. The result goes to a callback, exactly once.
 *
 * `engine`: borrowed. `handle`: the receiver. `function`, `args_json`: as of
 * `airssys_engine_invoke`, copied. `options`: borrowed, may be NULL. `reply_fn`, `user_data`,
 * `out_id`: as of `airssys_engine_request`; `reply` of the completion is the result in JSON.
 * `error`: may be NULL. Any thread; callable from callbacks. Blocks as `airssys_engine_send` does.
 *
 * What is wrong with the function or the arguments is the status of the completion.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_COMPONENT_STOPPED`,
 * `AIRSSYS_ERROR_COMPONENT_FAILED`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
 * `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`,
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`, as of `airssys_engine_request`.
 */
airssys_status_t airssys_engine_invoke_request(airssys_engine_t *engine,
                                               uint64_t handle,
                                               const char *function,
                                               const char *args_json,
                                               const airssys_message_options_t *options,
                                               airssys_reply_fn_t reply_fn,
                                               void *user_data,
                                               uint64_t *out_id,
                                               airssys_error_t **error);

/* -- FUNCTIONS OF THE HOST --------------------------------------------------------------------- */

/**
 * Result of `call` of an interface, for `airssys_writer_finish`: the host answers later, with
 * `airssys_engine_answer`.
 */
#define AIRSSYS_ANSWERS_LATER -1

/** A call of a function of the host. All pointers are valid until the callback returns. */
struct airssys_function_call_t {
  /** `sizeof(airssys_function_call_t)` in the library. */
  size_t size;
  /** The interface as the component imports it, for example `editor:api/buffer@1.0.0`. */
  const char *interface;
  /** The function, for example `get-line`. */
  const char *function;
  /** The calling component, `namespace/name/instance`. */
  const char *caller;
  /** Its handle. */
  uint64_t handle;
  /** The arguments, a JSON array without a final NUL. `airssys_engine_invoke` has the mapping. */
  const char *args_json;
  /** Its length in bytes. */
  size_t args_len;
  /** The name of the call for `airssys_engine_answer`, in the engine of the component. */
  uint64_t token;
};

/** The functions of an interface. */
struct airssys_interface_t {
  /** `sizeof(airssys_interface_t)`. */
  size_t size;
  /** Passed to every callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /**
   * Calls a function; the component waits for its answer. Required.
   *
   * It runs on any thread, several at once for different components, and always on a native
   * stack. It may block: only the calling component waits, and its time limit ends the wait. It
   * may call any function except `airssys_engine_shutdown` of its own engine, and must not
   * unwind into the library.
   *
   * It must set its result with `airssys_writer_finish`:
   *
   * - `AIRSSYS_OK`: `airssys_writer_write` has written the result in JSON, or nothing if the
   *   function has none. A result that does not fit the function's type is a trap of the
   *   component.
   * - `AIRSSYS_ANSWERS_LATER`: `airssys_engine_answer` follows, on any thread.
   * - Any other status: an error, with the text that it wrote. A function whose type is
   *   `result<T, string>` returns the text as its error, one of `result<T>` returns its error
   *   without the text, and any other traps.
   */
  void (*call)(void *user_data, const airssys_function_call_t *call, airssys_writer_t *answer);
};

/**
 * Offers an interface of the host, whose functions components import and call with typed values.
 *
 * A component may call the functions that `"host"` of its capabilities covers:
 *
 *     { "capabilities": { "host": ["editor:api/buffer#get-line", "editor:api/b*"] } }
 *
 * A function without a right fails as one with an error does, see `airssys_interface_t`. The audit
 * and policies know the calls as `host.function` on `editor:api/buffer#get-line`.
 *
 * - `config`: borrowed. Engines made from it afterwards have the interface.
 * - `name`: borrowed text, `namespace:package/interface`, with or without `@version`. An interface
 *   serves imports of its version and of older compatible ones, as semantic versioning has it; one
 *   without a version serves all. `airssys:` and `wasi:` belong to this library.
 * - `interface_`: borrowed, copied. On success the library owns its `user_data`: it calls
 *   `drop(user_data)` once, when neither the configuration nor an engine made from it uses it any
 *   more. On an error it does not call `drop`.
 * - `error`: may be NULL.
 *
 * The types are those that the component imports: the host gets and returns their JSON, see
 * `airssys_engine_invoke`. An interface has functions and types; a component that imports a
 * resource of it is refused.
 *
 * Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `call`, a wrong `size`, a
 * malformed name, or one that is offered already) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_add_interface(airssys_config_t *config,
                                              const char *name,
                                              const airssys_interface_t *interface_,
                                              airssys_error_t **error);

/**
 * Answers a call of a host function for which `call` returned `AIRSSYS_ANSWERS_LATER`.
 *
 * - `engine`: borrowed, the engine of the calling component.
 * - `token`: from the call.
 * - `status`: `AIRSSYS_OK`, or any other status: an error.
 * - `data`, `len`: borrowed, copied: the result in JSON, or the text of the error; (NULL, 0) is
 *   none.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks, `call` included.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (answered already, or the component does
 * not wait any more: its time passed, or it was interrupted), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_answer(airssys_engine_t *engine,
                                       uint64_t token,
                                       airssys_status_t status,
                                       const uint8_t *data,
                                       size_t len,
                                       airssys_error_t **error);

/* -- RIGHTS ------------------------------------------------------------------------------------ */

/**
 * Replaces the policies of the configuration or of an earlier call. They apply to all components,
 * from the next decision on.
 *
 * `engine`: borrowed. `json`: borrowed text, see POLICIES in OPTIONS above. `error`: may be NULL.
 * On an error nothing changes. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_set_policies(airssys_engine_t *engine,
                                             const char *json,
                                             airssys_error_t **error);

/**
 * Adds grants to a component, from the next decision on.
 *
 * A new directory appears to the component with its next instance. So does the right to change
 * something in a directory that it could only read.
 *
 * `engine`: borrowed. `handle`: the component. `json`: borrowed text, one set of grants, see
 * CAPABILITIES in OPTIONS above; a grant that the component already has gets the expiry of the new
 * one. `error`: may be NULL. On an error nothing changes. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_grant(airssys_engine_t *engine,
                                      uint64_t handle,
                                      const char *json,
                                      airssys_error_t **error);

/**
 * Removes grants from a component, from the next decision on.
 *
 * Accepted messages are still delivered. Open files and connections can no longer be read or
 * written.
 *
 * `engine`: borrowed. `handle`: the component. `json`: borrowed text, the grants as they were
 * made, by action and pattern (their expiry does not matter); NULL: all grants. To remove a part
 * of what a pattern covers, use a policy. `error`: may be NULL. On an error nothing changes. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also
 * if the component does not have a grant), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_revoke(airssys_engine_t *engine,
                                       uint64_t handle,
                                       const char *json,
                                       airssys_error_t **error);

/**
 * Tells whether a component may do something now, and what decides. It ignores quotas and records
 * nothing.
 *
 *     { "component": "app/web/0", "action": "messaging.send", "resource": "app/db/0",
 *       "allowed": true,
 *       "by": "grant",                  or "policy", "ambient", "not-granted", "never"
 *       "rule": "grant app/db/0",       the grant or rule, with its reason
 *       "until-ms": null }              when the grant expires, milliseconds since 1970
 *
 * "ambient": the action reaches nothing of the host (clocks, random numbers, the log, the
 * environment) and needs no grant. "never": no grant can allow it, for example the storage
 * namespace of another component.
 *
 * - `engine`: borrowed. `handle`: the component.
 * - `action`: borrowed text, see POLICIES in OPTIONS above.
 * - `resource`: borrowed text, spelled as in an audit record or in an equivalent notation
 *   (`127.1:80`); a path without links; "" for the component's own resource, for example its
 *   storage namespace.
 * - `out_json`: receives the document, which the caller owns.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (an
 * unknown action), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_explain(airssys_engine_t *engine,
                                        uint64_t handle,
                                        const char *action,
                                        const char *resource,
                                        airssys_bytes_t *out_json,
                                        airssys_error_t **error);

/* -- INSPECTION -------------------------------------------------------------------------------- */

/**
 * Finds the component with an id. If there are several, it finds the least busy.
 *
 * `engine`: borrowed. `id`: borrowed text, `namespace/name/instance`. `out_handle`: receives the
 * handle. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_ID`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_find(airssys_engine_t *engine,
                                     const char *id,
                                     uint64_t *out_handle,
                                     airssys_error_t **error);

/**
 * Lists the components in the order of loading.
 *
 *     [{ "handle": 1, "id": "app/echo/0", "state": "running", "instances": 1,
 *        "version": 1, "sha256": "..." }]
 *
 * A state is one of those of `airssys_engine_wait`. The state of a pool is that of an instance that
 * is not running, if there is one.
 *
 * `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
 * NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_list(airssys_engine_t *engine,
                                     airssys_bytes_t *out_json,
                                     airssys_error_t **error);

/**
 * Describes a component, without asking it.
 *
 *     {
 *       "handle": 1, "id": "app/echo/0", "instances": 1, "state": "running", "health": "healthy",
 *       "version": 1, "canary": null,       see airssys_engine_status
 *       "lifecycle": true,                  whether it exports component-lifecycle
 *       "metadata": { "name", "version", "description", "author", "license",
 *                     "supported-operations": [], "stateful": false } or null,
 *       "limits": { ... }, "quotas": { ... },   as in the options of its load
 *       "grants": [{ "action": "messaging.send", "pattern": "app/db/0",
 *                    "guest-path": null, "expires-at-ms": null }],
 *       "mailbox": { "capacity": 1024, "max-bytes": 67108864, "when-full": "reject",
 *                    "depth": 0, "bytes": 0, "waiting": 0 },
 *       "host-bytes": 1024,                 host memory that it occupies, mail included
 *       "storage-namespace": "app/echo/0",  or "app/echo", which it shares
 *       "codecs": [],
 *       "messages": { ... },                as in airssys_engine_stats
 *       "fuel": 0, "time-ns": 0,
 *       "memory-bytes": 1114112,            after its last call, that of a canary included
 *       "restarts": 0,                      new instances after crashes
 *       "binary": { "blake3": "...", "sha256": "...", "bytes": 12345,
 *                   "code-bytes": 67890,    compiled, with the initial contents of memories
 *                   "signer": null }        or the key that signed it, as 64 hexadecimal digits
 *     }
 *
 * `health` is the component's last answer. The engine asks at load and in `airssys_engine_health`.
 *
 * `engine`: borrowed. `handle`: the component. `out_json`: receives the document, which the caller
 * owns. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_describe(airssys_engine_t *engine,
                                         uint64_t handle,
                                         airssys_bytes_t *out_json,
                                         airssys_error_t **error);

/**
 * Asks a component for its health, after the mail that it already has.
 *
 *     { "handle": 1, "id": "app/echo/0", "health": "healthy" }
 *
 * A health is `healthy`, `degraded`, `unhealthy` or `unknown`. Without `component-lifecycle` it is
 * always `unknown`.
 *
 * With `AIRSSYS_ALL_COMPONENTS` it asks no component, and tells whether the whole engine works:
 *
 *     { "live": true, "ready": false, "components": 2, "not-ready": [
 *       { "handle": 1, "id": "app/echo/0", "state": "failed", "health": "unhealthy" } ] }
 *
 * `live`: the workers take a new job within a second. `ready`: they do, and every component is
 * `running`, `passive` or `stopped`, and was not unhealthy when it was last asked. `not-ready`
 * lists the first 1,000 others.
 *
 * `engine`: borrowed. `handle`: the component, or `AIRSSYS_ALL_COMPONENTS`. `out_json`: receives
 * the document, which the caller owns. `error`: may be NULL. Any thread; callable from callbacks.
 * Blocks until the component has answered.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_TRAP`,
 * `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_TIMEOUT`,
 * `AIRSSYS_ERROR_INSTANTIATION_FAILED`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_health(airssys_engine_t *engine,
                                       uint64_t handle,
                                       airssys_bytes_t *out_json,
                                       airssys_error_t **error);

/**
 * Counts what the loaded components have done, in total and each.
 *
 *     {
 *       "components": 1,
 *       "binaries": 1,                      compiled and kept
 *       "code-bytes": 67890,                of these
 *       "cache": { "hits": 0, "misses": 0,  of cache-dir; null without one
 *                  "bytes": 0 },            of its entries, at the last look
 *       "messages": {
 *         "accepted": 0, "refused": 0,      by the mailbox
 *         "dropped": 0,                     accepted and never handled
 *         "handled": 0, "failed": 0,        callbacks included
 *         "sent": 0                         by the component
 *       },
 *       "mailbox": { "depth": 0, "bytes": 0,
 *                    "waiting": 0 },        senders that wait for room
 *       "fuel": 0,                          consumed, about one unit per instruction
 *       "time-ns": 0,                       handling mail, with host functions and waits. The clock
 *                                           advances every few milliseconds: only the sum over many
 *                                           messages is meaningful
 *       "memory-bytes": 1114112,            after the last call
 *       "host-bytes": 1024,                 host memory that components occupy
 *       "restarts": 0,
 *       "per-component": [{ "handle": 1, "id": "app/echo/0", "instances": 1,
 *                           and "messages" to "restarts" of this one }],
 *       "requests": { "outstanding": 0, "late-replies": 0 },
 *       "dead-letters": 0, "events-lost": 0,
 *       "audit-lost": { "allowed": 0, "denied": 0 },
 *       "storage": { "live-bytes": 0,       of keys and values in the file of storage.path;
 *                    "total-bytes": 0 }     of the file; null without one
 *     }
 *
 * `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
 * NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_stats(airssys_engine_t *engine,
                                      airssys_bytes_t *out_json,
                                      airssys_error_t **error);

/**
 * Tells what a binary is: its interfaces, functions and types. Nothing is compiled or run, and no
 * engine is needed.
 *
 *     {
 *       "world": "root", "size": 12345, "sha256": "64 digits",
 *       "producers": { "language": [{ "name": "Rust", "version": "" }],
 *                      "processed-by": [], "sdk": [] },   as the binary says
 *       "lifecycle": "1.0.0",               version of component-lifecycle; null: not exported
 *       "state": false,                     whether it exports component-state
 *       "needs": ["storage", "log"],        what it could ask for, see below
 *       "imports": [], "exports": [{
 *         "name": "docs:calc/ops@0.1.0",    "": what is in no interface, which comes first
 *         "docs": "text",                   if the binary has comments; so in all that follows
 *         "functions": [{
 *           "name": "add",
 *           "call": "docs:calc/ops@0.1.0#add",     for airssys_engine_invoke
 *           "params": [{ "name": "a", "type": "s32" }], "result": "s32" or null,
 *           "async": false, "docs": "text" }],
 *         "types": [{ "name": "point", "type": 0, "docs": "text" }] }],
 *       "types": [],                        see below
 *       "wit": "package root:component; ..."   null: WIT has no words for it, or 4 MiB of them
 *     }
 *
 * A type is the name of a primitive type ("s32", "string", ...) or a number: its place in `types`,
 * where every type is once. Aliases stand for what they name. `docs` is left out where there is
 * none; so is `type` of a case without payload.
 *
 *     { "kind": "record", "name": "point", "interface": "docs:calc/ops@0.1.0",
 *       "fields": [{ "name": "x", "type": "s32", "docs": "text" }] }
 *     { "kind": "variant", "name", "interface", "cases": [{ "name", "type" }] }
 *     { "kind": "enum", "name", "interface", "cases": [{ "name" }] }
 *     { "kind": "flags", "name", "interface", "flags": [{ "name" }] }
 *     { "kind": "resource", "name", "interface" }
 *     { "kind": "own", "resource": "counter", "type": 7 }     also "borrow"
 *     { "kind": "list", "type" }            also "option", "future", "stream"; "length" if fixed
 *     { "kind": "tuple", "types": [] }
 *     { "kind": "result", "ok": null, "err": "string" }
 *     { "kind": "map", "key", "value" }
 *
 * `needs` has the words of CAPABILITIES, `messaging`, `storage`, `filesystem` and `network`, and
 * those that need no grant: `environment`, `clock`, `random` and `log`. They follow from what it
 * imports, which may be more than it uses.
 *
 * `wasm`: borrowed, the binary, of at most 64 MiB. `out_json`: receives the document, which the
 * caller owns. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_COMPONENT` (as a load in an engine with defaults,
 * but code that is not valid goes unnoticed), `AIRSSYS_ERROR_INVALID_ARGUMENT` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_component_inspect(const uint8_t *wasm,
                                           size_t len,
                                           airssys_bytes_t *out_json,
                                           airssys_error_t **error);

/**
 * Tells what a loaded component is, as `airssys_component_inspect` does: the version that gets
 * messages, not a canary.
 *
 * `engine`: borrowed. `handle`: the component. `out_json`: receives the document, which the caller
 * owns. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_COMPONENT` (its
 * document would have more than 64 MiB), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`
 * or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_inspect(airssys_engine_t *engine,
                                        uint64_t handle,
                                        airssys_bytes_t *out_json,
                                        airssys_error_t **error);

/* -- STORED DATA ------------------------------------------------------------------------------- */

/**
 * Reads a value that a component has stored.
 *
 * The functions of this section take the id of a component, whether one with this id is loaded,
 * was loaded, or never was; or the `namespace/name` that components share (`"scope"` in LOAD).
 * They need no grant, and leave no record in the audit trail. They see and change at once what
 * the components see, and work also after `airssys_engine_shutdown`.
 *
 * What the host stores counts against the quotas of the component, and with the storage in
 * memory against its `max-host-bytes`. The host itself is not refused: a component that is
 * beyond a quota can store nothing more until there is room.
 *
 * With a storage of the host, its callbacks run on the calling thread.
 *
 * `engine`: borrowed. `id`: borrowed text. `key`: borrowed text, 1 to 1,024 bytes. `out_value`:
 * receives the value, which the caller owns. Its `data` is NULL if the key is missing, and is
 * not NULL for an empty value. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_INVALID_ID`
 * - `AIRSSYS_ERROR_IO`: the storage failed; the message has its words.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: called from a callback of the same storage, which serves
 *   one call at a time (`AIRSSYS_STORAGE_SERIALIZE`).
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: also a key that the storage does not accept.
 * - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_get(airssys_engine_t *engine,
                                            const char *id,
                                            const char *key,
                                            airssys_bytes_t *out_value,
                                            airssys_error_t **error);

/**
 * Stores a value, in place of an older one.
 *
 * `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `key`: borrowed
 * text, 1 to 1,024 bytes. `value`, `len`: borrowed, copied, at most 256 MiB; (NULL, 0) is an
 * empty value. `ttl_ms`: milliseconds after which the key is missing; 0: never. A component
 * that stores the key anew removes the time. `error`: may be NULL. Any thread; callable from
 * callbacks.
 *
 * The time is one of the system's clock: if that is set forward, keys expire early. Expired
 * keys are removed when their namespace is used. Until then they may count in its usage.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_UNSUPPORTED`: a `ttl_ms` with a storage of the host.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: the storage has no room.
 * - As for `airssys_engine_storage_get`: `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_IO`,
 *   `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_set(airssys_engine_t *engine,
                                            const char *id,
                                            const char *key,
                                            const uint8_t *value,
                                            size_t len,
                                            uint64_t ttl_ms,
                                            airssys_error_t **error);

/**
 * Removes a key. A missing key is not an error.
 *
 * `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `key`: borrowed
 * text. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
 * `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_delete(airssys_engine_t *engine,
                                               const char *id,
                                               const char *key,
                                               airssys_error_t **error);

/**
 * Lists keys, in the order of their bytes.
 *
 *     { "keys": ["a", "b"], "more": false }
 *
 * - `engine`: borrowed.
 * - `id`: borrowed text; see `airssys_engine_storage_get`.
 * - `prefix`: borrowed text with which the keys begin; NULL: all keys.
 * - `after`: borrowed text; only keys after this one are listed. NULL: from the first. To go on
 *   after `more`, pass the last key of the list.
 * - `limit`: the most keys in the list; 0: no limit.
 * - `out_json`: receives the document, which the caller owns.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Keys that are stored or removed meanwhile may be in the
 * list or not.
 *
 * Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
 * `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_list(airssys_engine_t *engine,
                                             const char *id,
                                             const char *prefix,
                                             const char *after,
                                             size_t limit,
                                             airssys_bytes_t *out_json,
                                             airssys_error_t **error);

/**
 * Counts the stored bytes and keys, as the component's quotas do.
 *
 * `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `out_bytes`:
 * receives the bytes of all keys and values. `out_keys`: receives the number of keys. `error`:
 * may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` or, as for `airssys_engine_storage_get`, `AIRSSYS_ERROR_INVALID_ID`,
 * `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_usage(airssys_engine_t *engine,
                                              const char *id,
                                              uint64_t *out_bytes,
                                              uint64_t *out_keys,
                                              airssys_error_t **error);

/**
 * Changes several keys at once: all, or none. No component sees some of the changes.
 *
 * `engine`: borrowed. `id`: borrowed text; see `airssys_engine_storage_get`. `changes`,
 * `count`: borrowed; each element has the same `size`, and each key occurs once. (NULL, 0)
 * changes nothing. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_UNSUPPORTED`: the host's storage has no `batch`, or a key is to expire in
 *   it.
 * - As for `airssys_engine_storage_set`: `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
 *   `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_IO`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
 *   `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_batch(airssys_engine_t *engine,
                                              const char *id,
                                              const airssys_storage_change_t *changes,
                                              size_t count,
                                              airssys_error_t **error);

/** What an import does with keys that exist. */
typedef int32_t airssys_import_mode_t;

/** The import fails at a key that exists. */
#define AIRSSYS_IMPORT_REFUSE 0

/** A key that exists takes the value of the export. */
#define AIRSSYS_IMPORT_REPLACE 1

/** A key that exists keeps its value. */
#define AIRSSYS_IMPORT_KEEP 2

/** Nothing is stored: the import only reads the whole export and checks it. */
#define AIRSSYS_IMPORT_CHECK 3

/**
 * Takes the next bytes of an export, and finishes with `AIRSSYS_OK`.
 *
 * `user_data`: as passed to the export. `data`, `len`: valid until the callback returns. `out`:
 * with any other status, the text written to it is the reason, and the export ends. Called on
 * the thread of the export.
 */
typedef void (*airssys_export_fn_t)(void *user_data,
                                    const uint8_t *data,
                                    size_t len,
                                    airssys_writer_t *out);

/**
 * Writes the next bytes of an export to `out`, 64 KiB for example, and finishes with
 * `AIRSSYS_OK`.
 *
 * No bytes are the end. `user_data`: as passed to the import. `out`: with any other status, the
 * text written to it is the reason, and the import ends. Called on the thread of the import.
 */
typedef void (*airssys_import_fn_t)(void *user_data, airssys_writer_t *out);

/**
 * Writes the stored data of components as text, in the format of docs/storage-format.md.
 *
 * - `engine`: borrowed.
 * - `namespaces`, `count`: borrowed texts: ids, `namespace/name` of shared data,
 *   `airssys.engine` for the engine's own data. (NULL, 0): everything that is stored.
 * - `write_fn`: called for each piece of the export, of about 64 KiB.
 * - `user_data`: passed to `write_fn`.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Components may run meanwhile. Each value is one that its
 * key had during the export; keys that are stored or removed meanwhile may be in it or not, and
 * changes of several keys may be in it in part. Stop the components to export one moment.
 *
 * The export has its end line, with a checksum, only if this function succeeds.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_UNSUPPORTED`: the host's storage has no `namespaces`, and none were given.
 * - `AIRSSYS_ERROR_IO`: the storage or `write_fn` failed.
 * - `AIRSSYS_ERROR_INVALID_ID`: one of `namespaces`.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: see `airssys_engine_storage_get`.
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_export(airssys_engine_t *engine,
                                               const char *const *namespaces,
                                               size_t count,
                                               airssys_export_fn_t write_fn,
                                               void *user_data,
                                               airssys_error_t **error);

/**
 * Stores the data of an export, in the namespaces that it names.
 *
 * An import stores as it reads, up to 1,000 keys at once: what precedes an error stays. To find
 * a damaged export beforehand, import it with `AIRSSYS_IMPORT_CHECK` first. Keys whose time to
 * live is over are left out. Quotas do not apply. At the end, the storage is flushed.
 *
 *     { "keys": 5, "stored": 3, "kept": 1, "expired": 1 }
 *
 * - `engine`: borrowed.
 * - `mode`: an `airssys_import_mode_t`.
 * - `read_fn`: called for each piece of the export.
 * - `user_data`: passed to `read_fn`.
 * - `out_json`: receives the document, which the caller owns.
 * - `error`: may be NULL. The details have `line`, `code`, and the counts of the document.
 *
 * Any thread; callable from callbacks. Components may run meanwhile.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_INVALID_ARGUMENT`: the export is damaged, cut off, of another version or
 *   something else (`code` is `defect`), or a key exists (`exists`). The message has the line.
 * - `AIRSSYS_ERROR_UNSUPPORTED`: a key expires, and the storage is the host's.
 * - `AIRSSYS_ERROR_IO`: the storage or `read_fn` failed.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`: the storage has no room.
 * - `AIRSSYS_ERROR_WOULD_DEADLOCK`: see `airssys_engine_storage_get`.
 * - `AIRSSYS_ERROR_FORKED`, `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_import(airssys_engine_t *engine,
                                               airssys_import_mode_t mode,
                                               airssys_import_fn_t read_fn,
                                               void *user_data,
                                               airssys_bytes_t *out_json,
                                               airssys_error_t **error);

/**
 * Compacts the file of `"storage": {"path"}`: gives the room of removed and replaced values back to
 * the file system. Any other storage needs no compaction, and nothing is done.
 *
 * Storage functions of components wait meanwhile, for a time in proportion to what the file holds.
 * An engine compacts unasked as well, see `compact-above-ratio` in OPTIONS. `storage` in
 * `airssys_engine_stats` shows what there is to gain.
 *
 * `engine`: borrowed. `error`: may be NULL. Any thread; callable from callbacks. Blocks until the
 * file is compacted.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_IO`: the disk failed or has no room. The file is as it was.
 * - `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_storage_compact(airssys_engine_t *engine, airssys_error_t **error);

/* -- ROUTER ------------------------------------------------------------------------------------ */

/** Kind of an envelope: `AIRSSYS_KIND_MESSAGE` or `AIRSSYS_KIND_REQUEST`. */
typedef int32_t airssys_kind_t;

/** A message without an outcome. */
#define AIRSSYS_KIND_MESSAGE 0

/** A request. `airssys_engine_complete` answers it. */
#define AIRSSYS_KIND_REQUEST 1

/**
 * Mail from one engine to another.
 *
 * In `route`, all pointers are valid until the callback returns; until then the envelope may be
 * passed to `airssys_engine_deliver` of another engine as it is. Otherwise zero the struct, set
 * `size`, then set what the mail has.
 */
struct airssys_envelope_t {
  /** `sizeof(airssys_envelope_t)`. */
  size_t size;
  /** The sender, `namespace/name/instance`. */
  const char *source;
  /** The receiver, `namespace/name/instance`. */
  const char *target;
  /** Message or request. */
  airssys_kind_t kind;
  /**
   * Of a request: the `correlation-id` that components see; 0: none. In `route` the same
   * number as `token`.
   */
  uint64_t correlation;
  /**
   * Of a request, in `route`: its name for `airssys_engine_complete` and `cancel`, in the engine
   * that it comes from. `airssys_engine_deliver` does not read it.
   */
  uint64_t token;
  /**
   * Of a request: an answer after this time is useless, in milliseconds since the Unix epoch; 0:
   * no limit.
   */
  uint64_t deadline_ms;
  /** Type of the payload, for example `application/json`; NULL: unspecified. */
  const char *content_type;
  /** The payload; (NULL, 0) is empty. */
  const uint8_t *payload;
  /** Its length in bytes. */
  size_t payload_len;
};

/**
 * The host's transport to components that are not loaded in this engine: in another engine of the
 * process, in another process, or on another machine. The library opens no connection itself.
 *
 * Callbacks run on any thread, several at once, and always on a native stack. Only the sending
 * component waits for `route`. Callbacks may call any function except `airssys_engine_shutdown` of
 * their own engine, and must not unwind into the library.
 */
struct airssys_router_t {
  /** `sizeof(airssys_router_t)`. */
  size_t size;
  /** Passed to every callback. */
  void *user_data;
  /** Called once, after the last use of `user_data`; may be NULL. */
  void (*drop)(void *user_data);
  /**
   * Receives mail for an id that is not loaded here, in the order of sending of each component.
   * Required.
   *
   * It must set its result with `airssys_writer_finish`; without a result the mail is not
   * delivered:
   *
   * - `AIRSSYS_OK`: the router takes the mail over. It completes a request with
   *   `airssys_engine_complete`, now or later, on any thread. Otherwise the request ends at its
   *   deadline.
   * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: nobody has this id.
   * - `AIRSSYS_ERROR_QUEUE_FULL`: the receiver has no room.
   * - `AIRSSYS_ERROR_INVALID_MESSAGE`: the receiver does not accept the message.
   * - Any other status: not delivered.
   *
   * `airssys_writer_write` appends to the reason, which goes to the log. The sender receives it
   * only if `"host-error-texts"` is true in the configuration.
   */
  void (*route)(void *user_data, const airssys_envelope_t *envelope, airssys_writer_t *answer);
  /**
   * Reports that nobody waits for the answer of a request any more: its sender has cancelled it,
   * or its deadline has passed. Called at most once for a token, after `route` took the request
   * over, and not after its completion; not called when the engine stops. May be NULL.
   */
  void (*cancel)(void *user_data, uint64_t token);
};

/**
 * Sets the router of the host, which receives mail for components that are not loaded. `route`
 * does not receive the engine: a host with several engines must make a configuration for each,
 * whose `user_data` leads to the engine.
 *
 * `router`: borrowed, copied; see `airssys_router_t`. On success the library owns its
 * `user_data`: it calls `drop(user_data)` once, when neither the configuration nor an engine
 * made from it uses it any more: after they are freed, or after another router replaces this
 * one in the configuration. On an error it does not call `drop`. `error`: may be NULL. Any
 * thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (NULL, a missing `route`, a wrong `size`)
 * or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_router(airssys_config_t *config,
                                           const airssys_router_t *router,
                                           airssys_error_t **error);

/**
 * Delivers mail that the router of another engine took over.
 *
 * If the target is not loaded here, the mail does not go to this engine's own router.
 *
 * - `engine`: borrowed.
 * - `envelope`: borrowed, its payload copied; see `airssys_envelope_t`. At its deadline a request
 *   ends with `AIRSSYS_ERROR_TIMEOUT`.
 * - `reply_fn`: receives the outcome of a request, see `airssys_reply_fn_t`. Required for
 *   `AIRSSYS_KIND_REQUEST`, ignored for `AIRSSYS_KIND_MESSAGE`.
 * - `user_data`: passed to `reply_fn`.
 * - `out_id`: receives the id of the request for `airssys_engine_cancel`, 0 for a message; may be
 *   NULL.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks. Blocks as `airssys_engine_send` does, at most until the
 * deadline.
 *
 * Returns `AIRSSYS_OK` or:
 *
 * - `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`: the target is not loaded here.
 * - `AIRSSYS_ERROR_COMPONENT_STOPPED`, `AIRSSYS_ERROR_COMPONENT_FAILED`: see
 *   `airssys_engine_start`.
 * - `AIRSSYS_ERROR_EXPORT_NOT_FOUND`: the target handles no messages. Of a request, this is the
 *   outcome.
 * - `AIRSSYS_ERROR_INVALID_ID`: a malformed source or target.
 * - `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_QUEUE_FULL`,
 *   `AIRSSYS_ERROR_INVALID_MESSAGE`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
 *   `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`,
 *   `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_deliver(airssys_engine_t *engine,
                                        const airssys_envelope_t *envelope,
                                        airssys_reply_fn_t reply_fn,
                                        void *user_data,
                                        uint64_t *out_id,
                                        airssys_error_t **error);

/**
 * Answers a request that this engine's router took over. The requesting component gets its
 * callback.
 *
 * - `engine`: borrowed, the engine that the request comes from.
 * - `token`: from the envelope of the request.
 * - `status`: `AIRSSYS_OK`, or why there is no reply, for example from `airssys_completion_t` of
 *   the other engine.
 * - `reply`, `reply_len`: borrowed, copied; NULL: no reply. Read only if `status` is `AIRSSYS_OK`.
 * - `message`: borrowed text, the error, which the component receives; may be NULL. Used only if
 *   `status` is not `AIRSSYS_OK`.
 * - `error`: may be NULL.
 *
 * Any thread; callable from callbacks, `route` included.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (too late, cancelled, already answered,
 * or an unknown token), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_complete(airssys_engine_t *engine,
                                         uint64_t token,
                                         airssys_status_t status,
                                         const uint8_t *reply,
                                         size_t reply_len,
                                         const char *message,
                                         airssys_error_t **error);

/* -- BYTES AND WRITERS ------------------------------------------------------------------------- */

/**
 * Bytes that the caller owns and must release with `airssys_bytes_free`.
 *
 * "None" and "empty" differ. `data` is NULL if there are no bytes, for example if a component
 * handled a message without a reply. `data` is not NULL and `len` is 0 if there are zero bytes.
 * JSON documents are UTF-8, followed by a NUL that `len` does not count.
 */
struct airssys_bytes_t {
  /** The bytes, or NULL. */
  uint8_t *data;
  /** The number of bytes. */
  size_t len;
  /** For the library. Do not change it. */
  size_t capacity;
};

/**
 * Releases bytes and sets them to `{NULL, 0, 0}`, so that a second call does nothing.
 *
 * `bytes`: NULL does nothing. Any thread; callable from callbacks.
 */
void airssys_bytes_free(airssys_bytes_t *bytes);

/**
 * The answer of a callback. It is valid only until the callback returns, and only on its thread.
 */
struct airssys_writer_t;

/**
 * Appends bytes to the answer of a callback.
 *
 * `writer`: from the callback. `data`: borrowed; (NULL, 0) is empty. On the callback's thread
 * only; does not block.
 *
 * Returns false and appends nothing if an argument is NULL, or if the answer would exceed 256 MiB
 * or, in `get`, what the component's `max-host-bytes` leaves. The component then gets an error,
 * whatever follows.
 */
bool airssys_writer_write(airssys_writer_t *writer, const uint8_t *data, size_t len);

/**
 * Sets the result of a callback. Every callback with a writer must call it, on every path.
 *
 * The last of several calls counts. Bytes written after it still belong to the answer.
 *
 * `writer`: from the callback; NULL does nothing. `result`: an `airssys_storage_result_t` in
 * storage callbacks, an `airssys_status_t` in `route` of a router. On the callback's thread only;
 * does not block.
 */
void airssys_writer_finish(airssys_writer_t *writer, int32_t result);

/* -- CODECS ------------------------------------------------------------------------------------ */

/** `protobuf`: Protocol Buffers. */
#define AIRSSYS_CODEC_PROTOBUF 0x50

/** `cbor`: CBOR. */
#define AIRSSYS_CODEC_CBOR 0x51

/** `raw`: bytes without a format, or with an unspecified one. */
#define AIRSSYS_CODEC_RAW 0x55

/** `rlp`: Recursive Length Prefix, the serialization of Ethereum. */
#define AIRSSYS_CODEC_RLP 0x60

/** `bencode`: serialization of BitTorrent. */
#define AIRSSYS_CODEC_BENCODE 0x63

/** `dag-pb`: IPLD Merkle DAG in Protocol Buffers. */
#define AIRSSYS_CODEC_DAG_PB 0x70

/** `dag-cbor`: IPLD Merkle DAG in CBOR. */
#define AIRSSYS_CODEC_DAG_CBOR 0x71

/** `dag-jose`: IPLD Merkle DAG in JOSE, signed or encrypted. */
#define AIRSSYS_CODEC_DAG_JOSE 0x85

/** `dag-cose`: IPLD Merkle DAG in COSE, signed or encrypted. */
#define AIRSSYS_CODEC_DAG_COSE 0x86

/** `dag-json`: IPLD Merkle DAG in JSON. */
#define AIRSSYS_CODEC_DAG_JSON 0x0129

/** `json`: JSON in UTF-8. */
#define AIRSSYS_CODEC_JSON 0x0200

/** `messagepack`: MessagePack. */
#define AIRSSYS_CODEC_MESSAGEPACK 0x0201

/** `car`: content addressable archive. */
#define AIRSSYS_CODEC_CAR 0x0202

/** `x509-certificate`: one X.509 certificate in DER. */
#define AIRSSYS_CODEC_X509_CERTIFICATE 0x0210

/** `ipns-record`: signed IPNS record. */
#define AIRSSYS_CODEC_IPNS_RECORD 0x0300

/** `car-index-sorted`: the index of an archive, CARv2 IndexSorted. */
#define AIRSSYS_CODEC_CAR_INDEX_SORTED 0x0400

/** `car-multihash-index-sorted`: the index of an archive, CARv2 MultihashIndexSorted. */
#define AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED 0x0401

/** `provenance-log`: verifiable append-only log. */
#define AIRSSYS_CODEC_PROVENANCE_LOG 0x1208

/** `provenance-log-entry`: an entry of such a log. */
#define AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY 0x1209

/** `provenance-log-script`: a script of such a log. */
#define AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT 0x120a

/** `ssz`: SimpleSerialize. */
#define AIRSSYS_CODEC_SSZ 0xb501

/** `json-jcs`: JSON in the canonical form of RFC 8785. */
#define AIRSSYS_CODEC_JSON_JCS 0xb601

/** `bincode`: bincode. A code for private use; the multicodec table has none. */
#define AIRSSYS_CODEC_BINCODE 0x306269

/** `borsh`: Borsh. A code for private use; the multicodec table has none. */
#define AIRSSYS_CODEC_BORSH 0x30626f

/**
 * Returns the name of a codec in the multicodec table, for example `"cbor"` for
 * `AIRSSYS_CODEC_CBOR`.
 *
 * `code`: an `AIRSSYS_CODEC_...` value; the result for any other is NULL. The text is static and
 * must not be freed. Any thread; callable from callbacks.
 */
const char *airssys_codec_name(uint64_t code);

/**
 * Looks up the code of a codec.
 *
 * `name`: borrowed text, as `airssys_codec_name` spells it. `out_code`: receives the code.
 * `error`: may be NULL; the message about an unknown name lists the known ones. Any thread;
 * callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (also for an unknown name) or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_codec_code(const char *name, uint64_t *out_code, airssys_error_t **error);

/**
 * Reads the code at the start of a payload. The data follows this prefix.
 *
 * The code need not be an `AIRSSYS_CODEC_...` value. Data without a prefix often begins like one:
 * check with `airssys_codec_name` that the code is known.
 *
 * `payload`, `len`: borrowed bytes; `payload` may be NULL if `len` is 0. `out_code`: receives the
 * code. `out_prefix_len`: receives the length of the prefix in bytes, 1 to 9. `error`: may be
 * NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_MESSAGE` (the payload does not begin with an
 * unsigned varint as multiformats defines it: shortest form, at most 9 bytes),
 * `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_codec_read(const uint8_t *payload,
                                    size_t len,
                                    uint64_t *out_code,
                                    size_t *out_prefix_len,
                                    airssys_error_t **error);

/**
 * Puts a code in front of a payload, as an unsigned varint.
 *
 * `code`: an `AIRSSYS_CODEC_...` value, or any other of at most 63 bits. `payload`, `len`:
 * borrowed bytes; `payload` may be NULL if `len` is 0. `out`: receives the prefix and the payload,
 * which the caller owns. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (also for a code of 64 bits) or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_codec_prefix(uint64_t code,
                                      const uint8_t *payload,
                                      size_t len,
                                      airssys_bytes_t *out,
                                      airssys_error_t **error);

#ifdef __cplusplus
}
#endif

#endif /* AIRSSYS_WASM_H */
