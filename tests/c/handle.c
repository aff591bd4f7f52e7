/* A handle names one component forever: unknown, stale and zero handles are errors, none is reused. */
#include "host.h"

static void check_gone(airssys_engine_t *engine, uint64_t handle)
{
    airssys_bytes_t out = {0};
    CHECK_FAILS(engine, handle, "hello", AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "handle");
    CHECK_STATUS(airssys_engine_send(engine, handle, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_describe(engine, handle, &out, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_inspect(engine, handle, &out, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_health(engine, handle, &out, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK(out.data == NULL);
    CHECK_OK(airssys_engine_unload(engine, handle, NULL));
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo");
    CHECK(echo != 0);
    check_gone(engine, 0);
    check_gone(engine, echo + 1);
    check_gone(engine, UINT64_MAX - 1);

    /* One id loaded twice: two components, one result of find. */
    uint64_t counters[2] = {load(engine, "counter"), load(engine, "counter")}, found = 0;
    CHECK(counters[0] != counters[1]);
    CHECK_REPLY(engine, counters[0], "inc", "1");
    CHECK_REPLY(engine, counters[0], "inc", "2");
    CHECK_REPLY(engine, counters[1], "get", "0");
    CHECK_OK(airssys_engine_find(engine, "test/counter/0", &found, NULL));
    CHECK(found == counters[0] || found == counters[1]);

    /* Unloading one keeps the other. Unloading it again does nothing. */
    CHECK_OK(airssys_engine_unload(engine, counters[0], NULL));
    check_gone(engine, counters[0]);
    CHECK_REPLY(engine, counters[1], "inc", "1");
    CHECK_OK(airssys_engine_find(engine, "test/counter/0", &found, NULL));
    CHECK_NUMBER(found, counters[1]);

    /* A new component never gets an old handle. */
    uint64_t again = load(engine, "counter");
    CHECK(again != counters[0] && again != counters[1]);
    check_gone(engine, counters[0]);

    /* An unknown id is not found, and the output is not written. */
    CHECK_OK(airssys_engine_unload(engine, again, NULL));
    CHECK_OK(airssys_engine_unload(engine, counters[1], NULL));
    found = 4711;
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_find(engine, "test/counter/0", &found, &error),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_CONTAINS(airssys_error_message(error), "test/counter/0");
    CHECK_NUMBER(found, 4711);
    airssys_error_free(error);

    static const char *const malformed[] = {"", "a", "a/b", "a/b/c/d", "a//c", "/b/c", "a/b/",
                                            "a/*/c", "a/b\n/c"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK_STATUS(airssys_engine_find(engine, malformed[i], &found, NULL),
                     AIRSSYS_ERROR_INVALID_ID);
    CHECK_NUMBER(found, 4711);

    /* A handle of another engine is unknown here. */
    airssys_engine_t *other = new_engine();
    CHECK_FAILS(other, echo, "hello", AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "handle");
    airssys_engine_free(other);
    CHECK_REPLY(engine, echo, "hello", "hello");
    airssys_engine_free(engine);
    return check_done();
}
