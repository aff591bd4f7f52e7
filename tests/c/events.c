/* Events about messages that were accepted and never handled: contents, order and receiver. */
#include "answer.h"
#include "event_list.h"
#include "holding_log.h"

#include <limits.h>

static airssys_engine_t *engine_telling(struct event_list *list, struct holding_log *log)
{
    airssys_config_t *config = config_holding(log);
    airssys_events_t events = events_to(list);
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    memset(&events, 0xff, sizeof events); /* The library has copied it. */
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
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

/* Mail that waits when its receiver is unloaded: every field, oldest first. */
static void of_an_unloaded_component(void)
{
    struct holding_log log = HOLDING_LOG;
    struct event_list list = EVENT_LIST;
    struct answer answer = ANSWER;
    airssys_engine_t *engine = engine_telling(&list, &log);
    struct ender ender = {engine, load_as(engine, "app/chatty/7", "chatty", NULL)};
    airssys_message_options_t options = {0};
    char part[64];
    pthread_t thread;
    CHECK_OK(send_text(engine, ender.handle, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(engine, ender.handle, "first"));
    options.size = sizeof options;
    options.sender = "some/body/0";
    options.content_type = "text/\"plain\"";
    CHECK_OK(airssys_engine_send(engine, ender.handle, NULL, 0, &options, NULL));
    uint64_t id = request(engine, ender.handle, "a\\n\"b", &answer);
    for (int i = 3; i < 40; i++) {
        snprintf(part, sizeof part, "message %d", i);
        CHECK_OK(send_text(engine, ender.handle, part));
    }
    REQUIRE(pthread_create(&thread, NULL, unload, &ender) == 0);
    wait_for_events(&list, 40);
    CHECK_ANSWER(&answer, id, AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "unloaded");
    CHECK_NUMBER(counted(engine, "dead-letters"), 40);
    CHECK_NUMBER(counted(engine, "events-lost"), 0);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);

    for (int i = 0; i < 40; i++) {
        CHECK_TEXT(list.events[i].kind, "dead-letter");
        CHECK_CONTAINS(list.events[i].json, "\"event\":\"dead-letter\"");
        CHECK_CONTAINS(list.events[i].json, "\"component\":\"app/chatty/7\"");
        CHECK_CONTAINS(list.events[i].json, "\"code\":\"target-not-found\"");
        CHECK_CONTAINS(list.events[i].json, "\"reason\":\"it was unloaded before it answered\"");
        CHECK_CONTAINS(list.events[i].json, "\"seconds\":");
        CHECK_CONTAINS(list.events[i].json, "\"nanoseconds\":");
        snprintf(part, sizeof part, "\"payload-bytes\":%zu", list.events[i].payload_len);
        CHECK_CONTAINS(list.events[i].json, part);
        snprintf(part, sizeof part, "message %d", i);
        if (i >= 3)
            CHECK_TEXT(list.events[i].payload, part);
    }
    CHECK_TEXT(list.events[0].payload, "first");
    CHECK_CONTAINS(list.events[0].json, "\"source\":\"host/engine/0\"");
    CHECK_CONTAINS(list.events[0].json, "\"correlation\":null");
    CHECK_CONTAINS(list.events[0].json, "\"content-type\":null");
    CHECK(!list.events[1].has_payload);
    CHECK_CONTAINS(list.events[1].json, "\"source\":\"some/body/0\"");
    CHECK_CONTAINS(list.events[1].json, "\"content-type\":\"text/\\\"plain\\\"\"");
    CHECK_TEXT(list.events[2].payload, "a\\n\"b");
    snprintf(part, sizeof part, "\"correlation\":\"%016llx\"", (unsigned long long)id);
    CHECK_CONTAINS(list.events[2].json, part);

    /* Handled messages, failed ones included, and refused messages are not dead letters. */
    uint64_t probe = load(engine, "probe");
    CHECK_FAILS(engine, probe, "fail runtime-error x", AIRSSYS_ERROR_RUNTIME, "x");
    CHECK_STATUS(send_text(engine, ender.handle, "late"), AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    airssys_engine_free(engine);
    CHECK_NUMBER(list.count, 40);
    CHECK_NUMBER(list.most_inside, 1);
    CHECK_NUMBER(list.drops, 1);
}

static void *free_engine(void *argument)
{
    const struct ender *ender = argument;
    airssys_engine_free(ender->engine);
    return NULL;
}

/* Mail that waits when the engine is freed is reported before the free returns. */
static void of_a_freed_engine(void)
{
    struct holding_log log = HOLDING_LOG;
    struct event_list list = EVENT_LIST;
    struct ender ender = {engine_telling(&list, &log), 0};
    pthread_t thread;
    ender.handle = load(ender.engine, "chatty");
    CHECK_OK(send_text(ender.engine, ender.handle, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(ender.engine, ender.handle, "one"));
    CHECK_OK(send_text(ender.engine, ender.handle, "two"));
    REQUIRE(pthread_create(&thread, NULL, free_engine, &ender) == 0);
    wait_for_events(&list, 1);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_NUMBER(list.count, 2);
    CHECK_TEXT(list.events[0].payload, "one");
    CHECK_TEXT(list.events[1].payload, "two");
    CHECK_CONTAINS(list.events[1].json, "\"code\":\"delivery-failed\"");
    CHECK_CONTAINS(list.events[1].json, "stopped");
    CHECK_NUMBER(list.drops, 1);
}

/* A slow host is told how many events it has missed, and delays nobody. */
static void of_a_slow_host(void)
{
    /* One receiver may have a quarter of the 10,000 places. */
    enum { WAITING = 2500, TOO_MANY = 123 };
    struct holding_log log = HOLDING_LOG;
    struct event_list list = EVENT_LIST;
    airssys_engine_t *engine = engine_telling(&list, &log);
    uint64_t chatty =
        load_as(engine, "test/chatty/0", "chatty",
                "{\"mailbox\": {\"capacity\": 1, \"when-full\": \"drop-oldest\"}}");
    list.held = true;
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(engine, chatty, "log info told"));
    CHECK_OK(send_text(engine, chatty, "log info next"));
    wait_for_events(&list, 1);
    for (int i = 0; i < WAITING + TOO_MANY; i++)
        CHECK_OK(send_text(engine, chatty, "log info last"));
    CHECK_NUMBER(counted(engine, "dead-letters"), 1 + WAITING + TOO_MANY);
    CHECK_NUMBER(counted(engine, "events-lost"), TOO_MANY);
    pthread_mutex_lock(&list.lock);
    CHECK_NUMBER(list.count, 1);
    list.held = false;
    /* The last event follows the events that were kept. */
    list.count = 0;
    pthread_cond_broadcast(&list.changed);
    while (list.count < WAITING)
        pthread_cond_wait(&list.changed, &list.lock);
    pthread_mutex_unlock(&list.lock);
    let_go(&log, UINT_MAX);
    CHECK_WRITTEN(&log, "last ");
    airssys_engine_free(engine);
    CHECK_NUMBER(list.count, WAITING + 1);
    CHECK_TEXT(list.events[0].payload, "log info next");
    CHECK_NUMBER(list.most_inside, 1);
    CHECK_NUMBER(list.drops, 1);
}

struct lost {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    unsigned letters, said;
    char json[128];
};

static void count_lost(void *user_data, const airssys_event_t *event)
{
    struct lost *lost = user_data;
    if (strcmp(event->kind, "state") == 0)
        return;
    pthread_mutex_lock(&lost->lock);
    if (strcmp(event->kind, "events-lost") == 0) {
        lost->said++;
        CHECK(event->payload == NULL && event->payload_len == 0);
        snprintf(lost->json, sizeof lost->json, "%s", event->json);
    } else {
        lost->letters++;
    }
    pthread_cond_broadcast(&lost->changed);
    while (lost->held)
        pthread_cond_wait(&lost->changed, &lost->lock);
    pthread_mutex_unlock(&lost->lock);
}

/* Queued payloads are bounded, too. */
static void of_large_payloads(void)
{
    enum { LARGE = 16 << 20 };
    struct lost lost = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct holding_log log = HOLDING_LOG;
    airssys_config_t *config = config_holding(&log);
    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = &lost;
    events.event = count_lost;
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t chatty =
        load_as(engine, "test/chatty/0", "chatty",
                "{\"mailbox\": {\"capacity\": 1, \"when-full\": \"drop-oldest\"}}");
    uint8_t *payload = calloc(1, LARGE);
    REQUIRE(payload != NULL);
    lost.held = true;
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(engine, chatty, "told"));
    CHECK_OK(airssys_engine_send(engine, chatty, payload, LARGE, NULL, NULL));
    pthread_mutex_lock(&lost.lock);
    while (lost.letters == 0)
        pthread_cond_wait(&lost.changed, &lost.lock);
    pthread_mutex_unlock(&lost.lock);
    /* Only one of them may wait per receiver: of the six dropped messages five are lost. */
    for (int i = 0; i < 5; i++)
        CHECK_OK(airssys_engine_send(engine, chatty, payload, LARGE, NULL, NULL));
    CHECK_OK(send_text(engine, chatty, "log info last"));
    free(payload);
    CHECK_NUMBER(counted(engine, "events-lost"), 5);
    pthread_mutex_lock(&lost.lock);
    lost.held = false;
    pthread_cond_broadcast(&lost.changed);
    while (lost.said == 0)
        pthread_cond_wait(&lost.changed, &lost.lock);
    CHECK_NUMBER(lost.letters, 2);
    CHECK_TEXT(lost.json, "{\"count\":5,\"event\":\"events-lost\"}");
    pthread_mutex_unlock(&lost.lock);
    let_go(&log, UINT_MAX);
    CHECK_WRITTEN(&log, "last ");
    airssys_engine_free(engine);
    CHECK_NUMBER(lost.letters + lost.said, 3);
}

struct freer {
    airssys_engine_t *engine;
    uint64_t chatty;
    struct holding_log *log;
};

static void free_in_event(void *user_data, const airssys_event_t *event)
{
    struct freer *freer = user_data;
    if (event->payload_len != 5 || memcmp(event->payload, "first", 5) != 0)
        return;
    /* Any function, finally free. */
    CHECK_NUMBER(counted(freer->engine, "dead-letters"), 1);
    CHECK_OK(send_text(freer->engine, freer->chatty, "third"));
    airssys_engine_free(freer->engine);
    let_go(freer->log, UINT_MAX);
}

static void of_a_host_that_frees(void)
{
    struct holding_log log = HOLDING_LOG;
    struct freer freer = {NULL, 0, &log};
    airssys_config_t *config = config_holding(&log);
    airssys_events_t events = {0};
    events.size = sizeof events;
    events.user_data = &freer;
    events.event = free_in_event;
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = freer.engine = engine_with(config);
    airssys_config_free(config);
    uint64_t chatty = freer.chatty =
        load_as(engine, "test/chatty/0", "chatty",
                "{\"mailbox\": {\"capacity\": 2, \"when-full\": \"drop-oldest\"}}");
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    CHECK_OK(send_text(engine, chatty, "first"));
    CHECK_OK(send_text(engine, chatty, "second"));
    CHECK_OK(send_text(engine, chatty, "this drops the first"));
    wait_until_dropped(&log, 1);
}

static void of_whom(void)
{
    struct event_list list = EVENT_LIST, other = EVENT_LIST;
    airssys_config_t *config = new_config();
    airssys_events_t events = events_to(&list);
    CHECK_OK(airssys_config_set_events(config, &events, NULL));
    events.size = 3;
    CHECK_STATUS(airssys_config_set_events(config, &events, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_NUMBER(list.drops, 0);

    /* Replaced: the engine created before keeps the old one. */
    airssys_engine_t *before = engine_with(config);
    events = events_to(&other);
    CHECK_OK(airssys_config_set_events(config, &events, NULL));
    airssys_engine_t *after = engine_with(config);
    airssys_config_free(config);
    CHECK_NUMBER(list.drops, 0);
    airssys_engine_free(before);
    CHECK_NUMBER(list.drops, 1);
    CHECK_NUMBER(other.drops, 0);
    airssys_engine_free(after);
    CHECK_NUMBER(other.drops, 1);

    /* Replaced without use, and removed. */
    config = new_config();
    events = events_to(&list);
    CHECK_OK(airssys_config_set_events(config, &events, NULL));
    events.drop = NULL;
    CHECK_OK(airssys_config_set_events(config, &events, NULL));
    CHECK_NUMBER(list.drops, 2);
    airssys_config_free(config);
    CHECK_NUMBER(list.drops, 2);
}

int main(void)
{
    check_begin();
    of_an_unloaded_component();
    of_a_freed_engine();
    of_a_slow_host();
    of_large_payloads();
    of_a_host_that_frees();
    of_whom();
    return check_done();
}
