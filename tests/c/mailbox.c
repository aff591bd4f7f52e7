/* A full mailbox: senders are refused, wait, or displace the oldest message. */
#include "answer.h"
#include "event_list.h"
#include "holding_log.h"

#include <limits.h>

static airssys_status_t send_for(airssys_engine_t *engine, uint64_t handle, const char *text,
                                 uint64_t timeout_ms, airssys_error_t **error)
{
    airssys_message_options_t options = {0};
    options.size = sizeof options;
    options.timeout_ms = timeout_ms;
    return airssys_engine_send(engine, handle, (const uint8_t *)text, strlen(text), &options,
                               error);
}

static void must_not_come(void *user_data, const airssys_completion_t *completion)
{
    (void)user_data, (void)completion;
    CHECK(!"called");
}

/* `chatty` with a running message, so that later messages wait. */
static uint64_t load_held(airssys_engine_t *engine, struct holding_log *log, const char *options)
{
    uint64_t chatty = load_as(engine, "test/chatty/0", "chatty", options);
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(log, 1);
    return chatty;
}

/* Every way to send is refused. */
static void check_full(airssys_engine_t *engine, uint64_t handle, uint64_t timeout_ms,
                       const char *bound)
{
    airssys_message_options_t options = {0};
    airssys_error_t *error = NULL;
    airssys_bytes_t reply = {0};
    uint64_t id = 4711;
    options.size = sizeof options;
    options.timeout_ms = timeout_ms;
    CHECK_STATUS(send_for(engine, handle, "log info refused", timeout_ms, &error),
                 AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_CONTAINS(airssys_error_message(error), "test/chatty/0");
    CHECK_CONTAINS(airssys_error_message(error), bound);
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"component\":\"test/chatty/0\"");
    airssys_error_free(error);
    CHECK_STATUS(airssys_engine_call(engine, handle, (const uint8_t *)"log info refused", 16,
                                     &options, &reply, NULL),
                 AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_STATUS(airssys_engine_request(engine, handle, (const uint8_t *)"log info refused", 16,
                                        &options, must_not_come, NULL, &id, NULL),
                 AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_STATUS(airssys_engine_broadcast(engine, &handle, 1, (const uint8_t *)"log info refused",
                                          16, &options, NULL),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK(reply.data == NULL);
    CHECK_NUMBER(id, 4711);
}

static void reject(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    airssys_bytes_t json = {0};
    uint64_t chatty = load_held(engine, &log,
                                "{\"mailbox\": {\"capacity\": 2, \"when-full\": \"reject\"}}");
    CHECK_OK(send_text(engine, chatty, "log info one"));
    CHECK_OK(send_text(engine, chatty, "log info two"));
    check_full(engine, chatty, 0, "2 messages");
    CHECK_OK(airssys_engine_describe(engine, chatty, &json, NULL));
    CHECK_CONTAINS((const char *)json.data, "\"when-full\":\"reject\"");
    CHECK_NUMBER(number_in(&json, "mailbox.capacity"), 2);
    CHECK_NUMBER(number_in(&json, "mailbox.depth"), 2);
    CHECK_NUMBER(number_in(&json, "messages.accepted"), 3);
    CHECK_NUMBER(number_in(&json, "messages.refused"), 4);
    CHECK_NUMBER(number_in(&json, "messages.dropped"), 0);
    airssys_bytes_free(&json);
    let_go(&log, UINT_MAX);
    CHECK_WRITTEN(&log, "one two ");
    airssys_engine_free(engine);
    CHECK_WRITTEN(&log, "one two ");
}

static void max_bytes(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load_held(engine, &log, "{\"mailbox\": {\"max-bytes\": 10000}}");
    char large[6000];
    memset(large, 'x', sizeof large);
    memcpy(large, "log trace ", 10);
    large[sizeof large - 1] = '\0';
    CHECK_OK(send_text(engine, chatty, large));
    CHECK_STATUS(send_text(engine, chatty, large), AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_OK(send_text(engine, chatty, "log info small"));
    CHECK(described(engine, chatty, "mailbox.bytes") >= (long long)strlen(large));
    CHECK(described(engine, chatty, "mailbox.bytes") <= 10000);
    CHECK_NUMBER(described(engine, chatty, "mailbox.max-bytes"), 10000);
    let_go(&log, 1);
    CHECK_WRITTEN(&log, "small ");
    CHECK_REPLY(engine, chatty, large, "ok");
    CHECK_NUMBER(described(engine, chatty, "mailbox.bytes"), 0);
    airssys_engine_free(engine);
}

struct sender {
    airssys_engine_t *engine;
    uint64_t handle;
    const char *format;
    int count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool began;
    int sent;
    airssys_status_t status;
};

#define SENDER(engine, handle, format, count)                                          \
    {engine, handle, format, count, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, \
     false, 0, AIRSSYS_OK}

/* Sends until something else than success comes. */
static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (int i = 0; i < sender->count && sender->status == AIRSSYS_OK; i++) {
        char text[64];
        snprintf(text, sizeof text, sender->format, i);
        pthread_mutex_lock(&sender->lock);
        sender->began = true;
        pthread_cond_broadcast(&sender->changed);
        pthread_mutex_unlock(&sender->lock);
        airssys_status_t status = send_text(sender->engine, sender->handle, text);
        pthread_mutex_lock(&sender->lock);
        sender->status = status;
        sender->sent += status == AIRSSYS_OK;
        pthread_mutex_unlock(&sender->lock);
    }
    return NULL;
}

static pthread_t start(struct sender *sender)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, send_all, sender) == 0);
    pthread_mutex_lock(&sender->lock);
    while (!sender->began)
        pthread_cond_wait(&sender->changed, &sender->lock);
    pthread_mutex_unlock(&sender->lock);
    return thread;
}

#define BLOCK "{\"mailbox\": {\"capacity\": 1, \"when-full\": \"block\"}}"

static void block(void)
{
    enum { COUNT = 200 };
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load_held(engine, &log, BLOCK);
    CHECK_OK(send_text(engine, chatty, "log info first"));
    check_full(engine, chatty, 1, "1 message");

    /* A thread that waits for room and keeps its order. */
    struct sender sender = SENDER(engine, chatty, "log info %d", COUNT);
    pthread_t thread = start(&sender);
    pthread_mutex_lock(&sender.lock);
    CHECK_NUMBER(sender.sent, 0);
    pthread_mutex_unlock(&sender.lock);
    CHECK_NUMBER(described(engine, chatty, "mailbox.depth"), 1);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_OK(sender.status);
    CHECK_NUMBER(sender.sent, COUNT);
    CHECK_REPLY(engine, chatty, "log info last", "ok");
    char expected[4096];
    size_t len = (size_t)snprintf(expected, sizeof expected, "first ");
    for (int i = 0; i < COUNT; i++)
        len += (size_t)snprintf(expected + len, sizeof expected - len, "%d ", i);
    snprintf(expected + len, sizeof expected - len, "last ");
    CHECK_WRITTEN(&log, expected);
    CHECK_NUMBER(described(engine, chatty, "messages.accepted"), 1 + 1 + COUNT + 1);
    airssys_engine_free(engine);
}

/* A sender that waits for room is either accepted or refused. */
static void waiting_is_not_refused(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load_held(engine, &log, BLOCK);
    CHECK_OK(send_text(engine, chatty, "log info first"));
    check_full(engine, chatty, 1, "1 message");
    CHECK_NUMBER(described(engine, chatty, "messages.refused"), 4);
    struct sender sender = SENDER(engine, chatty, "log info %d", 20);
    pthread_t thread = start(&sender);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_NUMBER(described(engine, chatty, "messages.refused"), 4);
    airssys_engine_free(engine);
}

static void *unload(void *argument)
{
    struct sender *sender = argument;
    CHECK_OK(airssys_engine_unload(sender->engine, sender->handle, NULL));
    return NULL;
}

/* A sender gets an error if the mailbox goes away while it waits. */
static void block_until_the_end(bool of_engine)
{
    enum { SENDERS = 4 };
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load_held(engine, &log, BLOCK);
    CHECK_OK(send_text(engine, chatty, "log info first"));
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS], ender;
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender)SENDER(engine, chatty, "log info %d", 1);
        threads[i] = start(&senders[i]);
    }
    if (of_engine)
        CHECK_STATUS(airssys_engine_shutdown(engine, 1, NULL), AIRSSYS_ERROR_TIMEOUT);
    else
        REQUIRE(pthread_create(&ender, NULL, unload, &senders[0]) == 0);
    for (int i = 0; i < SENDERS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK_STATUS(senders[i].status, of_engine ? AIRSSYS_ERROR_ENGINE_STOPPED
                                                  : AIRSSYS_ERROR_COMPONENT_NOT_FOUND);
    }
    let_go(&log, UINT_MAX);
    if (!of_engine)
        REQUIRE(pthread_join(ender, NULL) == 0);
    airssys_engine_free(engine);
}

/* A callback that would wait for room in its own component. */
struct self {
    airssys_engine_t *engine;
    uint64_t handle;
    unsigned calls;
};

static void send_to_self(void *user_data, const airssys_log_record_t *record)
{
    struct self *self = user_data;
    airssys_message_options_t options = {0};
    airssys_error_t *error = NULL;
    uint64_t id = 4711;
    if (strcmp(record->message, "self") != 0)
        return;
    self->calls++;
    options.size = sizeof options;
    options.timeout_ms = 60000;
    CHECK_OK(send_text(self->engine, self->handle, "log info later"));
    CHECK_STATUS(airssys_engine_send(self->engine, self->handle, NULL, 0, NULL, &error),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_CONTAINS(airssys_error_message(error), "test/chatty/0");
    airssys_error_free(error);
    error = NULL;
    CHECK_STATUS(airssys_engine_send(self->engine, self->handle, NULL, 0, &options, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_request(self->engine, self->handle, NULL, 0, &options,
                                        must_not_come, NULL, &id, NULL),
                 AIRSSYS_ERROR_WOULD_DEADLOCK);
    CHECK_STATUS(airssys_engine_broadcast(self->engine, &self->handle, 1, NULL, 0, NULL, &error),
                 AIRSSYS_ERROR_DELIVERY_FAILED);
    CHECK_CONTAINS(airssys_error_detail_json(error), "\"status\":14");
    airssys_error_free(error);
}

static void block_on_oneself(void)
{
    struct self self = {NULL, 0, 0};
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = &self;
    logger.log = send_to_self;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    self.engine = engine_with(config);
    airssys_config_free(config);
    self.handle = load_as(self.engine, "test/chatty/0", "chatty", BLOCK);
    CHECK_REPLY(self.engine, self.handle, "log info self", "ok");
    CHECK_REPLY(self.engine, self.handle, "log info after", "ok");
    CHECK_NUMBER(self.calls, 1);
    CHECK_NUMBER(described(self.engine, self.handle, "messages.accepted"), 3);
    airssys_engine_free(self.engine);
}

/* A component waits for room in another's mailbox like a host. */
static void *send_as_guest(void *argument)
{
    struct sender *sender = argument;
    pthread_mutex_lock(&sender->lock);
    sender->began = true;
    pthread_cond_broadcast(&sender->changed);
    pthread_mutex_unlock(&sender->lock);
    CHECK_REPLY(sender->engine, sender->handle, sender->format, "ok");
    return NULL;
}

static void block_a_guest(void)
{
    struct holding_log log = HOLDING_LOG;
    airssys_engine_t *engine = engine_holding(&log);
    uint64_t chatty = load_held(engine, &log, BLOCK), requester = load(engine, "requester");
    CHECK_OK(send_text(engine, chatty, "log info first"));
    struct sender sender =
        SENDER(engine, requester, "send test/chatty/0 log info second", 1);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, send_as_guest, &sender) == 0);
    pthread_mutex_lock(&sender.lock);
    while (!sender.began)
        pthread_cond_wait(&sender.changed, &sender.lock);
    pthread_mutex_unlock(&sender.lock);
    CHECK_NUMBER(described(engine, chatty, "mailbox.depth"), 1);
    let_go(&log, UINT_MAX);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_WRITTEN(&log, "first second ");
    airssys_engine_free(engine);
}

static void *call_waits(void *argument)
{
    struct sender *sender = argument;
    airssys_bytes_t reply = {0};
    sender->status = call(sender->engine, sender->handle, sender->format, &reply, NULL);
    airssys_bytes_free(&reply);
    return NULL;
}

static void drop_oldest(void)
{
    struct holding_log log = HOLDING_LOG;
    struct event_list list = EVENT_LIST;
    struct answer oldest = ANSWER;
    airssys_config_t *config = config_holding(&log);
    airssys_events_t events = events_to(&list);
    REQUIRE(airssys_config_set_events(config, &events, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t chatty = load_held(
        engine, &log,
        "{\"mailbox\": {\"capacity\": 2, \"max-bytes\": 2000, \"when-full\": \"drop-oldest\"}}");
    airssys_bytes_t json = {0};

    /* A displaced request and a displaced call get an error. */
    uint64_t id = request(engine, chatty, "log info oldest", &oldest);
    struct sender caller = SENDER(engine, chatty, "log info call", 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, call_waits, &caller) == 0);
    wait_for_depth(engine, chatty, 2);
    CHECK_OK(send_text(engine, chatty, "log info c"));
    CHECK_ANSWER(&oldest, id, AIRSSYS_ERROR_QUEUE_FULL, "drop-oldest");
    CHECK_OK(send_text(engine, chatty, "log info d"));
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(caller.status, AIRSSYS_ERROR_QUEUE_FULL);
    CHECK_OK(send_text(engine, chatty, "log info e"));

    /* Dead letters, in the order in which they were sent. */
    static const char *const dropped[] = {"log info oldest", "log info call", "log info c",
                                          "log info d", "log info e"};
    wait_for_events(&list, 3);

    /* A large message displaces several. */
    char large[1700];
    memset(large, 'x', sizeof large);
    memcpy(large, "log trace ", 10);
    large[sizeof large - 1] = '\0';
    CHECK_OK(send_text(engine, chatty, large));
    wait_for_events(&list, 5);
    for (int i = 0; i < 5; i++) {
        CHECK_TEXT(list.events[i].kind, "dead-letter");
        CHECK_TEXT(list.events[i].payload, dropped[i]);
        CHECK_CONTAINS(list.events[i].json, "\"component\":\"test/chatty/0\"");
        CHECK_CONTAINS(list.events[i].json, "\"code\":\"queue-full\"");
        CHECK_CONTAINS(list.events[i].json, "drop-oldest");
    }
    CHECK_OK(airssys_engine_describe(engine, chatty, &json, NULL));
    CHECK_CONTAINS((const char *)json.data, "\"when-full\":\"drop-oldest\"");
    CHECK_NUMBER(number_in(&json, "mailbox.depth"), 1);
    CHECK_NUMBER(number_in(&json, "messages.accepted"), 7);
    CHECK_NUMBER(number_in(&json, "messages.refused"), 0);
    CHECK_NUMBER(number_in(&json, "messages.dropped"), 5);
    airssys_bytes_free(&json);
    CHECK_NUMBER(counted(engine, "dead-letters"), 5);
    let_go(&log, UINT_MAX);
    wait_for_depth(engine, chatty, 0);
    CHECK_REPLY(engine, chatty, "log info last", "ok");
    airssys_engine_free(engine);
    CHECK_WRITTEN(&log, "last ");
    CHECK_NUMBER(list.count, 5);
    CHECK_NUMBER(oldest.times, 1);
}

static void options(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t handle = 4711;
    char path[4096];
    guest_path("echo", path, sizeof path);
    static const char *const wrong[] = {
        "{\"mailbox\": {\"when-full\": \"drop\"}}",  "{\"mailbox\": {\"when-full\": 1}}",
        "{\"mailbox\": {\"capacity\": 0}}",          "{\"mailbox\": {\"capacity\": 1048577}}",
        "{\"mailbox\": {\"max-bytes\": 0}}",         "{\"mailbox\": {\"when-ful\": \"block\"}}",
        "{\"mailbox\": \"block\"}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        airssys_error_t *error = NULL;
        CHECK_STATUS(airssys_engine_load_file(engine, "a/b/c", path, wrong[i], &handle, &error),
                     AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), "options.mailbox");
        airssys_error_free(error);
    }
    CHECK_NUMBER(handle, 4711);
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    reject();
    max_bytes();
    block();
    waiting_is_not_refused();
    block_until_the_end(false);
    block_until_the_end(true);
    block_on_oneself();
    block_a_guest();
    drop_oldest();
    options();
    return check_done();
}
