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
