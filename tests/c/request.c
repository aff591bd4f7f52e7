/* Requests of the host: every outcome reaches its callback exactly once. */
#include "answer.h"
#include "holding_log.h"

#include <limits.h>

static void what_components_answer(airssys_engine_t *engine)
{
    uint64_t echo = load(engine, "echo"), probe = load(engine, "probe");
    uint64_t trapper = load_as(engine, "test/trapper/0", "trapper",
                               "{\"limits\": {\"max-execution-time-ms\": 60}}");
    uint64_t minimal = load(engine, "minimal");
    struct answer reply = ANSWER, none = ANSWER, empty = ANSWER, large = ANSWER, error = ANSWER;
    struct answer trap = ANSWER, endless = ANSWER, nothing = ANSWER;

    CHECK_ANSWER(&reply, request(engine, echo, "hello", &reply), AIRSSYS_OK, "hello");
    CHECK_NUMBER(reply.reply_len, 5);

    /* No reply is not an empty one. */
    CHECK_ANSWER(&none, request(engine, probe, "silent", &none), AIRSSYS_OK, "");
    CHECK(!none.replied);
    CHECK_ANSWER(&empty, request(engine, probe, "empty", &empty), AIRSSYS_OK, "");
    CHECK(empty.replied && empty.reply_len == 0);
    CHECK_ANSWER(&large, request(engine, probe, "blob 10000000", &large), AIRSSYS_OK, "");
    CHECK_NUMBER(large.reply_len, 10000000);

    CHECK_ANSWER(&error, request(engine, probe, "fail runtime-error ouch", &error),
                 AIRSSYS_ERROR_RUNTIME, "test/probe/0: runtime-error: ouch");
    CHECK_CONTAINS(error.detail, "\"origin\":\"guest\"");
    CHECK_ANSWER(&trap, request(engine, trapper, "unreachable", &trap), AIRSSYS_ERROR_TRAP,
                 "test/trapper/0");
    CHECK_CONTAINS(trap.detail, "\"backtrace\":");
    CHECK_ANSWER(&endless, request(engine, trapper, "loop", &endless), AIRSSYS_ERROR_TIMEOUT,
                 "max-execution-time-ms 60");
    CHECK_ANSWER(&nothing, request(engine, minimal, "hello", &nothing),
                 AIRSSYS_ERROR_EXPORT_NOT_FOUND, "test/minimal/0");
}

/* What the receiver sees of a request. */
static void what_is_sent(airssys_engine_t *engine)
{
    uint64_t probe = load_as(engine, "test/seen/0", "probe", NULL), id = 0;
    struct answer answer = ANSWER, plain = ANSWER;
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.sender = "some/body/0";
    options.content_type = "text/plain";
    char command[] = "message", expected[64];
    CHECK_OK(airssys_engine_request(engine, probe, (const uint8_t *)command, 7, &options,
                                    answer_take, &answer, &id, NULL));
    memset(command, 0, sizeof command); /* The library has copied it. */
    CHECK_ANSWER(&answer, id, AIRSSYS_OK, "\"sender\":\"some/body/0\"");
    CHECK_CONTAINS(answer.reply, "\"reply-to\":\"some/body/0\"");
    CHECK_CONTAINS(answer.reply, "\"content-type\":\"text/plain\"");
    snprintf(expected, sizeof expected, "\"correlation-id\":\"%016llx\"", (unsigned long long)id);
    CHECK_CONTAINS(answer.reply, expected);
    CHECK_ANSWER(&plain, request(engine, probe, "message", &plain), AIRSSYS_OK,
                 "\"sender\":\"host/engine/0\"");
}

/* Requests with an outcome before their message is handled. */
static void what_ends_early(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load(engine, "chatty");
    struct answer held = ANSWER, late = ANSWER, cancelled = ANSWER, after = ANSWER;
    airssys_error_t *error = NULL;

    uint64_t ids[3] = {request(engine, chatty, HOLD, &held)};
    wait_until_held(&log, 1);
    ids[1] = request_for(engine, chatty, "log info late", 1, &late);
    ids[2] = request(engine, chatty, "log info cancelled", &cancelled);
    CHECK_ANSWER(&late, ids[1], AIRSSYS_ERROR_TIMEOUT, "test/chatty/0");
    CHECK_OK(airssys_engine_cancel(engine, ids[2], NULL));
    CHECK_ANSWER(&cancelled, ids[2], AIRSSYS_ERROR_CANCELLED, "cancelled");

    /* It is complete, so it cannot be cancelled; neither can unknown ids. */
    CHECK_STATUS(airssys_engine_cancel(engine, ids[2], &error), AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    char expected[64];
    snprintf(expected, sizeof expected, "\"request\":%llu", (unsigned long long)ids[2]);
    CHECK_CONTAINS(airssys_error_detail_json(error), expected);
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_cancel(engine, ids[1], NULL), AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_STATUS(airssys_engine_cancel(engine, 0, NULL), AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_STATUS(airssys_engine_cancel(engine, UINT64_MAX, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_NUMBER(counted(engine, "requests.outstanding"), 1);

    /* A running request can be cancelled, too. */
    CHECK_OK(airssys_engine_cancel(engine, ids[0], NULL));
    CHECK_ANSWER(&held, ids[0], AIRSSYS_ERROR_CANCELLED, "test/chatty/0");
    CHECK_NUMBER(counted(engine, "requests.late-replies"), 0);

    /* The others are handled, except the expired one, and their replies are dropped. */
    let_go(&log, UINT_MAX);
    CHECK_ANSWER(&after, request(engine, chatty, "log info after", &after), AIRSSYS_OK, "ok");
    CHECK_WRITTEN(&log, "cancelled after ");
    CHECK_NUMBER(counted(engine, "requests.late-replies"), 2);
    CHECK_NUMBER(described(engine, chatty, "messages.dropped"), 1);
    CHECK_NUMBER(counted(engine, "requests.outstanding"), 0);
    airssys_engine_free(engine);
    CHECK_NUMBER(held.times + late.times + cancelled.times + after.times, 4);
}

struct ender {
    airssys_engine_t *engine;
    uint64_t handle;
};

static void *unload(void *argument)
{
    const struct ender *ender = argument;
    CHECK_OK(airssys_engine_unload(ender->engine, ender->handle, NULL));
    return NULL;
}

static void *free_engine(void *argument)
{
    const struct ender *ender = argument;
    airssys_engine_free(ender->engine);
    return NULL;
}

/* One running request and others behind it when the component or the engine ends. */
static void what_is_taken_away(void *(*take_away)(void *), airssys_status_t status,
                               const char *message)
{
    enum { BEHIND = 4 };
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    struct ender ender = {engine, load(engine, "chatty")};
    struct answer inside = ANSWER, behind[BEHIND];
    uint64_t ids[BEHIND];
    pthread_t thread;
    request(engine, ender.handle, HOLD, &inside);
    wait_until_held(&log, 1);
    for (int i = 0; i < BEHIND; i++) {
        behind[i] = (struct answer)ANSWER;
        ids[i] = request_for(engine, ender.handle, "log info behind", i % 2 * 60000, &behind[i]);
    }
    REQUIRE(pthread_create(&thread, NULL, take_away, &ender) == 0);
    for (int i = 0; i < BEHIND; i++)
        CHECK_ANSWER(&behind[i], ids[i], status, message);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    if (take_away == unload) {
        wait_for_answer(&inside);
        CHECK_OK(inside.status);
        airssys_engine_free(engine);
    }
    /* Freeing has waited for all callbacks. The message may end before the guest's next turn, at
     * which it would be stopped. */
    CHECK(inside.status == AIRSSYS_OK || inside.status == AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_NUMBER(inside.times, 1);
    for (int i = 0; i < BEHIND; i++)
        CHECK_NUMBER(behind[i].times, 1);
    CHECK_WRITTEN(&log, "");
}

static void must_not_come(void *user_data, const airssys_completion_t *completion)
{
    (void)user_data, (void)completion;
    CHECK(!"called");
}

/* A graceful shutdown answers open requests and accepts no more. */
static void what_is_shut_down(void)
{
    enum { OPEN = 100 };
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo"), ids[OPEN], id = 4711;
    struct answer answers[OPEN];
    for (int i = 0; i < OPEN; i++) {
        answers[i] = (struct answer)ANSWER;
        ids[i] = request(engine, echo, "hello", &answers[i]);
    }
    CHECK_OK(airssys_engine_shutdown(engine, 60000, NULL));
    for (int i = 0; i < OPEN; i++)
        CHECK_ANSWER(&answers[i], ids[i], AIRSSYS_OK, "hello");
    CHECK_STATUS(airssys_engine_request(engine, echo, NULL, 0, NULL, must_not_come, NULL, &id, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_NUMBER(id, 4711);
    airssys_engine_free(engine);

    /* Timed out: waiting requests end with the engine, at the latest when it is freed. */
    struct holding_log log = HOLDING_LOG;
    struct answer inside = ANSWER, behind = ANSWER;
    engine = engine_holding(&log);
    uint64_t chatty = load(engine, "chatty");
    request(engine, chatty, HOLD, &inside);
    wait_until_held(&log, 1);
    ids[0] = request(engine, chatty, "log info behind", &behind);
    CHECK_STATUS(airssys_engine_shutdown(engine, 1, NULL), AIRSSYS_ERROR_TIMEOUT);
    let_go(&log, UINT_MAX);
    airssys_engine_free(engine);
    CHECK_NUMBER(inside.times, 1);
    CHECK_NUMBER(behind.times, 1);
}

static void what_is_refused(airssys_engine_t *engine)
{
    uint64_t echo = load(engine, "echo"), id = 4711;
    airssys_message_options_t options = {0};
    airssys_error_t *error = NULL;
    options.size = sizeof options;
    options.sender = "a/b";
    CHECK_STATUS(airssys_engine_request(engine, echo, NULL, 0, &options, must_not_come, NULL, &id,
                                        NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    CHECK_STATUS(airssys_engine_request(engine, echo + 1000, NULL, 0, NULL, must_not_come, NULL,
                                        &id, &error),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_CONTAINS(airssys_error_message(error), "handle");
    airssys_error_free(error);
    CHECK_OK(airssys_engine_unload(engine, echo, NULL));
    CHECK_STATUS(airssys_engine_request(engine, echo, NULL, 0, NULL, must_not_come, NULL, &id,
                                        NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_NUMBER(id, 4711);
    CHECK_NUMBER(counted(engine, "requests.outstanding"), 0);
}

int main(void)
{
    check_begin();
    airssys_engine_t *engine = new_engine();
    what_components_answer(engine);
    what_is_sent(engine);
    what_is_refused(engine);
    airssys_engine_free(engine);
    what_ends_early();
    what_is_taken_away(unload, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "unloaded");
    what_is_taken_away(free_engine, AIRSSYS_ERROR_ENGINE_STOPPED, "stopped");
    what_is_shut_down();
    return check_done();
}
