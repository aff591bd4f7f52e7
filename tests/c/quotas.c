/* Quotas: how much a component may do and hold, and the errors and records of a breach. */
#include "audit_list.h"
#include "holding_log.h"

#include <time.h>

#define ALL                                                                                     \
    "\"capabilities\": {\"messaging\": {\"send\": [\"**\"], \"request\": [\"**\"], "              \
    "\"broadcast\": [\"**\"]}, \"storage\": [\"read\", \"write\", \"delete\"]}"
#define ALL_WITH(quotas) "{" ALL ", \"quotas\": {" quotas "}}"

/* Calls and copies the reply. */
static const char *reply_to(airssys_engine_t *engine, uint64_t handle, const char *text, char *copy,
                            size_t size)
{
    airssys_bytes_t reply = {0};
    REQUIRE(call(engine, handle, text, &reply, NULL) == AIRSSYS_OK);
    snprintf(copy, size, "%.*s", (int)reply.len,
             reply.data != NULL ? (const char *)reply.data : "");
    airssys_bytes_free(&reply);
    return copy;
}

/* Repeats a command until the expected reply. */
static void until_reply(airssys_engine_t *engine, uint64_t handle, const char *text,
                        const char *expected)
{
    char reply[512];
    while (strcmp(reply_to(engine, handle, text, reply, sizeof reply), expected) != 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The error of a call that a quota ends names the quota. */
static void check_ended(airssys_engine_t *engine, uint64_t handle, const char *text,
                        const char *quota, long long value, const char *file, int line)
{
    char part[128];
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    check_status(call(engine, handle, text, &reply, &error), AIRSSYS_ERROR_RESOURCE_LIMIT_EXCEEDED,
                 file, line, text);
    snprintf(part, sizeof part, "quota %s %lld exceeded", quota, value);
    check_contains(airssys_error_message(error), part, file, line, text);
    snprintf(part, sizeof part, "\"limit\":\"%s\",\"value\":%lld", quota, value);
    check_contains(airssys_error_detail_json(error), part, file, line, text);
    airssys_error_free(error);
    airssys_bytes_free(&reply);
}

#define CHECK_ENDED(engine, handle, text, quota, value) \
    check_ended((engine), (handle), (text), (quota), (value), __FILE__, __LINE__)

/* One per second: a thousand at once cannot all pass on any machine. */
static void messages(void)
{
    static const struct {
        const char *all, *one, *recorded;
    } cases[] = {
        {"send-many 1000 test/echo/0 x", "send-many 1 test/echo/0 x",
         "test/hostile/0 messaging.send test/echo/0: quota: quota messages-per-second 1"},
        {"request-many 1000 test/echo/0 60000 x", "request-many 1 test/echo/0 60000 x",
         "test/hostile/0 messaging.request test/echo/0: quota: quota messages-per-second 1"},
    };
    char reply[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct audit_list list = AUDIT_LIST;
        airssys_engine_t *engine = engine_recording(&list, 0);
        load(engine, "echo");
        uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                                   ALL_WITH("\"messages-per-second\": 1"));
        reply_to(engine, hostile, cases[i].all, reply, sizeof reply);
        CHECK_CONTAINS(reply, " error: delivery-failed(quota exceeded: messages-per-second 1)");
        int accepted = atoi(reply);
        CHECK(accepted >= 1 && accepted < 1000);
        CHECK_NUMBER(described(engine, hostile, "messages.sent"), accepted);
        CHECK_RECORDED(&list, 0, DENIED, cases[i].recorded);
        /* All of them. */
        wait_for_records(&list, (size_t)(1000 - accepted));
        CHECK_NUMBER(list.denied, 1000 - accepted);
        /* The quota refills with time. */
        until_reply(engine, hostile, cases[i].one, "1");
        airssys_engine_free(engine);
    }

    /* Each target of a broadcast is a message. */
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 0);
    uint64_t echo = load(engine, "echo");
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                               ALL_WITH("\"messages-per-second\": 1"));
    reply_to(engine, hostile, "broadcast-many 1000 test/echo/0 x", reply, sizeof reply);
    CHECK_CONTAINS(reply, "error: delivery-failed(test/echo/0: delivery-failed: "
                          "quota exceeded: messages-per-second 1; ");
    CHECK_RECORDED(&list, 0, DENIED,
                   "test/hostile/0 messaging.broadcast test/echo/0: quota: "
                   "quota messages-per-second 1");
    long long accepted = described(engine, echo, "messages.accepted");
    CHECK(accepted >= 1 && accepted < 1000);
    /* The host's own messages are not counted. */
    for (int i = 0; i < 10; i++)
        CHECK_OK(send_text(engine, hostile, "callbacks"));
    airssys_engine_free(engine);
}

static void requests(void)
{
    struct holding_log log = HOLDING_LOG;
    struct audit_list list = AUDIT_LIST;
    airssys_config_t *config = config_holding(&log);
    airssys_audit_t audit = audit_to(&list, 0);
    REQUIRE(airssys_config_set_audit(config, &audit, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    uint64_t chatty = load(engine, "chatty");
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                               ALL_WITH("\"outstanding-requests\": 3"));
    CHECK_OK(send_text(engine, chatty, HOLD));
    wait_until_held(&log, 1);
    CHECK_REPLY(engine, hostile, "request-many 5 test/chatty/0 60000 log info x",
                "3 error: delivery-failed(quota exceeded: outstanding-requests 3)");
    CHECK_RECORDED(&list, 1, DENIED,
                   "test/hostile/0 messaging.request test/chatty/0: quota: "
                   "quota outstanding-requests 3");
    /* Messages do not count as requests. */
    CHECK_REPLY(engine, hostile, "send-many 5 test/chatty/0 log info x", "5");

    /* Cancelled, answered and refused requests are no longer open. */
    CHECK_REPLY(engine, hostile, "cancel-kept", "3");
    CHECK_REPLY(engine, hostile, "request-many 9 test/gone/0 60000 x",
                "0 error: target-not-found(test/gone/0)");
    CHECK_REPLY(engine, hostile, "request-many 4 test/chatty/0 60000 log info x",
                "3 error: delivery-failed(quota exceeded: outstanding-requests 3)");
    let_go(&log, 1);
    until_reply(engine, hostile, "request-many 1 test/chatty/0 60000 log info x", "1");
    airssys_engine_free(engine);
}

static void stored(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 0);
    uint64_t user = load_as(engine, "test/storage-user/0", "storage-user",
                            ALL_WITH("\"storage-bytes\": 10, \"storage-keys\": 3"));
    CHECK_REPLY(engine, user, "usage", "0 10 0");
    CHECK_REPLY(engine, user, "set a 1234", "ok");
    /* A key counts, too. */
    CHECK_REPLY(engine, user, "set b 12345", "error: quota-exceeded");
    CHECK_RECORDED(&list, 0, DENIED,
                   "test/storage-user/0 storage.write test/storage-user/0: quota: "
                   "quota storage-bytes 10");
    CHECK_REPLY(engine, user, "set b 1234", "ok");
    CHECK_REPLY(engine, user, "usage", "10 10 2");
    /* A value that takes no more room is always stored. A refused value has changed nothing. */
    CHECK_REPLY(engine, user, "set b 4321", "ok");
    CHECK_REPLY(engine, user, "set b 54321", "error: quota-exceeded");
    CHECK_REPLY(engine, user, "get b", "4321");
    CHECK_REPLY(engine, user, "set b 1", "ok");
    CHECK_REPLY(engine, user, "set c 1", "ok");
    CHECK_REPLY(engine, user, "set d ", "error: quota-exceeded");
    CHECK_RECORDED(&list, 2, DENIED,
                   "test/storage-user/0 storage.write test/storage-user/0: quota: "
                   "quota storage-keys 3");
    CHECK_REPLY(engine, user, "delete a", "ok");
    CHECK_REPLY(engine, user, "set d ", "ok");
    CHECK_REPLY(engine, user, "list", "b\nc\nd");

    /* Each component has its own quotas. */
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile", ALL_WITH(""));
    CHECK_REPLY(engine, hostile, "set-many 100 1000", "100");
    airssys_engine_free(engine);
}

/* Keeps what a component logs. */
struct lines {
    pthread_mutex_t lock;
    unsigned count;
    char last[2][128];
};

static void keep_line(void *user_data, const airssys_log_record_t *record)
{
    struct lines *lines = user_data;
    pthread_mutex_lock(&lines->lock);
    memcpy(lines->last[0], lines->last[1], sizeof lines->last[0]);
    snprintf(lines->last[1], sizeof lines->last[1], "%s", record->message);
    lines->count++;
    pthread_mutex_unlock(&lines->lock);
}

static airssys_engine_t *engine_logging(struct lines *lines, struct audit_list *list)
{
    airssys_config_t *config = new_strict_config();
    airssys_audit_t audit = audit_to(list, 0);
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = lines;
    logger.log = keep_line;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_audit(config, &audit, NULL) == AIRSSYS_OK);
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

/* The guest is not told: `log` has no result. */
static void logged(void)
{
    struct audit_list list = AUDIT_LIST;
    struct lines lines = {.lock = PTHREAD_MUTEX_INITIALIZER};
    airssys_engine_t *engine = engine_logging(&lines, &list);
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                               "{\"quotas\": {\"log-bytes-per-second\": 1}}");
    /* A record larger than the quota passes and uses up the quota of an hour. */
    CHECK_REPLY(engine, hostile, "log-many 1 3600", "ok");
    CHECK_REPLY(engine, hostile, "log-many 100 1", "ok");
    CHECK_NUMBER(lines.count, 1);
    CHECK_RECORDED(&list, 0, DENIED,
                   "test/hostile/0 log.write : quota: quota log-bytes-per-second 1");

    /* The number of dropped records is logged when there is room again. */
    uint64_t chatty = load_as(engine, "test/chatty/0", "chatty",
                              "{\"quotas\": {\"log-bytes-per-second\": 1000}}");
    CHECK_REPLY(engine, hostile, "log-many 1 1", "ok");
    CHECK_REPLY(engine, chatty, "log info first", "ok");
    CHECK_NUMBER(lines.count, 2);
    char text[1024];
    snprintf(text, sizeof text, "log info %01000d", 0);
    unsigned before = lines.count, tried = 0;
    /* Each uses the quota of a second: the second one is too early unless the first took a second. */
    do {
        CHECK_REPLY(engine, chatty, text, "ok");
        CHECK_REPLY(engine, chatty, text, "ok");
        tried += 2;
    } while (lines.count - before == tried);
    while (strcmp(lines.last[1], "again") != 0)
        until_reply(engine, chatty, "log info again", "ok");
    CHECK_CONTAINS(lines.last[0], " log record(s) dropped: log-bytes-per-second 1000");
    CHECK(atoi(lines.last[0]) >= 1);
    airssys_engine_free(engine);
}

/* Data beyond the quota ends the call. The component continues with a new instance. */
static void handed_to_the_host(void)
{
    airssys_engine_t *engine = new_strict_engine();
    load(engine, "echo");
    uint64_t hostile = load_as(engine, "test/hostile/0", "hostile",
                               ALL_WITH("\"host-call-data-bytes\": 4000"));
    static const char *const commands[] = {
        "big-send test/echo/0 5000", "big-set 5000", "log-many 1 5000", "long-key 5000",
        "wide-ids 10 300",           "big-error 5000",
    };
    CHECK_REPLY(engine, hostile, "big-send test/echo/0 3000", "ok");
    CHECK_REPLY(engine, hostile, "big-set 3000", "ok");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        CHECK_ENDED(engine, hostile, commands[i], "host-call-data-bytes", 4000);
        CHECK_REPLY(engine, hostile, "send-many 1 test/echo/0 x", "1");
    }
    airssys_engine_free(engine);
}

static void of_wasi(void)
{
    struct audit_list list = AUDIT_LIST;
    airssys_engine_t *engine = engine_recording(&list, 0);
    uint64_t wasi = load_as(engine, "test/wasi/0", "wasi",
                            "{\"quotas\": {\"random-bytes-per-second\": 1}}");
    airssys_bytes_t reply = {0};
    /* If nothing was taken while it was loaded this passes, and is paid for: for an hour there is
     * no room. */
    call(engine, wasi, "random 3600", &reply, NULL);
    airssys_bytes_free(&reply);
    CHECK_ENDED(engine, wasi, "random 1", "random-bytes-per-second", 1);
    CHECK_ENDED(engine, wasi, "insecure-random 1", "random-bytes-per-second", 1);
    wasi = load_as(engine, "test/wasi/1", "wasi", "{\"quotas\": {\"wasi-resources\": 100}}");
    CHECK_ENDED(engine, wasi, "pollables 200", "wasi-resources", 100);
    CHECK_REPLY(engine, wasi, "pollables 10", "10");
    airssys_engine_free(engine);
    CHECK_RECORDED(&list, 0, DENIED,
                   "test/wasi/0 random.read : quota: quota random-bytes-per-second 1");
}

/* Instances of a pool share their quotas. */
static void of_a_pool(void)
{
    airssys_engine_t *engine = new_strict_engine();
    uint64_t pool = load_as(engine, "test/storage-user/0", "storage-user",
                            "{\"instances\": 3, " ALL ", \"quotas\": {\"storage-keys\": 2}}");
    unsigned stored = 0;
    char command[32], reply[64];
    for (int i = 0; i < 9; i++) {
        snprintf(command, sizeof command, "set k%d v", i);
        stored += strcmp(reply_to(engine, pool, command, reply, sizeof reply), "ok") == 0;
    }
    CHECK_NUMBER(stored, 2);
    airssys_engine_free(engine);
}

static void of_a_configuration(void)
{
    static const struct {
        const char *quotas, *part;
    } wrong[] = {
        {"{\"messages-persecond\": 1}", "did you mean \"messages-per-second\"?"},
        {"{\"messages-per-second\": 0}", "quotas.messages-per-second: 0"},
        {"{\"messages-per-second\": -1}", "quotas.messages-per-second: -1"},
        {"{\"storage-bytes\": \"many\"}", "quotas.storage-bytes"},
        {"{\"host-call-data-bytes\": 134217729}", "quotas.host-call-data-bytes: 134217729"},
        {"[]", "quotas"},
    };
    airssys_config_t *config = new_config();
    char json[128];
    CHECK_OK(airssys_config_set_json(config, "{\"quotas\": {\"storage-keys\": 1}}", NULL));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        airssys_error_t *error = NULL;
        snprintf(json, sizeof json, "{\"quotas\": %s}", wrong[i].quotas);
        CHECK_STATUS(airssys_config_set_json(config, json, &error), AIRSSYS_ERROR_INVALID_OPTIONS);
        CHECK_CONTAINS(airssys_error_message(error), wrong[i].part);
        airssys_error_free(error);
    }
    airssys_engine_t *engine = silent_engine(config);
    /* Defaults apply to quotas that a load does not name. */
    uint64_t first = load_as(engine, "test/first/0", "storage-user", "{\"quotas\": {\"storage-bytes\": 3}}");
    CHECK_REPLY(engine, first, "set a 1", "ok");
    CHECK_REPLY(engine, first, "set b 1", "error: quota-exceeded");
    CHECK_REPLY(engine, first, "set a 123", "error: quota-exceeded");
    uint64_t second = load_as(engine, "test/second/0", "storage-user",
                              "{\"quotas\": {\"storage-keys\": null}}");
    CHECK_REPLY(engine, second, "set a 1", "ok");
    CHECK_REPLY(engine, second, "set b 1", "ok");
    airssys_engine_free(engine);
}

int main(void)
{
    check_begin();
    messages();
    requests();
    stored();
    logged();
    handed_to_the_host();
    of_a_pool();
    of_a_configuration();
    of_wasi();
    return check_done();
}
