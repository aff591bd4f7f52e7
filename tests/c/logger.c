/* The host's log: levels, components, context, order, and when user_data is dropped. */
#include "host.h"

#define ROOM 2048

struct line {
    airssys_log_level_t level;
    char component[64], message[160], context[160];
    size_t message_len;
};

struct log {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct line lines[ROOM];
    size_t count;
    int drops;
};

static void take(void *user_data, const airssys_log_record_t *record)
{
    struct log *log = user_data;
    pthread_mutex_lock(&log->lock);
    CHECK_NUMBER(record->size, sizeof *record);
    CHECK(record->message != NULL && record->message[record->message_len] == '\0');
    CHECK((record->context_keys == NULL) == (record->context_len == 0));
    CHECK((record->context_values == NULL) == (record->context_len == 0));
    CHECK(record->seconds > 1600000000u); /* After 2020. */
    CHECK(record->nanoseconds < 1000000000u);
    if (log->count < ROOM) {
        struct line *line = &log->lines[log->count++];
        line->level = record->level;
        line->message_len = record->message_len;
        snprintf(line->component, sizeof line->component, "%s",
                 record->component != NULL ? record->component : "");
        snprintf(line->message, sizeof line->message, "%s", record->message);
        size_t used = 0;
        for (size_t i = 0; i < record->context_len && used < sizeof line->context; i++)
            used += (size_t)snprintf(line->context + used, sizeof line->context - used, "%s=%s;",
                                     record->context_keys[i], record->context_values[i]);
    }
    pthread_cond_broadcast(&log->more);
    pthread_mutex_unlock(&log->lock);
}

static void drop(void *user_data)
{
    struct log *log = user_data;
    log->drops++;
}

static airssys_logger_t logger_of(struct log *log, airssys_log_level_t min_level)
{
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = log;
    logger.drop = drop;
    logger.log = take;
    logger.min_level = min_level;
    return logger;
}

static struct log *new_log(void)
{
    struct log *log = calloc(1, sizeof *log);
    REQUIRE(log != NULL && pthread_mutex_init(&log->lock, NULL) == 0 &&
            pthread_cond_init(&log->more, NULL) == 0);
    return log;
}

static airssys_engine_t *engine_on(struct log *log, airssys_log_level_t min_level)
{
    airssys_config_t *config = new_config();
    airssys_logger_t logger = logger_of(log, min_level);
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    memset(&logger, 0xff, sizeof logger); /* The library has copied it. */
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

/* Waits until there are `count` lines. The test's watchdog bounds the wait. */
static void wait_for(struct log *log, size_t count)
{
    pthread_mutex_lock(&log->lock);
    while (log->count < count)
        pthread_cond_wait(&log->more, &log->lock);
    pthread_mutex_unlock(&log->lock);
}

static void contents(void)
{
    static const char *const levels[] = {"trace", "debug", "info", "warn", "error"};
    struct log *log = new_log();
    airssys_engine_t *engine = engine_on(log, AIRSSYS_LOG_TRACE);
    uint64_t chatty = load_as(engine, "app/chatty/7", "chatty", NULL);

    /* A record is there when the call that wrote it has returned. */
    for (int level = 0; level < 5; level++) {
        char command[64];
        snprintf(command, sizeof command, "log %s caf\xc3\xa9 %d", levels[level], level);
        CHECK_REPLY(engine, chatty, command, "ok");
        REQUIRE(log->count == (size_t)level + 1);
        snprintf(command, sizeof command, "caf\xc3\xa9 %d", level);
        CHECK_NUMBER(log->lines[level].level, level);
        CHECK_TEXT(log->lines[level].message, command);
        CHECK_NUMBER(log->lines[level].message_len, strlen(command));
        CHECK_TEXT(log->lines[level].component, "app/chatty/7");
        CHECK_TEXT(log->lines[level].context, "");
    }
    CHECK_NUMBER(AIRSSYS_LOG_ERROR, 4);

    CHECK_REPLY(engine, chatty, "log-ctx info signed-in user=ada where=here empty=", "ok");
    CHECK_TEXT(log->lines[5].message, "signed-in");
    CHECK_TEXT(log->lines[5].context, "user=ada;where=here;empty=;");

    /* A NUL is part of the message, and the length says so. */
    static const char with_nul[] = "log info head\0tail";
    airssys_bytes_t reply = {0};
    CHECK_OK(airssys_engine_call(engine, chatty, (const uint8_t *)with_nul, sizeof with_nul - 1,
                                 NULL, &reply, NULL));
    airssys_bytes_free(&reply);
    CHECK_TEXT(log->lines[6].message, "head");
    CHECK_NUMBER(log->lines[6].message_len, 9);

    /* In the order of writing, on any thread. */
    log->count = 0;
    CHECK_OK(airssys_engine_send(engine, chatty, (const uint8_t *)"flood 1000", 10, NULL, NULL));
    wait_for(log, 1000);
    for (int i = 0; i < 1000; i++) {
        char message[32];
        snprintf(message, sizeof message, "flood %d", i);
        CHECK_TEXT(log->lines[i].message, message);
    }

    airssys_engine_free(engine);
    CHECK_NUMBER(log->drops, 1);
    free(log);
}

static void what_the_library_reports(void)
{
    struct log *log = new_log();
    airssys_engine_t *engine = engine_on(log, AIRSSYS_LOG_INFO);
    uint64_t probe = load(engine, "probe"), trapper = load(engine, "trapper");

    /* Nobody waits for the outcome of `send`, so a failure goes to the log. */
    CHECK_OK(airssys_engine_send(engine, probe, (const uint8_t *)"fail runtime-error of mine", 26,
                                 NULL, NULL));
    wait_for(log, 1);
    CHECK(log->lines[0].level >= AIRSSYS_LOG_WARN);
    CHECK_CONTAINS(log->lines[0].message, "of mine");
    CHECK_TEXT(log->lines[0].component, "test/probe/0");

    CHECK_FAILS(engine, trapper, "unreachable", AIRSSYS_ERROR_TRAP, "test/trapper/0");
    wait_for(log, 2);
    CHECK_NUMBER(log->lines[1].level, AIRSSYS_LOG_ERROR);
    CHECK_CONTAINS(log->lines[1].message, "crashed");
    CHECK_TEXT(log->lines[1].component, "test/trapper/0");

    /* Records of `shutdown` arrive before `unload` returns. */
    CHECK_OK(airssys_engine_unload(engine, probe, NULL));
    CHECK_NUMBER(log->count, 3);
    CHECK_TEXT(log->lines[2].message, "probe shut down");

    /* Standard output and standard error of a component. */
    uint64_t wasi = load(engine, "wasi");
    CHECK_REPLY(engine, wasi, "print to the output", "ok");
    CHECK_REPLY(engine, wasi, "eprint to the error", "ok");
    wait_for(log, 5);
    CHECK_NUMBER(log->lines[3].level, AIRSSYS_LOG_INFO);
    CHECK_TEXT(log->lines[3].message, "to the output");
    CHECK_NUMBER(log->lines[4].level, AIRSSYS_LOG_WARN);
    CHECK_TEXT(log->lines[4].message, "to the error");
    CHECK_TEXT(log->lines[4].component, "test/wasi/0");
    airssys_engine_free(engine);
    free(log);
}

static void levels_and_ownership(void)
{
    struct log *log = new_log();
    airssys_engine_t *engine = engine_on(log, AIRSSYS_LOG_WARN);
    uint64_t chatty = load(engine, "chatty");
    CHECK_REPLY(engine, chatty, "log info below", "ok");
    CHECK_REPLY(engine, chatty, "log warn at", "ok");
    CHECK_REPLY(engine, chatty, "log error above", "ok");
    CHECK_NUMBER(log->count, 2);
    CHECK_TEXT(log->lines[0].message, "at");
    CHECK_TEXT(log->lines[1].message, "above");
    airssys_engine_free(engine);
    CHECK_NUMBER(log->drops, 1);

    /* Off: nothing at all, not even a crash. */
    engine = engine_on(log, AIRSSYS_LOG_OFF);
    uint64_t trapper = load(engine, "trapper");
    CHECK_FAILS(engine, trapper, "unreachable", AIRSSYS_ERROR_TRAP, "test/trapper/0");
    CHECK_NUMBER(log->count, 2);
    airssys_engine_free(engine);
    CHECK_NUMBER(log->drops, 2);

    /* Refused, replaced, and freed with the configuration. */
    airssys_config_t *config = new_config();
    airssys_logger_t logger = logger_of(log, 99);
    CHECK_STATUS(airssys_config_set_logger(config, &logger, NULL), AIRSSYS_ERROR_INVALID_ARGUMENT);
    CHECK_NUMBER(log->drops, 2);
    logger.min_level = AIRSSYS_LOG_ERROR;
    CHECK_OK(airssys_config_set_logger(config, &logger, NULL));
    CHECK_OK(airssys_config_set_logger(config, &logger, NULL));
    CHECK_NUMBER(log->drops, 3);
    airssys_config_free(config);
    CHECK_NUMBER(log->drops, 4);
    free(log);
}

int main(void)
{
    check_begin();
    contents();
    what_the_library_reports();
    levels_and_ownership();
    return check_done();
}
