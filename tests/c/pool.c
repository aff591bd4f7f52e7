/* Several instances behind one handle: they run concurrently and look like one component. */
#include "answer.h"
#include "holding_log.h"

#include <limits.h>

#define INSTANCES 4
#define POOL "{\"instances\": 4}"

struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned came;
};

/* Nobody leaves before all instances have arrived: sequential calls would never end. */
static void meet(void *user_data, const airssys_log_record_t *record)
{
    struct meeting *meeting = user_data;
    if (strcmp(record->message, "meet") != 0)
        return;
    pthread_mutex_lock(&meeting->lock);
    meeting->came++;
    pthread_cond_broadcast(&meeting->changed);
    while (meeting->came % INSTANCES != 0)
        pthread_cond_wait(&meeting->changed, &meeting->lock);
    pthread_mutex_unlock(&meeting->lock);
}

struct caller {
    airssys_engine_t *engine;
    uint64_t handle;
};

static void *call_meet(void *argument)
{
    const struct caller *caller = argument;
    CHECK_REPLY(caller->engine, caller->handle, "log info meet", "ok");
    return NULL;
}

static void at_once(void)
{
    struct meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = &meeting;
    logger.log = meet;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    /* One worker: calls run on the callers' threads, callbacks on their own threads. */
    REQUIRE(airssys_config_set_json(config, "{\"workers\": 1}", NULL) == AIRSSYS_OK);
    struct caller caller = {engine_with(config), 0};
    airssys_config_free(config);
    caller.handle = load_as(caller.engine, "test/pool/0", "chatty", POOL);
    pthread_t threads[INSTANCES];
    for (int i = 0; i < INSTANCES; i++)
        REQUIRE(pthread_create(&threads[i], NULL, call_meet, &caller) == 0);
    for (int i = 0; i < INSTANCES; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    CHECK_NUMBER(meeting.came, INSTANCES);

    /* Messages and requests spread, too. A pool of their own, since an instance may be busy for a
     * moment after its answer. */
    struct answer answers[2] = {ANSWER, ANSWER};
    caller.handle = load_as(caller.engine, "test/pool/1", "chatty", POOL);
    CHECK_OK(send_text(caller.engine, caller.handle, "log info meet"));
    CHECK_OK(airssys_engine_broadcast(caller.engine, &caller.handle, 1,
                                      (const uint8_t *)"log info meet", 13, NULL, NULL));
    for (int i = 0; i < 2; i++)
        request(caller.engine, caller.handle, "log info meet", &answers[i]);
    for (int i = 0; i < 2; i++) {
        wait_for_answer(&answers[i]);
        CHECK_OK(answers[i].status);
    }

    /* From other components, by id. */
    uint64_t requester = load(caller.engine, "requester");
    load_as(caller.engine, "test/pool/2", "chatty", POOL);
    for (int i = 0; i < INSTANCES; i++)
        CHECK_REPLY(caller.engine, requester, "send test/pool/2 log info meet", "ok");
    CHECK_OK(airssys_engine_shutdown(caller.engine, UINT64_MAX, NULL));
    CHECK_NUMBER(meeting.came, 3 * INSTANCES);
    airssys_engine_free(caller.engine);
}

static unsigned times(const airssys_bytes_t *json, const char *part)
{
    unsigned count = 0;
    for (const char *at = (const char *)json->data; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void looks_like_one(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t pool = load_as(engine, "test/pool/0", "counter", POOL), found = 0;
    uint64_t single = load(engine, "counter");
    airssys_bytes_t json = {0};
    char part[128];
    CHECK(single != pool);
    CHECK_OK(airssys_engine_find(engine, "test/pool/0", &found, NULL));
    CHECK_NUMBER(found, pool);

    CHECK_OK(airssys_engine_list(engine, &json, NULL));
    CHECK_NUMBER(times(&json, "\"handle\":"), 2);
    CHECK_NUMBER(times(&json, "test/pool/0"), 1);
    CHECK_NUMBER(times(&json, "\"instances\":4"), 1);
    CHECK_NUMBER(times(&json, "\"instances\":1"), 1);
    airssys_bytes_free(&json);

    /* Each call counts once, in any instance. Instances share no memory. */
    for (int i = 0; i < 3 * INSTANCES; i++) {
        airssys_bytes_t reply = {0};
        CHECK_OK(call(engine, pool, "inc", &reply, NULL));
        airssys_bytes_free(&reply);
    }
    CHECK_OK(airssys_engine_describe(engine, pool, &json, NULL));
    CHECK_NUMBER(number_in(&json, "instances"), INSTANCES);
    CHECK_NUMBER(number_in(&json, "messages.accepted"), 3 * INSTANCES);
    CHECK_NUMBER(number_in(&json, "messages.handled"), 3 * INSTANCES);
    CHECK_CONTAINS((const char *)json.data, "\"state\":\"running\"");
    CHECK_CONTAINS((const char *)json.data, "\"health\":\"healthy\"");
    airssys_bytes_free(&json);
    long long memory = described(engine, pool, "memory-bytes");
    CHECK_NUMBER(memory, INSTANCES * described(engine, single, "memory-bytes"));

    CHECK_OK(airssys_engine_stats(engine, &json, NULL));
    CHECK_NUMBER(number_in(&json, "components"), 2);
    CHECK_NUMBER(number_in(&json, "binaries"), 1);
    snprintf(part, sizeof part, "\"handle\":%llu,", (unsigned long long)pool);
    CHECK_NUMBER(times(&json, part), 1);
    CHECK_NUMBER(times(&json, "\"instances\":4"), 1);
    CHECK_NUMBER(number_in(&json, "messages.handled"), 3 * INSTANCES);
    airssys_bytes_free(&json);

    CHECK_OK(airssys_engine_health(engine, pool, &json, NULL));
    CHECK_CONTAINS((const char *)json.data, "\"health\":\"healthy\"");
    airssys_bytes_free(&json);
    airssys_engine_free(engine);
}

/* Storage belongs to the id, so all instances see it. */
static void shares_storage(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t pool = load_as(engine, "test/pool/0", "storage-user", POOL);
    for (int i = 1; i <= 3 * INSTANCES; i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "%d", i);
        CHECK_REPLY(engine, pool, "incr n", expected);
    }
    airssys_engine_free(engine);
}

/* One instance crashes, and the others go on. */
static void crashes_one_at_a_time(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t pool = load_as(engine, "test/pool/0", "trapper", POOL);
    CHECK_FAILS(engine, pool, "unreachable", AIRSSYS_ERROR_TRAP, "test/pool/0");
    airssys_bytes_t json = {0};
    CHECK_OK(airssys_engine_list(engine, &json, NULL));
    CHECK_CONTAINS((const char *)json.data, "\"state\":\"crashed\"");
    airssys_bytes_free(&json);
    for (int i = 0; i < 3 * INSTANCES; i++)
        CHECK_REPLY(engine, pool, "ok", "ok");
    CHECK(described(engine, pool, "restarts") <= 1);
    airssys_engine_free(engine);
}

static void ends_each(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t pool = load_as(engine, "test/pool/0", "probe", POOL), found = 4711;
    CHECK_OK(airssys_engine_unload(engine, pool, NULL));
    CHECK_WRITTEN(&log, "probe shut down probe shut down probe shut down probe shut down ");
    CHECK_STATUS(airssys_engine_find(engine, "test/pool/0", &found, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_FAILS(engine, pool, "calls", AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "handle");
    CHECK_OK(airssys_engine_unload(engine, pool, NULL));
    airssys_engine_free(engine);

    /* All are asked, also if the first fails; and at the end of an engine. */
    log.len = 0;
    log.written[0] = '\0';
    engine = engine_holding(&log);
    pool = load_as(engine, "test/pool/0", "probe",
                   "{\"instances\": 4, \"env\": {\"SHUTDOWN_FAIL\": \"I stay\"}}");
    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_unload(engine, pool, &error), AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "I stay");
    airssys_error_free(error);
    load_as(engine, "test/pool/0", "probe", POOL);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_WRITTEN(&log, "probe shut down probe shut down probe shut down probe shut down ");
    airssys_engine_free(engine);
}

struct unloader {
    airssys_engine_t *engine;
    uint64_t handle;
};

static void *unload(void *argument)
{
    const struct unloader *unloader = argument;
    CHECK_OK(airssys_engine_unload(unloader->engine, unloader->handle, NULL));
    return NULL;
}

/* Unloaded with one message in each instance, and one behind each. */
static void unloads_at_work(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    struct answer inside[INSTANCES], behind[INSTANCES];
    uint64_t ids[2][INSTANCES];
    struct unloader unloader = {engine, load_as(engine, "test/pool/0", "chatty", POOL)};
    pthread_t thread;
    for (unsigned i = 0; i < INSTANCES; i++) {
        inside[i] = (struct answer)ANSWER;
        ids[0][i] = request(engine, unloader.handle, HOLD, &inside[i]);
        wait_until_held(&log, i + 1);
    }
    for (unsigned i = 0; i < INSTANCES; i++) {
        behind[i] = (struct answer)ANSWER;
        ids[1][i] = request(engine, unloader.handle, "log info behind", &behind[i]);
    }
    CHECK_NUMBER(described(engine, unloader.handle, "mailbox.depth"), INSTANCES);
    REQUIRE(pthread_create(&thread, NULL, unload, &unloader) == 0);
    for (int i = 0; i < INSTANCES; i++)
        CHECK_ANSWER(&behind[i], ids[1][i], AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "unloaded");
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < INSTANCES; i++)
        CHECK_ANSWER(&inside[i], ids[0][i], AIRSSYS_OK, "ok");
    airssys_engine_free(engine);
    CHECK_WRITTEN(&log, "");
}

/* Every instance has its own mailbox. A pool is full when all of them are. */
static void has_room_in_each(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t pool = load_as(engine, "test/pool/0", "chatty",
                            "{\"instances\": 4, \"mailbox\": {\"capacity\": 1}}");
    for (unsigned i = 0; i < INSTANCES; i++) {
        CHECK_OK(send_text(engine, pool, HOLD));
        wait_until_held(&log, i + 1);
    }
    for (unsigned i = 0; i < INSTANCES; i++)
        CHECK_OK(send_text(engine, pool, "log info x"));
    CHECK_STATUS(send_text(engine, pool, "log info x"), AIRSSYS_ERROR_QUEUE_FULL);
    let_go(&log, UINT_MAX);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    CHECK_WRITTEN(&log, "x x x x ");
    airssys_engine_free(engine);
}

static void loads_all_or_none(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t handle = 4711;
    airssys_bytes_t json = {0};
    char path[4096];
    guest_path("probe", path, sizeof path);
    static const char *const wrong[] = {"{\"instances\": 0}", "{\"instances\": 4097}",
                                        "{\"instances\": -1}", "{\"instances\": \"4\"}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", path, wrong[i], &handle, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "options.instances");
        airssys_error_free(error);
    }
    CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", path,
                                          "{\"instances\": 4, \"env\": {\"REFUSE\": \"no\"}}",
                                          &handle, NULL),
                 AIRSSYS_ERROR_INITIALIZATION_FAILED);
    CHECK_NUMBER(handle, 4711);
    CHECK_OK(airssys_engine_list(engine, &json, NULL));
    CHECK_TEXT((const char *)json.data, "[]");
    airssys_bytes_free(&json);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    at_once();
    looks_like_one();
    shares_storage();
    crashes_one_at_a_time();
    ends_each();
    unloads_at_work();
    has_room_in_each();
    loads_all_or_none();
    return check_done();
}
