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
