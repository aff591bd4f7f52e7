/* The end of engines: graceful, timed out, and during calls. */
#include "host.h"

/* A storage whose `get` waits until released: a call that is certainly running. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool entered, open;
    int drops;
};

static void wait_at_gate(void *user_data, const char *ns, const char *key,
                         airssys_writer_t *out)
{
    struct gate *gate = user_data;
    (void)ns, (void)key;
    pthread_mutex_lock(&gate->lock);
    gate->entered = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    airssys_writer_finish(out, AIRSSYS_STORAGE_NOT_FOUND);
}

static void set(void *user_data, const char *ns, const char *key,
                const uint8_t *value, size_t len, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)key, (void)value, (void)len;
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void list(void *user_data, const char *ns, const char *prefix,
                 airssys_keys_t *keys, airssys_writer_t *out)
{
    (void)user_data, (void)ns, (void)prefix, (void)keys;
    airssys_writer_finish(out, AIRSSYS_STORAGE_OK);
}

static void drop(void *user_data)
{
    struct gate *gate = user_data;
    pthread_mutex_lock(&gate->lock);
    gate->drops++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static airssys_engine_t *engine_behind(struct gate *gate)
{
    memset(gate, 0, sizeof *gate);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    airssys_config_t *config = new_config();
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = gate;
    storage.drop = drop;
    storage.get = wait_at_gate;
    storage.set = set;
    storage.del = wait_at_gate;
    storage.list = list;
    REQUIRE(airssys_config_set_storage(config, &storage, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

static void wait_until_entered(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (!gate->entered)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

struct caller {
    airssys_engine_t *engine;
    uint64_t handle;
    airssys_status_t status;
};

static void *call_get(void *argument)
{
    struct caller *caller = argument;
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    caller->status = call(caller->engine, caller->handle, "get k", &reply, &error);
    CHECK_STATUS(airssys_error_status(error), caller->status);
    airssys_error_free(error);
    airssys_bytes_free(&reply);
    return NULL;
}

static void graceful(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t counter = load(engine, "counter"), handle = 4711;
    uint64_t probe = load_as(engine, "test/probe/0", "probe",
                             "{\"env\": {\"SHUTDOWN_FAIL\": \"I stay\"}}");
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    char path[4096];
    for (int i = 0; i < 100; i++)
        CHECK_OK(airssys_engine_send(engine, counter, (const uint8_t *)"inc", 3, NULL, NULL));
    CHECK_STATUS(airssys_engine_shutdown(engine, 60000, &error), AIRSSYS_ERROR_SHUTDOWN_FAILED);
    CHECK_CONTAINS(airssys_error_message(error), "I stay");
    airssys_error_free(error);

    /* Nothing is accepted any more. A second shutdown has nothing to do. */
    CHECK_FAILS(engine, counter, "get", AIRSSYS_ERROR_ENGINE_STOPPED, "shut down");
    CHECK_STATUS(airssys_engine_send(engine, counter, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", guest_path("echo", path, sizeof path),
                                          NULL, &handle, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_NUMBER(handle, 4711);
    CHECK_STATUS(airssys_engine_health(engine, probe, &reply, NULL), AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_OK(airssys_engine_unload(engine, probe, NULL));
    CHECK_OK(airssys_engine_shutdown(engine, 0, NULL));
    airssys_engine_free(engine);
}

static void out_of_patience(void)
{
    struct gate gate;
    airssys_engine_t *engine = engine_behind(&gate);
    uint64_t user = load(engine, "storage-user");
    airssys_error_t *error = NULL;
    CHECK_OK(airssys_engine_send(engine, user, (const uint8_t *)"get k", 5, NULL, NULL));
    wait_until_entered(&gate);
    CHECK_STATUS(airssys_engine_shutdown(engine, 10, &error), AIRSSYS_ERROR_TIMEOUT);
    CHECK_CONTAINS(airssys_error_message(error), "10 ms");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"unfinished\":1");
    airssys_error_free(error);
    open_gate(&gate);
    airssys_engine_free(engine);
    CHECK_NUMBER(gate.drops, 1);
}

struct freer {
    airssys_engine_t *engine;
    struct gate *gate;
    bool freed;
};

static void *free_engine(void *argument)
{
    struct freer *freer = argument;
    airssys_engine_free(freer->engine);
    pthread_mutex_lock(&freer->gate->lock);
    freer->freed = true;
    pthread_mutex_unlock(&freer->gate->lock);
    return NULL;
}

/* `free` with one call in a callback and others waiting behind it: all end. */
static void free_under_way(void)
{
    enum { WAITING = 4 };
    struct gate gate;
    airssys_engine_t *engine = engine_behind(&gate);
    uint64_t user = load(engine, "storage-user");
    struct caller inside = {engine, user, -1}, waiting[WAITING];
    struct freer freer = {engine, &gate, false};
    pthread_t threads[2 + WAITING];
    REQUIRE(pthread_create(&threads[0], NULL, call_get, &inside) == 0);
    wait_until_entered(&gate);
    for (int i = 0; i < WAITING; i++) {
        waiting[i] = inside;
        REQUIRE(pthread_create(&threads[2 + i], NULL, call_get, &waiting[i]) == 0);
    }
    wait_for_depth(engine, user, WAITING);
    REQUIRE(pthread_create(&threads[1], NULL, free_engine, &freer) == 0);

    /* The waiting calls end at once; `free` waits for the running one. */
    for (int i = 0; i < WAITING; i++) {
        REQUIRE(pthread_join(threads[2 + i], NULL) == 0);
        CHECK_STATUS(waiting[i].status, AIRSSYS_ERROR_ENGINE_STOPPED);
    }
    pthread_mutex_lock(&gate.lock);
    CHECK(!freer.freed);
    CHECK_NUMBER(gate.drops, 0);
    pthread_mutex_unlock(&gate.lock);

    /* The message may end before the guest's next turn, at which it would be stopped. */
    open_gate(&gate);
    REQUIRE(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    CHECK(inside.status == AIRSSYS_OK || inside.status == AIRSSYS_ERROR_ENGINE_STOPPED);
    CHECK_NUMBER(gate.drops, 1);
}

/* `free` with guests that would run for very long. */
static void free_endless(void)
{
    airssys_engine_t *engine = new_engine();
    const char *options = "{\"limits\": {\"max-execution-time-ms\": 3600000}}";
    uint64_t one = load_as(engine, "test/one/0", "trapper", options);
    uint64_t two = load_as(engine, "test/two/0", "trapper", options);
    struct caller behind = {engine, one, -1};
    pthread_t thread;
    CHECK_OK(airssys_engine_send(engine, one, (const uint8_t *)"loop", 4, NULL, NULL));
    CHECK_OK(airssys_engine_send(engine, two, (const uint8_t *)"sleep 3600000", 13, NULL, NULL));
    REQUIRE(pthread_create(&thread, NULL, call_get, &behind) == 0);
    wait_for_depth(engine, one, 1);
    airssys_engine_free(engine);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(behind.status, AIRSSYS_ERROR_ENGINE_STOPPED);
}

static void free_in_get(void *user_data, const char *ns, const char *key, airssys_writer_t *out)
{
    struct freer *freer = user_data;
    (void)ns, (void)key;
    airssys_engine_free(freer->engine);
    pthread_mutex_lock(&freer->gate->lock);
    freer->freed = true;
    pthread_mutex_unlock(&freer->gate->lock);
    airssys_writer_finish(out, AIRSSYS_STORAGE_NOT_FOUND);
}

static void drop_freer(void *user_data)
{
    struct freer *freer = user_data;
    CHECK(freer->freed);
    drop(freer->gate);
}

/* A callback frees the engine that called it, in a message of a caller or of a worker. */
static void free_from_callback(bool on_worker)
{
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct freer freer = {NULL, &gate, false};
    airssys_config_t *config = new_config();
    airssys_storage_t storage = {0};
    storage.size = sizeof storage;
    storage.user_data = &freer;
    storage.drop = drop_freer;
    storage.get = free_in_get;
    storage.set = set;
    storage.del = wait_at_gate;
    storage.list = list;
    REQUIRE(airssys_config_set_storage(config, &storage, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = freer.engine = engine_with(config);
    airssys_config_free(config);
    uint64_t user = load(engine, "storage-user");
    if (on_worker) {
        CHECK_OK(airssys_engine_send(engine, user, (const uint8_t *)"get k", 5, NULL, NULL));
    } else {
        struct caller caller = {engine, user, -1};
        call_get(&caller);
        CHECK(caller.status == AIRSSYS_OK || caller.status == AIRSSYS_ERROR_ENGINE_STOPPED);
    }
    /* Dropped when the last user has left: here possibly a worker, a moment later. */
    pthread_mutex_lock(&gate.lock);
    while (gate.drops == 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    CHECK_NUMBER(gate.drops, 1);
    pthread_mutex_unlock(&gate.lock);
}

/* `unload` with mail that waits. */
static void unload_under_way(void)
{
    struct gate gate;
    airssys_engine_t *engine = engine_behind(&gate);
    uint64_t user = load(engine, "storage-user");
    struct caller inside = {engine, user, -1}, behind = {engine, user, -1};
    pthread_t threads[2];
    REQUIRE(pthread_create(&threads[0], NULL, call_get, &inside) == 0);
    wait_until_entered(&gate);
    REQUIRE(pthread_create(&threads[1], NULL, call_get, &behind) == 0);
    wait_for_depth(engine, user, 1);
    open_gate(&gate);
    CHECK_OK(airssys_engine_unload(engine, user, NULL));
    REQUIRE(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    CHECK_OK(inside.status);
    CHECK(behind.status == AIRSSYS_OK || behind.status == AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    airssys_engine_free(engine);
}

static void full_mailbox(void)
{
    struct gate gate;
    airssys_engine_t *engine = engine_behind(&gate);
    uint64_t user = load_as(engine, "test/user/0", "storage-user", "{\"mailbox\": {\"capacity\": 2}}");
    const uint8_t *get = (const uint8_t *)"get k";
    airssys_error_t *error = NULL;
    airssys_bytes_t reply = {0};
    CHECK_OK(airssys_engine_send(engine, user, get, 5, NULL, NULL));
    wait_until_entered(&gate);
    CHECK_OK(airssys_engine_send(engine, user, get, 5, NULL, NULL));
    CHECK_OK(airssys_engine_send(engine, user, get, 5, NULL, NULL));
    CHECK_STATUS(airssys_engine_send(engine, user, get, 5, NULL, &error), AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_CONTAINS(airssys_error_message(error), "test/user/0");
    CHECK_CONTAINS(airssys_error_message(error), "2 messages");
    airssys_error_free(error);
    CHECK_STATUS(call(engine, user, "get k", &reply, NULL), AIRSSYS_ERROR_QUEUE_FULL);
    open_gate(&gate);
    CHECK_OK(airssys_engine_shutdown(engine, 60000, NULL));
    airssys_engine_free(engine);
    CHECK_NUMBER(gate.drops, 1);
}

int main(void)
{
    check_begin();
    graceful();
    out_of_patience();
    free_under_way();
    free_endless();
    free_from_callback(false);
    free_from_callback(true);
    unload_under_way();
    full_mailbox();
    return check_done();
}
