/* Loading: each failure has its own error and leaves nothing behind. */
#include "host.h"

static const uint8_t core_module[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
static const uint8_t component[] = {0, 'a', 's', 'm', 0x0d, 0, 1, 0};
static const uint8_t corrupt[] = {0, 'a', 's', 'm', 0x0d, 0, 1, 0, 99, 200, 1};

static void refuses(airssys_engine_t *engine, const uint8_t *wasm, size_t len, const char *options,
                    airssys_status_t status, const char *part)
{
    uint64_t handle = 4711;
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_load(engine, "test/x/0", wasm, len, options, &handle, &error),
                 status);
    CHECK_CONTAINS(airssys_error_message(error), part);
    CHECK_NUMBER(handle, 4711);
    airssys_error_free(error);
}

static void refuses_guest(airssys_engine_t *engine, const char *guest, const char *options,
                          airssys_status_t status, const char *part)
{
    char path[4096];
    uint64_t handle = 4711;
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_load_file(engine, "test/x/0", guest_path(guest, path, sizeof path),
                                          options, &handle, &error),
                 status);
    CHECK_CONTAINS(airssys_error_message(error), part);
    CHECK_NUMBER(handle, 4711);
    airssys_error_free(error);
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t handle = 0;

    refuses(engine, NULL, 0, NULL, AIRSSYS_ERROR_INVALID_COMPONENT, "empty");
    refuses(engine, core_module, sizeof core_module, NULL, AIRSSYS_ERROR_INVALID_COMPONENT,
            "core module");
    refuses(engine, component, 6, NULL, AIRSSYS_ERROR_INVALID_COMPONENT, "6 bytes");
    refuses(engine, corrupt, sizeof corrupt, NULL, AIRSSYS_ERROR_INVALID_COMPONENT, "test/x/0");
    refuses(engine, component, sizeof component, "{\"limit\": {}}", AIRSSYS_ERROR_INVALID_OPTIONS,
            "limits");
    refuses(engine, component, sizeof component, "[]", AIRSSYS_ERROR_INVALID_OPTIONS, "");
    refuses(engine, component, sizeof component, "", AIRSSYS_ERROR_INVALID_OPTIONS, "");
    refuses_guest(engine, "no-such-guest", NULL, AIRSSYS_ERROR_IO, "no-such-guest.wasm");
    refuses_guest(engine, "probe", "{\"env\": {\"REFUSE\": \"not today\"}}",
                  AIRSSYS_ERROR_INITIALIZATION_FAILED, "not today");
    refuses_guest(engine, "probe", "{\"env\": {\"TRAP_INIT\": \"\"}}", AIRSSYS_ERROR_TRAP, "");
    refuses_guest(engine, "probe",
                  "{\"env\": {\"LOOP_INIT\": \"\"}, \"limits\": {\"max-execution-time-ms\": 50}}",
                  AIRSSYS_ERROR_TIMEOUT, "50");

    /* A directory is a file that cannot be read. */
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_load_file(engine, "test/x/0", "/", NULL, &handle, &error),
                 AIRSSYS_ERROR_IO);
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"path\":\"/\"");
    airssys_error_free(error);

    /* Nothing of all this was loaded. */
    airssys_bytes_t list = {0};
    CHECK_OK(airssys_engine_list(engine, &list, NULL));
    CHECK_TEXT((const char *)list.data, "[]");
    airssys_bytes_free(&list);
    CHECK_STATUS(airssys_engine_find(engine, "test/x/0", &handle, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);

    /* The smallest component loads from memory that is freed right after, and handles no messages. */
    uint8_t copy[sizeof component];
    memcpy(copy, component, sizeof copy);
    CHECK_OK(airssys_engine_load(engine, "test/x/0", copy, sizeof copy, "{}", &handle, NULL));
    memset(copy, 0, sizeof copy);
    CHECK_FAILS(engine, handle, "hello", AIRSSYS_ERROR_EXPORT_NOT_FOUND, "test/x/0");

    /* A failing `shutdown` is reported, and the component is unloaded. */
    uint64_t probe = load_as(engine, "test/probe/0", "probe",
                             "{\"env\": {\"SHUTDOWN_FAIL\": \"I stay\"}}");
    CHECK_STATUS(airssys_engine_unload(engine, probe, &error), AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "I stay");
    airssys_error_free(error);
    CHECK_OK(airssys_engine_unload(engine, probe, NULL));

    airssys_engine_free(engine);
    return check_done();
}
