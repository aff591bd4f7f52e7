/*
 * What most C tests do with the library: make an engine, load a guest, call it, look at the answer.
 */
#ifndef HOST_H
#define HOST_H

#include "check.h"

#include <airssys_wasm.h>
#include <sched.h>

static inline void check_status(airssys_status_t came, airssys_status_t expected,
                                const char *file, int line, const char *what)
{
    check_record(came == expected, file, line, what, airssys_status_name(expected),
                 airssys_status_name(came));
}

#define CHECK_STATUS(came, expected) check_status((came), (expected), __FILE__, __LINE__, #came)
#define CHECK_OK(came) CHECK_STATUS(came, AIRSSYS_OK)

/* Writes the path of a guest's component. */
static inline const char *guest_path(const char *guest, char *path, size_t size)
{
    const char *directory = getenv("AIRSSYS_GUESTS_DIR");
    REQUIRE(directory != NULL);
    REQUIRE((size_t)snprintf(path, size, "%s/%s.wasm", directory, guest) < size);
    return path;
}

static inline airssys_engine_t *engine_with(const airssys_config_t *config)
{
    airssys_engine_t *engine = NULL;
    airssys_error_t *error = NULL;
    if (airssys_engine_new(config, &engine, &error) != AIRSSYS_OK)
        fprintf(stderr, "%s\n", airssys_error_message(error));
    REQUIRE(engine != NULL);
    return engine;
}

/* A configuration with defaults: its components may do nothing. */
static inline airssys_config_t *new_strict_config(void)
{
    airssys_config_t *config = NULL;
    REQUIRE(airssys_config_new(&config, NULL) == AIRSSYS_OK && config != NULL);
    return config;
}

/* The rights of components in tests that are not about rights. */
#define TEST_GRANTS                                                                             \
    "{\"messaging\": {\"send\": [\"**\"], \"request\": [\"**\"], \"broadcast\": [\"**\"]}, " \
    "\"storage\": [\"read\", \"write\", \"delete\"]}"

/* The same, but components may message everybody and use their own storage. */
static inline airssys_config_t *new_config(void)
{
    airssys_config_t *config = new_strict_config();
    REQUIRE(airssys_config_set_json(config, "{\"capabilities\": " TEST_GRANTS "}", NULL) ==
            AIRSSYS_OK);
    return config;
}

static inline void log_nothing(void *user_data, const airssys_log_record_t *record)
{
    (void)user_data;
    (void)record;
}

/* Does not print the deliberate failures of guests. Takes ownership of the configuration. */
static inline airssys_engine_t *silent_engine(airssys_config_t *config)
{
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.log = log_nothing;
    logger.min_level = AIRSSYS_LOG_OFF;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

static inline airssys_engine_t *new_engine(void)
{
    return silent_engine(new_config());
}

/* An engine whose components have only the rights that their loads grant. */
static inline airssys_engine_t *new_strict_engine(void)
{
    return silent_engine(new_strict_config());
}

static inline uint64_t load_as(airssys_engine_t *engine, const char *id, const char *guest,
                               const char *options)
{
    char path[4096];
    uint64_t handle = 0;
    airssys_error_t *error = NULL;
    guest_path(guest, path, sizeof path);
    if (airssys_engine_load_file(engine, id, path, options, &handle, &error) != AIRSSYS_OK)
        fprintf(stderr, "%s\n", airssys_error_message(error));
    REQUIRE(handle != 0);
    return handle;
}

static inline uint64_t load(airssys_engine_t *engine, const char *guest)
{
    char id[64];
    snprintf(id, sizeof id, "test/%s/0", guest);
    return load_as(engine, id, guest, NULL);
}

static inline airssys_status_t call(airssys_engine_t *engine, uint64_t handle, const char *text,
                                    airssys_bytes_t *reply, airssys_error_t **error)
{
    return airssys_engine_call(engine, handle, (const uint8_t *)text, strlen(text), NULL, reply,
                               error);
}

/* Calls and compares the reply. */
static inline void check_reply(airssys_engine_t *engine, uint64_t handle, const char *text,
                               const char *expected, const char *file, int line)
{
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    if (call(engine, handle, text, &reply, &error) != AIRSSYS_OK) {
        check_record(false, file, line, text, expected, airssys_error_message(error));
    } else {
        char came[512];
        snprintf(came, sizeof came, "%.*s", (int)reply.len,
                 reply.data != NULL ? (const char *)reply.data : "");
        check_text(came, expected, file, line, text);
    }
    airssys_error_free(error);
    airssys_bytes_free(&reply);
}

/* Expects a failure, checks and frees the error. */
static inline void check_fails(airssys_engine_t *engine, uint64_t handle, const char *text,
                               airssys_status_t status, const char *part, const char *file,
                               int line)
{
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    check_status(call(engine, handle, text, &reply, &error), status, file, line, text);
    check_number(airssys_error_status(error), status, file, line, "airssys_error_status");
    check_contains(airssys_error_message(error), part, file, line, text);
    airssys_error_free(error);
    airssys_bytes_free(&reply);
}

/* Reads a number out of a JSON document that describes a component or an engine: the first under
 * `path`, as in `mailbox.bytes`; -1 if there is none. */
static inline long long number_in(const airssys_bytes_t *json, const char *path)
{
    const char *found = (const char *)json->data;
    while (found != NULL && *path != '\0') {
        char key[64];
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof key, "\"%.*s\":", (int)len, path);
        found = strstr(found, key);
        found = found != NULL ? found + strlen(key) : NULL;
        path += len + (path[len] == '.');
    }
    return found != NULL ? atoll(found) : -1;
}

/* The number at `path` in the document of `airssys_engine_describe`. */
static inline long long described(airssys_engine_t *engine, uint64_t handle, const char *path)
{
    airssys_bytes_t json = {0};
    REQUIRE(airssys_engine_describe(engine, handle, &json, NULL) == AIRSSYS_OK);
    long long number = number_in(&json, path);
    airssys_bytes_free(&json);
    return number;
}

/* The number at `path` in the document of `airssys_engine_stats`. */
static inline long long counted(airssys_engine_t *engine, const char *path)
{
    airssys_bytes_t json = {0};
    REQUIRE(airssys_engine_stats(engine, &json, NULL) == AIRSSYS_OK);
    long long number = number_in(&json, path);
    airssys_bytes_free(&json);
    return number;
}

/* Waits until this much mail waits for a component. */
static inline void wait_for_depth(airssys_engine_t *engine, uint64_t handle, long long depth)
{
    while (described(engine, handle, "mailbox.depth") != depth)
        sched_yield();
}

static inline airssys_status_t send_text(airssys_engine_t *engine, uint64_t handle, const char *text)
{
    return airssys_engine_send(engine, handle, (const uint8_t *)text, strlen(text), NULL, NULL);
}

/* Expects an error about argument `name`. The call passes `&error`. */
#define REFUSES(name, call)                                                            \
    do {                                                                               \
        airssys_error_t *error = NULL;                                                 \
        CHECK_STATUS((call), AIRSSYS_ERROR_INVALID_ARGUMENT);                          \
        CHECK_CONTAINS(airssys_error_message(error), name);                            \
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"argument\":\"" name "\""); \
        airssys_error_free(error);                                                     \
    } while (0)

#define CHECK_REPLY(engine, handle, text, expected) \
    check_reply((engine), (handle), (text), (expected), __FILE__, __LINE__)
#define CHECK_FAILS(engine, handle, text, status, part) \
    check_fails((engine), (handle), (text), (status), (part), __FILE__, __LINE__)

#endif
