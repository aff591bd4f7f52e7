/* A log callback that calls a component, of whatever engine. */
#ifndef CALLING_LOG_H
#define CALLING_LOG_H

#include "host.h"

struct log {
    /* What the callback calls, if anything. */
    airssys_engine_t *other;
    uint64_t handle;
    airssys_status_t status;
    unsigned records;
};

static void take(void *user_data, const airssys_log_record_t *record)
{
    struct log *log = user_data;
    (void)record;
    log->records++;
    if (log->other != NULL) {
        airssys_bytes_t reply = {0};
        log->status = call(log->other, log->handle, "log info inner", &reply, NULL);
        airssys_bytes_free(&reply);
    }
}

static airssys_engine_t *engine_on(struct log *log)
{
    airssys_config_t *config = new_config();
    airssys_logger_t logger = {0};
    logger.size = sizeof logger;
    logger.user_data = log;
    logger.log = take;
    logger.min_level = AIRSSYS_LOG_INFO;
    REQUIRE(airssys_config_set_logger(config, &logger, NULL) == AIRSSYS_OK);
    airssys_engine_t *engine = engine_with(config);
    airssys_config_free(config);
    return engine;
}

#endif
