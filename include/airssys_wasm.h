/*
 * airssys_wasm.h - WebAssembly components as actors, inside any program.
 *
 * A host makes an engine, loads components into it (binaries of the WebAssembly component model
 * that export `component-lifecycle` of the WIT package `airssys:core@1.0.0`), and sends them
 * messages. Each component has an id, a mailbox, storage of its own and limits. What goes wrong in
 * one reaches neither another nor the host.
 *
 *     airssys_engine_t *engine = NULL;
 *     airssys_error_t *error = NULL;
 *     uint64_t echo = 0;
 *     airssys_bytes_t reply = {0};
 *     if (airssys_engine_new(NULL, &engine, &error) == AIRSSYS_OK &&
 *         airssys_engine_load_file(engine, "app/echo/0", "echo.wasm", NULL, &echo, &error) == AIRSSYS_OK &&
 *         airssys_engine_call(engine, echo, (const uint8_t *)"hi", 2, NULL, &reply, &error) == AIRSSYS_OK) {
 *         if (reply.data) printf("%.*s\n", (int)reply.len, (const char *)reply.data);
 *     } else {
 *         fprintf(stderr, "%s\n", airssys_error_message(error));
 *     }
 *     airssys_error_free(error);
 *     airssys_bytes_free(&reply);
 *     airssys_engine_free(engine);
 *
 * CONVENTIONS
 *
 * Names. Everything begins with `airssys_` or `AIRSSYS_`; the library exports nothing else.
 *
 * Objects. Opaque, made by a `_new` function and released by `_free`; `_free(NULL)` does nothing.
 * The object comes first in the parameters. Whoever makes an object owns it.
 *
 * Errors. Every function that can fail returns an `airssys_status_t` and takes, last, an
 * `airssys_error_t **`. NULL ignores the error; otherwise it is written on failure only, with an
 * object that the caller owns. It is not read: set the variable to NULL first, and free and reset it
 * before it is used again. Messages repeat what components said: they are text from strangers, with
 * line breaks and control characters, if that is what the component put there.
 *
 * Outputs are written on success only, and must not be NULL. Begin with `{0}`, `NULL` or 0, so that
 * they can be released in every case.
 *
 * Strings that go in are NUL-terminated UTF-8, borrowed for the call. Bytes that go in are a
 * pointer and a length, borrowed for the call; (NULL, 0) is empty. Bytes that come out are an
 * `airssys_bytes_t`. No allocator is shared: what the library hands out, the library frees.
 *
 * Bad arguments (NULL, bad UTF-8, an unknown handle) are a status and never a crash, as far as C
 * can tell: pointers must point to what they are declared for.
 *
 * Structs that a host fills begin with their `size`, so that they can grow. Zero a struct, set
 * `size`, then set what you need: `airssys_storage_t storage = {0}; storage.size = sizeof storage;`
 * A struct that is larger than this library knows is accepted if what it does not know is zero.
 *
 * Handles of components belong to one engine; each engine counts its own.
 *
 * Options are JSON documents. An unknown key is an error that names the nearest known key.
 *
 * Threads. Every function may be called from any thread, at any time, several at once. An object is
 * freed when no other call with it begins any more, and `airssys_engine_shutdown` is not called from
 * callbacks of the engine's own components.
 *
 * Callbacks run on a thread of the host (the one in `airssys_engine_call`, ...) or on a thread of the
 * library, always on its native stack, several at once for different components, and so for
 * components that share an id too. They may call any other function. A blocking call that would
 * wait for the component whose callback makes it returns `AIRSSYS_ERROR_WOULD_DEADLOCK`. What a
 * callback waits for by other means (another thread, the completion of a request) the library does
 * not see. A thread that ends in a callback (`pthread_exit`, `pthread_cancel`; language runtimes that
 * shut down do so) is, on Linux with glibc, held where the callback would return, for good: the process
 * goes on, and what waits for that callback waits until the process ends.
 *
 * The library's own threads are bounded: one for the clock; from the first load on `workers`, and at
 * most as many of lower priority for components that compute; at most `callback-threads` for callbacks
 * that components wait for (storage, log, router), and as many for all others (completions, events, the
 * audit trail), of each of which one stays; at most 64 that wait for files, and 64 for names; while
 * something is compiled, `workers` for each binary. A callback for which all threads are in others
 * waits; one that a component waits for is not called any more once the time of its message is over.
 * Where the system has no more threads to give, those that are there do all the work.
 *
 * `user_data` and `drop`. The library calls `drop(user_data)` when it is done with it, on whatever
 * thread that happens. Data that lives on a stack, or is freed by hand, must outlive that call. It
 * may come while the engine is being released, and does not use it.
 *
 * Signals. Unless `"signals-based-traps"` is false, the first engine installs handlers for SIGSEGV,
 * SIGILL and SIGFPE (elsewhere than on Linux for SIGBUS too) that handle traps of guests and pass
 * everything else on to the handlers that were there. They stay. On Linux, handlers that are installed
 * later (as by Python's `faulthandler.enable()`) are found when an engine is made and at most 10 ms after
 * guests run again: the engine's are put back in front, and what is no guest's trap goes to the latest of
 * the host's. Until then a trap gets to those, and elsewhere always. One that puts the engine's back and
 * raises the signal anew, as Python's does, only reports the trap; others must pass on what is not theirs.
 *
 * Fork. A child can not use engines of its parent (`AIRSSYS_ERROR_FORKED`); it makes its own, from a
 * configuration of its own or of the parent's.
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

/* -- TYPES --------------------------------------------------------------------------------------- */

typedef struct airssys_error_t airssys_error_t;
typedef struct airssys_config_t airssys_config_t;
typedef struct airssys_keys_t airssys_keys_t;
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
typedef struct airssys_envelope_t airssys_envelope_t;
typedef struct airssys_router_t airssys_router_t;
typedef struct airssys_bytes_t airssys_bytes_t;
typedef struct airssys_writer_t airssys_writer_t;

/* -- VERSION ------------------------------------------------------------------------------------- */

/** Major version of the header. */
#define AIRSSYS_VERSION_MAJOR 0

/** Minor version of the header. */
#define AIRSSYS_VERSION_MINOR 1

/** Patch version of the header. */
#define AIRSSYS_VERSION_PATCH 0

/**
 * Version of the binary interface: the number in the SONAME `libairssys_wasm.so.0`. It changes
 * only when programs have to be compiled anew.
 */
#define AIRSSYS_ABI_VERSION 0

/**
 * The version of the library that is loaded, for example `"0.1.0"`.
 *
 * The text is static and never freed. Any thread; callable from callbacks.
 */
const char *airssys_version(void);

/**
 * The ABI version of the library that is loaded; equals `AIRSSYS_ABI_VERSION` of the header it
 * was built with. A host that opens the library at run time compares the two.
 *
 * Any thread; callable from callbacks.
 */
uint32_t airssys_abi_version(void);

/* -- STATUS AND ERRORS --------------------------------------------------------------------------- */

/**
 * What a function returns: `AIRSSYS_OK` or one of the `AIRSSYS_ERROR_...` values.
 *
 * Values are pinned: they never change, and those of retired errors are not reused. Expect values
 * that this header does not name, from a newer library.
 */
typedef int32_t airssys_status_t;

/** Success; outputs are written. */
#define AIRSSYS_OK 0

/** A NULL where none is allowed, text that is not UTF-8, or a struct of an impossible size. */
#define AIRSSYS_ERROR_INVALID_ARGUMENT 1

/** A component id that is not `namespace/name/instance`. */
#define AIRSSYS_ERROR_INVALID_ID 2

/** A JSON document with a syntax error, an unknown key, a wrong type or a value out of range. */
#define AIRSSYS_ERROR_INVALID_OPTIONS 3

/** A binary that is no component, or one that does not fit `airssys:core@1.0.0`. */
#define AIRSSYS_ERROR_INVALID_COMPONENT 4

/** A component that could not be instantiated, or not be restarted after a crash. */
#define AIRSSYS_ERROR_INSTANTIATION_FAILED 5

/** The component's `initialize` refused; the message carries its words. */
#define AIRSSYS_ERROR_INITIALIZATION_FAILED 6

/** No component has this handle or id, or not any more. */
#define AIRSSYS_ERROR_COMPONENT_NOT_FOUND 7

/** The component exports no `component-lifecycle`, so it handles no messages. */
#define AIRSSYS_ERROR_EXPORT_NOT_FOUND 8

/**
 * The caller's `timeout_ms` or the component's `max-execution-time-ms` is over; the message says
 * which, and its value. `started` of the details says whether a message was begun before its
 * caller's time was over. If it was not, it never will be: `waited-ms` says for how long it waited,
 * and `behind` how much mail was before it at last, the one being handled included.
 */
#define AIRSSYS_ERROR_TIMEOUT 9

/**
 * The component ran into its memory, fuel, stack, table, instance or host-call data limit; the
 * message names limit and value.
 */
#define AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED 10

/** The component answered with an error of its own; the message carries its words. */
#define AIRSSYS_ERROR_RUNTIME 11

/** The component trapped or exited. Its instance is gone; the next message gets a new one. */
#define AIRSSYS_ERROR_TRAP 12

/** The component's mailbox is full; nothing was queued. */
#define AIRSSYS_ERROR_QUEUE_FULL 13

/** The call would have waited for the component whose callback made it. */
#define AIRSSYS_ERROR_WOULD_DEADLOCK 14

/** The component's `shutdown` failed; the component is unloaded all the same. */
#define AIRSSYS_ERROR_SHUTDOWN_FAILED 15

/** The engine was shut down or freed. */
#define AIRSSYS_ERROR_ENGINE_STOPPED 16

/** The engine was made before a `fork` and used in the child. */
#define AIRSSYS_ERROR_FORKED 17

/** A defect of this library; please report it. The engine stays usable. */
#define AIRSSYS_ERROR_PANIC 18

/** A file, directory or thread that the operating system refused. */
#define AIRSSYS_ERROR_IO 19

/**
 * The receiver declared `codecs`, and the payload is none of them; or a payload that should be
 * self-describing is not.
 */
#define AIRSSYS_ERROR_INVALID_MESSAGE 20

/** No request of the host's has this id, or it has its outcome already. */
#define AIRSSYS_ERROR_REQUEST_NOT_FOUND 21

/** The outcome of a request that `airssys_engine_cancel` ended. */
#define AIRSSYS_ERROR_CANCELLED 22

/** A message was not handed over: some targets of a broadcast, a router that could not take it. */
#define AIRSSYS_ERROR_DELIVERY_FAILED 23

/**
 * `airssys_engine_interrupt`, or the `progress` callback of a call, ended the message. The instance
 * is gone; the next message gets a new one.
 */
#define AIRSSYS_ERROR_INTERRUPTED 24

/**
 * The name of a status, for example `"AIRSSYS_ERROR_TIMEOUT"`; `"AIRSSYS_ERROR_UNKNOWN"` for a
 * value that this library does not know.
 *
 * The text is static and never freed. Any thread; callable from callbacks.
 */
const char *airssys_status_name(airssys_status_t status);

/**
 * What went wrong, in words and in JSON. Owned by whoever got it from a function's `error`
 * parameter; released with `airssys_error_free`. Usable on any thread, after its engine too.
 */
struct airssys_error_t;

/**
 * The status that the failed function returned.
 *
 * `error`: borrowed; NULL is answered with `AIRSSYS_OK`. Any thread; callable from callbacks.
 */
airssys_status_t airssys_error_status(const airssys_error_t *error);

/**
 * What went wrong, for people: which component, which limit and its value, what the guest said,
 * which key of which document. Words of a component or names from a binary may be in it, with line
 * breaks and control characters: escape them before you print it. At most 64 KiB.
 *
 * `error`: borrowed; NULL is answered with `""`. The text belongs to the error and lives as long.
 * Any thread; callable from callbacks.
 */
const char *airssys_error_message(const airssys_error_t *error);

/**
 * What went wrong, for programs: a JSON object, `{}` if there is nothing to add. Members, where
 * they apply: `component`, `handle`, `argument`, `path`; `place`, `key`, `nearest`, `known` of a
 * JSON document; `limit` and `value`; `code` (a case name of the WIT variants `wasm-error` or
 * `messaging-error`), `origin` (`"guest"` if the component itself answered with the error),
 * `during` (a step of loading), `backtrace` (of a trap); `unfinished`; `codec` and `accepted` (of a
 * payload that the receiver does not take); `request`; `failed` (of a broadcast: an array of
 * objects with `handle`, `status` and `message`).
 *
 * `error`: borrowed; NULL is answered with `"{}"`. The text belongs to the error and lives as
 * long. Any thread; callable from callbacks.
 */
const char *airssys_error_detail_json(const airssys_error_t *error);

/** Releases an error; NULL does nothing. Any thread; callable from callbacks. */
void airssys_error_free(airssys_error_t *error);

/* -- CONFIGURATION ------------------------------------------------------------------------------- */

/**
 * What an engine is made with; released with `airssys_config_free`. Several engines may be made
 * from one configuration.
 */
struct airssys_config_t;

/**
 * Makes a configuration with defaults: storage in memory, warnings and errors to stderr, as many
 * workers as cores, and the limits of the design.
 *
 * That log goes to what stderr is when the engine is made, of which the engine holds a duplicate; where
 * it is closed then, nothing is written. A pipe that nobody reads any more is no SIGPIPE.
 *
 * `out`: receives the configuration, which the caller owns. `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_new(airssys_config_t **out,
                                    airssys_error_t **error);

/**
 * Releases a configuration; NULL does nothing. Engines made from it go on. Any thread, when no
 * other function uses it.
 */
void airssys_config_free(airssys_config_t *config);

/**
 * Sets what a JSON document names, and leaves the rest as it is:
 *
 *     {
 *       "name": "engine",               names the host as a sender, host/<name>/0
 *       "workers": 2,                   threads that run components (default: cores); behind them as
 *                                       many of lower priority, made as they are needed, for
 *                                       components that compute for more than 2 ms
 *       "callback-threads": 1024,       the most threads for callbacks that components wait for, and
 *                                       the most for all others, 1 to 65536; see Threads above
 *       "cache-dir": "/path",           keeps compiled components between runs, see below
 *       "cache-max-bytes": 1073741824,  what is kept there; the entries that were not used for
 *                                       longest go first
 *       "max-component-bytes": 67108864,
 *       "compile": {                    what compiling a binary may take; beyond the first it is
 *                                       AIRSSYS_ERROR_TIMEOUT, beyond the next two
 *                                       AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED:
 *         "max-time-ms": 300000,
 *         "max-memory-bytes": 2147483648,   an estimate, for all compiles under way
 *         "max-code-bytes": 268435456,  initial memories and tables included
 *                                       beyond these AIRSSYS_ERROR_INVALID_COMPONENT:
 *         "max-functions": 100000,      in all modules
 *         "max-function-bytes": 4194304,
 *         "max-function-blocks": 65536, blocks, branches, and targets of branch tables
 *         "max-block-depth": 5000,      blocks within blocks
 *         "max-function-locals": 10000, parameters included
 *         "max-function-values": 200000,    values of blocks and branches, and locals used in loops
 *         "max-function-cost": 4194304, predicted effort, in bytes of plain code
 *         "max-cost": 67108864,         the same, for all functions
 *         "max-definitions": 250000,    types, fields, imports, exports, segments and the like, once
 *                                       for each instance of their component
 *         "max-type-depth": 100,        types within types, 1 to 100
 *         "max-component-depth": 64,    modules and components within components
 *         "max-components": 1000,       modules and components at any depth
 *                                       and of code that no component uses any more, least recently
 *                                       used goes first, 32 binaries at most:
 *         "max-unused-code-bytes": 67108864
 *       },
 *       "signals-based-traps": true,    false: no handlers of signals (see Signals above), slower
 *                                       guests
 *       "memory-reservation": "automatic",  address space for each memory: "large" is 4 GiB and
 *                                       guards; "small" is little more than the memory has, its
 *                                       guest is slower, and it is copied when it grows by more than
 *                                       1 MiB; "automatic" is "small" where the process has a limit
 *                                       (RLIMIT_AS) or the system gives no large one
 *       "guard-before-memory": true,    false: each component takes 6 of the mappings that the system
 *                                       allows a process (vm.max_map_count) and not 7, and a
 *                                       defence in depth against faults of the compiler is gone
 *       "host-error-texts": false,      true: what callbacks of a storage or a router write as the
 *                                       text of an error reaches the component; false: it goes to
 *                                       the log, and the component learns only that one failed
 *       "limits": { ... },              defaults for every load, see airssys_engine_load
 *       "quotas": { ... },              the same
 *       "capabilities": { ... },        of loads that name none; without it they have none
 *       "policies": { "rules": [] }     see airssys_engine_set_policies
 *     }
 *
 * What is in `cache-dir` is loaded as code. The directory is made if it is missing. It must belong
 * to this user and be closed to others (mode 0700), and no directory on the way to it may be one
 * that others can write to, unless that has the sticky bit, as `/tmp` has. It is opened once, by
 * `airssys_engine_new`, and held open. Entries have a checksum with a secret key, the file `key` in
 * the directory; an entry that is damaged, or is not a regular file of this user's or root's that
 * only its owner can write to, is compiled anew. Any number of engines and processes may share the
 * directory.
 *
 * A directory that belongs to root where the process does not run as root, that nobody may write to
 * (mode 0555), or that is mounted read-only, is used as it is: nothing is written, replaced or
 * removed. Others may read it. Its key is then no secret, and its owner is trusted. To make one,
 * fill a directory with an engine, and let others read all of it, `key` included.
 *
 * `json`: borrowed text. `error`: may be NULL. On an error nothing has changed. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS` (the message names the place and, for an
 * unknown key, the nearest known one), `AIRSSYS_ERROR_INVALID_ARGUMENT` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_json(airssys_config_t *config,
                                         const char *json,
                                         airssys_error_t **error);

/* -- STORAGE ------------------------------------------------------------------------------------- */

/**
 * What a storage callback answers with `airssys_writer_finish`. Any other value counts as
 * `AIRSSYS_STORAGE_IO_ERROR`.
 */
typedef int32_t airssys_storage_result_t;

/** Done. */
#define AIRSSYS_STORAGE_OK 0

/** `get`: there is no such key. For `del` it means the same as done. */
#define AIRSSYS_STORAGE_NOT_FOUND 1

/** `set`: there is no room. */
#define AIRSSYS_STORAGE_QUOTA_EXCEEDED 2

/** The backend can not take this key; what was written to `out` says why. */
#define AIRSSYS_STORAGE_INVALID_KEY 3

/** It failed; what was written to `out` says why. */
#define AIRSSYS_STORAGE_IO_ERROR 4

/**
 * Where a `list` callback puts the keys. Valid only until the callback returns, and only on its
 * thread.
 */
struct airssys_keys_t;

/**
 * The host's storage: a store of (namespace, key) to value.
 *
 * `ns` is the id of the component that asks, `namespace/name/instance`; a backend keeps what
 * different namespaces store apart. `key` has 1 to 1,024 bytes of UTF-8. All pointers that a
 * callback gets are valid until it returns.
 *
 * A callback answers through `out`: `airssys_writer_write` appends to what it has to say, and
 * `airssys_writer_finish` gives the result, on every path. With `AIRSSYS_STORAGE_OK` what was
 * written is the value (`get`; nothing written is an empty value) and means nothing for the
 * others; with any other result it is the text of the error, which goes to the log; the component
 * sees it only with `"host-error-texts": true` in the configuration. A callback
 * that returns without a result counts as failed: a language runtime that could not run it (an
 * interrupt, an exception) must not pass for a success.
 *
 * Callbacks are called from any thread, several at once (also for one `ns`, when components share
 * an id), and always on a native thread stack. A slow one delays only the component that asked. They may call any
 * function but `airssys_engine_shutdown` of their own engine, and must not unwind (no C++
 * exception, no longjmp) into the library.
 */
struct airssys_storage_t {
  /** `sizeof(airssys_storage_t)`. */
  size_t size;
  /** Handed to every callback. */
  void *user_data;
  /** Called once, when `user_data` is not used any more; may be NULL. */
  void (*drop)(void *user_data);
  /** Writes the value of a key to `out`. Required. */
  void (*get)(void *user_data, const char *ns, const char *key, airssys_writer_t *out);
  /** Stores a value, in place of an older one. `value` is never NULL. Required. */
  void (*set)(void *user_data,
              const char *ns,
              const char *key,
              const uint8_t *value,
              size_t len,
              airssys_writer_t *out);
  /** Removes a key; a missing one is no error. Required. */
  void (*del)(void *user_data, const char *ns, const char *key, airssys_writer_t *out);
  /** Pushes the keys of a namespace that begin with `prefix`, in any order. Required. */
  void (*list)(void *user_data,
               const char *ns,
               const char *prefix,
               airssys_keys_t *keys,
               airssys_writer_t *out);
  /** Says whether there is such a key. NULL: `get` is asked. */
  void (*exists)(void *user_data,
                 const char *ns,
                 const char *key,
                 bool *exists,
                 airssys_writer_t *out);
  /**
   * Says how many bytes (keys and values) and keys a namespace holds. NULL: added up with
   * `list` and `get`.
   */
  void (*usage)(void *user_data,
                const char *ns,
                uint64_t *bytes,
                uint64_t *keys,
                airssys_writer_t *out);
};

/**
 * Adds a key to what a `list` callback answers.
 *
 * `keys`: the one that the callback got. `key`: borrowed text. False, and nothing added, if an
 * argument is NULL, the key is not UTF-8, or all keys would have more than 256 MiB or than the
 * component's `max-host-bytes` leaves; the component then gets an error, whatever follows. On the callback's thread.
 */
bool airssys_keys_push(airssys_keys_t *keys,
                       const char *key);

/**
 * Makes components store through the host's callbacks.
 *
 * `storage`: borrowed, copied; see `airssys_storage_t`. On success its `user_data` belongs to the
 * library: `drop(user_data)` is called once, after the configuration and every engine made from it
 * are freed, or after another storage has taken its place. On an error `drop` is not called.
 * `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (a NULL, a required callback that is
 * NULL, a wrong `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_storage(airssys_config_t *config,
                                            const airssys_storage_t *storage,
                                            airssys_error_t **error);

/* -- LOG ----------------------------------------------------------------------------------------- */

/**
 * How much a log record matters; the order and the names are those of the WIT enum `log-level`. No
 * other levels will be added below `AIRSSYS_LOG_OFF`.
 */
typedef int32_t airssys_log_level_t;

/** The finest detail. */
#define AIRSSYS_LOG_TRACE 0

/** For those who look for a fault. */
#define AIRSSYS_LOG_DEBUG 1

/** What goes on; a component's standard output too. */
#define AIRSSYS_LOG_INFO 2

/** Something is odd; a component's standard error too. */
#define AIRSSYS_LOG_WARN 3

/** Something failed. */
#define AIRSSYS_LOG_ERROR 4

/** No record has this level: as `min_level` it turns logging off. */
#define AIRSSYS_LOG_OFF 5

/** One log record. All pointers are borrowed and valid until the callback returns. */
struct airssys_log_record_t {
  /** How large the record is in this library; fields beyond what your header names are new. */
  size_t size;
  /** How much it matters. */
  airssys_log_level_t level;
  /** The id of the component that wrote it, `namespace/name/instance`; NULL: the engine. */
  const char *component;
  /**
   * UTF-8, followed by a NUL; text from a stranger, who may have put NULs, line breaks and
   * control characters before `message_len` as well: escape them before you print it. At most
   * 64 KiB; a longer one is cut, and its end says how long it was.
   */
  const char *message;
  /** How many bytes the message has. */
  size_t message_len;
  /** `context_len` keys, NUL-terminated, a NUL within shown as `\0`; NULL if there are none. */
  const char *const *context_keys;
  /** As many values. */
  const char *const *context_values;
  /** How many keys and values there are. */
  size_t context_len;
  /** When it was written: seconds since 1970 in UTC... */
  uint64_t seconds;
  /** ... and nanoseconds. */
  uint32_t nanoseconds;
};

/**
 * The host's log.
 *
 * `log` is called from any thread, several at once, and always on a native thread stack. A slow one delays only the component that logs. It may call any function but
 * `airssys_engine_shutdown` of its own engine, and must not unwind (no C++ exception, no longjmp)
 * into the library. Records of one component come in the order they were written.
 *
 * The engine itself writes records about components, in their names: one for a crash, one for a
 * message or callback that failed and whose sender is not told. It also writes, in its own name,
 * what callbacks of a storage or a router say when they fail. These count against the
 * `log-bytes-per-second` of the component that they are about, and of one component there are at
 * most 5 in a second, whatever its quotas; the next one is preceded by how many were dropped. They
 * repeat at most 4 KiB of an error. Of a component that may not write to the log (`log.write`) they
 * repeat no words, only the kind of the error.
 */
struct airssys_logger_t {
  /** `sizeof(airssys_logger_t)`. */
  size_t size;
  /** Handed to every callback. */
  void *user_data;
  /** Called once, when `user_data` is not used any more; may be NULL. */
  void (*drop)(void *user_data);
  /** Takes a record. Required. */
  void (*log)(void *user_data, const airssys_log_record_t *record);
  /** Records below this level are not built at all. */
  airssys_log_level_t min_level;
};

/**
 * Sends log records to the host's callback, in place of stderr.
 *
 * `logger`: borrowed, copied; see `airssys_logger_t`. On success its `user_data` belongs to the
 * library: `drop(user_data)` is called once, after the configuration and every engine made from it
 * are freed, or after another logger has taken its place. On an error `drop` is not called.
 * `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (a NULL, a `log` that is NULL, a wrong
 * `size` or `min_level`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_logger(airssys_config_t *config,
                                           const airssys_logger_t *logger,
                                           airssys_error_t **error);

/* -- EVENTS -------------------------------------------------------------------------------------- */

/** Something that happened. All pointers are valid until the callback returns. */
struct airssys_event_t {
  /** `sizeof(airssys_event_t)` in the library. */
  size_t size;
  /**
   * What kind: `dead-letter` or `events-lost`. Expect kinds that this header does not name, from
   * a newer library.
   */
  const char *kind;
  /** All about it, a JSON object. */
  const char *json;
  /** The payload of a dead letter; NULL if there is none. */
  const uint8_t *payload;
  /** Its length. */
  size_t payload_len;
};

/**
 * The host's callback for events, called one at a time and in the order in which things happened,
 * on a thread of the library. Nothing waits for it. A host that is slow has up to 10,000 events or
 * 64 MiB of them waiting, those of one receiver no more than a quarter; what does not fit is
 * counted, and `events-lost` says how many. A `reason` has at most 4 KiB.
 *
 * `dead-letter`: a message was accepted and will never be handled, because its receiver was
 * unloaded, made room for a newer one (`drop-oldest`), its sender's time was over before its turn
 * came, or its engine was stopped:
 *
 *     { "event": "dead-letter", "time": { "seconds": 0, "nanoseconds": 0 },
 *       "component": "app/echo/0", "source": "host/engine/0", "correlation": null,
 *       "content-type": null, "payload-bytes": 2,
 *       "code": "target-not-found", "reason": "it was unloaded before it answered" }
 *
 * `events-lost`: `{ "event": "events-lost", "count": 1 }`.
 *
 * The callback may call any function but `airssys_engine_shutdown` of its own engine, and must not
 * unwind into the library.
 */
struct airssys_events_t {
  /** `sizeof(airssys_events_t)`. */
  size_t size;
  /** Handed to the callback. */
  void *user_data;
  /** Called once, when `user_data` is not used any more; may be NULL. */
  void (*drop)(void *user_data);
  /** Takes one event. Required. */
  void (*event)(void *user_data, const airssys_event_t *event);
};

/**
 * Tells the host's callback what happens in engines.
 *
 * `events`: borrowed, copied; see `airssys_events_t`. On success its `user_data` belongs to the
 * library: `drop(user_data)` is called once, after the configuration and every engine made from it
 * are freed, or after another callback has taken its place. On an error `drop` is not called.
 * `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (a NULL, an `event` that is NULL, a wrong
 * `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_events(airssys_config_t *config,
                                           const airssys_events_t *events,
                                           airssys_error_t **error);

/* -- AUDIT TRAIL --------------------------------------------------------------------------------- */

/** What a record says: it was allowed. */
#define AIRSSYS_AUDIT_ALLOWED 1

/**
 * What a record says: it was refused, because nothing grants it, a policy refuses it, or a quota is
 * used up.
 */
#define AIRSSYS_AUDIT_DENIED 2

/** What a record says: decisions were made that it is the only record of, see `lost_denied`. */
#define AIRSSYS_AUDIT_LOST 3

/**
 * One decision. All pointers are valid until the callback returns; in a record of losses the texts
 * are NULL.
 */
struct airssys_audit_record_t {
  /** `sizeof(airssys_audit_record_t)` in the library. */
  size_t size;
  /** `AIRSSYS_AUDIT_ALLOWED`, `AIRSSYS_AUDIT_DENIED` or `AIRSSYS_AUDIT_LOST`. */
  int32_t decision;
  /**
   * When it was made, to a few milliseconds, or when losses were told: nanoseconds of the second.
   */
  uint32_t nanoseconds;
  /** When it was made: seconds since 1970. */
  uint64_t seconds;
  /** About whom: the component's id. */
  const char *component;
  /** What was to be done, as `airssys_engine_set_policies` names it: "messaging.send". */
  const char *action;
  /** On what, as a grant names it where one can be given; up to 4,096 bytes of it. */
  const char *resource;
  /** What decided: "grant", "policy", "ambient", "not-granted", "quota" or "never". */
  const char *by;
  /** Which: `grant app/db/0`, `policy rules[2] deny: reason`, `quota messages-per-second 100`. */
  const char *rule;
  /** In a record of losses: how many that allowed something are not kept. */
  uint64_t lost_allowed;
  /** In a record of losses: how many that refused something are not kept. */
  uint64_t lost_denied;
};

/**
 * The host's callback for decisions, called one at a time and in the order in which they were made,
 * on a thread of the library. Nothing waits for it. Up to 16,384 records wait for a host that is
 * slow, of which those that allowed something may be half; those about one component may be a
 * quarter, an eighth where they allowed something. What does not fit is counted, and told in a
 * record of its own, where it would have been. Resources are texts that components chose, control
 * characters included; long ones are cut.
 *
 * The callback may call any function but `airssys_engine_shutdown` of its own engine, and must not
 * unwind into the library.
 */
struct airssys_audit_t {
  /** `sizeof(airssys_audit_t)`. */
  size_t size;
  /** Handed to the callback. */
  void *user_data;
  /** Called once, when `user_data` is not used any more; may be NULL. */
  void (*drop)(void *user_data);
  /** Takes one record. Required. */
  void (*record)(void *user_data, const airssys_audit_record_t *record);
  /**
   * Of the decisions that allow something, each so-manieth is recorded: 0 none, 1 all, 100 one
   * of 100. Those that refuse are all recorded; of log records that are dropped for want of quota
   * the first, each time.
   */
  uint32_t sample_allowed;
};

/**
 * Records decisions on what components may do with the host's callback.
 *
 * `audit`: borrowed, copied; see `airssys_audit_t`. On success its `user_data` belongs to the
 * library: `drop(user_data)` is called once, after the configuration and every engine made from it
 * are freed, or after another callback has taken its place. On an error `drop` is not called.
 * `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (a NULL, a `record` that is NULL, a wrong
 * `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_audit(airssys_config_t *config,
                                          const airssys_audit_t *audit,
                                          airssys_error_t **error);

/* -- ENGINES AND COMPONENTS ---------------------------------------------------------------------- */

/** Components, their workers, storage and log; released with `airssys_engine_free`. */
struct airssys_engine_t;

/**
 * Makes an engine. Workers start with the first load.
 *
 * `config`: borrowed, copied; NULL: defaults. `out`: receives the engine, which the caller owns.
 * `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_INVALID_OPTIONS` (a
 * combination that this machine can not run), `AIRSSYS_ERROR_IO` (`cache-dir`, a thread, a
 * descriptor for the log) or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_new(const airssys_config_t *config,
                                    airssys_engine_t **out,
                                    airssys_error_t **error);

/**
 * Ends an engine gracefully: it accepts nothing more from the host, the components handle the mail
 * that they have and what comes of it, then `shutdown` of each is called. Components that go on
 * writing to each other are cut off after half of the time, at the latest after 10 seconds, and
 * finish what waits. What has not finished after `timeout_ms` is stopped as it is. The engine still
 * has to be freed.
 *
 * `engine`: borrowed; a second shutdown has nothing left to do. `timeout_ms`: milliseconds; 0 gives
 * no time at all, `UINT64_MAX` all the time that is needed. `error`: may be NULL. Any thread; not
 * from callbacks of the engine's own components. Blocks for `timeout_ms` at most.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_TIMEOUT` (how many had not finished),
 * `AIRSSYS_ERROR_ENGINE_STOPPED` (freed meanwhile), `AIRSSYS_ERROR_SHUTDOWN_FAILED` (the first component whose `shutdown` failed),
 * `AIRSSYS_ERROR_WOULD_DEADLOCK` (from a callback), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_shutdown(airssys_engine_t *engine,
                                         uint64_t timeout_ms,
                                         airssys_error_t **error);

/**
 * Releases an engine and all its components, from any state and without calling their `shutdown`;
 * NULL does nothing.
 *
 * No function may be entered with the handle after this one, except from callbacks while it runs,
 * which get `AIRSSYS_ERROR_ENGINE_STOPPED`: completions of requests that are open, dead letters.
 * Functions that are under way on other threads end with `AIRSSYS_ERROR_ENGINE_STOPPED`, guests at their next turn, and this one returns
 * after them. Host callbacks that workers are running are waited for, up to 10 seconds; what they
 * use, their `user_data` included, is released after them in every case.
 *
 * Any thread. From a callback it returns at once, and the engine is released when the last
 * function that uses it has returned; then no callback on another thread may enter one either. In the child of a `fork` it releases nothing, because what
 * it would release belongs to threads that the child does not have.
 */
void airssys_engine_free(airssys_engine_t *engine);

/**
 * Loads a component: compiles it (once for each distinct binary), instantiates it, calls its
 * `initialize`, and makes it reachable under its id. Several components may have the same id;
 * each has its own handle, and a message to the id goes to the least busy.
 *
 * `engine`: borrowed. `id`: borrowed text, `namespace/name/instance`, each part of 1 to 255 bytes
 * without `/`, `*` and control characters, and not `.` or `..`; the namespace `host` is that of
 * hosts, as senders of messages. `wasm`: borrowed, the binary of a component (no core
 * module, no text), at most `max-component-bytes` of the configuration. `options_json`: borrowed
 * text or NULL for `{}`; an object, all of it optional, shown with its defaults:
 *
 *     {
 *       "env": { "KEY": "value" },           handed to initialize, and the environment of WASI
 *       "config": "text" or any JSON,        handed to initialize: a string as its bytes, anything
 *                                            else as JSON text
 *       "limits": {
 *         "max-memory-bytes": 67108864,      over all memories of the component
 *         "max-host-bytes": 67108864,        memory of the host that it may occupy, 262144 or more: mail,
 *                                            requests under way, metadata, what it stores in memory;
 *                                            by default the "max-bytes" of the mailbox, if more
 *         "max-message-bytes": 16777216,     payload of a message to it, a message from it, a reply;
 *                                            at most 1073741824
 *         "max-execution-time-ms": 5000,     for a message, host functions and sleeps included
 *         "max-fuel": null,                  for a message, about one unit an instruction; null: no
 *                                            limit
 *         "max-instances": 1000,             core instances inside the component
 *         "max-table-elements": 100000       over all its tables
 *       },
 *       "mailbox": {
 *         "capacity": 1024,                  messages that may wait, 1 to 1048576
 *         "max-bytes": 67108864,             bytes that may wait: payloads, content types, and 256 for
 *                                            each message; a single message may exceed it
 *         "when-full": "reject"              a message too many: "reject" tells its sender, "block"
 *                                            has its sender wait for room, "drop-oldest" drops the
 *                                            one that waits longest, which becomes a dead letter
 *       },
 *       "instances": 1,                      so many share the handle, the id, the storage and the
 *                                            work, least busy first, 1 to 4096; each has a mailbox
 *                                            and a memory of its own, and the limits
 *       "codecs": []                         what self-describing payloads may be, see
 *                                            airssys_codec_name: a payload that opens with the
 *                                            multicodec of another is refused when it is sent;
 *                                            empty: nobody looks
 *       "capabilities": {},                  what the component may do, see below; null: nothing
 *       "quotas": {                          how much of it; null: as much as it likes, in the last
 *                                            two the default
 *         "messages-per-second": null,       sends, requests and targets of broadcasts
 *         "outstanding-requests": null,      requests without an outcome
 *         "storage-bytes": null,             keys and values
 *         "storage-keys": null,
 *         "log-bytes-per-second": null,      records and output, with 64 for each record and pair;
 *                                            more is dropped, and counted in a record when there is
 *                                            room again
 *         "random-bytes-per-second": null,
 *         "host-call-data-bytes": 33554432,  from the component to the host in one call, of a host
 *                                            function or of its own; at most 134217728; by default
 *                                            twice "max-message-bytes" where that is more
 *         "wasi-resources": 256              files, sockets, timers and streams open at a time
 *       }
 *     }
 *
 * A message that its receiver's memory has no room for never enters the receiver: it fails with
 * `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`. The outcome of a component's own request that does not fit
 * is replaced by a small error. Texts of components have these bounds: 255 bytes for a part of an id,
 * 1,024 for a key, 4,096 for the text of an error (the rest is cut, and the length named), 65,536 for
 * a log record (cut) with 64 pairs of 4,096 bytes each (cut), 4,096 for each text of the metadata and
 * 256 operations of 256 bytes (more is `AIRSSYS_ERROR_INVALID_COMPONENT`), 10,000 targets for a
 * broadcast.
 *
 * Rates are of seconds of which one's worth may come at once; something larger comes when nothing was
 * used, and is paid for afterwards. Instances that share a handle share quotas. Mail that waits is a
 * matter of the mailbox; what a full one refuses is recorded as a breach of quota by its sender. Not
 * to be changed: 512 KiB of stack, 100 memories, 1,000 tables.
 *
 * A component may do what its capabilities grant, and nothing else. They are a set of grants or an
 * array of sets:
 *
 *     { "messaging": { "send": ["app/log/0"],           patterns over ids of receivers
 *                      "request": ["app/db/r*"], "broadcast": ["**"] },
 *       "storage": ["read", "write", "delete"],         its own namespace
 *       "filesystem": { "/srv/in": ["read", "list-dir"],
 *                       "/srv/out/log*.csv": { "actions": ["read", "write", "delete"],
 *                                              "guest-path": "/out" } },
 *       "network": { "outbound": ["api.example.com:443", "10.1.0.0/16:5432"],
 *                    "inbound": ["127.0.0.1:8080"] },
 *       "expires-in-ms": 60000 }                        from when this is read, by the clock of
 *                                                       the system; or "expires-at-ms", since 1970
 *
 * The longer forms of wit/core/capabilities.wit mean the same: "messaging": [{ "action": "send",
 * "target-pattern": "app/log/0" }], "storage": [{ "action", "namespace-pattern" }], "filesystem":
 * [{ "action" or "actions", "path-pattern", "guest-path" }], "network": [{ "action",
 * "host-pattern", "port", "private" }]. In a pattern, * stands for any characters of a segment, and a
 * segment ** for any number of segments, none included.
 *
 * Files: a path is absolute, a directory with all that is in it, a file, or a directory and a name with
 * wildcards: those that are directly in it and have such a name. The directory must exist, and is
 * held open: what takes its place later is not reached, and neither is anything outside it, through
 * symbolic links or "..". Where a file or wildcards are named, symbolic links are not followed at
 * all. Components make no links of either kind.
 * "guest-path" is where the directory appears to the component, by default where it is.
 *
 * Network: a host is a name, *.example.com, **.example.com, an address, addr/bits or *, each with
 * :port or for all ports. A name leads to public addresses only, as does *; with "private": true,
 * or if the address is granted as well, to any. Addresses that names were found to have are
 * remembered for an instance: others, found elsewhere, are not reached. Of inbound grants the host
 * is the address to listen on.
 *
 * The JSON schema of options, configuration, grants and policies is airssys_wasm.schema.json, which
 * is installed in share/airssys-wasm.
 *
 * `out_handle`: receives the handle: never 0, never used again for another component. `error`: may
 * be NULL. Any thread; callable from callbacks. Blocks while it compiles and initializes.
 *
 * Where the system has no thread, no memory mapping, no memory or no descriptor for it, the load fails with
 * `AIRSSYS_ERROR_IO`, whose message names the limit and what to do, and whose details have it as
 * `"resource"`: `"threads"`, `"mappings"`, `"memory"` or `"descriptors"`. Nothing is left behind, and a later
 * load works once there is some. A sixteenth of the mappings that the system allows the process
 * (vm.max_map_count), and a stack for each component that has none yet, are left to what runs.
 *
 * Compiling is under the limits of the configuration, `compile`. What exceeds them is refused before it
 * is compiled, with the place in the binary; a compile can not be interrupted: when its time is over, or
 * the engine stops, the load returns, and the compile goes on behind all other threads until it is done. While
 * two of an engine are left to themselves like that, it compiles nothing more.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ID`, `AIRSSYS_ERROR_INVALID_OPTIONS`,
 * `AIRSSYS_ERROR_INVALID_COMPONENT`, `AIRSSYS_ERROR_INSTANTIATION_FAILED`,
 * `AIRSSYS_ERROR_INITIALIZATION_FAILED`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
 * `AIRSSYS_ERROR_TIMEOUT` or `AIRSSYS_ERROR_TRAP` (while it is instantiated, in `initialize`,
 * `metadata` or `health`),
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_IO` (the system is short of something, see above),
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`. On an error nothing is loaded.
 */
airssys_status_t airssys_engine_load(airssys_engine_t *engine,
                                     const char *id,
                                     const uint8_t *wasm,
                                     size_t len,
                                     const char *options_json,
                                     uint64_t *out_handle,
                                     airssys_error_t **error);

/**
 * Loads a component from a file; as `airssys_engine_load` in everything else.
 *
 * `path`: borrowed text, UTF-8, of a regular file, of which no more is read than its size. One that can
 * not be read, and a device, pipe or the like, is `AIRSSYS_ERROR_IO`;
 * for a path that is not UTF-8, read the file and use `airssys_engine_load`.
 */
airssys_status_t airssys_engine_load_file(airssys_engine_t *engine,
                                          const char *id,
                                          const char *path,
                                          const char *options_json,
                                          uint64_t *out_handle,
                                          airssys_error_t **error);

/**
 * Unloads a component: nothing more is accepted for it, the message under way ends, messages that
 * wait are answered with `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, its `shutdown` is called. What it
 * stored stays.
 *
 * `engine`: borrowed. `handle`: an unknown, stale or zero one does nothing, so that unloading
 * twice is fine. `error`: may be NULL. Any thread; callable from callbacks. Blocks until the
 * component is gone: for the message under way and for `shutdown`, each within the component's
 * `max-execution-time-ms`.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_SHUTDOWN_FAILED` (the component's `shutdown` failed, trapped
 * or took too long; the component is gone all the same), `AIRSSYS_ERROR_WOULD_DEADLOCK` (from a
 * callback that the component waits for), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED`
 * or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_unload(airssys_engine_t *engine,
                                       uint64_t handle,
                                       airssys_error_t **error);

/**
 * Unloads a component as `airssys_engine_unload` does, and interrupts what it still runs after
 * `timeout_ms`: the message under way, or its `shutdown`.
 *
 * `engine`, `handle`, `error`: as for `airssys_engine_unload`. `timeout_ms`: milliseconds; 0: at
 * once. A callback of the host that runs for the component is not interrupted; this waits up to two
 * seconds longer for it. Any thread; callable from callbacks.
 *
 * Returns what `airssys_engine_unload` returns, and `AIRSSYS_ERROR_SHUTDOWN_FAILED` if something was
 * interrupted, so that `shutdown` did not run to its end; `AIRSSYS_ERROR_TIMEOUT` if a callback of the
 * host has not returned: the component is unloaded, and its memory is released when that returns.
 */
airssys_status_t airssys_engine_unload_within(airssys_engine_t *engine,
                                              uint64_t handle,
                                              uint64_t timeout_ms,
                                              airssys_error_t **error);

/**
 * Interrupts what a component runs now: the message, callback or life-cycle function under way ends
 * with `AIRSSYS_ERROR_INTERRUPTED`, for whoever waits for its outcome.
 *
 * `engine`: borrowed. `handle`: of a pool, all instances are interrupted. `error`: may be NULL. Any
 * thread; callable from callbacks, not from signal handlers. Returns at once. A guest that waits ends
 * at once, one that computes within milliseconds; a callback of the host that runs for it returns
 * first. The instance is gone then, and messages that wait are handled by a new one. A component
 * that runs nothing is not changed.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_interrupt(airssys_engine_t *engine,
                                          uint64_t handle,
                                          airssys_error_t **error);

/* -- MESSAGES ------------------------------------------------------------------------------------ */

/**
 * Has a message end with the patience of its sender: when a call's timeout or a request's deadline
 * passes, or the request is cancelled, a message that is being handled is interrupted, as by
 * `airssys_engine_interrupt`, and one that waits is taken back.
 */
#define AIRSSYS_MESSAGE_ENDS_WITH_SENDER 1

/**
 * Says whether a call goes on: 0 has it go on; anything else ends it with
 * `AIRSSYS_ERROR_INTERRUPTED`: its message is taken back if it waits, and interrupted, as by
 * `airssys_engine_interrupt`, if it is being handled. For hosts that look at signals, a terminal or a
 * cancel button while they wait.
 *
 * `user_data`: `progress_data` of the options. It must return soon, must not unwind into the library,
 * and must call no function of this library but `airssys_engine_interrupt` and
 * `airssys_engine_cancel`. While a callback of the host runs on the calling thread, nobody is asked.
 */
typedef int32_t (*airssys_progress_fn_t)(void *user_data);

/** What a message carries besides its payload. Zero everything, set `size`, then what you need. */
struct airssys_message_options_t {
  /** `sizeof(airssys_message_options_t)`. */
  size_t size;
  /**
   * In whose name, `namespace/name/instance`; any will do, the host vouches for it. NULL:
   * `host/<engine name>/0`.
   */
  const char *sender;
  /** What the payload is, for example `application/json`, at most 1,024 bytes; NULL: not said. */
  const char *content_type;
  /**
   * How long a call waits, or a request is open, at most, in milliseconds, the wait in the
   * mailbox included; 0: no limit but those of the component. A host callback that runs on the
   * calling thread is not cut short. A message that has begun by then is handled to its end; one
   * whose turn has not come never is, and becomes a dead letter. For a send: how long it waits
   * for room in a mailbox that blocks its senders; 0: as long as it takes.
   */
  uint64_t timeout_ms;
  /** Any of the `AIRSSYS_MESSAGE_...` flags, or 0. */
  uint64_t flags;
  /**
   * Of a call: asked about every 50 ms, on the calling thread and its native stack, while the call
   * waits; NULL: nobody is asked.
   */
  airssys_progress_fn_t progress;
  /** Handed to `progress`; the library does nothing else with it. */
  void *progress_data;
};

/**
 * Queues a message whose outcome nobody waits for. If handling it fails, the log says so.
 *
 * `engine`: borrowed. `payload`: borrowed, copied; (NULL, 0) is empty. `options`: borrowed, may be
 * NULL. `error`: may be NULL. Any thread; callable from callbacks. Messages that one thread sends
 * to one component are handled in that order; the instances of a pool share them, and only each
 * instance keeps the order.
 *
 * Returns `AIRSSYS_OK` once the message is queued, `AIRSSYS_ERROR_QUEUE_FULL` (no room, or none in
 * time), `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED` (beyond the receiver's `max-message-bytes`),
 * `AIRSSYS_ERROR_EXPORT_NOT_FOUND` (it handles no messages), `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`,
 * `AIRSSYS_ERROR_INVALID_MESSAGE` (none of the receiver's `codecs`), `AIRSSYS_ERROR_WOULD_DEADLOCK` (a callback that would wait for room in the
 * mailbox of the component that waits for it), `AIRSSYS_ERROR_INVALID_ID` (`options.sender`),
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_send(airssys_engine_t *engine,
                                     uint64_t handle,
                                     const uint8_t *payload,
                                     size_t len,
                                     const airssys_message_options_t *options,
                                     airssys_error_t **error);

/**
 * Queues one message for several components; all are tried, and they share its payload.
 *
 * `engine`: borrowed. `handles`: borrowed, `count` of them; (NULL, 0) is none. `payload`: borrowed,
 * copied once; (NULL, 0) is empty. `options`: borrowed, may be NULL; `timeout_ms` is for all of
 * them together. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK` if all have accepted it, `AIRSSYS_ERROR_DELIVERY_FAILED` if some have not
 * (`failed` of the error's details names each with its status and reason),
 * `AIRSSYS_ERROR_INVALID_ID` (`options.sender`), `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_broadcast(airssys_engine_t *engine,
                                          const uint64_t *handles,
                                          size_t count,
                                          const uint8_t *payload,
                                          size_t len,
                                          const airssys_message_options_t *options,
                                          airssys_error_t **error);

/**
 * Hands a message to a component and waits for the reply.
 *
 * `engine`: borrowed. `payload`: borrowed, not to be changed by others meanwhile; (NULL, 0) is
 * empty. `options`: borrowed, may be NULL. `out_reply`: receives the reply, which the caller owns;
 * its `data` is NULL if the component handled the message and replied nothing. `error`: may be
 * NULL. Any thread, several at once: calls to one instance wait for each other, calls to different
 * ones, of a pool too, do not. Callable from callbacks.
 *
 * An idle component is run on the calling thread, which needs no more than 64 KiB of stack for it
 * (and what the host's own callbacks use): guests have stacks of their own. One that imports
 * nothing in which it may have to wait uses the thread's, where that has 768 KiB left.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_RUNTIME` or the status of another `wasm-error` case (the
 * component answered with an error), `AIRSSYS_ERROR_TRAP`, `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`,
 * `AIRSSYS_ERROR_TIMEOUT`, `AIRSSYS_ERROR_EXPORT_NOT_FOUND`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`
 * (the handle, or unloaded before it answered), `AIRSSYS_ERROR_INTERRUPTED`,
 * `AIRSSYS_ERROR_INVALID_MESSAGE` (none of the receiver's `codecs`),
 * `AIRSSYS_ERROR_INSTANTIATION_FAILED` (no new instance after a crash), `AIRSSYS_ERROR_IO` (no memory
 * for its stack; it has not begun), `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
 * `AIRSSYS_ERROR_INVALID_ID` (`options.sender`), `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_call(airssys_engine_t *engine,
                                     uint64_t handle,
                                     const uint8_t *payload,
                                     size_t len,
                                     const airssys_message_options_t *options,
                                     airssys_bytes_t *out_reply,
                                     airssys_error_t **error);

/* -- REQUESTS ------------------------------------------------------------------------------------ */

/** The outcome of a request. All pointers are valid until the callback returns. */
struct airssys_completion_t {
  /** `sizeof(airssys_completion_t)` in the library. */
  size_t size;
  /**
   * Which request, as `airssys_engine_request` or `airssys_engine_deliver` named it. Components
   * and events have the same number as 16 hexadecimal digits.
   */
  uint64_t request;
  /**
   * `AIRSSYS_OK`, or why there is no reply: what `airssys_engine_call` returns for the same
   * reason, `AIRSSYS_ERROR_TIMEOUT` for the request's own deadline, `AIRSSYS_ERROR_CANCELLED`,
   * `AIRSSYS_ERROR_QUEUE_FULL` if the message made room for a newer one,
   * `AIRSSYS_ERROR_ENGINE_STOPPED`.
   */
  airssys_status_t status;
  /** The reply; NULL if the component replied nothing, and if there is none. */
  const uint8_t *reply;
  /** Its length. */
  size_t reply_len;
  /** NULL with `AIRSSYS_OK`; else what went wrong, not to be freed. */
  const airssys_error_t *error;
};

/**
 * Takes the outcome of a request: called exactly once for each request that was accepted, on a
 * thread of the library (or, for what is open when an engine is freed, on the thread that frees
 * it), several at once for different requests. It may block: where eight do, others wait for a
 * moment (20 milliseconds) until more threads come. It may call any function but
 * `airssys_engine_shutdown` of its own engine, and must not unwind into the library.
 */
typedef void (*airssys_reply_fn_t)(void *user_data, const airssys_completion_t *completion);

/**
 * Hands a message to a component; its outcome comes to a callback, exactly once.
 *
 * `engine`: borrowed. `payload`: borrowed, copied; (NULL, 0) is empty. `options`: borrowed, may be
 * NULL; `timeout_ms` is the request's deadline, the wait for room in a mailbox that blocks its
 * senders included; 0: none but the component's own limits. A message that has begun at the deadline
 * is handled to its end; its reply is dropped, and counted in `airssys_engine_stats`. One whose turn
 * has not come never is handled, see `AIRSSYS_ERROR_TIMEOUT`. `reply_fn`: see
 * `airssys_reply_fn_t`. `user_data`: handed to it; the library does nothing else with it.
 * `out_id`: receives the id of the request, which is never 0 and not used again; the callback may
 * come before it is written, and carries it too. `error`: may be NULL. Any thread; callable from
 * callbacks. On an error the callback is not called.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`,
 * `AIRSSYS_ERROR_INVALID_MESSAGE`, `AIRSSYS_ERROR_WOULD_DEADLOCK` (a callback that waits for room
 * in the mailbox of the component that waits for it), `AIRSSYS_ERROR_INVALID_ID`
 * (`options.sender`), `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
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
 * Ends a request of `airssys_engine_request` or `airssys_engine_deliver`: its callback gets
 * `AIRSSYS_ERROR_CANCELLED`. The message is still handled, if it was not yet, unless it ends with its
 * sender (`AIRSSYS_MESSAGE_ENDS_WITH_SENDER`).
 *
 * `engine`: borrowed. `id`: the request. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (it has its outcome already, or is not
 * the host's), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_cancel(airssys_engine_t *engine,
                                       uint64_t id,
                                       airssys_error_t **error);

/* -- RIGHTS -------------------------------------------------------------------------------------- */

/**
 * Puts policies in the place of those of the configuration, or of an earlier call. They hold for
 * all components, from the next decision on:
 *
 *     { "rules": [
 *       { "effect": "deny",                 or "allow"
 *         "component": "plugins/seo/v*",    pattern over ids; default: "**", all
 *         "action": "messaging.send",       or a group, "storage.*"; default: "*", all
 *         "resource": "app/billing/0",      pattern over what the action is on; default: "**", all
 *         "reason": "plugins must not write to billing" } ] }
 *
 * Rules are tried in their order, and the first that applies decides: "deny" refuses, whatever is
 * granted; "allow" lets no later rule refuse. Neither grants anything: that is what capabilities
 * are for. Actions and what they are on:
 *
 *     messaging.send, .request, .broadcast      id of the receiver
 *     messaging.cancel                          id of the request
 *     directory.list                            the id of the component that is seen
 *     storage.read, .write, .delete             the namespace
 *     filesystem.read, .write, .delete, .list-dir   a path of the host, without symbolic links
 *     network.outbound, .inbound                a host or an address, with ":port" or without
 *     environment.read, random.read, clock.read, log.write   nothing ("**" applies)
 *     host.call                                 nothing; only in records, of quotas on such calls
 *
 * The last four and messaging.cancel are open to every component unless a rule refuses them: a
 * clock or random numbers that are refused end the call as a trap, the environment is empty then,
 * and records are dropped. A directory that is refused is refused with all that is in it; one that is
 * allowed is not. A rule that could apply to nothing, because no id, path or host is like its
 * pattern, is an error. Who may write to a component sees it, unless a rule refuses directory.list;
 * a list that was asked for is recorded as "**". A rule with a port does not refuse to look names up,
 * one about a name not to connect to an address that was found otherwise.
 *
 * `engine`: borrowed. `json`: borrowed text. `error`: may be NULL. On an error nothing has changed.
 * Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_OPTIONS`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_set_policies(airssys_engine_t *engine,
                                             const char *json,
                                             airssys_error_t **error);

/**
 * Grants a component more than it was loaded with, from the next decision on. A directory that it
 * did not have before appears to it with its next instance, as does the right to change something
 * in one that it could only read.
 *
 * `engine`: borrowed. `json`: borrowed text, one set of grants as `capabilities` in the options of
 * `airssys_engine_load` has it; a grant that is held already is held as long as the new one says.
 * `error`: may be NULL. On an error nothing has changed. Any thread; callable from callbacks.
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
 * Takes grants away from a component, from the next decision on: messages that were accepted are
 * delivered, and files and connections that are open can not be read or written any more.
 *
 * `engine`: borrowed. `json`: borrowed text, the grants as they were made, by action and pattern;
 * NULL takes all away. A part of what a pattern covers is taken away by a policy. `error`: may be
 * NULL. On an error nothing has changed. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_OPTIONS` (also
 * for a grant that the component does not hold), `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_ENGINE_STOPPED`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_revoke(airssys_engine_t *engine,
                                       uint64_t handle,
                                       const char *json,
                                       airssys_error_t **error);

/**
 * Says whether a component would be allowed to do something now, and by what. Quotas are not
 * looked at, and nothing is recorded:
 *
 *     { "component": "app/web/0", "action": "messaging.send", "resource": "app/db/0",
 *       "allowed": true,
 *       "by": "grant",                  or "policy", "ambient", "not-granted", "never"
 *       "rule": "grant app/db/0",       which grant or rule, with its reason
 *       "until-ms": null }              when the grant expires, milliseconds since 1970
 *
 * `engine`: borrowed. `action`: borrowed text, one of those that `airssys_engine_set_policies`
 * lists. `resource`: borrowed text, what the action would be on, as a record has it or in another
 * notation for the same (`127.1:80`); a path without links; "" for what is the component's own, its
 * storage namespace included. "never" is what no component can do, such as to reach a storage
 * namespace that is not its own. `out_json`: receives the document, which the caller owns. `error`:
 * may be NULL. Any thread; callable from callbacks.
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

/* -- INSPECTION ---------------------------------------------------------------------------------- */

/**
 * Finds the component of an id; of several, the least busy.
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
 * Lists the components, in the order they were loaded:
 *
 *     [{ "handle": 1, "id": "app/echo/0", "state": "running", "instances": 1 }]
 *
 * A state is `running`, `crashed` (the next message gets a new instance), `restarting`, `stopping`
 * or `stopped`; of several instances, one that is not running counts.
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
 * Says what is known of a component, without asking it:
 *
 *     {
 *       "handle": 1, "id": "app/echo/0", "instances": 1, "state": "running", "health": "healthy",
 *       "lifecycle": true,                  whether it exports component-lifecycle
 *       "metadata": { "name", "version", "description", "author", "license",
 *                     "supported-operations": [], "stateful": false } or null,
 *       "limits": { as in the options of airssys_engine_load }, "quotas": { the same },
 *       "grants": [{ "action": "messaging.send", "pattern": "app/db/0",
 *                    "guest-path": null, "expires-at-ms": null }],
 *       "mailbox": { "capacity": 1024, "max-bytes": 67108864, "when-full": "reject",
 *                    "depth": 0, "bytes": 0, "waiting": 0 },
 *       "host-bytes": 1024,                 memory of the host that it occupies, mail included
 *       "codecs": [],
 *       "messages": { as in airssys_engine_stats },
 *       "fuel": 0, "time-ns": 0,
 *       "memory-bytes": 1114112,            after its last call
 *       "restarts": 0,                      new instances after crashes
 *       "binary": { "blake3": "...", "bytes": 12345,
 *                   "code-bytes": 67890 }   compiled, with the initial contents of memories
 *     }
 *
 * `health` is what the component said last; it is asked at load and by `airssys_engine_health`.
 *
 * `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
 * NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND`, `AIRSSYS_ERROR_INVALID_ARGUMENT`,
 * `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_describe(airssys_engine_t *engine,
                                         uint64_t handle,
                                         airssys_bytes_t *out_json,
                                         airssys_error_t **error);

/**
 * Asks a component for its health, behind the mail that it has:
 *
 *     { "handle": 1, "id": "app/echo/0", "health": "healthy" }
 *
 * A health is `healthy`, `degraded`, `unhealthy` or `unknown` (always, without
 * `component-lifecycle`).
 *
 * `engine`: borrowed. `out_json`: receives the document, which the caller owns. `error`: may be
 * NULL. Any thread; callable from callbacks. Blocks until the component has answered.
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
 * Counts what the components that are loaded now have done, together and each:
 *
 *     {
 *       "components": 1,
 *       "binaries": 1,                      compiled and kept
 *       "code-bytes": 67890,                of these
 *       "cache": { "hits": 0, "misses": 0,  of cache-dir, null without one
 *                  "bytes": 0 },            of its entries, when they were last looked at
 *       "messages": {
 *         "accepted": 0, "refused": 0,      by its mailbox
 *         "dropped": 0,                     accepted and never handled
 *         "handled": 0, "failed": 0,        callbacks included
 *         "sent": 0                         by the component
 *       },
 *       "mailbox": { "depth": 0, "bytes": 0,
 *                    "waiting": 0 },      senders that wait for room
 *       "fuel": 0,                          used, about one unit an instruction
 *       "time-ns": 0,                       for handling mail, host functions and waits included;
 *                                           the clock advances every few milliseconds, so that
 *                                           only the sum over many messages says something
 *       "memory-bytes": 1114112,            after the last call
 *       "host-bytes": 1024,                 memory of the host that components occupy
 *       "restarts": 0,
 *       "per-component": [{ "handle": 1, "id": "app/echo/0", "instances": 1,
 *                           and "messages" to "restarts" of this one }],
 *       "requests": { "outstanding": 0, "late-replies": 0 },
 *       "dead-letters": 0, "events-lost": 0,
 *       "audit-lost": { "allowed": 0, "denied": 0 }
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

/* -- ROUTER -------------------------------------------------------------------------------------- */

/** What an envelope holds: `AIRSSYS_KIND_MESSAGE` or `AIRSSYS_KIND_REQUEST`. */
typedef int32_t airssys_kind_t;

/** A message whose outcome nobody waits for. */
#define AIRSSYS_KIND_MESSAGE 0

/** A request, which is answered with `airssys_engine_complete`. */
#define AIRSSYS_KIND_REQUEST 1

/**
 * Mail on its way from one engine to another. In `route` all pointers are valid until the callback
 * returns; for `airssys_engine_deliver` zero everything, set `size`, then what the mail has.
 */
struct airssys_envelope_t {
  /** `sizeof(airssys_envelope_t)`. */
  size_t size;
  /** Who sent it, `namespace/name/instance`. */
  const char *source;
  /** Whom it is for, `namespace/name/instance`. */
  const char *target;
  /** Message or request. */
  airssys_kind_t kind;
  /** Of a request: what its receiver sees as `correlation-id`; 0: none. */
  uint64_t correlation;
  /**
   * Of a request, in `route`: what `airssys_engine_complete` and `cancel` name it by, in the
   * engine that it comes from. `airssys_engine_deliver` does not read it.
   */
  uint64_t token;
  /**
   * Of a request: until when an answer is of use, in milliseconds since the Unix epoch; 0: no
   * limit.
   */
  uint64_t deadline_ms;
  /** What the payload is, for example `application/json`; NULL: not said. */
  const char *content_type;
  /** Opaque bytes; (NULL, 0) is empty. */
  const uint8_t *payload;
  /** How many. */
  size_t payload_len;
};

/**
 * The host's way to components that are not loaded in this engine: in another engine of the
 * process, in another process, on another machine. The library opens no connection itself.
 *
 * Callbacks are called from any thread, several at once, and always on a native thread stack. The
 * component that sends waits for `route`, and no other does. They may call any function but
 * `airssys_engine_shutdown` of their own engine, and must not unwind into the library.
 */
struct airssys_router_t {
  /** `sizeof(airssys_router_t)`. */
  size_t size;
  /** Handed to every callback. */
  void *user_data;
  /** Called once, when `user_data` is not used any more; may be NULL. */
  void (*drop)(void *user_data);
  /**
   * Takes mail that a component sends to an id that is not loaded here, in the order in which
   * that component sends it. Required.
   *
   * It answers with `airssys_writer_finish`: `AIRSSYS_OK` takes the mail over, and a request is
   * then completed with `airssys_engine_complete`, now or later, on any thread; if it is not, it
   * ends at its deadline. `AIRSSYS_ERROR_COMPONENT_NOT_FOUND` tells the sender that nobody has
   * that id, `AIRSSYS_ERROR_QUEUE_FULL` that the receiver has no room,
   * `AIRSSYS_ERROR_INVALID_MESSAGE` that the receiver does not take it, and every other status that
   * it was not delivered. What was written with `airssys_writer_write` is the reason, which goes
   * to the log; the sender sees it only with `"host-error-texts": true` in the configuration. No
   * answer counts as not delivered.
   */
  void (*route)(void *user_data, const airssys_envelope_t *envelope, airssys_writer_t *answer);
  /**
   * Says that nobody waits for the answer of a request any more: its sender has cancelled it, or
   * its deadline has passed. May be NULL.
   */
  void (*cancel)(void *user_data, uint64_t token);
};

/**
 * Gives mail for components that are not loaded to the host's callbacks.
 *
 * `router`: borrowed, copied; see `airssys_router_t`. On success its `user_data` belongs to the
 * library: `drop(user_data)` is called once, after the configuration and every engine made from it
 * are freed, or after another router has taken its place. On an error `drop` is not called.
 * `error`: may be NULL. Any thread.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (a NULL, a `route` that is NULL, a wrong
 * `size`) or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_config_set_router(airssys_config_t *config,
                                           const airssys_router_t *router,
                                           airssys_error_t **error);

/**
 * Brings in mail that the router of another engine took.
 *
 * `engine`: borrowed. `envelope`: borrowed, its payload copied; see `airssys_envelope_t`.
 * `reply_fn`: takes the outcome of a request, see `airssys_reply_fn_t`; required for
 * `AIRSSYS_KIND_REQUEST`, not used for `AIRSSYS_KIND_MESSAGE`. The request ends with
 * `AIRSSYS_ERROR_TIMEOUT` at the envelope's deadline. `user_data`: handed to `reply_fn`. `out_id`:
 * receives the id of the request for `airssys_engine_cancel`, 0 for a message; may be NULL.
 * `error`: may be NULL. Any thread; callable from callbacks. What is not loaded here is not given
 * to this engine's own router.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_COMPONENT_NOT_FOUND` (the target is not loaded here),
 * `AIRSSYS_ERROR_EXPORT_NOT_FOUND` (it handles no messages; of a request that is the outcome),
 * `AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED`, `AIRSSYS_ERROR_QUEUE_FULL`, `AIRSSYS_ERROR_INVALID_MESSAGE`, `AIRSSYS_ERROR_WOULD_DEADLOCK`,
 * `AIRSSYS_ERROR_INVALID_ID` (a malformed source or target), `AIRSSYS_ERROR_ENGINE_STOPPED`,
 * `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_deliver(airssys_engine_t *engine,
                                        const airssys_envelope_t *envelope,
                                        airssys_reply_fn_t reply_fn,
                                        void *user_data,
                                        uint64_t *out_id,
                                        airssys_error_t **error);

/**
 * Answers a request that this engine's router took: the component that made it gets its callback.
 *
 * `engine`: borrowed; the engine that the request comes from. `token`: from its envelope. `status`:
 * `AIRSSYS_OK`, or why there is no reply, as `airssys_completion_t` of another engine says it.
 * `reply`: borrowed, copied; not read unless `status` is `AIRSSYS_OK`; a NULL is no reply.
 * `message`: borrowed text, what went wrong, which that component sees; NULL for none. `error`: may be NULL. Any thread;
 * callable from callbacks, `route` included.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_REQUEST_NOT_FOUND` (too late, cancelled, answered before, or
 * a token that no router got), `AIRSSYS_ERROR_INVALID_ARGUMENT`, `AIRSSYS_ERROR_FORKED` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_engine_complete(airssys_engine_t *engine,
                                         uint64_t token,
                                         airssys_status_t status,
                                         const uint8_t *reply,
                                         size_t reply_len,
                                         const char *message,
                                         airssys_error_t **error);

/* -- BYTES AND WRITERS --------------------------------------------------------------------------- */

/**
 * Bytes that the caller owns; released with `airssys_bytes_free`.
 *
 * "None" and "empty" differ: `data` is NULL if there is nothing at all (a message that was handled
 * and not replied to), and not NULL with a `len` of 0 if there are zero bytes. JSON documents are
 * UTF-8 and followed by a NUL that `len` does not count.
 */
struct airssys_bytes_t {
  /** The bytes, or NULL. */
  uint8_t *data;
  /** How many. */
  size_t len;
  /** Belongs to the library; leave it as it is. */
  size_t capacity;
};

/**
 * Releases bytes and sets them to `{NULL, 0, 0}`, so that a second call does nothing.
 *
 * `bytes`: NULL does nothing. Any thread; callable from callbacks.
 */
void airssys_bytes_free(airssys_bytes_t *bytes);

/**
 * Where a callback writes its answer. Valid only until the callback returns, and only on its
 * thread.
 */
struct airssys_writer_t;

/**
 * Appends to what a callback answers.
 *
 * `writer`: the one that the callback got. `data`: borrowed, (NULL, 0) is empty. False, and nothing
 * appended, if an argument is NULL or the answer would have more than 256 MiB or, in `get`, than the
 * component's `max-host-bytes` leaves; the component then gets an error, whatever follows. On the callback's thread.
 */
bool airssys_writer_write(airssys_writer_t *writer,
                          const uint8_t *data,
                          size_t len);

/**
 * Gives the result of a callback; every callback that has a writer has to. Of several the last one
 * counts, and what is written after it still counts as written.
 *
 * `writer`: the one that the callback got; NULL does nothing. `result`: an
 * `airssys_storage_result_t` in storage callbacks, an `airssys_status_t` in `route` of a router. On
 * the callback's thread.
 */
void airssys_writer_finish(airssys_writer_t *writer, int32_t result);

/* -- CODECS -------------------------------------------------------------------------------------- */

/** `protobuf`, 0x50: Protocol Buffers. */
#define AIRSSYS_CODEC_PROTOBUF 0x50

/** `cbor`, 0x51: CBOR. */
#define AIRSSYS_CODEC_CBOR 0x51

/** `raw`, 0x55: bytes of no format, or of one that is not said. */
#define AIRSSYS_CODEC_RAW 0x55

/** `rlp`, 0x60: recursive length prefix, the serialization of Ethereum. */
#define AIRSSYS_CODEC_RLP 0x60

/** `bencode`, 0x63: the serialization of BitTorrent. */
#define AIRSSYS_CODEC_BENCODE 0x63

/** `dag-pb`, 0x70: IPLD's Merkle DAG in Protocol Buffers. */
#define AIRSSYS_CODEC_DAG_PB 0x70

/** `dag-cbor`, 0x71: IPLD's Merkle DAG in CBOR. */
#define AIRSSYS_CODEC_DAG_CBOR 0x71

/** `dag-jose`, 0x85: IPLD's Merkle DAG in JOSE, signed or encrypted. */
#define AIRSSYS_CODEC_DAG_JOSE 0x85

/** `dag-cose`, 0x86: IPLD's Merkle DAG in COSE, signed or encrypted. */
#define AIRSSYS_CODEC_DAG_COSE 0x86

/** `dag-json`, 0x0129: IPLD's Merkle DAG in JSON. */
#define AIRSSYS_CODEC_DAG_JSON 0x0129

/** `json`, 0x0200: JSON in UTF-8. */
#define AIRSSYS_CODEC_JSON 0x0200

/** `messagepack`, 0x0201: MessagePack. */
#define AIRSSYS_CODEC_MESSAGEPACK 0x0201

/** `car`, 0x0202: content addressable archive. */
#define AIRSSYS_CODEC_CAR 0x0202

/** `x509-certificate`, 0x0210: one X.509 certificate in DER. */
#define AIRSSYS_CODEC_X509_CERTIFICATE 0x0210

/** `ipns-record`, 0x0300: signed IPNS record. */
#define AIRSSYS_CODEC_IPNS_RECORD 0x0300

/** `car-index-sorted`, 0x0400: the index of an archive, CARv2 IndexSorted. */
#define AIRSSYS_CODEC_CAR_INDEX_SORTED 0x0400

/** `car-multihash-index-sorted`, 0x0401: the index of an archive, CARv2 MultihashIndexSorted. */
#define AIRSSYS_CODEC_CAR_MULTIHASH_INDEX_SORTED 0x0401

/** `provenance-log`, 0x1208: verifiable log that is only appended to. */
#define AIRSSYS_CODEC_PROVENANCE_LOG 0x1208

/** `provenance-log-entry`, 0x1209: an entry of such a log. */
#define AIRSSYS_CODEC_PROVENANCE_LOG_ENTRY 0x1209

/** `provenance-log-script`, 0x120a: a script of such a log. */
#define AIRSSYS_CODEC_PROVENANCE_LOG_SCRIPT 0x120a

/** `ssz`, 0xb501: SimpleSerialize. */
#define AIRSSYS_CODEC_SSZ 0xb501

/** `json-jcs`, 0xb601: JSON in the canonical form of RFC 8785. */
#define AIRSSYS_CODEC_JSON_JCS 0xb601

/** `bincode`, 0x306269: bincode. The table has no code for it; this one is for private use. */
#define AIRSSYS_CODEC_BINCODE 0x306269

/** `borsh`, 0x30626f: Borsh. The table has no code for it; this one is for private use. */
#define AIRSSYS_CODEC_BORSH 0x30626f

/**
 * The name of a codec in the multicodec table, for example `"cbor"` for `AIRSSYS_CODEC_CBOR`.
 *
 * `code`: one of the `AIRSSYS_CODEC_...` values; NULL is returned for any other. The text is
 * static and never freed. Any thread; callable from callbacks.
 */
const char *airssys_codec_name(uint64_t code);

/**
 * The code of a codec.
 *
 * `name`: borrowed text, as `airssys_codec_name` spells it. `out_code`: receives the code.
 * `error`: may be NULL; the message about an unknown name lists the known ones. Any thread;
 * callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_ARGUMENT` (also for a name that is not known) or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_codec_code(const char *name, uint64_t *out_code, airssys_error_t **error);

/**
 * Reads the code at the start of a payload; the data begins behind its prefix.
 *
 * That there is a code does not make it one of the `AIRSSYS_CODEC_...` values, and data without a
 * prefix often begins like one: `airssys_codec_name` says whether the code is known.
 *
 * `payload`, `len`: borrowed bytes; `payload` may be NULL if `len` is 0. `out_code`: receives the
 * code. `out_prefix_len`: receives how many bytes the code takes, 1 to 9. Both are written on
 * success only. `error`: may be NULL. Any thread; callable from callbacks.
 *
 * Returns `AIRSSYS_OK`, `AIRSSYS_ERROR_INVALID_MESSAGE` (no unsigned varint of multiformats, which
 * has the shortest form and at most 9 bytes), `AIRSSYS_ERROR_INVALID_ARGUMENT` or
 * `AIRSSYS_ERROR_PANIC`.
 */
airssys_status_t airssys_codec_read(const uint8_t *payload,
                                    size_t len,
                                    uint64_t *out_code,
                                    size_t *out_prefix_len,
                                    airssys_error_t **error);

/**
 * Puts a code in front of a payload, as an unsigned varint.
 *
 * `code`: one of the `AIRSSYS_CODEC_...` values, or any other of at most 63 bits. `payload`,
 * `len`: borrowed bytes; `payload` may be NULL if `len` is 0. `out`: receives prefix and payload,
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
