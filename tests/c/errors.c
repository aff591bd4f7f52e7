/* Error objects are independent: complete, and usable on any thread for any time. */
#include "host.h"

/* Checks an error on a thread that has nothing else. */
static void *examine(void *argument)
{
    airssys_error_t *error = argument;
    CHECK_STATUS(airssys_error_status(error), AIRSSYS_ERROR_RUNTIME);
    CHECK_CONTAINS(airssys_error_message(error), "the red one");
    CHECK_CONTAINS(airssys_error_message(error), "test/probe/0");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"code\":\"runtime-error\"");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"origin\":\"guest\"");
    airssys_error_free(error);
    return NULL;
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    uint64_t probe = load(engine, "probe"), trapper = load(engine, "trapper");

    /* On failure the error is written and outputs are not. */
    airssys_bytes_t reply = {NULL, 17, 18};
    airssys_error_t *error = NULL;
    CHECK_STATUS(call(engine, probe, "fail runtime-error the red one", &reply, &error),
                 AIRSSYS_ERROR_RUNTIME);
    CHECK(error != NULL);
    CHECK(reply.data == NULL && reply.len == 17 && reply.capacity == 18);
    memset(&reply, 0, sizeof reply);

    /* On success outputs are written and the error is not: the previous error is unchanged. */
    airssys_error_t *before = error;
    CHECK_OK(call(engine, probe, "empty", &reply, &error));
    CHECK(error == before);
    CHECK(reply.data != NULL);
    airssys_bytes_free(&reply);

    /* Two errors exist independently. */
    airssys_error_t *trap = NULL;
    CHECK_STATUS(call(engine, trapper, "unreachable", &reply, &trap), AIRSSYS_ERROR_TRAP);
    CHECK_CONTAINS(airssys_error_message(trap), "test/trapper/0");
    CHECK_CONTAINS(airssys_error_detail_json(trap), "\"backtrace\":");

    /* With NULL only the status reports the failure. */
    CHECK_STATUS(call(engine, trapper, "unreachable", &reply, NULL), AIRSSYS_ERROR_TRAP);
    CHECK_REPLY(engine, trapper, "ok", "ok");

    /* Every case of `wasm-error` has its status, so that a host need not read the text. */
    static const struct {
        const char *command;
        airssys_status_t status;
    } cases[] = {
        {"fail component-not-found x", AIRSSYS_ERROR_COMPONENT_NOT_FOUND},
        {"fail instantiation-failed x", AIRSSYS_ERROR_INSTANTIATION_FAILED},
        {"fail export-not-found x", AIRSSYS_ERROR_EXPORT_NOT_FOUND},
        {"fail timeout x", AIRSSYS_ERROR_TIMEOUT},
        {"fail resource-limit-exceeded x", AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED},
        {"fail invalid-component x", AIRSSYS_ERROR_INVALID_COMPONENT},
        {"fail runtime-error x", AIRSSYS_ERROR_RUNTIME},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        airssys_error_t *failed = NULL;
        CHECK_STATUS(call(engine, probe, cases[i].command, &reply, &failed), cases[i].status);
        CHECK_CONTAINS(airssys_error_detail_json(failed), "\"origin\":\"guest\"");
        airssys_error_free(failed);
    }

    /* The error names the limit and its value. */
    uint64_t small = load_as(engine, "test/small/0", "trapper",
                             "{\"limits\": {\"max-memory-bytes\": 4194304}}");
    airssys_error_t *limit = NULL;
    CHECK_STATUS(call(engine, small, "alloc", &reply, &limit),
                 AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    CHECK_CONTAINS(airssys_error_message(limit), "max-memory-bytes");
    CHECK_CONTAINS(airssys_error_detail_json(limit), "\"limit\":\"max-memory-bytes\"");
    CHECK_CONTAINS(airssys_error_detail_json(limit), "\"value\":4194304");

    /* A NUL from a guest does not cut the message off. */
    static const char with_nul[] = "fail runtime-error head\0tail";
    airssys_error_t *nul = NULL;
    CHECK_STATUS(airssys_engine_call(engine, probe, (const uint8_t *)with_nul, sizeof with_nul - 1,
                                     NULL, &reply, &nul),
                 AIRSSYS_ERROR_RUNTIME);
    CHECK_CONTAINS(airssys_error_message(nul), "head");
    CHECK_CONTAINS(airssys_error_message(nul), "tail");
    airssys_error_free(nul);

    /* Errors outlive their engine, also on other threads. */
    airssys_engine_free(engine);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, examine, error) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(airssys_error_status(trap), AIRSSYS_ERROR_TRAP);
    CHECK_STATUS(airssys_error_status(limit), AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED);
    airssys_error_free(trap);
    airssys_error_free(limit);

    /* No error at all. */
    CHECK_STATUS(airssys_error_status(NULL), AIRSSYS_OK);
    CHECK_TEXT(airssys_error_message(NULL), "");
    CHECK_TEXT(airssys_error_detail_json(NULL), "{}");
    airssys_error_free(NULL);
    return check_done();
}
