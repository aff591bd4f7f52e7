/* Two engines in one process, joined by a router that carries mail between them. */
#include "holding_log.h"

#include <limits.h>

struct network;

/* What a router does with mail. */
enum manner {
    DELIVER,
    REFUSE,         /* `refusal` with `text`. */
    SAY_NOTHING,
    SWALLOW,        /* Accepts it and never completes it. */
    COMPLETE_INSIDE, /* Completes it before the router returns. */
    COMPLETE_AND_REFUSE
};

struct way {
    struct network *network;
    int from;
    enum manner manner;
    airssys_status_t refusal;
    const char *text;
    unsigned routed, cancels, drops;
    /* From the last request. */
    uint64_t token;
    /* Counts of results of `airssys_engine_complete`: accepted, refused. */
    unsigned completed, too_late;
    uint64_t deadline_ms;
    char payload[64];
};

/* A request that is not yet completed. */
struct transit {
    struct way *way;
    uint64_t token, request;
    struct transit *next;
};

/* One lock for everything. It is never held while waiting for another callback. */
struct network {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* NULL once it is being freed. */
    airssys_engine_t *engines[2];
    struct way ways[2];
    struct transit *transits;
    unsigned open;
};

static void free_transit(struct network *network, struct transit *transit)
{
    struct transit **link = &network->transits;
    while (*link != transit)
        link = &(*link)->next;
    *link = transit->next;
    network->open--;
    free(transit);
}

/* Completes a request in its own engine. The caller holds the lock. */
static void complete(struct way *way, uint64_t token, airssys_status_t status, const void *reply,
                     size_t len, const char *message)
{
    airssys_engine_t *engine = way->network->engines[way->from];
    if (engine != NULL) {
        airssys_status_t came = airssys_engine_complete(engine, token, status, reply, len, message,
                                                        NULL);
        CHECK(came == AIRSSYS_OK || came == AIRSSYS_ERROR_REQUEST_NOT_FOUND);
        way->completed += came == AIRSSYS_OK;
        way->too_late += came != AIRSSYS_OK;
    }
    pthread_cond_broadcast(&way->network->changed);
}

static void bring_back(void *user_data, const airssys_completion_t *completion)
{
    struct transit *transit = user_data;
    struct network *network = transit->way->network;
    pthread_mutex_lock(&network->lock);
    CHECK_NUMBER(completion->request, transit->request);
    complete(transit->way, transit->token, completion->status, completion->reply,
             completion->reply_len,
             completion->error != NULL ? airssys_error_message(completion->error) : NULL);
    free_transit(network, transit);
    pthread_mutex_unlock(&network->lock);
}

static airssys_status_t deliver(struct way *way, const airssys_envelope_t *envelope,
                                airssys_error_t **error)
{
    struct network *network = way->network;
    airssys_engine_t *engine = network->engines[1 - way->from];
    if (engine == NULL)
        return AIRSSYS_ERROR_COMPONENT_NOT_FOUND;
    if (envelope->kind == AIRSSYS_KIND_MESSAGE)
        return airssys_engine_deliver(engine, envelope, NULL, NULL, NULL, error);
    struct transit *transit = malloc(sizeof *transit);
    REQUIRE(transit != NULL);
    *transit = (struct transit){way, envelope->token, 0, network->transits};
    network->transits = transit;
    network->open++;
    airssys_status_t status = airssys_engine_deliver(engine, envelope, bring_back, transit,
                                                     &transit->request, error);
    if (status != AIRSSYS_OK)
        free_transit(network, transit);
    return status;
}

static void route(void *user_data, const airssys_envelope_t *envelope, airssys_writer_t *answer)
{
    struct way *way = user_data;
    airssys_error_t *error = NULL;
    airssys_status_t status = AIRSSYS_OK;
    pthread_mutex_lock(&way->network->lock);
    CHECK_NUMBER(envelope->size, sizeof *envelope);
    CHECK(envelope->source != NULL && envelope->target != NULL);
    CHECK((envelope->kind == AIRSSYS_KIND_REQUEST) == (envelope->token != 0));
    CHECK((envelope->kind == AIRSSYS_KIND_REQUEST) == (envelope->correlation != 0));
    CHECK((envelope->kind == AIRSSYS_KIND_REQUEST) == (envelope->deadline_ms != 0));
    CHECK(envelope->payload != NULL || envelope->payload_len == 0);
    way->routed++;
    way->token = envelope->token;
    way->deadline_ms = envelope->deadline_ms;
    snprintf(way->payload, sizeof way->payload, "%.*s", (int)envelope->payload_len,
             envelope->payload != NULL ? (const char *)envelope->payload : "");
    switch (way->manner) {
    case DELIVER:
        status = deliver(way, envelope, &error);
        break;
    case REFUSE:
        status = way->refusal;
        break;
    case COMPLETE_INSIDE:
    case COMPLETE_AND_REFUSE:
        complete(way, envelope->token, AIRSSYS_OK, "inside", 6, NULL);
        complete(way, envelope->token, AIRSSYS_OK, "again", 5, NULL);
        status = way->manner == COMPLETE_INSIDE ? AIRSSYS_OK : AIRSSYS_ERROR_IO;
        break;
    case SAY_NOTHING:
    case SWALLOW:
        break;
    }
    const char *text = error != NULL ? airssys_error_message(error) : way->text;
    if (status != AIRSSYS_OK && text != NULL)
        CHECK(airssys_writer_write(answer, (const uint8_t *)text, strlen(text)));
    if (way->manner != SAY_NOTHING)
        airssys_writer_finish(answer, status);
    airssys_error_free(error);
    pthread_cond_broadcast(&way->network->changed);
    pthread_mutex_unlock(&way->network->lock);
}

/* Cancels the request in the other engine, whose completion is then late. */
static void cancel(void *user_data, uint64_t token)
{
    struct way *way = user_data;
    struct network *network = way->network;
    pthread_mutex_lock(&network->lock);
    way->cancels++;
    for (struct transit *at = network->transits; at != NULL; at = at->next)
        if (at->way == way && at->token == token && network->engines[1 - way->from] != NULL) {
            airssys_status_t status =
                airssys_engine_cancel(network->engines[1 - way->from], at->request, NULL);
            CHECK(status == AIRSSYS_OK || status == AIRSSYS_ERROR_REQUEST_NOT_FOUND);
        }
    pthread_cond_broadcast(&network->changed);
    pthread_mutex_unlock(&network->lock);
}

static void drop_way(void *user_data)
{
    struct way *way = user_data;
    pthread_mutex_lock(&way->network->lock);
    way->drops++;
    pthread_mutex_unlock(&way->network->lock);
}

static void set_up(struct network *network, struct holding_log *log)
{
    memset(network, 0, sizeof *network);
    REQUIRE(pthread_mutex_init(&network->lock, NULL) == 0);
    REQUIRE(pthread_cond_init(&network->changed, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        airssys_config_t *config = config_holding(log);
        CHECK_OK(airssys_config_set_json(config, "{\"host-error-texts\": true}", NULL));
        airssys_router_t router = {0};
        network->ways[i].network = network;
        network->ways[i].from = i;
        router.size = sizeof router;
        router.user_data = &network->ways[i];
        router.drop = drop_way;
        router.route = route;
        router.cancel = cancel;
        REQUIRE(airssys_config_set_router(config, &router, NULL) == AIRSSYS_OK);
        memset(&router, 0xff, sizeof router); /* The library has copied it. */
        network->engines[i] = engine_with(config);
        airssys_config_free(config);
    }
}

/* Frees one engine: no callback starts a call with it any more. */
static void free_one(struct network *network, int which)
{
    pthread_mutex_lock(&network->lock);
    airssys_engine_t *engine = network->engines[which];
    network->engines[which] = NULL;
    pthread_mutex_unlock(&network->lock);
    airssys_engine_free(engine);
}

static void tear_down(struct network *network)
{
    free_one(network, 0);
    free_one(network, 1);
    CHECK_NUMBER(network->open, 0);
    for (int i = 0; i < 2; i++)
        CHECK_NUMBER(network->ways[i].drops, 1);
}

/* Sets how a direction behaves and resets its counters. */
static void behave(struct way *way, enum manner manner)
{
    pthread_mutex_lock(&way->network->lock);
    way->manner = manner;
    way->routed = way->cancels = way->completed = way->too_late = 0;
    way->text = NULL;
    pthread_mutex_unlock(&way->network->lock);
}

/* Waits until a counter of a direction has reached a value. */
static void wait_for(struct way *way, const unsigned *counter, unsigned value)
{
    pthread_mutex_lock(&way->network->lock);
    while (*counter < value)
        pthread_cond_wait(&way->network->changed, &way->network->lock);
    pthread_mutex_unlock(&way->network->lock);
}

static void ask(airssys_engine_t *engine, uint64_t handle, const char *text, char *reply,
                size_t size)
{
    airssys_bytes_t bytes = {0};
    CHECK_OK(call(engine, handle, text, &bytes, NULL));
    snprintf(reply, size, "%.*s", (int)bytes.len,
             bytes.data != NULL ? (const char *)bytes.data : "");
    airssys_bytes_free(&bytes);
}

/* A new requester. It replies to `request` with a correlation id. */
static uint64_t requester(airssys_engine_t *engine, const char *id)
{
    return load_as(engine, id, "requester", NULL);
}

/* Expects exactly one callback, with `correlation` and containing `part`. */
static void check_callback(airssys_engine_t *engine, uint64_t handle, const char *correlation,
                           const char *part, int line)
{
    char callbacks[2048], expected[64];
    ask(engine, handle, "callbacks", callbacks, sizeof callbacks);
    snprintf(expected, sizeof expected, "\"correlation\":\"%s\"", correlation);
    check_contains(callbacks, expected, __FILE__, line, "callbacks");
    check_contains(callbacks, part, __FILE__, line, "callbacks");
    char *first = strstr(callbacks, "\"correlation\":");
    check_true(first != NULL && strstr(first + 1, "\"correlation\":") == NULL, __FILE__, line,
               "one callback");
}

/* Polls for the callback of a deadline, which nothing else announces. */
static void wait_for_callback(airssys_engine_t *engine, uint64_t handle)
{
    char callbacks[2048] = "[]";
    for (; strcmp(callbacks, "[]") == 0; sched_yield())
        ask(engine, handle, "callbacks", callbacks, sizeof callbacks);
}

#define ERROR_TYPE "\"content-type\":\"application/vnd.airssys.error+json\""

/* One request from engine `from` to the other, and its callback. */
static void check_request(struct network *network, int from, const char *command,
                          const char *part, int line)
{
    static unsigned number;
    struct way *way = &network->ways[from];
    airssys_engine_t *engine = network->engines[from];
    char id[64], correlation[64];
    snprintf(id, sizeof id, "test/asks/%u", number++);
    uint64_t asks = requester(engine, id);
    behave(way, way->manner);
    ask(engine, asks, command, correlation, sizeof correlation);
    check_number((long long)strlen(correlation), 16, __FILE__, line, correlation);
    wait_for(way, &way->completed, 1);
    check_callback(engine, asks, correlation, part, line);
    CHECK_OK(airssys_engine_unload(engine, asks, NULL));
}

#define CHECK_REQUEST(network, from, command, part) \
    check_request((network), (from), (command), (part), __LINE__)

static void there_and_back(int from)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    set_up(&network, &log);
    airssys_engine_t *there = network.engines[1 - from];
    load(there, "echo");
    load(there, "probe");
    load(there, "trapper");
    load(there, "minimal");
    load_as(there, "test/picky/0", "echo", "{\"codecs\": [\"json\"]}");
    CHECK_REQUEST(&network, from, "request test/echo/0 60000 hello", "\"payload\":\"hello\"");
    CHECK_TEXT(network.ways[from].payload, "hello");
    CHECK_REQUEST(&network, from, "request test/echo/0 60000 hello", "\"content-type\":null");
    CHECK_REQUEST(&network, from, "request test/echo/0 60000 hello",
                  "\"sender\":\"test/echo/0\"");
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 silent", "\"payload\":\"\"");
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 empty", "\"payload\":\"\"");
    /* The receiver sees the sender. */
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 message",
                  "\\\"sender\\\":\\\"test/asks/");
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 message",
                  "\\\"reply-to\\\":\\\"test/asks/");

    /* An error of a guest, a trap, a component without `handle-message`. */
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 fail runtime-error ouch",
                  "ouch");
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 fail runtime-error ouch",
                  ERROR_TYPE);
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 fail runtime-error ouch",
                  "\\\"code\\\":\\\"runtime-error\\\"");
    CHECK_REQUEST(&network, from, "request test/probe/0 60000 fail timeout x",
                  "\\\"code\\\":\\\"timeout\\\"");
    CHECK_REQUEST(&network, from, "request test/trapper/0 60000 unreachable",
                  "\\\"code\\\":\\\"trap\\\"");
    CHECK_REQUEST(&network, from, "request test/minimal/0 60000 x",
                  "\\\"code\\\":\\\"export-not-found\\\"");

    /* An id that exists nowhere; a payload that the receiver does not take. */
    airssys_engine_t *here = network.engines[from];
    uint64_t asks = requester(here, "test/asks/0");
    CHECK_REPLY(here, asks, "request no/body/0 60000 x",
                "error: target-not-found(no/body/0)");
    CHECK_REPLY(here, asks, "send no/body/0 x", "error: target-not-found(no/body/0)");
    CHECK_REPLY(here, asks, "send test/probe/0 silent", "ok");
    CHECK_REPLY(here, asks, "broadcast test/probe/0,test/echo/0 silent", "ok");
    char reply[512];
    ask(here, asks, "broadcast test/echo/0,no/body/0 x", reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: delivery-failed(");
    CHECK_CONTAINS(reply, "no/body/0");
    ask(here, asks, "send test/picky/0 \x51", reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: invalid-message(");
    CHECK_CONTAINS(reply, "the receiver accepts json");
    ask(here, asks, "callbacks", reply, sizeof reply);
    CHECK_TEXT(reply, "[]");
    CHECK_NUMBER(counted(here, "requests.outstanding"), 0);
    /* An id that is loaded here is not routed. */
    behave(&network.ways[from], DELIVER);
    CHECK_REPLY(here, asks, "send test/asks/0 note self", "ok");
    CHECK_REPLY(here, asks, "received", "[\"self\"]");
    CHECK_NUMBER(network.ways[from].routed, 0);
    CHECK_OK(airssys_engine_unload(here, asks, NULL));
    tear_down(&network);
}

/* Messages of one sender arrive in order, in both directions. */
static void order(void)
{
    enum { COUNT = 300 };
    struct holding_log log = HOLDING_LOG;
    struct network network;
    set_up(&network, &log);
    uint64_t a = requester(network.engines[0], "test/a/0");
    uint64_t b = requester(network.engines[1], "test/b/0");
    char expected[8192], received[8192], command[64];
    size_t len = (size_t)snprintf(expected, sizeof expected, "[");
    for (int i = 0; i < COUNT; i++) {
        snprintf(command, sizeof command, "send test/b/0 note %d", i);
        CHECK_OK(send_text(network.engines[0], a, command));
        snprintf(command, sizeof command, "send test/a/0 note %d", i);
        CHECK_OK(send_text(network.engines[1], b, command));
        len += (size_t)snprintf(expected + len, sizeof expected - len, "%s\"%d\"", i > 0 ? "," : "",
                                i);
    }
    snprintf(expected + len, sizeof expected - len, "]");
    wait_for(&network.ways[0], &network.ways[0].routed, COUNT);
    wait_for(&network.ways[1], &network.ways[1].routed, COUNT);
    ask(network.engines[1], b, "received", received, sizeof received);
    CHECK_TEXT(received, expected);
    ask(network.engines[0], a, "received", received, sizeof received);
    CHECK_TEXT(received, expected);
    CHECK_NUMBER(described(network.engines[0], a, "messages.sent"), COUNT);
    tear_down(&network);
}

/* Refusals of the router. */
static void refusals(void)
{
    static const struct {
        airssys_status_t status;
        const char *text, *reply;
    } cases[] = {
        {AIRSSYS_ERROR_COMPONENT_NOT_FOUND, "ignored", "error: target-not-found(a/b/c)"},
        {AIRSSYS_ERROR_QUEUE_FULL, "ignored", "error: queue-full"},
        {AIRSSYS_ERROR_INVALID_MESSAGE, "too blue", "error: invalid-message(too blue)"},
        {AIRSSYS_ERROR_IO, "the line is cut", "error: delivery-failed(the line is cut)"},
        {AIRSSYS_ERROR_ENGINE_STOPPED, "caf\xc3\xa9", "error: delivery-failed(caf\xc3\xa9)"},
        {4711, "unheard of", "error: delivery-failed(unheard of)"},
        {-1, NULL, "error: delivery-failed(the host's router failed)"},
    };
    struct holding_log log = HOLDING_LOG;
    struct network network;
    char reply[256];
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    uint64_t a = requester(network.engines[0], "test/a/0");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        behave(way, REFUSE);
        way->refusal = cases[i].status;
        way->text = cases[i].text;
        CHECK_REPLY(network.engines[0], a, "send a/b/c x", cases[i].reply);
        CHECK_REPLY(network.engines[0], a, "request a/b/c 60000 x", cases[i].reply);
        /* A refused request is complete. */
        CHECK_STATUS(airssys_engine_complete(network.engines[0], way->token, AIRSSYS_OK, NULL, 0,
                                             NULL, NULL),
                     AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    }
    behave(way, SAY_NOTHING);
    ask(network.engines[0], a, "request a/b/c 60000 x", reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: delivery-failed(");
    CHECK_CONTAINS(reply, "no answer");
    ask(network.engines[0], a, "send a/b/c x", reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: delivery-failed(");
    ask(network.engines[0], a, "callbacks", reply, sizeof reply);
    CHECK_TEXT(reply, "[]");
    CHECK_NUMBER(way->cancels, 0);
    CHECK_NUMBER(counted(network.engines[0], "requests.outstanding"), 0);
    tear_down(&network);
}

/* Completed inside `route`: the outcome counts, even if the router then refuses. */
static void completions_inside(void)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    behave(way, COMPLETE_INSIDE);
    CHECK_REQUEST(&network, 0, "request a/b/c 60000 x", "\"payload\":\"inside\"");
    CHECK_NUMBER(way->too_late, 1);
    behave(way, COMPLETE_AND_REFUSE);
    CHECK_REQUEST(&network, 0, "request a/b/c 60000 x", "\"payload\":\"inside\"");
    CHECK_NUMBER(way->too_late, 1);
    CHECK_NUMBER(way->cancels, 0);
    tear_down(&network);
}

/* Outcomes that the host may give to a routed request. */
static void completions(void)
{
    static const struct {
        airssys_status_t status;
        const char *reply, *message, *part;
    } cases[] = {
        {AIRSSYS_OK, "done", "ignored", "\"payload\":\"done\""},
        {AIRSSYS_OK, NULL, NULL, "\"payload\":\"\""},
        {AIRSSYS_ERROR_RUNTIME, "ignored", "said so", "\\\"code\\\":\\\"runtime-error\\\""},
        {AIRSSYS_ERROR_RUNTIME, NULL, "said so", "said so"},
        {AIRSSYS_ERROR_COMPONENT_NOT_FOUND, NULL, NULL, "\\\"code\\\":\\\"target-not-found\\\""},
        {AIRSSYS_ERROR_QUEUE_FULL, NULL, NULL, "\\\"code\\\":\\\"queue-full\\\""},
        {AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED, NULL, NULL, "resource-limit-exceeded"},
        {AIRSSYS_ERROR_CANCELLED, NULL, NULL, "\\\"code\\\":\\\"delivery-failed\\\""},
        {4711, NULL, "unheard of", "unheard of"},
    };
    struct holding_log log = HOLDING_LOG;
    struct network network;
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    airssys_engine_t *engine = network.engines[0];
    behave(way, SWALLOW);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t asks = requester(engine, "test/asks/0");
        char correlation[64];
        airssys_error_t *error = NULL;
        ask(engine, asks, "request a/b/c 60000 x", correlation, sizeof correlation);
        CHECK_OK(airssys_engine_complete(engine, way->token, cases[i].status,
                                         (const uint8_t *)cases[i].reply,
                                         cases[i].reply != NULL ? strlen(cases[i].reply) : 0,
                                         cases[i].message, NULL));
        CHECK_STATUS(airssys_engine_complete(engine, way->token, AIRSSYS_OK, NULL, 0, NULL, &error),
                     AIRSSYS_ERROR_REQUEST_NOT_FOUND);
        CHECK_CONTAINS(airssys_error_detail_json(error), "\"request\":");
        airssys_error_free(error);
        check_callback(engine, asks, correlation, cases[i].part, __LINE__);
        CHECK_OK(airssys_engine_unload(engine, asks, NULL));
    }

    /* Requests that no router got: of the host, between components of one engine, unknown ones. */
    uint64_t chatty = load(engine, "chatty"), asks = requester(engine, "test/asks/0");
    char correlation[64];
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    ask(engine, asks, "request test/chatty/0 60000 log info x", correlation, sizeof correlation);
    CHECK_STATUS(airssys_engine_complete(engine, strtoull(correlation, NULL, 16), AIRSSYS_OK, NULL,
                                         0, NULL, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_STATUS(airssys_engine_cancel(engine, strtoull(correlation, NULL, 16), NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_STATUS(airssys_engine_complete(engine, 0, AIRSSYS_OK, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_STATUS(airssys_engine_complete(engine, UINT64_MAX, AIRSSYS_OK, NULL, 0, NULL, NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    let_go(&log, UINT_MAX);

    /* The host cannot cancel a component's request. */
    ask(engine, asks, "request a/b/c 60000 x", correlation, sizeof correlation);
    CHECK_STATUS(airssys_engine_cancel(engine, way->token, NULL), AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    tear_down(&network);
}

/* The requester cancels: the router is told, and the request ends in the other engine. */
static void cancelled(void)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    char command[128], correlation[64], callbacks[64];
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    uint64_t a = requester(network.engines[0], "test/a/0");
    load(network.engines[1], "chatty");
    ask(network.engines[0], a, "request test/chatty/0 60000 " HOLD, correlation,
        sizeof correlation);
    wait_until_held(&log, 1);
    CHECK_NUMBER(counted(network.engines[1], "requests.outstanding"), 1);
    snprintf(command, sizeof command, "cancel %s", correlation);
    CHECK_REPLY(network.engines[0], a, command, "ok");
    wait_for(way, &way->cancels, 1);
    wait_for(way, &way->too_late, 1);
    CHECK_NUMBER(counted(network.engines[1], "requests.outstanding"), 0);
    CHECK_NUMBER(counted(network.engines[0], "requests.outstanding"), 0);
    /* Cancelling again is an error. */
    char reply[256];
    ask(network.engines[0], a, command, reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: invalid-message(");
    let_go(&log, UINT_MAX);
    ask(network.engines[0], a, "callbacks", callbacks, sizeof callbacks);
    CHECK_TEXT(callbacks, "[]");
    CHECK_NUMBER(way->cancels, 1);
    CHECK_NUMBER(way->completed, 0);
    tear_down(&network);
}

/* The deadline travels with the request and ends it once on each side. */
static void late(void)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    char correlation[64];
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    uint64_t a = requester(network.engines[0], "test/a/0");
    load(network.engines[1], "chatty");
    ask(network.engines[0], a, "request test/chatty/0 20 " HOLD, correlation, sizeof correlation);
    wait_until_held(&log, 1);
    pthread_mutex_lock(&network.lock);
    while (network.open > 0)
        pthread_cond_wait(&network.changed, &network.lock);
    /* One side is first, the other is late. */
    CHECK_NUMBER(way->completed + way->too_late, 1);
    pthread_mutex_unlock(&network.lock);
    wait_for_callback(network.engines[0], a);
    CHECK_NUMBER(counted(network.engines[0], "requests.outstanding"), 0);
    check_callback(network.engines[0], a, correlation, "timeout\\\"", __LINE__);
    let_go(&log, UINT_MAX);
    free_one(&network, 1);
    check_callback(network.engines[0], a, correlation, ERROR_TYPE, __LINE__);
    CHECK(way->cancels <= 1);
    CHECK(way->deadline_ms > 1600000000000u); /* After 2020. */

    /* The router accepts and never completes: the deadline ends the request. */
    uint64_t again = requester(network.engines[0], "test/again/0");
    behave(way, SWALLOW);
    ask(network.engines[0], again, "request a/b/c 1 x", correlation, sizeof correlation);
    wait_for(way, &way->cancels, 1);
    wait_for_callback(network.engines[0], again);
    check_callback(network.engines[0], again, correlation, "correlation-timeout", __LINE__);
    CHECK_STATUS(airssys_engine_complete(network.engines[0], way->token, AIRSSYS_OK, NULL, 0, NULL,
                                         NULL),
                 AIRSSYS_ERROR_REQUEST_NOT_FOUND);
    CHECK_NUMBER(way->cancels, 1);
    tear_down(&network);
}

struct freer {
    struct network *network;
    int which;
};

static void *free_in_thread(void *argument)
{
    const struct freer *freer = argument;
    free_one(freer->network, freer->which);
    return NULL;
}

/* The receiving engine is freed: the requester gets an outcome for each request. */
static void receiver_freed(void)
{
    enum { OPEN = 5 };
    struct holding_log log = HOLDING_LOG;
    struct network network;
    char correlations[OPEN][64], callbacks[4096], part[512];
    set_up(&network, &log);
    struct way *way = &network.ways[0];
    uint64_t a = requester(network.engines[0], "test/a/0");
    load(network.engines[1], "chatty");
    for (int i = 0; i < OPEN; i++)
        ask(network.engines[0], a,
            i == 0 ? "request test/chatty/0 60000 " HOLD
                   : "request test/chatty/0 60000 log info behind",
            correlations[i], sizeof correlations[i]);
    wait_until_held(&log, 1);
    struct freer freer = {&network, 1};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, free_in_thread, &freer) == 0);
    wait_for(way, &way->completed, OPEN - 1);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_NUMBER(way->completed, OPEN);
    CHECK_NUMBER(network.open, 0);
    ask(network.engines[0], a, "callbacks", callbacks, sizeof callbacks);
    for (int i = 0; i < OPEN; i++) {
        snprintf(part, sizeof part, "\"correlation\":\"%s\"", correlations[i]);
        const char *found = strstr(callbacks, part);
        CHECK(found != NULL && strstr(found + 1, part) == NULL);
    }
    CHECK_CONTAINS(callbacks, "stopped");
    CHECK_REPLY(network.engines[0], a, "send test/chatty/0 x",
                "error: target-not-found(test/chatty/0)");
    CHECK_WRITTEN(&log, "");
    tear_down(&network);
}

/* The requesting engine is freed: late completions are dropped. */
static void requester_freed(void)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    char correlation[64];
    set_up(&network, &log);
    uint64_t a = requester(network.engines[0], "test/a/0");
    uint64_t chatty = load(network.engines[1], "chatty");
    ask(network.engines[0], a, "request test/chatty/0 60000 " HOLD, correlation,
        sizeof correlation);
    wait_until_held(&log, 1);
    free_one(&network, 0);
    CHECK_NUMBER(network.ways[0].drops, 1);
    let_go(&log, UINT_MAX);
    CHECK_REPLY(network.engines[1], chatty, "log info after", "ok");
    pthread_mutex_lock(&network.lock);
    while (network.open > 0)
        pthread_cond_wait(&network.changed, &network.lock);
    pthread_mutex_unlock(&network.lock);
    tear_down(&network);
}

/* All components send requests in both directions at once: each gets all its callbacks. */
static void crowd(void)
{
    enum { EACH = 4, ROUNDS = 50 };
    struct holding_log log = HOLDING_LOG;
    struct network network;
    uint64_t asks[2][EACH];
    static char correlations[2][EACH][ROUNDS][20], callbacks[64 * 1024];
    set_up(&network, &log);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < EACH; i++) {
            char id[32];
            snprintf(id, sizeof id, "side%d/asks/%d", side, i);
            asks[side][i] = requester(network.engines[side], id);
        }
    for (int round = 0; round < ROUNDS; round++)
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < EACH; i++) {
                char command[64];
                snprintf(command, sizeof command, "request side%d/asks/%d 60000 self", 1 - side,
                         (i + round) % EACH);
                ask(network.engines[side], asks[side][i], command, correlations[side][i][round],
                    sizeof correlations[side][i][round]);
            }
    for (int side = 0; side < 2; side++) {
        wait_for(&network.ways[side], &network.ways[side].completed, EACH * ROUNDS);
        CHECK_NUMBER(network.ways[side].too_late, 0);
        for (int i = 0; i < EACH; i++) {
            ask(network.engines[side], asks[side][i], "callbacks", callbacks, sizeof callbacks);
            unsigned count = 0, missing = 0;
            for (const char *at = callbacks; (at = strstr(at, "\"correlation\":")) != NULL; at++)
                count++;
            for (int round = 0; round < ROUNDS; round++)
                missing += strstr(callbacks, correlations[side][i][round]) == NULL;
            CHECK_NUMBER(count, ROUNDS);
            CHECK_NUMBER(missing, 0);
            CHECK(strstr(callbacks, "error") == NULL);
        }
    }
    tear_down(&network);
}

/* Mail that a host delivers itself. */
static void delivered_by_hand(void)
{
    struct holding_log log = HOLDING_LOG;
    struct network network;
    set_up(&network, &log);
    airssys_engine_t *engine = network.engines[0];
    uint64_t notes = requester(engine, "test/notes/0"), id = 4711;
    airssys_envelope_t envelope = {0};
    envelope.size = sizeof envelope;
    envelope.source = "far/away/0";
    envelope.target = "test/notes/0";
    envelope.payload = (const uint8_t *)"note hello";
    envelope.payload_len = 10;
    CHECK_OK(airssys_engine_deliver(engine, &envelope, NULL, NULL, NULL, NULL));
    CHECK_OK(airssys_engine_deliver(engine, &envelope, NULL, NULL, &id, NULL));
    CHECK_NUMBER(id, 0);
    CHECK_REPLY(engine, notes, "received", "[\"hello\",\"hello\"]");

    /* Not loaded here: delivered mail is not routed again. */
    id = 4711;
    envelope.target = "no/body/0";
    CHECK_STATUS(airssys_engine_deliver(engine, &envelope, NULL, NULL, &id, NULL),
                 AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    envelope.target = "no/body";
    CHECK_STATUS(airssys_engine_deliver(engine, &envelope, NULL, NULL, &id, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    envelope.target = "test/notes/0";
    envelope.source = "a//b";
    CHECK_STATUS(airssys_engine_deliver(engine, &envelope, NULL, NULL, &id, NULL),
                 AIRSSYS_ERROR_INVALID_ID);
    CHECK_NUMBER(id, 4711);
    CHECK_NUMBER(network.ways[0].routed, 0);

    /* An expired deadline is the outcome, whatever happens to the message. */
    envelope.source = "far/away/0";
    envelope.kind = AIRSSYS_KIND_REQUEST;
    envelope.deadline_ms = 1;
    envelope.target = "test/chatty/0";
    envelope.payload = (const uint8_t *)HOLD;
    envelope.payload_len = strlen(HOLD);
    load(engine, "chatty");
    struct transit *transit = calloc(1, sizeof *transit);
    REQUIRE(transit != NULL);
    transit->way = &network.ways[1];
    behave(transit->way, DELIVER);
    pthread_mutex_lock(&network.lock);
    network.transits = transit;
    network.open = 1;
    CHECK_OK(airssys_engine_deliver(engine, &envelope, bring_back, transit, &transit->request,
                                    NULL));
    pthread_mutex_unlock(&network.lock);
    wait_for(&network.ways[1], &network.ways[1].too_late, 1);
    let_go(&log, UINT_MAX);
    CHECK_OK(airssys_engine_shutdown(engine, UINT64_MAX, NULL));
    envelope.kind = AIRSSYS_KIND_MESSAGE;
    CHECK_STATUS(airssys_engine_deliver(engine, &envelope, NULL, NULL, NULL, NULL),
                 AIRSSYS_ERROR_ENGINE_STOPPED);
    tear_down(&network);
}

int main(void)
{
    check_begin();
    there_and_back(0);
    there_and_back(1);
    order();
    refusals();
    completions_inside();
    completions();
    cancelled();
    late();
    receiver_freed();
    requester_freed();
    crowd();
    delivered_by_hand();
    return check_done();
}
