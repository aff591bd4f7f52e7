/* Stops and starts by call, the status, and components that have failed. */
#include "answer.h"
#include "trail.h"

/* A stopped component keeps its id and handle, and takes no messages. */
static void stop_and_start(void)
{
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t counter = load_as(engine, "test/counter/0", "counter", NULL), found = 0;
    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_REPLY(engine, counter, "inc", "2");
    CHECK_OK(airssys_engine_stop(engine, counter, UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_wait(engine, counter, "stopped", 0, NULL));
    CHECK_OK(airssys_engine_find(engine, "test/counter/0", &found, NULL));
    CHECK_NUMBER(found, counter);
    CHECK_IN_STATUS(engine, counter, "\"state\":\"stopped\"");

    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    CHECK_STATUS(call(engine, counter, "inc", &reply, &error), AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_CONTAINS(airssys_error_message(error), "test/counter/0 is stopped");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"component\":\"test/counter/0\"");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"state\":\"stopped\"");
    airssys_error_free(error);
    CHECK_STATUS(send_text(engine, counter, "inc"), AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_STATUS(airssys_engine_restart(engine, counter, 0, NULL),
                 AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_OK(airssys_engine_stop(engine, counter, 0, NULL));

    /* A new instance, once. */
    CHECK_OK(airssys_engine_start(engine, counter, NULL));
    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_OK(airssys_engine_start(engine, counter, NULL));
    CHECK_REPLY(engine, counter, "inc", "2");

    CHECK_OK(airssys_engine_unload(engine, counter, NULL));
    CHECK_OK(airssys_engine_wait(engine, counter, "unloaded", 0, NULL));
    wait_for_changes(&trail, 7);
    CHECK_TEXT(trail.text, "running(loaded) stopping(stop) stopped(stopped) "
                           "initializing(start) running(loaded) "
                           "unloading(close) unloaded(end)");
    CHECK_STATUS(airssys_engine_stop(engine, counter, 0, NULL), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_start(engine, counter, NULL), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_status(engine, counter, &reply, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_stop(engine, 0, 0, NULL), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    airssys_engine_free(engine);
}

struct stop {
    airssys_engine_t *engine;
    uint64_t handle;
};

static void *stop_patiently(void *argument)
{
    struct stop *stop = argument;
    CHECK_OK(airssys_engine_stop(stop->engine, stop->handle, UINT64_MAX, NULL));
    return NULL;
}

/* Makes a trapper that runs a message without end, with another one behind it. */
static uint64_t busy_trapper(airssys_engine_t *engine, const char *id, struct answer answers[2],
                             uint64_t ids[2])
{
    uint64_t trapper = load_as(
        engine, id, "trapper",
        "{\"limits\": {\"max-execution-time-ms\": 3600000, \"max-fuel\": null}}");
    ids[0] = request(engine, trapper, "loop", &answers[0]);
    wait_for_depth(engine, trapper, 0);
    ids[1] = request(engine, trapper, "ok", &answers[1]);
    return trapper;
}

/* Mail that waits is handled before the stop, unless its time is over. */
static void waiting_mail(void)
{
    airssys_engine_t *engine = new_engine();
    struct answer patient[2] = {ANSWER, ANSWER}, hurried[2] = {ANSWER, ANSWER};
    uint64_t ids[2];
    struct stop stop = {engine, busy_trapper(engine, "test/patient/0", patient, ids)};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, stop_patiently, &stop) == 0);
    CHECK_OK(airssys_engine_wait(engine, stop.handle, "stopping", UINT64_MAX, NULL));
    CHECK_STATUS(send_text(engine, stop.handle, "ok"), AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_OK(airssys_engine_interrupt(engine, stop.handle, NULL));
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_ANSWER(&patient[0], ids[0], AIRSSYS_ERROR_INTERRUPTED, "test/patient/0");
    CHECK_ANSWER(&patient[1], ids[1], AIRSSYS_OK, "ok");
    CHECK_IN_STATUS(engine, stop.handle, "\"state\":\"stopped\"");

    uint64_t trapper = busy_trapper(engine, "test/hurried/0", hurried, ids);
    /* An instance that was interrupted is gone, so its `shutdown` cannot be called. */
    CHECK_STATUS(airssys_engine_stop(engine, trapper, 0, NULL), AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_IN_STATUS(engine, trapper, "\"state\":\"stopped\"");
    CHECK_ANSWER(&hurried[0], ids[0], AIRSSYS_ERROR_INTERRUPTED, "test/hurried/0");
    CHECK_ANSWER(&hurried[1], ids[1], AIRSSYS_ERROR_COMPONENT_STOPPED, "test/hurried/0");
    CHECK_CONTAINS(hurried[1].detail, "\"state\":\"stopped\"");
    CHECK_NUMBER(counted(engine, "dead-letters"), 1);
    airssys_engine_free(engine);
}

/* All components, and the errors of some. */
static void all_components(void)
{
    static const char FAILS[] = "{\"env\": {\"SHUTDOWN_FAIL\": \"I stay\"}}";
    airssys_engine_t *engine = new_engine();
    uint64_t all = AIRSSYS_ALL_COMPONENTS;
    CHECK_IN_STATUS(engine, all, "[]");
    CHECK_OK(airssys_engine_stop(engine, all, UINT64_MAX, NULL));
    uint64_t counters[2] = {load_as(engine, "test/counter/0", "counter", NULL),
                            load_as(engine, "test/counter/1", "counter", NULL)};
    for (int i = 0; i < 2; i++)
        CHECK_REPLY(engine, counters[i], "inc", "1");
    CHECK_OK(airssys_engine_restart(engine, all, UINT64_MAX, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_REPLY(engine, counters[i], "inc", "1");
    CHECK_OK(airssys_engine_stop(engine, all, UINT64_MAX, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(send_text(engine, counters[i], "inc"), AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_IN_STATUS(engine, all, "\"id\":\"test/counter/0\"");
    CHECK_IN_STATUS(engine, all, "\"id\":\"test/counter/1\"");
    CHECK_OK(airssys_engine_start(engine, all, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_REPLY(engine, counters[i], "get", "0");

    /* One that fails is stopped nevertheless, as are the others. */
    uint64_t probe = load_as(engine, "test/probe/0", "probe", FAILS);
    airssys_error_t *error = NULL;
    char part[64];
    CHECK_STATUS(airssys_engine_stop(engine, all, UINT64_MAX, &error),
                 AIRSSYS_ERROR_SHUTDOWN_FAILED);
    snprintf(part, sizeof part, "\"failed\":[{\"handle\":%llu,", (unsigned long long)probe);
    CHECK_CONTAINS(airssys_error_detail_json(error), part);
    snprintf(part, sizeof part, "\"status\":%d}]", AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_CONTAINS(airssys_error_detail_json(error), part);
    CHECK_CONTAINS(airssys_error_detail_json(error), "I stay");
    airssys_error_free(error);
    CHECK_OK(airssys_engine_wait(engine, probe, "stopped", 0, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_OK(airssys_engine_wait(engine, counters[i], "stopped", 0, NULL));

    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_stop(engine, all, 0, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_STATUS(airssys_engine_start(engine, all, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    airssys_bytes_t json = {0};
    CHECK_STATUS(airssys_engine_status(engine, all, &json, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_STATUS(airssys_engine_status(engine, probe, &json, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK(json.data == NULL);
    airssys_engine_free(engine);

    /* One component of one is a list, too. */
    engine = new_engine();
    uint64_t echo = load(engine, "echo");
    CHECK_OK(airssys_engine_stop(engine, echo, UINT64_MAX, NULL));
    error = NULL;
    CHECK_STATUS(airssys_engine_restart(engine, all, UINT64_MAX, &error),
                 AIRSSYS_ERROR_COMPONENT_STOPPED);
    snprintf(part, sizeof part, "\"failed\":[{\"handle\":%llu,", (unsigned long long)echo);
    CHECK_CONTAINS(airssys_error_detail_json(error), part);
    airssys_error_free(error);
    airssys_engine_free(engine);
}

/* A component that crashes too often has failed, until it is started. */
static void failed(void)
{
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t trapper = load_as(engine, "test/trapper/0", "trapper",
                               "{\"supervision\": {\"restart\": \"permanent\", \"max-restarts\": 2, "
                               "\"backoff\": {\"growth\": \"none\"}}}");
    CHECK_IN_STATUS(engine, trapper, "\"last-failure\":null");
    CHECK_NUMBER(in_status(engine, trapper, "supervision.max-restarts"), 2);
    CHECK_NUMBER(in_status(engine, trapper, "supervision.window-ms"), 60000);
    for (int i = 0; i < 3; i++)
        CHECK_FAILS(engine, trapper, "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
    CHECK_OK(airssys_engine_wait(engine, trapper, "failed", UINT64_MAX, NULL));

    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    CHECK_STATUS(call(engine, trapper, "ok", &reply, &error), AIRSSYS_ERROR_COMPONENT_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "test/trapper/0 has failed");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"component\":\"test/trapper/0\"");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"state\":\"failed\"");
    airssys_error_free(error);
    CHECK_STATUS(send_text(engine, trapper, "ok"), AIRSSYS_ERROR_COMPONENT_FAILED);
    CHECK_STATUS(airssys_engine_restart(engine, trapper, 0, NULL), AIRSSYS_ERROR_COMPONENT_FAILED);
    CHECK_OK(airssys_engine_stop(engine, trapper, 0, NULL));
    CHECK_IN_STATUS(engine, trapper, "\"state\":\"failed\"");
    CHECK_IN_STATUS(engine, trapper, "\"code\":\"trap\"");
    CHECK_NUMBER(in_status(engine, trapper, "instances.restarts"), 2);
    CHECK_NUMBER(in_status(engine, trapper, "instances.restarts-in-window"), 2);

    CHECK_OK(airssys_engine_start(engine, trapper, NULL));
    CHECK_REPLY(engine, trapper, "ok", "ok");
    CHECK_NUMBER(in_status(engine, trapper, "instances.restarts-in-window"), 0);
    wait_for_changes(&trail, 11);
    CHECK_TEXT(trail.text, "running(loaded) "
                           "crashed(crash) restarting(supervisor) running(restarted) "
                           "crashed(crash) restarting(supervisor) running(restarted) "
                           "crashed(crash) failed(give-up) "
                           "initializing(start) running(loaded)");
    airssys_engine_free(engine);
}

/* An exit with code 0 stops a transient component. */
static void transient(void)
{
    struct trail trail = TRAIL;
    airssys_engine_t *engine = engine_telling(&trail);
    uint64_t wasi = load_as(engine, "test/wasi/0", "wasi",
                            "{\"supervision\": {\"restart\": \"transient\"}}");
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    CHECK_STATUS(call(engine, wasi, "exit 0", &reply, &error), AIRSSYS_ERROR_TRAP);
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"exit-code\":0");
    airssys_error_free(error);
    CHECK_OK(airssys_engine_wait(engine, wasi, "stopped", UINT64_MAX, NULL));
    CHECK_STATUS(send_text(engine, wasi, "echo x"), AIRSSYS_ERROR_COMPONENT_STOPPED);
    CHECK_OK(airssys_engine_start(engine, wasi, NULL));
    CHECK_REPLY(engine, wasi, "echo x", "x");
    wait_for_changes(&trail, 4);
    CHECK_TEXT(trail.text, "running(loaded) stopped(exit) initializing(start) running(loaded)");
    airssys_engine_free(engine);
}

static void invalid_arguments(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo");
    airssys_bytes_t json = {0};
    CHECK_STATUS(airssys_engine_stop(NULL, echo, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_start(NULL, echo, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_status(NULL, echo, &json, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_status(engine, echo, NULL, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK(json.data == NULL);

    /* Functions that do not take all components know no component with this handle. */
    CHECK_STATUS(send_text(engine, AIRSSYS_ALL_COMPONENTS, "x"),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_wait(engine, AIRSSYS_ALL_COMPONENTS, "running", 0, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_REPLY(engine, echo, "x", "x");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    stop_and_start();
    waiting_mail();
    all_components();
    failed();
    transient();
    invalid_arguments();
    return check_done();
}
