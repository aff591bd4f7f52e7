/* A log callback that blocks on the record "hold" until released: its component is certainly busy. */
#ifndef HOLDING_LOG_H
#define HOLDING_LOG_H

#include "host.h"

/* The command that makes `chatty` block. */
#define HOLD "log info hold"

struct holding_log {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* How many records have blocked, and how many of them are released. */
    unsigned came, let_go;
    /* All other messages, each followed by a space. */
    char written[4096];
    size_t len;
    unsigned drops;
};

/* Static: callbacks may come until the last engine is freed. */
#define HOLDING_LOG {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}

static inline void holding_log_take(void *user_data, const airssys_log_record_t *record)
{
    struct holding_log *log = user_data;
    pthread_mutex_lock(&log->lock);
    if (strcmp(record->message, "hold") == 0) {
        unsigned place = ++log->came;
        pthread_cond_broadcast(&log->changed);
        while (log->let_go < place)
            pthread_cond_wait(&log->changed, &log->lock);
    } else if (record->component != NULL && record->level == AIRSSYS_LOG_INFO) {
        int room = (int)(sizeof log->written - log->len);
        int needed = snprintf(log->written + log->len, (size_t)room, "%s ", record->message);
        REQUIRE(needed > 0 && needed < room);
        log->len += (size_t)needed;
        pthread_cond_broadcast(&log->changed);
    }
    pthread_mutex_unlock(&log->lock);
}

static inline void holding_log_drop(void *user_data)
{
    struct holding_log *log = user_data;
    pthread_mutex_lock(&log->lock);
    log->drops++;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

/* Waits until `count` records have blocked, including released ones. */
static inline void wait_until_held(struct holding_log *log, unsigned count)
{
    pthread_mutex_lock(&log->lock);
    while (log->came < count)
        pthread_cond_wait(&log->changed, &log->lock);
    pthread_mutex_unlock(&log->lock);
}

/* Releases the first `count` records; UINT_MAX releases all. */
static inline void let_go(struct holding_log *log, unsigned count)
{
    pthread_mutex_lock(&log->lock);
    log->let_go = count;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

/* Waits for as many bytes as `expected` has and compares them. */
static inline void check_written(struct holding_log *log, const char *expected, const char *file,
                                 int line)
{
    pthread_mutex_lock(&log->lock);
    while (log->len < strlen(expected))
        pthread_cond_wait(&log->changed, &log->lock);
    check_text(log->written, expected, file, line, "what was written");
    pthread_mutex_unlock(&log->lock);
}

#define CHECK_WRITTEN(log, expected) check_written((log), (expected), __FILE__, __LINE__)

/* Waits until the last engine has dropped the log. */
static inline void wait_until_dropped(struct holding_log *log, unsigned count)
{
    pthread_mutex_lock(&log->lock);
    while (log->drops < count)
        pthread_cond_wait(&log->changed, &log->lock);
    CHECK_NUMBER(log->drops, count);
    pthread_mutex_unlock(&log->lock);
}

static inline airssys_config_t *config_holding(struct holding_log *log)
{
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = log;
    logger.drop = holding_log_drop;
    logger.log = holding_log_take;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    return config;
}

static inline airssys_engine_t *engine_holding(struct holding_log *log)
{
    airssys_config_t *config = config_holding(log);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

#endif
