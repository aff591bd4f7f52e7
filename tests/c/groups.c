/* Groups: strategies, budgets, events, and the handle of a group. */
#include "answer.h"
#include "event_list.h"
#include "trail.h"

/* A member that restarts without pauses; `group` is a JSON string. */
#define MEMBER(group)                                                          \
    "{\"group\": " group ", \"supervision\": {\"max-restarts\": 100, "          \
    "\"backoff\": {\"growth\": \"none\"}}}"

static uint64_t add_group(airssys_engine_t *engine, const char *name, const char *options)
{
    uint64_t group = 0;
    airssys_error_t *error = NULL;
    CHECK_OK(airssys_engine_add_group(engine, name, options, &group, &error));
    if (error != NULL)
        fprintf(stderr, "%s\n", airssys_error_message(error));
    airssys_error_free(error);
    REQUIRE(group != 0);
    return group;
}

/* Waits until an instance has been restarted this often, and runs. */
static void wait_for_restarts(airssys_engine_t *engine, uint64_t handle, long long restarts)
{
    while (in_status(engine, handle, "instances.restarts") < restarts)
        sched_yield();
    CHECK_NUMBER(in_status(engine, handle, "instances.restarts"), restarts);
    CHECK_OK(airssys_engine_wait(engine, handle, "running", UINT64_MAX, NULL));
}

static void strategies(void)
{
    static const struct {
        const char *options;
        long long restarts[3];
    } cases[] = {
        {NULL, {0, 1, 0}},
        {"{\"strategy\": \"one-for-one\"}", {0, 1, 0}},
        {"{\"strategy\": \"one-for-all\"}", {1, 1, 1}},
        {"{\"strategy\": \"rest-for-one\"}", {0, 1, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event_list list = EVENT_LIST;
        airssys_events_t events = events_to(&list);
        airssys_config_t *config = new_config();
        CHECK_OK(airssys_config_set_events(config, &events, NULL));
        airssys_engine_t *engine = silent_engine(config);
        uint64_t group = add_group(engine, "g", cases[i].options);
        uint64_t members[3] = {load_as(engine, "test/a/0", "trapper", MEMBER("\"g\"")),
                               load_as(engine, "test/b/0", "trapper", MEMBER("\"g\"")),
                               load_as(engine, "test/c/0", "trapper", MEMBER("\"g\""))};
        uint64_t alone = load(engine, "trapper");
        CHECK_FAILS(engine, members[1], "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
        for (int m = 0; m < 3; m++)
            wait_for_restarts(engine, members[m], cases[i].restarts[m]);
        CHECK_NUMBER(in_status(engine, alone, "instances.restarts"), 0);
        if (cases[i].restarts[2] > 0) {
            wait_for_events(&list, 2);
            CHECK_TEXT(list.events[0].kind, "group");
            CHECK_CONTAINS(list.events[0].json, "\"from\":\"running\"");
            CHECK_CONTAINS(list.events[0].json, "\"to\":\"restarting\"");
            CHECK_CONTAINS(list.events[0].json, "\"component\":\"test/b/0\"");
            CHECK_CONTAINS(list.events[1].json, "\"to\":\"running\"");
            CHECK_CONTAINS(list.events[1].json, "\"component\":null");
            CHECK_IN_STATUS(engine, group, "\"restarts\":1,");
        } else {
            CHECK_IN_STATUS(engine, group, "\"restarts\":0,");
        }
        airssys_engine_free(engine);
    }
}

/* A group that gives up is restarted by the one around it; the outermost one fails. */
static void budgets(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t top = add_group(engine, "top", "{\"strategy\": \"rest-for-one\", \"max-restarts\": 1}");
    uint64_t before = load_as(engine, "test/before/0", "trapper", MEMBER("\"top\""));
    uint64_t inner = add_group(engine, "inner",
                               "{\"strategy\": \"one-for-all\", \"max-restarts\": 0, "
                               "\"group\": \"top\"}");
    uint64_t in = load_as(engine, "test/in/0", "trapper", MEMBER("\"inner\""));
    uint64_t after = load_as(engine, "test/after/0", "trapper", MEMBER("\"top\""));
    CHECK_IN_STATUS(engine, inner, "\"within\":\"top\"");

    CHECK_FAILS(engine, in, "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
    wait_for_restarts(engine, in, 1);
    wait_for_restarts(engine, after, 1);
    wait_for_restarts(engine, before, 0);
    CHECK_NUMBER(in_status(engine, top, "restarts"), 1);
    CHECK_NUMBER(in_status(engine, inner, "restarts"), 0);

    CHECK_FAILS(engine, in, "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
    CHECK_OK(airssys_engine_wait(engine, in, "failed", UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_wait(engine, after, "failed", UINT64_MAX, NULL));
    CHECK_REPLY(engine, before, "ok", "ok");
    CHECK_FAILS(engine, after, "ok", AIRSSYS_ERROR_COMPONENT_FAILED, "test/after/0 has failed");
    CHECK_IN_STATUS(engine, top, "\"state\":\"failed\"");
    CHECK_IN_STATUS(engine, inner, "\"state\":\"failed\"");

    CHECK_OK(airssys_engine_start(engine, top, NULL));
    CHECK_OK(airssys_engine_wait(engine, top, "running", 0, NULL));
    CHECK_IN_STATUS(engine, inner, "\"state\":\"running\"");
    CHECK_REPLY(engine, after, "ok", "ok");
    airssys_engine_free(engine);
}

/* Mail for a member waits while its group restarts. */
static void waiting_mail(void)
{
    airssys_engine_t *engine = new_engine();
    add_group(engine, "g", "{\"strategy\": \"one-for-all\"}");
    uint64_t crashing = load_as(engine, "test/crashing/0", "trapper", MEMBER("\"g\""));
    uint64_t busy = load_as(engine, "test/busy/0", "trapper", MEMBER("\"g\""));
    struct answer answers[3] = {ANSWER, ANSWER, ANSWER};
    uint64_t ids[3];
    ids[0] = request(engine, busy, "sleep 50", &answers[0]);
    wait_for_depth(engine, busy, 0);
    ids[1] = request(engine, busy, "ok", &answers[1]);
    CHECK_FAILS(engine, crashing, "unreachable", AIRSSYS_ERROR_TRAP, "unreachable");
    ids[2] = request(engine, crashing, "ok", &answers[2]);
    for (int i = 0; i < 3; i++)
        CHECK_ANSWER(&answers[i], ids[i], AIRSSYS_OK, "ok");
    wait_for_restarts(engine, crashing, 1);
    wait_for_restarts(engine, busy, 1);
    airssys_engine_free(engine);
}

/* The handle of a group stands for its members. */
static void group_handle(void)
{
    airssys_engine_t *engine = new_engine();
    airssys_bytes_t json = {0};
    CHECK_OK(airssys_engine_groups(engine, &json, NULL));
    CHECK_NUMBER(json.len, 2);
    airssys_bytes_free(&json);

    uint64_t group = add_group(engine, "g", NULL);
    uint64_t inner = add_group(engine, "inner", "{\"group\": \"g\"}");
    uint64_t counter = load_as(engine, "test/counter/0", "counter", "{\"group\": \"g\"}");
    uint64_t below = load_as(engine, "test/counter/1", "counter", "{\"group\": \"inner\"}");
    uint64_t alone = load(engine, "echo");
    CHECK_IN_STATUS(engine, below, "\"group\":\"inner\"");
    CHECK_IN_STATUS(engine, alone, "\"group\":null");
    CHECK_OK(airssys_engine_groups(engine, &json, NULL));
    char text[1024], part[128];
    snprintf(text, sizeof text, "%.*s", (int)json.len, (const char *)json.data);
    airssys_bytes_free(&json);
    snprintf(part, sizeof part,
             "\"members\":[{\"group\":\"inner\",\"handle\":%llu},"
             "{\"handle\":%llu,\"id\":\"test/counter/0\"}]",
             (unsigned long long)inner, (unsigned long long)counter);
    CHECK_CONTAINS(text, part);
    CHECK_CONTAINS(text, "\"strategy\":\"one-for-one\"");

    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_REPLY(engine, below, "inc", "1");
    CHECK_OK(airssys_engine_restart(engine, group, UINT64_MAX, NULL));
    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_REPLY(engine, below, "inc", "1");
    CHECK_OK(airssys_engine_stop(engine, group, UINT64_MAX, NULL));
    CHECK_OK(airssys_engine_wait(engine, group, "stopped", 0, NULL));
    CHECK_STATUS(airssys_engine_wait(engine, group, "running", 0, NULL), AIRSSYS_ERROR_TIMEOUT);
    CHECK_REPLY(engine, alone, "x", "x");
    CHECK_OK(airssys_engine_start(engine, group, NULL));
    CHECK_OK(airssys_engine_wait(engine, group, "running", 0, NULL));

    /* Functions for one component do not take it. */
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_send(engine, group, NULL, 0, NULL, &error),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_CONTAINS(airssys_error_message(error), "is the group \"g\"");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_describe(engine, group, &json, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);

    CHECK_OK(airssys_engine_unload(engine, group, NULL));
    CHECK_OK(airssys_engine_unload(engine, group, NULL));
    CHECK_STATUS(airssys_engine_status(engine, inner, &json, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(send_text(engine, below, "inc"), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_REPLY(engine, alone, "x", "x");
    CHECK(add_group(engine, "g", NULL) != group);

    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_STATUS(airssys_engine_add_group(engine, "h", NULL, &group, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    /* What is left of them can be read as long as there is an engine. */
    CHECK_OK(airssys_engine_groups(engine, &json, NULL));
    airssys_bytes_free(&json);
    airssys_engine_free(engine);
}

static void invalid_arguments(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t group = 0;
    airssys_bytes_t json = {0};
    airssys_error_t *error = NULL;
    REFUSES("engine", airssys_engine_add_group(NULL, "g", NULL, &group, &error));
    REFUSES("name", airssys_engine_add_group(engine, NULL, NULL, &group, &error));
    REFUSES("name", airssys_engine_add_group(engine, "\xff", NULL, &group, &error));
    REFUSES("options_json", airssys_engine_add_group(engine, "g", "\xff", &group, &error));
    REFUSES("out_group", airssys_engine_add_group(engine, "g", NULL, NULL, &error));
    REFUSES("engine", airssys_engine_groups(NULL, &json, &error));
    REFUSES("out_json", airssys_engine_groups(engine, NULL, &error));
    CHECK_NUMBER(group, 0);

    static const char *names[] = {"", "a/b", "a*", ".", "..", "a\nb"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK_STATUS(airssys_engine_add_group(engine, names[i], NULL, &group, NULL),
                     AIRSSYS_ERROR_INVALID_ARGUMENT);
    static const char *options[] = {"{", "[]", "{\"x\": 1}", "{\"strategy\": \"all\"}",
                                    "{\"max-restarts\": -1}", "{\"window-ms\": 0}",
                                    "{\"group\": \"g\"}"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        CHECK_STATUS(airssys_engine_add_group(engine, "g", options[i], &group, NULL),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
    CHECK_NUMBER(group, 0);
    add_group(engine, "g", NULL);
    CHECK_STATUS(airssys_engine_add_group(engine, "g", NULL, &group, &error),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_CONTAINS(airssys_error_message(error), "a group \"g\" exists");
    airssys_error_free(error);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    strategies();
    budgets();
    waiting_mail();
    group_handle();
    invalid_arguments();
    return check_done();
}
