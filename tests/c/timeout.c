/* Timeouts of callers and time limits of components, and whom they affect. */
#include "host.h"

static airssys_status_t call_for(airssys_engine_t *engine, uint64_t handle, const char *text,
                                 uint64_t timeout_ms, airssys_bytes_t *reply,
                                 airssys_error_t **error)
{
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.timeout_ms = timeout_ms;
    return airssys_engine_call(engine, handle, (const uint8_t *)text, strlen(text), &options,
                               reply, error);
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t sleeper = load_as(engine, "test/sleeper/0", "requester", NULL);
    uint64_t trapper = load_as(engine, "test/trapper/0", "trapper",
                               "{\"limits\": {\"max-execution-time-ms\": 60}}");
    uint64_t counter = load(engine, "counter");
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;

    /* The caller's timeout expires; the error names it. */
    CHECK_STATUS(call_for(engine, sleeper, "sleep-then 300 done", 20, &reply, &error),
                 AIRSSYS_ERROR_TIMEOUT);
    CHECK_CONTAINS(airssys_error_message(error), "test/sleeper/0");
    CHECK_CONTAINS(airssys_error_message(error), "20 ms");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"limit\":\"timeout_ms\"");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"value\":20");
    airssys_error_free(error);

    /* The message is still handled, and the next one waits for it: no crash, no restart. */
    CHECK_REPLY(engine, sleeper, "self", "test/sleeper/0");
    CHECK_OK(airssys_engine_describe(engine, sleeper, &reply, NULL));
    CHECK_CONTAINS((const char *)reply.data, "\"restarts\":0");
    CHECK_CONTAINS((const char *)reply.data, "\"handled\":2");
    airssys_bytes_free(&reply);

    /* The wait in the mailbox counts, too. */
    CHECK_OK(airssys_engine_send(engine, sleeper, (const uint8_t *)"sleep-then 300 x", 16, NULL,
                                 NULL));
    CHECK_STATUS(call_for(engine, sleeper, "self", 20, &reply, NULL), AIRSSYS_ERROR_TIMEOUT);

    /* The caller's timeout does not end a computing guest either. */
    uint64_t spinner = load_as(engine, "test/spinner/0", "trapper", NULL);
    CHECK_STATUS(call_for(engine, spinner, "spin 300000000", 1, &reply, NULL),
                 AIRSSYS_ERROR_TIMEOUT);
    CHECK_REPLY(engine, spinner, "ok", "ok");

    /* The component's own limit ends its instance, sleeping or computing. */
    static const char *const endless[] = {"sleep 60000", "loop", "loop-log"};
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        CHECK_STATUS(call_for(engine, trapper, endless[i], 0, &reply, &error),
                     AIRSSYS_ERROR_TIMEOUT);
        CHECK_CONTAINS(airssys_error_message(error), "max-execution-time-ms 60");
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"value\":60");
        airssys_error_free(error);
        CHECK_REPLY(engine, trapper, "ok", "ok");
        CHECK_REPLY(engine, counter, "get", "0");
    }

    /* Longer than any clock can represent. */
    CHECK_OK(call_for(engine, trapper, "ok", UINT64_MAX, &reply, NULL));
    airssys_bytes_free(&reply);
    CHECK_OK(call_for(engine, trapper, "sleep 20", UINT64_MAX, &reply, NULL));
    airssys_bytes_free(&reply);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    airssys_engine_free(engine);
    return check_done();
}
