/* Restarts by call, waits for states, and their events. */
#include "host.h"

struct states {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count;
    char last[512];
};

static void take(void *user_data, const airssys_event_t *event)
{
    struct states *states = user_data;
    if (strcmp(event->kind, "state") != 0)
        return;
    pthread_mutex_lock(&states->lock);
    CHECK(event->payload == NULL && event->payload_len == 0);
    snprintf(states->last, sizeof states->last, "%s", event->json);
    states->count++;
    pthread_cond_broadcast(&states->changed);
    pthread_mutex_unlock(&states->lock);
}

int main(void)
{
    check_begin();
    struct states states = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = &states;
    events.event = take;
    airssys_config_t *config = new_config();
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);

    uint64_t counter = load_as(engine, "test/counter/0", "counter", NULL);
    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_REPLY(engine, counter, "inc", "2");
    CHECK_OK(airssys_engine_restart(engine, counter, UINT64_MAX, NULL));
    CHECK_REPLY(engine, counter, "inc", "1");
    CHECK_NUMBER(described(engine, counter, "restarts"), 1);
    CHECK_OK(airssys_engine_wait(engine, counter, "running", 0, NULL));

    airssys_error_t *error = NULL;
    CHECK_STATUS(airssys_engine_wait(engine, counter, "unloaded", 1, &error), AIRSSYS_ERROR_TIMEOUT);
    CHECK_CONTAINS(airssys_error_message(error), "test/counter/0 is running");
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"wanted\":\"unloaded\"");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_wait(engine, counter, "gone", 0, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_wait(engine, counter, NULL, 0, NULL),
                 AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_STATUS(airssys_engine_restart(engine, 0, 0, NULL), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    CHECK_STATUS(airssys_engine_restart(NULL, counter, 0, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);

    /* Loaded, restarting, running, unloading, unloaded. */
    CHECK_OK(airssys_engine_unload(engine, counter, NULL));
    pthread_mutex_lock(&states.lock);
    while (states.count < 5)
        pthread_cond_wait(&states.changed, &states.lock);
    CHECK_NUMBER(states.count, 5);
    CHECK_CONTAINS(states.last, "\"to\":\"unloaded\"");
    CHECK_CONTAINS(states.last, "\"restarts\":1");
    pthread_mutex_unlock(&states.lock);
    airssys_engine_free(engine);
    return check_done();
}
