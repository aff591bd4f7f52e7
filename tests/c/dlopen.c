/* A host that loads the library at run time: opens, checks, uses and closes it, twice. */
#include "check.h"

#include <airssys_wasm.h>
#include <dlfcn.h>

/* ISO C has no cast from an object pointer to a function pointer, but POSIX requires it for dlsym. */
#define FIND(library, function)                                       \
    do {                                                              \
        void *symbol = dlsym(library, "airssys_" #function);          \
        CHECK(symbol != NULL);                                        \
        memcpy(&function, &symbol, sizeof symbol);                    \
    } while (0)

static void use(const char *path, const char *guest)
{
    uint32_t (*abi_version)(void);
    airssys_status_t (*engine_new)(const airssys_config_t *, airssys_engine_t **, airssys_error_t **);
    airssys_status_t (*engine_load_file)(airssys_engine_t *, const char *, const char *,
                                         const char *, uint64_t *, airssys_error_t **);
    airssys_status_t (*engine_call)(airssys_engine_t *, uint64_t, const uint8_t *, size_t,
                                    const airssys_message_options_t *, airssys_bytes_t *,
                                    airssys_error_t **);
    void (*engine_free)(airssys_engine_t *);
    void (*bytes_free)(airssys_bytes_t *);

    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    REQUIRE(library != NULL);
    FIND(library, abi_version);
    FIND(library, engine_new);
    FIND(library, engine_load_file);
    FIND(library, engine_call);
    FIND(library, engine_free);
    FIND(library, bytes_free);
    CHECK_NUMBER(abi_version(), AIRSSYS_ABI_VERSION);
    CHECK(dlsym(library, "wasmtime_engine_new") == NULL);

    airssys_engine_t *engine = NULL;
    airssys_bytes_t reply = {0};
    uint64_t echo = 0;
    CHECK_NUMBER(engine_new(NULL, &engine, NULL), AIRSSYS_OK);
    CHECK_NUMBER(engine_load_file(engine, "test/echo/0", guest, NULL, &echo, NULL), AIRSSYS_OK);
    CHECK_NUMBER(engine_call(engine, echo, (const uint8_t *)"hi", 2, NULL, &reply, NULL), AIRSSYS_OK);
    CHECK(reply.len == 2 && memcmp(reply.data, "hi", 2) == 0);
    bytes_free(&reply);
    engine_free(engine);
    REQUIRE(dlclose(library) == 0);
}

struct paths {
    const char *library, *guest;
};

static void *use_on_thread(void *argument)
{
    const struct paths *paths = argument;
    use(paths->library, paths->guest);
    return NULL;
}

int main(void)
{
    check_begin();
    const char *libraries = getenv("AIRSSYS_LIB_DIR"), *guests = getenv("AIRSSYS_GUESTS_DIR");
    REQUIRE(libraries != NULL && guests != NULL);
    char library[4096], guest[4096];
    snprintf(library, sizeof library, "%s/libairssys_wasm.so", libraries);
    snprintf(guest, sizeof guest, "%s/echo.wasm", guests);

    struct paths paths = {library, guest};
    for (int round = 0; round < 3; round++)
        use(library, guest);

    /* The thread ends, with the destructors of its thread-local data, after the library was closed. */
    for (int round = 0; round < 3; round++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, use_on_thread, &paths) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    return check_done();
}
